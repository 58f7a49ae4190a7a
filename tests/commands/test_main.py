"""The list of commands, and how a mistake is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_lighteval.commands.main import COMMANDS, main


def test_without_a_command_all_of_them_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0

    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.split(maxsplit=1) == [command.name, command.help] for line in lines)


def test_a_misspelt_command_is_a_usage_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gat"]) == 2

    names = ", ".join(command.name for command in COMMANDS)
    assert capsys.readouterr().err == f"python -m pytest_lighteval gat: there are {names} (did you mean 'gate'?)\n"


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_every_command_explains_itself(command: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command[0], "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m pytest_lighteval {command[0]} ")


def test_the_old_place_of_the_importers_says_where_they_are() -> None:
    ran = subprocess.run([sys.executable, "-m", "pytest_lighteval.baselines.importers", "vllm", "no.yaml"], capture_output=True, text=True)

    first, second = ran.stderr.splitlines()
    assert first == "python -m pytest_lighteval.baselines.importers: write python -m pytest_lighteval import"
    assert "no.yaml" in second
    assert ran.returncode == 2

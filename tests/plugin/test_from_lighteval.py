"""docs/from-lighteval.md: each of Lighteval's command lines is answered with ours, and ours is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.lighteval_commands import COMMANDS, OPTIONS, command_here, option_here
from pytest_lighteval.plugin.settings import _arguments
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "from-lighteval.md").read_text("utf-8")


def rows(title: str) -> list[tuple[str, str]]:
    """Both columns of the table below a heading."""
    table = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [(left, right) for left, right in (re.split(r"(?<!\\)\|", line.strip("| "), maxsplit=1) for line in lines)]


def words(cell: str) -> list[str]:
    """The words of the first command in a cell."""
    found = re.search(r"`([^`]+)`", cell)
    assert found is not None
    return shlex.split(found[1].replace(r"\|", "|"))


@pytest.mark.parametrize(("theirs", "ours"), [pytest.param(*row, id=row[0].strip(" `")[:60]) for row in rows("Commands")])
def test_a_command_of_lighteval_is_answered_with_ours(pytester: pytest.Pytester, theirs: str, ours: str) -> None:
    result = pytester.runpytest(*words(theirs)[1:], "--co")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (said,) = [line for line in result.errlines if line]
    form = re.search(r"`pytest ([^`]+)`", ours)
    if form is None:
        assert ours.strip().split("`")[-1].split("(")[0].split(")")[0].strip(": ") in said or "conftest.py" in said
        return
    asked = shlex.split(form[1].replace(r"\|", "|"))
    values = [word for word in asked if not word.startswith("--")]
    said_words = shlex.split(said)
    if "newer" in theirs:  # its tasks have no suite, and which one is meant is for the user to say
        values = [word for word in values if "|" not in word]
    assert all(word in said_words or word in said for word in values), said


OURS = [words(right)[1:] for _, right in rows("Commands") if "`pytest --backend" in right]
RUNNABLE = [arguments for arguments in OURS if "--tasks" in arguments]
"""Those that need no server and no checkpoint."""


@pytest.mark.parametrize("arguments", [pytest.param(arguments, id=" ".join(arguments)[:70]) for arguments in RUNNABLE])
def test_our_form_is_accepted(pytester: pytest.Pytester, arguments: list[str]) -> None:
    tasks = pytester.mkdir("examples")
    (tasks / "tasks").mkdir()
    (tasks / "tasks" / "recommended_set.txt").write_text("# a comment\nleaderboard|truthfulqa:mc|0|0\nleaderboard|gsm8k|3|1\n")
    (tasks / "model_configs").mkdir()
    (tasks / "model_configs" / "vllm_model_config.yaml").write_text("model_parameters:\n  pretrained: gpt2\n  dtype: float16\n")

    result = pytester.runpytest(*arguments, "--co", "-q")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.re_match_lines([r"\d+ tests? collected.*"])


@pytest.mark.parametrize(("theirs", "ours"), [pytest.param(*row, id=words(row[0])[0]) for row in rows("Options")])
def test_an_option_of_lighteval_is_ours_or_is_answered(pytester: pytest.Pytester, theirs: str, ours: str) -> None:
    asked = words(theirs)
    result = pytester.runpytest("--backend", "fake", "--model-args", "seed=1", *words(theirs), "--co", "-q", "suites/demo")
    (said,) = [line for line in result.errlines if line] or [""]
    form = re.search(r"`([^`]+)`", ours)

    if form is not None and shlex.split(form[1])[0].partition("=")[0] == asked[0]:
        # the fake backend has no batch size; Python files are no suites
        assert result.ret == pytest.ExitCode.OK or "batch_size" in said or "--custom-tasks" in said
    elif form is not None and form[1].startswith("--"):
        assert form[1].split()[0] in said
    else:
        assert re.sub(r"\[([^]]+)\]\([^)]+\)", r"docs/\1", ours).strip().split("`")[0].strip() in said


def test_the_page_has_every_command_and_option_that_is_known() -> None:
    assert {words(left)[1] for left, _ in rows("Commands")} == set(COMMANDS)
    assert {words(left)[0].removeprefix("--") for left, _ in rows("Options")} >= set(OPTIONS) - {"epochs"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param("gsm8k|5", "--tasks 'gsm8k|5'; for gsm8k|5 choose leaderboard|gsm8k|5|0 or lighteval|gsm8k|5|0", id="two-suites"),
        pytest.param("musr:murder_mysteries|3", "--tasks 'lighteval|musr:murder_mysteries|3|0'", id="one-suite"),
        pytest.param("leaderboard|gsm8k", "--tasks 'leaderboard|gsm8k|5|0'", id="no-count"),
        pytest.param("musr:murder_mysteries|3,a|b|0|0", "--tasks 'lighteval|musr:murder_mysteries|3|0,a|b|0|0'", id="a-list"),
        pytest.param("zzzzqqqq|5", "--tasks 'zzzzqqqq|5'", id="unknown"),
    ],
)
def test_a_spec_without_a_suite_or_a_count_gets_it_where_there_is_one(tmp_path: Path, spec: str, said: str) -> None:
    assert command_here(["accelerate", "pretrained=gpt2", spec], tmp_path) == (
        f"lighteval accelerate: write pytest --backend accelerate --model-args pretrained=gpt2 {said}"
    )


def test_the_word_lighteval_may_stand_before_the_command(tmp_path: Path) -> None:
    words_of_it = ["accelerate", "pretrained=gpt2", "a|b|0|0"]

    assert command_here(["lighteval", *words_of_it], tmp_path) == command_here(words_of_it, tmp_path)


def test_words_of_a_project_of_its_own_are_no_command(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()

    assert command_here(["tasks", "list"], tmp_path) is None
    assert command_here(["tests/test_x.py", "a|b|0|0"], tmp_path) is None
    assert command_here([], tmp_path) is None
    assert option_here("--cov-report", "html") is None


def model_arguments(title: str) -> list[tuple[str, str]]:
    table = PAGE.partition(f"### {title}\n")[2].partition("\n##")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [(words(left)[0], right.strip()) for left, right in (line.strip("| ").split("|", 1) for line in lines)]


@pytest.mark.parametrize(
    ("backend", "argument", "ours"),
    [
        pytest.param(backend, argument, ours, id=f"{backend}-{argument.partition('=')[0]}")
        for backend, title in (("accelerate", "transformers (`--backend accelerate`)"), ("vllm", "vLLM (`--backend vllm`)"))
        for argument, ours in model_arguments(title)
    ],
)
def test_a_model_argument_of_lighteval_is_ours_or_is_answered(backend: str, argument: str, ours: str) -> None:
    text = argument if argument.startswith("model_name=") else f"model_name=gpt2,{argument}"
    if ours.startswith("the same"):
        assert _arguments(backend, text, None, ROOT) is not None
        return
    with pytest.raises(UserInputError, match=rf"^--model-args: {argument.partition('=')[0]}: ") as caught:
        _arguments(backend, text, None, ROOT)
    form = re.search(r"`(--[^`]+)`", ours)
    assert form is None or form[1] in str(caught.value)

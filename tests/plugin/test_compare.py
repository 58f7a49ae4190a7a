"""Stored runs compared without a model: the verdicts are those that a session with that baseline gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.commands.main import main
from pytest_lighteval.reports.serialize import to_json
from tests.plugin.gated import FAKE, LOSING, results_of


def a_run(pytester: pytest.Pytester, name: str, *arguments: str) -> Path:
    """The folder of a run that is called so."""
    pytester.runpytest(*arguments, "--report-dir", name, "--gate-allow", "blind")
    (folder,) = pytester.path.glob(f"{name}/2*")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["compare", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_compare_says_byte_for_byte_what_a_session_with_that_baseline_says(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pytester.path)
    before = a_run(pytester, "before", *FAKE, "--save-baseline", "saved.json")
    by_file = a_run(pytester, "by_file", *LOSING, "--baseline", "saved.json")
    by_folder = a_run(pytester, "by_folder", *LOSING, "--baseline", str(before))
    expected = to_json(results_of(pytester, "by_file")["verdicts"], indent=2, sort_keys=True)

    assert '"outcome": "REGRESSED"' in expected
    assert '"margins"' in expected
    assert to_json(results_of(pytester, "by_folder")["verdicts"], indent=2, sort_keys=True) == expected
    for reference in (str(before), "saved.json", str(before / "results.json")):
        for run in (by_file, by_folder):
            (compared,) = printed(capsys, reference, str(run))["runs"]
            assert to_json(compared["verdicts"], indent=2, sort_keys=True) == expected

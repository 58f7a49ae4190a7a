"""The options about judges: several by name, and one line for whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends.fake import FakeArguments
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.plugin.judge_settings import JudgeOptions, read_judge_options
from pytest_lighteval.plugin.options import OPTIONS

NAMES = [option.dest.removeprefix("lighteval_") for option in OPTIONS if option.name.startswith("judge-")]


def read(folder: Path, **given: Any) -> JudgeOptions:
    def arguments(backend: str, text: str | None) -> msgspec.Struct:
        return FakeArguments(seed=int(text or 0))

    values: dict[str, Any] = {**dict.fromkeys([*NAMES, "backend"]), **given}
    return read_judge_options(values, folder, arguments)


def test_one_judge_needs_no_name(tmp_path: Path) -> None:
    options = read(tmp_path, judge_backend=["fake"], judge_model_args=["3"], judge_price=["0.15,0.6"])

    (judge,) = options.judges
    assert (judge.name, judge.backend, judge.arguments, judge.price) == ("judge", "fake", FakeArguments(seed=3), (0.15, 0.6))
    assert (options.max_unparsed, options.preflight, options.max_calls) == (0.01, "refuse", None)


def test_several_judges_have_names_and_may_share_a_backend(tmp_path: Path) -> None:
    apart = read(tmp_path, judge_backend=["a:fake", "b:fake"], judge_model_args=["b:2"], judge_price=["b:1,2"])
    shared = read(tmp_path, judge_backend=["fake"], judge_model_args=["a:1", "b:2"])

    assert [(judge.name, judge.arguments, judge.price) for judge in apart.judges] == [
        ("a", FakeArguments(), None),
        ("b", FakeArguments(seed=2), (1.0, 2.0)),
    ]
    assert [(judge.name, judge.arguments) for judge in shared.judges] == [("a", FakeArguments(seed=1)), ("b", FakeArguments(seed=2))]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"judge_model_args": ["1"]}, "--judge-model-args: it is given without --judge-backend"),
        ({"judge_backend": ["a:fake"], "judge_model_args": ["b:1"]}, "--judge-model-args: no judge is called 'b'"),
        ({"judge_backend": ["fake", "fake"]}, "--judge-backend is given twice for one judge; several judges have names"),
        ({"judge_backend": ["fake", "a:fake"]}, "several judges have names: --judge-backend NAME:fake"),
        ({"judge_backend": ["fakke"]}, "fakke"),
        ({"judge_backend": ["fake"], "judge_price": ["1"]}, "--judge-price 1: PROMPTS,REPLIES was expected"),
        ({"judge_max_unparsed": "2"}, "--judge-max-unparsed 2: a share from 0 to 1"),
        ({"judge_max_calls": "many"}, "--judge-max-calls many: a number from 0 on"),
        ({"judge_preflight": "wran"}, r"--judge-preflight wran: there are refuse and warn \(did you mean 'warn'"),
        ({"judge_parity": "light"}, "--judge-parity light: there are lighteval and benchmark"),
        ({"judge_answers": "nowhere"}, "--judge-answers nowhere: is no run folder: it has no details"),
        ({"judge_anchors": "none.jsonl"}, "--judge-anchors .*none.jsonl: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserInputError, match=problem):
        read(tmp_path, **given)


def test_a_run_is_named_by_its_folder_or_its_results(tmp_path: Path) -> None:
    (tmp_path / "run" / "details").mkdir(parents=True)

    assert read(tmp_path, judge_answers="run/results.json").answers == (tmp_path / "run").resolve()
    assert read(tmp_path, judge_max_unparsed="5%").max_unparsed == pytest.approx(0.05)
    with pytest.raises(UserInputError, match="--judge-answers is given beside --backend"):
        read(tmp_path, judge_answers="run", backend="fake")

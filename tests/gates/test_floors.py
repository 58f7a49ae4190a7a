"""Floors are compared with the scores, and a mistake in a gates file is an error at its line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError, UserInputError
from pytest_lighteval.gates.floors import judge, not_judged
from pytest_lighteval.gates.gate_file import GateEntry, GateFile, gates_for, load_gates, unmatched
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import GateSpec, MetricResult, TaskKey, Verdict
from tests.baselines.samples import result
from tests.shared import ROOT

ACC = MetricResult(value=0.35, stderr=0.0479, n=100, higher_is_better=True)


def _measured(value: float, stderr: float | None = 0.0479) -> MetricResult:
    return MetricResult(value=value, stderr=stderr, n=100, higher_is_better=True)


# ----------------------------------------------------------------------------------------------------- judging


@pytest.mark.parametrize(
    ("left_out", "allowed", "outcome", "told"),
    [
        (5, False, "passed", ", 5 of 100 documents not judged"),
        (6, False, "failed", ", 6 of 100 documents not judged; at most 5% may be (--gate-allow scores)"),
        (6, True, "passed", ", 6 of 100 documents not judged"),
        (0, False, "passed", ""),
    ],
)
def test_a_floor_that_is_met_without_the_documents_that_were_not_judged(left_out: int, allowed: bool, outcome: str, told: str) -> None:
    task = result({"acc": [1.0] * 100})
    measured = replace(task, not_judged={"acc": left_out} if left_out else {})
    found = not_judged([measured], way_out="--gate-allow scores", is_allowed=allowed)

    (verdict,) = judge(measured.metrics, {"acc": GateSpec(min=0.42)}, key="s|t|0", not_judged=found)

    assert (verdict.outcome, verdict.message) == (
        outcome,
        f"acc 1.0000 ± 0.0100 is at or above the floor 0.4200 (n = 100){told}",
    )


def test_a_verdict_has_score_and_threshold() -> None:
    assert judge({"acc": ACC}, {"acc": GateSpec(min=0.42)}, key="leaderboard|gsm8k|5") == (
        Verdict(
            metric="acc",
            outcome="failed",
            message="acc 0.3500 ± 0.0479 is below the floor 0.4200 (n = 100)",
            value=0.35,
            stderr=0.0479,
            n=100,
            min=0.42,
        ),
    )


HELD = {
    "on the floor": (0.42, GateSpec(min=0.42), "passed", "acc 0.4200 ± 0.0479 is at or above the floor 0.4200 (n = 100)"),
    "above": (0.5, GateSpec(min=0.42), "passed", "acc 0.5000 ± 0.0479 is at or above the floor 0.4200 (n = 100)"),
    "over the ceiling": (0.5, GateSpec(max=0.42), "failed", "acc 0.5000 ± 0.0479 is above the ceiling 0.4200 (n = 100)"),
    "on the ceiling": (0.42, GateSpec(max=0.42), "passed", "acc 0.4200 ± 0.0479 is at or below the ceiling 0.4200 (n = 100)"),
    "between": (
        0.5,
        GateSpec(min=0.4, max=0.6),
        "passed",
        "acc 0.5000 ± 0.0479 is at or above the floor 0.4000 and at or below the ceiling 0.6000 (n = 100)",
    ),
    "over": (0.7, GateSpec(min=0.4, max=0.6), "failed", "acc 0.7000 ± 0.0479 is above the ceiling 0.6000 (n = 100)"),
    "under": (0.3, GateSpec(min=0.4, max=0.6), "failed", "acc 0.3000 ± 0.0479 is below the floor 0.4000 (n = 100)"),
    "by a hair": (0.41999, GateSpec(min=0.42), "failed", "acc 0.41999 ± 0.04790 is below the floor 0.42000 (n = 100)"),
    "huge": (3.21e24, GateSpec(max=20), "failed", "acc 3.21e+24 ± 0.0479 is above the ceiling 20.0000 (n = 100)"),
    "nan": (math.nan, GateSpec(min=0.0), "failed", "acc nan ± 0.0479 is not a number and so fails the floor 0.0000 (n = 100)"),
    "nan in a band": (
        math.nan,
        GateSpec(min=0.0, max=9.0),
        "failed",
        "acc nan ± 0.0479 is not a number and so fails the floor 0.0000 and the ceiling 9.0000 (n = 100)",
    ),
    "-inf": (-math.inf, GateSpec(min=0.0), "failed", "acc -inf ± 0.0479 is below the floor 0.0000 (n = 100)"),
    "nan floor": (0.9, GateSpec(min=math.nan), "failed", "acc 0.9000 ± 0.0479 is below the floor nan (n = 100)"),
}
"""Value, gate, outcome and message, by what it shows."""


@pytest.mark.parametrize(("value", "gate", "outcome", "message"), HELD.values(), ids=HELD)
def test_a_score_is_compared_with_its_thresholds(value: float, gate: GateSpec, outcome: str, message: str) -> None:
    (verdict,) = judge({"acc": _measured(value)}, {"acc": gate}, key="a|b|0")

    assert (verdict.outcome, verdict.message) == (outcome, message)


def test_an_unknown_error_is_left_out_of_the_message() -> None:
    (verdict,) = judge({"ppl": _measured(20.5, None)}, {"ppl": GateSpec(max=21)}, key="a|b|0")

    assert verdict.message == "ppl 20.5000 is at or below the ceiling 21.0000 (n = 100)"


def test_verdicts_are_in_the_order_of_the_gates() -> None:
    verdicts = judge({"acc": ACC, "acc_norm": ACC}, {"acc_norm": GateSpec(min=0.3), "acc": GateSpec(min=0.3)}, key="a|b|0")

    assert [verdict.metric for verdict in verdicts] == ["acc_norm", "acc"]


def test_a_gate_on_a_metric_that_is_not_reported_is_an_error() -> None:
    with pytest.raises(UserInputError) as caught:
        judge({"acc": ACC, "acc_norm": ACC}, {"acc_nrom": GateSpec(min=0.3)}, key="a|b|0")

    assert str(caught.value) == "a|b|0: gate on 'acc_nrom': no such metric is reported, only acc, acc_norm (did you mean 'acc_norm'?)"


def test_a_gate_that_only_says_how_to_compare_is_no_floor() -> None:
    assert judge({"acc": ACC}, {"acc": GateSpec(max_drop=0.01)}, key="a|b|0") == ()


# ------------------------------------------------------------------------------------------------ the gates file

FILE = """\
# one model's floors
leaderboard|gsm8k: {qem: {min: 0.30}}
leaderboard|gsm8k|5:
  qem: {min: 0.42}
leaderboard|gsm8k|5|1: {qem: {min: .4, max: 9e-1}}
leaderboard|mmlu: {acc: {min: 0.25}}
"lighteval|wikitext:2": {word_perplexity: {max: 30}}
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "gates.yaml"
    path.write_text(text, "utf-8")
    return path


def _key(task: str, few_shots: int, *, truncate: bool = False, suite: str = "leaderboard") -> TaskKey:
    return TaskKey(suite=suite, task=task, few_shots=few_shots, truncate=truncate)


def test_a_gates_file_is_read_with_its_lines(tmp_path: Path) -> None:
    path = _written(tmp_path, FILE)

    def entry(text: str, line: int, suite: str, task: str, few_shots: int | None, truncate: bool | None, **gates: GateSpec) -> GateEntry:
        pattern = TaskPattern(suite=suite, task=task, few_shots=few_shots, truncate=truncate)
        assert str(pattern) == text
        return GateEntry(line=line, pattern=pattern, gates=gates)

    assert load_gates(path) == GateFile(
        path=path,
        entries=(
            entry("leaderboard|gsm8k", 2, "leaderboard", "gsm8k", None, None, qem=GateSpec(min=0.3)),
            entry("leaderboard|gsm8k|5", 3, "leaderboard", "gsm8k", 5, None, qem=GateSpec(min=0.42)),
            entry("leaderboard|gsm8k|5|1", 5, "leaderboard", "gsm8k", 5, True, qem=GateSpec(min=0.4, max=0.9)),
            entry("leaderboard|mmlu", 6, "leaderboard", "mmlu", None, None, acc=GateSpec(min=0.25)),
            entry("lighteval|wikitext:2", 7, "lighteval", "wikitext:2", None, None, word_perplexity=GateSpec(max=30.0)),
        ),
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (_key("gsm8k", 0), {"qem": GateSpec(min=0.3)}),
        (_key("gsm8k", 5), {"qem": GateSpec(min=0.42)}),
        (_key("gsm8k", 5, truncate=True), {"qem": GateSpec(min=0.4, max=0.9)}),
        (_key("mmlu:_average", 5), {"acc": GateSpec(min=0.25)}),
        (_key("mmlu:anatomy", 5), {}),
        (_key("gsm8k", 5, suite="lighteval"), {}),
        (_key("wikitext:2", 0, suite="lighteval"), {"word_perplexity": GateSpec(max=30.0)}),
    ],
    ids=["any count", "this count", "truncated", "superset", "not a subtask", "other suite", "colon"],
)
def test_the_most_precise_key_wins(tmp_path: Path, key: TaskKey, expected: dict[str, GateSpec]) -> None:
    assert gates_for(key, {}, load_gates(_written(tmp_path, FILE))) == expected


def test_the_key_of_a_superset_row_beats_the_supersets_name(tmp_path: Path) -> None:
    file = load_gates(_written(tmp_path, "l|mmlu:_average: {acc: {min: 0.5}}\nl|mmlu: {acc: {min: 0.1}}\n"))

    assert gates_for(_key("mmlu:_average", 5, suite="l"), {}, file) == {"acc": GateSpec(min=0.5)}


def test_a_gate_of_the_file_replaces_that_of_the_suite_metric_by_metric(tmp_path: Path) -> None:
    suite = {"qem": GateSpec(min=0.1, max=0.9), "maj@8": GateSpec(min=0.2)}

    assert gates_for(_key("gsm8k", 5), suite, load_gates(_written(tmp_path, FILE))) == {
        "qem": GateSpec(min=0.42),
        "maj@8": GateSpec(min=0.2),
    }


def test_without_a_file_the_suites_gates_apply() -> None:
    assert gates_for(_key("gsm8k", 5), {"qem": GateSpec(min=0.1)}, None) == {"qem": GateSpec(min=0.1)}


def test_entries_that_cover_nothing_are_unmatched(tmp_path: Path) -> None:
    file = load_gates(_written(tmp_path, FILE))

    assert [(entry.line, str(entry.pattern)) for entry in unmatched(file, [_key("gsm8k", 5), _key("mmlu:_average", 0)])] == [
        (5, "leaderboard|gsm8k|5|1"),
        (7, "lighteval|wikitext:2"),
    ]


WRONG = {
    "empty": ("", "1: no gate is given; a gate is written 'leaderboard|gsm8k|5: {qem: {min: 0.42, max_drop: 0.01}}'"),
    "list": ("- a\n", "1: a mapping is needed here, like leaderboard|gsm8k|5: {qem: {min: 0.42, max_drop: 0.01}}"),
    "broken YAML": ("a|b: {acc: {min: 1}\nc|d:", "2: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'"),
    "no suite": ("gsm8k: {acc: {min: 1}}", "1: 'gsm8k': a task is written suite|task|few_shots|truncate, such as leaderboard|gsm8k|5|0"),
    "no count": ("a|b|x: {acc: {min: 1}}", "1: 'a|b|x': the few-shot count is 'x', not a number from 0 on"),
    "list as key": ("? [a]\n: 1\n", "1: the key a list or mapping is not text: quote it"),
    "number for metrics": ("\na|b: 0.4", "2: a|b: a mapping is needed here, like {acc: {min: 0.42}}"),
    "nothing for metrics": ("a|b:\n", "1: a|b: a mapping is needed here, like {acc: {min: 0.42}}"),
    "no metric": ("a|b: {}", "1: a|b: no metric is named; a gate is written {acc: {min: 0.42}}"),
    "number for a gate": ("a|b.c:\n  acc: 0.4", "2: a|b.c.acc: a mapping is needed here, like {min: 0.42}"),
    "no threshold": (
        "a|b:\n  acc: {}",
        "2: a|b.acc: the gate is empty: give min or max, or a rule for the comparison with a baseline (max_drop, ...)",
    ),
    "misspelt": (
        "a|b:\n  acc: {mni: 0.4}",
        "2: a|b.acc.mni: unknown field; a gate has min, max, max_drop, min_effect, alpha, inconclusive, paired (did you mean 'min'?)",
    ),
    "text": ("a|b:\n  acc:\n    min: high", "3: a|b.acc.min: a finite number is needed, not 'high'"),
    "quoted number": ("a|b: {acc: {min: '0.4'}}", "1: a|b.acc.min: a finite number is needed, not '0.4'"),
    "truth value": ("a|b: {acc: {min: true}}", "1: a|b.acc.min: a finite number is needed, not 'true'"),
    "not a number": ("a|b: {acc: {min: .nan}}", "1: a|b.acc.min: a finite number is needed, not '.nan'"),
    "infinite": ("a|b: {acc: {min: inf}}", "1: a|b.acc.min: a finite number is needed, not 'inf'"),
    "list for a number": ("a|b: {acc: {min: [1]}}", "1: a|b.acc.min: a finite number is needed, not a list or mapping"),
    "empty band": ("a|b: {acc: {min: 0.9, max: 0.1}}", "1: a|b.acc: min 0.9 is above max 0.1: nothing could pass"),
    "no loss": ("a|b: {acc: {max_drop: 0}}", "1: a|b.acc: max_drop 0 is not above 0; a loss of two points of accuracy is 0.02"),
    "part of nothing": ("a|b: {acc: {min_effect: 0.1}}", "1: a|b.acc: min_effect is given without max_drop"),
    "no alpha": ("a|b: {acc: {alpha: 5}}", "1: a|b.acc: alpha 5 is not between 0 and 0.5, like 0.05"),
    "no word": ("a|b: {acc: {inconclusive: wran}}", "1: a|b.acc.inconclusive: 'wran' is none of fail, blind, warn (did you mean 'warn'?)"),
    "key twice": ("a|b: {acc: {min: 1}}\na|b: {acc: {min: 2}}", "2: a|b: given twice, first in line 1"),
    "same key twice": ("a|b|5: {acc: {min: 1}}\na|b|05: {acc: {min: 2}}", "2: a|b|05: line 1 already has gates for this key"),
    "metric twice": ("a|b:\n  acc: {min: 1}\n  acc: {min: 2}", "3: acc: given twice, first in line 2"),
    "two documents": (
        "a|b: !!python/object:os.system {acc: {min: 1}}\n--- \n",
        "2: not valid YAML: expected a single document in the stream, but found another document",
    ),
}
"""Text and problem, by what is wrong."""


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_a_mistake_in_a_gates_file_is_an_error_at_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = _written(tmp_path, text)

    with pytest.raises(FileError) as caught:
        load_gates(path)

    assert str(caught.value) == f"{path}:{problem}"


def test_a_missing_gates_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        load_gates(tmp_path / "gates.yaml")

    assert str(caught.value) == f"{tmp_path / 'gates.yaml'}: No such file or directory"


def test_a_gates_file_that_is_not_text_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_bytes(b"a|b: \xff")

    with pytest.raises(UserInputError) as caught:
        load_gates(path)

    assert str(caught.value) == f"{path}: not UTF-8 text: invalid start byte in line 1"


def test_the_guides_example_is_a_gates_file(tmp_path: Path) -> None:
    guide = (ROOT / "docs/reports.md").read_text("utf-8")
    example = guide.partition("```yaml\n")[2].partition("```")[0]

    file = load_gates(_written(tmp_path, example))

    assert [str(entry.pattern) for entry in file.entries] == [
        "leaderboard|gsm8k|5",
        "leaderboard|gsm8k|5|1",
        "leaderboard|arc:challenge",
        "leaderboard|mmlu",
        "lighteval|wikitext:2",
    ]

"""The terminal table shows the worst first and fits the terminal that it is printed on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_lighteval.reports.summary import summary_markdown
from pytest_lighteval.reports.table import terminal_table
from pytest_lighteval.types import PairedVerdict, Verdict
from tests.reports.samples import FULL, GSM8K, MMLU, WIKITEXT, number, result, run, verdict


def test_the_worst_comes_first_and_supersets_under_a_heading() -> None:
    assert terminal_table(FULL, width=100) == [
        ("task                         metric             value  stderr      n  gate", "plain"),
        ("leaderboard|gsm8k|5          qem               0.3500  ± 0.0479  100  failed, min 0.4200", "failed"),
        ("leaderboard|mmlu:anatomy|5   acc               0.2500  ± 0.0300  135  passed, min 0.2000", "passed"),
        ("leaderboard|mmlu:virology|5  acc               0.3500  ± 0.0400  166", "plain"),
        ("lighteval|wikitext:2|0       word_perplexity  23.4512              1", "plain"),
        ("averages over tasks", "plain"),
        ("leaderboard|mmlu:_average|5  acc               0.3000  ± 0.0250  301  passed, min 0.3000", "passed"),
        ("all                          acc               0.3000  ± 0.0250  301", "plain"),
        ("lighteval|wikitext:2|0: 2 documents were cut to the model's length", "plain"),
        ("lighteval|piqa|0: split 'validation' is missing", "error"),
        ("1 task skipped: the backend cannot generate", "plain"),
    ]


def test_a_narrow_terminal_loses_thresholds_then_columns_but_neither_score_nor_verdict() -> None:
    assert [terminal_table(FULL, width=width)[1][0] for width in (80, 64, 40)] == [
        "leaderboard|gsm8k|5          qem               0.3500  ± 0.0479  100  failed",
        "lead…rd|gsm8k|5  qem               0.3500  ± 0.0479  100  failed",
        "lea…|gsm8k|5  qem      0.3500  failed",
    ]


def test_eighty_columns_have_value_error_number_and_gate_whatever_the_names_are() -> None:
    key, metric = "extended|lcb:codegeneration_release_latest|10", "math_pass@1:64_samples_of_a_long_name"
    paired = PairedVerdict(outcome="INCONCLUSIVE", line="", red=False)
    gate = Verdict(metric=metric, outcome="inconclusive", message="", value=0.1, stderr=0.1, n=123456, min=0.42, paired=paired)
    report = run(replace(result(key), metrics={metric: number(123456.7, 12345.67, 123456)}), verdicts={key: (gate,)})

    header, row = [line for line, _ in terminal_table(report, width=80)][:2]

    assert header.split() == ["task", "metric", "value", "stderr", "n", "gate"]
    assert row.split("  ", 2)[2].split() == ["123456.7000", "±", "12345.6700", "123456", "INCONCLUSIVE"]
    assert [line for line, _ in terminal_table(report, width=200)][1].endswith("INCONCLUSIVE, min 0.4200")


@pytest.mark.parametrize("width", [200, 80, 60, 40, 30, 20])
def test_columns_keep_their_order_at_every_width(width: int) -> None:
    order = ["task", "metric", "value", "stderr", "n", "gate"]

    shown = [name for name in terminal_table(FULL, width=width)[0][0].split() if name in order]

    assert shown == sorted(shown, key=order.index)


def test_a_result_is_one_line() -> None:
    several = result("a|b|5", acc=number(0.612, 0.0134, 1319), ppl=number(3.2e24, None, 1))

    assert str(several) == "a|b|5: acc 0.6120 ± 0.0134 (n = 1319), ppl 3.2000e+24 (n = 1)"
    assert "DocumentScore" not in repr(several)


@pytest.mark.parametrize("width", [200, 80, 79, 61, 60, 45, 40, 30, 20, 10, 1])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    report = replace(FULL, errors={"lighteval|piqa|0": "long " * 100})

    assert max(len(line) for line, _ in terminal_table(report, width=width)) <= width


def test_a_run_of_one_task_needs_no_averages() -> None:
    assert terminal_table(run(GSM8K), width=80) == [
        ("task                 metric   value  stderr      n  gate", "plain"),
        ("leaderboard|gsm8k|5  qem     0.3500  ± 0.0479  100", "plain"),
    ]


def test_a_failed_superset_comes_before_a_passed_one() -> None:
    report = run(
        *MMLU,
        result("helm|x:a|0", acc=number(0.1)),
        result("helm|x:b|0", acc=number(0.1)),
        verdicts={"leaderboard|mmlu:_average|5": (verdict("acc", "failed", 0.3, floor=0.5),)},
    )

    lines = [line.split()[0] for line, _ in terminal_table(report, width=100)]

    assert lines[6:] == ["leaderboard|mmlu:_average|5", "helm|x:_average|0", "all"]


def test_few_shot_counts_are_sorted_as_numbers() -> None:
    report = run(*(result(f"a|b|{count}", acc=number(0.5)) for count in (10, 5, 0)))

    assert [line.split()[0] for line, _ in terminal_table(report, width=80)][1:4] == ["a|b|0", "a|b|5", "a|b|10"]


def test_only_errors_make_no_table() -> None:
    assert terminal_table(run(errors={"a|b|10": "no data", "a|b|5": "no split"}), width=80) == [
        ("a|b|5: no split", "error"),
        ("a|b|10: no data", "error"),
    ]


def test_a_note_that_several_tasks_have_is_one_line() -> None:
    noted = [replace(result(f"a|b:{name}|0", acc=number(0.5)), notes=("the same", f"of {name}")) for name in "xyz"]

    lines = [line for line, _ in terminal_table(run(*noted), width=80)]

    assert lines[-4:] == ["a|b:x|0 and 2 more: the same", "a|b:x|0: of x", "a|b:y|0: of y", "a|b:z|0: of z"]


def test_the_notes_of_a_backend_are_below_the_table() -> None:
    report = replace(run(), backend={"name": "slow", "notes": ["it runs in half of its speed"]})

    assert terminal_table(report, width=80) == [("slow: it runs in half of its speed", "plain")]


def test_a_long_error_keeps_its_reason() -> None:
    folder = "/data/models/" + "a-long-name/" * 6 + "checkpoint"
    (first, style), *others = terminal_table(run(errors={"suite|task|0": f"{folder}: cannot load it: memory ran out"}), width=60)

    assert first.startswith("suite|task|0:")
    assert " ".join(line.strip() for line, _ in others).endswith("cannot load it: memory ran out")
    assert {style, *(style for _, style in others)} == {"error"}
    assert all(line.startswith("    ") for line, _ in others)
    endless = terminal_table(run(errors={"suite|task|0": "x" * 100_000 + ": memory ran out"}), width=80)
    assert len(endless) < 40
    assert endless[-1][0].endswith(": memory ran out")


def test_the_number_of_examples_is_beside_the_key_if_it_is_not_what_was_asked_for() -> None:
    report = run(result("demo|x|500", shots=8.0, acc=number(0.5)), result("demo|y|5", shots=4.875, acc=number(0.5)))

    lines = [line.partition("  ")[0] for line, _ in terminal_table(report, width=100)]

    assert lines[1:3] == ["demo|x|500 (8-shot)", "demo|y|5 (4.88-shot)"]
    assert "| demo\\|x\\|500 (8-shot) | acc |" in summary_markdown(report)


def test_nothing_makes_no_line() -> None:
    assert terminal_table(run(), width=80) == []


def test_a_message_cannot_steer_the_terminal() -> None:
    report = run(errors={"a|b|0": "answer \x1b[2J\nof\ta\u202e model"})

    assert terminal_table(report, width=80) == [("a|b|0: answer �[2J of a� model", "error")]


def test_numbers_of_any_size_stay_readable() -> None:
    odd = result("a|b|0", nan=number(math.nan), inf=number(-math.inf), big=number(3.2e24), small=number(1e-7))

    lines = terminal_table(run(odd), width=80)

    assert [line.split()[1:3] for line, _ in lines[1:]] == [["nan", "nan"], ["inf", "-inf"], ["big", "3.2000e+24"], ["small", "0.0000"]]


def test_a_word_is_in_the_singular_for_one() -> None:
    lines = [line for line, _ in terminal_table(run(replace(WIKITEXT, num_truncated=1), skipped={"a|b|0": "x", "a|c|0": "x"}), width=80)]

    assert lines[-2:] == ["lighteval|wikitext:2|0: 1 document was cut to the model's length", "2 tasks skipped: x"]


def test_cut_answers_are_counted_below_the_table() -> None:
    plain = result("mini|g|0", em=number(0.5))
    lines = [line for line, _ in terminal_table(run(replace(plain, num_cut=3, num_texts=9)), width=120)]

    assert "mini|g|0: 3 of 9 answers ended at the limit of new tokens" in lines

"""The gold as the answer scores, and the reason is told where it does not; what is no answer does not score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.checks.check import check_task
from pytest_lighteval.checks.oracle import wrong_numbers
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.metrics import overlap
from pytest_lighteval.types import PromptTemplate, Severity
from tests.checks.samples import choosing, faults, found, written


def one(answer: str | list[str]) -> list[dict[str, Any]]:
    return [{"q": "why?", "a": answer}, {"q": "who?", "a": "nobody"}]


def test_a_sound_task_has_no_finding(tmp_path: Path) -> None:
    task = written(tmp_path, one(" since"), stop_sequence=("\n", "."), generation_size=3)

    assert found(task) == {}


@pytest.mark.parametrize(
    ("answer", "fields", "kind", "left"),
    [
        pytest.param("2.5", {"stop_sequence": (".",)}, "gold-cut-by-stop", "gold '2.5'; left '2'", id="a stop sequence within the gold"),
        pytest.param("\nso", {"stop_sequence": ("\n",)}, "gold-cut-by-stop", r"gold '\nso'; left ''", id="one at its beginning"),
        pytest.param("a b c d", {"generation_size": 3}, "gold-cut-by-limit", "gold 'a b c d'; left 'a b c '", id="more words than tokens"),
        pytest.param("", {}, "gold-marked-wrong", "gold ''", id="a gold without text"),
        pytest.param(["2.5", "0.5"], {"stop_sequence": (".",)}, "gold-cut-by-stop", "gold '2.5'; left '2'", id="all accepted answers"),
    ],
)
def test_a_gold_that_cannot_score_is_an_error_that_says_why(tmp_path: Path, answer: Any, fields: Any, kind: str, left: str) -> None:
    (finding,) = faults(check_task(written(tmp_path, one(answer), **fields), few_shots=(0,)))

    assert (finding.kind, finding.severity, finding.count, finding.of) == (kind, Severity.ERROR, 1, 2)
    assert [(example.id, example.text) for example in finding.examples] == [("test:0", left)]


def test_a_gold_that_is_cut_by_both_is_the_fault_of_what_it_would_score_without(tmp_path: Path) -> None:
    """The stop sequence stands behind the answer, and the limit before its end."""
    rows = [{"q": "5 + 2?", "a": r"It is quite certainly \boxed{7}." + "\nSo"}]
    task = written(tmp_path, rows, metric="quasi_exact_match_math", stop_sequence=("\n",), generation_size=3)

    assert set(found(task)) == {"gold-cut-by-limit"}


def test_a_document_without_a_gold_is_an_error_where_the_metric_needs_one(tmp_path: Path) -> None:
    prompt = PromptTemplate(query="Q: {{ q }}")

    finding = found(written(tmp_path, one("x"), prompt=prompt))["no-gold"]

    assert (finding.severity, finding.count) == (Severity.ERROR, 2)


def test_a_gold_that_fits_the_limit_exactly_is_not_cut(tmp_path: Path) -> None:
    assert found(written(tmp_path, one("a b c"), generation_size=3)) == {}


def test_a_stop_sequence_behind_what_decides_costs_nothing(tmp_path: Path) -> None:
    task = written(tmp_path, [{"q": "5 + 2?", "a": r"It is \boxed{7}." + "\nSo"}], metric="quasi_exact_match_math", stop_sequence=("\n",))

    assert found(task) == {}


def test_stop_sequences_mean_nothing_in_a_chat(tmp_path: Path) -> None:
    task = written(tmp_path, one(" 2.5"), stop_sequence=(".",))

    assert found(task, settings=EvaluationSettings(use_chat_template=True)) == {}


def test_a_chat_model_does_not_begin_with_the_space_of_a_choice(tmp_path: Path) -> None:
    task = written(tmp_path, one(" so"), metric="perfect_exact_match")

    assert found(task) == {}
    assert found(task, settings=EvaluationSettings(use_chat_template=True))["gold-marked-wrong"].count == 1


def test_some_accepted_answers_that_do_not_score_are_a_warning(tmp_path: Path) -> None:
    finding = found(written(tmp_path, one(["3.14", "22/7"]), stop_sequence=(".",)))["gold-partly-unreachable"]

    assert (finding.severity, finding.count) == (Severity.WARNING, 1)
    assert finding.examples[0].text == "accepted answers that do not score: '3.14'"


def test_metrics_that_fail_alike_stand_in_one_finding_and_others_apart(tmp_path: Path) -> None:
    task = written(
        tmp_path, [{"q": "1", "a": "the"}, {"q": "2", "a": "a b."}], metrics=("exact_match", "quasi_exact_match", "f1_score_quasi")
    )

    task_check = check_task(task, few_shots=(0,))

    # "the" is nothing but an article: its normal form is empty, equal to that of an empty text but without words in common
    assert [(finding.kind, finding.count, finding.message.split(",")[0]) for finding in faults(task_check)] == [
        ("gold-marked-wrong", 1, "no accepted answer scores in f1_score_quasi"),
    ]


def test_a_metric_that_averages_over_the_golds_gives_a_part(tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    finding = found(written(tmp_path, one(["by night", "by day"]), metric="rouge1"))["gold-scores-in-part"]

    assert finding.severity is Severity.WARNING
    assert finding.examples[0].text.endswith("75% of the best value")


def test_a_corpus_metric_is_judged_over_all_documents(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    short, long = [{"q": "q", "a": "one two"}], [{"q": "q", "a": "one two three four five"}]

    assert found(written(tmp_path, long, metric="bleu")) == {}
    assert found(written(tmp_path, short, metric="bleu"))["best-score-unreachable"].message.endswith("has bleu 0, not 100")


def test_a_metric_that_raises_is_told_and_the_other_documents_are_looked_at(tmp_path: Path) -> None:
    (finding,) = found(written(tmp_path, one("x"), metric="drop")).values()

    assert finding.kind == "metric-fails"

    assert (finding.count, finding.examples[0].text) == (2, "KeyError: 'golds_no_preprocessing'")


def test_a_metric_that_gives_up_on_a_gold_does_not_mark_it_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rouge_score")
    monkeypatch.setattr(overlap, "MOST_WORD_PAIRS", 0)

    check = check_task(written(tmp_path, one("by night"), metric="rougeL"), few_shots=(0,))

    assert check.findings == ()
    assert "rougeL gives up on a gold: judging it takes too long" in check.not_checked


# ---------------------------------------------------------------------------------------- what is no answer


@pytest.mark.parametrize(
    ("metric", "choices", "kinds"),
    [
        pytest.param("exact_match", ["A", "B"], set(), id="whole answers"),
        pytest.param("prefix_exact_match", ["D", "B"], {"refusal-scores"}, id="Don't know begins with D"),
        pytest.param("prefix_exact_match", ["red", "reddish"], {"wrong-choice-scores"}, id="reddish begins with red"),
        pytest.param(
            "prefix_quasi_exact_match", ["A", "B"], {"wrong-choice-scores", "refusal-scores"}, id="A is an article: nothing is left"
        ),
    ],
)
def test_a_wrong_choice_or_a_refusal_that_scores_is_an_error(tmp_path: Path, metric: str, choices: list[str], kinds: set[str]) -> None:
    task = choosing(tmp_path, [{"q": "A or B?", "c": choices, "g": 0}], metric=metric)

    assert set(found(task)) == kinds


def test_a_refusal_that_is_the_right_answer_may_score(tmp_path: Path) -> None:
    assert found(written(tmp_path, one("don't know."))) == {}


@pytest.mark.parametrize(
    ("gold", "numbers"),
    [
        ("5", ("-5", "57")),
        (" -5", (" 5", " -57")),
        ("314", ("-314", "3147", "31.4")),
        ("2.5", ("-2.5", "2.57")),
        ("0", ()),
        ("10 apples", ()),
        ("1,000", ()),
    ],
)
def test_numbers_that_are_written_almost_as_the_gold(gold: str, numbers: tuple[str, ...]) -> None:
    assert wrong_numbers(gold) == numbers


@pytest.mark.parametrize(
    ("metric", "answer", "example"),
    [
        ("exact_match", "314", None),
        ("prefix_exact_match", "314", "answer '3147'; gold '314'"),
        ("quasi_exact_match", "314", "answer '-314'; gold '314'"),
        ("exact_match", ["1", "17"], None),
    ],
)
def test_another_number_that_scores_is_an_error(tmp_path: Path, metric: str, answer: Any, example: str | None) -> None:
    finding = found(written(tmp_path, one(answer), metric=metric)).get("wrong-number-scores")

    assert (finding and finding.examples[0].text) == example


# ---------------------------------------------------------------------------------------- choices


def test_an_equal_wrong_choice_before_the_gold_wins_the_tie(tmp_path: Path) -> None:
    rows = [{"q": 1, "c": ["x", "y", "y"], "g": 2}, {"q": 2, "c": ["x", "y", "y"], "g": 1}]

    findings = found(choosing(tmp_path, rows))

    assert (findings["gold-equals-wrong-choice"].count, findings["equal-choices"].count) == (1, 2)
    assert findings["gold-equals-wrong-choice"].examples[0].text == "gold 'y'; choices 'x', 'y', 'y'"


@pytest.mark.parametrize("metric", ["loglikelihood_acc_norm", "loglikelihood_acc_token", "normalized_mc_prob_char", "mrr", "recall_at_2"])
def test_the_gold_wins_under_every_normalization_of_length(tmp_path: Path, metric: str) -> None:
    rows = [{"q": n, "c": ["x", "a long answer " * 50, "z"], "g": n % 3} for n in range(3)]

    assert found(choosing(tmp_path, rows, metric=metric)) == {}


def test_several_golds_are_preferred_together(tmp_path: Path) -> None:
    """MC2 of TruthfulQA has its best value only if every true answer has probability."""
    prompt = PromptTemplate(query="Q: {{ q }}", choices="{{ c }}", gold="{{ g }}", specific={"len_mc1": 2})
    rows = [{"q": 1, "c": ["p", "q", "p", "r", "q"], "g": [0, 2, 3]}]

    assert found(choosing(tmp_path, rows, metric="truthfulqa_mc_metrics", prompt=prompt)) == {}


def test_a_task_without_a_wrong_choice_is_an_error(tmp_path: Path) -> None:
    assert found(choosing(tmp_path, [{"q": 1, "c": ["5.0"], "g": 0}]))["no-wrong-choice"].severity is Severity.ERROR


# ---------------------------------------------------------------------------------------- published answers


def test_an_answer_that_the_row_publishes_must_score(tmp_path: Path) -> None:
    rows = [{"q": 1, "a": "j g ballard", "value": "J. G. Ballard"}, {"q": 2, "a": "x", "value": "X"}]
    task = written(tmp_path, rows, metric="quasi_exact_match_triviaqa", stop_sequence=(".",), published_answers="[value]")

    finding = found(task)["published-answer-marked-wrong"]

    assert (finding.count, finding.of) == (1, 2)
    assert finding.examples[0].text == "published 'J. G. Ballard'; gold 'j g ballard'"


# ---------------------------------------------------------------------------------------- the same path as an evaluation


@pytest.mark.parametrize("stop", [(), ("\n",), (".",)])
def test_a_document_scores_in_the_linter_exactly_if_it_does_in_an_evaluation(tmp_path: Path, stop: tuple[str, ...]) -> None:
    """The fake backend answers with the first gold, cut at the stop sequences, and `evaluate` scores it."""
    rows = [{"q": n, "a": answer} for n, answer in enumerate(["1.5", "x\ny", "plain", "the", " a. b"])]
    task = written(tmp_path, rows, metric="quasi_exact_match", stop_sequence=stop)

    result = evaluate(task, FakeBackend(accuracy=1.0), few_shots=0)
    lost = [finding for finding in check_task(task, few_shots=(0,)).findings if finding.kind.startswith("gold-")]

    assert sum(finding.count for finding in lost) == sum(document.values["qem"] == 0.0 for document in result.documents)


# ---------------------------------------------------------------------------------------- other forms


def test_other_forms_of_a_short_gold_are_tried_and_noted(tmp_path: Path) -> None:
    task = written(tmp_path, one(" since"), metrics=("quasi_exact_match", "exact_match"))

    finding = found(task, forms=True)["form-marked-wrong"]

    assert (finding.severity, finding.count, finding.of) == (Severity.NOTE, 2, 2)
    sentences = "'The answer is X.' in 2, 'Answer: X' in 2, 'X and a further question' in 2"
    assert finding.message == (f"the gold X in other forms does not score; qem: {sentences}; em: 'X.' in 2, '**X**' in 2, {sentences}")


def test_a_stop_sequence_ends_what_goes_on(tmp_path: Path) -> None:
    assert "further" not in found(written(tmp_path, one(" since"), stop_sequence=("\n",)), forms=True)["form-marked-wrong"].message


def test_no_form_of_a_long_gold_is_tried(tmp_path: Path) -> None:
    assert found(written(tmp_path, [{"q": 1, "a": "one two three four five six"}]), forms=True) == {}

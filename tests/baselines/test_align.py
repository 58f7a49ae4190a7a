"""A result is aligned with its baseline document by document, or every reason against it is listed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.baselines.align import AlignedScores, Mismatch, MismatchKind, align, corpus_rows, mean_scores, soft_runs
from pytest_lighteval.baselines.attempts import join_attempts
from pytest_lighteval.baselines.model import Baseline, BaselineTask
from pytest_lighteval.baselines.repeats import merge_runs
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import TaskResult
from tests.baselines.samples import GSM8K, SETTINGS, coins, report, result, shuffled_ids

NAN = float("nan")


def saved(*results: TaskResult, **settings: Any) -> BaselineTask:
    """The baseline of one task, of several runs if several are given."""
    return merge_runs([baseline_of(report(measured, settings=SETTINGS | settings)) for measured in results]).tasks[GSM8K]


def paired(measured: TaskResult, baseline: BaselineTask, name: str = "qem", **options: Any) -> AlignedScores:
    found = align(measured, baseline, name, **options)
    assert isinstance(found, AlignedScores), found
    return found


def reasons(measured: TaskResult, baseline: BaselineTask, name: str = "qem", **options: Any) -> list[tuple[str, str]]:
    found = align(measured, baseline, name, **options)
    assert isinstance(found, Mismatch), found
    return [(reason.kind.value, reason.text) for reason in found.reasons]


def test_documents_are_aligned_in_the_order_of_the_baseline() -> None:
    ids = shuffled_ids(4)
    pairs = paired(result({"qem": [1.0, 0.0, 0.0, 1.0]}), saved(result({"qem": [1.0, 1.0, 0.0, 0.0]})))

    assert pairs == AlignedScores(
        key=GSM8K,
        metric="qem",
        higher_is_better=True,
        ids=tuple(ids),
        rows=tuple(f"{GSM8K.suite}|{GSM8K.task}|{name}" for name in ids),
        baseline=((1.0,), (1.0,), (0.0,), (0.0,)),
        candidate=((1.0,), (0.0,), (0.0,), (1.0,)),
        seeds=(1, 1, 1, 1),
        clusters=None,
        notes=(),
    )


def test_clusters_are_those_of_the_documents() -> None:
    clusters = ["a", None, "b", "a"]
    pairs = paired(result({"qem": [1.0] * 4}, clusters=clusters), saved(result({"qem": [1.0] * 4})))

    assert pairs.clusters == ("a", None, "b", "a")


def test_a_test_of_means_takes_numbers_for_one_repeat_and_tuples_for_several() -> None:
    pairs = paired(result({"qem": [1.0, 0.0]}), saved(result({"qem": [1.0, 1.0]}), result({"qem": [0.0, 1.0]})))

    assert mean_scores(pairs) == ([(1.0, 0.0), (1.0, 1.0)], [1.0, 0.0])


def test_a_run_over_several_few_shot_seeds_is_one_run_with_their_mean() -> None:
    """Two runs of the baseline under three seeds each, one of the candidate."""
    one, other = under_seeds(1, [0, 1, 2], [1.0, 0.0, 1.0]), under_seeds(1, [0, 1, 2], [0.0, 0.0, 1.0])
    pairs = paired(one, saved(one, other))

    assert (len(pairs.ids), pairs.seeds, pairs.baseline) == (1, (3,), ((1.0, 0.0, 0.0, 0.0, 1.0, 1.0),))
    assert mean_scores(pairs) == ([(2 / 3, 1 / 3)], [2 / 3])


def test_documents_without_a_score_on_both_sides_are_left_out() -> None:
    ids = shuffled_ids(3)
    pairs = paired(result({"qem": [None, 1.0, 0.0]}), saved(result({"qem": [None, 1.0, 1.0]})))

    assert (pairs.ids, pairs.notes) == (tuple(ids[1:]), ())


def test_a_repeat_without_a_score_is_left_out_of_its_document() -> None:
    pairs = paired(result({"qem": [1.0, 1.0]}), saved(result({"qem": [None, 1.0]}), result({"qem": [0.0, 1.0]})))

    assert pairs.baseline == ((0.0,), (1.0, 1.0))


# --------------------------------------------------------------------------------------------------- what is stale


def test_another_task_version_is_stale() -> None:
    assert reasons(result({"qem": [1.0, 0.0]}, version=2), saved(result({"qem": [1.0, 0.0]}))) == [
        ("version", "the task has version 2, the baseline is of version 0")
    ]


def test_other_data_are_stale_even_if_the_prompts_are_the_same() -> None:
    """The right answers may have changed."""
    assert reasons(result({"qem": [1.0, 0.0]}, fingerprint="e" * 64), saved(result({"qem": [1.0, 0.0]}))) == [
        ("data", "the data changed: its digest is eeeeeeeeeeee, in the baseline dddddddddddd")
    ]


@pytest.mark.parametrize(
    ("now", "settings", "why"),
    [
        ({}, {}, "the data is the same, so the task's prompt, the few-shots, the chat template or the system prompt changed"),
        ({}, {"use_chat_template": True}, "the chat template is used now"),
        ({}, {"system_prompt": "Be brief."}, "another system prompt"),
        ({"effective_few_shots": 4.25}, {}, "few-shots 5 -> 4.25 on average"),
        (
            {"effective_few_shots": 4.0},
            {"use_chat_template": True, "system_prompt": "Be brief."},
            "few-shots 5 -> 4 on average, the chat template is used now, another system prompt",
        ),
    ],
    ids=["unknown", "template", "system prompt", "few-shots", "all"],
)
def test_other_prompts_are_stale_and_explained(now: dict[str, Any], settings: dict[str, Any], why: str) -> None:
    measured = result({"qem": [1.0, 0.0, 1.0]}, prompt="Frage:", **now)

    assert reasons(measured, saved(result({"qem": [1.0, 0.0, 1.0]})), settings=SETTINGS | settings) == [
        ("prompts", f"3 of 3 documents have another prompt than in the baseline (test:1, test:0, test:2): {why}")
    ]


def test_only_the_first_of_many_documents_are_named() -> None:
    ids = shuffled_ids(1000)
    ((_, text),) = reasons(result({"qem": [1.0] * 1000}, prompt="Frage:"), saved(result({"qem": [1.0] * 1000})))

    assert text.startswith(f"1000 of 1000 documents have another prompt than in the baseline ({', '.join(ids[:5])}, ...): ")


def test_prompts_of_changed_data_are_explained_by_the_data() -> None:
    found = reasons(result({"qem": [1.0]}, prompt="Frage:", fingerprint="e" * 64), saved(result({"qem": [1.0]})))

    assert [kind for kind, _ in found] == ["data", "prompts"]
    assert found[1][1].endswith(": the data changed")


def test_missing_documents_are_stale() -> None:
    ids = shuffled_ids(10)
    measured = result({"qem": [1.0] * 8}, ids=ids[:8])

    assert reasons(measured, saved(result({"qem": [1.0] * 10}, ids=ids))) == [
        ("documents", f"2 of the 10 documents of the baseline are missing ({ids[8]}, {ids[9]})")
    ]


def test_documents_that_are_not_in_the_baseline_are_stale() -> None:
    ids = shuffled_ids(10)

    assert reasons(result({"qem": [1.0] * 10}, ids=ids), saved(result({"qem": [1.0] * 9}, ids=ids[:9]))) == [
        ("documents", f"1 documents of this run are not in the baseline ({ids[9]})")
    ]


def test_no_common_document_is_stale() -> None:
    assert reasons(result({"qem": [1.0]}, ids=["test:7"], max_samples=1), saved(result({"qem": [1.0]}))) == [
        ("documents", "none of the 1 documents of the baseline is in this run")
    ]


def test_an_explicit_limit_compares_the_first_documents_and_says_so() -> None:
    ids = shuffled_ids(10)
    pairs = paired(result({"qem": [1.0] * 4}, ids=ids[:4], max_samples=4), saved(result({"qem": coins(10, 0.5, seed=1)}, ids=ids)))

    assert pairs.ids == tuple(ids[:4])
    assert pairs.baseline == tuple((score,) for score in coins(10, 0.5, seed=1)[:4])
    assert pairs.notes == ("--max-samples 4: the first 4 of the baseline's 10 documents are compared",)


def test_a_limited_baseline_is_compared_with_the_first_documents_of_a_whole_run() -> None:
    ids = shuffled_ids(10)
    pairs = paired(result({"qem": [1.0] * 10}, ids=ids), saved(result({"qem": [0.0] * 4}, ids=ids[:4], max_samples=4)))

    assert pairs.ids == tuple(ids[:4])
    assert pairs.notes == ("the baseline holds the first 4 of this run's 10 documents; only these are compared",)


@pytest.mark.parametrize(("old", "new"), [(4, 6), (6, 4)], ids=["more now", "fewer now"])
def test_two_limits_compare_what_is_common(old: int, new: int) -> None:
    ids = shuffled_ids(10)
    measured = result({"qem": [1.0] * new}, ids=ids[:new], max_samples=new)

    assert paired(measured, saved(result({"qem": [1.0] * old}, ids=ids[:old], max_samples=old))).ids == tuple(ids[:4])


def test_a_limit_that_is_not_reached_is_stale() -> None:
    ids = shuffled_ids(10)
    measured = result({"qem": [1.0] * 3}, ids=ids[:3], max_samples=5)

    assert reasons(measured, saved(result({"qem": [1.0] * 10}, ids=ids))) == [
        ("documents", "3 documents instead of the 5 of the baseline under --max-samples 5")
    ]


def test_a_limit_larger_than_the_data_compares_everything() -> None:
    pairs = paired(result({"qem": [1.0] * 5}, max_samples=100), saved(result({"qem": [1.0] * 5})))

    assert (len(pairs.ids), pairs.notes) == (5, ())


def test_a_subset_in_another_order_is_stale() -> None:
    ids = shuffled_ids(10)
    measured = result({"qem": [1.0] * 4}, ids=sorted(ids)[:4], max_samples=4)

    assert reasons(measured, saved(result({"qem": [1.0] * 10}, ids=ids))) == [
        ("documents", "the first 4 documents are not those of the baseline: the order changed")
    ]


def test_a_run_that_stopped_early_is_compared_as_far_as_it_went() -> None:
    ids = shuffled_ids(10)
    pairs = paired(result({"qem": [1.0] * 4}, ids=ids[5:9]), saved(result({"qem": [1.0] * 10}, ids=ids)), stopped_early=True)

    assert pairs.ids == tuple(ids[5:9])
    assert pairs.notes == ("stopped early: 4 of the baseline's 10 documents are compared",)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (result({"em": [1.0]}), "this run has no metric 'qem', only em (did you mean 'em'?)"),
        (result({"qem": [1.0]}, higher_is_better=False), "qem is better when lower now, unlike in the baseline"),
        (result({"qem": [(1, 2)]}), "qem is made of other values of the documents now than in the baseline"),
    ],
    ids=["gone", "direction", "kind"],
)
def test_another_metric_is_stale_and_cannot_be_allowed(measured: TaskResult, text: str) -> None:
    assert reasons(measured, saved(result({"qem": [1.0]})), allow=list(MismatchKind)) == [("metric", text)]


def test_a_metric_that_the_baseline_lacks_is_stale() -> None:
    assert reasons(result({"qem": [1.0], "acc": [1.0]}), saved(result({"qem": [1.0]})), "acc") == [
        ("metric", "the baseline has no metric 'acc', only qem")
    ]


def test_scores_on_one_side_only_and_scores_that_are_no_numbers_are_stale() -> None:
    ids = shuffled_ids(4)
    measured = result({"qem": [None, 1.0, NAN, 1.0]})
    baseline = saved(result({"qem": [1.0, None, 1.0, 1.0]}))
    found = [
        ("scores", f"2 documents have a score of qem on one side only ({ids[0]}, {ids[1]})"),
        ("scores", f"1 documents have a score of qem that is not a finite number ({ids[2]})"),
    ]

    assert reasons(measured, baseline) == found
    pairs = paired(measured, baseline, allow=[MismatchKind.SCORES])
    assert (pairs.ids, pairs.notes) == ((ids[3],), tuple(f"allowed (scores): {text}" for _, text in found))


def test_nothing_that_is_scored_on_both_sides_cannot_be_allowed() -> None:
    found = align(result({"qem": [None]}), saved(result({"qem": [1.0]})), "qem", allow=list(MismatchKind))

    assert isinstance(found, Mismatch)
    assert found.reasons[-1].text == "no document has a score of qem on both sides"


@pytest.mark.parametrize(("truncated", "stale"), [(5, False), (6, True)], ids=["at the share", "above it"])
def test_too_many_truncated_documents_are_stale(truncated: int, stale: bool) -> None:
    found = align(result({"qem": [1.0] * 100}, num_truncated=truncated), saved(result({"qem": [1.0] * 100})), "qem")

    assert isinstance(found, Mismatch) is stale
    if isinstance(found, Mismatch):
        assert [reason.text for reason in found.reasons] == ["6 of 100 documents lost part of their prompt; at most 5% may"]


@pytest.mark.parametrize(
    ("before", "now", "stale"),
    [((10, 100), (15, 100), False), ((10, 100), (16, 100), True), ((16, 100), (10, 100), True), ((0, 0), (90, 100), False)],
    ids=["at the share", "more", "fewer", "unknown"],
)
def test_another_share_of_cut_answers_is_stale(before: tuple[int, int], now: tuple[int, int], stale: bool) -> None:
    old, new = (replace(result({"qem": [1.0] * 100}), num_cut=cut, num_texts=texts, max_samples=None) for cut, texts in (before, now))
    baseline = saved(old)
    found = align(new, baseline, "qem")

    assert isinstance(found, Mismatch) is stale
    if isinstance(found, Mismatch):
        shares = f"{now[0]:.1f}% of the answers end at the limit of new tokens, {before[0]:.1f}% in the baseline"
        assert [(reason.kind, reason.text) for reason in found.reasons] == [(MismatchKind.CUT, f"{shares}; 5 points may differ")]
        assert not isinstance(align(new, baseline, "qem", allow=[MismatchKind.CUT]), Mismatch)


def test_the_share_of_cut_answers_is_compared_over_the_same_documents_only() -> None:
    old = replace(result({"qem": [1.0] * 100}), num_texts=100)
    first = replace(result({"qem": [1.0] * 10}, ids=shuffled_ids(100)[:10], max_samples=10), num_cut=5, num_texts=10)

    assert not isinstance(align(first, saved(old), "qem"), Mismatch)


def test_all_reasons_are_listed_and_each_is_allowed_by_its_name() -> None:
    measured = result({"qem": [1.0] * 9}, ids=shuffled_ids(10)[:9], version=1, fingerprint="e" * 64, prompt="Frage:", num_truncated=9)
    baseline = saved(result({"qem": [1.0] * 10}))
    everything = [MismatchKind.VERSION, MismatchKind.DATA, MismatchKind.TRUNCATED, MismatchKind.DOCUMENTS, MismatchKind.PROMPTS]

    assert [kind for kind, _ in reasons(measured, baseline)] == [kind.value for kind in everything]
    for kind in everything:
        assert [other for other, _ in reasons(measured, baseline, allow=[kind])] == [other.value for other in everything if other != kind]
    pairs = paired(measured, baseline, allow=everything)
    assert len(pairs.ids) == 9
    assert [note.partition(":")[0] for note in pairs.notes] == [f"allowed ({kind})" for kind in everything]


# ----------------------------------------------------------------------------------------------------- few-shot seeds


def under_seeds(count: int, seeds: Sequence[int], scores: Sequence[float], **facts: Any) -> TaskResult:
    ids = shuffled_ids(count)
    return result({"qem": scores}, ids=ids * len(seeds), seeds=[seed for seed in seeds for _ in ids], **facts)


def test_few_shot_seeds_are_repeats_of_their_document() -> None:
    pairs = paired(under_seeds(2, [0, 1], [1.0, 0.0, 0.0, 0.0]), saved(under_seeds(2, [0, 1], [1.0, 1.0, 0.0, 1.0])))

    assert pairs.ids == tuple(shuffled_ids(2))
    assert (pairs.baseline, pairs.candidate) == (((1.0, 0.0), (1.0, 1.0)), ((1.0, 0.0), (0.0, 0.0)))


def test_fewer_few_shot_seeds_than_the_baseline_has_are_stale() -> None:
    assert reasons(under_seeds(2, [0], [1.0, 0.0]), saved(under_seeds(2, [0, 1, 2], [1.0] * 6))) == [
        ("documents", "the baseline asked under 3 few-shot seeds, this run under 1 of them")
    ]


def test_more_few_shot_seeds_than_the_baseline_has_are_left_out() -> None:
    pairs = paired(under_seeds(2, [0, 1, 2], [1.0, 0.0, 9.0, 9.0, 9.0, 9.0]), saved(under_seeds(2, [0], [1.0, 1.0])))

    assert pairs.candidate == ((1.0,), (0.0,))
    assert pairs.notes == ("the baseline has 1 few-shot seeds; the scores under 2 more are left out",)


def test_a_limit_holds_under_every_few_shot_seed() -> None:
    ids = shuffled_ids(4)
    limited = result({"qem": [1.0] * 4}, ids=ids[:2] * 2, seeds=[0, 0, 1, 1], max_samples=2)

    assert paired(limited, saved(under_seeds(4, [0, 1], [1.0] * 8))).ids == tuple(ids[:2])


# ---------------------------------------------------------------------------------------------- imported baselines


def imported(baseline: BaselineTask) -> BaselineTask:
    """The same without what another program does not know."""
    known = {name: getattr(baseline, name) for name in BaselineTask.__slots__}
    return BaselineTask(**known | {"version": None, "prompt_digests": None, "dataset_fingerprint": None})


def test_documents_of_an_imported_baseline_are_paired_only_when_asked() -> None:
    ids = shuffled_ids(5)
    baseline = imported(saved(result({"qem": [1.0, 0.0, 1.0]}, ids=sorted(ids)[:3], max_samples=3)))
    measured = result({"qem": [1.0] * 5}, ids=ids)

    assert reasons(measured, baseline) == [
        ("unknown-prompts", "the baseline was imported and does not know the prompts, so its documents are matched by their ids alone")
    ]
    pairs = paired(measured, baseline, allow=[MismatchKind.UNKNOWN_PROMPTS])
    assert pairs.ids == tuple(sorted(ids)[:3])
    assert pairs.notes[0] == "3 documents are on both sides (3 in the baseline, 5 in this run)"


# -------------------------------------------------------------------------------------------------- corpus metrics


def test_a_row_of_a_corpus_metric_is_a_document_where_nothing_was_repeated() -> None:
    pairs = paired(result({"bleu": [(1, 2), (3, 4)]}), saved(result({"bleu": [(1, 1), (3, 3)]})), "bleu")

    assert corpus_rows(pairs) == ([(1, 1), (3, 3)], [(1, 2), (3, 4)], None)
    with pytest.raises(ValueError, match="a document's value is a tuple"):
        mean_scores(pairs)


def test_repeats_of_a_corpus_metric_are_rows_of_one_cluster() -> None:
    baseline = saved(result({"bleu": [(1,), (2,)]}), result({"bleu": [(3,), (4,)]}))
    before, after, clusters = corpus_rows(paired(result({"bleu": [(5,), (6,)]}), baseline, "bleu"))

    assert (before, after) == ([(1,), (3,), (2,), (4,)], [(5,), (5,), (6,), (6,)])
    assert clusters == ["document test:1", "document test:1", "document test:0", "document test:0"]


def test_rows_of_repeats_have_the_aggregate_of_all_repeats() -> None:
    """A side's aggregate does not depend on how often the other side was repeated."""
    rng = np.random.default_rng(0)
    runs = [[(float(-rng.integers(1, 99)), int(rng.integers(1, 20))) for _ in range(10)] for _ in range(5)]
    corpus = metric("word_perplexity").corpus["word_perplexity"]
    baseline = saved(*(result({"word_perplexity": run}, higher_is_better=False) for run in runs[:3]))
    before, after, _ = corpus_rows(paired(result({"word_perplexity": runs[3]}, higher_is_better=False), baseline, "word_perplexity"))

    assert corpus.aggregate(before) == pytest.approx(corpus.aggregate([value for run in runs[:3] for value in run]), rel=1e-12)
    assert corpus.aggregate(after) == pytest.approx(corpus.aggregate(runs[3]), rel=1e-12)


def test_infinite_parts_of_a_corpus_metric_are_kept() -> None:
    pairs = paired(result({"ppl": [(-math.inf, 1)]}), saved(result({"ppl": [(-1.0, 1)]})), "ppl")

    assert pairs.candidate == (((-math.inf, 1),),)


def test_a_baseline_of_no_task_is_empty() -> None:
    assert merge_runs([]) == Baseline(tasks={})


# --------------------------------------------------------------------------------------------------- soft scores


def test_soft_scores_are_aligned_with_the_scores_of_their_documents() -> None:
    before = result({"qem": [1.0, 0.0, None]}, ids=["t:1", "t:2", "t:3"], soft={"qem": [0.5, -0.5, 9.0]})
    after = result({"qem": [0.0, 1.0, None]}, ids=["t:2", "t:1", "t:3"], soft={"qem": [-1.0, 1.0, 9.0]})

    pairs = paired(after, saved(before))

    assert pairs.soft is not None
    assert (pairs.ids, pairs.soft.baseline, pairs.soft.candidate) == (("t:1", "t:2"), ((0.5,), (-0.5,)), ((1.0,), (-1.0,)))


@pytest.mark.parametrize("lacking", ["baseline", "run"])
def test_without_soft_scores_on_one_side_there_are_none(lacking: str) -> None:
    with_soft, without = result({"qem": [1.0, 0.0]}, soft={"qem": [0.5, -0.5]}), result({"qem": [1.0, 0.0]})

    pairs = paired(with_soft if lacking == "baseline" else without, saved(without if lacking == "baseline" else with_soft))

    assert pairs.soft is None


def test_the_soft_score_of_a_run_is_the_mean_over_its_few_shot_seeds() -> None:
    ids, seeds = ["t:1", "t:2", "t:1", "t:2"], [0, 0, 1, 1]
    before = result({"qem": [1.0, 0.0, 1.0, 0.0]}, ids=ids, seeds=seeds, soft={"qem": [1.0, -1.0, 2.0, -3.0]})
    again = result({"qem": [1.0, 0.0, 1.0, 0.0]}, ids=ids, seeds=seeds, soft={"qem": [3.0, -1.0, 6.0, -5.0]})

    runs = soft_runs(paired(before, saved(before, again)))

    assert runs is not None
    assert (runs.baseline, runs.candidate) == (((1.5, 4.5), (-2.0, -3.0)), ((1.5,), (-2.0,)))


def test_the_soft_scores_of_several_attempts_are_runs_of_the_candidate() -> None:
    before = result({"qem": [1.0, 0.0]}, ids=["t:1", "t:2"], soft={"qem": [1.0, -1.0]})
    attempts = [result({"qem": [1.0, 0.0]}, ids=["t:1", "t:2"], soft={"qem": list(margins)}) for margins in ((0.5, -2.0), (0.25, -3.0))]

    joined = join_attempts([paired(attempt, saved(before)) for attempt in attempts], saved(before))

    assert joined.soft is not None
    assert (joined.soft.baseline, joined.soft.candidate) == (((1.0,), (-1.0,)), ((0.5, 0.25), (-2.0, -3.0)))

"""Few-shot examples depend on the task, the count and the seed, and on nothing else; no document is its own example."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.errors import DataError
from pytest_lighteval.prompts.few_shots import pick_few_shots, resolve_few_shots_split, shuffle_docs
from pytest_lighteval.types import Doc, FewShotsSelect, PromptTemplate, Task

MODES: tuple[FewShotsSelect, ...] = ("balanced", "random", "sequential", "random_sampling", "random_sampling_from_train")


def _docs(split: str, labels: str) -> list[Doc]:
    """A document a letter, which is its right answer."""
    return [Doc(id=f"{split}:{row}", query=f"{split} {row}", choices=(label,), gold=(0,)) for row, label in enumerate(labels)]


def _rows(docs: tuple[Doc, ...]) -> list[int]:
    return [int(doc.id.split(":")[1]) for doc in docs]


def _picks(docs: list[Doc], pool: list[Doc], mode: FewShotsSelect, count: int, seed: int = 0) -> list[list[int]]:
    return [_rows(shots) for shots in pick_few_shots(docs, pool, mode=mode, count=count, seed=seed, rng=random.Random(42))]


@pytest.mark.parametrize(
    ("mode", "seed", "rows"),
    [
        pytest.param("sequential", 0, [0, 1], id="sequential begins at the beginning"),
        pytest.param("sequential", 1, [2, 3], id="each seed goes on by the count"),
        pytest.param("sequential", 2, [4, 0], id="from the beginning, not from the seed before, and around the end"),
        pytest.param("random", 0, [0, 1], id="random keeps the order for the first seed"),
        pytest.param("random", 1, [2, 3], id="and is the seeded shuffle for others"),
    ],
)
def test_modes_without_draws_give_every_document_the_same(mode: FewShotsSelect, seed: int, rows: list[int]) -> None:
    assert _picks(_docs("test", "ab"), _docs("train", "aabbc"), mode, 2, seed) == [rows, rows]


def test_balanced_takes_labels_in_turn_from_the_most_frequent_on() -> None:
    pool = _docs("train", "aaabbc")
    (shots,) = pick_few_shots(_docs("test", "a"), pool, mode="balanced", count=6, rng=random.Random(42))

    assert "".join(shot.golds[0] for shot in shots) == "abcaba"


def test_balanced_goes_by_the_sorting_class_where_there_is_one() -> None:
    pool = [replace(doc, fewshot_sorting_class=label) for doc, label in zip(_docs("train", "aaaa"), "yyxx", strict=True)]
    (shots,) = pick_few_shots(_docs("test", "a"), pool, mode="balanced", count=4, rng=random.Random(42))

    assert Counter(shot.fewshot_sorting_class for shot in shots[:2]) == {"x": 1, "y": 1}


def test_balanced_stops_at_an_empty_label_as_the_reference_does() -> None:
    pool = [replace(doc, fewshot_sorting_class=label) for doc, label in zip(_docs("train", "aaaa"), ["x", "x", "", "y"], strict=True)]

    assert all(len(picks) <= 2 for seed in range(5) for picks in _picks(_docs("test", "a"), pool, "balanced", 4, seed))


@pytest.mark.parametrize(("mode", "drawn"), [("random_sampling", 4), ("random_sampling_from_train", 3)])
def test_sampling_modes_draw_for_each_document_in_turn(mode: FewShotsSelect, drawn: int) -> None:
    docs, pool = _docs("test", "abc"), _docs("train", "a" * 9)
    stream = random.Random(42)

    assert _picks(docs, pool, mode, 3) == [stream.sample(range(9), drawn)[:3] for _ in docs]


def test_a_document_is_not_its_own_example_even_where_examples_are_written_differently() -> None:
    docs = _docs("test", "aaa")
    pool = [replace(doc, query=f"as an example, {doc.query}") for doc in docs]

    assert _picks(docs, pool, "sequential", 2) == [[1, 2], [0, 2], [0, 1]]


def test_a_row_of_the_same_text_is_not_an_example_either() -> None:
    docs = _docs("test", "a")
    pool = [replace(docs[0], id="train:0", cluster="its own"), replace(docs[0], id="train:1", choices=("b",)), *_docs("train", "xxx")[2:]]

    assert _picks(docs, pool, "sequential", 2) == [[1, 2]]


def test_zero_examples_draw_nothing_and_need_no_pool() -> None:
    stream = random.Random(42)

    assert pick_few_shots(_docs("test", "ab"), [], mode="random_sampling", count=0, rng=stream) == [(), ()]
    assert stream.getstate() == random.Random(42).getstate()


@pytest.mark.parametrize("mode", ["balanced", "random", "sequential"])
def test_a_small_pool_gives_what_it_has(mode: FewShotsSelect) -> None:
    (picks,) = _picks(_docs("test", "a"), _docs("train", "ab"), mode, 5)

    assert sorted(picks) == [0, 1]


@pytest.mark.parametrize(
    ("mode", "labels", "message"),
    [
        pytest.param(
            "random_sampling",
            "aa",
            "t: few_shots_select: random_sampling draws 3 documents for 2 few-shot examples, and there are 2 to draw from",
            id="random_sampling",
        ),
        pytest.param(
            "random_sampling_from_train",
            "a",
            "t: few_shots_select: random_sampling_from_train draws 2 documents for 2 few-shot examples, and there are 1 to draw from",
            id="random_sampling_from_train",
        ),
        pytest.param("balanced", "", "t: 2 few-shot examples are asked for, and there is no document to take them from", id="empty"),
    ],
)
def test_a_pool_that_is_too_small_to_draw_from_is_an_error(mode: FewShotsSelect, labels: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        pick_few_shots(_docs("test", "a"), _docs("train", labels), mode=mode, count=2, rng=random.Random(42), where="t")

    assert str(raised.value) == message


@given(
    mode=st.sampled_from(MODES),
    labels=st.text("abc", min_size=6, max_size=12),
    count=st.integers(1, 5),
    seed=st.integers(0, 3),
    size=st.integers(1, 6),
)
def test_every_pick_is_distinct_never_the_document_and_leaves_no_trace(
    mode: FewShotsSelect, labels: str, count: int, seed: int, size: int
) -> None:
    pool = _docs("test", labels)
    docs = pool[:size]
    before, process_state = list(pool), random.getstate()

    picks = _picks(docs, pool, mode, count, seed)

    least = count if mode != "random_sampling_from_train" else count - 1
    for row, rows in enumerate(picks):
        assert row not in rows
        assert len(set(rows)) == len(rows)
        assert least <= len(rows) <= count
    assert _picks(docs, pool, mode, count, seed) == picks
    assert pool == before
    assert random.getstate() == process_state


def test_the_order_of_documents_is_the_seeded_shuffle() -> None:
    docs = _docs("test", "abcdefgh")
    shuffled = shuffle_docs(docs, random.Random(42))

    assert _rows(tuple(shuffled)) == [3, 4, 6, 7, 2, 5, 0, 1]
    assert _rows(tuple(docs)) == list(range(8))


@pytest.mark.parametrize(
    ("available", "evaluated", "declared", "split"),
    [
        pytest.param(("train", "dev", "test"), ("test",), "dev", "dev", id="the declared one"),
        pytest.param(("dev", "auxiliary_train", "test"), ("test",), None, "auxiliary_train", id="one named like train before dev"),
        pytest.param(("validation", "dev", "test"), ("test",), None, "dev", id="dev before validation"),
        pytest.param(("default", "validation", "test"), ("test",), None, "validation", id="validation before default"),
        pytest.param(("train", "validation"), ("train", "validation"), None, None, id="none that is evaluated"),
        pytest.param(("test", "extra"), ("test",), None, None, id="none of another name"),
    ],
)
def test_examples_come_from_a_split_that_is_named_for_it(
    available: tuple[str, ...], evaluated: tuple[str, ...], declared: str | None, split: str | None
) -> None:
    task = _task(hf_avail_splits=available, evaluation_splits=evaluated, few_shots_split=declared)

    assert resolve_few_shots_split(task) == split


def test_local_files_are_the_splits_that_there_are() -> None:
    task = replace(_task(evaluation_splits=("test",)), data_files={"test": "test.jsonl", "devtest": "dev.jsonl"})

    assert resolve_few_shots_split(task) == "devtest"


def _task(
    *,
    hf_avail_splits: tuple[str, ...] = ("train", "validation", "test"),
    evaluation_splits: tuple[str, ...],
    few_shots_split: str | None = None,
) -> Task:
    return Task(
        suite="s",
        name="t",
        prompt=PromptTemplate(query="{{ q }}"),
        metrics=(),
        path=Path("s.yaml"),
        line=1,
        hf_avail_splits=hf_avail_splits,
        evaluation_splits=evaluation_splits,
        few_shots_split=few_shots_split,
    )

"""The seeded order of documents, and the few-shot examples of each. Knows documents, not their prompts.

The algorithms are Lighteval v0.9.2's (https://github.com/huggingface/lighteval/blob/v0.9.2/src/lighteval/tasks/prompt_manager.py),
draw for draw. They differ where a choice would depend on what else is evaluated: an earlier seed or another count never changes the
pool, and no random state is shared with the process.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import assert_never

from pytest_lighteval.errors import DataError
from pytest_lighteval.types import Doc, FewShotsSelect, Task

_NAMED_LIKE = ("train", "dev", "valid", "default")
"""What the name of a split for few-shot examples has in it, the best first."""


def resolve_few_shots_split(task: Task) -> str | None:
    """The split that few-shot examples come from. None: there is no other split, so they come from the evaluation documents."""
    if task.few_shots_split is not None:
        return task.few_shots_split
    splits = [split for split in task.data_files or task.hf_avail_splits if split not in task.evaluation_splits]
    return next((split for name in _NAMED_LIKE for split in splits if name in split), None)


def without_reserved(docs: Sequence[Doc], reserved: int) -> list[Doc]:
    """The documents that are evaluated, where the first `reserved` are kept as examples: none that shares a source with one of those."""
    sources = {doc.cluster for doc in docs[:reserved]} - {None}
    return [doc for doc in docs[reserved:] if doc.cluster not in sources]


def shuffle_docs(docs: Sequence[Doc], rng: random.Random) -> list[Doc]:
    """The documents in the order of evaluation. `pick_few_shots` must continue with the same `rng`."""
    shuffled = list(docs)
    rng.shuffle(shuffled)
    return shuffled


def pick_few_shots(
    docs: Sequence[Doc],
    pool: Sequence[Doc],
    *,
    mode: FewShotsSelect,
    count: int,
    seed: int = 0,
    rng: random.Random,
    where: str = "few-shots",
) -> list[tuple[Doc, ...]]:
    """The examples of every document in the order of its prompt; `docs` in the order of evaluation, `pool` in that of the data set.

    A document is never its own example, neither the same row nor another row of the same text. There may then be fewer than `count`,
    as with a small pool. Only the two sampling modes draw from `rng`, document by document.
    Raises DataError for an empty pool, or one too small to be sampled from.
    """
    if count == 0:
        return [()] * len(docs)
    if not pool:
        raise DataError(f"{where}: {count} few-shot examples are asked for, and there is no document to take them from")

    ordered = _order_pool(pool, mode, count, seed)
    if mode not in ("random_sampling", "random_sampling_from_train"):
        return [_others(doc, ordered, count) for doc in docs]

    sample_size = count + 1 if mode == "random_sampling" else count
    if sample_size > len(ordered):
        raise DataError(
            f"{where}: few_shots_select: {mode} draws {sample_size} documents for {count} few-shot examples, "
            f"and there are {len(ordered)} to draw from"
        )
    return [_others(doc, rng.sample(ordered, sample_size), count) for doc in docs]


def _order_pool(pool: Sequence[Doc], mode: FewShotsSelect, count: int, seed: int) -> list[Doc]:
    match mode:
        case "balanced":
            # one more than asked, for the document that may have to be left out
            return list(islice(_balanced(pool, random.Random(seed)), count + 1))
        case "sequential":
            start = count * seed % len(pool)
            return [*pool[start:], *pool[:start]]
        case "random" | "random_sampling" | "random_sampling_from_train":
            # as in the reference, "random" keeps the order of the data set for the first seed
            return shuffle_docs(pool, random.Random(seed)) if seed else list(pool)
        case _:
            assert_never(mode)


def _balanced(pool: Sequence[Doc], rng: random.Random) -> Iterator[Doc]:
    """A random document of each label in turn, the most frequent label first, until all are used up."""
    by_label = defaultdict(list)
    for doc in pool:
        by_label[_label(doc)].append(doc)
    by_size = defaultdict(list)
    for label in sorted(by_label):
        by_size[len(by_label[label])].append(label)
    for size in sorted(by_size, reverse=True):
        rng.shuffle(by_size[size])
    labels = list(chain.from_iterable(by_size[size] for size in sorted(by_size, reverse=True)))

    left = len(pool)
    while left:
        for label in labels:
            if label == "":
                return  # as in the reference, whose loop ends at an empty label
            if docs := by_label[label]:
                yield docs.pop(rng.randrange(len(docs)))
                left -= 1


def _label(doc: Doc) -> str:
    if doc.fewshot_sorting_class is not None:
        return doc.fewshot_sorting_class
    return doc.golds[0] if doc.gold else ""


def _others(doc: Doc, candidates: Sequence[Doc], count: int) -> tuple[Doc, ...]:
    return tuple(islice((candidate for candidate in candidates if not _is_same(candidate, doc)), count))


def _is_same(candidate: Doc, doc: Doc) -> bool:
    """The same row, in any form of prompt, or a row of the same content."""
    if candidate.id == doc.id:
        return True
    return candidate.query == doc.query and replace(candidate, id=doc.id, cluster=doc.cluster) == doc

"""Log-likelihoods of token pairs: over their prefix tree where the model can, by plain rows where it cannot.

Which of the two runs is decided by numbers: at load both answer a small probe, and the tree is used if they agree.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from pytest_lighteval.backends.accelerate.scoring.prefix_tree import MOST_TOKENS, plan_tree, run_plan
from pytest_lighteval.backends.accelerate.scoring.prefix_tree import Limits as TreeLimits
from pytest_lighteval.backends.accelerate.scoring.prefix_tree import TooBig as TreeTooBig
from pytest_lighteval.backends.accelerate.scoring.row_batches import Limits as RowLimits
from pytest_lighteval.backends.accelerate.scoring.row_batches import Row, TooBig, plan_rows, run_in_batches
from pytest_lighteval.backends.accelerate.scoring.row_scorer import Scored, Scorer
from pytest_lighteval.backends.accelerate.scoring.tree_scorer import PartialScore, TreeScorer
from pytest_lighteval.backends.common.token_pairs import TokenPair

Item = TypeVar("Item")
Result = TypeVar("Result")


class Attempt(Protocol):
    """Calls what runs a batch; None when memory ran out."""

    def __call__(self, run: Callable[[Sequence[Item]], Result], items: Sequence[Item], /) -> Result | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A pair that has no score."""

    owner: int
    error: str


class Scoring(Protocol):
    """A way to score pairs."""

    tokens_computed: int
    """Fed to the model so far, padding included."""

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """Every pair once, batch by batch; `owner` is the pair's index."""


def _ignore(size: int) -> None:
    """Nobody wants to hear that batches shrank."""


class PlainRows:
    """Every distinct sequence is a padded row of its own, in the model's own attention."""

    def __init__(self, scorer: Scorer, limits: RowLimits, attempt: Attempt, on_shrink: Callable[[int], None] = _ignore) -> None:
        self._scorer, self._limits, self._attempt, self._on_shrink = scorer, limits, attempt, on_shrink
        self.tokens_computed = 0

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """See `Scoring.score`."""
        for batch in run_in_batches(plan_rows(pairs), _row_size, self._limits, self._run, self._on_shrink):
            if isinstance(batch, TooBig):
                error = f"memory ran out on a single row of {len(batch.item.tokens)} tokens"
                yield [Failed(owner=ask.owner, error=error) for ask in batch.item.asks]
            else:
                yield [scored for row in batch.results for scored in row]

    def _run(self, rows: Sequence[Row]) -> list[list[Scored]] | None:
        results = self._attempt(self._scorer.score, rows)
        if results is not None:
            self.tokens_computed += len(rows) * max(len(row.tokens) for row in rows)
        return results


class PrefixTree:
    """Every token of the pairs' prefix tree is fed once."""

    def __init__(
        self,
        scorer: TreeScorer,
        limits: TreeLimits,
        attempt: Attempt,
        on_shrink: Callable[[int], None] = _ignore,
        *,
        tolerated_waste: int | None = None,
        plain: Scoring | None = None,
    ) -> None:
        """`tolerated_waste`: see `plan_tree`. None: its default.

        `plain` scores the pairs of a piece that does not fit into memory, each of which may fit alone. None: they fail.
        """
        self._scorer, self._limits, self._attempt, self._on_shrink = scorer, limits, attempt, on_shrink
        self._plain = plain
        # logits of a piece are computed at once, and every place of it may be asked
        self._planning = {"most_tokens": min(MOST_TOKENS, limits.logits)}
        if tolerated_waste is not None:
            self._planning["tolerated_waste"] = tolerated_waste
        self.tokens_computed = 0

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """See `Scoring.score`."""
        plan = plan_tree(pairs, **self._planning)
        unfinished: dict[int, list[PartialScore]] = {}

        def run(numbers: Sequence[int]) -> list[PartialScore] | None:
            return self._attempt(lambda numbers: self._scorer.score(plan, numbers), numbers)

        try:
            for batch in run_plan(plan, self._limits, run, self._scorer.release, self._on_shrink):
                if isinstance(batch, TreeTooBig):
                    owners = list(dict.fromkeys(ask.owner for number in batch.pieces for ask in plan.pieces[number].asks))
                    for owner in owners:
                        unfinished.pop(owner, None)
                    piece = plan.pieces[batch.pieces[0]]
                    yield from self._alone(owners, pairs, piece.start + len(piece.tokens))
                    continue
                self.tokens_computed += sum(len(plan.pieces[number].tokens) for number in batch.pieces)
                yield list(_completed(batch.result, pairs, unfinished))
        finally:
            self._scorer.clear()

    def _alone(self, owners: Sequence[int], pairs: Sequence[TokenPair], tokens: int) -> Iterator[list[Scored | Failed]]:
        """The pairs of pieces that did not fit, by plain rows."""
        if self._plain is None:
            yield [Failed(owner=owner, error=f"memory ran out on a single row of {tokens} tokens") for owner in owners]
            return
        before = self._plain.tokens_computed
        for batch in self._plain.score([pairs[owner] for owner in owners]):
            yield [replace(one, owner=owners[one.owner]) for one in batch]
        self.tokens_computed += self._plain.tokens_computed - before


def _completed(
    partial: Iterable[PartialScore], pairs: Sequence[TokenPair], unfinished: dict[int, list[PartialScore]]
) -> Iterator[Scored | Failed]:
    for part in partial:
        parts = [*unfinished.pop(part.owner, ()), part]
        if sum(len(part.logprobs) for part in parts) < len(pairs[part.owner].continuation):
            unfinished[part.owner] = parts
            continue
        yield Scored(
            owner=part.owner,
            logprob=math.fsum(logprob for part in parts for logprob in part.logprobs),
            greedy=all(flag for part in parts for flag in part.greedy),
        )


def find_disagreement(tree: Scoring, plain: Scoring, *, vocabulary: int, exact: bool, max_length: int) -> str | None:
    """Why the prefix tree cannot be used: where its log-likelihoods of a small probe differ from those of plain rows. None: it can.

    `exact` is for models that compute in fp32 or better, where both must agree to rounding; in half precision plain rows differ among
    themselves, and a wrong attention by far more.
    """
    pairs = _probe_pairs(vocabulary, max_length)
    found, expected = ({one.owner: one for batch in way.score(pairs) for one in batch} for way in (tree, plain))
    for owner, pair in enumerate(pairs):
        one, other = found[owner], expected[owner]
        if isinstance(one, Failed) or isinstance(other, Failed):
            return one.error if isinstance(one, Failed) else "plain rows fail"
        allowed = (
            max(1e-4, 1e-6 * abs(other.logprob))
            if exact
            else (0.25 + 0.01 * abs(other.logprob / len(pair.continuation))) * len(pair.continuation)
        )
        if not abs(one.logprob - other.logprob) <= allowed:
            return f"on a probe it gives {one.logprob:.4f} where plain rows give {other.logprob:.4f}"
    return None


def unsupported(config: Any) -> str | None:
    """Why a model of this configuration is not even tried on a prefix tree. None: it may be."""
    text = config.get_text_config()
    if not getattr(text, "num_attention_heads", None):
        return "it has no attention heads"
    others = {kind for kind in getattr(text, "layer_types", None) or () if kind not in ("full_attention", "sliding_attention")}
    if others:
        return f"it has layers of {' and '.join(sorted(others))}"
    for rope in _rope_kinds(text):
        if rope in ("dynamic", "longrope"):
            return f"its {rope} positions depend on the longest sequence of a batch"
    return None


def hidden_window(config: Any, max_length: int) -> str | None:
    """For a model none of whose layers spoke of a sliding window: why that is not to be trusted. None: it has none that matters."""
    window = getattr(config.get_text_config(), "sliding_window", None)
    used = getattr(config.get_text_config(), "use_sliding_window", True)
    if window and used and window < max_length:
        return f"its sliding window of {window} tokens is applied where it cannot be seen"
    return None


def _rope_kinds(config: Any) -> Iterator[str]:
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for one in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        kind = one.get("rope_type", one.get("type"))
        if isinstance(kind, str):
            yield kind


def _probe_pairs(vocabulary: int, max_length: int) -> list[TokenPair]:
    """Two stems behind one another, documents with nested choices of several lengths, and one that stands alone."""
    draw = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(max(1, min(count, max_length // 8))))

    shared, nested = tokens(24), tokens(9)
    pairs = [TokenPair(context=tokens(7), continuation=tokens(3))]
    for front in (shared, shared, shared + nested, shared + nested):
        document, choice = tokens(11), tokens(4)
        pairs += [TokenPair(context=front + document, continuation=choice + tail) for tail in ((), tokens(2), tokens(5))]
        pairs.append(TokenPair(context=front + document, continuation=tokens(1)))
    return pairs


def _row_size(row: Row) -> tuple[int, int]:
    return len(row.tokens), len(row.tokens) - row.asked_from

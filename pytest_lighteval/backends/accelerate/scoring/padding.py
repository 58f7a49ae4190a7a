"""Find out at load whether a row's scores depend on the rows that share its batch, and whether the model is causal at all."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.model_calls import ModelCalls
from pytest_lighteval.backends.accelerate.row_groups import LONGEST_PROBE, RowGroups, declared_groups, probe_lengths, sight_limits
from pytest_lighteval.backends.accelerate.scoring.row_scorer import RowScorer
from pytest_lighteval.backends.accelerate.scoring.rows import Row
from pytest_lighteval.backends.accelerate.scoring.scores import TargetTokens
from pytest_lighteval.errors import BackendError

Tokens = tuple[int, ...]


class PaddingProbe:
    """Compares a row alone with the same row padded beside a longer and a shorter one."""

    def __init__(self, loaded: LoadedModel, scorer: RowScorer, calls: ModelCalls, *, max_length: int) -> None:
        self._scorer, self._calls, self._exact = scorer, calls, loaded.is_exact
        self._config, self._max_length = loaded.model.config, max_length
        self._draw = random.Random(0)
        self._vocabulary: int = self._config.get_text_config().vocab_size

    def short(self) -> RowGroups:
        """The rules that a few short rows show: for every model, whatever path it takes. Raises BackendError if it is not causal."""
        groups = declared_groups(self._config, self._max_length)
        lengths = probe_lengths(groups, self._max_length)
        if lengths is None:
            return groups
        rows = self._rows(lengths)
        # one row alone, between a longer and a shorter one, as every model that is loaded pays for it
        reason = self._why_not_together(rows, compared=1)
        if reason is None:
            return groups
        leak = self._leak(rows)
        if leak is not None:
            raise BackendError(
                f"{self._calls.name}: it is not causal: later tokens change the log-probabilities of earlier ones (by {leak:.2g} "
                "on a probe), and this backend runs causal models; a model like BERT needs is_decoder=true in its config.json"
            )
        apart = self._why_not_together([rows[1], self._tokens(len(rows[1]))], compared=1)
        return groups.equal(reason) if apart is None else groups.alone(f"{apart}, even of equal length")

    def long(self, groups: RowGroups) -> RowGroups:
        """The same rules and those that long rows show: for models whose layers may see less than everything before a token."""
        limits = [limit for limit in sight_limits(self._config.get_text_config()) if limit < self._max_length]
        short = probe_lengths(groups, self._max_length)
        lengths = probe_lengths(groups, self._max_length, beyond=[limit for limit in limits if limit < LONGEST_PROBE - 30])
        if short is not None and lengths is not None:
            rows = self._rows(lengths)
            reason = self._why_not_together(rows, compared=2)
            if reason is not None and self._leak(rows) is not None:
                return groups.not_causal(short[0], "later tokens change the log-probabilities of earlier ones")
            if reason is not None:
                return groups.equal(reason, beyond=short[0])
        unseen = [limit for limit in limits if limit >= max(LONGEST_PROBE - 30, lengths[0] if lengths is not None else 0)]
        if groups.one_by_one or groups.padded == 0 or not unseen:
            return groups
        return groups.equal(f"padding is not probed beyond {unseen[0]} tokens", beyond=unseen[0])

    def _why_not_together(self, rows: Sequence[Tokens], *, compared: int) -> str | None:
        """Why these rows cannot share a batch: what some rows after the first give alone differs. None: they can."""
        shared = [_row(tokens) for tokens in rows]
        try:
            together = self._calls.attempt(self._scorer.score, shared)
            alone = [self._alone(row) for row in shared[1 : 1 + compared]]
        except BackendError as error:
            return str(error).removeprefix(f"{self._calls.name}: ")
        if together is None:
            return "memory ran out on a probe"
        for scores, expected in zip(together[1 : 1 + compared], alone, strict=True):
            difference = self._difference([one.logprob for one in scores], expected)
            if difference is not None:
                return f"a row's log-probabilities change by {difference:.2g} with the rows beside it"
        return None

    def _leak(self, rows: Sequence[Tokens]) -> float | None:
        """By how much the end of the first row changes the scores of its start, which is the second row. None: hardly, so it is causal."""
        try:
            found, alone = self._alone(_row(rows[0]))[: len(rows[1]) - 1], self._alone(_row(rows[1]))
        except BackendError:  # it fails on random tokens: only real requests can tell
            return None
        differences = [abs(one - other) for one, other in zip(found, alone, strict=True)]
        leaks = max(differences) > 0.05 if self._exact else sum(differences) > 0.5 * len(differences)
        return max(differences) if leaks else None

    def _alone(self, row: Row) -> list[float]:
        scores = self._calls.attempt(self._scorer.score, [row])
        if scores is None:
            raise BackendError(f"{self._calls.name}: memory ran out on a single row of {len(row.tokens)} tokens")
        return [one.logprob for one in scores[0]]

    def _difference(self, found: Sequence[float], alone: Sequence[float]) -> float | None:
        """The largest difference of a token. None: only rounding differs; in half precision a wrong answer differs by far more."""
        differences = [abs(one - other) for one, other in zip(found, alone, strict=True)]
        allowed = [1e-4 + 1e-5 * abs(other) for other in alone]
        agrees = (
            all(difference <= most for difference, most in zip(differences, allowed, strict=True))
            if self._exact
            else sum(differences) <= 0.25 * len(differences)
        )
        return None if agrees else max(differences)

    def _rows(self, lengths: Sequence[int]) -> list[Tokens]:
        """Rows of these lengths; the second is how the first starts."""
        first = self._tokens(lengths[0])
        return [first, first[: lengths[1]], *(self._tokens(length) for length in lengths[2:])]

    def _tokens(self, count: int) -> Tokens:
        return tuple(self._draw.randrange(self._vocabulary) for _ in range(count))


def _row(tokens: Tokens) -> Row:
    targets = tuple(TargetTokens(owner=place, first=place, tokens=(token,)) for place, token in enumerate(tokens[1:]))
    return Row(tokens=tokens, targets=targets)

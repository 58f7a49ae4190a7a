"""Log-likelihoods by plain rows: padded, in the model's own attention. Any causal model can do it; the reference for the prefix tree."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Literal

import torch

from pytest_lighteval.backends.accelerate.batches import BatchLimits, TooBig, run_in_batches
from pytest_lighteval.backends.accelerate.memory import Attempt
from pytest_lighteval.backends.accelerate.model_calls import evaluating
from pytest_lighteval.backends.accelerate.row_groups import ANY_ROWS, RowGroups
from pytest_lighteval.backends.accelerate.scoring.rows import Row, plan_rows
from pytest_lighteval.backends.accelerate.scoring.scores import Failed, Scored
from pytest_lighteval.backends.common.token_pairs import TokenPair

Keep = Literal["each", "shared", "all"]

_POSITIONS_AT_ONCE = 512
"""Positions whose log-softmax is held in fp32 at a time."""


class RowScorer:
    """A loaded causal model that scores one batch of rows.

    Rows are padded on the right and get no attention mask: what a causal model computes at a position depends on nothing after it.
    Positions count from 0 in every row, as they do without padding.
    """

    def __init__(self, model: Any, device: torch.device, pad_token: int) -> None:
        self._model, self._device, self._pad_token = model, device, pad_token
        self.keep: Keep = self._probe()
        """Where the output head can be applied: at each row's own positions, at positions shared by all rows, or only at all positions."""

    def score(self, rows: Sequence[Row]) -> list[list[Scored]]:
        """The scores of every row's targets, in order. One synchronisation with the device."""
        inputs = torch.full((len(rows), max(len(row.tokens) for row in rows)), self._pad_token, dtype=torch.long)
        for index, row in enumerate(rows):
            inputs[index, : len(row.tokens)] = torch.tensor(row.tokens, dtype=torch.long)
        needed = [sorted({place for target in row.targets for place in target.places}) for row in rows]
        targets = [(index, target) for index, row in enumerate(rows) for target in row.targets]
        places = torch.tensor([(index, place) for index, target in targets for place in target.places])
        tokens = torch.tensor([token for _, target in targets for token in target.tokens])
        with torch.inference_mode():
            logits, columns = self._logits(inputs, needed, places)
            logprobs, greedy = token_scores(logits.flatten(0, 1), places[:, 0] * logits.shape[1] + columns, tokens)
        scored: list[list[Scored]] = [[] for _ in rows]
        start = 0
        for index, target in targets:
            end = start + len(target.tokens)
            scored[index].append(Scored(owner=target.owner, logprob=math.fsum(logprobs[start:end]), greedy=all(greedy[start:end])))
            start = end
        return scored

    def _logits(self, inputs: torch.Tensor, needed: list[list[int]], places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits at the needed positions of each row, perhaps at others too; and the column of each place (row, position) in them."""
        arguments = {"input_ids": inputs.to(self._device), "use_cache": False}
        if self.keep == "all":
            return self._model(**arguments).logits, places[:, 1]
        if self.keep == "shared":
            union = sorted({position for positions in needed for position in positions})
            column_of = {position: column for column, position in enumerate(union)}
            columns = [column_of[position] for position in places[:, 1].tolist()]
            keep = torch.tensor(union, device=self._device)
        else:
            most = max(len(positions) for positions in needed)
            keep = torch.tensor([positions + [positions[-1]] * (most - len(positions)) for positions in needed], device=self._device)
            column_in = [{position: column for column, position in enumerate(positions)} for positions in needed]
            columns = [column_in[row][position] for row, position in places.tolist()]
        return self._model(**arguments, logits_to_keep=keep).logits, torch.tensor(columns)

    def _probe(self) -> Keep:
        """See `keep`. Tried on two short rows and compared with all logits: what `logits_to_keep` may be differs between models."""
        if "logits_to_keep" not in inspect.signature(self._model.forward).parameters:
            return "all"
        inputs = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]], device=self._device)
        with evaluating(self._model), torch.inference_mode():
            everything = self._model(input_ids=inputs, use_cache=False).logits
            own, shared = torch.tensor([[3, 1], [0, 2]], device=self._device), torch.tensor([1, 3], device=self._device)
            expected: dict[Keep, tuple[torch.Tensor, torch.Tensor]] = {
                "each": (own, torch.stack([everything[0, [3, 1]], everything[1, [0, 2]]])),
                "shared": (shared, everything[:, [1, 3]]),
            }
            for kind, (keep, logits) in expected.items():
                with contextlib.suppress(RuntimeError, IndexError, TypeError, ValueError):
                    found = self._model(input_ids=inputs, use_cache=False, logits_to_keep=keep).logits
                    if found.shape == logits.shape and torch.allclose(found.float(), logits.float(), rtol=1e-2, atol=1e-2):
                        return kind
        return "all"


class RowScoring:
    """The `Scoring` in which every distinct sequence is a padded row of its own."""

    def __init__(
        self,
        scorer: RowScorer,
        limits: BatchLimits,
        attempt: Attempt,
        on_shrink: Callable[[int], None] = lambda rows: None,
        *,
        groups: RowGroups = ANY_ROWS,
    ) -> None:
        """`on_shrink` gets the new number of rows when memory ran out. `groups`: which rows may share a batch."""
        self._scorer, self._limits, self._attempt, self._on_shrink = scorer, groups.limits(limits), attempt, on_shrink
        self._groups = groups
        self.tokens_computed = 0

    def score(self, pairs: Sequence[TokenPair]) -> Iterator[list[Scored | Failed]]:
        """See `Scoring.score`."""
        rows = plan_rows(pairs)
        causal = self._groups.causal
        if causal is not None:
            refused = [target.owner for row in rows if len(row.tokens) > causal for target in row.targets]
            rows = [row for row in rows if len(row.tokens) <= causal]
            yield [Failed(owner=owner, error=f"the model is not causal in rows of more than {causal} tokens") for owner in refused]
        for batch in run_in_batches(rows, lambda row: row.size, self._limits, self._run, self._on_shrink, group=self._group):
            if isinstance(batch, TooBig):
                (row,) = batch.items
                error = f"memory ran out on a single row of {len(row.tokens)} tokens"
                yield [Failed(owner=target.owner, error=error) for target in row.targets]
            else:
                yield [scored for row_scores in batch.result for scored in row_scores]

    def _group(self, row: Row) -> Hashable:
        return self._groups.scored(len(row.tokens))

    def _run(self, rows: Sequence[Row]) -> list[list[Scored]] | None:
        scores = self._attempt(self._scorer.score, rows)
        if scores is not None:
            self.tokens_computed += len(rows) * max(len(row.tokens) for row in rows)
        return scores


def token_scores(logits: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> tuple[list[float], list[bool]]:
    """Log-probability of each target, and whether it is the likeliest token. `places[i]` is the row of the logits that scores `targets[i]`.

    `logits` are `[rows, vocabulary]`. Log-softmax in fp32, whatever their dtype. One synchronisation with the device. Call it in
    inference mode.
    """
    # every row is reduced once, however many choices are scored there
    rows, row_of = torch.unique(places, return_inverse=True)
    lses, likeliest = [logits.new_empty(0, dtype=torch.float32)], [targets.new_empty(0, device=logits.device)]
    for part in rows.to(logits.device).split(_POSITIONS_AT_ONCE):
        at = logits.index_select(0, part).float()
        lses.append(at.logsumexp(-1))
        likeliest.append(at.argmax(-1))
    places, targets, row_of = (index.to(logits.device) for index in (places, targets, row_of))
    logprobs = logits[places, targets].float() - torch.cat(lses)[row_of]
    greedy = torch.cat(likeliest)[row_of] == targets
    together = torch.stack([logprobs, greedy.float()]).cpu()
    return together[0].tolist(), [flag != 0 for flag in together[1].tolist()]

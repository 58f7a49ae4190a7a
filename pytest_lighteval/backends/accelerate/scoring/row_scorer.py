"""Run planned rows through a causal model: log-probabilities of the asked tokens. The one place where scores are computed."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pytest_lighteval.backends.accelerate.scoring.row_batches import Row

Keep = Literal["each", "shared", "all"]

_POSITIONS_AT_ONCE = 512
"""Positions whose log-softmax is held in fp32 at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one `Ask` wanted to know."""

    owner: int
    logprob: float
    """Natural log; fp32 log-softmax a token, summed in float64."""
    greedy: bool


class Scorer:
    """A loaded causal model that scores rows.

    Rows are padded on the right and no attention mask is given: a causal model's answer at a position depends on nothing behind it, and
    positions count from 0 in every row, as they do without padding.
    """

    def __init__(self, model: Any, device: torch.device, pad_token: int) -> None:
        self._model, self._device, self._pad_token = model, device, pad_token
        self.keep: Keep = self._probe()

    def score(self, rows: Sequence[Row]) -> list[list[Scored]]:
        """The answers to every row's asks, in order. One synchronisation with the device."""
        inputs = torch.full((len(rows), max(len(row.tokens) for row in rows)), self._pad_token, dtype=torch.long)
        for index, row in enumerate(rows):
            inputs[index, : len(row.tokens)] = torch.tensor(row.tokens, dtype=torch.long)
        wanted = [sorted({ask.first + offset for ask in row.asks for offset in range(len(ask.targets))}) for row in rows]
        asked = [(index, ask) for index, row in enumerate(rows) for ask in row.asks]
        places = torch.tensor([(index, ask.first + offset) for index, ask in asked for offset in range(len(ask.targets))])
        targets = torch.tensor([target for _, ask in asked for target in ask.targets])
        with torch.inference_mode():
            logits, columns = self._logits(inputs, wanted, places)
            logprobs, greedy = token_scores(logits.flatten(0, 1), places[:, 0] * logits.shape[1] + columns, targets)
        scored: list[list[Scored]] = [[] for _ in rows]
        start = 0
        for index, ask in asked:
            behind = start + len(ask.targets)
            scored[index].append(Scored(owner=ask.owner, logprob=math.fsum(logprobs[start:behind]), greedy=all(greedy[start:behind])))
            start = behind
        return scored

    def _logits(self, inputs: torch.Tensor, wanted: list[list[int]], places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the wanted positions at least, and the column of each place in them."""
        feed = {"input_ids": inputs.to(self._device), "use_cache": False}
        if self.keep == "all":
            return self._model(**feed).logits, places[:, 1]
        if self.keep == "shared":
            union = sorted({position for positions in wanted for position in positions})
            column_of = {position: column for column, position in enumerate(union)}
            columns = [column_of[position] for position in places[:, 1].tolist()]
            keep = torch.tensor(union, device=self._device)
        else:
            most = max(len(positions) for positions in wanted)
            keep = torch.tensor([positions + [positions[-1]] * (most - len(positions)) for positions in wanted], device=self._device)
            column_in = [{position: column for column, position in enumerate(positions)} for positions in wanted]
            columns = [column_in[row][position] for row, position in places.tolist()]
        return self._model(**feed, logits_to_keep=keep).logits, torch.tensor(columns)

    def _probe(self) -> Keep:
        """Whether the head can be applied at each row's own positions, at positions shared by all rows, or only everywhere.

        Tried on two short rows and compared with all logits, because what `logits_to_keep` may be differs between versions and models.
        """
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


def token_scores(logits: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> tuple[list[float], list[bool]]:
    """Log-probability of each target, and whether it is the likeliest token, at its place (row) of the logits `[places, vocabulary]`.

    Log-softmax in fp32, whatever the logits' dtype. One synchronisation with the device. Call it in inference mode.
    """
    # every place is asked about once, however many choices are scored there
    rows, asked = torch.unique(places, return_inverse=True)
    lses, likeliest = [logits.new_empty(0, dtype=torch.float32)], [targets.new_empty(0, device=logits.device)]
    for part in rows.to(logits.device).split(_POSITIONS_AT_ONCE):
        at = logits.index_select(0, part).float()
        lses.append(at.logsumexp(-1))
        likeliest.append(at.argmax(-1))
    places, targets, asked = (index.to(logits.device) for index in (places, targets, asked))
    logprobs = logits[places, targets].float() - torch.cat(lses)[asked]
    greedy = torch.cat(likeliest)[asked] == targets
    together = torch.stack([logprobs, greedy.float()]).cpu()
    return together[0].tolist(), [flag != 0 for flag in together[1].tolist()]


@contextlib.contextmanager
def evaluating(model: Any, modules: Sequence[Any] | None = None) -> Iterator[None]:
    """The model in eval mode meanwhile; modules that were in training mode (a user's own model's) are so again afterwards.

    `modules` are all of the model's, for a caller that needs them at every step of a generation. None: they are looked for.
    """
    training = [module for module in modules or model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

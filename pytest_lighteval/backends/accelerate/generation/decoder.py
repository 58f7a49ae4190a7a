"""Generate with rows that come and go: one token a row and step, a row retired when it is done, the next one taken into its slot."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import AttentionInterface

from pytest_lighteval.backends.accelerate.attention import IMPLEMENTATION, configurations_of, prefix_tree_attention, tree_attention
from pytest_lighteval.backends.accelerate.generation.kv_cache import DecodeRun, KeyBuffer, Span, StemReaders
from pytest_lighteval.backends.accelerate.generation.sampler import Choice, Choices
from pytest_lighteval.backends.accelerate.generation.shared_prefixes import GenerationPlan, PlannedRow
from pytest_lighteval.backends.accelerate.generation.slots import Slots
from pytest_lighteval.backends.accelerate.generation.stopping import StopRule
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import unless_out_of_memory
from pytest_lighteval.backends.accelerate.scoring.row_batches import PromptRow
from pytest_lighteval.backends.common.generation_requests import GeneratedText
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.errors import BackendError

_NEW_TOKENS_RESERVED = 1024
"""New tokens of a row that a slot has room for at first; the few rows that use a larger limit up make it grow."""
_FEWEST_TOKENS = 64
"""Tokens of a step below which running out of memory is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingLimits:
    """How much may be at once; one row alone is always allowed."""

    rows: int
    """Generated at a time."""
    kept: int
    """Tokens whose keys and values are kept: slots times their capacity, and stems."""
    tokens: int
    """Fed in a step; a prompt may take several."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Live:
    """A row on its way."""

    planned: PlannedRow
    choice: Choice
    rule: StopRule
    new: list[int] = field(default_factory=list)
    """Tokens generated."""
    kept: int = 0
    """Tokens behind the stems, of the prompt and then of `new`, whose keys are in the slot."""

    @property
    def pending(self) -> list[int]:
        """Tokens that are to be fed before the next one can be chosen."""
        prompt, fed = self.planned.row.prompt, self.planned.start + self.kept
        return [*prompt[fed:], *self.new[max(0, fed - len(prompt)) :]]

    @property
    def room(self) -> int:
        """Tokens that its slot should have room for."""
        reserved = _NEW_TOKENS_RESERVED
        while reserved <= len(self.new):
            reserved *= 2
        return len(self.planned.row.prompt) - self.planned.start + min(self.planned.row.max_new_tokens, reserved)


class _OutOfMemoryError(Exception):
    """The step did not fit; nothing of it has happened."""


class Decoder:
    """A loaded causal model that continues prompts in slots."""

    def __init__(
        self,
        loaded: LoadedModel,
        texts: PromptTokenizer,
        ends: Collection[int],
        choices: Choices,
        seed: int,
        takes_places: bool,
        *,
        fused: bool,
        attempt: Callable[[Callable[[Any], Any], Any], Any],
        on_shrink: Callable[[int, str], None] = lambda count, unit: None,
    ) -> None:
        """`takes_places`: the model's `logits_to_keep` may be a tensor of places. `fused`: fused kernels may be used.

        `attempt` calls its first argument with its second and returns None when memory ran out; `on_shrink` hears the new number of
        rows, or of tokens a step.
        """
        self._model, self._device, self._texts, self._ends = loaded.model, loaded.device, texts, ends
        self._choices, self._seed, self._takes_places = choices, seed, takes_places
        self.fused, self.attempt, self.on_shrink = fused, attempt, on_shrink
        self._configurations = configurations_of(loaded.model)
        self.tokens_computed = 0
        """Fed to the model so far."""
        # the registry is transformers' own; registering the same function again changes nothing
        AttentionInterface.register(IMPLEMENTATION, prefix_tree_attention)

    def generate(self, plan: GenerationPlan, limits: DecodingLimits) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """Every row with what it generates, as soon as it is done. None: memory ran out on this row alone."""
        live = []
        for planned in plan.rows:
            rule = StopRule(planned.row, self._texts, self._ends)
            live.append(_Live(planned=planned, choice=Choice(planned.row, self._seed, rule.ends), rule=rule))
        for one, fits in _Decoding(self, plan, live, limits).run():
            yield one.planned.row, one.rule.finish(one.new) if fits else None

    def forward(self, run: DecodeRun, tokens: Sequence[int], count: int) -> torch.Tensor | None:
        """Logits `[count, vocabulary]` of the first places in fp32. None: memory ran out."""

        def step(tokens: Sequence[int]) -> torch.Tensor:
            feed = {
                "input_ids": torch.tensor([tokens], device=self._device),
                "position_ids": run.positions[None].to(self._device),
                "use_cache": False,
            }
            if self._takes_places:
                # a stem runs for its keys alone, through one position of the head
                feed["logits_to_keep"] = torch.arange(max(count, 1), device=self._device)
            with torch.inference_mode(), tree_attention(self._configurations, run):
                logits: torch.Tensor = self._model(**feed).logits[0, :count].float()
            return logits

        logits: torch.Tensor | None = self.attempt(step, tokens)
        if logits is not None:
            self.tokens_computed += len(tokens)
        return logits

    def choose(self, logits: torch.Tensor, rows: Sequence[_Live]) -> list[int]:
        """The next token of each row. Raises BackendError when memory runs out: random numbers are drawn by then, and cannot be again."""

        def choose() -> list[int]:
            with torch.inference_mode():
                return self._choices.choose(logits, [one.choice for one in rows], [one.new for one in rows])

        chosen = unless_out_of_memory(choose)
        if chosen is None:
            raise BackendError(f"memory ran out while the next tokens of {len(rows)} rows were chosen: ask for fewer with batch_size")
        return chosen


class _Decoding:
    """One call of `Decoder.generate`: its rows, its slots and its stems."""

    def __init__(self, decoder: Decoder, plan: GenerationPlan, rows: Sequence[_Live], limits: DecodingLimits) -> None:
        self._decoder, self._plan, self._limits = decoder, plan, limits
        self._waiting = deque(rows)
        self._slots = Slots[_Live]()
        self._keys = KeyBuffer(0, 0)
        self._stems: dict[int, KeyBuffer] = {}
        self._readers = Counter(stem for planned in plan.rows for stem in planned.stems)
        """Rows behind each stem that are not done."""

    def run(self) -> Iterator[tuple[_Live, bool]]:
        """Every row when it is done, and whether it fitted into memory."""
        while self._waiting or len(self._slots):
            try:
                self._take_in()
                done, fits = self._step(), True
            except _OutOfMemoryError:
                done, fits = self._shrink(), False
            for one in done:
                self._readers.subtract(one.planned.stems)
            for stem in [stem for stem in self._stems if not self._readers[stem]]:
                del self._stems[stem]
            yield from ((one, fits) for one in done)

    def _take_in(self) -> None:
        """Fill the slots as far as the limits allow, in the order of the plan."""
        while self._kept_with(()) > self._limits.kept and len(self._slots) > 1:
            # texts that outgrow their slots: the one with the least to repeat waits
            shortest = min(self._slots.rows, key=lambda one: len(one.new))
            self._slots.take_out(shortest)
            self._waiting.appendleft(shortest)
            shortest.kept = 0
        while self._waiting:
            one = self._waiting[0]
            fits = len(self._slots) < self._limits.rows and self._kept_with((one,)) <= self._limits.kept
            if len(self._slots) and not fits:
                break
            for stem in one.planned.stems:
                if stem not in self._stems:
                    self._compute_stem(stem)
            self._slots.put(self._waiting.popleft())
        for source, target, one in self._slots.close_gaps():
            self._keys.move(source, target, one.kept)
        self._make_room()

    def _kept_with(self, new: Sequence[_Live]) -> int:
        """Tokens kept with these rows taken in."""
        rows = [*self._slots.rows, *new]
        stems = {*self._stems, *(stem for one in new for stem in one.planned.stems)}
        return len(rows) * max((one.room for one in rows), default=0) + sum(len(self._plan.stems[stem].tokens) for stem in stems)

    def _make_room(self) -> None:
        rows = self._slots.rows
        slots, capacity = len(rows), max(one.room for one in rows)
        if capacity <= self._keys.capacity <= 2 * capacity:
            # copying costs more than what is left over
            capacity, slots = self._keys.capacity, max(slots, self._keys.slots)
        if self._decoder.attempt(lambda size: self._keys.resize(*size) or True, (slots, capacity)) is None:
            raise _OutOfMemoryError

    def _step(self) -> list[_Live]:
        """Feed every row; the rows that are done with it have left their slots."""
        rows = self._slots.rows
        left = self._limits.tokens - len(rows)
        newest: list[int] = []
        rest: list[int] = []
        spans: list[Span] = []
        taken: list[int] = []
        places: list[list[int]] = []
        for slot, one in enumerate(rows):
            pending = one.pending
            count = 1 + min(len(pending) - 1, max(0, left))
            left -= count - 1
            newest.append(pending[count - 1])
            taken.append(count)
            places.append([slot])
            if count > 1:
                start = len(rows) + len(rest)
                spans.append(Span(buffer=self._keys, slot=slot, start=one.kept, flat=slice(start, start + count - 1)))
                places[slot].extend(range(start, start + count - 1))
                rest += pending[: count - 1]
        starts = [one.planned.start + one.kept for one in rows]
        positions = [start + count - 1 for start, count in zip(starts, taken, strict=True)]
        positions += [position for start, count in zip(starts, taken, strict=True) for position in range(start, start + count - 1)]
        run = DecodeRun(
            fused=self._decoder.fused,
            slots=self._keys,
            lengths=[one.kept + count for one, count in zip(rows, taken, strict=True)],
            spans=spans,
            stems=self._stem_readers(rows, places, len(positions)),
            positions=torch.tensor(positions),
        )
        logits = self._forward(run, [*newest, *rest], len(rows))
        ready = [slot for slot, one in enumerate(rows) if len(one.pending) == taken[slot]]
        for one, count in zip(rows, taken, strict=True):
            one.kept += count
        if len(ready) < len(rows):
            logits = logits[ready]
        chosen = self._decoder.choose(logits, [rows[slot] for slot in ready]) if ready else []
        done = []
        for slot, token in zip(ready, chosen, strict=True):
            rows[slot].new.append(token)
            if rows[slot].rule.is_done(rows[slot].new):
                self._slots.take_out(rows[slot])
                done.append(rows[slot])
        return done

    def _stem_readers(self, rows: Sequence[_Live], places: Sequence[Sequence[int]], tokens: int) -> list[StemReaders]:
        behind: defaultdict[int, list[int]] = defaultdict(list)
        for one, own in zip(rows, places, strict=True):
            for stem in one.planned.stems:
                behind[stem] += own
        return [
            StemReaders(
                keys=self._stems[stem],
                start=self._plan.stems[stem].start,
                places=None if len(readers) == tokens else torch.tensor(readers),
            )
            for stem, readers in sorted(behind.items())
        ]

    def _compute_stem(self, number: int) -> None:
        """Its keys and values; those of the stems in front of it are there."""
        stem = self._plan.stems[number]
        keys = KeyBuffer(1, len(stem.tokens))
        for start in range(0, len(stem.tokens), self._limits.tokens):
            tokens = stem.tokens[start : start + self._limits.tokens]
            run = DecodeRun(
                fused=self._decoder.fused,
                slots=self._keys,
                lengths=[],
                spans=[Span(buffer=keys, slot=0, start=start, flat=slice(0, len(tokens)))],
                stems=[StemReaders(keys=self._stems[front], start=self._plan.stems[front].start, places=None) for front in stem.stems],
                positions=torch.arange(stem.start + start, stem.start + start + len(tokens)),
            )
            self._forward(run, tokens, 0)
        self._stems[number] = keys

    def _forward(self, run: DecodeRun, tokens: Sequence[int], count: int) -> torch.Tensor:
        logits = self._decoder.forward(run, tokens, count)
        if logits is None:
            raise _OutOfMemoryError
        return logits

    def _shrink(self) -> list[_Live]:
        """Let go of all keys and begin again with half the rows, all they have generated kept. Returns what cannot be done at all."""
        rows = self._slots.rows
        self._slots = Slots[_Live]()
        self._keys = KeyBuffer(0, 0)
        self._stems.clear()
        for one in rows:
            one.kept = 0
        self._waiting.extendleft(reversed(rows))
        if rows and self._limits.rows > 1:
            # down to one row at a time, which is done before the next one's stems are tried: what fails then is the first in line
            self._limits = replace(self._limits, rows=max(1, len(rows) // 2))
            self._decoder.on_shrink(self._limits.rows, "rows")
        elif self._limits.tokens > _FEWEST_TOKENS:
            self._limits = replace(self._limits, tokens=max(_FEWEST_TOKENS, self._limits.tokens // 2))
            self._decoder.on_shrink(self._limits.tokens, "tokens")
        else:
            return [self._waiting.popleft()]
        return []

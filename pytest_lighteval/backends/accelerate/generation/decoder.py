"""Generate in slots: each step computes one token of every row; a row that is done leaves, and the next one takes its slot.

Why it works that way: docs/decisions/005-generate-in-slots.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import AttentionInterface

from pytest_lighteval.backends.accelerate.attention import IMPLEMENTATION, configurations_of, prefix_tree_attention, tree_attention
from pytest_lighteval.backends.accelerate.batches import BatchLimits
from pytest_lighteval.backends.accelerate.generation.kv_cache import DecodeBatch, DecodeStem, KVCache, PromptSpan
from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler, SamplerState
from pytest_lighteval.backends.accelerate.generation.shared_prefixes import GenerationPlan, PlannedRow, plan_generation
from pytest_lighteval.backends.accelerate.generation.slots import Slots
from pytest_lighteval.backends.accelerate.generation.stopping import StopRule
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import Attempt, unless_out_of_memory
from pytest_lighteval.backends.common.generation_requests import GeneratedText
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.errors import BackendError

_NEW_TOKENS_RESERVED = 1024
"""New tokens for which a slot has room at first. The few rows that generate more make it grow."""
_FEWEST_TOKENS = 64
"""A step is never cut to fewer tokens than these when memory runs out."""


@dataclass(slots=True, kw_only=True, eq=False)
class _ActiveRow:
    """A row that is not done."""

    planned: PlannedRow
    sampling: SamplerState
    rule: StopRule
    new: list[int] = field(default_factory=list)
    """Tokens generated."""
    kept: int = 0
    """Tokens after the stems, of the prompt and then of `new`, whose keys are in the slot."""

    @property
    def pending(self) -> list[int]:
        """Tokens that the model must see before the next one can be sampled."""
        prompt, seen = self.planned.row.prompt, self.planned.start + self.kept
        return [*prompt[seen:], *self.new[max(0, seen - len(prompt)) :]]

    @property
    def room(self) -> int:
        """Tokens for which its slot should have room."""
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
        tokenizer: PromptTokenizer,
        ends: Collection[int],
        sampler: Sampler,
        seed: int,
        takes_places: bool,
        *,
        fused: bool,
        attempt: Attempt,
        on_shrink: Callable[[int, str], None] = lambda count, unit: None,
    ) -> None:
        """`takes_places`: the model's `logits_to_keep` may be a tensor of places. `fused`: fused kernels may be used.

        `on_shrink` gets what memory allows once it ran out: a number and its unit, rows or tokens of a step.
        """
        self._model, self._device, self._tokenizer, self._ends = loaded.model, loaded.device, tokenizer, ends
        self._sampler, self._seed, self._takes_places = sampler, seed, takes_places
        self.fused, self.attempt, self.on_shrink = fused, attempt, on_shrink
        self._configurations = configurations_of(loaded.model)
        self.tokens_computed = 0
        """Passed to the model so far."""
        # the registry is transformers' own; registering the same function again changes nothing
        AttentionInterface.register(IMPLEMENTATION, prefix_tree_attention)

    def generate(self, plan: GenerationPlan, limits: BatchLimits) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """Every row with what it generates, as soon as it is done. None: memory ran out on this row alone.

        `limits.tokens` is for one step; a prompt may take several. `limits.kept` counts the slots times their capacity, and the stems.
        """
        live = []
        for planned in plan.rows:
            rule = StopRule(planned.row, self._tokenizer, self._ends)
            live.append(_ActiveRow(planned=planned, sampling=SamplerState(planned.row, self._seed, rule.ends), rule=rule))
        for row, fits in _Decoding(self, plan, live, limits).run():
            yield row.planned.row, row.rule.finish(row.new) if fits else None

    def forward(self, batch: DecodeBatch, tokens: Sequence[int], count: int) -> torch.Tensor | None:
        """Logits `[count, vocabulary]` at the first places, in fp32. None: memory ran out."""

        def step(tokens: Sequence[int]) -> torch.Tensor:
            arguments = {
                "input_ids": torch.tensor([tokens], device=self._device),
                "position_ids": batch.positions[None].to(self._device),
                "use_cache": False,
            }
            if self._takes_places:
                # a stem runs for its keys alone, through one position of the head
                arguments["logits_to_keep"] = torch.arange(max(count, 1), device=self._device)
            with torch.inference_mode(), tree_attention(self._configurations, batch):
                logits: torch.Tensor = self._model(**arguments).logits[0, :count].float()
            return logits

        logits = self.attempt(step, tokens)
        if logits is not None:
            self.tokens_computed += len(tokens)
        return logits

    def sample(self, logits: torch.Tensor, rows: Sequence[_ActiveRow]) -> list[int]:
        """The next token of each row. Raises BackendError when memory runs out: the random numbers are drawn by then."""

        def sample() -> list[int]:
            with torch.inference_mode():
                return self._sampler.sample(logits, [row.sampling for row in rows], [row.new for row in rows])

        sampled = unless_out_of_memory(sample)
        if sampled is None:
            raise BackendError(f"memory ran out while the next tokens of {len(rows)} rows were chosen: ask for fewer with batch_size")
        return sampled


class _Decoding:
    """One call of `Decoder.generate`: its rows, its slots and its stems."""

    def __init__(self, decoder: Decoder, plan: GenerationPlan, rows: Sequence[_ActiveRow], limits: BatchLimits) -> None:
        self._decoder, self._plan, self._limits = decoder, plan, limits
        self._waiting = deque(rows)
        self._slots = Slots[_ActiveRow]()
        self._cache = KVCache(0, 0)
        self._stems: dict[int, KVCache] = {}
        self._readers = Counter(stem for planned in plan.rows for stem in planned.stems)
        """How many rows after each stem are not done."""

    def run(self) -> Iterator[tuple[_ActiveRow, bool]]:
        """Every row when it is done, and whether it fitted into memory."""
        while self._waiting or len(self._slots):
            try:
                self._take_in()
                done, fits = self._step(), True
            except _OutOfMemoryError:
                done, fits = self._shrink(), False
            for row in done:
                self._readers.subtract(row.planned.stems)
            for stem in [stem for stem in self._stems if not self._readers[stem]]:
                del self._stems[stem]
            yield from ((row, fits) for row in done)

    def _take_in(self) -> None:
        """Fill the slots as far as the limits allow, in the order of the plan."""
        while self._kept_with(()) > self._limits.kept and len(self._slots) > 1:
            # texts outgrow their slots: the row with the least to compute again waits
            shortest = min(self._slots.rows, key=lambda row: len(row.new))
            self._slots.take_out(shortest)
            self._waiting.appendleft(shortest)
            shortest.kept = 0
        while self._waiting:
            row = self._waiting[0]
            fits = len(self._slots) < self._limits.rows and self._kept_with((row,)) <= self._limits.kept
            if len(self._slots) and not fits:
                break
            for stem in row.planned.stems:
                if stem not in self._stems:
                    self._compute_stem(stem)
            self._slots.put(self._waiting.popleft())
        for source, target, row in self._slots.close_gaps():
            self._cache.move(source, target, row.kept)
        self._make_room()

    def _kept_with(self, new: Sequence[_ActiveRow]) -> int:
        """Tokens kept with these rows taken in."""
        rows = [*self._slots.rows, *new]
        stems = {*self._stems, *(stem for row in new for stem in row.planned.stems)}
        return len(rows) * max((row.room for row in rows), default=0) + sum(len(self._plan.stems[stem].tokens) for stem in stems)

    def _make_room(self) -> None:
        rows = self._slots.rows
        slots, capacity = len(rows), max(row.room for row in rows)
        if capacity <= self._cache.capacity <= 2 * capacity:
            # copying costs more than the unused rest
            capacity, slots = self._cache.capacity, max(slots, self._cache.slots)
        if self._decoder.attempt(lambda size: self._cache.resize(*size) or True, (slots, capacity)) is None:
            raise _OutOfMemoryError

    def _step(self) -> list[_ActiveRow]:
        """One forward pass. Returns the rows that are done; they have left their slots."""
        rows = self._slots.rows
        left = self._limits.tokens - len(rows)
        newest: list[int] = []
        rest: list[int] = []
        spans: list[PromptSpan] = []
        taken: list[int] = []
        places: list[list[int]] = []
        for slot, row in enumerate(rows):
            pending = row.pending
            count = 1 + min(len(pending) - 1, max(0, left))
            left -= count - 1
            newest.append(pending[count - 1])
            taken.append(count)
            places.append([slot])
            if count > 1:
                start = len(rows) + len(rest)
                spans.append(PromptSpan(cache=self._cache, slot=slot, start=row.kept, flat=slice(start, start + count - 1)))
                places[slot].extend(range(start, start + count - 1))
                rest += pending[: count - 1]
        starts = [row.planned.start + row.kept for row in rows]
        positions = [start + count - 1 for start, count in zip(starts, taken, strict=True)]
        positions += [position for start, count in zip(starts, taken, strict=True) for position in range(start, start + count - 1)]
        batch = DecodeBatch(
            fused=self._decoder.fused,
            slots=self._cache,
            lengths=[row.kept + count for row, count in zip(rows, taken, strict=True)],
            spans=spans,
            stems=self._decode_stems(rows, places, len(positions)),
            positions=torch.tensor(positions),
        )
        logits = self._forward(batch, [*newest, *rest], len(rows))
        ready = [slot for slot, row in enumerate(rows) if len(row.pending) == taken[slot]]
        for row, count in zip(rows, taken, strict=True):
            row.kept += count
        if len(ready) < len(rows):
            logits = logits[ready]
        sampled = self._decoder.sample(logits, [rows[slot] for slot in ready]) if ready else []
        done = []
        for slot, token in zip(ready, sampled, strict=True):
            rows[slot].new.append(token)
            if rows[slot].rule.is_done(rows[slot].new):
                self._slots.take_out(rows[slot])
                done.append(rows[slot])
        return done

    def _decode_stems(self, rows: Sequence[_ActiveRow], places: Sequence[Sequence[int]], tokens: int) -> list[DecodeStem]:
        readers_of: defaultdict[int, list[int]] = defaultdict(list)
        for row, own in zip(rows, places, strict=True):
            for stem in row.planned.stems:
                readers_of[stem] += own
        return [
            DecodeStem(
                cache=self._stems[stem],
                start=self._plan.stems[stem].start,
                readers=None if len(readers) == tokens else torch.tensor(readers),
            )
            for stem, readers in sorted(readers_of.items())
        ]

    def _compute_stem(self, number: int) -> None:
        """Compute and keep its keys and values. Those of the stems before it are kept already."""
        stem = self._plan.stems[number]
        cache = KVCache(1, len(stem.tokens))
        for start in range(0, len(stem.tokens), self._limits.tokens):
            tokens = stem.tokens[start : start + self._limits.tokens]
            batch = DecodeBatch(
                fused=self._decoder.fused,
                slots=self._cache,
                lengths=[],
                spans=[PromptSpan(cache=cache, slot=0, start=start, flat=slice(0, len(tokens)))],
                stems=[DecodeStem(cache=self._stems[front], start=self._plan.stems[front].start, readers=None) for front in stem.stems],
                positions=torch.arange(stem.start + start, stem.start + start + len(tokens)),
            )
            self._forward(batch, tokens, 0)
        self._stems[number] = cache

    def _forward(self, batch: DecodeBatch, tokens: Sequence[int], count: int) -> torch.Tensor:
        logits = self._decoder.forward(batch, tokens, count)
        if logits is None:
            raise _OutOfMemoryError
        return logits

    def _shrink(self) -> list[_ActiveRow]:
        """Free all keys and go on with half the rows; what they generated is kept. Returns a row that cannot be done at all, if any."""
        rows = self._slots.rows
        self._slots = Slots[_ActiveRow]()
        self._cache = KVCache(0, 0)
        self._stems.clear()
        for row in rows:
            row.kept = 0
        self._waiting.extendleft(reversed(rows))
        if rows and self._limits.rows > 1:
            # down to one row at a time, which is done before the next one's stems run: what fails then is the first in line
            self._limits = replace(self._limits, rows=max(1, len(rows) // 2))
            self._decoder.on_shrink(self._limits.rows, "rows")
        elif self._limits.tokens > _FEWEST_TOKENS:
            self._limits = replace(self._limits, tokens=max(_FEWEST_TOKENS, self._limits.tokens // 2))
            self._decoder.on_shrink(self._limits.tokens, "tokens")
        else:
            return [self._waiting.popleft()]
        return []


class SlotGeneration:
    """The `Generation` in slots: rows come and go, over shared prefixes that are computed once."""

    name = "slots over shared prefixes"
    reason = None

    def __init__(self, decoder: Decoder, limits: BatchLimits) -> None:
        self._decoder, self._limits = decoder, limits

    @property
    def tokens_computed(self) -> int:
        """See `Generation.tokens_computed`."""
        return self._decoder.tokens_computed

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """See `Generation.generate`."""
        yield from self._decoder.generate(plan_generation(rows), self._limits)

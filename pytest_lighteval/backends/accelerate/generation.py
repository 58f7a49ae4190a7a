"""Continue prompts: in slots over shared prefixes where the model answers the same that way, else through `generate` of transformers."""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import torch
import transformers

from pytest_lighteval.backends.accelerate.arguments import GenerationParameters
from pytest_lighteval.backends.accelerate.choosing import Choice, Choices
from pytest_lighteval.backends.accelerate.decoding import Decoder, DecodingLimits
from pytest_lighteval.backends.accelerate.generation_plan import plan_generation
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.plan import Generated, Limits, PromptRow, TooBig, run_in_batches
from pytest_lighteval.backends.accelerate.scoring import evaluating
from pytest_lighteval.backends.accelerate.stopping import StopRule
from pytest_lighteval.backends.accelerate.texts import Texts

__all__ = [
    "Generation",
    "InBatches",
    "InSlots",
    "PlainGenerator",
    "RecordingChoices",
    "ends_of",
    "find_disagreement",
    "own_settings",
    "unsupported_settings",
]

_NEW_TOKENS_COUNTED = 1024
"""New tokens of a row that the budget reckons with; few rows use a larger limit up."""
_PROBE_TOKENS = 6

Attempt = Callable[[Callable[[Any], Any], Any], Any]

_UNSUPPORTED = {
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "token_healing": False,
    "guidance_scale": 1.0,
    "watermarking_config": None,
    "min_length": 0,
    "max_time": None,
    "stop_strings": None,
    "prompt_lookup_num_tokens": None,
    "dola_layers": None,
    "penalty_alpha": None,
}
"""Settings of a model's generation_config that only `generate` of transformers obeys -> the value that changes nothing, beside None."""


class Generation(Protocol):
    """A way to continue prompts."""

    @property
    def tokens_computed(self) -> int:
        """Tokens fed to the model so far, padding included."""

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, Generated | None]]:
        """Every row with what it generates, once, in any order. None: memory ran out on this row alone."""


class InSlots:
    """Rows that come and go, over shared prefixes that are computed once."""

    def __init__(self, decoder: Decoder, limits: DecodingLimits) -> None:
        self._decoder, self._limits = decoder, limits

    @property
    def tokens_computed(self) -> int:
        """See `Generation.tokens_computed`."""
        return self._decoder.tokens_computed

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, Generated | None]]:
        """See `Generation.generate`."""
        yield from self._decoder.generate(plan_generation(rows), self._limits)


class InBatches:
    """Padded batches of `generate` of transformers, which any causal model can do."""

    def __init__(self, generator: PlainGenerator, limits: Limits, attempt: Attempt, on_shrink: Callable[[int], None]) -> None:
        self._generator, self._limits, self._attempt, self._on_shrink = generator, limits, attempt, on_shrink

    @property
    def tokens_computed(self) -> int:
        """See `Generation.tokens_computed`."""
        return self._generator.tokens_computed

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, Generated | None]]:
        """See `Generation.generate`."""
        rows = sorted(rows, key=lambda row: -len(row.prompt))

        def run(rows: Sequence[PromptRow]) -> Sequence[Generated] | None:
            results: Sequence[Generated] | None = self._attempt(self._generator.generate, rows)
            return results

        for batch in run_in_batches(rows, _prompt_size, self._limits, run, self._on_shrink):
            if isinstance(batch, TooBig):
                yield batch.item, None
            else:
                yield from zip(batch.items, batch.results, strict=True)


class PlainGenerator:
    """A loaded causal model that continues padded prompts through `generate` of transformers.

    Prompts are padded on the left under an attention mask, and positions count from each prompt's own first token, so that a row's answer
    is the one it has alone (up to rounding).
    """

    def __init__(self, loaded: LoadedModel, texts: Texts, ends: Collection[int], choices: Choices, seed: int) -> None:
        self._model, self._device, self._texts = loaded.model, loaded.device, texts
        self._ends, self._choices, self._seed = ends, choices, seed
        self._settings = copy.deepcopy(own_settings(loaded.model))
        self._settings.update(
            # drawing is done row by row in `_RowChoices`, which then leaves generate one token to choose
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            min_p=None,
            # as generate has it, it would punish padding as well
            repetition_penalty=1.0,
            max_length=None,
            min_new_tokens=None,
            eos_token_id=sorted(ends) or None,
            pad_token_id=texts.special.start,
            return_dict_in_generate=False,
        )
        self.tokens_computed = 0

    def generate(self, rows: Sequence[PromptRow]) -> list[Generated]:
        """What each row generates, in order."""
        longest = max(len(row.prompt) for row in rows)
        inputs = torch.full((len(rows), longest), self._texts.special.start, dtype=torch.long)
        mask = torch.zeros_like(inputs)
        for index, row in enumerate(rows):
            inputs[index, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, longest - len(row.prompt) :] = 1
        settings = copy.deepcopy(self._settings)
        settings.max_new_tokens = max(row.max_new_tokens for row in rows)
        rules = [StopRule(row, self._texts, self._ends) for row in rows]
        stops = _RowStops(rules, longest)
        choices = _RowChoices([Choice(row, self._seed, rule.ends) for row, rule in zip(rows, rules, strict=True)], longest, self._choices)
        output = self._model.generate(
            inputs.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=settings,
            logits_processor=transformers.LogitsProcessorList([choices]),
            stopping_criteria=transformers.StoppingCriteriaList([stops]),
        )
        self.tokens_computed += output.numel() - len(rows)
        return [
            # what ran on in the batch after a row was done is not its own
            rule.finish(tokens[:length])
            for rule, tokens, length in zip(rules, output[:, longest:].tolist(), stops.lengths, strict=True)
        ]


class _RowStops(transformers.StoppingCriteria):  # type: ignore[misc]  # a class without types
    """Which rows are done."""

    def __init__(self, rules: Sequence[StopRule], prompt_length: int) -> None:
        self._rules, self._prompt_length = rules, prompt_length
        self.lengths: list[int | None] = [None] * len(rules)
        """Tokens of each row when it was found to be done. None: it was not."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        texts = input_ids[:, self._prompt_length :].tolist()
        for index, (rule, text) in enumerate(zip(self._rules, texts, strict=True)):
            if self.lengths[index] is None and rule.is_done(text):
                self.lengths[index] = len(text)
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)


class _RowChoices(transformers.LogitsProcessor):  # type: ignore[misc]  # likewise
    """Rules out all but the token that each row chooses."""

    def __init__(self, rows: Sequence[Choice], prompt_length: int, choices: Choices) -> None:
        self._rows, self._prompt_length, self._choices = rows, prompt_length, choices

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = self._choices.choose(scores, self._rows, input_ids[:, self._prompt_length :].tolist())
        only = torch.full_like(scores, -torch.inf)
        only[range(len(chosen)), chosen] = 0.0
        return only


class RecordingChoices(Choices):
    """Greedy choices that keep the logits they were made of."""

    def __init__(self) -> None:
        super().__init__(GenerationParameters(), 1.0)
        self.logits: defaultdict[tuple[int, ...], list[torch.Tensor]] = defaultdict(list)
        """By prompt, in the order of the tokens."""

    def choose(self, logits: torch.Tensor, rows: Sequence[Choice], texts: Sequence[Sequence[int]]) -> list[int]:
        """See `Choices.choose`."""
        for row, scores in zip(rows, logits, strict=True):
            self.logits[row.prompt].append(scores)
        return super().choose(logits, rows, texts)


def find_disagreement(decoder: Decoder, choices: RecordingChoices, loaded: LoadedModel, max_length: int) -> str | None:
    """Why rows cannot be generated in slots: where a small probe's logits differ from those of one whole pass over each text. None: they can.

    The decoder is one that chooses by `choices`. In half precision whole passes differ among themselves, and a wrong attention by far more.
    """
    draw = random.Random(0)
    vocabulary: int = loaded.model.config.get_text_config().vocab_size

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(max(1, min(count, max_length // 4))))

    shared, nested = tokens(20), tokens(5)
    prompts = [tokens(9), *(shared + tokens(count) for count in (3, 8)), *(shared + nested + tokens(count) for count in (1, 6, 2))]
    new = max(1, min(_PROBE_TOKENS, max_length // 4))
    rows = [PromptRow(owner=owner, prompt=prompt, max_new_tokens=new) for owner, prompt in enumerate(dict.fromkeys(prompts))]
    plan = plan_generation(rows, tokens_saved=1, shortest_stem=1)
    exact = loaded.dtype in ("float32", "float64")
    # few slots and short steps, so that rows wait for one another and prompts come in parts
    for row, generated in decoder.generate(plan, DecodingLimits(rows=4, kept=10**6, tokens=12)):
        if generated is None:
            return "memory runs out on a probe"
        found = torch.stack(choices.logits[row.prompt]).float().log_softmax(-1)
        inputs = torch.tensor([[*row.prompt, *generated.token_ids[:-1]]], device=loaded.device)
        with evaluating(loaded.model), torch.inference_mode():
            whole = loaded.model(input_ids=inputs, use_cache=False).logits[0, len(row.prompt) - 1 :].float().log_softmax(-1)
        allowed = 1e-3 if exact else 0.25 + 0.02 * whole.abs()
        if not bool(((found - whole).abs() <= allowed).all()):
            return f"on a probe its logits are off by {float((found - whole).abs().max()):.2g}"
    return None


def ends_of(model: Any, texts: Texts) -> frozenset[int]:
    """The tokens that end a text. A chat model may declare more of them than its tokenizer's one."""
    own = own_settings(model)
    declared = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return frozenset(end for end in (*declared, texts.special.end) if end is not None)


def own_settings(model: Any) -> Any:
    """The model's generation_config."""
    return getattr(model, "generation_config", None) or transformers.GenerationConfig()


def unsupported_settings(model: Any) -> str | None:
    """What the model's generation_config asks for that only `generate` of transformers does. None: nothing."""
    own = own_settings(model)
    asked = [name for name, neutral in _UNSUPPORTED.items() if getattr(own, name, None) not in (None, neutral)]
    return f"its generation_config asks for {', '.join(asked)}" if asked else None


def _prompt_size(row: PromptRow) -> tuple[int, int]:
    return len(row.prompt) + min(row.max_new_tokens, _NEW_TOKENS_COUNTED), 0

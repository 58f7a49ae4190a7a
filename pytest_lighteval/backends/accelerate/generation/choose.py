"""Choose how a model generates: in slots over shared prefixes where that gives the same logits, else in padded batches.

The numbers decide: a small probe is generated in slots, and its logits are compared with those of whole passes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import msgspec
import torch

from pytest_lighteval.backends.accelerate.batches import BatchLimits
from pytest_lighteval.backends.accelerate.budgets import Budgets
from pytest_lighteval.backends.accelerate.generation.decoder import Decoder, SlotGeneration
from pytest_lighteval.backends.accelerate.generation.padded import PaddedGeneration, PaddedGenerator, own_settings
from pytest_lighteval.backends.accelerate.generation.padding import PaddedProbe, RecordingSampler
from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler
from pytest_lighteval.backends.accelerate.generation.shared_prefixes import plan_generation
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.model_calls import ModelCalls, evaluating
from pytest_lighteval.backends.accelerate.row_groups import declared_groups
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.generation_requests import GeneratedText
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.errors import BackendError, first_line

_PROBE_TOKENS = 6
_UNSUPPORTED = {
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
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
"""Settings of a generation_config that only `generate` of transformers obeys -> the value, besides None, that changes nothing."""
_OF_ONE_TOKEN = {"suppress_tokens", "begin_suppress_tokens", "remove_invalid_values"}
"""Those of them that depend neither on the length of a padded batch nor on its limit."""
_UNOBEYED = {"num_beams": 1, "num_beam_groups": 1, "constraints": None, "force_words_ids": None}
"""Settings of beam search, which nothing here does -> the value, besides None, that changes nothing."""


class Generation(Protocol):
    """A way to continue prompts."""

    def generate(self, rows: Sequence[PromptRow]) -> Iterator[tuple[PromptRow, GeneratedText | None]]:
        """Every row with what it generates, once, in any order. None: memory ran out on this row alone."""

    @property
    def name(self) -> str:
        """What runs, for the report."""

    @property
    def reason(self) -> str | None:
        """Why it is not the fastest way. None: it is."""

    @property
    def tokens_computed(self) -> int:
        """Tokens passed to the model so far, padding included."""


def choose_generation(
    loaded: LoadedModel,
    tokenizer: PromptTokenizer,
    parameters: GenerationParameters,
    budgets: Budgets,
    calls: ModelCalls,
    *,
    max_length: int,
    takes_places: bool,
    fused: bool,
    known_reason: str | None,
) -> Generation:
    """In slots if the model gives the same logits there, else in padded batches, whose `reason` says why.

    `takes_places`, `fused`: see `Decoder`. `known_reason`: why the model cannot attend to prefixes apart. None: no reason is known.
    """
    ends = _find_ends(loaded.model, tokenizer)
    own = own_settings(loaded.model)
    if parameters.min_new_tokens is None and own.min_new_tokens:
        parameters = msgspec.structs.replace(parameters, min_new_tokens=own.min_new_tokens)
    sampler = Sampler(parameters, parameters.repetition_penalty or own.repetition_penalty or 1.0)

    def decoder(sampler: Sampler, on_shrink: Callable[[int, str], None] = lambda count, unit: None) -> Decoder:
        seed, attempt = parameters.seed, calls.attempt
        return Decoder(loaded, tokenizer, ends, sampler, seed, takes_places, fused=fused, attempt=attempt, on_shrink=on_shrink)

    asked = _asked(own, _UNSUPPORTED)
    reason = known_reason or (f"its generation_config asks for {', '.join(asked)}" if asked else None)
    if reason is None:
        recording = RecordingSampler()
        try:
            reason = _find_disagreement(decoder(recording), recording, loaded, max_length)
        except BackendError as error:
            cause = error.__cause__
            reason = str(error) if cause is None else f"it failed on a probe: {type(cause).__name__}: {first_line(cause)}"
    if reason is None:
        return SlotGeneration(decoder(sampler, calls.on_shrink), budgets.slots)

    def padded(sampler: Sampler) -> PaddedGenerator:
        return PaddedGenerator(loaded, tokenizer, ends, sampler, parameters.seed)

    groups = declared_groups(loaded.model.config, max_length)
    by_length = [name for name in asked if name not in _OF_ONE_TOKEN]
    if by_length:
        groups = replace(groups.equal(f"{', '.join(by_length)} may depend on the length of a batch"), same_limit=True)
    groups = PaddedProbe(loaded, padded, calls, max_length=max_length).extend(groups)
    on_shrink = partial(calls.on_shrink, unit="rows")
    return PaddedGeneration(padded(sampler), budgets.generated_rows, reason, calls.attempt, on_shrink, groups)


def unobeyed_settings(model: Any) -> str | None:
    """Which settings of the model's generation_config nothing obeys, as a line for the user. None: none."""
    own = own_settings(model)
    asked = [f"{name}={getattr(own, name)}" for name in _asked(own, _UNOBEYED)]
    return f"its generation_config asks for {', '.join(asked)}, which is ignored: texts are generated without beams" if asked else None


def _find_disagreement(decoder: Decoder, recording: RecordingSampler, loaded: LoadedModel, max_length: int) -> str | None:
    """Why rows cannot be generated in slots: how a small probe's logits differ from those of whole passes over its texts. None: they can.

    `recording` is the decoder's sampler. In half precision whole passes differ among themselves, but a wrong attention differs by far more.
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
    exact = loaded.is_exact
    # few slots and short steps, so that rows wait for each other and prompts run in parts
    for row, generated in decoder.generate(plan, BatchLimits(rows=4, kept=10**6, tokens=12)):
        if generated is None:
            return "memory runs out on a probe"
        found = torch.stack(recording.logits[row.prompt]).float().log_softmax(-1)
        inputs = torch.tensor([[*row.prompt, *generated.token_ids[:-1]]], device=loaded.device)
        with evaluating(loaded.model), torch.inference_mode():
            whole = loaded.model(input_ids=inputs, use_cache=False).logits[0, len(row.prompt) - 1 :].float().log_softmax(-1)
        difference = (found - whole).abs()
        agrees = difference <= 1e-3 + 1e-4 * whole.abs() if exact else difference.mean(-1) <= 0.25
        if not bool(agrees.all()):
            return f"on a probe its log-probabilities are off by {float(difference.max()):.2g}"
    return None


def _find_ends(model: Any, tokenizer: PromptTokenizer) -> frozenset[int]:
    """The tokens that end a text. A chat model may declare more of them than its tokenizer."""
    own = own_settings(model)
    declared = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return frozenset(end for end in (*declared, tokenizer.special.end) if end is not None)


def _asked(own: Any, settings: Mapping[str, Any]) -> list[str]:
    """Which of these settings a generation_config sets to more than the value that changes nothing."""
    return [name for name, neutral in settings.items() if getattr(own, name, None) not in (None, neutral)]

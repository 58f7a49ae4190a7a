"""The `generation_parameters` of a backend's arguments: names, types, defaults, help, and how the user's values are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from pytest_lighteval.common.msgspec_errors import place_and_problem
from pytest_lighteval.errors import UserInputError, did_you_mean

BEAM_SEARCH = dict.fromkeys(("early_stopping", "length_penalty"), "it belongs to beam search, which is never used here")
"""Lighteval's parameters that every backend refuses -> why."""

_WITHOUT_EFFECT = {"min_new_tokens": ("0",), "truncate_prompt": ("false",)}

_Positive = Annotated[int, Meta(ge=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Temperature = Annotated[float, Meta(ge=0)]
_Factor = Annotated[float, Meta(gt=0)]
_Parameters = TypeVar("_Parameters", bound=msgspec.Struct)


def without_refused(raw: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> dict[str, Any]:
    """The user's values without those that the struct refuses. Its class variable `refused` has the names (Lighteval's) and reasons.

    Raises UserInputError with the reason, unless the value is None or false.
    """
    refused: Mapping[str, str] = getattr(kind, "refused", {})
    for name in refused.keys() & raw.keys():
        if raw[name] not in (None, False, "false", "False"):
            raise UserInputError(f"{prefix}{name}: {refused[name]}")
    return {name: value for name, value in raw.items() if name not in refused}


class TextParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text is generated, whatever generates it. The names are Lighteval's; what a task or a metric asks for comes first."""

    temperature: Annotated[_Temperature | None, Meta(description="given: every text is sampled at it; 0: every text is greedy")] = None
    top_k: Annotated[_Positive | None, Meta(description="sample among the k likeliest tokens")] = None
    top_p: Annotated[_Share | None, Meta(description="sample among the likeliest tokens that make up this probability")] = None
    min_p: Annotated[_Share | None, Meta(description="sample among tokens at least this likely, relative to the best")] = None
    seed: Annotated[int, Meta(description="seed of every draw, together with the prompt")] = 1234
    max_new_tokens: Annotated[_Positive | None, Meta(description="limit of every text, whatever limit its task sets")] = None
    min_new_tokens: Annotated[_Positive | None, Meta(description="no end token before this many")] = None
    stop_tokens: Annotated[tuple[str, ...], Meta(description="texts that end every generation, beside the task's own")] = ()
    truncate_prompt: Annotated[_Positive | None, Meta(description="keep only this many last tokens of a prompt")] = None

    without_effect: ClassVar[Mapping[str, tuple[str, ...]]] = _WITHOUT_EFFECT
    """Values by which transformers, vLLM and Lighteval say that there is no such rule. A server may have another one if it gets none."""


class GenerationParameters(TextParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of an engine that samples by our rules."""

    repetition_penalty: Annotated[_Factor | None, Meta(description="above 1: tokens seen in prompt or text become less likely")] = None
    frequency_penalty: Annotated[float, Meta(description="taken from a token's logit for each time it was generated")] = 0.0
    presence_penalty: Annotated[float, Meta(description="taken from a token's logit once it was generated")] = 0.0

    refused: ClassVar[Mapping[str, str]] = {
        **BEAM_SEARCH,
        "response_format": "this backend does not constrain what is generated",
        "max_thinking_tokens": "this backend cannot end a model's thoughts; --backend openai asks a server that can (vLLM)",
    }
    without_effect: ClassVar[Mapping[str, tuple[str, ...]]] = {**_WITHOUT_EFFECT, "top_k": ("0", "-1")}


def read_parameters(kind: type[_Parameters], raw: Mapping[str, Any]) -> _Parameters:
    """The user's values as a struct. None means the default.

    Raises UserInputError for an unknown name (with the nearest ones), a refused one (with the reason) and a wrong value.
    """
    raw = without_refused(raw, kind, "generation_parameters.")
    without_effect: Mapping[str, tuple[str, ...]] = getattr(kind, "without_effect", {})
    raw = {name: None if str(value).lower() in without_effect.get(name, ()) else value for name, value in raw.items()}
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in raw:
        if name not in names:
            near = did_you_mean(name, names) or f"; there are: {', '.join(names)}"
            raise UserInputError(f"generation_parameters: there is no {name!r}{near}")
    try:
        return msgspec.convert({name: value for name, value in raw.items() if value is not None}, kind, strict=False)
    except msgspec.ValidationError as error:
        place, problem = place_and_problem(error)
        raise UserInputError(f"generation_parameters.{place}: {problem}") from error


def limit_notes(max_new_tokens: int | None, max_thinking_tokens: int | None = None) -> tuple[str, ...]:
    """Lines for the report: the user's limit stands in for those of the tasks, and thoughts have a limit of their own."""
    notes = []
    if max_new_tokens is not None:
        notes.append(f"every text may have {max_new_tokens} new tokens, whatever its task says: generation_parameters has max_new_tokens")
    if max_thinking_tokens is not None:
        notes.append(f"a model's thoughts may have {max_thinking_tokens} tokens more, if the server heeds thinking_token_budget")
    return tuple(notes)

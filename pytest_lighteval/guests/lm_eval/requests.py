"""What the harness asks about a document, as requests: also from the files that it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.errors import DataError
from pytest_lighteval.guests.lm_eval.declared import DEFAULT_NEW_TOKENS
from pytest_lighteval.types import (
    Ask,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Request,
    Response,
)

_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the limit of new tokens; the first that is given holds, as in the harness."""
_SAMPLING = frozenset(("temperature", "top_p", "top_k", "min_p"))
_WITHOUT_EFFECT = frozenset(("until", "do_sample", *_LIMITS, "stop_sequences"))


class ChatPrompt(str):
    """The text of a chat, which knows its turns: a backend may render them itself."""

    turns: tuple[Message, ...]

    __slots__ = ("turns",)

    def __new__(cls, text: str, turns: tuple[Message, ...]) -> ChatPrompt:
        made = super().__new__(cls, text)
        made.turns = turns
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One thing that the harness asks: an `Instance` of it."""

    kind: str
    """`loglikelihood`, `loglikelihood_rolling` or `generate_until`."""
    arguments: tuple[Any, ...]
    repeats: int = 1


@dataclass(slots=True)
class AskedRequests:
    """The requests about a document, and where the answer to each `Asked` stands in the responses."""

    requests: dict[str, Request] = field(default_factory=dict)
    places: list[tuple[str, int]] = field(default_factory=list)
    """For each `Asked` the request's name and, of a choice request, the choice."""


def as_requests(asked: Sequence[Asked], *, expects_thoughts: bool = False) -> AskedRequests:
    """One request for all choices after one context, and one for everything else. Raises DataError for what no backend can be asked."""
    made = AskedRequests()
    choices: list[tuple[Any, list[str]]] = []
    numbers: dict[int, tuple[int, int]] = {}
    for number, one in enumerate(asked):
        if one.kind != "loglikelihood":
            continue
        context, continuation = one.arguments[0], str(one.arguments[1])
        if not choices or not _is_same(choices[-1][0], context):
            choices.append((context, []))
        numbers[number] = (len(choices) - 1, len(choices[-1][1]))
        choices[-1][1].append(continuation)
    names = _choice_names(choices)
    for name, (context, texts) in zip(names, choices, strict=True):
        made.requests[name] = LoglikelihoodRequest(prompt=prompt_of(context), choices=tuple(texts), tokenization="lm_eval")
    others = 0
    for number, one in enumerate(asked):
        if number in numbers:
            group, place = numbers[number]
            made.places.append((names[group], place))
            continue
        base = Ask.TEXT.value if one.kind == "loglikelihood_rolling" else Ask.GENERATION.value
        name = base if others == 0 else f"{base}.{others + 1}"
        others += 1
        made.requests[name] = _other(one, expects_thoughts=expects_thoughts)
        made.places.append((name, 0))
    return made


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) and getattr(one, "turns", None) == getattr(other, "turns", None)


def _choice_names(choices: Sequence[tuple[Any, list[str]]]) -> list[str]:
    """`choices` are all choices of one context. Beside them, each may be asked without the context too (`acc_mutual_info`)."""
    if not choices:
        return []
    whole = len(choices) == 1 or (len(choices) == 2 and choices[1][0] == "" and len(choices[0][1]) == len(choices[1][1]) > 1)
    if whole and len(choices[0][1]) == 1:
        return [Ask.GOLDS.value]
    if whole:
        return [Ask.CHOICES.value, f"{Ask.CHOICES.value}.alone"][: len(choices)]
    return [f"{Ask.CHOICES.value}.{number + 1}" for number in range(len(choices))]


def prompt_of(context: Any) -> Prompt:
    """The turns of a chat, or the text."""
    return context.turns if isinstance(context, ChatPrompt) else str(context)


def _other(asked: Asked, *, expects_thoughts: bool) -> Request:
    if asked.kind == "loglikelihood_rolling":
        return PerplexityRequest(text=str(asked.arguments[0]), tokenization="lm_eval")
    if asked.kind != "generate_until":
        raise DataError(f"no backend can be asked for {asked.kind!r}")
    arguments: Mapping[str, Any] = asked.arguments[1] or {}
    until = arguments.get("until") or ()
    is_sampled = samples(arguments)
    return GenerateRequest(
        prompt=prompt_of(asked.arguments[0]),
        stop_sequence=() if expects_thoughts else tuple(str(stop) for stop in ([until] if isinstance(until, str) else until)),
        max_new_tokens=new_tokens(arguments),
        num_samples=asked.repeats if is_sampled else 1,
        do_sample=is_sampled,
        tokenization="lm_eval",
    )


def new_tokens(arguments: Mapping[str, Any]) -> int:
    """The limit of a text, of a task's `generation_kwargs`."""
    return int(next((arguments[name] for name in _LIMITS if arguments.get(name) is not None), DEFAULT_NEW_TOKENS))


def samples(arguments: Mapping[str, Any]) -> bool:
    """Whether texts are sampled: `do_sample`, or a temperature above 0 where nothing is said."""
    said = arguments.get("do_sample")
    return float(arguments.get("temperature") or 0) > 0 if said is None else bool(said)


def unheeded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The generation arguments that no request can carry: those of sampling, where it samples, and the engine's own."""
    without = _WITHOUT_EFFECT if samples(arguments) else _WITHOUT_EFFECT | _SAMPLING
    return {name: value for name, value in arguments.items() if name not in without}


def answers_of(asked: Sequence[Asked], places: Sequence[tuple[str, int]], responses: Mapping[str, Response]) -> list[list[Any]]:
    """For each `Asked` what the harness's own model would return, once for each repeat."""
    answers: list[list[Any]] = []
    for one, (name, place) in zip(asked, places, strict=True):
        response = responses[name]
        if isinstance(response, LoglikelihoodResponse):
            answers.append([(response.logprobs[place], response.greedy[place])] * one.repeats)
        elif isinstance(response, PerplexityResponse):
            answers.append([response.logprob] * one.repeats)
        else:
            assert isinstance(response, GenerateResponse)
            answers.append(list(response.texts) if len(response.texts) == one.repeats else [response.texts[0]] * one.repeats)
    return answers

"""What a model is asked and what it answers, and the protocol of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable


class RequestKind(StrEnum):
    """What a backend can be asked to do: one method of `Backend` each."""

    LOGLIKELIHOOD = "loglikelihood"
    GENERATE = "generate"
    PERPLEXITY = "perplexity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
"""Text that is fed as it stands, or turns that the backend renders with its chat template, ready for the assistant's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodRequest:
    """How likely is each choice after the prompt? All choices of a document stay together, so that an engine can share work."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    prompt: Prompt
    choices: tuple[str, ...]
    unconditioned_prompt: Prompt | None = None
    """For PMI: the same choices are scored after this too. None: they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Continue the prompt."""

    kind: ClassVar[RequestKind] = RequestKind.GENERATE
    prompt: Prompt
    stop_sequence: tuple[str, ...] = ()
    """The text is cut before the first of these. The tokenizer's own end token always ends it too."""
    max_new_tokens: int | None = None
    """None: whatever the backend's default or the model's length allows."""
    num_samples: int = 1
    do_sample: bool = False
    """False: greedy. True: drawn with the backend's generation parameters, repeatable for a given seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRequest:
    """How likely is the whole text, from an end-of-sequence token on, in windows of the model's length?"""

    kind: ClassVar[RequestKind] = RequestKind.PERPLEXITY
    text: str


Request = LoglikelihoodRequest | GenerateRequest | PerplexityRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodResponse:
    """The answer to a `LoglikelihoodRequest`; every tuple has one entry a choice, in the order asked."""

    logprobs: tuple[float, ...] = ()
    """Natural log, summed over the tokens of the choice in float64 (token log-probabilities in fp32)."""
    greedy: tuple[bool, ...] = ()
    """True: every token of the choice is the model's most likely one."""
    token_counts: tuple[int, ...] = ()
    """Tokens of each choice. The ids themselves are in `choice_token_ids` where the backend knows them."""
    unconditioned_logprobs: tuple[float, ...] | None = None
    """The same after the request's `unconditioned_prompt`. None: it had none."""
    prompt_token_ids: tuple[int, ...] | None = None
    choice_token_ids: tuple[tuple[int, ...], ...] | None = None
    truncated_tokens: int = 0
    """Tokens cut from the left of the prompt (the most over the choices) to fit the model."""
    error: str | None = None
    """Why there is no answer; the other fields are then empty and must not be scored. None: answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResponse:
    """The answer to a `GenerateRequest`: `num_samples` texts, cut at the stop sequence."""

    texts: tuple[str, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] | None = None
    """Tokens generated for each text, the stop sequence and the end token included where they were generated."""
    finish_reasons: tuple[str, ...] = ()
    """One a text: 'stop' (a stop sequence or the end token) or 'length'."""
    prompt_token_ids: tuple[int, ...] | None = None
    truncated_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityResponse:
    """The answer to a `PerplexityRequest`."""

    logprob: float | None = None
    """Natural log of the whole text. None only together with `error`."""
    token_count: int = 0
    truncated_tokens: int = 0
    error: str | None = None


Response = LoglikelihoodResponse | GenerateResponse | PerplexityResponse


@runtime_checkable
class Backend(Protocol):
    """A model that answers requests. Any object with these members is one; `pytest_lighteval.testing` checks it.

    Constructing one is cheap: weights and tokenizer load at the first request. `fingerprint`, `supports` and `max_length` come from
    files and arguments alone. The three asking methods take the requests of one task at once, yield `(index, response)` for every
    request exactly once, in any order and as soon as each is known, and raise `BackendError` only when nothing can go on; a single
    request that fails is a response with `error`. Where only asking tells that a kind is beyond it, they raise
    `UnsupportedRequestError`, and the task is skipped. `close` may be called twice.
    """

    name: str
    """The name users select it by, e.g. `accelerate`."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that may change an answer: weights, dtype, engine version, template."""

    @property
    def supports(self) -> frozenset[RequestKind]:
        """What it can be asked; a task that needs more is skipped with that reason."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: cannot tell."""

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt as it would be fed; for turns, of their contents alone. None: cannot tell."""

    def render(self, messages: Sequence[Message]) -> str | None:
        """The prompt text that the chat template makes of the turns. None: the server applies its own, unseen.

        Raises BackendError if the model has no chat template.
        """

    def describe(self) -> Mapping[str, Any]:
        """Plain facts for the report: model, dtype, device, versions, batch policy. Never secrets.

        `notes`, a list of lines, is what a person should see at the end of a run. `use` is what the work took, which differs between
        runs that measure the same: tokens, memory.
        """

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]: ...

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]: ...

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]: ...

    def close(self) -> None:
        """Give the memory back. The backend answers nothing afterwards."""


@runtime_checkable
class Repeatable(Protocol):
    """A backend that can be told that a further run of the same model is wanted, not the same answers once more.

    For backends that remember answers (a cache must not give those of another repeat) or draw at random (each repeat has its own draws).
    A backend without this member is simply asked again.
    """

    def repeat(self, number: int) -> Backend:
        """The same model for repeat `number`, from 1 on; 0 is the backend itself. It may share the model, and is not closed."""

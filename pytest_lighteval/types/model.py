"""Requests to a model, its responses, and the protocol of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable


class RequestKind(StrEnum):
    """A kind of request; `Backend` has one method for each."""

    LOGLIKELIHOOD = "loglikelihood"
    GENERATE = "generate"
    PERPLEXITY = "perplexity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


Tokenization = Literal["lighteval", "lm_eval"]
"""Whose rule splits context and continuation into tokens: Lighteval's, or that of lm-evaluation-harness."""

Prompt = str | tuple[Message, ...]
"""Text that is passed to the model unchanged, or turns. The backend renders turns with its chat template, up to the assistant's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodRequest:
    """How likely is each choice after the prompt? All choices of a document stay together, so that an engine can share work."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    prompt: Prompt
    choices: tuple[str, ...]
    unconditioned_prompt: Prompt | None = None
    """For PMI: the choices are also scored after this prompt. None: the metric needs no PMI."""
    tokenization: Tokenization | None = None
    """None: Lighteval's, unless a model argument says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Continue the prompt."""

    kind: ClassVar[RequestKind] = RequestKind.GENERATE
    prompt: Prompt
    stop_sequence: tuple[str, ...] = ()
    """The text is cut before the first of these. The tokenizer's own end token always ends it too."""
    max_new_tokens: int | None = None
    """None: the backend's default, otherwise as many as the model's length allows."""
    num_samples: int = 1
    do_sample: bool = False
    """False: greedy. True: sampled with the backend's generation parameters; the same seed gives the same texts."""
    tokenization: Tokenization | None = None
    """None: Lighteval's, unless a model argument says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredRequest(GenerateRequest):
    """Continue the prompt with JSON of a schema. A backend that cannot hold its engine to one answers it as any other request."""

    schema: str = "{}"
    """JSON Schema, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRequest:
    """How likely is the whole text, from an end-of-sequence token on, in windows of the model's length?"""

    kind: ClassVar[RequestKind] = RequestKind.PERPLEXITY
    text: str
    tokenization: Tokenization | None = None
    """None: Lighteval's, unless a model argument says otherwise."""


Request = LoglikelihoodRequest | GenerateRequest | PerplexityRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LoglikelihoodResponse:
    """The answer to a `LoglikelihoodRequest`; every tuple has one entry per choice, in the request's order."""

    logprobs: tuple[float, ...] = ()
    """Natural log, summed over the tokens of the choice in float64 (token log-probabilities in fp32)."""
    greedy: tuple[bool, ...] = ()
    """True: every token of the choice is the model's most likely one."""
    token_counts: tuple[int, ...] = ()
    """Number of tokens of each choice."""
    unconditioned_logprobs: tuple[float, ...] | None = None
    """`logprobs` after the request's `unconditioned_prompt`. None: the request has none."""
    prompt_token_ids: tuple[int, ...] | None = None
    """None: the backend does not know the tokens."""
    choice_token_ids: tuple[tuple[int, ...], ...] | None = None
    """None: the backend does not know the tokens."""
    truncated_tokens: int = 0
    """Tokens that were cut from the left of the prompt to fit the model; the maximum over the choices."""
    error: str | None = None
    """Why there is no answer; the other fields are then empty and must not be scored. None: there is an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResponse:
    """The answer to a `GenerateRequest`: `num_samples` texts, cut at the stop sequence."""

    texts: tuple[str, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] | None = None
    """Tokens generated for each text, with the stop sequence and the end token. None: the backend does not know the tokens."""
    finish_reasons: tuple[str, ...] = ()
    """One per text: 'stop' (a stop sequence or the end token) or 'length'."""
    prompt_token_ids: tuple[int, ...] | None = None
    truncated_tokens: int = 0
    empty_reasons: tuple[str, ...] = ()
    """Why texts are empty although the model answered (it refused, or only thought): one per text, or none at all."""
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

    The constructor is cheap: weights and tokenizer load at the first request. `fingerprint`, `supports` and `max_length` need only files
    and arguments.

    `loglikelihood`, `generate` and `perplexity` take the requests of one chunk of a task. They yield `(index, response)` exactly once for
    each request, in any order, as soon as it is known. A request that fails is a response with `error`. They raise `BackendError` only
    when they cannot continue, and `UnsupportedRequestError` when the model cannot answer this kind of request; the task is then skipped.
    `close` may be called twice.
    """

    name: str
    """The name by which users select it, such as `accelerate`."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that may change an answer: weights, dtype, engine version, template."""

    @property
    def supports(self) -> frozenset[RequestKind]:
        """The kinds of requests that it answers; a task that needs another kind is skipped."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: unknown."""

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Number of tokens of a text prompt as the model gets it; of turns, their contents alone. None: unknown."""

    def render(self, messages: Sequence[Message]) -> str | None:
        """The text that the chat template makes of the turns. None: the server applies its own template, which the backend does not know.

        Raises BackendError if the model has no chat template.
        """

    def describe(self) -> Mapping[str, Any]:
        """Plain facts for the report: model, dtype, device, versions, batch policy. Never secrets.

        `notes` is a list of lines that people should see at the end of a run. `use` has tokens and memory, which differ between runs that
        measure the same.
        """

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]: ...

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]: ...

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]: ...

    def close(self) -> None:
        """Release the memory. The backend answers nothing afterwards."""


@runtime_checkable
class Repeatable(Protocol):
    """A backend for which a repeat must be announced: another run of the same model, with new answers.

    A cache must not return the answers of another repeat; a backend that samples draws anew. Other backends are simply asked again.
    """

    def repeat(self, number: int) -> Backend:
        """A backend for repeat `number`, from 1 on (0 is this backend). It may share the model; the caller does not close it."""

"""Texts from a server: the completions API for plain prompts, the chat API for turns, one HTTP request for each sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.backends.common.generation_requests import cut_at_stop, is_sampled, stops_of
from pytest_lighteval.backends.common.seeds import private_seed
from pytest_lighteval.backends.openai.answers import only_choice, token_count
from pytest_lighteval.backends.openai.concurrency import work_through
from pytest_lighteval.backends.openai.errors import FinalStatusError, RefusedError, UnansweredError
from pytest_lighteval.backends.openai.server import NEWER_LIMIT, Server
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import GenerateRequest, GenerateResponse, Message, StructuredRequest

_STOPS_SENT = 4
"""The most stop sequences that OpenAI's API takes. The plugin applies all of them to the text; those not sent only cost tokens."""
_NEW_TOKENS = 1024
"""If there is no limit, and none follows from the model's length: the completions API would stop after 16 tokens."""
_WITHHELD = frozenset(("content_filter", "tool_calls", "function_call", "abort", "error"))
"""Finish reasons of texts that are not the model's answer."""
_THOUGHTS = ("thinking", "reasoning", "reasoning_content")
"""Fields of a message, and types of its parts, that hold thoughts."""
_SENT_AS = {
    **{name: name for name in ("top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")},
    "min_new_tokens": "min_tokens",
    "max_thinking_tokens": "thinking_token_budget",
    "response_format": "response_format",
}
"""Generation parameters that are sent if the user gave them -> their name in the API."""
_ONLY_SAMPLED = frozenset(("top_p", "top_k", "min_p"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    text: str
    finish_reason: str
    empty_reason: str
    """Why the text is empty. Empty: it is not, or nobody knows."""


@dataclass(slots=True, kw_only=True)
class _PendingRequest:
    """One request in progress, with the prompt as it is sent."""

    index: int
    request: GenerateRequest
    prompt: str | list[int] | tuple[Message, ...]
    ids: tuple[int, ...] | None
    """The prompt's ids. None: there is no tokenizer, or the server renders the turns."""
    truncated: int
    expected_tokens: range | None = None
    """How many tokens the server must count in the prompt. None: unknown, as in a chat."""
    samples: dict[int, _Sample] = field(default_factory=dict)
    error: str | None = None
    failure: str | None = None
    """The same, set by the thread that finds it, so that no other thread sends more of a lost request."""


class TextGenerator:
    """Lets a server continue prompts. Yields each request once, as soon as all its samples are complete."""

    def __init__(self, server: Server) -> None:
        self._server, self._arguments, self._client = server, server.arguments, server.client
        self._parameters = server.arguments.generation()

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        pending = [self._pending(index, request) for index, request in enumerate(requests)]
        jobs = [(one, sample) for one in pending for sample in range(one.request.num_samples if self._is_sampled(one.request) else 1)]
        for (one, sample), answer in work_through(jobs, self._request_sample, threads=self._arguments.concurrency):
            if one.error is not None:
                continue
            if isinstance(answer, str):
                one.error = answer
                yield one.index, GenerateResponse(error=answer)
                continue
            one.samples[sample] = answer
            if len(one.samples) == (one.request.num_samples if self._is_sampled(one.request) else 1):
                yield one.index, self._response(one)

    def _pending(self, index: int, request: GenerateRequest) -> _PendingRequest:
        """The request with its prompt as the server gets it."""
        chat = self._arguments.api == "chat" or (self._arguments.api == "auto" and not isinstance(request.prompt, str))
        if chat:
            if self._parameters.truncate_prompt is not None:
                raise BackendError("truncate_prompt: the server gets turns whole; they can be cut with api=completions and tokenizer=")
            turns = (Message(role="user", content=request.prompt),) if isinstance(request.prompt, str) else request.prompt
            return _PendingRequest(index=index, request=request, prompt=turns, ids=None, truncated=0)
        text, ids = self._text(request)
        if ids is None:
            return _PendingRequest(index=index, request=request, prompt=text or self._arguments.start_text or "", ids=None, truncated=0)
        limits = [limit for limit in (self._parameters.truncate_prompt, self._most_prompt_tokens(request)) if limit is not None]
        kept = ids[-max(1, min(limits)) :] if limits else ids
        prompt: str | list[int] = list(kept)
        if not self._server.takes_ids:
            rendered = not isinstance(request.prompt, str)
            prompt = self._server.as_text(text, rendered=rendered) if kept == ids and text else self._decode(kept)
        return _PendingRequest(
            index=index,
            request=request,
            prompt=prompt,
            ids=kept,
            truncated=len(ids) - len(kept),
            expected_tokens=self._server.expected_tokens(prompt),
        )

    def _most_prompt_tokens(self, request: GenerateRequest) -> int | None:
        """By the rule of lm-eval, a prompt leaves room for all new tokens that are allowed, where they fit at all."""
        limit = self._parameters.max_new_tokens or request.max_new_tokens
        if self._length and request.tokenization == "lm_eval" and limit is not None and limit < self._length:
            return self._length - limit
        return self._length - 1 if self._length else None

    def _text(self, request: GenerateRequest) -> tuple[str, tuple[int, ...] | None]:
        """The prompt as text and, if there is a tokenizer, as ids."""
        prompt, tokenizer = request.prompt, self._server.tokenizer
        if tokenizer is None:
            if isinstance(prompt, str):
                return prompt, None
            raise BackendError("api=completions renders chat turns itself, which needs tokenizer=")
        return tokenizer.text(prompt)[0], tokenizer.prompts([request])[0]

    def _decode(self, ids: Sequence[int]) -> str:
        assert self._server.tokenizer is not None
        text: str = self._server.tokenizer.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    @property
    def _length(self) -> int | None:
        return self._server.max_length

    def _is_sampled(self, request: GenerateRequest) -> bool:
        return is_sampled(request, self._parameters)

    def _payload(self, one: _PendingRequest, sample: int, limit_name: str, *, takes_stops: bool, takes_schema: bool) -> dict[str, Any]:
        payload: dict[str, Any] = {"model": self._server.model}
        is_chat = isinstance(one.prompt, tuple)
        if isinstance(one.prompt, tuple):
            payload["messages"] = [{"role": turn.role, "content": turn.content} for turn in one.prompt]
        else:
            payload["prompt"] = one.prompt
        if (limit := self._limit(one, is_chat=is_chat)) is not None:
            payload[limit_name if is_chat else "max_tokens"] = limit
        if takes_stops and (stops := stops_of(one.request, self._parameters)[:_STOPS_SENT]):
            payload["stop"] = list(stops)
        sampled = self._is_sampled(one.request)
        given = self._parameters.temperature
        payload["temperature"] = (1.0 if given is None else given) if sampled else 0
        if sampled:
            # some servers keep a seed in 32 bits, with a sign
            payload["seed"] = int.from_bytes(private_seed(self._parameters.seed, sample, one.request.prompt)[:4], "big") & 0x7FFFFFFF
        if is_chat and isinstance(one.request, StructuredRequest) and takes_schema:
            payload["response_format"] = _json_schema(one.request.schema)
        for name, sent in _SENT_AS.items():
            value = getattr(self._parameters, name)
            if value is not None and (sampled or name not in _ONLY_SAMPLED):
                payload[sent] = value
        return payload

    def _limit(self, one: _PendingRequest, *, is_chat: bool) -> int | None:
        """The most new tokens: of the answer, and of the thoughts if they have a limit of their own.

        None: the server's own limit, which is all that fits for a chat.
        """
        given = self._parameters.max_new_tokens or one.request.max_new_tokens or self._arguments.max_gen_toks
        thoughts = self._parameters.max_thinking_tokens or 0
        room = max(1, self._length - len(one.ids)) if self._length is not None and one.ids is not None else None
        if given is not None:
            return given + thoughts if room is None else min(given + thoughts, room)
        return None if is_chat else room or _NEW_TOKENS + thoughts

    def _request_sample(self, job: tuple[_PendingRequest, int]) -> _Sample | str:
        """One sample, or why there is none."""
        one, sample = job
        if one.failure is not None:
            return one.failure
        path = "/chat/completions" if isinstance(one.prompt, tuple) else "/completions"
        try:
            return self._read(self._post(path, one, sample), one)
        except FinalStatusError as error:
            raise self._server.no_answer(error) from None
        except UnansweredError as error:
            one.failure = str(error)
            return one.failure

    def _post(self, path: str, one: _PendingRequest, sample: int) -> Mapping[str, Any]:
        """The server's answer, in the dialect that it turns out to speak: another name of the limit, no stop sequences."""
        while True:
            # what this request is sent with: another thread may change it meanwhile
            limit_name, takes_stops, takes_schema = self._server.limit_name, self._server.takes_stops, self._server.takes_schema
            try:
                return self._client.post(path, self._payload(one, sample, limit_name, takes_stops=takes_stops, takes_schema=takes_schema))
            except RefusedError as error:
                if NEWER_LIMIT in str(error) and limit_name != NEWER_LIMIT:
                    self._server.limit_name = NEWER_LIMIT
                elif takes_stops and _refuses_stops(str(error)):
                    self._server.takes_stops = False
                elif takes_schema and isinstance(one.request, StructuredRequest) and _refuses_schema(str(error)):
                    self._server.takes_schema = False
                else:
                    raise

    def _read(self, answer: Mapping[str, Any], one: _PendingRequest) -> _Sample:
        self._server.check_count(token_count(answer, "prompt_tokens"), one.expected_tokens)
        choice = only_choice(answer)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason in _WITHHELD:
            raise UnansweredError(f"the server withholds the answer: finish_reason {reason!r}")
        whole, empty_reason = _chat_text(choice.get("message")) if isinstance(one.prompt, tuple) else (choice.get("text"), "")
        if whole is None and (empty_reason or (reason == "length" and ("text" in choice or "message" in choice))):
            whole = ""  # without a reason, all tokens went into reasoning that the server does not return
        if not isinstance(whole, str):
            raise UnansweredError("the server's answer has no text")
        whole = self._client.answer_text(whole)
        text = cut_at_stop(whole, stops_of(one.request, self._parameters))
        return _Sample(
            text=text,
            finish_reason="length" if reason == "length" and text == whole else "stop",
            empty_reason="" if whole else self._client.shown(empty_reason),
        )

    def _response(self, one: _PendingRequest) -> GenerateResponse:
        samples = [one.samples[sample] for sample in sorted(one.samples)]
        # a greedy text is repeated for each sample
        samples = samples * (1 if self._is_sampled(one.request) else one.request.num_samples)
        return GenerateResponse(
            texts=tuple(sample.text for sample in samples),
            finish_reasons=tuple(sample.finish_reason for sample in samples),
            prompt_token_ids=one.ids,
            truncated_tokens=one.truncated,
            empty_reasons=tuple(sample.empty_reason for sample in samples) if any(sample.empty_reason for sample in samples) else (),
        )


def _json_schema(schema: str) -> dict[str, Any]:
    """`response_format` of the chat API, for a reply that follows the schema."""
    content = json.loads(schema)
    return {"type": "json_schema", "json_schema": {"name": str(content.get("title", "Reply")), "schema": content, "strict": True}}


def _refuses_schema(problem: str) -> bool:
    """Whether a server says that it holds no reply to a schema. The reply is then free text."""
    words = problem.lower()
    return any(word in words for word in ("response_format", "json_schema", "json schema", "guided", "grammar"))


def _refuses_stops(problem: str) -> bool:
    """Whether a server says that it knows no stop sequences. They are applied to its texts in any case."""
    words = problem.lower()
    return "'stop'" in words and any(word in words for word in ("unsupported", "not supported"))


def _chat_text(message: object) -> tuple[object, str]:
    """The text of a chat's answer, and why it may be empty: a refusal, or thoughts alone. None: there is no text."""
    if not isinstance(message, dict):
        return None, ""
    content, refusals, has_thought = message.get("content"), [message.get("refusal")], False
    if isinstance(content, list):
        parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
        if not all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts):
            return None, ""
        refusals += [part.get("refusal") for part in parts if part["type"] == "refusal"]
        has_thought = any(part["type"] in _THOUGHTS for part in parts)
        told = [part.get("text") for part in parts if part["type"] not in _THOUGHTS and part["type"] != "refusal"]
        texts = [text for text in told if isinstance(text, str)]
        if len(texts) < len(told):
            return None, ""
        content = "".join(texts) if texts else None
    refusal = next((text for text in refusals if isinstance(text, str) and text.strip()), None)
    if refusal is not None:
        return content, f"the model refused: {refusal}"
    has_thought = has_thought or any(isinstance(message.get(name), str) and message[name].strip() for name in _THOUGHTS)
    return content, "the model only thought, and said nothing" if has_thought else ""

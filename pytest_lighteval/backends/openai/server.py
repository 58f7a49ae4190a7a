"""What a server can do, found out when it is first needed: its models, whether it scores prompts, whether it takes token ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_lighteval.backends.openai.arguments import OpenAIArguments
from pytest_lighteval.backends.openai.client import Client
from pytest_lighteval.backends.openai.echo import Echo, EchoForm, ask_echo, count_prompt_tokens, is_aligned
from pytest_lighteval.backends.openai.errors import FinalStatusError, UnansweredError
from pytest_lighteval.backends.openai.spelling import same_token
from pytest_lighteval.errors import BackendError, UnsupportedRequestError, did_you_mean
from pytest_lighteval.types import GenerateRequest

if TYPE_CHECKING:  # transformers, which importing a backend must not cost
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

NEWER_LIMIT = "max_completion_tokens"
"""The name of a chat's `max_tokens` for newer models of OpenAI's own service."""

_PROBE = "The quick brown fox jumps over 12 lazy dogs."
_PROBE_WORDS = "brown fox jumps over 12 lazy"


class Server:
    """A client, the arguments, and a tokenizer if the user named one. Each ability of the server is probed once."""

    def __init__(self, arguments: OpenAIArguments, client: Client, tokenizer: PromptTokenizer | None) -> None:
        self.arguments, self.client, self.tokenizer = arguments, client, tokenizer
        self.limit_name = "max_tokens"
        """The name of the limit of new tokens in a chat."""
        self.takes_stops = True
        """Whether it takes stop sequences, as far as it has not refused them."""
        self.takes_schema = True
        """Whether it holds replies to a JSON Schema, as far as it has not refused one."""
        self._echo_form: EchoForm | None = None
        """How the server echoes. None: not known yet, or it does not."""
        self._token_texts: dict[int, str] = {}

    @property
    def model(self) -> str:
        """The model's name at the server."""
        return self.arguments.model

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """The entries of `/models` by name. Empty: the server has no such list.

        Raises BackendError for an outage; the next call then tries again. (Without a length, long prompts would be refused.)
        """
        try:
            listed = self.client.get("/models").get("data")
        except FinalStatusError:
            return {}
        except UnansweredError as error:
            if error.is_outage:
                raise self._outage(error) from None
            return {}
        entries = listed if isinstance(listed, list) else []
        return {self.client.shown(entry["id"]): entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}

    @property
    def max_length(self) -> int | None:
        """The `max_length` argument, else what the server reports (vLLM and SGLang do). None: unknown."""
        if self.arguments.max_length is not None:
            return self.arguments.max_length
        said = self.models.get(self.model, {}).get("max_model_len")
        return said if type(said) is int and said > 0 else None

    @cached_property
    def takes_ids(self) -> bool:
        """Whether prompts can be sent as the tokenizer's ids. A server without echo cannot show it.

        Raises BackendError for a tokenizer of another model, and for an outage; the next call then tries again.
        """
        if self.tokenizer is None:
            return False
        ids = self.tokenizer.prompts([GenerateRequest(prompt=_PROBE)])[0]
        counted = self._probe_tokens
        if counted is None:
            return False
        # one more or less: some servers add a beginning token
        if abs(counted - len(ids)) > 1:
            raise BackendError(
                f"tokenizer={self.arguments.tokenizer} is not that of {self.model!r}: it makes {len(ids)} tokens of {_PROBE!r}, the server"
                f" {counted}"
            )
        try:
            if count_prompt_tokens(self.client, self.model, ids) != len(ids):
                return False
            read = "".join(ask_echo(self.client, self.model, ids).tokens)
        except FinalStatusError:
            return False
        except UnansweredError as error:
            if error.is_outage:
                raise self._outage(error) from None
            return False
        # an equal number of tokens does not mean equal tokens
        if _PROBE_WORDS not in read:
            shown = self.client.shown(repr(read))
            raise BackendError(f"tokenizer={self.arguments.tokenizer} is not that of {self.model!r}: the server reads its ids as {shown}")
        return True

    def as_text(self, text: str, *, rendered: bool) -> str:
        """A prompt as text. Rendered turns lose their beginning token if the server adds one to every text."""
        if not rendered or self.tokenizer is None:
            return text
        start: str = self.tokenizer.tokenizer.bos_token or ""
        return text.removeprefix(start) if start and text.startswith(start) and self._adds_start else text

    @property
    def _adds_start(self) -> bool:
        return self._added_tokens == 1

    def expected_tokens(self, prompt: str | Sequence[int]) -> range | None:
        """How many tokens the server must count in a prompt, of which it got the text or the ids. None: unknown without a tokenizer.

        A beginning token that the text has itself may be counted once or twice.
        """
        if self.tokenizer is None or self._added_tokens is None:
            return None
        if not isinstance(prompt, str):
            return range(len(prompt), len(prompt) + 1)
        count = self._count_plain(prompt) + self._added_tokens
        start: str = self.tokenizer.tokenizer.bos_token or ""
        return range(count - (1 if start and prompt.startswith(start) and self._adds_start else 0), count + 1)

    def check_count(self, counted: int | None, expected: range | None) -> None:
        """Raise UnansweredError if the server read another prompt than it got, such as a part of it."""
        if expected is not None and counted not in expected:
            read = "does not say how many tokens it read" if counted is None else f"read {counted} tokens"
            raise UnansweredError(f"the server {read}, and the prompt has {expected[-1]}: it did not read the prompt that was sent")

    def check_echo(self, echo: Echo, prompt: str | Sequence[int]) -> None:
        """Raise UnansweredError unless the echo is that of the prompt, with each value at its token."""
        assert self._echo_form is not None
        self._echo_form.check(echo, prompt if isinstance(prompt, str) else None)
        self.check_count(echo.prompt_tokens, self.expected_tokens(prompt))
        if not isinstance(prompt, str) and not self._are_tokens(echo.tokens, prompt):
            raise UnansweredError("the server's echo is not the tokens that were sent")

    def _are_tokens(self, written: Sequence[str], ids: Sequence[int]) -> bool:
        return len(written) == len(ids) and all(self._is_token(text, token) for text, token in zip(written, ids, strict=True))

    def _is_token(self, written: str, token: int) -> bool:
        assert self.tokenizer is not None
        expected = self._token_texts.get(token)
        if expected is None:
            expected = self._token_texts[token] = self.tokenizer.tokenizer.decode([token], skip_special_tokens=False)
        return written == expected or same_token(written, expected, is_special=token in self._special_ids)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        assert self.tokenizer is not None
        return frozenset(self.tokenizer.special_ids.values())

    @cached_property
    def _added_tokens(self) -> int | None:
        """Tokens that the server adds to every text. None: it does not count. Raises BackendError for any trouble."""
        return None if self._probe_tokens is None else self._probe_tokens - self._count_plain(_PROBE)

    def _count_plain(self, text: str) -> int:
        assert self.tokenizer is not None
        return len(self.tokenizer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @cached_property
    def _probe_tokens(self) -> int | None:
        return self._count_probe()

    def require_scores(self) -> None:
        """Raise UnsupportedRequestError unless the server gives log-probabilities of a prompt's tokens."""
        if self._lacks_scores is not None:
            raise UnsupportedRequestError(self._lacks_scores)

    @cached_property
    def _lacks_scores(self) -> str | None:
        """Why the server cannot score. None: it can. Raises BackendError for an outage, and for any other trouble."""
        try:
            echo = ask_echo(self.client, self.model, _PROBE)
        except FinalStatusError as error:
            if error.status == 403:
                # it may refuse only log-probabilities, or everything
                self._count_probe()
                return f"the server at {self.arguments.base_url} gives no log-probabilities of a prompt: {error}"
            if error.status not in (404, 405, 501) or (error.status == 404 and self.model not in self.models):
                raise self.no_answer(error) from None
            return f"the server at {self.arguments.base_url} has no completions API, which gives log-probabilities: {error}"
        except UnansweredError as error:
            if error.is_outage:
                raise self._outage(error) from None
            # the server cannot score only if it answers the same prompt without scores
            self._count_probe()
            return f"the server at {self.arguments.base_url} gives no log-probabilities of a prompt: {error}"
        if None in echo.logprobs[1:] or None in echo.best[1:]:
            return f"the server at {self.arguments.base_url} gives no log-probabilities of all tokens of a prompt"
        self._echo_form = EchoForm.learn(echo, _PROBE)
        if self._echo_form is None:
            read = self.client.shown(repr("".join(echo.tokens)))
            return f"the server at {self.arguments.base_url} gives wrong log-probabilities of a prompt: it reads {_PROBE!r} as {read}"
        try:
            if not is_aligned(self.client, self.model):
                return f"the server at {self.arguments.base_url} gives wrong log-probabilities of a prompt: they belong to other tokens"
        except UnansweredError as error:
            raise self._outage(error) from None
        return None

    def no_answer(self, error: FinalStatusError) -> BackendError:
        """The error for a status that every request gets. If the model is unknown, it lists the server's models."""
        return self._no_model(error) if error.status == 404 and self.models and self.model not in self.models else error

    def describe(self) -> dict[str, Any]:
        """What is known so far. Sends nothing."""
        facts: dict[str, Any] = {}
        entry = self.__dict__.get("models", {}).get(self.model, {})
        told = {name: entry.get(name) for name in ("root", "owned_by", "max_model_len")}
        if served := {name: self.client.shown(fact) if isinstance(fact, str) else fact for name, fact in told.items() if _is_plain(fact)}:
            facts["served"] = served
        if self.arguments.tokenizer is None:
            facts["prompts"] = "text"
        elif "takes_ids" in self.__dict__:
            facts["prompts"] = "token ids" if self.takes_ids else "text"
        return facts

    def _count_probe(self) -> int | None:
        """The server's token count of the probe's text. Raises BackendError for any trouble."""
        try:
            return count_prompt_tokens(self.client, self.model, _PROBE)
        except FinalStatusError as error:
            raise self.no_answer(error) from None
        except UnansweredError as error:
            raise self._outage(error) from None

    def _outage(self, error: UnansweredError) -> BackendError:
        return BackendError(f"{self.arguments.base_url}: {error}")

    def _no_model(self, error: FinalStatusError) -> BackendError:
        names: Sequence[str] = sorted(self.models)
        if not names:
            return error
        near = did_you_mean(self.model, names) or f"; it has: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        return BackendError(f"{self.arguments.base_url}: the server has no model {self.model!r}{near}")


def _is_plain(fact: object) -> bool:
    return isinstance(fact, str | int)

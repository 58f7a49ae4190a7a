"""The model arguments of `--backend openai`: names, types, defaults, help, and what contradicts what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from pytest_lighteval.backends.common.generation_parameters import BEAM_SEARCH, TextParameters, read_parameters
from pytest_lighteval.backends.common.prompt_rules import PromptRules
from pytest_lighteval.backends.openai.secret import Secret
from pytest_lighteval.errors import UserInputError

WITHOUT_EFFECT = frozenset(("concurrency", "timeout", "total_timeout", "retries", "api_key_env", "use_chat_template"))
"""Arguments that change no answer: how many requests and tries, the key, and what the plugin acts on itself."""

_KEY_VARIABLE = "OPENAI_API_KEY"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")

_Positive = Annotated[int, Meta(ge=1)]
_Length = Annotated[int, Meta(ge=3)]
"""One token of context, one of continuation, and one that every server generates."""
_NotNegative = Annotated[float, Meta(ge=0)]


class ServerParameters(TextParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a server's API. Each is sent only if the user gave it, except `temperature` and `seed`.

    `top_k`, `min_p`, `repetition_penalty`, `min_new_tokens` (sent as `min_tokens`) and `max_thinking_tokens` (sent as vLLM's
    `thinking_token_budget`) are not in OpenAI's own API.
    """

    repetition_penalty: Annotated[_NotNegative | None, Meta(description="above 1: tokens seen become less likely")] = None
    frequency_penalty: Annotated[float | None, Meta(description="taken from a token's logit for each time it was generated")] = None
    presence_penalty: Annotated[float | None, Meta(description="taken from a token's logit once it was generated")] = None
    max_thinking_tokens: Annotated[
        _Positive | None, Meta(description="limit of a model's thoughts, beside the limit of its answer; sent as thinking_token_budget")
    ] = None
    response_format: Annotated[dict[str, Any] | None, Meta(description="sent as it is, e.g. {type: json_object}")] = None

    refused: ClassVar[Mapping[str, str]] = BEAM_SEARCH


class OpenAIArguments(PromptRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend openai`. Making one raises UserInputError for values that contradict one another."""

    base_url: Annotated[str, Meta(description="where the server's API begins, e.g. http://127.0.0.1:8000/v1")]
    model: Annotated[str, Meta(min_length=1, description="the model's name at the server")]
    model_version: Annotated[
        str | None,
        Meta(description="any text that identifies the model and engine, so that answers may be kept; change it when they change"),
    ] = None
    tokenizer: Annotated[
        str | None,
        Meta(description="hub id or folder of the model's tokenizer: prompts are truncated, and sent as token ids where possible"),
    ] = None
    start_text: Annotated[
        str | None, Meta(description="text in place of an empty context if there is no tokenizer, e.g. <|endoftext|>")
    ] = None
    max_length: Annotated[_Length | None, Meta(description="longest sequence in tokens; default: what the server reports")] = None
    max_gen_toks: Annotated[_Positive | None, Meta(description="new tokens where the task sets no limit")] = None
    api: Annotated[
        Literal["auto", "completions", "chat"],
        Meta(
            description="auto: completions for texts, chat for turns; completions: turns are rendered here; chat: a text is one user turn"
        ),
    ] = "auto"
    concurrency: Annotated[_Positive, Meta(description="requests at a time")] = 16
    timeout: Annotated[float, Meta(gt=0, description="seconds without a byte until a request is given up and tried again")] = 300.0
    total_timeout: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="seconds for a whole answer, however it comes; default: four times timeout")
    ] = None
    retries: Annotated[int, Meta(ge=0, description="tries after the first, for 429, 5xx, time-outs and broken connections")] = 5
    api_key_env: Annotated[str, Meta(description="the environment variable that holds the key")] = _KEY_VARIABLE

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if not _VARIABLE.fullmatch(self.api_key_env):
            # not shown: the value may be the key itself
            raise UserInputError("api_key_env: the NAME of an environment variable was expected, such as OPENAI_API_KEY")
        if self.max_gen_toks is not None and self.generation_parameters.get("max_new_tokens") is not None:
            raise UserInputError("max_gen_toks says nothing beside generation_parameters.max_new_tokens, the limit of every text: give one")
        if self.generation().truncate_prompt is not None and self.tokenizer is None:
            raise UserInputError("generation_parameters.truncate_prompt counts tokens: give tokenizer=, a hub id or a folder")

    nested: ClassVar[Mapping[str, type[Struct]]] = {"generation_parameters": ServerParameters}
    gpus: ClassVar[int] = 0

    def generation(self) -> ServerParameters:
        """`generation_parameters`, checked. Raises UserInputError that names the parameter."""
        return read_parameters(ServerParameters, self.generation_parameters)

    def key(self) -> Secret | None:
        """The API key, read from the environment now. None: the variable is not set, and no key is sent.

        Raises UserInputError for a variable that was named but is not set, and for a value that cannot be sent in a header.
        """
        key = Secret.of_environment(self.api_key_env)
        if key is None and self.api_key_env != _KEY_VARIABLE:
            # not shown: a key of upper-case letters looks like a name
            raise UserInputError("api_key_env: the environment variable that it names is not set")
        if key is not None and not key.fits_a_header():
            raise UserInputError(
                f"api_key_env: the variable {self.api_key_env} has characters that no key has (a line break, a space, a letter beyond"
                " ASCII)"
            )
        return key


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            # not shown: it may hold a key
            raise UserInputError("base_url: no user, password or query belongs in it; the key comes from the environment, see api_key_env")
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        has_host = False
    if not has_host:
        raise UserInputError(f"base_url: {url!r} is not the address of a server, such as http://127.0.0.1:8000/v1")

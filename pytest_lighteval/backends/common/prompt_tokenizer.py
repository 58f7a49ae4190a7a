"""A transformers tokenizer, loaded and with its rules: prompts to ids and back, chat turns to text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from pytest_lighteval.backends.common.gguf import NO_TOKENIZER
from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.backends.common.token_pairs import (
    SpecialTokens,
    StablePrefix,
    TextPair,
    TokenPair,
    encode_pairs,
    encode_prompts,
    encode_rolling,
    find_special_tokens,
)
from pytest_lighteval.errors import BackendError, first_line
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest, Message, PerplexityRequest, Prompt, Tokenization

_WORDS_LEFT = 4
"""Words at the end of a context that are tokenized again with each continuation."""


def load_tokenizer(folder: Path, name: str, *, trust_remote_code: bool = False) -> Any:
    """The transformers tokenizer in the folder; `name` is what the user calls it. Raises BackendError in one line."""
    import transformers

    missing = folder / NO_TOKENIZER
    if missing.is_file():
        raise BackendError(f"{name}: {missing.read_text(encoding='utf-8')}; name one: tokenizer=<hub id or folder>")
    try:
        with quiet_transformers():
            return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise BackendError(f"{name}: cannot load the tokenizer: {first_line(error)}") from error


class PromptTokenizer:
    """A tokenizer and the rules by which prompts are tokenized."""

    def __init__(
        self,
        tokenizer: Any,
        name: str,
        *,
        add_special_tokens: bool = True,
        pairwise: bool = False,
        tokenization: Tokenization | None = None,
    ) -> None:
        """`name` is the model's, for messages; for the rules see `PromptRules` and `TokenRules`. Raises BackendError."""
        self.tokenizer, self._name, self._add_special_tokens, self._pairwise = tokenizer, name, add_special_tokens, pairwise
        self._tokenization = tokenization
        try:
            special = find_special_tokens(self._encode, tokenizer.eos_token_id, tokenizer.bos_token_id)
        except ValueError as error:
            raise BackendError(f"{name}: {error}") from error
        prefix_text: str = tokenizer.decode([special.prefix], skip_special_tokens=False)
        self.special: SpecialTokens = replace(special, prefix_text=prefix_text)

    def tokenization(self, request: LoglikelihoodRequest | GenerateRequest | PerplexityRequest) -> Tokenization:
        """The rule for a request: the user's, else the request's, else Lighteval's."""
        return self._tokenization or request.tokenization or "lighteval"

    def text(self, prompt: Prompt) -> tuple[str, bool]:
        """The text that is passed to the model, and whether it was rendered from turns."""
        return (prompt, False) if isinstance(prompt, str) else (self.render(prompt), True)

    def render(self, messages: Sequence[Message]) -> str:
        """The chat template's text, ready for the assistant's answer. Raises BackendError."""
        if not self.tokenizer.chat_template:
            raise BackendError(f"{self._name}: its tokenizer has no chat template; leave the chat template out, or name a chat model")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise BackendError(f"{self._name}: its chat template does not take these turns: {error}") from error
        return rendered

    def pairs(self, pairs: Sequence[TextPair]) -> list[TokenPair]:
        """Contexts and continuations as ids."""
        return encode_pairs(
            pairs,
            self._encode,
            self.special,
            add_special_tokens=self._add_special_tokens,
            pairwise=self._pairwise,
            encode_prefixes=self._encode_stable_prefixes if self._splits_words else None,
        )

    def prompts(self, requests: Sequence[GenerateRequest]) -> list[tuple[int, ...]]:
        """Prompts to be continued, as ids."""
        texts = [(*self.text(request.prompt), self.tokenization(request)) for request in requests]
        return encode_prompts(texts, self._encode, self.special, add_special_tokens=self._add_special_tokens)

    def rolling(self, requests: Sequence[PerplexityRequest]) -> list[tuple[int, tuple[int, ...]]]:
        """Whole texts to be scored: the token before the first, and the ids."""
        texts = [(request.text, self.tokenization(request)) for request in requests]
        encoded = encode_rolling(texts, self._encode, self.special, add_special_tokens=self._add_special_tokens)
        return [(self.special.start_of(rule), ids) for (_, rule), ids in zip(texts, encoded, strict=True)]

    def count(self, prompt: Prompt) -> int:
        """How many tokens the prompt has; for turns, only their contents are counted."""
        if isinstance(prompt, str):
            return len(self.prompts([GenerateRequest(prompt=prompt)])[0])
        return sum(len(ids) for ids in self._encode([message.content for message in prompt], False)) if prompt else 0

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Ids of the special tokens, which `decode` leaves out."""
        return {token.content: index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    @cached_property
    def _splits_words(self) -> bool:
        """Whether the tokenizer splits a text into words first, so that no token depends on later words.

        BPE and WordPiece then work on each word alone. Where a word ends depends only on the text up to the next character (see the
        space rules of GPT-2's pattern). A Metaspace tokenizer may take the whole text for one word.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None or type(backend.model).__name__ not in ("BPE", "WordPiece"):
            return False
        return backend.pre_tokenizer is not None and type(backend.pre_tokenizer).__name__ != "Metaspace"

    def _encode_stable_prefixes(self, texts: Sequence[str], add_special_tokens: bool) -> list[tuple[list[int], StablePrefix | None]]:
        encoded = self._encode_all(texts, add_special_tokens)
        return [(encoding.ids, _stable_prefix(encoding)) for encoding in encoded.encodings]

    def _encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        ids: list[list[int]] = self._encode_all(texts, add_special_tokens)["input_ids"]
        return ids

    def _encode_all(self, texts: Sequence[str], add_special_tokens: bool) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # no warning about a long text: it is truncated or cut into windows afterwards
            return self.tokenizer(list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)


def _stable_prefix(encoding: Any) -> StablePrefix | None:
    """All but the last words of a text. None: the text has few words."""
    words = encoding.word_ids
    last = next((word for word in reversed(words) if word is not None), None)
    if last is None or last < _WORDS_LEFT:
        return None
    # special tokens at the start belong to no word
    tokens = (
        next(index for index in range(len(words) - 1, -1, -1) if words[index] is not None and words[index] < last - _WORDS_LEFT + 1) + 1
    )
    return StablePrefix(tokens=tokens, characters=encoding.offsets[tokens - 1][1])

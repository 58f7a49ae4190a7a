"""A transformers tokenizer as the engine needs it: prompts to ids and back, chat turns to text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jinja2.exceptions import TemplateError

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.tokenization import (
    SpecialTokens,
    TextPair,
    TokenPair,
    encode_pairs,
    encode_prompts,
    encode_rolling,
    find_special_tokens,
)
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import Message, Prompt

__all__ = ["Texts"]


class Texts:
    """A tokenizer together with the arguments that say how it is to be used."""

    def __init__(self, tokenizer: Any, arguments: AccelerateArguments) -> None:
        self.tokenizer, self._arguments = tokenizer, arguments
        try:
            self.special: SpecialTokens = find_special_tokens(self._encode, tokenizer.eos_token_id, tokenizer.bos_token_id)
        except ValueError as error:
            raise BackendError(f"{arguments.model}: {error}") from error

    def text(self, prompt: Prompt) -> tuple[str, bool]:
        """The text that is fed, and whether it was rendered from turns."""
        return (prompt, False) if isinstance(prompt, str) else (self.render(prompt), True)

    def render(self, messages: Sequence[Message]) -> str:
        """The chat template's text, ready for the assistant's answer. Raises BackendError."""
        if not self.tokenizer.chat_template:
            raise BackendError(
                f"{self._arguments.model}: its tokenizer has no chat template; leave the chat template out, or name a chat model"
            )
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise BackendError(f"{self._arguments.model}: its chat template does not take these turns: {error}") from error
        return rendered

    def pairs(self, pairs: Sequence[TextPair]) -> list[TokenPair]:
        """Contexts and continuations as ids, by the arguments' rules."""
        return encode_pairs(
            pairs,
            self._encode,
            self.special,
            add_special_tokens=self._arguments.add_special_tokens,
            pairwise=self._arguments.pairwise_tokenization,
        )

    def prompts(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Prompts to be continued."""
        texts = [self.text(prompt) for prompt in prompts]
        return encode_prompts(texts, self._encode, self.special, add_special_tokens=self._arguments.add_special_tokens)

    def rolling(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Whole texts to be scored."""
        return encode_rolling(texts, self._encode, self.special, add_special_tokens=self._arguments.add_special_tokens)

    def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt as it would be fed; for turns, of their contents alone."""
        if isinstance(prompt, str):
            return len(self.prompts([prompt])[0])
        return sum(len(ids) for ids in self._encode([message.content for message in prompt], False)) if prompt else 0

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special ones left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Ids of the special tokens, which `decode` leaves out."""
        return {token.content: index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def _encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # a long text is no mistake here, it is truncated or windowed afterwards
            encoded = self.tokenizer(list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

"""When a generated text is done, and where it is cut: end tokens, limits, and stop sequences anywhere in the decoded text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.common.generation_requests import GeneratedText, decode_generated
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

_LOOKBACK = 8
"""Tokens decoded beyond those that a stop sequence can span: a token may decode to nothing by itself."""


class StopRule:
    """When one row is done."""

    def __init__(self, row: PromptRow, tokenizer: PromptTokenizer, ends: Collection[int]) -> None:
        self._row, self._tokenizer = row, tokenizer
        self.ends = {*ends, *row.stop_ids}
        """Tokens that end the text."""
        # a token is at least one byte of text, so that a stop sequence spans no more tokens than it has bytes
        self._window = max((len(stop.encode()) for stop in row.stop_sequence), default=0) + _LOOKBACK

    def is_done(self, tokens: Sequence[int]) -> bool:
        """Whether the row's new tokens are its whole answer. Call it after each new token."""
        if len(tokens) >= self._row.max_new_tokens or tokens[-1] in self.ends:
            return True
        # the last few tokens nearly always decide; only a hit among them is worth decoding the whole text
        return self._has_stop(tokens[-self._window :]) and self._has_stop(tokens)

    def finish(self, tokens: Sequence[int]) -> GeneratedText:
        """The answer: tokens up to the first end or the limit, text cut before its first stop sequence."""
        limit, stops = self._row.max_new_tokens, self._row.stop_sequence
        return decode_generated(tokens, max_new_tokens=limit, stop_sequence=stops, ends=self.ends, decode=self._tokenizer.decode)

    def _has_stop(self, tokens: Sequence[int]) -> bool:
        if not self._row.stop_sequence:
            return False
        text = self._tokenizer.decode(tokens)
        return any(stop in text for stop in self._row.stop_sequence)

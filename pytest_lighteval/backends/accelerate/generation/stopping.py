"""When a text is done, and what is left of it then: ends, limits, and stop sequences wherever they fall in the decoded text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_lighteval.backends.accelerate.scoring.row_batches import PromptRow
from pytest_lighteval.backends.common.generation_requests import GeneratedText, decode_generated
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer

_LOOKBACK = 8
"""Tokens decoded beyond those that a stop sequence can span, since a token may decode to nothing by itself."""


class StopRule:
    """When one row is done."""

    def __init__(self, row: PromptRow, texts: PromptTokenizer, ends: Collection[int]) -> None:
        self._row, self._texts = row, texts
        self.ends = {*ends, *row.stop_ids}
        """Tokens behind which nothing comes."""
        # a token is at least one byte of text, so that a stop sequence spans no more tokens than it has bytes
        self._window = max((len(stop.encode()) for stop in row.stop_sequence), default=0) + _LOOKBACK

    def is_done(self, tokens: Sequence[int]) -> bool:
        """Whether the row's new tokens are its whole answer; to be asked after each of them."""
        if len(tokens) >= self._row.max_new_tokens or tokens[-1] in self.ends:
            return True
        # the few last tokens tell nearly always; only a hit among them is worth the whole text
        return self._has_stop(tokens[-self._window :]) and self._has_stop(tokens)

    def finish(self, tokens: Sequence[int]) -> GeneratedText:
        """The answer of the first tokens that are one, cut before its first stop sequence."""
        limit, stops = self._row.max_new_tokens, self._row.stop_sequence
        return decode_generated(tokens, max_new_tokens=limit, stop_sequence=stops, ends=self.ends, decode=self._texts.decode)

    def _has_stop(self, tokens: Sequence[int]) -> bool:
        if not self._row.stop_sequence:
            return False
        text = self._texts.decode(tokens)
        return any(stop in text for stop in self._row.stop_sequence)

"""The rows that are generated: one for each text that a prompt gets. Plain Python, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_lighteval.backends.common.generation_requests import TokenizedPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt to be continued once."""

    owner: int
    """The index of the request."""
    prompt: tuple[int, ...]
    max_new_tokens: int
    stop_sequence: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Special tokens that end this row too: they have no text in which a stop sequence could be found."""
    sample: int | None = None
    """The number of the sample among those of its request. None: greedy."""


def rows_of(owner: int, prompt: TokenizedPrompt) -> list[PromptRow]:
    """The rows of a request: one if it is greedy, otherwise one for each sample."""
    return [
        PromptRow(
            owner=owner,
            prompt=prompt.tokens,
            max_new_tokens=prompt.max_new_tokens,
            stop_sequence=prompt.stop_sequence,
            stop_ids=prompt.stop_ids,
            sample=sample,
        )
        for sample in ((None,) if prompt.samples is None else range(prompt.samples))
    ]

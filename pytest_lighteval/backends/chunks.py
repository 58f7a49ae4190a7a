"""A task's requests in chunks: what a backend is asked at a time, and what one engine of a pool computes.

The last digits of an answer depend on what runs together. So the chunks follow from the requests alone: never from the number of engines,
the memory that is free, or what a cache holds. The reasons: docs/decisions/021-chunks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_lighteval.backends.common.prefixes import common_prefix
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest, Prompt, Request

_BRANCH = 32
"""Bytes that requests must share after a common beginning, to be moved next to each other."""
_UNLIMITED_TOKENS = 2048
"""New tokens that are counted for a request without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLimits:
    """How big a chunk is."""

    size: int = 2**17
    """Bytes of its requests, shared beginnings counted once, and new tokens: about two batches of a GPU."""
    per_stem: int = 20
    """A cut computes the shared beginning again, so a chunk has this many times its size: the cuts cost 5 % at most."""
    most: int = 2**20
    """The size at which a chunk is cut, whatever the cut costs."""
    requests: int = 512
    """Requests of a chunk that is cheap to cut: about two batches of a GPU. Short ones do not fill it, and all are lost with an engine."""
    rows: int = 256
    """Texts that are generated together at least: an engine continues about so many at a time, and the last ones leave it idle."""


USUAL = ChunkLimits()
"""What a session cuts by."""


def cut(requests: Sequence[Request], limits: ChunkLimits | None = None) -> list[tuple[int, ...]]:
    """The chunks of a task's requests of one kind, as indices. Of equal requests only the first is in a chunk.

    The order is that of the requests, but those that begin alike are next to each other. A chunk ends where it is big enough, and where
    the cut is cheap.
    """
    limits = limits or USUAL
    first: dict[Request, int] = {}
    for index, request in enumerate(requests):
        first.setdefault(request, index)
    texts = {index: _text(request) for request, index in first.items()}
    chunks: list[list[int]] = []
    sizes: list[int] = []
    rows, before = 0, b""
    for index in _in_order(texts):
        shared = common_prefix(before, texts[index])
        # what is asked after one prompt is about one document, which a part of the chunks must have as a whole
        is_apart = before != texts[index] or (bool(sizes) and sizes[-1] >= limits.most)
        if not chunks or (
            is_apart and _is_full(limits, size=sizes[-1], count=len(chunks[-1]), rows=rows, shared=shared, kind=requests[index])
        ):
            chunks.append([])
            sizes.append(0)
            rows = shared = 0
        chunks[-1].append(index)
        sizes[-1] += len(texts[index]) - shared + _more(requests[index])
        rows += _rows(requests[index])
        before = texts[index]
    last = chunks[-1] if chunks else []
    if len(chunks) > 1 and not _is_worth_a_chunk(limits, size=sizes[-1], count=len(last), rows=rows, kind=requests[last[0]]):
        rest = chunks.pop()
        chunks[-1] += rest
    return [tuple(chunk) for chunk in chunks]


def _is_full(limits: ChunkLimits, *, size: int, count: int, rows: int, shared: int, kind: Request) -> bool:
    if isinstance(kind, GenerateRequest) and rows < limits.rows:
        return False
    return size >= limits.most or ((size >= limits.size or count >= limits.requests) and size >= limits.per_stem * shared)


def _is_worth_a_chunk(limits: ChunkLimits, *, size: int, count: int, rows: int, kind: Request) -> bool:
    """Whether the last chunk is at least half of one."""
    return (2 * size >= limits.size or 2 * count >= limits.requests) and (not isinstance(kind, GenerateRequest) or 2 * rows >= limits.rows)


def _in_order(texts: Mapping[int, bytes]) -> list[int]:
    """The requests in their order, those that share a long beginning next to the first of them."""
    ordered: list[int] = []
    waiting = [list(texts)]
    while waiting:
        group = waiting.pop()
        if len(group) <= 1:
            ordered += group
            continue
        shared = common_prefix(min(texts[index] for index in group), max(texts[index] for index in group))
        branches: dict[bytes, list[int]] = {}
        for index in group:
            branches.setdefault(texts[index][shared : shared + _BRANCH], []).append(index)
        if len(branches) == 1:  # equal prompts
            ordered += group
            continue
        waiting += reversed(branches.values())
    return ordered


def _text(request: Request) -> bytes:
    """What an engine reads first."""
    return _bytes(request.prompt if isinstance(request, LoglikelihoodRequest | GenerateRequest) else request.text)


def _bytes(prompt: Prompt) -> bytes:
    text = prompt if isinstance(prompt, str) else "\0".join(turn.content for turn in prompt)
    return text.encode("utf-8", "surrogatepass")


def _more(request: Request) -> int:
    """The size of a request beside its text."""
    if isinstance(request, LoglikelihoodRequest):
        choices = sum(len(_bytes(choice)) for choice in request.choices)
        if request.unconditioned_prompt is not None:
            choices += len(_bytes(request.unconditioned_prompt)) + choices
        return choices
    if isinstance(request, GenerateRequest):
        limit = _UNLIMITED_TOKENS if request.max_new_tokens is None else request.max_new_tokens
        return limit * request.num_samples
    return 0


def _rows(request: Request) -> int:
    return request.num_samples if isinstance(request, GenerateRequest) else 1

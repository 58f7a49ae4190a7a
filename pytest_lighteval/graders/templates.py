"""What judges are told: chats with slots, one file each in the folder `templates`.

A line `=== role` begins a turn; `{name}` is a slot. Texts that are filled in are never looked at again, whatever braces they have.
The texts of `mt_bench_*`, `simpleqa`, `hle`, `mixeval_*`, `flow` and `alrage_qa` are the benchmarks' own, byte for byte: they are a part of
what is measured. `pair` and `own` are this project's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, cast

from pytest_lighteval.types import Message

_FOLDER = Path(__file__).parent / "templates"
_TURN = re.compile(r"^=== (system|user)\n", re.MULTILINE)
_SLOT = re.compile(r"\{([a-z][a-z_0-9]*)\}")


@cache
def template(name: str) -> tuple[Message, ...]:
    """The turns of the template of this name, with their slots."""
    _, *parts = _TURN.split((_FOLDER / f"{name}.txt").read_text("utf-8"))
    roles = cast(list[Literal["system", "user"]], parts[::2])
    return tuple(Message(role=role, content=text.removesuffix("\n")) for role, text in zip(roles, parts[1::2], strict=True))


def filled(turns: Iterable[Message], texts: Mapping[str, str]) -> tuple[Message, ...]:
    """The turns with each slot that `texts` names replaced. Other braces stay."""
    return tuple(
        Message(role=turn.role, content=_SLOT.sub(lambda slot: texts.get(slot[1], slot[0]), turn.content)) for turn in turns
    )  # fmt: skip


def slots(text: str) -> list[str]:
    """The names of a text's slots, in order."""
    return _SLOT.findall(text)


def digest(turns: Iterable[Message], *more: str) -> str:
    """12 hex digits of what a judge is told, the same on every machine."""
    parts = [part for turn in turns for part in (turn.role, turn.content)]
    return hashlib.sha256("\0".join([*parts, *more]).encode("utf-8", "surrogatepass")).hexdigest()[:12]

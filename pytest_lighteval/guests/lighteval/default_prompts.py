"""Lighteval's own prompt functions (`tasks/default_prompts.py` of v0.9.2), served by the shipped tasks that have the same prompt."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.guests.lighteval.documents import LightevalDoc
from pytest_lighteval.prompts.documents import DocMaker
from pytest_lighteval.tasks.catalogue import shipped_suites
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Doc, Task

_LISTS = {"LETTER_INDICES": list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "INTEGER_INDICES": [str(number) for number in range(1, 27)]}


class DeclaredPrompt:
    """One of Lighteval's prompt functions. A configuration may name it, and a module's own function may call it."""

    def __init__(self, name: str, place: str) -> None:
        self.name = self.__name__ = self.__qualname__ = name
        self._place = place

    @cached_property
    def task(self) -> Task:
        """The shipped task with this prompt. Its filter is that of the function, which makes no document of some rows."""
        file, _, name = self._place.partition("#")
        return next(task for task in load_suite(shipped_suites() / file) if task.name == name)

    @cached_property
    def _makers(self) -> Mapping[bool, DocMaker]:
        return {few_shots: DocMaker(self.task, "row", few_shots, multiple_choice=False) for few_shots in (False, True)}

    def __call__(self, line: dict[str, Any], task_name: str | None = None) -> LightevalDoc | list[LightevalDoc] | None:
        """The document of a row, or several, or None."""
        row = {name: value for name, value in line.items() if name not in ("__few_shots", "__index")}
        made = self._makers[bool(line.get("__few_shots"))].make(int(line.get("__index", 0)), row)
        docs = [_as_lightevals(doc, task_name) for _, doc in made if doc is not None]
        return docs[0] if len(docs) == 1 else docs or None


def _as_lightevals(doc: Doc, task_name: str | None) -> LightevalDoc:
    return LightevalDoc(
        query=doc.query,
        choices=list(doc.choices),
        gold_index=doc.gold[0] if len(doc.gold) == 1 else list(doc.gold),
        instruction=doc.instruction,
        original_query=doc.original_query or "",
        unconditioned_query=doc.unconditioned_query,
        fewshot_sorting_class=doc.fewshot_sorting_class,
        specific=dict(doc.specific),
        task_name=task_name or "",
    )


@lru_cache(maxsize=1)
def _places() -> Mapping[str, str]:
    """Name of a function -> `suite/file.yaml#task`. `tests/guests/lighteval` compares each with recorded documents."""
    text = (importlib.resources.files(__package__) / "default_prompts.json").read_text("utf-8")
    places: Mapping[str, str] = json.loads(text)
    return places


def served_names() -> tuple[str, ...]:
    """Of all functions."""
    return tuple(_places())


def default_prompt(name: str) -> Any:
    """What `lighteval.tasks.default_prompts` has by this name. Raises AttributeError."""
    if name in _LISTS:
        return list(_LISTS[name])
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in _places():
        raise AttributeError(f"default_prompts.{name} is not served{did_you_mean(name, _places())}")
    return DeclaredPrompt(name, _places()[name])

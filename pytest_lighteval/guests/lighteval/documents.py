"""Documents as a module's prompt function makes them, and as its metrics read them: the stand-in for Lighteval's `Doc`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from pytest_lighteval.types import Doc

FIELDS = ("query", "choices", "gold", "instruction", "unconditioned_query", "original_query", "fewshot_sorting_class", "specific")
"""Columns of the row that `as_row` makes; each is a field of `PromptTemplate`."""


def as_list(value: Any) -> list[Any]:
    """A list or tuple as a list; anything else as the only member of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


@dataclass
class LightevalDoc:
    """The fields of `Doc` in Lighteval v0.9.2 (`tasks/requests.py`) and of its newer versions together."""

    query: str
    choices: Sequence[Any]
    gold_index: int | list[int]
    _: KW_ONLY
    original_query: str | None = ""
    specific: dict[str, Any] | None = None
    task_name: str | None = ""
    instruction: str | None = ""
    fewshot_sorting_class: str | None = None
    ctx: str | None = ""
    num_asked_few_shots: int = -1
    num_effective_few_shots: int = -1
    unconditioned_query: str | None = None
    id: str = ""
    images: list[Any] | None = None
    fewshot_samples: list[Any] = field(default_factory=list)
    sampling_methods: list[Any] = field(default_factory=list)
    generation_size: int | None = None
    stop_sequences: list[str] | None = None
    use_logits: bool = False
    num_samples: int = 1
    generation_grammar: Any = None

    def __post_init__(self) -> None:
        """As there, no instruction is an empty one."""
        if self.instruction is None:
            self.instruction = ""

    def get_golds(self) -> list[str]:
        """The right choices; a choice that is a list of spellings counts with all of them."""
        return [text for index in as_list(self.gold_index) for text in as_list(self.choices[index])]


class Specific(dict[str, Any]):
    """`Doc.specific`, which remembers the document of the module. Its metrics get that one back, as its prompt function left it."""

    original: LightevalDoc


def as_row(made: LightevalDoc | Mapping[str, Any], *, instruction_apart: bool) -> dict[str, Any]:
    """A document as a row for the fixed templates of such tasks.

    Args:
        made: what a prompt function returned: a document, or (in old modules) a mapping of its fields.
        instruction_apart: the instruction need not begin the query; an empty line then separates them (newer Lighteval).

    Raises:
        ValueError: The query does not begin with its instruction; the document has pictures.
        TypeError: A mapping has other fields than a document.
    """
    doc = made if isinstance(made, LightevalDoc) else LightevalDoc(**made)
    if doc.images:
        raise ValueError("the document has images, and models that read pictures are not evaluated")
    instruction, query = doc.instruction or "", doc.query
    if query.startswith(instruction):
        query = query[len(instruction) :]
    elif instruction_apart:
        instruction += "\n\n"
    else:
        raise ValueError(f"the query does not begin with its instruction {instruction[:40]!r}")
    specific = Specific(doc.specific or {})
    specific.original = doc
    return {
        "query": query,
        "choices": list(doc.choices) if isinstance(doc.choices, list | tuple) else doc.choices,
        "gold": doc.gold_index,
        "instruction": instruction,
        "unconditioned_query": doc.unconditioned_query,
        "original_query": doc.original_query or None,
        "fewshot_sorting_class": doc.fewshot_sorting_class,
        "specific": specific,
    }


def original_of(doc: Doc) -> LightevalDoc:
    """The module's own document of one of ours; made anew from ours where that is not at hand."""
    if isinstance(doc.specific, Specific):
        return doc.specific.original
    return LightevalDoc(
        query=doc.query,
        choices=list(doc.choices),
        gold_index=doc.gold[0] if len(doc.gold) == 1 else list(doc.gold),
        instruction=doc.instruction,
        original_query=doc.original_query,
        unconditioned_query=doc.unconditioned_query,
        fewshot_sorting_class=doc.fewshot_sorting_class,
        specific=dict(doc.specific),
    )

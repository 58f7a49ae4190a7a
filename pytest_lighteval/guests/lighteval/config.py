"""The stand-in for `LightevalTaskConfig`, in both dialects."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Texts = str | Sequence[str]


@dataclass
class LightevalTaskConfig:
    """What a module says of one task: the fields of v0.9.2 (`tasks/lighteval_task.py`) and of newer versions, with their defaults.

    Nothing is checked here: when the module is loaded, a mistake is told at its line.
    """

    name: str
    prompt_function: Callable[..., Any]
    hf_repo: str
    hf_subset: str | None = None
    metric: Sequence[Any] | None = None
    """Up to 0.9."""
    metrics: Sequence[Any] | None = None
    """Since then; there is no suite any more."""
    hf_data_files: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None
    hf_revision: str | None = None
    hf_filter: Callable[[dict[str, Any]], bool] | None = None
    hf_avail_splits: Texts | None = ("train", "validation", "test")
    trust_dataset: bool = False
    evaluation_splits: Texts = ("validation",)
    few_shots_split: Texts | None = None
    few_shots_select: str | None = None
    generation_size: int | None = None
    generation_grammar: Any = None
    stop_sequence: Texts | None = None
    num_samples: int | Sequence[int] | None = None
    suite: Texts | None = None
    original_num_docs: int = -1
    effective_num_docs: int = -1
    must_remove_duplicate_docs: bool = False
    num_fewshots: int = 0
    version: int | str = 0
    solver: Any = None
    """This and the next four: of newer Lighteval's second way to run a task, which nothing here uses."""
    scorer: Any = None
    sample_fields: Any = None
    sample_to_fewshot: Any = None
    filter: Any = None

    def __post_init__(self) -> None:
        """Remember where the module makes it: the line of its body that leads here, by file."""
        self.lines: dict[str, int] = {}
        frame = sys._getframe(1)
        while frame is not None:
            self.lines[frame.f_code.co_filename] = frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment] # None ends it

    @property
    def is_newer(self) -> bool:
        """Whether it is written for Lighteval after 0.9."""
        return self.metric is None

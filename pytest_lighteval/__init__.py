"""Language models evaluated as pytest items, with the tasks and scores of Lighteval v0.9.2, and gates that compare runs.

The map: what happens to a sample, from a line of YAML to a verdict.

1.  `tasks/suite_file` reads a suite's YAML into `Task`s; `tasks/task_spec` selects among them by `suite|task|few_shots|truncate`.
2.  `plugin/items` makes a pytest item of each task and few-shot count.
3.  `evaluate` is the story of one item, steps 4 to 8 on one screen.
4.  `data/data_sets` loads the rows.
5.  `prompts/documents` makes a `Doc` of a row, `prompts/few_shots` picks its examples, `prompts/assembly` joins them to a prompt,
    `prompts/requests` makes the requests of it.
6.  `backends` answers: `backends/fake`, `backends/accelerate`, `backends/vllm`, `backends/openai`, `backends/nanotron`.
    `backends/common` is what they share, `backends/cache` remembers their answers.
7.  `metrics` scores an answer.
8.  `common/statistics` aggregates scores, with their standard error.
9.  `gates` says what was promised and whether it was kept; `comparison` has the statistics, `baselines` what was measured before.
10. `plugin/item_report` carries the result to the controller; `reports` writes it: results.json, details, JUnit, the table.

`checks` is the linter for benchmarks: it goes the same way with the gold in the model's place.

`types` has the values that travel this way, `errors` what can go wrong, `testing` the test that a backend of your own must pass.
docs/ARCHITECTURE.md says who may import whom.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_lighteval.errors import BackendError, LightevalError, UnsupportedRequestError
    from pytest_lighteval.types import (
        Backend,
        GenerateRequest,
        GenerateResponse,
        LoglikelihoodRequest,
        LoglikelihoodResponse,
        Message,
        PerplexityRequest,
        PerplexityResponse,
        RequestKind,
        TaskResult,
    )

__all__ = [
    "Backend",
    "BackendError",
    "GenerateRequest",
    "GenerateResponse",
    "LightevalError",
    "LoglikelihoodRequest",
    "LoglikelihoodResponse",
    "Message",
    "PerplexityRequest",
    "PerplexityResponse",
    "RequestKind",
    "TaskResult",
    "UnsupportedRequestError",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: every pytest run imports this file."""
    if name == "__version__":
        return import_module("importlib.metadata").version("pytest-lighteval")
    if name in __all__:
        types = import_module("pytest_lighteval.types")
        return getattr(types, name) if hasattr(types, name) else getattr(import_module("pytest_lighteval.errors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

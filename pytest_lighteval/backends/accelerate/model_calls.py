"""Call a model's own code: in eval mode, None when memory runs out, and any other error as one BackendError."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.memory import unless_out_of_memory
from pytest_lighteval.backends.accelerate.module_state import ModuleState
from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.backends.protocol import answers_with_others
from pytest_lighteval.errors import BackendError, BackendLostError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class ModelCalls:
    """Calls of one loaded model, and how far memory made its batches shrink."""

    def __init__(self, loaded: LoadedModel, name: str) -> None:
        """`name` is how messages call the model."""
        self._model, self.name = loaded.model, name
        self._modules = tuple(loaded.model.modules())
        self._state = ModuleState(self._modules)
        self._is_alone = not answers_with_others(loaded.model)
        """No other process has to do what this one does, such as trying again with fewer rows."""
        self.shrunk_to: dict[str, int] = {}
        """The fewest rows, or tokens, that memory allowed. Empty: it never ran out."""

    def attempt(self, run: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Result | None:
        """What `run` returns of the items in eval mode, or None when memory ran out. Any other error becomes a BackendError.

        If other processes answer together with this one, every error becomes a BackendLostError.
        """
        with self.as_backend_error(f"a batch of {len(items)}"), evaluating(self._model, self._modules), self._state.fresh():
            return unless_out_of_memory(lambda: run(items)) if self._is_alone else run(items)

    @contextlib.contextmanager
    def as_backend_error(self, what: str) -> Iterator[None]:
        """Turn what a model's own code raises into one BackendError that says on what it failed. The model prints nothing."""
        try:
            with quiet_transformers():
                yield
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
            kind = BackendError if self._is_alone else BackendLostError
            raise kind(f"{self.name}: it failed on {what}: {type(error).__name__}: {first_line(error)}") from error

    def on_shrink(self, count: int, unit: str) -> None:
        """Remember and log what memory allows; `unit` is rows or tokens."""
        self.shrunk_to[unit] = min(count, self.shrunk_to.get(unit, count))
        logger.warning("memory ran out: the batch is run again, %d %s at a time", count, unit)


@contextlib.contextmanager
def evaluating(model: Any, modules: Sequence[Any] | None = None) -> Iterator[None]:
    """The model in eval mode for a while. Modules of a user's model that were in training mode are in it again afterwards.

    `modules` are all modules of the model, for a caller that knows them already. None: they are looked up.
    """
    training = [module for module in modules or model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

"""What the modules of a model remember of the rows that they have seen: put back to what it was when the model was loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

_ROW_STATES = ("recurrent_states", "conv1d_state")
"""State of the last rows that is kept in modules instead of a cache (RecurrentGemma). None: no row was seen."""


class ModuleState:
    """The modules of one model whose answers depend on earlier rows: rope that follows the longest row so far, and states of rows."""

    def __init__(self, modules: Sequence[Any]) -> None:
        """`modules`: all of the model."""
        self._ropes = [module for module in modules if hasattr(module, "max_seq_len_cached") and _is_dynamic(module)]
        self._states = [(module, name) for module in modules for name in _ROW_STATES if name in vars(module)]

    @contextlib.contextmanager
    def fresh(self) -> Iterator[None]:
        """Rows meanwhile are computed as the first ones of a new model, and leave no trace."""
        self._reset()
        try:
            yield
        finally:
            self._reset()

    def _reset(self) -> None:
        for module, name in self._states:
            setattr(module, name, None)
        for module in self._ropes:
            for name, buffer in list(module.named_buffers(recurse=False)):
                original = getattr(module, _original(name), None) if name.endswith("inv_freq") else None
                if original is not None and original is not buffer:
                    module.register_buffer(name, original.to(buffer.device), persistent=False)
            for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
                setattr(module, name, module.original_max_seq_len)


def _is_dynamic(module: Any) -> bool:
    kind = getattr(module, "rope_type", "")
    return any("dynamic" in str(one) for one in (kind.values() if isinstance(kind, dict) else (kind,)))


def _original(name: str) -> str:
    return name.removesuffix("inv_freq") + "original_inv_freq"

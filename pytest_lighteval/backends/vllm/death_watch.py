"""Notice that the process of an engine has ended, and wake the calls that wait for its answers."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import InvalidStateError
from typing import Any

_SECONDS = 0.5
"""Between two checks."""


class DeathWatch:
    """A thread that wakes waiting calls if the engine's process was killed (by the system, for its memory, for example).

    vLLM's client (0.32, `SyncMPClient`) notices the death and refuses new requests, but a `step` that already waits never returns. An
    engine in this process is not watched, nor one whose client lacks the members that are used here.
    """

    def __init__(self, core: Any) -> None:
        """`core` is the `engine_core` of an `LLMEngine`."""
        self._resources: Any = getattr(core, "resources", None)
        self._answers: Any = getattr(core, "outputs_queue", None)
        # the client's own dictionary, which is filled later
        self._calls: Any = getattr(core, "utility_results", {})
        self._is_over = threading.Event()
        if self._answers is not None and hasattr(self._resources, "engine_dead"):
            threading.Thread(target=self._watch, name="lighteval-vllm-death-watch", daemon=True).start()

    def close(self) -> None:
        """Stop watching. May be called twice."""
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(_SECONDS):
            if self._resources.engine_dead:
                # the client raises its own error for anything in the queue of a dead engine
                gone = RuntimeError("the engine's process is gone")
                for call in tuple(self._calls.values()):
                    with contextlib.suppress(InvalidStateError):
                        call.set_exception(gone)
                self._answers.put_nowait(gone)
                return

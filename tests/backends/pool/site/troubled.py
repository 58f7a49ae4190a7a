"""A backend of another package whose process has trouble at certain prompts. It knows no golds."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import BackendError


class TroubledArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kills: str = ""
    """The process is killed at prompts with this text."""
    raises: str = ""
    """The engine fails at prompts with this text."""
    stops: str = ""
    """The process is stopped at prompts with this text, and gives no sign of life."""
    hangs: str = ""
    """The engine stays in one call at prompts with this text."""
    once: str = ""
    """A file: there is trouble only until it exists. Empty: always."""
    delay: float = 0.0
    unloadable: bool = False
    late: str = ""
    """A file: the first engine that is loaded after there was trouble `once` cannot be loaded."""
    odd: str = ""
    """A file: the first process that makes it has another fingerprint."""
    apart: str = ""
    """A file: the first process that makes it has log-likelihoods that are 0.25 lower."""
    leaves: bool = False
    """The engine starts a process of its own."""
    wide: int = 0
    """As many GPUs as the engine takes, of several machines too."""
    is_over_nodes: bool = False

    @property
    def gpus(self) -> int:
        return self.wide

    def over_nodes(self) -> TroubledArguments:
        return msgspec.structs.replace(self, is_over_nodes=True)


class TroubledBackend(FakeBackend):
    Arguments: Any = TroubledArguments
    learn: Any = None
    name = "troubled"

    def __init__(self, troubled: TroubledArguments) -> None:
        super().__init__(delay=troubled.delay)
        self.troubled = troubled
        self._is_odd = bool(troubled.odd) and "--descriptor" in sys.orig_argv and first_to_make(troubled.odd)
        self._lower = 0.25 if troubled.apart and "--descriptor" in sys.orig_argv and first_to_make(troubled.apart) else 0.0
        if troubled.leaves and "--descriptor" in sys.orig_argv:
            import subprocess

            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "left-by-troubled"])

    @classmethod
    def from_arguments(cls, arguments: Any) -> TroubledBackend:
        return cls(arguments)

    @property
    def fingerprint(self) -> str:
        return "odd" if self._is_odd else "even"

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), **(places_in_ray() if self.troubled.is_over_nodes else {})}

    def loglikelihood(self, requests: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if self.troubled.unloadable:
            raise BackendError("troubled: there are no weights")
        if self.troubled.late and Path(self.troubled.once).exists() and first_to_make(self.troubled.late):
            raise BackendError("troubled: there is no memory yet")
        for index, answer in super().loglikelihood(requests):
            self.meet(requests[index].prompt)
            yield index, replace(answer, logprobs=tuple(logprob - self._lower for logprob in answer.logprobs))

    def meet(self, prompt: str) -> None:
        found = next(
            (kind for kind in ("kills", "raises", "stops", "hangs") if (text := getattr(self.troubled, kind)) and text in prompt), None
        )
        if found is None or (self.troubled.once and not first_to_make(self.troubled.once)):
            return
        if found == "raises":
            raise BackendError("troubled: it cannot go on")
        if found == "hangs":
            time.sleep(1000)
        os.kill(os.getpid(), signal.SIGSTOP if found == "stops" else signal.SIGKILL)
        time.sleep(1)


def first_to_make(path: str) -> bool:
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def places_in_ray() -> dict[str, int]:
    """Of how many parts, on how many nodes, the placement group of this process consists."""
    from ray.util import get_current_placement_group
    from ray.util.placement_group import placement_group_table

    group = get_current_placement_group()
    nodes: dict[int, str] = {} if group is None else placement_group_table(group)["bundles_to_node_id"]
    return {"parts": len(nodes), "nodes": len(set(nodes.values()))}

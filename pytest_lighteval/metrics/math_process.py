"""A process that compares mathematical answers, with a limit on each comparison. It is started when needed and when it died."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_lighteval.errors import MissingExtraError
from pytest_lighteval.metrics.limited_process import WALL_SECONDS, LimitedProcess

Target = Literal["expr", "latex", "latex_boxed_first"]
"""What is searched: plain numbers and arithmetic, or LaTeX. In the last one a `\\boxed` answer goes before everything else."""

CPU_SECONDS = 10
"""For two parses and a comparison, where the reference allows 5 seconds each by the clock. What takes longer is not equal."""


@dataclass(frozen=True, slots=True)
class MathAnswer:
    """What is found in a text. Without arguments: of a text that took too long."""

    equal: bool = False
    """Whether it equals a gold."""
    found: str | None = None
    """As math-verify writes it. None: there is no answer in it, or nobody knows."""


class MathProcess:
    """A worker that compares. If a question makes it die, the answer is "not equal", and the next question gets a new worker."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._process = LimitedProcess("math_worker.py", what="math-verify", wall_seconds=wall_seconds)

    @property
    def pid(self) -> int | None:
        """Of the worker. None: none is running."""
        return self._process.pid

    def compare(
        self,
        golds: Sequence[str],
        text: str,
        *,
        gold_targets: Sequence[Target],
        text_targets: Sequence[Target],
        precision: int,
    ) -> MathAnswer:
        """The text's answer beside the golds, numbers to `precision` decimals.

        Raises MissingExtraError without math-verify, and LightevalError if it is installed and cannot be imported.
        """
        if self.pid is None and importlib.util.find_spec("math_verify") is None:
            raise MissingExtraError("math-verify", "metrics")
        reply = self._process.ask(
            {
                "golds": list(golds),
                "text": text,
                "gold_targets": list(gold_targets),
                "text_targets": list(text_targets),
                "precision": precision,
                "cpu_seconds": self._cpu_seconds,
            }
        )
        return MathAnswer(**json.loads(reply)) if reply else MathAnswer()

    def close(self) -> None:
        """End the worker. May be called twice; a later question starts a new one."""
        self._process.close()


_PROCESS = MathProcess()
close = _PROCESS.close
atexit.register(close)

_MOST_ANSWERS = 4096
_ANSWERS: dict[bytes, MathAnswer] = {}
"""By a digest of the question, which may hold a text of any length."""


def compare(
    golds: tuple[str, ...], text: str, *, gold_targets: tuple[Target, ...], text_targets: tuple[Target, ...], precision: int
) -> MathAnswer:
    """`MathProcess.compare` in the one shared process. Answers are cached, as several metrics compare the same samples."""
    question = (golds, text, gold_targets, text_targets, precision)
    key = hashlib.sha256(repr(question).encode()).digest()
    answer = _ANSWERS.get(key)
    if answer is None:
        answer = _PROCESS.compare(golds, text, gold_targets=gold_targets, text_targets=text_targets, precision=precision)
        if len(_ANSWERS) >= _MOST_ANSWERS:
            del _ANSWERS[next(iter(_ANSWERS))]
        _ANSWERS[key] = answer
    return answer

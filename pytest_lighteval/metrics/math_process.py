"""A process that compares mathematical answers, with a limit on each comparison. It is started when needed and when it died."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
from collections.abc import Sequence
from typing import Literal

from pytest_lighteval.errors import MissingExtraError
from pytest_lighteval.metrics.limited_process import WALL_SECONDS, LimitedProcess

Target = Literal["expr", "latex", "latex_boxed_first"]
"""What is searched: plain numbers and arithmetic, or LaTeX. In the last one a `\\boxed` answer goes before everything else."""

CPU_SECONDS = 10
"""For two parses and a comparison, where the reference allows 5 seconds each by the clock. What takes longer is not equal."""


class MathProcess:
    """A worker that compares. If a question makes it die, the answer is "not equal", and the next question gets a new worker."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._process = LimitedProcess("math_worker.py", what="math-verify", wall_seconds=wall_seconds)

    @property
    def pid(self) -> int | None:
        """Of the worker. None: none is running."""
        return self._process.pid

    def are_equal(
        self,
        golds: Sequence[str],
        text: str,
        *,
        gold_targets: Sequence[Target],
        text_targets: Sequence[Target],
        precision: int,
    ) -> bool:
        """Does the text have an answer equal to one of the golds, numbers to `precision` decimals?

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
        return reply == b"true\n"

    def close(self) -> None:
        """End the worker. May be called twice; a later question starts a new one."""
        self._process.close()


_PROCESS = MathProcess()
close = _PROCESS.close
atexit.register(close)

_MOST_ANSWERS = 4096
_ANSWERS: dict[bytes, bool] = {}
"""By a digest of the question, which may hold a text of any length."""


def are_equal(
    golds: tuple[str, ...], text: str, *, gold_targets: tuple[Target, ...], text_targets: tuple[Target, ...], precision: int
) -> bool:
    """`MathProcess.are_equal` in the one shared process. Answers are cached, as several metrics compare the same samples."""
    question = (golds, text, gold_targets, text_targets, precision)
    key = hashlib.sha256(repr(question).encode()).digest()
    answer = _ANSWERS.get(key)
    if answer is None:
        answer = _PROCESS.are_equal(golds, text, gold_targets=gold_targets, text_targets=text_targets, precision=precision)
        if len(_ANSWERS) >= _MOST_ANSWERS:
            del _ANSWERS[next(iter(_ANSWERS))]
        _ANSWERS[key] = answer
    return answer

"""How fast answers come and how long the rest will take, told only from batches that are over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PAUSE_SECONDS = 0.5
"""Answers of one batch come together. After such a pause the next ones are another batch's."""
LONGEST_BATCH_SECONDS = 5.0
"""Answers that come without a pause, as a server's do, are cut into stretches of this length."""
ENOUGH_SECONDS = 5.0
ENOUGH_ANSWERS = 3
"""After the first batch, which the model was loaded for: with less than these two a rate would be a guess."""


@dataclass(slots=True)
class Pace:
    """Answers per second of one evaluation. The first batch counts for nothing, and a batch only once it is over.

    Of a batch that has just begun to come, one answer is known and the time of all: a rate would be too low by its size.
    """

    _began: float | None = None
    """When the stretch of answers began that is not over."""
    _last: tuple[int, float] | None = None
    """Answers so far, and when the latest one came."""
    _first_over: tuple[int, float] | None = None
    _over: tuple[int, float] | None = None
    """The same at the end of the first and of the latest batch that is over."""

    def note(self, done: int, now: float) -> None:
        """There are `done` answers at the time `now`, in seconds on a clock that is monotonic."""
        if self._last is None or self._began is None:
            self._began = now
        elif now - self._last[1] >= PAUSE_SECONDS or now - self._began >= LONGEST_BATCH_SECONDS:
            self._first_over = self._first_over or self._last
            self._over, self._began = self._last, now
        self._last = done, now

    @property
    def rate(self) -> float | None:
        """Answers per second. None: there is not enough to estimate it from."""
        if self._first_over is None or self._over is None:
            return None
        answers, seconds = self._over[0] - self._first_over[0], self._over[1] - self._first_over[1]
        return answers / seconds if answers >= ENOUGH_ANSWERS and seconds >= ENOUGH_SECONDS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How far one evaluation is."""

    label: str
    """The task's key."""
    done: int
    total: int
    """Requests."""
    documents: int
    """The documents that they are about, once for each few-shot seed."""
    rate: float | None
    """Requests per second. None: not known yet."""

    @property
    def unit(self) -> str:
        """What is counted."""
        return "documents" if self.total == self.documents else "requests"


@dataclass(slots=True)
class SessionPace:
    """How far a session is that several processes work on. The key of a process is any text."""

    running: dict[str, Running] = field(default_factory=dict)
    doing: dict[str, str] = field(default_factory=dict)
    """Process -> what it does that takes long and is no answer: loading a model."""
    _sizes: dict[str, int] = field(default_factory=dict)
    """Label -> requests, of every evaluation seen."""

    def update(self, process: str, evaluation: Running) -> None:
        """A process is that far."""
        self.running[process] = evaluation
        self._sizes[evaluation.label] = evaluation.total
        if evaluation.done:
            self.doing.pop(process, None)

    def end(self, process: str) -> None:
        """A process is done with its evaluation, or died."""
        self.running.pop(process, None)
        self.doing.pop(process, None)

    def text(self, *, items_done: int, items: int) -> str:
        """`12/62 items, 2 running: 240/1319 documents, 8.2/s, about 4:10 left`; what is not known is left out."""
        parts = [f"{items_done}/{items} items"]
        running = [*self.running.values()]
        if running:
            units = {evaluation.unit for evaluation in running}
            unit = units.pop() if len(units) == 1 else "requests"
            done, total = (sum(getattr(evaluation, name) for evaluation in running) for name in ("done", "total"))
            parts[0] += f", {len(running)} running: {done}/{total} {unit}"
            rates = [evaluation.rate for evaluation in running]
            known = [rate for rate in rates if rate is not None]
            if len(known) == len(rates):
                # those that have not begun are as long as the others, on average
                waiting = max(items - items_done - len(running), 0) * sum(self._sizes.values()) / len(self._sizes)
                parts += [f"{sum(known):.3g}/s", f"about {clock_text((total - done + waiting) / sum(known))} left"]
        return ", ".join([*parts, *counted(self.doing.values())])


def running_text(evaluation: Running, *, position: str = "") -> str:
    """`[3/62] leaderboard|gsm8k|5: 120/1319 documents, 4.1/s, 4:52 left`; rate and rest only where they are known."""
    text = f"{position}{evaluation.label}: {evaluation.done}/{evaluation.total} {evaluation.unit}"
    if evaluation.rate is None:
        return text
    return f"{text}, {evaluation.rate:.3g}/s, {clock_text((evaluation.total - evaluation.done) / evaluation.rate)} left"


def clock_text(seconds: float) -> str:
    """`4:52`, `36:31:40`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def counted(texts: Iterable[str]) -> list[str]:
    """Equal texts once, with how often they are there: `loading the model (2 workers)`."""
    found = [*texts]
    return [text if found.count(text) == 1 else f"{text} ({found.count(text)} workers)" for text in dict.fromkeys(found)]


Clock = Callable[[], float]

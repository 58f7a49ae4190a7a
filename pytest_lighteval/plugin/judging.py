"""The session's judges, and the two items of a judged task: the model's answers first, the verdicts last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_lighteval.errors import BackendError, BackendLostError, DataError, GraderError, LightevalError, NothingToAskError
from pytest_lighteval.graders.judge import JudgeGrader
from pytest_lighteval.graders.meter import Meter, MeteredBackend, metered
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.plugin.cache import SessionCache
from pytest_lighteval.plugin.exchange import FOLDER, once
from pytest_lighteval.plugin.judge_settings import ALONE, JudgeOptions
from pytest_lighteval.plugin.stored_answers import SharedAnswers, StoredAnswers, read_answers, stored_texts
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.types import Answer, Backend, Doc, Grade, GraderKind, Mark, Task, TaskKey

NO_JUDGE = "its answers are judged by another model: --judge-backend names one, or a lighteval_judge fixture of your own"


def is_judged(task: Task) -> bool:
    """Whether a judge grades one of the task's metrics."""
    return task.skip is None and any(entry.grader == "judge" for entry in metrics_of(task))


def without_judge(task: Task) -> Task:
    """The task with the metrics that need no judge. There may be none."""
    kept = tuple(name for name, entry in zip(task.metrics, metrics_of(task), strict=True) if entry.grader != "judge")
    return replace(task, metrics=kept)


class AnswersOnly:
    """In the place of a judge, while the model answers: no answer is read."""

    kind: GraderKind = "judge"

    def identity(self, task: Task) -> Mapping[str, str]:
        """Nobody."""
        return {}

    def grade(self, task: Task, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Grade]]:
        """Every answer at once, without a verdict."""
        for index, answer in answers:
            yield index, Grade(marks=(Mark(value=None, outcome="not read yet"),) * len(answer.texts))

    def describe(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """How the answers to a task ended."""

    problem: str | None
    """Why there are none, or not all. None: they are in the run's details."""
    is_empty: bool = False
    """The part of the task that is asked (`--shard`) has no document."""


class Judging:
    """The judges of one process, once a fixture made them.

    Args:
        options: About judges.
        cache: Of the session, around every judge.
        folder: The run's.
    """

    def __init__(self, options: JudgeOptions, cache: SessionCache, folder: Any) -> None:
        self._options, self._cache, self._folder = options, cache, folder
        self._grader: JudgeGrader | None = None
        self._of: object = None
        self._metered: dict[str, MeteredBackend] = {}
        self._opponents: dict[TaskKey, dict[tuple[str, int], tuple[str, ...]]] = {}
        self.key: TaskKey | None = None
        """Of the task that is judged now."""

    def grader(self, judges: object) -> JudgeGrader | None:
        """The grader of what the `lighteval_judge` fixture gave, the same for the same judges. None: it gave none.

        Raises BackendError for what is no judge.
        """
        if judges is None:
            return None
        if self._grader is None or self._of is not judges:
            meter = Meter(self._folder / FOLDER / "judge-calls", self._options.max_calls)
            self._metered = {name: metered(backend, meter) for name, backend in _named(judges).items()}
            found = {name: self._cache.around(backend) for name, backend in self._metered.items()}
            opponent = self._opponent if self._options.opponent is not None else None
            self._grader = JudgeGrader(found, self._options.of_grader(), opponent=opponent)
            self._of = judges
        return self._grader

    def uses(self, model: Backend) -> bool:
        """Whether a model is one of the judges itself."""
        return self._of is model or (isinstance(self._of, Mapping) and any(model is judge for judge in self._of.values()))

    def facts(self, grader: JudgeGrader) -> dict[str, Any]:
        """What a report says of the judges, with what they cost where the options say it."""
        facts = grader.describe()
        prices = {judge.name: judge.price for judge in self._options.judges}
        for name, judge in facts["judges"].items():
            # a server counts its tokens itself, and of a local engine the responses have them
            counted = {count: number for count, number in self._metered[name].use.items() if number or count == "calls"}
            judge["use"] = use = {**judge.get("use", {}), **counted}
            price = prices.get(name)
            if price is not None:
                tokens = use.get("prompt_tokens", 0), use.get("completion_tokens", 0)
                judge["price"] = list(price)
                use["cost"] = (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6
        return facts

    def _opponent(self, task: Task, doc: Doc, seed: int) -> tuple[str, ...]:
        assert self._options.opponent is not None
        assert self.key is not None
        if self.key not in self._opponents:
            try:
                self._opponents[self.key] = stored_texts(self._options.opponent, self.key)
            except DataError as error:
                raise GraderError(f"--judge-opponent: {error}") from error
        texts = self._opponents[self.key].get((doc.id, seed))
        if texts is None:
            raise GraderError(f"--judge-opponent {self._options.opponent.name}: has no answer to {doc.id} of {self.key}")
        return texts

    def gather(self, key: TaskKey, measure: Callable[[], object]) -> Gathered:
        """Let the model answer a task once in a run. `measure` writes the details; its LightevalErrors are kept as the problem.

        Raises BackendLostError.
        """

        def made() -> dict[str, Any]:
            try:
                measure()
            except BackendLostError:
                raise
            except LightevalError as error:
                return {"problem": str(error), "is_empty": isinstance(error, NothingToAskError)}
            return {"problem": None, "is_empty": False}

        plain, _ = once(self._folder, key, made)
        return Gathered(problem=plain["problem"], is_empty=plain["is_empty"])

    def stored(self, model: Backend, key: TaskKey, folder: Any, *, is_part: bool) -> StoredAnswers:
        """The answers that were gathered, as a backend. The model leaves the memory when the first is asked for."""

        def release() -> None:
            if not self.uses(model):
                model.close()

        make = SharedAnswers if is_part else StoredAnswers
        place = details_path(folder, key)
        return make(model, lambda: read_answers(folder, key), where=place.name, release=release)


def _named(judges: object) -> dict[str, Backend]:
    """The judges by name. Raises BackendError."""
    if isinstance(judges, Backend):
        return {ALONE: judges}
    if isinstance(judges, Mapping) and judges and all(isinstance(name, str) for name in judges):
        wrong = [name for name, backend in judges.items() if not isinstance(backend, Backend)]
        if not wrong:
            return dict(judges)
        raise BackendError(f"lighteval_judge: {wrong[0]!r} is of type {type(judges[wrong[0]]).__name__}, which is no backend")
    raise BackendError(f"lighteval_judge is of type {type(judges).__name__}; a backend, or backends by name, was expected")

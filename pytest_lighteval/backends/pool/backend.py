"""Several engines as one `Backend`: what needs no engine is answered here, and chunks are answered by the pool's members."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.delegating import AnyRequest, AnyResponse, DelegatingBackend
from pytest_lighteval.backends.pool.local import Place
from pytest_lighteval.backends.pool.messages import Setup
from pytest_lighteval.backends.pool.pool import Answered, Limits, Pool, add_use
from pytest_lighteval.backends.pool.schedule import Job
from pytest_lighteval.backends.protocol import is_cacheable
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import Backend, Request, Response


class PoolBackend(DelegatingBackend):
    """A backend whose engines run in other processes. The inner backend reads files and arguments here, and loads nothing."""

    def __init__(
        self,
        name: str,
        arguments: msgspec.Struct,
        places: Sequence[Place],
        limits: Limits | None = None,
        *,
        hardware: str | None = None,
        is_kept: bool = True,
    ) -> None:
        """`name` and `arguments` are those of the backend that every member makes.

        `hardware`: the class of the members' hardware, by which answers are kept. None: this machine's. `is_kept`: False if nobody knows
        it, so that no answer is kept.
        """
        limits = limits or Limits()
        super().__init__(load_backend(name).from_arguments(arguments))
        self.hardware = hardware
        self._is_kept = is_kept
        self._places = places
        setup = Setup(backend=name, arguments=msgspec.to_builtins(arguments), beat=limits.beat)
        self._docs: dict[Request, Any] = {}
        same = hardware if hardware == platform.machine() else None
        self._pool = Pool(places, setup, limits, docs_of=self._docs_of, hardware=same)
        self._numbers = itertools.count()
        self._jobs: dict[Job, list[Answered]] = {}
        """Chunks that are not done, and what came of them while nobody waited for it."""
        self._ahead: dict[tuple[int, tuple[Request, ...]], Job] = {}
        self.supply: Callable[[], bool] | None = None
        """Called when engines will soon have nothing to do: asks something ahead. Returns False if there is nothing more. None: nobody."""
        self._is_closed = False
        self._shown = 0
        """Notes that were shown."""
        if callable(getattr(self.inner, "learn", None)):
            self.learn = self._learn

    def __getattr__(self, name: str) -> Any:
        """Optional members that say something about answers (`cacheable`, `arguments`, ...) are the backend's own."""
        if name == "cacheable":
            return self._is_kept and is_cacheable(self.inner)
        if name in ("arguments", "cached_apart", "batches_itself"):
            return getattr(self.inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def describe(self) -> Mapping[str, Any]:
        """The first engine's facts, which do not tell how many there are; and in `use` what each of them did."""
        members = self._pool.facts
        first = next((member.described for member in members if member.ready is not None), {})
        facts = {**self.inner.describe(), **first}
        use: dict[str, Any] = {}
        for member in members:
            use = add_use(add_use(use, member.used), member.described.get("use", {}))
        use["members"] = [
            {
                "name": member.name,
                **(member.ready.place if member.ready is not None else {}),
                "differs": member.differs,
                "loading_seconds": None if member.ready is None else round(member.ready.seconds, 3),
                "chunks": member.chunks,
                "answers": member.answers,
                "seconds": round(member.seconds, 3),
                "deaths": member.deaths,
            }
            for member in members
        ]
        notes = [note for member in members for note in member.described.get("notes", ())]
        notes = list(dict.fromkeys([*notes, *self._pool.notes]))
        return {**facts, "use": use, **({"notes": notes} if notes else {})}

    def repeat(self, number: int) -> Backend:
        """See `Repeatable`: the same members, which ask their own backend's repeat."""
        return _Repeat(self, number)

    def answer_chunks(self, chunks: Sequence[Sequence[Request]], *, repeat: int = 0) -> Iterator[tuple[int, int, Response]]:
        """See `AnswersChunks`. Raises BackendLostError when no engine is left."""
        self._require_open()
        wanted: dict[Job, int] = {}
        try:
            for number, chunk in enumerate(chunks):
                wanted[self._claim(tuple(chunk), repeat)] = number
            for job, number in list(wanted.items()):
                for answered in self._jobs[job]:
                    yield from self._passed_on(answered, number, wanted)
            while wanted:
                answered = self._next()
                if answered.job in wanted:
                    yield from self._passed_on(answered, wanted[answered.job], wanted)
        finally:
            for job in wanted:
                self._pool.cancel(job)
                self._jobs.pop(job, None)

    def ask_ahead(self, chunks: Sequence[Sequence[Request]]) -> None:
        """Let members compute chunks that will be asked later, when there is nothing else to do. The answers are kept until then."""
        for chunk in chunks:
            key = 0, tuple(chunk)
            if key not in self._ahead:
                self._ahead[key] = self._submit(tuple(chunk), 0, ahead=True)

    def close(self) -> None:
        """End the members."""
        self._is_closed = True
        self._pool.close()
        self.inner.close()
        self._jobs.clear()
        self._ahead.clear()

    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        """See `DelegatingBackend._answer`: as one chunk."""
        self._require_open()
        yield from _as_one_chunk(self, requests, kind)

    def _claim(self, chunk: tuple[Request, ...], repeat: int) -> Job:
        job = self._ahead.pop((repeat, chunk), None)
        if job is None:
            return self._submit(chunk, repeat)
        self._pool.hurry(job)
        return job

    def _submit(self, chunk: tuple[Request, ...], repeat: int, *, ahead: bool = False) -> Job:
        job = Job(number=next(self._numbers), requests=chunk, repeat=repeat)
        self._jobs[job] = []
        self._pool.add(job, ahead=ahead)
        return job

    def _next(self) -> Answered:
        """The next answer, which is kept if its chunk was asked ahead."""
        while self.supply is not None and self._pool.is_hungry:
            if not self.supply():
                self.supply = None
        answered = self._pool.out.get()
        self._show_notes()
        if isinstance(answered, BackendError):
            raise answered
        if answered.job in self._ahead.values():
            self._jobs[answered.job].append(answered)
        return answered

    def _show_notes(self) -> None:
        """Say what happened to the members when it happens; the report says it again."""
        for note in self._pool.notes[self._shown :]:
            PROGRESS.info("%s: %s", self.name, note)
            self._shown += 1

    def _passed_on(self, answered: Answered, number: int, wanted: dict[Job, int]) -> Iterator[tuple[int, int, Response]]:
        if answered.response is not None and answered.position is not None:
            yield number, answered.position, answered.response
            return
        if answered.error is not None:
            raise answered.error
        wanted.pop(answered.job)
        self._jobs.pop(answered.job, None)

    def _learn(self, request: Request, doc: Any) -> None:
        """See `evaluate.LearnsAnswers`: the members get the documents with their chunks."""
        self._docs[request] = doc

    def _docs_of(self, job: Job) -> tuple[Any, ...] | None:
        if not hasattr(self, "learn") or any(request not in self._docs for request in job.asked):
            return None
        return tuple(self._docs[request] for request in job.asked)

    def _require_open(self) -> None:
        if self._is_closed:
            raise BackendError(f"the pool of {self.name} engines is closed")


class _Repeat(DelegatingBackend):
    """A pool as another repeat of its model."""

    def __init__(self, pool: PoolBackend, number: int) -> None:
        super().__init__(pool)
        self._pool, self._number = pool, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def answer_chunks(self, chunks: Sequence[Sequence[Request]]) -> Iterator[tuple[int, int, Response]]:
        """See `AnswersChunks`."""
        return self._pool.answer_chunks(chunks, repeat=self._number)

    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        return _as_one_chunk(self, requests, kind)


def _as_one_chunk(
    backend: PoolBackend | _Repeat, requests: Sequence[AnyRequest], kind: type[AnyResponse]
) -> Iterator[tuple[int, AnyResponse]]:
    for _, position, response in backend.answer_chunks([requests]) if requests else ():
        assert isinstance(response, kind)
        yield position, response

"""Several sandboxes of one kind that share a queue of jobs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Self

from pytest_lighteval.common.threads import usable_cores
from pytest_lighteval.errors import GraderError
from pytest_lighteval.sandbox.job import Job, RunVerdict
from pytest_lighteval.sandbox.kinds import Kind
from pytest_lighteval.sandbox.worker import Worker

_MOST_WORKERS = 8
"""Each may use the memory limit of a program."""
_TRIES = 2


def default_size() -> int:
    """Sandboxes at a time: the cores that the process may use, at most eight."""
    return min(usable_cores(), _MOST_WORKERS)


class Pool:
    """Jobs run in the background, in the order in which they were given. A sandbox starts when there is work for it.

    A job whose sandbox ends is tried once more in a new one. Threads wait; the programs run in processes.
    """

    def __init__(self, kind: Kind, *, size: int | None = None, image: str | None = None) -> None:
        self.kind = kind
        self.size = size or default_size()
        self._image = image
        self._jobs: queue.SimpleQueue[tuple[Job, Future[RunVerdict]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0
        self._lock = threading.Lock()

    def submit(self, job: Job) -> Future[RunVerdict]:
        """The verdict, once it is known. Its exception is a GraderError if no sandbox starts."""
        future: Future[RunVerdict] = Future()
        with self._lock:
            self._waiting += 1
            if len(self._threads) < min(self.size, self._waiting):
                thread = threading.Thread(target=self._serve, args=(len(self._threads),), name="lighteval-sandbox", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put((job, future))
        return future

    def run(self, job: Job) -> RunVerdict:
        """The verdict. Raises GraderError if no sandbox starts."""
        return self.submit(job).result()

    def _serve(self, number: int) -> None:
        worker: Worker | None = None
        try:
            while (given := self._jobs.get()) is not None:
                job, future = given
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    for last in (False, True):
                        if worker is None or not worker.is_alive:
                            if worker is not None:
                                worker.close()
                            worker = None
                            worker = Worker(self.kind, image=self._image, number=number)
                        verdict = worker.run(job)
                        if verdict.infrastructure is None or last:
                            break
                        worker.close()
                    future.set_result(verdict)
                except BaseException as error:
                    future.set_exception(error if isinstance(error, GraderError) else GraderError(f"{self.kind}: {error}"))
                finally:
                    with self._lock:
                        self._waiting -= 1
        finally:
            if worker is not None:
                worker.close()

    def close(self) -> None:
        """End all sandboxes; jobs that did not run are cancelled. May be called twice."""
        for given in self._drained():
            given[1].cancel()
        threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join(timeout=10)

    def _drained(self) -> Iterator[tuple[Job, Future[RunVerdict]]]:
        while True:
            try:
                given = self._jobs.get_nowait()
            except queue.Empty:
                return
            if given is not None:
                yield given

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

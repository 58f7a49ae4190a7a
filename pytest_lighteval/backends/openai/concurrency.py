"""Work on many jobs at once in threads, and yield each result as soon as it is ready. Knows no HTTP."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def work_through(jobs: Sequence[Job], work: Callable[[Job], Result], *, threads: int) -> Iterator[tuple[Job, Result]]:
    """`(job, work(job))` for every job: started in order, yielded as they finish, at most `threads` at a time.

    An error of `work` is raised here. After it, or if the caller stops iterating, no further job starts; running jobs end by themselves.
    The threads are daemons: with an executor's threads, an interrupted process would wait for the slowest answer.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    finished: queue.SimpleQueue[tuple[Job, Result] | BaseException] = queue.SimpleQueue()
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((job, work(job)))
            except BaseException as error:
                finished.put(error)
                return

    for number in range(min(threads, len(jobs))):
        threading.Thread(target=serve, name=f"lighteval-request-{number}", daemon=True).start()
    try:
        for _ in jobs:
            outcome = finished.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        is_over.set()

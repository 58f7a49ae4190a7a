"""Many jobs at once in threads: each result once, as soon as it is there, and an end that waits for nobody."""

from __future__ import annotations

import threading

import pytest

from pytest_lighteval.backends.openai.concurrency import work_through


def test_every_job_is_done_once_and_no_more_than_asked_run_at_a_time() -> None:
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Barrier(3, timeout=10)

    def work(job: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait()  # passes only if three run together
        with lock:
            running -= 1
        return job * job

    assert sorted(work_through(range(12), work, threads=3)) == [(job, job * job) for job in range(12)]
    assert most == 3


def test_a_result_comes_out_before_slower_ones() -> None:
    release = threading.Event()

    def work(job: str) -> str:
        if job == "slow":
            assert release.wait(10)
        return job

    results = work_through(["slow", "quick"], work, threads=2)

    assert next(results) == ("quick", "quick")
    release.set()
    assert list(results) == [("slow", "slow")]


def test_an_error_is_raised_and_begins_no_further_job() -> None:
    begun = []

    def work(job: int) -> int:
        begun.append(job)
        if job == 1:
            raise ValueError("job 1")
        return job

    results = work_through(range(100), work, threads=1)

    assert next(results) == (0, 0)
    with pytest.raises(ValueError, match="job 1"):
        list(results)
    assert begun == [0, 1]


def test_an_abandoned_iteration_begins_no_further_job() -> None:
    begun: list[int] = []
    release = threading.Event()

    def work(job: int) -> int:
        begun.append(job)
        if job:
            assert release.wait(10)
        return job

    results = work_through(range(100), work, threads=1)
    assert next(results) == (0, 0)
    results.close()  # type: ignore[attr-defined]  # a generator
    release.set()

    assert len(begun) <= 2


def test_no_jobs_need_no_threads() -> None:
    assert list(work_through([], lambda job: job, threads=4)) == []

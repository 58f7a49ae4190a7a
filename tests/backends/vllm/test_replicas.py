"""Several copies of a model in processes of their own: who gets what, in which order it comes back, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.common.generation_requests import TokenizedPrompt
from pytest_lighteval.backends.vllm import VllmArguments
from pytest_lighteval.backends.vllm.replicas import Replicas, device_groups, share_out
from pytest_lighteval.backends.vllm.scoring import ContinuationPrompt, NextTokenPrompt
from pytest_lighteval.errors import BackendError
from tests.backends.vllm.fake_vllm import start_countdown

ARGUMENTS = VllmArguments(pretrained="owner/model", data_parallel_size=2)


def start(folder: Path = Path("model"), devices: tuple[str, ...] = ()) -> Replicas:
    """Two processes."""
    return Replicas(folder, folder, ARGUMENTS, 64, devices=devices, start=start_countdown)


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    """Two processes on two GPUs that they never look for."""
    running = start(devices=("4", "7"))
    yield running
    running.close()


def read(first: int) -> ContinuationPrompt:
    """A prompt whose score is its first token."""
    return ContinuationPrompt(tokens=(first, 0), scored=1)


def test_answers_come_back_under_the_index_that_was_asked(replicas: Replicas) -> None:
    prompts = [read(number) for number in range(20, 31)]

    answers = list(replicas.score_continuations(prompts))

    assert sorted((index, -score.logprob) for index, score in answers) == [(index, index + 20.0) for index in range(11)]


def test_each_process_gets_neighbours_and_sees_its_own_gpus_alone(replicas: Replicas) -> None:
    prompts = [TokenizedPrompt(tokens=(number,), max_new_tokens=1) for number in range(6)]

    answers = dict(replicas.generate(prompts, ARGUMENTS.generation()))
    processes = [answers[index][0][0] for index in range(6)]

    assert len(set(processes[:3])) == len(set(processes[3:])) == 1
    assert processes[0] != processes[3]
    assert replicas.facts.described == {"devices": "4", "process": processes[0], "replicas": 2}


def test_fewer_prompts_than_processes_are_answered_too(replicas: Replicas) -> None:
    prompt = NextTokenPrompt(tokens=(1, 2, 3), candidates=(4,))

    assert [index for index, _ in replicas.score_next_tokens([prompt])] == [0]
    assert list(replicas.score_next_tokens([])) == []


def test_a_prompt_that_fails_is_one_clear_line_and_the_next_job_is_answered(replicas: Replicas) -> None:
    reasons = {13: r"^RuntimeError: thirteen$", 14: r"^FakeEngineError: fourteen$", 15: r"^TimeoutError: a worker did not answer in time$"}
    for number, told in reasons.items():
        with pytest.raises(BackendError, match=told):
            list(replicas.score_continuations([read(number), read(20), read(21), read(22)]))

    assert len(list(replicas.score_continuations([read(20), read(21)]))) == 2


def test_what_nobody_waits_for_is_given_up_and_the_next_job_is_answered(replicas: Replicas) -> None:
    answers: Any = replicas.score_continuations([read(number) for number in range(20, 40)])
    next(answers)
    answers.close()

    assert sorted(index for index, _ in replicas.score_continuations([read(20), read(21)])) == [0, 1]


def test_a_replica_that_cannot_start_says_why() -> None:
    with pytest.raises(BackendError, match="owner/model: vLLM cannot start: there is no memory"):
        start(Path("broken"))
    with pytest.raises(BackendError, match=r"^FakeEngineError: no such$"):
        start(Path("cursed"))


def test_a_replica_that_dies_is_an_error_with_its_exit_code() -> None:
    replicas = start()

    with pytest.raises(BackendError, match=r"owner/model: a replica ended \(exit code 3\)"):
        list(replicas.score_continuations([read(99), read(20)]))
    # and so is every later job
    for _ in range(2):
        with pytest.raises(BackendError, match=r"owner/model: a replica ended \(exit code 3\)"):
            list(replicas.score_continuations([read(20), read(21)]))
    replicas.close()
    replicas.close()


def test_every_replica_has_gpus_of_its_own_or_there_are_too_few() -> None:
    assert device_groups(["0", "1", "5", "6"], 2, 2) == [("0", "1"), ("5", "6")]
    assert device_groups([], 3, 1) == [(), (), ()]
    with pytest.raises(BackendError, match="data_parallel_size=2: 2 replicas of 2 GPUs need 4, but 3 are visible"):
        device_groups(["0", "1", "2"], 2, 2)


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 5))
def test_shares_are_consecutive_and_about_equally_heavy(weights: list[int], parts: int) -> None:
    shares = share_out(weights, parts)

    assert [place for share in shares for place in share] == list(range(len(weights)))
    assert len(shares) == parts
    heaviest = max(weights, default=0)
    assert all(abs(sum(weights[place] for place in share) - sum(weights) / parts) <= heaviest for share in shares)

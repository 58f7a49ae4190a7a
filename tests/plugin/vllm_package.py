"""A package with vLLM's names around the engine of `tests.backends.vllm.fake_vllm`, for sessions that start one."""

from __future__ import annotations

from pathlib import Path

import pytest

_VLLM = '''
"""vLLM as far as this project names it."""

import os
from pathlib import Path

from tests.backends.vllm.fake_vllm import FakeLLM, SamplingParameters as SamplingParams
from tests.backends.tiny import tiny_tokenizer

__version__ = "0.99"


class EngineDeadError(Exception):
    """Like vLLM's own, it is no RuntimeError."""


class LLM(FakeLLM):
    """Says in a file that it answers, if one is named, and may be told after how many answers to die."""

    def __init__(self, model, **settings):
        import transformers

        super().__init__(transformers.AutoModelForCausalLM.from_pretrained(model), tiny_tokenizer(), first_in_first_out=True)
        self.vllm_config.model_config.model = model
        self.left = int(os.environ.get("DIES_AFTER", "1000000"))

    def _answer(self, *asked):
        if self.left == 0:
            raise EngineDeadError("EngineCore encountered an issue.\\nSee stack trace (above) for the root cause.")
        self.left -= 1
        if "ANSWERED" in os.environ:
            with Path(os.environ["ANSWERED"]).open("a") as file:
                file.write("1\\n")
        return super()._answer(*asked)
'''
_MODULES = {
    "__init__": _VLLM,
    "sampling_params": "class RequestOutputKind:\n    FINAL_ONLY = 2\n",
    "engine/__init__": "",
    "engine/arg_utils": "class EngineArgs:\n    def __init__(self, model, tokenizer, dtype, seed, max_model_len): ...\n",
    "platforms": "class current_platform:\n    is_cpu = staticmethod(lambda: True)\n",
    "distributed": "def cleanup_dist_env_and_memory(): ...\n",
}


def write_vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package `vllm` into a folder, and undo afterwards what starting an engine does to the environment."""
    for name, source in _MODULES.items():
        file = folder / "vllm" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    # left as they are: the variables that starting an engine sets where they are not set
    for variable in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.setenv(variable, "1")

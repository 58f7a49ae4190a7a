"""A session on a user's own vLLM engine, for which a package with its names and a random model stands in."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.plugin.conftest import Results, write_mini

# here, so that they outlive the sessions inside of this process: torch cannot be imported twice
pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(find_spec("vllm") is not None, reason="the real vLLM would be taken")

VLLM = '''
"""vLLM as far as this project names it."""

import os
from pathlib import Path

from tests.backends.fake_vllm import FakeLLM, SamplingParameters as SamplingParams
from tests.backends.tiny import tiny_tokenizer

__version__ = "0.99"


class EngineDeadError(Exception):
    """Like vLLM's own, it is no RuntimeError."""


class LLM(FakeLLM):
    """Says in a file what it answers, and may be told after how many answers to die."""

    def __init__(self, model, **settings):
        import transformers

        super().__init__(transformers.AutoModelForCausalLM.from_pretrained(model), tiny_tokenizer(), first_in_first_out=True)
        self.vllm_config.model_config.model = model
        self.left = int(os.environ.get("DIES_AFTER", "1000000"))

    def _answer(self, *asked):
        if self.left == 0:
            raise EngineDeadError("EngineCore encountered an issue.\\nSee stack trace (above) for the root cause.")
        self.left -= 1
        with Path(os.environ["ANSWERED"]).open("a") as file:
            file.write("1\\n")
        return super()._answer(*asked)
'''
MODULES = {
    "__init__": VLLM,
    "sampling_params": "class RequestOutputKind:\n    FINAL_ONLY = 2\n",
    "engine/__init__": "",
    "engine/arg_utils": "class EngineArgs:\n    def __init__(self, model, tokenizer, dtype, seed, max_model_len): ...\n",
    "platforms": "class current_platform:\n    is_cpu = staticmethod(lambda: True)\n",
    "distributed": "def cleanup_dist_env_and_memory(): ...\n",
}


@pytest.fixture
def vllm_project(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The suite `mini` with six documents a task, a model folder `model`, and a package `vllm`."""
    write_mini(project.path / "suites" / "mini", documents=6)
    for name, source in MODULES.items():
        file = project.path / "vllm" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    tiny_model(max_length=512).save_pretrained(project.path / "model")
    tiny_tokenizer().save_pretrained(project.path / "model")
    monkeypatch.setenv("ANSWERED", str(project.path / "answered.txt"))
    # left as they are: the variables that starting an engine sets where they are not set
    for variable in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.setenv(variable, "1")
    project.syspathinsert()
    return project


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest("suites", "--lighteval-report-dir", "reports", "--cache-dir", "cache", *arguments)


def take_answered(project: pytest.Pytester) -> int:
    """How many prompts the engine has answered since this was last called."""
    file = project.path / "answered.txt"
    count = len(file.read_text().splitlines()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return count


def test_a_conftest_brings_an_engine_that_runs(vllm_project: pytest.Pytester, results: Results) -> None:
    vllm_project.makeconftest(
        """
        import pytest
        import vllm
        from pytest_lighteval.backends.vllm import VllmBackend

        @pytest.fixture(scope="session")
        def lighteval_backend():
            llm = vllm.LLM("model")
            backend = VllmBackend.from_engine(llm)
            yield backend
            backend.close()
            assert llm.get_tokenizer() and not llm.waiting
        """
    )

    result = run(vllm_project)

    result.assert_outcomes(passed=5)
    backend = results()["backend"]
    assert (backend["name"], backend["model"], backend["engine"]) == ("vllm", "model", "vLLM, prefix cache")
    assert len(backend["fingerprint"]) == 64
    assert take_answered(vllm_project) > 0
    # of an engine in memory nothing is kept
    run(vllm_project).assert_outcomes(passed=5)
    assert take_answered(vllm_project) > 0

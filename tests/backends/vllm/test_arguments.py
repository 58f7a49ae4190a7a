"""The arguments of the vLLM backend, and what it knows without vLLM: none of this starts an engine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.accelerate import GenerationParameters
from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, parse_model_args
from pytest_lighteval.backends.protocol import is_cacheable
from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend, fingerprint
from pytest_lighteval.backends.vllm.fingerprint import vllm_version
from pytest_lighteval.backends.vllm.local_engine import ignored_settings, known_settings
from pytest_lighteval.common import versions
from pytest_lighteval.errors import BackendError, MissingExtraError, UserInputError
from pytest_lighteval.types import LoglikelihoodRequest
from tests.backends.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.backends.vllm.fake_vllm import FakeLLM

SPEC = (
    *("pretrained", "revision", "dtype", "tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization"),
    *(
        "max_model_length",
        "swap_space",
        "batch_size",
        "max_num_batched_tokens",
        "seed",
        "trust_remote_code",
        "use_chat_template",
        "add_special_tokens",
    ),
    *("multichoice_continuations_start_space", "subfolder", "quantization", "enforce_eager", "enable_prefix_caching"),
    "generation_parameters",
)


def read(text: str) -> VllmArguments:
    """Arguments as the command line gives them."""
    return convert_model_args(parse_model_args(text, folder=Path()), VllmArguments, backend="vllm")


def test_it_takes_every_argument_that_is_promised_each_with_a_line_of_help() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(VllmArguments)]
    text = describe_arguments(VllmArguments, backend="vllm")

    assert set(SPEC) <= set(names)
    assert all(f"  {name} (" in text for name in names)


def test_texts_of_the_command_line_are_passed_on_under_the_engines_names() -> None:
    arguments = read(
        "pretrained=owner/model,dtype=bf16,tensor_parallel_size=2,pipeline_parallel_size=3,gpu_memory_utilization=0.5,batch_size=8,"
        "swap_space=4,quantization=fp8,enforce_eager=true,enable_prefix_caching=false,seed=7,trust_remote_code=true,max_model_length=512,"
        "generation_parameters={temperature:0.5}"
    )

    assert arguments.engine() == {
        "dtype": "bfloat16",
        "seed": 7,
        "trust_remote_code": True,
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "enable_prefix_caching": False,
        "quantization": "fp8",
        "gpu_memory_utilization": 0.5,
        "swap_space": 4.0,
        "enforce_eager": True,
        "max_num_seqs": 8,
    }
    assert arguments.generation() == GenerationParameters(temperature=0.5, seed=7)
    assert VllmBackend(arguments).max_length == 512


def test_what_is_left_to_vllm_is_not_passed_on() -> None:
    assert sorted(VllmArguments(pretrained="owner/model").engine()) == [
        *("dtype", "enable_prefix_caching", "pipeline_parallel_size", "seed", "tensor_parallel_size", "trust_remote_code")
    ]


def test_swap_space_is_passed_to_a_vllm_that_has_it_and_ignored_with_one_note_by_one_that_has_not() -> None:
    arguments = read("pretrained=owner/model,swap_space=4")

    assert known_settings(arguments, {"swap_space"}, on_cpu=False)["swap_space"] == 4.0
    assert ignored_settings(arguments, {"swap_space"}) == ignored_settings(read("pretrained=owner/model"), {"dtype"}) == []
    assert "swap_space" not in known_settings(arguments, {"dtype"}, on_cpu=False)
    (note,) = ignored_settings(arguments, {"dtype"})
    assert note == "swap_space is ignored: this vLLM has none; it recomputes preempted sequences"


def test_a_cpu_gets_no_compilation_and_a_cache_that_fits_unless_arguments_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    # set first, so that it is put back afterwards
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")
    arguments = VllmArguments(pretrained="owner/model", gpu_memory_utilization=0.1, enforce_eager=False)

    assert known_settings(arguments, (), on_cpu=True)["enforce_eager"] is False
    assert known_settings(arguments, {"block_size"}, on_cpu=True)["block_size"] == 32
    assert "block_size" not in known_settings(arguments, {"block_size"}, on_cpu=False)
    assert "VLLM_CPU_KVCACHE_SPACE" not in os.environ
    assert known_settings(VllmArguments(pretrained="owner/model"), (), on_cpu=True)["enforce_eager"] is True
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pretrained is missing"),
        ("pretrained=a,model_name=b", "pretrained and model_name are two names of one argument"),
        ("pretrained=a,dtype=bfloat61", "did you mean 'bfloat16'"),
        ("pretrained=a,dtype=4bit", "dtype: '4bit' is none of auto, float32"),
        ("pretrained=a,tensor_parallel_size=0", "tensor_parallel_size: 0 is too small; give 1 or more"),
        ("pretrained=a,data_parallel_size=0", "data_parallel_size: 0 is too small"),
        ("pretrained=a,max_model_length=1", "max_model_length: 1 is too small; give 2 or more"),
        ("pretrained=a,batch_size=0", "batch_size: 0 is too small"),
        ("pretrained=a,gpu_memory_utilization=1.5", "gpu_memory_utilization"),
        ("pretrained=a,generation_parameters={temprature:1}", "did you mean 'temperature'"),
        ("pretrained=a,generation_parameters={temperature:0.001}", "temperature: vLLM would use 0.01 for 0.001"),
        ("pretrained=a,generation_parameters={top_p:0}", "top_p: vLLM takes no 0"),
        ("pretrained=a,generation_parameters={presence_penalty:2.5}", "presence_penalty: 2.5 is out of vLLM's range, -2 to 2"),
        ("pretrained=a,generation_parameters={frequency_penalty:-3}", "frequency_penalty: -3 is out of vLLM's range"),
        ("pretrained=a,max_model_len=5,max_model_length=6", "max_model_len and max_model_length are two names of one argument: give one"),
        ("pretrained=./nowhere", "there is no file or folder './nowhere'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        VllmBackend.from_arguments(read(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_heavy_is_imported_before_a_request(tiny_folder: Path) -> None:
    program = (
        "import sys\n"
        "from pytest_lighteval.backends import load_backend\n"
        "factory = load_backend('vllm')\n"
        f"backend = factory.from_arguments(factory.Arguments(pretrained={str(tiny_folder)!r}))\n"
        "assert len(backend.fingerprint) == 64 and backend.max_length == 128 and backend.describe()['model']\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'vllm') if name in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_backend_is_found_by_its_name() -> None:
    factory: object = load_backend("vllm")

    assert factory is VllmBackend


def test_a_fingerprint_changes_with_what_may_change_an_answer_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path / "model")

    def print_of(**changes: Any) -> str:
        return VllmBackend(VllmArguments(pretrained=str(folder), **changes)).fingerprint

    same = print_of()
    without_effect: dict[str, Any] = {
        "batch_size": 4, "tensor_parallel_size": 2, "data_parallel_size": 2, "gpu_memory_utilization": 0.3, "swap_space": 2.0,
        "enforce_eager": True, "use_chat_template": True,
    }  # fmt: skip
    assert {print_of(**{name: value}) for name, value in without_effect.items()} == {same}
    # one spelling of a setting is as good as another
    assert print_of(dtype="fp32") == print_of(dtype="float32")
    assert print_of(generation_parameters={"top_k": "5"}) == print_of(generation_parameters={"top_k": 5})
    assert print_of(generation_parameters={"seed": 5}) == print_of(generation_parameters={"seed": "5"})
    others: list[dict[str, Any]] = [
        {"dtype": "float32"}, {"quantization": "fp8"}, {"max_model_length": 64}, {"add_special_tokens": False}, {"seed": 5},
        {"generation_parameters": {"temperature": 0.5}}, {"multichoice_continuations_start_space": True},
    ]  # fmt: skip
    assert len({same, *(print_of(**other) for other in others)}) == len(others) + 1
    monkeypatch.setattr(fingerprint, "vllm_version", lambda: "0.99")
    assert print_of() != same
    monkeypatch.undo()
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert print_of() != same


def test_the_version_is_found_under_either_name_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "vllm-cpu":
            return "0.32.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", version)

    assert vllm_version() == "0.32.0"


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_extra_is_named(tiny_folder: Path) -> None:
    backend = VllmBackend(VllmArguments(pretrained=str(tiny_folder)))

    assert vllm_version() is None
    with pytest.raises(MissingExtraError, match=r"vllm is not installed: pip install 'pytest-lighteval\[vllm\]'"):
        list(backend.loglikelihood([LoglikelihoodRequest(prompt="One", choices=(" two",))]))


def test_a_closed_backend_says_so_and_may_be_closed_again(tiny_folder: Path) -> None:
    backend = VllmBackend(VllmArguments(pretrained=str(tiny_folder)))
    backend.close()
    backend.close()

    with pytest.raises(BackendError, match="the backend is closed"):
        backend.count_tokens("One")


def test_a_running_engine_takes_no_arguments_that_start_one(tiny_folder: Path) -> None:
    config = SimpleNamespace(model=str(tiny_folder), max_model_len=64)
    llm = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(model_config=config)))

    with pytest.raises(UserInputError, match="dtype: the engine runs already"):
        VllmBackend.from_engine(llm, dtype="float32")
    with pytest.raises(UserInputError, match="max_model_length: 65 is more than the engine's 64"):
        VllmBackend.from_engine(llm, max_model_length=65)
    with pytest.raises(UserInputError, match="generation_parameters: there is no 'x'"):
        VllmBackend.from_engine(llm, generation_parameters={"x": 1})
    assert VllmBackend.from_engine(llm).max_length == 64
    config.logprobs_mode = "raw_logits"
    with pytest.raises(UserInputError, match=r"gives logits for log-probabilities \(logprobs_mode=raw_logits\)"):
        VllmBackend.from_engine(llm)


def test_a_running_engines_own_tokenizer_is_part_of_its_fingerprint() -> None:
    model = tiny_model()
    engines = [FakeLLM(model, tiny_tokenizer(**changes)) for changes in ({}, {}, {"adds_bos": True}, {"template": None})]

    first, same, *others = [VllmBackend.from_engine(llm).fingerprint for llm in engines]

    assert first == same
    assert len({first, *others}) == 3
    engines[0].tokenizer = SimpleNamespace(encode=list)
    with pytest.raises(
        BackendError, match="the engine's tokenizer, SimpleNamespace, is not a transformers tokenizer; start it with tokenizer_mode"
    ):
        VllmBackend.from_engine(engines[0]).fingerprint  # noqa: B018  # it is computed when it is asked for


def test_only_answers_of_an_engine_that_the_backend_starts_are_kept(tiny_folder: Path) -> None:
    config = SimpleNamespace(model=str(tiny_folder), max_model_len=64)
    llm = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(model_config=config)))

    assert is_cacheable(VllmBackend(VllmArguments(pretrained=str(tiny_folder))))
    assert not is_cacheable(VllmBackend.from_engine(llm))

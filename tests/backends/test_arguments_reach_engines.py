"""Every argument of the accelerate and vLLM backends, from the text of the command line to the constructor of the engine.

Stand-ins take the place of transformers' `from_pretrained` and of vLLM's `LLM`. They load nothing, and keep what they were given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.backends.model_args import convert_model_args, parse_model_args
from pytest_lighteval.backends.nanotron import NanotronArguments
from pytest_lighteval.backends.openai import OpenAIArguments
from pytest_lighteval.backends.openai.arguments import ServerParameters
from pytest_lighteval.backends.vllm import VllmArguments, VllmBackend
from pytest_lighteval.errors import UserInputError
from tests.backends.tiny import tiny_model, tiny_tokenizer

FLAGS = {"True": True, "true": True, "False": False, "false": False}
MAYBE_FLAGS = {**FLAGS, "None": None}
FOUR_BIT_TEXT = "{load_in_4bit:true,bnb_4bit_quant_type:nf4}"
FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}

PARAMETERS: list[tuple[str, str, Any]] = [
    ("temperature", "0.5", 0.5),
    ("temperature", "0", 0.0),
    ("temperature", "None", None),
    ("top_k", "5", 5),
    ("top_k", "0", None),
    ("top_k", "-1", None),
    ("top_p", "0.9", 0.9),
    ("top_p", "1", 1.0),
    ("min_p", "0.1", 0.1),
    ("seed", "7", 7),
    ("seed", "None", 1234),
    ("max_new_tokens", "32768", 32_768),
    ("max_new_tokens", "null", None),
    ("min_new_tokens", "2", 2),
    ("min_new_tokens", "0", None),
    ("stop_tokens", "[a,'b,c',1e3,007,true]", ("a", "b,c", "1e3", "007", "true")),
    ("stop_tokens", "None", ()),
    ("truncate_prompt", "16", 16),
    ("truncate_prompt", "False", None),
    ("repetition_penalty", "1.1", 1.1),
    ("frequency_penalty", "0.25", 0.25),
    ("presence_penalty", "1", 1.0),
    ("presence_penalty", "None", 0.0),
]
"""Name, value as it is written, value as the engine's rules read it."""
REFUSED_PARAMETERS = ("early_stopping", "length_penalty", "response_format", "max_thinking_tokens")

SHARED: list[tuple[str, Mapping[str, Any]]] = [
    ("tokenizer", {"None": None, "owner/tokenizer": "owner/tokenizer"}),
    ("revision", {"None": "main", "main": "main", "1234567": "1234567", "refs/pr/1": "refs/pr/1"}),
    ("subfolder", {"None": None, "a/b": "a/b"}),
    ("trust_remote_code", FLAGS),
    ("add_special_tokens", {**FLAGS, "None": True}),
    ("use_chat_template", {**FLAGS, "None": False}),
    ("multichoice_continuations_start_space", MAYBE_FLAGS),
    ("pairwise_tokenization", {**FLAGS, "None": False}),
    ("tokenization", {"None": None, "lighteval": "lighteval", "lm_eval": "lm_eval"}),
    ("generation_parameters", {"{}": {}, "None": {}}),
]
ACCELERATE: list[tuple[str, Mapping[str, Any]]] = [
    *SHARED,
    ("dtype", {
        "None": None, "auto": "auto", "4bit": "4bit", "8bit": "8bit", "float": "float", "double": "double", "half": "half",
        **{f"{prefix}{name}": name for name in ("float16", "bfloat16", "float32", "float64") for prefix in ("", "torch.")},
    }),
    ("quantization_config", {"None": None, FOUR_BIT_TEXT: FOUR_BIT, '{"load_in_8bit": true}': {"load_in_8bit": True}}),
    ("device", {"None": None, "cpu": "cpu", "cuda": "cuda", "cuda:1": "cuda:1", "0": "cuda:0", "1": "cuda:1"}),
    ("model_parallel", MAYBE_FLAGS),
    ("compile", {**FLAGS, "None": False}),
    ("attn_implementation", {"None": None, "eager": "eager"}),
    ("batch_size", {"None": "auto", "auto": "auto", "8": 8}),
    ("max_length", {"None": None, "512": 512}),
    ("max_gen_toks", {"None": None, "256": 256}),
    ("generation_size", {"None": None, "256": 256}),
]  # fmt: skip
VLLM: list[tuple[str, Mapping[str, Any]]] = [
    *SHARED,
    ("dtype", {
        "None": "auto", "auto": "auto", "half": "half", "float": "float",
        **{f"{prefix}{name}": name for name in ("float16", "bfloat16", "float32") for prefix in ("", "torch.")},
    }),
    ("quantization", {"None": None, "fp8": "fp8"}),
    *((name, {"None": 1, "1": 1, "2": 2}) for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")),
    ("gpu_memory_utilization", {"None": None, "0.9": 0.9, "1": 1.0}),
    ("swap_space", {"None": None, "4": 4.0}),
    ("max_model_length", {"None": None, "64": 64}),
    ("max_model_len", {"None": None, "64": 64}),
    ("batch_size", {"None": "auto", "auto": "auto", "8": 8}),
    ("max_num_seqs", {"None": "auto", "128": 128}),
    ("max_num_batched_tokens", {"None": None, "2048": 2048}),
    ("enforce_eager", MAYBE_FLAGS),
    ("enable_prefix_caching", {**FLAGS, "None": True}),
    ("distributed_executor_backend", {"None": None, "mp": "mp", "ray": "ray"}),
    ("seed", {"None": 1234, "7": 7}),
]  # fmt: skip
"""Name and values: as they are written, and as the backend has them."""


def accelerate_of(text: str) -> AccelerateArguments:
    return convert_model_args(parse_model_args(text, folder=Path()), AccelerateArguments, backend="accelerate")


def vllm_of(text: str) -> VllmArguments:
    return convert_model_args(parse_model_args(text, folder=Path()), VllmArguments, backend="vllm")


def test_no_argument_and_no_parameter_is_left_out_below() -> None:
    named = {"pretrained", "model_name"}

    assert {name for name, _ in ACCELERATE} | named == {*AccelerateArguments.__struct_fields__, *AccelerateArguments.other_names}
    assert {name for name, _ in VLLM} | named == {*VllmArguments.__struct_fields__, *VllmArguments.other_names}
    parameters = {field.encode_name for field in msgspec.structs.fields(AccelerateArguments.nested["generation_parameters"])}
    assert {name for name, _, _ in PARAMETERS} == parameters
    assert AccelerateArguments.nested == VllmArguments.nested == NanotronArguments.nested


def test_every_value_of_every_argument_becomes_what_it_says(tmp_path: Path) -> None:
    for arguments, table in ((AccelerateArguments, ACCELERATE), (VllmArguments, VLLM)):
        for name, values in table:
            own = arguments.other_names.get(name, name)
            for written, expected in values.items():
                raw = parse_model_args(f"model_name=owner/model,{name}={written}", folder=Path())
                found = getattr(convert_model_args(raw, arguments, backend="x"), own)
                assert (type(found), found) == (type(expected), expected), f"{name}={written}"
                # the same from a file, where YAML has types of its own
                (tmp_path / "args.yaml").write_text(f"model_parameters:\n  pretrained: owner/model\n  {name}: {_as_yaml(written)}\n")
                raw = parse_model_args("args.yaml", folder=tmp_path)
                found = getattr(convert_model_args(raw, arguments, backend="x"), own)
                assert (type(found), found) == (type(expected), expected), f"{name}: {written}"


def _as_yaml(written: str) -> str:
    """What a person writes in YAML for it. A revision of digits needs quotes there."""
    if written == "None":
        return "null"
    if written.startswith("{"):
        return written.replace(":", ": ")
    return f'"{written}"' if written == "1234567" else written


@pytest.mark.parametrize(("name", "written", "expected"), PARAMETERS)
def test_every_value_of_every_generation_parameter_is_read(name: str, written: str, expected: Any) -> None:
    text = f"pretrained=owner/model,generation_parameters={{{name}:{written}}}"
    spaced = f'pretrained=owner/model, generation_parameters={{"{name}": {written}}}'

    for read in (accelerate_of, vllm_of):
        for found in (getattr(read(one).generation(), name) for one in (text, spaced)):
            assert (type(found), found) == (type(expected), expected)


def test_parameters_of_beam_search_and_of_constrained_decoding_are_refused_unless_they_are_off() -> None:
    for read in (accelerate_of, vllm_of):
        for name in REFUSED_PARAMETERS:
            read(f"pretrained=owner/model,generation_parameters={{{name}:None}}")
            with pytest.raises(UserInputError, match=f"generation_parameters.{name}: "):
                read(f"pretrained=owner/model,generation_parameters={{{name}:1}}")


def test_vllms_seed_stays_the_default_of_samples_beside_a_parameter_that_is_none() -> None:
    assert vllm_of("pretrained=owner/model,seed=7,generation_parameters={seed:None}").generation().seed == 7


def test_what_a_server_gets_as_it_is_has_types() -> None:
    text = (
        "base_url=http://h/v1,model=m,generation_parameters={response_format:{type:json_schema,json_schema:{strict:true,n:[1,'1',1.5,x]}}}"
    )
    arguments = convert_model_args(parse_model_args(text, folder=Path()), OpenAIArguments, backend="openai")

    assert arguments.generation() == ServerParameters(
        response_format={"type": "json_schema", "json_schema": {"strict": True, "n": [1, "1", 1.5, "x"]}}
    )


class LoadedModelStandIn:
    """As much of a transformers model as loading touches."""

    dtype = "torch.float32"

    def __init__(self) -> None:
        self.device: Any = "where it was put while loading"
        self.is_compiled = False

    def to(self, device: Any) -> LoadedModelStandIn:
        self.device = device
        return self

    def eval(self) -> None:
        pass

    def compile(self) -> None:
        self.is_compiled = True


def load(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, *, gpus: int) -> tuple[dict[str, Any], Any]:
    """What `from_pretrained` is given besides the folder, and the model that was loaded."""
    import torch
    import transformers

    given: dict[str, Any] = {}

    def from_pretrained(path: Path, **settings: Any) -> LoadedModelStandIn:
        assert path == folder
        given.update(settings)
        return LoadedModelStandIn()

    with monkeypatch.context() as patched:
        patched.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
        patched.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        patched.setattr(torch.cuda, "device_count", lambda: gpus)
        # bitsandbytes and accelerate need not be installed to be asked for
        version, find_spec = importlib.metadata.version, importlib.util.find_spec
        missing = ("bitsandbytes", "accelerate")
        patched.setattr(importlib.metadata, "version", lambda name: "1.0" if name in missing else version(name))
        patched.setattr(importlib.util, "find_spec", lambda name, *rest: sys if name in missing else find_spec(name, *rest))
        loaded = AccelerateBackend.from_arguments(accelerate_of(f"pretrained={folder}{text and f',{text}'}"))._load_model()
    return given, loaded


def test_transformers_gets_what_was_written(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    import torch

    plain, loaded = load(monkeypatch, tiny_folder, "", gpus=0)
    assert (plain, loaded.device, loaded.model.is_compiled) == ({"trust_remote_code": False, "dtype": "auto"}, torch.device("cpu"), False)

    dtypes = {
        "None": "auto",
        "auto": "auto",
        "torch.float16": torch.float16,
        "float16": torch.float16,
        "half": torch.float16,
        "fp16": torch.float16,
        "torch.bfloat16": torch.bfloat16,
        "bf16": torch.bfloat16,
        "float": torch.float32,
        "double": torch.float64,
    }
    for written, dtype in dtypes.items():
        assert load(monkeypatch, tiny_folder, f"dtype={written}", gpus=0)[0] == {**plain, "dtype": dtype}

    assert load(monkeypatch, tiny_folder, "trust_remote_code=True", gpus=0)[0] == {**plain, "trust_remote_code": True}
    assert load(monkeypatch, tiny_folder, "attn_implementation=eager", gpus=0)[0] == {**plain, "attn_implementation": "eager"}
    assert load(monkeypatch, tiny_folder, "compile", gpus=0)[1].model.is_compiled
    for written, device in {"0": "cuda:0", "1": "cuda:1", "cuda:1": "cuda:1", "cuda": "cuda", "cpu": "cpu"}.items():
        given, loaded = load(monkeypatch, tiny_folder, f"device={written}", gpus=2)
        assert (given, loaded.device) == (plain, torch.device(device))
    for written, spread in {"None": True, "True": True, "False": False}.items():
        given, _ = load(monkeypatch, tiny_folder, f"model_parallel={written}", gpus=2)
        assert given == (plain | {"device_map": "auto"} if spread else plain)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"quantization_config={FOUR_BIT_TEXT}", FOUR_BIT, id="documented"),
        pytest.param('quantization_config={"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}', FOUR_BIT, id="python"),
        pytest.param(
            "quantization_config={load_in_4bit:true,bnb_4bit_use_double_quant:true,bnb_4bit_compute_dtype:torch.bfloat16}",
            {"load_in_4bit": True, "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16"},
            id="dtype",
        ),
        pytest.param(
            "quantization_config={load_in_8bit:true,llm_int8_threshold:5,llm_int8_skip_modules:[lm_head,'0']}",
            {"load_in_8bit": True, "llm_int8_threshold": 5.0, "llm_int8_skip_modules": ["lm_head", "0"]},
            id="numbers and lists",
        ),
        pytest.param("quantization_config={load_in_8bit:true,llm_int8_threshold:4.5}", {"llm_int8_threshold": 4.5}, id="8bit"),
        pytest.param("dtype=4bit", {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"}, id="dtype=4bit"),
        pytest.param("dtype=8bit", {"load_in_8bit": True, "bnb_4bit_compute_dtype": "float16"}, id="dtype=8bit"),
    ],
)  # fmt: skip
def test_bitsandbytes_gets_the_types_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, text: str, expected: Mapping[str, Any]
) -> None:
    import torch

    given, _ = load(monkeypatch, tiny_folder, text, gpus=0)

    found = given["quantization_config"].to_dict()
    assert {name: found[name] for name in expected} == expected
    assert given["device_map"] == {"": torch.device("cpu")}


class StartedError(BaseException):
    """The stand-in was called: nothing is to go on."""


def start(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> dict[str, Any]:
    """What vLLM's `LLM` is given besides the model, its tokenizer and its logs, on a machine with GPUs."""
    given: dict[str, Any] = {}

    class EngineArgs:
        def __init__(self, *, max_num_batched_tokens: int, swap_space: float) -> None: ...

    def llm(**settings: Any) -> None:
        given.update(settings)
        raise StartedError

    modules = {name: ModuleType(name) for name in ("vllm", "vllm.engine", "vllm.engine.arg_utils", "vllm.platforms")}
    modules["vllm"].LLM = llm  # type: ignore[attr-defined]  # a module that the test makes
    modules["vllm.engine.arg_utils"].EngineArgs = EngineArgs  # type: ignore[attr-defined]
    modules["vllm.platforms"].current_platform = SimpleNamespace(is_cpu=lambda: False)  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        for name, module in modules.items():
            patched.setitem(sys.modules, name, module)
        for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL"):
            patched.setenv(name, "0")
        with pytest.raises(StartedError):
            VllmBackend.from_arguments(vllm_of(f"pretrained={folder}{text and f',{text}'}"))._start()
    assert given.pop("model") == given.pop("tokenizer") == str(folder)
    assert given.pop("disable_log_stats") is True
    return given


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("dtype=None", {}),
        ("dtype=torch.float16", {"dtype": "float16"}),
        ("dtype=bfloat16", {"dtype": "bfloat16"}),
        ("seed=None", {}),
        ("seed=7", {"seed": 7}),
        ("trust_remote_code=True", {"trust_remote_code": True}),
        ("quantization=fp8", {"quantization": "fp8"}),
        ("tensor_parallel_size=2,pipeline_parallel_size=3", {"tensor_parallel_size": 2, "pipeline_parallel_size": 3}),
        ("gpu_memory_utilization=0.5", {"gpu_memory_utilization": 0.5}),
        ("swap_space=4", {"swap_space": 4.0}),
        ("max_model_length=64", {"max_model_len": 66}),
        ("max_model_len=64", {"max_model_len": 66}),
        ("max_model_len=None", {}),
        ("batch_size=None", {}),
        ("batch_size=8", {"max_num_seqs": 8}),
        ("max_num_seqs=8", {"max_num_seqs": 8}),
        ("max_num_seqs=None", {}),
        ("max_num_batched_tokens=2048", {"max_num_batched_tokens": 2048}),
        ("max_num_batched_tokens=None", {}),
        ("enforce_eager=True", {"enforce_eager": True}),
        ("enable_prefix_caching=False", {"enable_prefix_caching": False}),
        ("enable_prefix_caching=None", {}),
        ("revision=None,add_special_tokens=None,subfolder=None,generation_parameters=None", {}),
    ],
)
def test_vllm_gets_what_was_written(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, text: str, expected: Mapping[str, Any]) -> None:
    plain = {
        "dtype": "auto", "seed": 1234, "trust_remote_code": False, "tensor_parallel_size": 1, "pipeline_parallel_size": 1,
        "enable_prefix_caching": True, "max_model_len": 128,
    }  # fmt: skip

    assert start(monkeypatch, tiny_folder, text) == {**plain, **expected}


def test_a_model_in_memory_takes_none_and_other_names_too() -> None:
    backend = AccelerateBackend.from_model(tiny_model(), tiny_tokenizer(), batch_size=None, add_special_tokens=None, generation_size=4)

    assert (backend.arguments.batch_size, backend.arguments.add_special_tokens, backend.arguments.max_gen_toks) == ("auto", True, 4)


def test_the_limit_that_a_user_gives_is_noted(tiny_folder: Path) -> None:
    note = "every text may have 32768 new tokens, whatever its task says: generation_parameters has max_new_tokens"
    text = f"pretrained={tiny_folder},generation_parameters={{max_new_tokens:32768}}"

    assert AccelerateBackend.from_arguments(accelerate_of(text)).describe()["notes"] == [note]
    assert VllmBackend.from_arguments(vllm_of(text)).describe()["notes"] == [note]
    assert "notes" not in VllmBackend.from_arguments(vllm_of(f"pretrained={tiny_folder}")).describe()


def test_only_fingerprints_with_a_limit_of_the_users_changed_their_meaning(tiny_folder: Path) -> None:
    def fingerprint_of(text: str) -> str:
        return AccelerateBackend.from_arguments(accelerate_of(f"pretrained={tiny_folder}{text and f',{text}'}")).fingerprint

    same = ("dtype=None", "batch_size=None", "revision=None", "add_special_tokens=None", "generation_parameters={top_k:0}")
    assert {fingerprint_of(text) for text in same} == {fingerprint_of("")}
    assert fingerprint_of("device=0") == fingerprint_of("device=cuda:0") != fingerprint_of("")
    assert fingerprint_of("dtype=torch.float16") == fingerprint_of("dtype=fp16")
    assert fingerprint_of("generation_size=9") == fingerprint_of("max_gen_toks=9")

"""The model arguments: what is understood, and what is refused in one clear line before anything is loaded."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend, GenerationParameters
from pytest_lighteval.backends.common.gguf import CONVERTER
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, parse_model_args
from pytest_lighteval.errors import BackendError, BackendLostError, UserInputError
from pytest_lighteval.types import LoglikelihoodRequest
from tests.backends.tiny import save_tiny, tiny_model, tiny_tokenizer

REQUEST = [LoglikelihoodRequest(prompt="One", choices=(" two", " three"))]


def read(text: str) -> AccelerateArguments:
    """Arguments as the command line gives them."""
    return convert_model_args(parse_model_args(text, folder=Path()), AccelerateArguments, backend="accelerate")


def test_texts_of_the_command_line_become_typed_arguments() -> None:
    arguments = read(
        "pretrained=owner/model,batch_size=8,dtype=bfloat16,model_parallel=false,pairwise_tokenization,max_length=512,"
        "multichoice_continuations_start_space=True,generation_parameters={temperature:0.5,top_k:5,stop_tokens:[a,b]}"
    )

    assert arguments == AccelerateArguments(
        pretrained="owner/model",
        batch_size=8,
        dtype="bfloat16",
        model_parallel=False,
        pairwise_tokenization=True,
        max_length=512,
        multichoice_continuations_start_space=True,
        generation_parameters={"temperature": "0.5", "top_k": "5", "stop_tokens": ["a", "b"]},
    )
    assert arguments.generation() == GenerationParameters(temperature=0.5, top_k=5, stop_tokens=("a", "b"))
    assert read("model_name=gpt2,batch_size=auto").model == "gpt2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pretrained is missing"),
        ("pretrained=a,model_name=b", "pretrained and model_name are two names of one argument"),
        ("pretrained=a,adapter_weights=true", "adapter_weights: adapters are not loaded: merge it into its base model"),
        ("pretrained=a,delta_weights=true", "delta_weights: delta weights are not loaded"),
        ("pretrained=a,base_model=b", "base_model: it belongs to adapter_weights and delta_weights"),
        ("pretrained=a,dtype=bfloat61", "dtype: 'bfloat61' is none of auto, float32"),
        ("pretrained=a,dtype=bfloat61", "did you mean 'bfloat16'"),
        ("pretrained=a,dtype=4bit,quantization_config={load_in_8bit:true}", "both quantize"),
        ("pretrained=a,device=gpu", "device: 'gpu' is none of cpu, cuda"),
        ("pretrained=a,device=cpu,model_parallel=true", "leave device out"),
        ("pretrained=a,batch_size=0", "batch_size: 0 is not a number of rows"),
        ("pretrained=a,batch_size=many", "batch_size"),
        ("pretrained=a,max_length=1", "max_length: 1 tokens hold no prompt"),
        ("pretrained=a,max_gen_toks=0", "max_gen_toks: 0 tokens are no text"),
        (
            "pretrained=a,max_gen_toks=5,generation_parameters={max_new_tokens:6}",
            "max_gen_toks says nothing beside generation_parameters.max_new_tokens",
        ),
        (
            "pretrained=a,generation_parameters={temprature:1}",
            "generation_parameters: there is no 'temprature' (did you mean 'temperature'",
        ),
        ("pretrained=a,generation_parameters={xyz:1}", "there is no 'xyz'; there are: temperature, top_k"),
        ("pretrained=a,generation_parameters={top_p:2}", "generation_parameters.top_p: Expected `float` <= 1.0"),
        ("pretrained=a,generation_parameters={response_format:json}", "generation_parameters.response_format: this backend does not"),
        ("pretrained=a,generation_parameters={length_penalty:1}", "generation_parameters.length_penalty: it belongs to beam search"),
        ("pretrianed=a", "did you mean 'pretrained'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        read(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_argument_has_a_line_of_help() -> None:
    text = describe_arguments(AccelerateArguments, backend="accelerate")

    for field in msgspec.structs.fields(AccelerateArguments):
        assert f"  {field.encode_name} (" in text
    lines = text.splitlines()[2:]
    assert all(line.startswith("      ") for line in lines[1::2])


def test_the_arguments_are_checked_without_importing_torch_or_transformers() -> None:
    program = (
        "import sys\n"
        "from pytest_lighteval.backends import load_backend\n"
        "factory = load_backend('accelerate')\n"
        "backend = factory.from_arguments(factory.Arguments(pretrained='owner/model'))\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'huggingface_hub', 'gguf') if name in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_backend_is_found_by_its_name() -> None:
    factory: object = load_backend("accelerate")

    assert factory is AccelerateBackend


def test_max_length_is_the_argument_or_what_the_configuration_says_or_2048(tiny_folder: Path, tmp_path: Path) -> None:
    assert AccelerateBackend(AccelerateArguments(pretrained=str(tiny_folder))).max_length == 128
    assert AccelerateBackend(AccelerateArguments(pretrained=str(tiny_folder), max_length=64)).max_length == 64
    assert AccelerateBackend.from_model(tiny_model("gpt2", max_length=96), tiny_tokenizer()).max_length == 96
    assert AccelerateBackend(AccelerateArguments(pretrained=str(save_tiny(tmp_path / "gpt2", "gpt2")))).max_length == 128
    assert AccelerateBackend(AccelerateArguments(pretrained=str(save_tiny(tmp_path / "mamba", "mamba")))).max_length == 2048


def test_a_fingerprint_changes_with_what_may_change_an_answer_and_with_nothing_else(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")

    def fingerprint(**arguments: Any) -> str:
        return AccelerateBackend(AccelerateArguments(pretrained=str(folder), **arguments)).fingerprint

    first = fingerprint()
    assert fingerprint(batch_size=3) == first
    assert fingerprint(use_chat_template=True) == first
    # one spelling of a setting is as good as another
    assert fingerprint(dtype="auto") == first
    assert fingerprint(dtype="fp32") == fingerprint(dtype="float32") != first
    assert fingerprint(generation_parameters={"top_k": "5"}) == fingerprint(generation_parameters={"top_k": 5}) != first
    changed = [
        fingerprint(dtype="bfloat16"),
        fingerprint(max_length=64),
        fingerprint(add_special_tokens=False),
        fingerprint(generation_parameters={"temperature": 0.5}),
        fingerprint(attn_implementation="eager"),
        fingerprint(tokenizer=str(save_tiny(tmp_path / "other", template=None))),
    ]
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed.append(fingerprint())
    assert len({first, *changed}) == 1 + len(changed)


@pytest.mark.parametrize("kind", ["folder", "gguf", "package"])
def test_what_a_model_is_is_known_without_an_engine(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    package = tmp_path / "holds_a_model"
    package.mkdir()
    (package / "__init__.py").touch()
    file = package / "model.gguf"
    file.write_bytes(b"a model that was converted before")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shutil.copytree(tiny_folder, cache_home() / "gguf" / f"{digest[:32]}-v{CONVERTER}")
    pretrained = {"folder": str(tiny_folder), "gguf": str(file), "package": "package:holds_a_model"}[kind]
    code = (
        "import sys; from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend; "
        f"backend = AccelerateBackend(AccelerateArguments(pretrained={pretrained!r})); "
        "print(len(backend.fingerprint), backend.max_length, *{'torch', 'transformers', 'tokenizers', 'safetensors'} & set(sys.modules))"
    )

    output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert output.split() == ["64", "128"]


def test_the_engine_computes_with_the_threads_that_the_environment_names(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    try:
        assert load(pretrained=str(tiny_folder), device="cpu").describe()["threads"] == 3
    finally:
        torch.set_num_threads(before)


def test_the_fingerprint_of_a_model_in_memory_follows_its_weights() -> None:
    def fingerprint(seed: int, **tokenizer: Any) -> str:
        return AccelerateBackend.from_model(tiny_model(seed=seed), tiny_tokenizer(**tokenizer)).fingerprint

    assert fingerprint(0) == fingerprint(0)
    assert len({fingerprint(0), fingerprint(1), fingerprint(0, template=None), fingerprint(0, adds_bos=True)}) == 4


def test_the_fingerprint_of_a_model_in_memory_follows_what_ends_and_bends_its_texts() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    found = [AccelerateBackend.from_model(model, tokenizer).fingerprint]

    model.generation_config.repetition_penalty = 1.3
    found.append(AccelerateBackend.from_model(model, tokenizer).fingerprint)
    model.generation_config.eos_token_id = [2, 3]
    found.append(AccelerateBackend.from_model(model, tokenizer).fingerprint)
    tokenizer.eos_token = "<|turn|>"
    found.append(AccelerateBackend.from_model(model, tokenizer).fingerprint)

    assert len(set(found)) == 4


def test_weights_that_are_not_in_memory_have_no_fingerprint_and_one_line_says_so(tmp_path: Path) -> None:
    import accelerate

    layers = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread = accelerate.dispatch_model(tiny_model(), layers, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)

    with pytest.raises(BackendError, match=r"^LlamaForCausalLM: its weights are not all in memory, .*model\.layers\.0\..* is offloaded.*$"):
        AccelerateBackend.from_model(spread, tiny_tokenizer()).fingerprint  # noqa: B018  # it is computed when it is asked for


def test_a_model_in_memory_takes_no_argument_about_loading() -> None:
    for arguments in ({"dtype": "float16"}, {"pretrained": "gpt2"}, {"device": "cpu"}):
        with pytest.raises(UserInputError, match="the model is loaded already"):
            AccelerateBackend.from_model(tiny_model(), tiny_tokenizer(), **arguments)
    with pytest.raises(UserInputError, match="unknown field `batchsize`"):
        AccelerateBackend.from_model(tiny_model(), tiny_tokenizer(), batchsize=3)


def load(**arguments: Any) -> AccelerateBackend:
    """A backend that has answered a request, so that all is loaded."""
    backend = AccelerateBackend(AccelerateArguments(**arguments))
    assert dict(backend.loglikelihood(REQUEST))[0].error is None
    return backend


def test_a_folder_is_loaded_in_the_dtype_and_way_asked_for(tiny_folder: Path) -> None:
    plain = load(pretrained=str(tiny_folder), device="cpu").describe()
    half = load(pretrained=str(tiny_folder), device="cpu", dtype="bf16", attn_implementation="eager", batch_size=2).describe()

    assert (plain["architecture"], plain["dtype"], plain["device"], plain["max_length"]) == ("LlamaForCausalLM", "float32", "cpu", 128)
    assert plain["threads"] >= 1
    assert (half["dtype"], half["batch_size"], half["batch_tokens"]) == ("bfloat16", 2, 2048)


def test_model_parallel_gives_the_same_answers(tiny_folder: Path) -> None:
    alone = load(pretrained=str(tiny_folder), model_parallel=False)
    spread = load(pretrained=str(tiny_folder), model_parallel=True)

    assert dict(spread.loglikelihood(REQUEST))[0].logprobs == pytest.approx(dict(alone.loglikelihood(REQUEST))[0].logprobs, abs=1e-4)


def test_a_hub_id_is_answered_from_the_hubs_cache_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--model"
    save_tiny(repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "refs" / "v1").write_text("0123abc")

    backend = load(pretrained="owner/model", device="cpu")

    assert backend.max_length == 128
    assert backend.describe()["revision"] == "main"
    assert load(pretrained="owner/model", revision="v1", device="cpu").fingerprint == backend.fingerprint
    with pytest.raises(BackendError, match="owner/model: not in the hub's local cache"):
        load(pretrained="owner/model", revision="v2", device="cpu")


def test_a_subfolder_may_have_its_tokenizer_one_level_up(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "step-100").rename(tmp_path / "checkpoint")
    (tmp_path / "repository").mkdir()
    folder = folder.rename(tmp_path / "repository" / "step-100")
    for file in folder.glob("*token*"):
        file.rename(folder.parent / file.name)

    assert load(pretrained=str(tmp_path / "repository"), subfolder="step-100", device="cpu")


def test_an_encoder_decoder_model_is_refused(tmp_path: Path) -> None:
    import transformers

    transformers.T5Config(d_model=16, num_layers=1, d_ff=16, num_heads=2, vocab_size=50).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    backend = AccelerateBackend.from_arguments(AccelerateArguments(pretrained=str(tmp_path), device="cpu"))

    with pytest.raises(BackendError, match="t5 is an encoder-decoder model, and this backend runs causal"):
        list(backend.loglikelihood(REQUEST))


def test_loading_errors_are_one_clear_line(tmp_path: Path, tiny_folder: Path) -> None:
    broken = save_tiny(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing of the kind")
    strange = save_tiny(tmp_path / "strange")
    (strange / "config.json").write_text('{"model_type": "neverland", "max_position_embeddings": 8}')
    translator = save_tiny(tmp_path / "translator")
    (translator / "config.json").write_text('{"model_type": "t5", "n_positions": 8}')
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").touch()
    without_tokenizer = save_tiny(tmp_path / "without")
    for file in without_tokenizer.glob("*token*"):
        file.unlink()

    for arguments, message in (
        ({"pretrained": str(broken)}, "broken: cannot load it: "),
        ({"pretrained": str(strange)}, "neverland"),
        ({"pretrained": str(translator)}, "encoder-decoder model"),
        ({"pretrained": str(adapter)}, "an adapter, which is not loaded: merge it into its base model"),
        ({"pretrained": str(without_tokenizer)}, "without: cannot load the tokenizer: "),
        ({"pretrained": str(tmp_path)}, "no config.json"),
        ({"pretrained": str(tiny_folder), "device": "cuda:7"}, "device=cuda:7: there is no such device"),
        ({"pretrained": str(tiny_folder), "attn_implementation": "telepathy"}, "telepathy"),
    ):
        with pytest.raises(BackendError) as caught:
            load(**arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_quantizing_without_bitsandbytes_names_the_extra(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find_spec(name, *rest))

    for arguments in ({"dtype": "4bit"}, {"dtype": "8bit"}, {"quantization_config": {"load_in_4bit": True}}):
        with pytest.raises(BackendLostError, match=r"pip install 'pytest-lighteval\[quantized\]'"):
            load(pretrained=str(tiny_folder), device="cpu", **arguments)


def test_a_closed_backend_answers_nothing_and_may_be_closed_again(tiny_folder: Path) -> None:
    backend = load(pretrained=str(tiny_folder), device="cpu")

    facts = backend.describe()
    backend.close()
    backend.close()

    assert backend.describe() == facts
    with pytest.raises(BackendError, match="the backend is closed"):
        list(backend.loglikelihood(REQUEST))

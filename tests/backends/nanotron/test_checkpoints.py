"""Checkpoints in nanotron's layout become the transformers model that they are, bit for bit; whatever is wrong with one is one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.backends.nanotron import NanotronArguments, NanotronBackend, conversion
from pytest_lighteval.backends.nanotron.architecture import read_architecture
from pytest_lighteval.backends.nanotron.checkpoint import read_checkpoint
from pytest_lighteval.backends.nanotron.conversion import converted_folder
from pytest_lighteval.backends.nanotron.shards import find_parameters, read_slices
from pytest_lighteval.errors import BackendError, LightevalError, UserInputError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, Message, PerplexityRequest
from tests.backends.nanotron.nanotron_layout import Layout, write_checkpoint
from tests.backends.tiny import tiny_tokenizer

REQUEST = [LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " a river"))]
VOCABULARY = 402
"""More than the tokenizer has: nanotron pads it until the tensor-parallel ranks can share it."""
IDS = torch.tensor([[5, 17, 250, 3, 88, 120, 9, 41, 300, 11]])


def tiny(kind: str, *, tied: bool = False, seed: int = 0, **settings: Any) -> Any:
    """A random model of one of the four architectures."""
    import transformers

    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=settings.pop("num_key_value_heads", 3),
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        **{"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}, "pad_token_id": None, "sliding_window": None, **settings},
    )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 and parameter.shape[0] == 48 else 0.0, 0.2)
    model.tie_weights()
    return model.eval()


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: tiny("llama"),
    "llama-tied": lambda: tiny("llama", tied=True),
    "llama-heads-alike": lambda: tiny("llama", num_key_value_heads=6),
    "qwen2-bias": lambda: tiny("qwen2", tied=True),
    "smollm3-nope": lambda: tiny("smollm3", no_rope_layers=[1, 0, 1, 0]),
    "starcoder2": lambda: tiny("starcoder2", tied=True, use_bias=True, residual_dropout=0.0, embedding_dropout=0.0),
}


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path, tokenizer_folder: Path) -> Path:
    """The config.yaml of a tiny llama in three tensor-parallel and two pipeline-parallel parts."""
    return write_checkpoint(tmp_path / "run" / "10", tiny("llama"), tokenizer=str(tokenizer_folder), layout=Layout(tensor=3, pipeline=2))


def convert(config: Path) -> Path:
    read = read_checkpoint(str(config))
    return converted_folder(read, read_architecture(read))


def load(folder: Path) -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def assert_same(model: Any, folder: Path) -> None:
    """Same names, bits and logits."""
    loaded = load(folder)
    theirs, ours = model.state_dict(), loaded.state_dict()
    assert sorted(ours) == sorted(theirs)
    assert [name for name in theirs if ours[name].dtype != theirs[name].dtype or not ours[name].equal(theirs[name])] == []
    with torch.no_grad():
        expected, logits = model(IDS).logits, loaded(IDS).logits
    assert logits.equal(expected)


@pytest.mark.parametrize("tensor", [1, 3])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_comes_back_bit_for_bit_with_the_same_logits(tmp_path: Path, kind: str, tensor: int) -> None:
    model = MODELS[kind]()

    folder = convert(write_checkpoint(tmp_path, model, layout=Layout(tensor=tensor)))

    assert_same(model, folder)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        pytest.param("llama", Layout(tensor=1, pipeline=2), id="pipeline"),
        pytest.param("llama", Layout(tensor=3, pipeline=2), id="tensor-and-pipeline"),
        pytest.param("llama", Layout(tensor=3, interleaved=True), id="interleaved"),
        pytest.param("llama-heads-alike", Layout(interleaved=True), id="interleaved-heads-alike"),
        pytest.param("llama", Layout(tensor=3, interleaved=None, old_names=True), id="of-nanotron-0.5"),
        pytest.param("llama-tied", Layout(tensor=1, interleaved=None, old_names=True), id="of-nanotron-0.5-tied"),
        pytest.param("qwen2-bias", Layout(tensor=3, pipeline=2, interleaved=True), id="interleaved-bias"),
        pytest.param("smollm3-nope", Layout(tensor=3, pipeline=2), id="nope"),
        pytest.param("starcoder2", Layout(tensor=3, pipeline=2, old_names=True), id="starcoder2-of-0.5"),
    ],
)
def test_any_split_any_rotary_order_and_both_kinds_of_names_give_the_same_model(tmp_path: Path, kind: str, layout: Layout) -> None:
    model = MODELS[kind]()

    assert_same(model, convert(write_checkpoint(tmp_path, model, layout=layout)))


def test_a_qwen2_without_bias_and_without_nope_is_a_llama(tmp_path: Path) -> None:
    model = tiny("llama")
    layout = Layout(config={"is_llama_config": False, "is_qwen2_config": True, "attention_bias": False})

    folder = convert(write_checkpoint(tmp_path, model, layout=layout))

    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert_same(model, folder)


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    tiny("llama").bfloat16().save_pretrained(tmp_path / "same")
    # as it is loaded: only its weights are bfloat16, not the rotary frequencies
    model = load(tmp_path / "same")

    folder = convert(write_checkpoint(tmp_path, model, layout=Layout(tensor=3)))

    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert_same(model, folder)


def test_a_config_without_the_key_is_interleaved_up_to_the_format_that_writes_it(tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path, tiny("llama"), layout=Layout(interleaved=None))
    metadata = tmp_path / "checkpoint_metadata.json"

    found = {}
    for version in ("1.2", "1.4", "1.5"):
        metadata.write_text(json.dumps({"version": version}))
        found[version] = read_architecture(read_checkpoint(str(config))).interleaved
    metadata.unlink()
    found["unsaid"] = read_architecture(read_checkpoint(str(config))).interleaved

    assert found == {"1.2": True, "1.4": True, "1.5": False, "unsaid": True}


def test_ends_of_text_are_the_tokenizers_not_nanotrons_defaults(checkpoint: Path) -> None:
    config = json.loads((convert(checkpoint) / "config.json").read_text())

    assert [config.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")] == [None, None, None]


def test_the_real_model_makes_the_round_trip(smollm2: AccelerateBackend, tmp_path: Path) -> None:
    model = load(smollm2._folders.model)

    for layout in (Layout(tensor=1), Layout(tensor=3, pipeline=2)):
        config = write_checkpoint(tmp_path / f"tp{layout.tensor}", model, tokenizer=str(smollm2._folders.model), layout=layout)
        assert_same(model, convert(config))
        shutil.rmtree(tmp_path / "user-cache")
    with NanotronBackendOf(config) as backend:
        ours = dict(backend.loglikelihood(REQUEST))[0]
    theirs = dict(smollm2.loglikelihood(REQUEST))[0]
    assert (ours.logprobs, ours.choice_token_ids) == (theirs.logprobs, theirs.choice_token_ids)


class NanotronBackendOf:
    """A backend that is closed at the end."""

    def __init__(self, config: Path, **arguments: Any) -> None:
        self.backend = NanotronBackend(NanotronArguments(checkpoint_config_path=str(config), device="cpu", **arguments))

    def __enter__(self) -> NanotronBackend:
        return self.backend

    def __exit__(self, *error: object) -> None:
        self.backend.close()


def test_it_answers_what_the_accelerate_backend_answers_of_the_same_model(tmp_path: Path, checkpoint: Path, tokenizer_folder: Path) -> None:
    tiny("llama").save_pretrained(tmp_path / "same")
    tiny_tokenizer().save_pretrained(tmp_path / "same")
    requests = GenerateRequest(prompt="One, two,", max_new_tokens=6), PerplexityRequest(text="The grass is green.")
    same = AccelerateBackend.from_arguments(AccelerateBackend.Arguments(pretrained=str(tmp_path / "same"), device="cpu"))

    with NanotronBackendOf(checkpoint) as backend:
        ours = [dict(backend.loglikelihood(REQUEST)), dict(backend.generate(requests[:1])), dict(backend.perplexity(requests[1:]))]
        facts = backend.describe()
    theirs = [dict(same.loglikelihood(REQUEST)), dict(same.generate(requests[:1])), dict(same.perplexity(requests[1:]))]

    assert ours == theirs
    assert (backend.name, backend.max_length, backend.supports) == ("nanotron", 128, same.supports)
    assert {
        "model": str(checkpoint.parent),
        "runs_on": "transformers",
        "checkpoint_format": "1.5",
        "max_length": 128,
    }.items() <= facts.items()
    assert facts["architecture"] == "LlamaForCausalLM"
    with NanotronBackendOf(checkpoint, generation_parameters={"max_new_tokens": 2}) as backend:
        (short,) = dict(backend.generate(requests[:1])).values()
        assert backend.describe()["notes"][-1].startswith("every text may have 2 new tokens, whatever its task says")
    assert [len(tokens) for tokens in short.token_ids or ()] == [2]
    with pytest.raises(BackendError, match="the backend is closed"):
        list(backend.loglikelihood(REQUEST))


class TestConformance(BackendConformance):
    """A checkpoint is as good a backend as any."""

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A tiny llama as a checkpoint in three parts."""
        folder = tmp_path_factory.mktemp("conformance")
        tiny_tokenizer().save_pretrained(folder / "tokenizer")
        return write_checkpoint(folder / "10", tiny("llama"), tokenizer=str(folder / "tokenizer"), layout=Layout(tensor=3))

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, config: Path) -> Iterator[NanotronBackend]:
        """Out of its files."""
        with NanotronBackendOf(config) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, config: Path) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return lambda: NanotronBackendOf(config).backend

    def test_prefixes_are_shared_and_turns_are_rendered_with_the_tokenizers_template(self, backend: NanotronBackend) -> None:
        list(backend.loglikelihood(REQUEST))

        assert backend.describe()["engine"] == "prefix tree"
        assert backend.render([Message(role="user", content="One")]) == "<s><|user|>One</s><|assistant|>"


def test_a_checkpoint_is_converted_once_and_found_by_its_content(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = convert(checkpoint)

    assert folder.parent == cache_home() / "nanotron"
    assert sorted(entry.name for entry in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]
    monkeypatch.setattr(conversion, "_convert", lambda *arguments: pytest.fail("converted again"))
    moved = checkpoint.parent.rename(tmp_path / "moved")
    assert convert(moved / "config.yaml") == folder


def test_the_fingerprint_is_that_of_the_content_and_of_what_changes_an_answer(tmp_path: Path, checkpoint: Path) -> None:
    def fingerprint(config: Path, **arguments: Any) -> str:
        with NanotronBackendOf(config, **arguments) as backend:
            return backend.fingerprint

    first = fingerprint(checkpoint)
    copied = Path(shutil.copytree(checkpoint.parent, tmp_path / "copied")) / "config.yaml"
    shard = next(copied.parent.rglob("model_weight_pp-rank-0-of-2_tp-rank-2-of-3.safetensors"))
    same = fingerprint(copied)
    changed = bytearray(shard.read_bytes())
    changed[-1] ^= 1
    shard.write_bytes(changed)

    assert same == fingerprint(checkpoint, batch_size=7) == first
    others = [fingerprint(copied), fingerprint(checkpoint, dtype="bfloat16"), fingerprint(checkpoint, add_special_tokens=True)]
    assert len({first, *others}) == 4
    assert not (cache_home() / "nanotron").exists()


def test_making_a_backend_and_its_fingerprint_imports_neither_torch_nor_transformers(checkpoint: Path) -> None:
    program = (
        "import sys; from pytest_lighteval.backends.nanotron import NanotronArguments, NanotronBackend\n"
        "backend = NanotronBackend.from_arguments(NanotronArguments(checkpoint_config_path=sys.argv[1]))\n"
        "backend.fingerprint, backend.max_length, backend.describe()\n"
        "print(sorted({'torch', 'transformers', 'safetensors', 'nanotron'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(checkpoint)], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def change(config: Path, path: str, value: Any) -> None:
    """Set `model.model_config.x` of a YAML file; `...` takes the key out."""
    content = yaml.safe_load(config.read_text())
    *sections, key = path.split(".")
    section = content
    for name in sections:
        section = section[name]
    if value is ...:
        del section[key]
    else:
        section[key] = value
    config.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.model_config.moe_config", {"num_experts": 8}, "model_config.moe_config: mixtures of experts are not mapped"),
        ("model.init_method", {"use_mup": True}, "model.init_method.use_mup: models scaled by muP are not mapped"),
        ("model.model_config.rope_scaling", {"factor": 8.0}, "model_config.rope_scaling: nanotron reads it and does not apply it"),
        ("model.model_config.rope_seq_len_interpolation_factor", 2.0, "interpolation_factor: scaled rotary positions are not mapped"),
        ("model.model_config.sliding_window_size", 64, "sliding_window_size: nanotron's sliding window of this architecture is not"),
        ("model.model_config.query_norm", True, "model_config.query_norm: not known of a llama, so that what it does"),
        ("model.model_config.logit_scale", 0.0, "model_config.logit_scale: not known of a llama, so that what it does"),
        ("model.model_config.rope_tetha", 2.0, r"model_config.rope_tetha: .* \(did you mean 'rope_theta'"),
        ("model.model_config.is_llama_config", False, "it names no architecture"),
        ("model.model_config.hidden_size", None, "model_config.hidden_size: a number from 1 on was expected, not None"),
        ("model.model_config.hidden_size", 47, "model_config.hidden_size: 47 is not divisible by 6 heads"),
        ("model.model_config.hidden_size", 54, "model_config.hidden_size: 6 heads of 9 are odd, and rotary positions turn pairs"),
        ("model.model_config.num_key_value_heads", 4, "num_key_value_heads: 6 heads of queries do not divide among 4 of keys"),
        ("model.model_config.rms_norm_eps", "small", "model_config.rms_norm_eps: a number was expected, not 'small'"),
        ("model.model_config", "llama", "model.model_config: a mapping was expected, not 'llama'"),
        ("model", [1], r"model: a mapping was expected, not \[1\]"),
        ("tokenizer.tokenizer_name_or_path", None, "tokenizer_name_or_path: missing; name one: tokenizer=<hub id or folder>"),
        ("tokenizer.tokenizer_name_or_path", "/fsx/tok", "tokenizer_name_or_path: there is no file or folder '/fsx/tok'.*tokenizer=<hub"),
    ],
)
def test_what_cannot_be_loaded_is_refused_by_name_before_any_weight_is_read(checkpoint: Path, path: str, value: Any, message: str) -> None:
    change(checkpoint, path, value)

    with pytest.raises(UserInputError, match=rf"^{re.escape(str(checkpoint))}: [^\n]*{message}[^\n]*$"):
        NanotronBackend(NanotronArguments(checkpoint_config_path=str(checkpoint)))


def test_how_the_training_was_split_matters_to_nanotrons_engine_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(checkpoint, "parallelism.tp", 0)

    with NanotronBackendOf(checkpoint) as backend:
        assert dict(backend.loglikelihood(REQUEST))[0].error is None
    with pytest.raises(UserInputError, match=r"parallelism.tp: a number from 1 on was expected, not 0$"):
        NanotronBackend.session_defaults({"checkpoint_config_path": str(checkpoint), "engine": "nanotron"})


def test_another_architecture_is_refused_by_name(checkpoint: Path) -> None:
    change(checkpoint, "model.model_config.is_llama_config", ...)
    change(checkpoint, "model.model_config.is_mamba_config", True)

    with pytest.raises(UserInputError, match=r"model_config.is_mamba_config: this architecture is not mapped .*: llama, qwen2, starcoder2"):
        read_architecture(read_checkpoint(str(checkpoint)))


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("qwen2-bias", {"no_rope_layer": 2}, "attention_bias: together with no_rope_layer it is not mapped"),
        ("qwen2-bias", {"flex_attention_mask": "sliding_window"}, "flex_attention_mask: nanotron's sliding window"),
        ("starcoder2", {"multi_query": True, "grouped_query": False}, "multi_query: the one-key attention"),
        ("starcoder2", {"grouped_query": False}, "multi_query: the one-key attention"),
        ("starcoder2", {"use_rotary_embeddings": False}, "use_rotary_embeddings: false is not mapped"),
        ("starcoder2", {"global_attn_layers": [1]}, "global_attn_layers: layers without the others' sliding window"),
    ],
)
def test_what_an_architecture_alone_has_is_refused_by_name(tmp_path: Path, kind: str, config: dict[str, Any], message: str) -> None:
    written = write_checkpoint(tmp_path, MODELS[kind](), layout=Layout(config=config))

    with pytest.raises(UserInputError, match=message):
        read_architecture(read_checkpoint(str(written)))


def test_starcoder2_keeps_its_sliding_window(tmp_path: Path) -> None:
    model = tiny("starcoder2", tied=True, use_bias=True, sliding_window=4, residual_dropout=0.0, embedding_dropout=0.0)

    folder = convert(write_checkpoint(tmp_path, model))

    assert json.loads((folder / "config.json").read_text())["sliding_window"] == 4
    assert_same(model, folder)


def test_the_model_config_may_be_beside_the_yaml(checkpoint: Path) -> None:
    change(checkpoint, "model.model_config", ...)

    assert_same(tiny("llama"), convert(checkpoint))


def test_a_folder_is_as_good_as_its_config_and_a_run_says_which_steps_it_holds(checkpoint: Path) -> None:
    assert read_checkpoint(str(checkpoint.parent)) == read_checkpoint(str(checkpoint))
    with pytest.raises(UserInputError, match=rf"holds several steps: name one, such as {re.escape(str(checkpoint))}$"):
        read_checkpoint(str(checkpoint.parent.parent))
    with pytest.raises(UserInputError, match=r"there is no file '.*nowhere.yaml'; name the config.yaml that nanotron saved"):
        read_checkpoint(str(checkpoint.with_name("nowhere.yaml")))
    with pytest.raises(UserInputError, match="is not a YAML file"):
        read_checkpoint(str(checkpoint.with_name("model_config.json")))
    shutil.rmtree(checkpoint.parent / "model")
    with pytest.raises(UserInputError, match=r"there is no folder '.*model' beside it, so it is not the config of a checkpoint"):
        read_checkpoint(str(checkpoint))


def test_a_config_can_build_no_objects_and_says_where_it_is_no_yaml(checkpoint: Path) -> None:
    checkpoint.write_text("a: 1\nmodel: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserInputError, match=r"config.yaml:2: the tag"):
        read_checkpoint(str(checkpoint))


QKV = "model/model/decoder/1/pp_block/attn/qkv_proj"


def _truncate(step: Path) -> None:
    file = step / QKV / "model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _remove_a_rank(step: Path) -> None:
    (step / QKV / "model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors").unlink()


def _remove_a_stage(step: Path) -> None:
    for file in step.rglob("*pp-rank-1-of-2*"):
        file.unlink()


def _leave_another_run(step: Path) -> None:
    file = step / QKV / "model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors"
    shutil.copy(file, file.with_name("model_weight_pp-rank-0-of-1_tp-rank-0-of-1.safetensors"))


def _swap_in_anothers_slices(step: Path) -> None:
    folder = step / QKV
    shutil.copy(
        folder / "model_weight_pp-rank-0-of-2_tp-rank-0-of-3.safetensors", folder / "model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors"
    )


def _rewrite(step: Path, **metadata: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    file = step / QKV / "model_weight_pp-rank-0-of-2_tp-rank-2-of-3.safetensors"
    with safe_open(file, framework="pt") as content:
        tensor, known = content.get_tensor("data"), content.metadata()
    save_file({"data": tensor}, file, metadata={name: text for name, text in {**known, **metadata}.items() if text})


def _widen_slices(step: Path) -> None:
    _rewrite(step, local_global_slices_pairs="0,900,None|None,None,None#0,900,None|None,None,None")


def _forget_slices(step: Path) -> None:
    _rewrite(step, local_global_slices_pairs="")


def _shrink_slices(step: Path) -> None:
    _rewrite(step, local_global_slices_pairs="0,1,None|None,None,None#95,96,None|None,None,None")


def _add_an_expert(step: Path) -> None:
    folder = step / QKV
    file = folder / "model_weight_pp-rank-0-of-2_tp-rank-0-of-3.safetensors"
    file.rename(folder / "model_weight_pp-rank-0-of-2_tp-rank-0-of-3_exp-rank-0-of-2.safetensors")


def _add_a_parameter(step: Path) -> None:
    folder = step / "model/model/decoder/1/pp_block/attn/q_norm"
    folder.mkdir()
    shutil.copy(step / "model/model/final_layer_norm/pp_block/model_weight.safetensors", folder)


def _add_a_stranger(step: Path) -> None:
    (step / QKV / "weights.safetensors").write_bytes(b"")


def _empty(step: Path) -> None:
    for file in step.rglob("*.safetensors"):
        file.unlink()


def _say_another_vocabulary(step: Path) -> None:
    change(step / "config.yaml", "model.model_config.vocab_size", VOCABULARY + 8)


def _say_another_width(step: Path) -> None:
    change(step / "config.yaml", "model.model_config.num_key_value_heads", 6)


def _say_tied(step: Path) -> None:
    change(step / "config.yaml", "model.model_config.tie_word_embeddings", True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, r"qkv_proj/model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors: cannot be read as safetensors \(truncated\?\): "),
        (_remove_a_rank, r"qkv_proj/model_weight_pp-rank-0-of-2_tp-rank-1-of-3.safetensors: missing: 2 of this parameter's 3 tensor-par"),
        (
            _remove_a_stage,
            r"10/model: no shards for \d+ of \d+ weights, such as model.layers.2.* a pipeline-parallel rank's files are",
        ),
        (_leave_another_run, r"qkv_proj: shards of different runs: model_weight_pp-rank-0-of-1_tp-rank-0-of-1.safetensors, "),
        (_swap_in_anothers_slices, r"tp-rank-1-of-3.safetensors: its slice \(\(0, 16\), \(0, 48\)\) of .*qkv_proj.weight overlaps with"),
        (
            _widen_slices,
            r"tp-rank-2-of-3.safetensors: its slices are wrong for a shard of shape \(32, 48\) of \(96, 48\): '0,900,N",
        ),
        (_forget_slices, r"tp-rank-2-of-3.safetensors: its metadata have no slices, and model.decoder.1.*weight has 3 files"),
        (
            _shrink_slices,
            r"qkv_proj: the slices of its 3 files do not fill model.decoder.1.pp_block.attn.qkv_proj.weight of shape",
        ),
        (_add_an_expert, r"exp-rank-0-of-2.safetensors: a shard of an expert: mixtures of experts are not mapped"),
        (_add_a_parameter, r"the parameter 'model.decoder.1.pp_block.attn.q_norm.weight' has no counterpart in llama"),
        (_add_a_stranger, r"weights.safetensors: not named as nanotron names a shard"),
        (_empty, r"10/model: it has no \*.safetensors, so there are no weights to load"),
        (
            _say_another_vocabulary,
            r"model.embed_tokens.weight \(in transformers' terms\) is \(402, 48\), and the config makes it \(410,",
        ),
        (_say_another_width, r"qkv_proj.weight has 96 rows, and the config makes it 144"),
        (_say_tied, r"10/model: it has a separate head, but the config says that the embedding is the head"),
    ],
)
def test_damaged_weights_are_one_line_that_names_the_file(checkpoint: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(checkpoint.parent)

    with pytest.raises(BackendError, match=rf"^[^\n]*{message}[^\n]*$"):
        convert(checkpoint)
    assert not [entry for entry in cache_home().glob("nanotron/*") if entry.is_dir()]


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("0,4,2#0,2,None", (4,), "'0,4,2' is no slice of 4"),
        ("0,2,None#0,3,None", (4,), "a slice and its place differ in size"),
        ("0,2,None|0,1,None#0,2,None", (4,), "has 2 dimensions"),
        ("0,2", (4,), "not enough values"),
        ("a,b,c#0,2,None", (4,), "invalid literal"),
    ],
)
def test_slices_that_are_none_are_refused(text: str, shape: tuple[int, ...], message: str) -> None:
    metadata = {"local_global_slices_pairs": text, "unsharded_shape": "(8,)"}

    with pytest.raises(BackendError, match=f"^shard: its slices are wrong .*{message}"):
        read_slices(metadata, shape, Path("shard"))


def test_parameters_are_named_by_their_folders(checkpoint: Path) -> None:
    parameters = find_parameters(checkpoint.parent / "model")

    assert len(parameters["model.decoder.1.pp_block.attn.qkv_proj.weight"]) == 3
    assert len(parameters["model.final_layer_norm.pp_block.weight"]) == 1
    assert "model.lm_head.pp_block.weight" in parameters


@pytest.mark.parametrize("writer", ["safetensors.torch.save_file", "transformers.PreTrainedConfig.save_pretrained"])
def test_a_full_disk_is_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        # safetensors has an error of its own for what the system says
        error = SafetensorError("Error while serializing: I/O error: No space left on device") if "safetensors" in writer else None
        raise error or OSError(28, "No space left on device")

    monkeypatch.setattr(writer, full)

    with pytest.raises(LightevalError, match=r"config.yaml: cannot convert it into .*: No space left on device$"):
        convert(checkpoint)


def test_a_setting_that_transformers_does_not_take_is_one_line(checkpoint: Path) -> None:
    change(checkpoint, "model.model_config.hidden_act", "silly")

    with pytest.raises(LightevalError, match=r"config.yaml: transformers makes no llama of it: .*silly"):
        convert(checkpoint)

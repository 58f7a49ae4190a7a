"""Rows that are generated in slots over shared prefixes: the same tokens as `generate` of transformers, and what is computed for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend, budgets
from pytest_lighteval.backends.accelerate.generation import decoder as decoding
from pytest_lighteval.backends.accelerate.generation.sampler import Sampler
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import GenerateRequest
from tests.backends.accelerate.watched import run_out_of_memory, watched
from tests.backends.tiny import save_tiny, tiny_model, tiny_tokenizer

FEW_SHOTS = (
    "Question: What colour is the grass?\nAnswer: green\n\nQuestion: What colour is the sky?\nAnswer: blue\n\n"
    "Question: Who had 345 sheep?\nAnswer: a king\n\n"
)
PROMPTS = (
    FEW_SHOTS + "Question: What is the capital of France?\nAnswer:",
    FEW_SHOTS + "Question: What?\nAnswer:",
    "The capital of France is",
    FEW_SHOTS + "Question: One, two, three, four, five, six, seven, and then?\nAnswer:",
    FEW_SHOTS + "Q",
    FEW_SHOTS,
)
LIMITS = (9, 17, 3, 1, 12, 6)


def requests_of(prompts: Sequence[str] = PROMPTS, limits: Sequence[int] = LIMITS, **settings: Any) -> list[GenerateRequest]:
    """One for each prompt, of a length of its own."""
    return [GenerateRequest(prompt=prompt, max_new_tokens=limit, **settings) for prompt, limit in zip(prompts, limits, strict=True)]


def tokens_of(backend: AccelerateBackend, requests: Sequence[GenerateRequest]) -> list[tuple[tuple[int, ...], ...] | None]:
    """What each request generates, in order."""
    answers = dict(backend.generate(requests))
    return [answers[index].token_ids for index in range(len(requests))]


def loaded(model: Any, **arguments: Any) -> AccelerateBackend:
    """A backend whose checks at load are done."""
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=512, **arguments)
    tokens_of(backend, [GenerateRequest(prompt="x", max_new_tokens=1)])
    return backend


def by_transformers(model: Any, prompt: str, limit: int) -> tuple[int, ...]:
    """What `generate` of transformers gives for a prompt alone."""
    inputs = torch.tensor([tiny_tokenizer()(prompt).input_ids])
    with torch.no_grad():
        output = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=limit, do_sample=False, eos_token_id=2, pad_token_id=1
        )
    return tuple(output[0, inputs.shape[1] :].tolist())


@pytest.fixture
def llama() -> Any:
    """A random llama of its own, since tests wrap its forward pass."""
    return tiny_model(seed=3, max_length=512)


@pytest.fixture
def passes(llama: Any) -> Iterator[list[tuple[int, int]]]:
    """(tokens, rows whose logits are computed) of each forward pass over a flat batch; other passes are left out."""
    found: list[tuple[int, int]] = []

    def watch(inputs: dict[str, Any]) -> None:
        if "position_ids" in inputs:
            found.append((inputs["input_ids"].shape[1], len(inputs["logits_to_keep"])))

    with watched(llama, watch):
        yield found


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        "qwen2",
        "qwen3",
        "gemma2",
        "gemma3",
        "gpt2",
        "mistral",
        "mistral-window",
        "phi",
        "olmo2",
        "mixtral",
        "gpt-oss",
        "gpt-neox",
        "opt",
    ],
)
def test_greedy_tokens_are_those_of_generate_on_each_prompt_alone(kind: str) -> None:
    model = tiny_model(kind, seed=3, max_length=512)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=512, batch_size=3)

    found = tokens_of(backend, requests_of())

    assert backend.describe()["generation"] == "slots over shared prefixes"
    assert found == [(by_transformers(model, prompt, limit),) for prompt, limit in zip(PROMPTS, LIMITS, strict=True)]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param("mamba", "it has no attention heads", id="mamba"),
        pytest.param("bloom", "on a probe it gives", id="bloom"),
        pytest.param("gpt-neo", "", id="gpt-neo"),
    ],
)
def test_models_that_cannot_are_generated_in_padded_batches_and_say_why(kind: str, reason: str) -> None:
    model = tiny_model(kind, seed=3, max_length=512)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=512, batch_size=3)

    found = tokens_of(backend, requests_of())

    assert backend.describe()["generation"].startswith(f"padded batches: {reason}")
    assert found == [(by_transformers(model, prompt, limit),) for prompt, limit in zip(PROMPTS, LIMITS, strict=True)]


def test_settings_that_generate_alone_obeys_are_left_to_it(llama: Any) -> None:
    llama.generation_config.no_repeat_ngram_size = 2
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=512)

    found = tokens_of(backend, requests_of(PROMPTS[:1], (30,)))

    assert backend.describe()["generation"] == (
        "padded batches: its generation_config asks for no_repeat_ngram_size; rows only beside rows of equal length and limit "
        "(no_repeat_ngram_size may depend on the length of a batch)"
    )
    assert found == [(by_transformers(llama, PROMPTS[0], 30),)]


def test_what_prompts_share_is_computed_once(llama: Any, passes: list[tuple[int, int]]) -> None:
    backend = loaded(llama)
    encode = tiny_tokenizer()
    ids = [tuple(encode(prompt).input_ids) for prompt in PROMPTS]
    passes.clear()

    tokens_of(backend, requests_of(limits=[1] * len(PROMPTS)))

    paths = {prompt[:length] for prompt in ids for length in range(1, len(prompt))}
    # beyond the tree of the prompts: each row's last token, and a few shared tokens that are not worth a pass of their own
    assert len(paths) + len(ids) <= sum(tokens for tokens, _ in passes) < len(paths) + len(ids) + 40
    assert sum(tokens for tokens, _ in passes) < 0.5 * sum(map(len, ids))


def test_samples_share_their_prompt(llama: Any, passes: list[tuple[int, int]]) -> None:
    backend = loaded(llama)
    request = GenerateRequest(prompt=PROMPTS[0], max_new_tokens=1, num_samples=5, do_sample=True)
    length = len(tiny_tokenizer()(PROMPTS[0]).input_ids)
    passes.clear()

    answer = dict(backend.generate([request]))[0]

    assert passes == [(length - 1, 1), (5, 5)]
    assert len(set(answer.texts)) > 1


def test_a_row_leaves_when_it_is_done_and_the_next_takes_its_place(llama: Any, passes: list[tuple[int, int]]) -> None:
    backend = loaded(llama, batch_size=2)
    prompts = ("One, two, three", "The capital of", "He had 12")
    passes.clear()
    order = [index for index, _ in backend.generate(requests_of(prompts, (2, 7, 4)))]

    lengths = [len(tiny_tokenizer()(prompt).input_ids) for prompt in prompts]
    # the longest two prompts first; the third comes in the very step after the first of them is done
    first = sorted(range(3), key=lambda index: -lengths[index])[:2]
    third = 3 - sum(first)
    limits = {0: 2, 1: 7, 2: 4}
    stays = min(limits[index] for index in first)
    assert passes[0] == (sum(lengths[index] for index in first), 2)
    assert passes[1:stays] == [(2, 2)] * (stays - 1)
    assert passes[stays] == (1 + lengths[third], 2)
    assert order[0] == min(first, key=lambda index: limits[index])
    assert sum(rows for _, rows in passes) == 2 + 7 + 4


def test_answers_come_as_soon_as_they_are_done(llama: Any, passes: list[tuple[int, int]]) -> None:
    backend = loaded(llama)
    passes.clear()

    answers = backend.generate(requests_of(("The capital of", "He had 12"), (40, 2)))

    assert next(answers)[0] == 1
    assert len(passes) == 2


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_the_other_rows_of_a_batch_change_no_answer(llama: Any, batch_size: int) -> None:
    together = tokens_of(loaded(llama), requests_of())

    other = loaded(llama, batch_size=batch_size)

    assert tokens_of(other, requests_of()[::-1]) == together[::-1]


def test_texts_that_outgrow_their_slots_wait_and_lose_nothing(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = requests_of(("The capital of", "He had 12", "One, two, three"), (60, 50, 40))
    unlimited = loaded(llama)
    expected = tokens_of(unlimited, requests)
    monkeypatch.setattr(decoding, "_NEW_TOKENS_RESERVED", 4)
    monkeypatch.setattr(budgets, "_CPU", replace(budgets._CPU, slot_bytes=60 * 2 * 2 * 2 * 8 * 4))
    backend = loaded(llama)
    rows = []

    with watched(llama, lambda inputs: rows.append(len(inputs["logits_to_keep"])) if "position_ids" in inputs else None):
        found = tokens_of(backend, requests)

    assert found == expected
    # all three fitted at first; those that waited were computed again
    assert rows[0] == 3
    assert backend.describe()["use"]["tokens_generating"] > unlimited.describe()["use"]["tokens_generating"]
    assert "out_of_memory_rows" not in backend.describe()["use"]


def test_a_row_that_never_fits_into_memory_is_an_error_and_the_others_are_answered(llama: Any) -> None:
    requests = requests_of((PROMPTS[0], "The capital of", "He had 12"), (4, 5, 6))
    expected = tokens_of(loaded(llama), requests)
    length = len(tiny_tokenizer()(PROMPTS[0]).input_ids)
    backend = loaded(llama)
    assert tokens_of(backend, requests) == expected

    def limited(inputs: dict[str, Any]) -> None:
        if int(inputs["position_ids"].max()) >= length - 1:
            run_out_of_memory()

    with watched(llama, limited):
        answers = dict(backend.generate(requests))

    assert answers[0].error == f"memory ran out on a single prompt of {length} tokens"
    assert [answers[index].token_ids for index in (1, 2)] == expected[1:]
    assert backend.describe()["use"]["out_of_memory_rows"] == 1


def test_a_stem_that_never_fits_into_memory_fails_the_rows_after_it_and_no_row_that_is_running(llama: Any) -> None:
    prompts = ("The capital of France is", FEW_SHOTS * 2 + "Question: What?", FEW_SHOTS * 2 + "Question: Who is it?")
    requests = requests_of(prompts, (30, 4, 5))
    expected = tokens_of(loaded(llama), requests)
    start = torch.tensor(tiny_tokenizer()(FEW_SHOTS).input_ids[:4])
    backend = loaded(llama)

    def limited(inputs: dict[str, Any]) -> None:
        if "position_ids" in inputs and inputs["input_ids"].shape[1] >= 4 and torch.equal(inputs["input_ids"][0, :4], start):
            run_out_of_memory()

    with watched(llama, limited):
        answers = dict(backend.generate(requests))

    assert answers[0].token_ids == expected[0]
    assert [(answers[index].error or "").partition(" of ")[0] for index in (1, 2)] == ["memory ran out on a single prompt"] * 2


def test_memory_that_runs_out_late_costs_time_but_no_token(llama: Any) -> None:
    expected = tokens_of(loaded(llama), requests_of())
    backend = loaded(llama)
    steps = iter(range(10**6))

    def limited(inputs: dict[str, Any]) -> None:
        if next(steps) in (0, 3, 5):
            run_out_of_memory()

    with watched(llama, limited):
        found = tokens_of(backend, requests_of())

    assert found == expected
    assert "out_of_memory_rows" in backend.describe()["use"]


def test_memory_that_runs_out_while_tokens_are_chosen_is_one_line(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = loaded(llama)

    monkeypatch.setattr(Sampler, "_drawn", lambda *arguments: run_out_of_memory())

    with pytest.raises(BackendError, match=r"^memory ran out while the next tokens of 3 rows were chosen: ask for fewer with batch_size$"):
        list(backend.generate([GenerateRequest(prompt="One", max_new_tokens=2, do_sample=True, num_samples=3)]))


def test_a_model_that_fails_in_slots_is_generated_in_padded_batches_and_says_why_in_short(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **keywords: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("pytest_lighteval.backends.accelerate.generation.kv_cache.DecodeBatch.attend", broken)

    assert loaded(llama).describe()["generation"] == "padded batches: it failed on a probe: RuntimeError: no such kernel"


def test_a_long_prompt_runs_in_parts(llama: Any, passes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens_of(loaded(llama), requests_of())
    monkeypatch.setattr(budgets, "_CPU", replace(budgets._CPU, tokens=16))
    backend = loaded(llama)
    passes.clear()

    found = tokens_of(backend, requests_of())

    assert found == expected
    assert max(tokens for tokens, _ in passes) == 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_generated_in_slots_too(llama: Any, dtype: torch.dtype) -> None:
    backend = AccelerateBackend.from_model(llama.to(dtype), tiny_tokenizer(), max_length=512)

    found = tokens_of(backend, requests_of())

    assert backend.describe()["generation"] == "slots over shared prefixes"
    assert [len(samples[0]) <= limit for samples, limit in zip(found, LIMITS, strict=True) if samples] == [True] * len(LIMITS)


def test_a_model_spread_over_memory_and_disk_generates_as_in_one_place(llama: Any, tmp_path: Path) -> None:
    expected = tokens_of(loaded(llama), requests_of())
    layers = {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.norm": "disk", "lm_head": "cpu"}
    spread = accelerate.dispatch_model(
        tiny_model(seed=3, max_length=512),
        {**layers, "model.rotary_emb": "cpu"},
        main_device="cpu",
        offload_dir=str(tmp_path),
        force_hooks=True,
    )
    backend = loaded(spread)

    assert tokens_of(backend, requests_of()) == expected
    assert backend.describe()["generation"] == "slots over shared prefixes"


@pytest.mark.parametrize("dtype", ["4bit", "8bit"])
def test_quantized_weights_are_generated_in_slots_too(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs pip install 'pytest-lighteval[quantized]'")
    backend = AccelerateBackend.from_arguments(AccelerateArguments(pretrained=str(save_tiny(tmp_path)), device="cpu", dtype=dtype))

    (answer,) = dict(backend.generate([GenerateRequest(prompt="One, two,", max_new_tokens=4, num_samples=2, do_sample=True)])).values()

    assert answer.error is None
    assert len(answer.texts) == 2
    assert backend.describe()["generation"] == "slots over shared prefixes"

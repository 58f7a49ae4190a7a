"""Log-likelihoods over the prefix tree equal those of one unpadded pass for each choice, for every architecture."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend, attention
from pytest_lighteval.backends.accelerate.attention import prefix_tree_attention
from pytest_lighteval.backends.accelerate.batches import BatchLimits
from pytest_lighteval.backends.accelerate.memory import unless_out_of_memory
from pytest_lighteval.backends.accelerate.scoring.row_scorer import RowScorer, RowScoring
from pytest_lighteval.backends.accelerate.scoring.scores import Failed, Scored
from pytest_lighteval.backends.accelerate.scoring.tree_scorer import TreeScorer, TreeScoring
from pytest_lighteval.backends.common.token_pairs import TokenPair
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest
from tests.backends.tiny import VOCABULARY, save_tiny, score_alone, tiny_model, tiny_tokenizer

AMPLE = BatchLimits(tokens=10_000, logits=10_000, kept=10_000)
ON_THE_TREE = (
    *("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "opt", "mistral", "mistral-window", "phi", "olmo2", "mixtral"),
    *("gpt-oss", "gpt-neox"),
)
BY_PLAIN_ROWS = {"gpt-neo": "on a probe", "bloom": "on a probe", "mamba": "it has no attention heads"}


def make_pairs(seed: int) -> list[TokenPair]:
    """Documents after nested shared prefixes, longer than the windows of the tiny models, with choices that share their starts."""
    draw = random.Random(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(least, most)))

    instruction, shots = tokens(5, 9), tokens(30, 40)
    pairs = [TokenPair(context=tokens(1, 60), continuation=tokens(1, 9)) for _ in range(3)]
    for front in ((), instruction, instruction, (*instruction, *shots), (*instruction, *shots), (*instruction, *shots)):
        document, start = tokens(1, 30), tokens(1, 3)
        pairs += [TokenPair(context=(*front, *document), continuation=choice) for choice in (tokens(1, 1), tokens(2, 9))]
        pairs += [TokenPair(context=(*front, *document), continuation=(*start, *rest)) for rest in ((), tokens(1, 4), tokens(1, 4))]
    return pairs


def scores_of(way: Any, pairs: Sequence[TokenPair]) -> list[tuple[float, bool]]:
    """By pair: its log-likelihood and greedy match."""
    found: dict[int, Scored] = {}
    for batch in way.score(pairs):
        for one in batch:
            assert isinstance(one, Scored)
            assert one.owner not in found
            found[one.owner] = one
    return [(found[owner].logprob, found[owner].greedy) for owner in range(len(pairs))]


def tree_of(
    model: Any, *, limits: BatchLimits = AMPLE, tolerated_waste: int | None = 0, takes_places: bool = True, fused: bool = True
) -> TreeScoring:
    """The prefix tree around a model, without an engine's rules and fallbacks."""
    scorer = TreeScorer(model, torch.device("cpu"), takes_places=takes_places, fused=fused)
    return TreeScoring(
        scorer, limits, lambda run, items: unless_out_of_memory(lambda: run(items)), lambda tokens: None, tolerated_waste=tolerated_waste
    )


@pytest.mark.parametrize("waste", [0, 5, 10_000], ids=["all stems", "some stems", "no stems"])
@pytest.mark.parametrize("kind", ON_THE_TREE)
def test_every_choice_scores_as_it_does_alone(kind: str, waste: int) -> None:
    model = tiny_model(kind)
    pairs = make_pairs(seed=len(kind))

    found = scores_of(tree_of(model, tolerated_waste=waste), pairs)

    alone = [score_alone(model, pair.context, pair.continuation) for pair in pairs]
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in alone], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in alone]


@pytest.mark.parametrize("kind", ON_THE_TREE)
def test_the_engine_takes_the_tree_for_models_that_can(kind: str) -> None:
    backend = AccelerateBackend.from_model(tiny_model(kind), tiny_tokenizer(), max_length=128)
    list(backend.loglikelihood([LoglikelihoodRequest(prompt="One", choices=(" two",))]))

    facts = backend.describe()
    assert facts["engine"] == "prefix tree"
    assert facts.get("notes") is None
    assert facts["use"]["tokens_scored"] == len(tiny_tokenizer()("One").input_ids)


@pytest.mark.parametrize("kind", BY_PLAIN_ROWS)
def test_the_engine_takes_plain_rows_for_models_that_cannot_and_says_why(kind: str) -> None:
    model = tiny_model(kind)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=128)
    requests = [LoglikelihoodRequest(prompt="One, two,", choices=(" three", " four"))]

    (answer,) = dict(backend.loglikelihood(requests)).values()

    assert backend.describe()["engine"].startswith(f"plain rows: {BY_PLAIN_ROWS[kind]}")
    assert BY_PLAIN_ROWS[kind] in backend.describe()["notes"][0]
    assert answer.prompt_token_ids is not None
    alone = [score_alone(model, answer.prompt_token_ids, ids)[0] for ids in answer.choice_token_ids or ()]
    assert answer.logprobs == pytest.approx(alone, abs=1e-4)


def test_a_model_that_fused_kernels_fail_on_runs_on_the_tree_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **keywords: Any) -> Any:
        raise RuntimeError("no such kernel")

    for module in ("attention", "generation.kv_cache"):
        monkeypatch.setattr(f"pytest_lighteval.backends.accelerate.{module}.fused_on_cpu", broken)
    model = tiny_model()
    backend = AccelerateBackend.from_model(model, tiny_tokenizer())
    (answer,) = dict(backend.loglikelihood([LoglikelihoodRequest(prompt="One, two,", choices=(" three",))])).values()
    (text,) = dict(backend.generate([GenerateRequest(prompt="One, two,", max_new_tokens=3)])).values()

    facts = backend.describe()
    assert (facts["engine"], facts["generation"], text.error) == ("prefix tree", "slots over shared prefixes", None)
    assert answer.prompt_token_ids is not None
    assert answer.choice_token_ids is not None
    assert answer.logprobs[0] == pytest.approx(score_alone(model, answer.prompt_token_ids, answer.choice_token_ids[0])[0], abs=1e-4)


def test_a_model_that_fails_on_the_tree_runs_by_plain_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()

    def broken(*arguments: Any, **keywords: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(TreeScorer, "score", broken)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer())
    (answer,) = dict(backend.loglikelihood([LoglikelihoodRequest(prompt="One, two,", choices=(" three",))])).values()

    assert answer.error is None
    assert backend.describe()["engine"].startswith("plain rows: it failed on")
    assert "no such kernel" in backend.describe()["engine"]


@pytest.mark.parametrize(
    "limits",
    [
        replace(AMPLE, tokens=1),
        replace(AMPLE, tokens=50),
        replace(AMPLE, logits=3),
        replace(AMPLE, kept=1),
        replace(AMPLE, rows=2),
    ],
    ids=["one piece", "few tokens", "few logits", "few stems", "two pieces"],
)
def test_how_much_runs_at_once_changes_nothing_but_rounding(limits: BatchLimits) -> None:
    model = tiny_model()
    pairs = make_pairs(seed=1)

    found = scores_of(tree_of(model, limits=limits), pairs)

    expected = scores_of(tree_of(model), pairs)
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)


def test_a_model_without_logits_to_keep_is_scored_from_all_its_logits() -> None:
    model = tiny_model()
    pairs = make_pairs(seed=2)

    found = scores_of(tree_of(model, takes_places=False), pairs)

    expected = scores_of(tree_of(model), pairs)
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-5)


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_without_fused_kernels_a_mask_is_not_repeated_for_heads_and_scores_are_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind)
    pairs = make_pairs(seed=8)
    expected = scores_of(tree_of(model), pairs)
    whole = attention.AttentionRules.plain
    masks = 0

    def watched(self: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor | None) -> Any:
        nonlocal masks
        if allowed is not None:
            masks += 1
            assert allowed.shape[1:] == (query.shape[2], key.shape[2])
        return whole(self, query, key, value, allowed)

    monkeypatch.setattr(attention.AttentionRules, "plain", watched)
    monkeypatch.setattr(attention, "fused_on_cpu", None)
    found = scores_of(tree_of(model, fused=False), pairs)

    assert masks
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)


def test_masks_of_windowed_layers_are_made_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gemma3")
    whole = attention._Layer._make_allowed
    made: list[tuple[int, int | None]] = []

    def watched(self: Any, rows: Any, device: torch.device) -> torch.Tensor:
        made.append((len(rows.places), self.rules.window))
        return whole(self, rows, device)

    monkeypatch.setattr(attention._Layer, "_make_allowed", watched)
    scores_of(tree_of(model, tolerated_waste=10_000), [TokenPair(context=tuple(range(60)), continuation=(1, 2))])

    # of four layers two have the window, and the others need no mask
    assert [window for _, window in made] == [16]


def test_every_token_of_the_tree_is_computed_once() -> None:
    pairs = make_pairs(seed=3)
    tree = tree_of(tiny_model())

    scores_of(tree, pairs)

    inputs = [pair.context + pair.continuation[:-1] for pair in pairs]
    assert tree.tokens_computed == len({tokens[: length + 1] for tokens in inputs for length in range(len(tokens))})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_fp32(dtype: torch.dtype) -> None:
    pairs = make_pairs(seed=4)
    exact = scores_of(tree_of(tiny_model("qwen3")), pairs)

    found = scores_of(tree_of(tiny_model("qwen3").to(dtype)), pairs)

    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in exact], abs=0.05, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_check_at_load_notices_stems_that_are_not_attended_to(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention._Layer, "over_stem", lambda *arguments: None)
    backend = AccelerateBackend.from_model(tiny_model().to(dtype), tiny_tokenizer(), max_length=128)
    list(backend.loglikelihood([LoglikelihoodRequest(prompt="One", choices=(" two",))]))

    assert backend.describe()["engine"].startswith("plain rows: on a probe it gives")


def test_a_long_context_is_computed_once_for_all_its_choices() -> None:
    draw = random.Random(9)
    context = tuple(draw.randrange(VOCABULARY) for _ in range(3_000))
    pairs = [TokenPair(context=context, continuation=(choice, 5, 6, 7)) for choice in range(4)]
    tree = tree_of(tiny_model(max_length=4096), tolerated_waste=None)

    scores_of(tree, pairs)

    assert tree.tokens_computed == len(context) + 4 * 3


def test_memory_running_out_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    pairs = make_pairs(seed=5)
    expected = scores_of(tree_of(model), pairs)
    whole = TreeScorer.score
    refused: list[int] = []

    def small(self: TreeScorer, plan: Any, numbers: Sequence[int]) -> Any:
        if sum(len(plan.pieces[number].tokens) for number in numbers) > 60:
            refused.append(len(numbers))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, plan, numbers)

    monkeypatch.setattr(TreeScorer, "score", small)
    found = scores_of(tree_of(model), pairs)

    assert refused
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)


def test_a_stem_that_does_not_fit_fails_the_pieces_after_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = tuple(range(50))
    after = [TokenPair(context=(*shots, 60 + document), continuation=(1, 2)) for document in range(4)]
    alone = TokenPair(context=(300,), continuation=(3, 4))
    whole = TreeScorer.score

    def small(self: TreeScorer, plan: Any, numbers: Sequence[int]) -> Any:
        if any(len(plan.pieces[number].tokens) >= 50 for number in numbers):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, plan, numbers)

    monkeypatch.setattr(TreeScorer, "score", small)
    answers = {one.owner: one for batch in tree_of(tiny_model()).score([*after, alone]) for one in batch}

    assert [answers[owner] for owner in range(4)] == [
        Failed(owner=owner, error="memory ran out on a single row of 50 tokens") for owner in range(4)
    ]
    assert isinstance(answers[4], Scored)


def test_what_does_not_fit_together_is_scored_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    document = tuple(range(30))
    pairs = [TokenPair(context=document, continuation=(100 + choice, *range(8))) for choice in range(4)]
    whole = TreeScorer.score

    def small(self: TreeScorer, plan: Any, numbers: Sequence[int]) -> Any:
        if sum(len(plan.pieces[number].tokens) for number in numbers) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, plan, numbers)

    monkeypatch.setattr(TreeScorer, "score", small)

    def attempt(run: Any, items: Any) -> Any:
        return unless_out_of_memory(lambda: run(items))

    plain = RowScoring(RowScorer(model, torch.device("cpu"), 0), BatchLimits(tokens=40), attempt)
    tree = TreeScoring(TreeScorer(model, torch.device("cpu"), takes_places=True), AMPLE, attempt, plain=plain)

    found = scores_of(tree, pairs)

    assert [logprob for logprob, _ in found] == pytest.approx([score_alone(model, p.context, p.continuation)[0] for p in pairs], abs=1e-4)
    assert tree.tokens_computed == 4 * 38


def test_a_long_text_runs_in_parts_of_which_none_computes_more_logits_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(max_length=400)
    text = tuple(place % 90 for place in range(300))
    sizes: list[int] = []
    whole = TreeScorer.score

    def counted(self: TreeScorer, plan: Any, numbers: Sequence[int]) -> Any:
        sizes.append(sum(len(plan.pieces[number].tokens) for number in numbers))
        return whole(self, plan, numbers)

    monkeypatch.setattr(TreeScorer, "score", counted)
    ((logprob, _),) = scores_of(tree_of(model, limits=replace(AMPLE, logits=64)), [TokenPair(context=text[:1], continuation=text[1:])])

    assert sizes == [64, 64, 64, 64, 43]
    assert logprob == pytest.approx(score_alone(model, text[:1], text[1:])[0], abs=1e-3)


def test_the_models_own_attention_is_back_after_every_batch() -> None:
    model = tiny_model()
    before = model.config._attn_implementation

    scores_of(tree_of(model), make_pairs(seed=6))

    assert model.config._attn_implementation == before
    assert score_alone(model, (1, 2, 3), (4,))[0] < 0


def test_the_attention_function_refuses_to_run_outside_of_a_plan() -> None:
    nothing = torch.zeros(1, 1, 1, 4)

    with pytest.raises(RuntimeError, match="outside of a planned batch"):
        prefix_tree_attention(None, nothing, nothing, nothing, None)


def test_a_model_spread_over_memory_and_disk_scores_as_in_one_place(tmp_path: Path) -> None:
    pairs = make_pairs(seed=7)
    expected = scores_of(tree_of(tiny_model()), pairs)
    layers = {"model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.norm": "disk", "lm_head": "cpu"}
    spread = accelerate.dispatch_model(
        tiny_model(), {**layers, "model.rotary_emb": "cpu"}, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )

    found = scores_of(tree_of(spread), pairs)

    assert next(spread.model.layers[0].parameters()).device.type == "meta"
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-5)


@pytest.mark.parametrize("dtype", ["4bit", "8bit"])
def test_quantized_weights_go_through_the_same_engine(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs pip install 'pytest-lighteval[quantized]'")
    backend = AccelerateBackend.from_arguments(AccelerateArguments(pretrained=str(save_tiny(tmp_path)), device="cpu", dtype=dtype))

    (answer,) = dict(backend.loglikelihood([LoglikelihoodRequest(prompt="One, two,", choices=(" three", " four"))])).values()

    assert answer.error is None
    assert backend.describe()["engine"] == "prefix tree"

"""What a row gets does not depend on the rows that share its batch, and models whose scores would mean nothing are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from benchmarks.zoo import make_model
from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.accelerate.module_state import ModuleState
from pytest_lighteval.backends.accelerate.row_groups import ANY_ROWS, RowGroups
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest
from tests.backends.tiny import score_alone, tiny_model, tiny_tokenizer

SHOTS = "Question: What colour is the grass?\nAnswer: green\n\n"
PROMPTS = (
    "The capital of France is",
    SHOTS * 8 + "Question: What?\nAnswer:",
    "O",
    SHOTS * 2 + "Question: What colour is the sky?\nAnswer:",
)
"""Of 5, 122, 1 and 41 tokens."""
LIMIT = 6


def backend_of(model: Any, **arguments: Any) -> AccelerateBackend:
    """A backend around it."""
    return AccelerateBackend.from_model(model, tiny_tokenizer(), **{"max_length": 512, **arguments})


def generated(model: Any, prompts: Sequence[str] = PROMPTS) -> tuple[list[Any], Mapping[str, Any]]:
    """The tokens of each prompt, and the report."""
    backend = backend_of(model)
    answers = dict(backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=LIMIT) for prompt in prompts]))
    return [answers[index].token_ids for index in range(len(prompts))], backend.describe()


def by_transformers(model: Any, prompt: str) -> tuple[int, ...]:
    """What `generate` of transformers answers to it alone."""
    ids = torch.tensor([tiny_tokenizer()(prompt).input_ids])
    with torch.no_grad():
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LIMIT, do_sample=False, pad_token_id=0)
    return tuple(whole[0, ids.shape[1] :].tolist())


def check_scores(kind: str) -> str:
    """Every choice scores as in one pass over the same tokens by a new model. Returns the report's line."""
    backend = backend_of(make_model(kind))
    requests = [LoglikelihoodRequest(prompt=prompt, choices=(" green", " a long river in the east", " x")) for prompt in PROMPTS]
    answers = dict(backend.loglikelihood(requests))
    new = make_model(kind)
    for answer in answers.values():
        assert answer.prompt_token_ids is not None
        assert answer.choice_token_ids is not None
        for found, choice in zip(answer.logprobs, answer.choice_token_ids, strict=True):
            assert found == pytest.approx(alone(new, answer.prompt_token_ids, choice), abs=1e-3)
    return str(backend.describe()["engine"])


def alone(model: Any, context: Sequence[int], choice: Sequence[int]) -> float:
    """One pass over what a model is given (the last token is only predicted), as if it were the first one."""
    with torch.no_grad(), ModuleState(list(model.modules())).fresh():
        logits = model(input_ids=torch.tensor([[*context, *choice[:-1]]])).logits[0, len(context) - 1 :]
    return float(logits.log_softmax(-1)[range(len(choice)), list(choice)].double().sum())


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("phi3, longrope", "; rows of up to 100 tokens apart from longer ones"),
        ("llama, dynamic rope", "; rows of more than 100 tokens only beside rows of equal length"),
        ("rwkv", ""),
    ],
)
def test_scores_do_not_depend_on_the_rows_beside(kind: str, rules: str) -> None:
    assert check_scores(kind).endswith(rules)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("phi3, longrope", "rows of up to 100 tokens apart from longer ones"),
        ("llama, dynamic rope", "rows of more than 100 tokens only beside rows of equal length"),
        ("rwkv", "one row at a time"),
        ("recurrent_gemma", "rows only beside rows of equal length"),
        ("roformer", "rows only beside rows of equal length"),
        ("bart", "rows only beside rows of equal length and limit"),
        ("doge", "rows of more than 64 tokens only beside rows of equal length"),
    ],
)
def test_texts_do_not_depend_on_the_rows_beside(kind: str, rule: str) -> None:
    model = make_model(kind)
    found, facts = generated(model)

    expected = []
    for prompt in PROMPTS:
        with ModuleState(list(model.modules())).fresh():
            expected.append(by_transformers(model, prompt))
    assert [tokens for (tokens,) in found] == expected
    assert facts["generation"].startswith("padded batches: ")
    assert f"; {rule}" in facts["generation"]


@pytest.mark.parametrize("kind", ["gemma3_text, bidirectional", "bert, not a decoder", "xlnet"])
def test_a_model_that_is_not_causal_is_refused(kind: str) -> None:
    with pytest.raises(BackendError, match=r"it is not causal: later tokens change the log-probabilities of earlier ones \(by .*\), and"):
        list(backend_of(make_model(kind)).loglikelihood([LoglikelihoodRequest(prompt="One", choices=(" two",))]))


@pytest.mark.parametrize("kind", ["doge", "doge, no sliding window"])
def test_rows_beyond_which_a_model_is_not_causal_are_errors(kind: str) -> None:
    backend = backend_of(make_model(kind))

    answers = dict(backend.loglikelihood([LoglikelihoodRequest(prompt=prompt, choices=(" green", " x")) for prompt in PROMPTS]))

    assert answers[1].error == "the model is not causal in rows of more than 64 tokens"
    assert answers[0].prompt_token_ids is not None
    assert answers[0].choice_token_ids is not None
    assert answers[0].logprobs[0] == pytest.approx(
        alone(make_model(kind), answers[0].prompt_token_ids, answers[0].choice_token_ids[0]), abs=1e-4
    )


def test_rope_that_never_changes_within_the_length_needs_no_fallback() -> None:
    backend = backend_of(make_model("phi3, longrope"), max_length=100)
    list(backend.loglikelihood([LoglikelihoodRequest(prompt="One", choices=(" two",))]))

    assert backend.describe()["engine"] == "prefix tree"


@pytest.mark.parametrize("kind", ["afmoe", "jetmoe", "gemma4_text, wide global heads"])
def test_no_fallback_is_needless(kind: str) -> None:
    model = make_model(kind)

    assert check_scores(kind) == "prefix tree"
    found, facts = generated(model, PROMPTS[:2])
    assert facts["generation"] == "slots over shared prefixes"
    assert [tokens for (tokens,) in found] == [by_transformers(model, prompt) for prompt in PROMPTS[:2]]


def test_a_row_after_a_longer_one_has_the_same_rope() -> None:
    model = make_model("llama, dynamic rope")
    backend = backend_of(model, batch_size=1)
    requests = [LoglikelihoodRequest(prompt=SHOTS * count, choices=(" green",)) for count in (14, 8)]

    together, last = dict(backend.loglikelihood(requests)), dict(backend.loglikelihood(requests[1:]))

    assert together[1] == last[0]
    # the model itself is left as it was
    context, choice = last[0].prompt_token_ids, last[0].choice_token_ids
    assert context is not None
    assert choice is not None
    assert score_alone(model, context, choice[0]) == score_alone(make_model("llama, dynamic rope"), context, choice[0])


def test_min_new_tokens_of_the_generation_config_is_obeyed() -> None:
    model = tiny_model(seed=3)
    model.generation_config.eos_token_id = [2, *range(0, 400, 3)]
    short, _ = generated(model)
    model.generation_config.min_new_tokens = 5

    found, facts = generated(model)

    assert min(len(tokens) for (tokens,) in short) < 5
    assert [tokens for (tokens,) in found] == [by_transformers(model, prompt) for prompt in PROMPTS]
    assert facts["generation"] == "slots over shared prefixes"


def test_beams_of_the_generation_config_are_noted() -> None:
    model = tiny_model(seed=3)
    plain, facts = generated(model)
    model.generation_config.num_beams = 3

    found, noted = generated(model)

    assert found == plain
    assert "notes" not in facts
    assert noted["notes"] == ["its generation_config asks for num_beams=3, which is ignored: texts are generated without beams"]


def test_rows_that_may_share_a_batch_have_one_group() -> None:
    side, equal = RowGroups(side=10), RowGroups(padded=10)

    assert ANY_ROWS.scored(3) == ANY_ROWS.scored(99)
    assert side.scored(10) == side.scored(1) != side.scored(11) == side.scored(99)
    assert equal.scored(10) == equal.scored(1) != equal.scored(11) != equal.scored(12)
    assert ANY_ROWS.generated(3, 5) == ANY_ROWS.generated(99, 7)
    # the longest prompt of a batch grows by the most new tokens of any row
    assert side.generated(1, 2) == side.generated(8, 2) != side.generated(1, 9)
    # rows that cross the limit must cross it together
    assert side.generated(8, 5) == side.generated(8, 6) != side.generated(7, 6)
    assert side.generated(11, 5) == side.generated(99, 1) != side.generated(8, 2)
    assert equal.generated(11, 5) == equal.generated(11, 6) != equal.generated(12, 5)
    assert RowGroups(padded=0, same_limit=True).generated(4, 5) != RowGroups(padded=0, same_limit=True).generated(4, 6)

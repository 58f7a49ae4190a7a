"""Log-likelihood and perplexity of the accelerate backend, compared with one unpadded pass for each choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.errors import BackendError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, LoglikelihoodRequest, LoglikelihoodResponse, Message, PerplexityRequest, PerplexityResponse
from tests.backends.accelerate.watched import run_out_of_memory, watched
from tests.backends.tiny import score_alone, tiny_model, tiny_tokenizer

REQUESTS = [
    LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London, a very long river in the east", " x")),
    LoglikelihoodRequest(
        prompt="Question: What colour is the grass?\nAnswer:", choices=(" green", " blue"), unconditioned_prompt="Answer:"
    ),
    LoglikelihoodRequest(prompt="", choices=("Alone", "Together with others")),
    LoglikelihoodRequest(prompt="One, two, three, ", choices=("four", "nine")),
]


@pytest.fixture(scope="module")
def llama() -> Any:
    """One random llama."""
    return tiny_model()


def memory_for(most_tokens: int) -> Callable[[dict[str, Any]], None]:
    """Memory that holds so many tokens at a time; for `watched`."""

    def limited(inputs: dict[str, Any]) -> None:
        rows, tokens = inputs["input_ids"].shape
        if rows * tokens > most_tokens:
            run_out_of_memory()

    return limited


def check_against_single_passes(model: Any, requests: list[LoglikelihoodRequest], answers: dict[int, LoglikelihoodResponse]) -> None:
    """Every conditioned score equals the score of the same ids alone."""
    assert sorted(answers) == list(range(len(requests)))
    for answer in answers.values():
        assert answer.error is None
        assert answer.choice_token_ids is not None
        assert answer.prompt_token_ids is not None
        alone = [score_alone(model, answer.prompt_token_ids, continuation) for continuation in answer.choice_token_ids]
        assert answer.logprobs == pytest.approx([logprob for logprob, _ in alone], abs=1e-4)
        assert answer.greedy == tuple(greedy for _, greedy in alone)
        assert answer.token_counts == tuple(len(continuation) for continuation in answer.choice_token_ids)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "opt", "bloom", "mamba"])
def test_padded_batches_give_what_each_row_gives_alone(kind: str) -> None:
    model = tiny_model(kind)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=128)

    answers = dict(backend.loglikelihood(REQUESTS))

    check_against_single_passes(model, REQUESTS, answers)


class TestConformance(BackendConformance):
    """The protocol, on a model folder."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, tiny_folder: Path) -> Iterator[AccelerateBackend]:
        """A tiny llama from its folder."""
        backend = AccelerateBackend.from_arguments(AccelerateArguments(pretrained=str(tiny_folder), device="cpu"))
        yield backend
        backend.close()

    @pytest.fixture
    def new_backend(self, tiny_folder: Path) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return lambda: AccelerateBackend.from_arguments(AccelerateArguments(pretrained=str(tiny_folder), device="cpu"))


def test_batch_size_changes_nothing_but_rounding(llama: Any) -> None:
    by_size = [
        dict(AccelerateBackend.from_model(llama, tiny_tokenizer(), batch_size=size).loglikelihood(REQUESTS)) for size in (1, 2, 64, "auto")
    ]

    for answers in by_size[1:]:
        for index, answer in answers.items():
            assert answer.logprobs == pytest.approx(by_size[0][index].logprobs, abs=1e-4)


def test_answers_stream_as_soon_as_their_rows_are_done(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), batch_size=1)
    passes: list[Any] = []

    with watched(llama, passes.append):
        answers = backend.loglikelihood(REQUESTS[:2])
        next(answers)
        after_first = len(passes)
        list(answers)

    assert after_first < len(passes)


def test_unconditioned_scores_are_those_after_the_other_prompt(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    plain = LoglikelihoodRequest(prompt="Answer:", choices=(" green", " blue"))

    answers = dict(backend.loglikelihood([REQUESTS[1], plain]))

    assert answers[0].unconditioned_logprobs == pytest.approx(answers[1].logprobs, abs=1e-4)
    assert answers[1].unconditioned_logprobs is None


def test_a_prompt_longer_than_the_model_loses_its_left_and_says_how_much(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=16)
    request = LoglikelihoodRequest(prompt="The capital of France is Paris. " * 4 + "So", choices=(" x", " the river in the east"))

    answer = dict(backend.loglikelihood([request]))[0]

    assert answer.choice_token_ids is not None
    assert answer.prompt_token_ids is not None
    whole = tiny_tokenizer()(request.prompt).input_ids
    for continuation, logprob in zip(answer.choice_token_ids, answer.logprobs, strict=True):
        kept = whole[-(16 + 1 - len(continuation)) :]
        assert logprob == pytest.approx(score_alone(llama, kept, continuation)[0], abs=1e-4)
    longest = max(len(continuation) for continuation in answer.choice_token_ids)
    assert answer.truncated_tokens == len(whole) + longest - 1 - 16


def test_choices_that_cannot_be_scored_are_errors_of_their_request_alone(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=8)
    requests = [
        LoglikelihoodRequest(prompt="One", choices=(" two", "")),
        LoglikelihoodRequest(prompt="One", choices=(" two", " x" * 20)),
        LoglikelihoodRequest(prompt="One", choices=()),
        LoglikelihoodRequest(prompt="One", choices=(" two",)),
    ]

    answers = dict(backend.loglikelihood(requests))

    assert [answers[index].error for index in range(4)] == [
        "choice 1 ('') is empty: it has no tokens to score",
        "choice 1: a choice of 40 tokens does not fit into the model's 8",
        "the request has no choices",
        None,
    ]


def test_memory_running_out_halves_the_batch_and_loses_nothing(llama: Any, caplog: pytest.LogCaptureFixture) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    requests = [*REQUESTS, LoglikelihoodRequest(prompt=" sheep and a horse" * 3, choices=(" and a king", "."))]

    with watched(llama, memory_for(60)):
        answers = dict(backend.loglikelihood(requests))

    check_against_single_passes(llama, requests, answers)
    tokens = backend.describe()["use"]["out_of_memory_tokens"]
    assert 20 < tokens <= 60
    assert [message for message in caplog.messages if "memory ran out" in message][-1] == (
        f"memory ran out: the batch is run again, {tokens} tokens at a time"
    )


def test_a_row_that_does_not_fit_alone_fails_its_own_request(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    requests = [
        LoglikelihoodRequest(prompt="One, two, " * 9, choices=(" x", " y")),
        LoglikelihoodRequest(prompt="One", choices=(" x", " y")),
    ]

    with watched(llama, memory_for(12)):
        answers = dict(backend.loglikelihood(requests))

    assert str(answers[0].error).startswith("memory ran out on a single row of ")
    assert answers[1].error is None


def test_a_model_that_answers_no_numbers_is_an_error_of_each_document() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[7] = torch.nan
    backend = AccelerateBackend.from_model(model, tiny_tokenizer())

    errors = {answer.error for _, answer in backend.loglikelihood(REQUESTS)}
    errors |= {answer.error for _, answer in backend.perplexity([PerplexityRequest(text="One, two, three")])}

    assert errors == {"the model's log-probabilities are not numbers (nan): something overflowed; try dtype=bfloat16 or float32"}


def test_an_error_that_is_not_about_memory_is_not_swallowed(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    list(backend.loglikelihood(REQUESTS[:1]))
    error = RuntimeError("shapes do not match")

    def broken(inputs: dict[str, Any]) -> None:
        raise error

    with (
        watched(llama, broken),
        pytest.raises(BackendError, match="LlamaForCausalLM: it failed on a batch of 1: RuntimeError: shapes do not match") as caught,
    ):
        list(backend.loglikelihood(REQUESTS[:1]))
    assert caught.value.__cause__ is error


def test_special_tokens_are_added_to_plain_prompts_and_not_to_rendered_chats(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(adds_bos=True))
    turns = (Message(role="user", content="One"),)
    requests = [LoglikelihoodRequest(prompt="One", choices=(" two",)), LoglikelihoodRequest(prompt=turns, choices=(" two",))]

    answers = dict(backend.loglikelihood(requests))

    plain, chat = answers[0].prompt_token_ids, answers[1].prompt_token_ids
    assert backend.render(turns) == "<s><|user|>One</s><|assistant|>"
    assert plain is not None
    assert chat is not None
    assert (plain[0], plain.count(1)) == (1, 1)
    assert (chat[0], chat.count(1)) == (1, 1)
    assert backend.count_tokens("One") == len(plain)
    assert backend.count_tokens(turns) == len(plain) - 1


def test_a_chat_without_a_template_is_one_clear_line(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(template=None))

    with pytest.raises(BackendError, match="its tokenizer has no chat template"):
        backend.render([Message(role="user", content="One")])
    with pytest.raises(BackendError, match="its tokenizer has no chat template"):
        list(backend.loglikelihood([LoglikelihoodRequest(prompt=(Message(role="user", content="One"),), choices=("x",))]))


def test_a_template_that_refuses_the_turns_is_one_clear_line(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(template="{{ raise_exception('no system turns') }}"))

    with pytest.raises(BackendError, match="its chat template does not take these turns: no system turns"):
        backend.render([Message(role="system", content="One")])


@pytest.mark.parametrize(("start_space", "expected"), [(None, ("A", " B")), (True, (" A", " B")), (False, ("A", "B"))])
def test_choices_take_or_lose_their_leading_space(llama: Any, start_space: bool | None, expected: tuple[str, ...]) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), multichoice_continuations_start_space=start_space)

    answer = dict(backend.loglikelihood([LoglikelihoodRequest(prompt="Answer:", choices=("A", " B"))]))[0]

    assert answer.choice_token_ids is not None
    assert tuple(tiny_tokenizer().decode(list(ids)) for ids in answer.choice_token_ids) == expected


@pytest.mark.parametrize("max_length", [128, 16, 7])
def test_perplexity_scores_every_token_once_in_windows_of_the_models_length(llama: Any, max_length: int) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=max_length)
    texts = ["Once upon a time there was a river, and a king who lived by the river.", "One", ""]

    answers = dict(backend.perplexity([PerplexityRequest(text=text) for text in texts]))

    tokens = tiny_tokenizer()(texts[0]).input_ids
    whole = [2, *tokens]
    expected = 0.0
    for first in range(0, len(tokens), max_length):
        end = min(first + max_length, len(tokens))
        expected += score_alone(llama, whole[max(0, end - max_length) : first + 1], tokens[first:end])[0]
    assert answers[0].logprob == pytest.approx(expected, abs=1e-3)
    assert answers[0].token_count == len(tokens)
    assert answers[1].token_count == len(tiny_tokenizer()("One").input_ids)
    assert answers[2] == PerplexityResponse(error="the text has no tokens")


def test_a_model_without_logits_to_keep_is_scored_from_all_its_logits(llama: Any) -> None:
    class Old(torch.nn.Module):
        """A model as a repository's own code may define it."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.config, self.dtype, self.device = llama, llama.config, llama.dtype, llama.device

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            return self.inner(input_ids=input_ids, use_cache=use_cache)

    backend = AccelerateBackend.from_model(Old(), tiny_tokenizer())

    check_against_single_passes(llama, REQUESTS, dict(backend.loglikelihood(REQUESTS)))
    assert backend.describe()["head_at"] == "all positions"


def test_a_model_in_training_is_scored_in_eval_mode_and_left_in_training() -> None:
    model = tiny_model("gpt2")
    expected = dict(AccelerateBackend.from_model(model, tiny_tokenizer()).loglikelihood(REQUESTS))
    model.train()

    answers = dict(AccelerateBackend.from_model(model, tiny_tokenizer()).loglikelihood(REQUESTS))

    assert answers == expected
    assert all(module.training for module in model.modules())

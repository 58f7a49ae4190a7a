"""What the vLLM backend makes of requests, against the accelerate backend, on an engine with vLLM's interface and pitfalls."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer
from pytest_lighteval.backends.common.scoring_requests import PairScore
from pytest_lighteval.backends.common.token_pairs import TokenPair
from pytest_lighteval.backends.vllm import VllmArguments
from pytest_lighteval.backends.vllm import runner as runner_module
from pytest_lighteval.backends.vllm.engine import VllmEngine
from pytest_lighteval.backends.vllm.probe import probe
from pytest_lighteval.backends.vllm.runner import Abilities, Runner
from pytest_lighteval.backends.vllm.scoring import ContinuationPrompt, NextTokenPrompt, score_pairs
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest, PerplexityRequest
from tests.backends.tiny import VOCABULARY, tiny_model, tiny_tokenizer
from tests.backends.vllm.fake_vllm import FakeLLM, FakeRunning, OldSamplingParameters, SamplingParameters

SHOTS = "Question: What colour is the grass?\nAnswer: green\n\n"
REQUESTS = [
    LoglikelihoodRequest(prompt=f"{SHOTS}Question: What colour is the sky?\nAnswer:", choices=(" blue", " green", " a river", "x")),
    LoglikelihoodRequest(prompt=f"{SHOTS}Question: What is the capital?\nAnswer:", choices=(" Paris", " Paris is the capital of France")),
    LoglikelihoodRequest(prompt=f"{SHOTS}One, two,", choices=(" three", " nine"), unconditioned_prompt="Answer:"),
    LoglikelihoodRequest(prompt="", choices=("Alone", "Together with others")),
    LoglikelihoodRequest(prompt="A", choices=("B", "C", "D", "B")),
]
GENERATIONS = [
    GenerateRequest(prompt="The capital of France is", max_new_tokens=12),
    GenerateRequest(prompt=f"{SHOTS}Question: What colour is the sky?\nAnswer:", max_new_tokens=24, stop_sequence=("e", "\n")),
    GenerateRequest(prompt="Once upon a time", max_new_tokens=5, num_samples=3),
    GenerateRequest(prompt="", max_new_tokens=3, stop_sequence=("",)),
]


@pytest.fixture(scope="module")
def llama() -> Any:
    """One random llama of 128 positions."""
    return tiny_model()


def engine(llama: Any, *, max_length: int = 126, max_model_len: int = 128, **changes: Any) -> tuple[VllmEngine, FakeRunning, FakeLLM]:
    """The rules over a fake engine."""
    llm = FakeLLM(llama, tiny_tokenizer(), block_size=changes.pop("block_size", 4))
    running = FakeRunning(
        llm, max_model_len=max_model_len, **{name: changes.pop(name) for name in ("abilities", "kind") if name in changes}
    )
    arguments = VllmArguments(pretrained="tiny", **changes)
    return VllmEngine(PromptTokenizer(llm.tokenizer, arguments.model), running, arguments, max_length), running, llm


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("max_length", [126, 24])
def test_choices_score_as_on_the_accelerate_backend(llama: Any, block_size: int, max_length: int) -> None:
    accelerate = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=max_length)
    ours, _, _ = engine(llama, block_size=block_size, max_length=max_length)

    expected = dict(accelerate.loglikelihood(REQUESTS))
    answers = dict(ours.loglikelihood(REQUESTS))

    assert sorted(answers) == sorted(expected)
    for index, answer in answers.items():
        other = expected[index]
        assert answer.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert answer.unconditioned_logprobs == (
            None if other.unconditioned_logprobs is None else pytest.approx(other.unconditioned_logprobs, abs=1e-4)
        )
        for name in ("greedy", "token_counts", "prompt_token_ids", "choice_token_ids", "truncated_tokens", "error"):
            assert getattr(answer, name) == getattr(other, name), name


@pytest.mark.parametrize(("abilities", "kind"), [(Abilities(), OldSamplingParameters), (Abilities(names_tokens=True), SamplingParameters)])
def test_without_the_fast_ways_the_scores_are_the_same(llama: Any, abilities: Abilities, kind: Any) -> None:
    fast = dict(engine(llama)[0].loglikelihood(REQUESTS))
    slow = dict(engine(llama, abilities=abilities, kind=kind)[0].loglikelihood(REQUESTS))

    for index, answer in slow.items():
        assert answer.logprobs == pytest.approx(fast[index].logprobs, abs=1e-4)
        assert answer.greedy == fast[index].greedy


def test_requests_that_cannot_be_asked_fail_with_the_accelerate_backends_words(llama: Any) -> None:
    requests = [
        LoglikelihoodRequest(prompt="One", choices=(" two", "")),
        LoglikelihoodRequest(prompt="One", choices=(" two", " x" * 20)),
        LoglikelihoodRequest(prompt="One", choices=()),
        LoglikelihoodRequest(prompt="One", choices=(" two",)),
    ]
    accelerate = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=8)

    expected = {index: answer.error for index, answer in accelerate.loglikelihood(requests)}
    answers = {index: answer.error for index, answer in engine(llama, max_length=8)[0].loglikelihood(requests)}

    assert answers == expected
    assert expected[3] is None
    assert expected[1] == "choice 1: a choice of 40 tokens does not fit into the model's 8"


@pytest.mark.parametrize("max_length", [126, 16, 7])
def test_rolling_texts_score_as_on_the_accelerate_backend(llama: Any, max_length: int) -> None:
    requests = [PerplexityRequest(text=text) for text in ("Once upon a time there was a river, and a king by the river.", "One", "")]
    accelerate = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=max_length)

    expected = dict(accelerate.perplexity(requests))
    answers = dict(engine(llama, max_length=max_length)[0].perplexity(requests))

    assert [answers[index].error for index in range(3)] == [None, None, "the text has no tokens"]
    for index in range(3):
        assert answers[index].token_count == expected[index].token_count
        assert answers[index].logprob == (None if expected[index].logprob is None else pytest.approx(expected[index].logprob, abs=1e-3))


@pytest.mark.parametrize("max_length", [126, 12])
def test_greedy_texts_are_those_of_the_accelerate_backend(llama: Any, max_length: int) -> None:
    accelerate = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=max_length)

    expected = dict(accelerate.generate(GENERATIONS))
    answers = dict(engine(llama, max_length=max_length)[0].generate(GENERATIONS))

    assert answers == expected


def test_prompts_at_the_very_end_of_an_engine_lose_two_tokens_more(llama: Any) -> None:
    requests = [LoglikelihoodRequest(prompt="One, two, three, " * 8, choices=(" x", " four, five"))]
    ours, _, llm = engine(llama, max_length=32, max_model_len=32)

    answer = dict(ours.loglikelihood(requests))[0]
    list(ours.generate([GenerateRequest(prompt="One, two, three, " * 8, max_new_tokens=4)]))

    assert answer.error is None
    assert all(len(tokens) + asked.max_tokens <= 32 for call in llm.calls for tokens, asked in call)


def test_all_requests_of_one_kind_are_in_the_engine_at_once_and_neighbours_begin_alike(llama: Any) -> None:
    ours, running, llm = engine(llama)
    shuffled = random.Random(1).sample(REQUESTS, len(REQUESTS))

    list(ours.loglikelihood(shuffled))

    calls = [[tokens for tokens, _ in call] for call in llm.calls if call]
    assert len(calls) == 2 + bool(running.recomputed_prompts)
    assert all(call == sorted(call) for call in calls[:2])
    # the choices B, C, D and B again of one document are one prompt
    assert sum(tokens == tuple(tiny_tokenizer()("A").input_ids) for tokens in calls[0]) == 1


def test_a_cached_continuation_is_computed_again_and_never_read_from_the_cache(llama: Any) -> None:
    llm = FakeLLM(llama, tiny_tokenizer(), block_size=2)
    runner = Runner(llm, SamplingParameters, Abilities(reads_cache=True))
    plain = Runner(llm, SamplingParameters, Abilities())
    tokens = tuple(tiny_tokenizer()("One, two, three, four, five").input_ids)
    # the engine takes the last one first; with blocks of two, it leaves all but the last token of the others there
    prompts = [ContinuationPrompt(tokens=tokens, scored=scored) for scored in (1, 2, 3, 4, len(tokens) - 1)]

    found = dict(runner.score_continuations(prompts))

    assert runner.recomputed_prompts > 0
    assert [found[index].logprob for index in range(len(prompts))] == pytest.approx(
        [score.logprob for _, score in sorted(plain.score_continuations(prompts))], abs=1e-4
    )
    assert [asked.skip_reading_prefix_cache for _, asked in llm.calls[1]] == [True] * runner.recomputed_prompts


@pytest.mark.parametrize("names_tokens", [True, False])
def test_a_long_new_context_is_a_prompt_of_its_own_before_its_choices(
    llama: Any, monkeypatch: pytest.MonkeyPatch, names_tokens: bool
) -> None:
    monkeypatch.setattr(runner_module, "_WORTH_A_PROMPT", 6)
    llm = FakeLLM(llama, tiny_tokenizer(), first_in_first_out=True)
    runner = Runner(llm, SamplingParameters, Abilities(reads_cache=True, names_tokens=names_tokens))
    context, near, far = (5, 6, 7, 8, 9, 10, 11, 12), (5, 6, 7, 8, 9, 10, 20, 21), (30, 31, 32, 33, 34, 35)
    prompts = [ContinuationPrompt(tokens=(*front, last, 40), scored=2) for front in (context, near, far) for last in (50, 51)]

    found = dict(runner.score_continuations(prompts))

    assert [tokens for tokens, asked in llm.calls[0] if asked.prompt_logprobs is None] == [context, far]
    assert [tokens for tokens, asked in llm.calls[0]].index(far) == 5
    # where a block ends with the context, only the first scored token's row is lost in the cache
    assert llm.found[:3] == [0, 8, 8]
    assert runner.recomputed_prompts == (0 if names_tokens else 3)
    assert len(llm.calls) == 2
    assert llm.forgotten == (1 if names_tokens else 2)
    plain = dict(Runner(llm, SamplingParameters, Abilities()).score_continuations(prompts))
    assert {index: score.greedy for index, score in found.items()} == {index: score.greedy for index, score in plain.items()}
    assert [found[index].logprob for index in range(6)] == pytest.approx([plain[index].logprob for index in range(6)], abs=1e-4)


def test_what_nobody_waits_for_is_given_up(llama: Any) -> None:
    ours, _, llm = engine(llama)

    answers = ours.loglikelihood(REQUESTS)
    next(answers)
    answers.close()  # type: ignore[attr-defined]  # a generator

    assert llm.aborted
    assert not llm.waiting
    assert dict(ours.loglikelihood(REQUESTS[:1]))[0].error is None


def test_an_engine_that_somebody_else_uses_meanwhile_is_an_error(llama: Any) -> None:
    ours, _, llm = engine(llama)
    llm.add_request("theirs", {"type": "token", "prompt_token_ids": [5, 6]}, SamplingParameters())

    with pytest.raises(BackendError, match="cannot empty its prefix cache: something else is using the engine"):
        list(ours.loglikelihood(REQUESTS))
    assert list(llm.waiting) == ["theirs"]


def test_an_engine_that_forgets_a_prompt_is_one_clear_line(llama: Any) -> None:
    ours, _, llm = engine(llama)
    llm.stuck = True

    with pytest.raises(BackendError, match=r"nothing left to do, but has no output for \d of \d prompts"):
        list(ours.loglikelihood(REQUESTS))


def test_what_goes_wrong_inside_of_vllm_is_one_line_that_names_the_model(llama: Any) -> None:
    ours, _, llm = engine(llama)
    llm.model = None

    with pytest.raises(BackendError, match="tiny: vLLM failed: TypeError: 'NoneType' object is not callable"):
        list(ours.loglikelihood(REQUESTS))


def test_sampling_asks_for_its_number_under_a_seed_of_the_prompts_own(llama: Any) -> None:
    ours, _, llm = engine(llama, generation_parameters={"top_p": 0.9, "top_k": 7, "stop_tokens": ["x"], "min_new_tokens": 2})
    asked = [
        GenerateRequest(prompt="One", max_new_tokens=3, num_samples=4, do_sample=True),
        GenerateRequest(prompt="Two", max_new_tokens=3, num_samples=2, do_sample=True),
    ]

    answers = dict(ours.generate(asked))
    again = dict(ours.generate(asked[::-1]))

    first, second = (dict(call) for call in llm.calls)
    assert {tokens: parameters.seed for tokens, parameters in first.items()} == {tokens: one.seed for tokens, one in second.items()}
    assert len({parameters.seed for parameters in first.values()}) == 2
    assert [len(answers[index].texts) for index in (0, 1)] == [4, 2]
    assert answers[0] == again[1]
    for parameters in first.values():
        assert (parameters.temperature, parameters.top_p, parameters.top_k, parameters.min_tokens) == (1.0, 0.9, 7, 2)
        assert (parameters.stop, parameters.stop_token_ids) == (["x"], [2])


@pytest.mark.parametrize(("given", "expected"), [(None, 6), (3, 3), (9, 9), (32_768, 126)])
def test_the_users_limit_comes_before_the_tasks_and_not_before_the_models(llama: Any, given: int | None, expected: int) -> None:
    ours, _, llm = engine(llama, generation_parameters={"max_new_tokens": given})

    list(ours.generate([GenerateRequest(prompt="One two", max_new_tokens=6)]))

    ((tokens, parameters),) = llm.calls[0]
    assert parameters.max_tokens == min(expected, 126 - len(tokens))


def test_greedy_means_temperature_zero(llama: Any) -> None:
    ours, _, llm = engine(llama)

    list(ours.generate(GENERATIONS))

    assert {parameters.temperature for _, parameters in llm.calls[0]} == {0.0}
    assert {parameters.n for _, parameters in llm.calls[0]} == {1}


# ------------------------------------------------------------------------------------------------------ the plan


class Counting:
    """A scorer whose score is a number made of the tokens."""

    def score_next_tokens(self, prompts: Sequence[NextTokenPrompt]) -> Iterator[tuple[int, tuple[PairScore, ...]]]:
        for index, prompt in reversed(list(enumerate(prompts))):
            assert 0 < len(prompt.candidates) <= 128
            assert len(set(prompt.candidates)) == len(prompt.candidates)
            yield index, tuple(PairScore(logprob=-hash((prompt.tokens, (token,))) % 1e6, greedy=False) for token in prompt.candidates)

    def score_continuations(self, prompts: Sequence[ContinuationPrompt]) -> Iterator[tuple[int, PairScore]]:
        for index, prompt in reversed(list(enumerate(prompts))):
            split = len(prompt.tokens) - prompt.scored
            yield index, PairScore(logprob=-hash((prompt.tokens[:split], prompt.tokens[split:])) % 1e6, greedy=False)


def test_every_pair_gets_its_own_score_once_whatever_it_shares_with_others() -> None:
    draw = random.Random(7)
    pairs = [
        TokenPair(
            context=tuple(draw.choices(range(3), k=draw.randint(1, 3))),
            continuation=tuple(draw.choices(range(200), k=draw.choice((1, 1, 3)))),
        )
        for _ in range(3000)
    ]

    answers = list(score_pairs(pairs, Counting()))

    assert sorted(index for index, _ in answers) == list(range(len(pairs)))
    for index, score in answers:
        assert score.logprob == -hash((pairs[index].context, pairs[index].continuation)) % 1e6


# ------------------------------------------------------------------------------------------------------- probing


def probed(llm: FakeLLM, kind: Any = SamplingParameters, *, caches: bool = True) -> Abilities:
    """What is found out about a fake engine."""
    return probe(llm, kind, caches=caches, block_size=llm.block_size, max_model_len=128, vocabulary=VOCABULARY, dtype="float32")


def test_what_a_version_can_do_is_found_out_by_asking_it(llama: Any) -> None:
    assert probed(FakeLLM(llama, tiny_tokenizer())) == Abilities(reads_cache=True, names_tokens=True)
    assert probed(FakeLLM(llama, tiny_tokenizer()), caches=False) == Abilities(names_tokens=True)


def test_a_version_that_says_one_of_the_named_tokens_is_not_asked_for_them(llama: Any) -> None:
    found = probed(FakeLLM(llama, tiny_tokenizer(), mistaken=True))

    # its numbers are right, and what is greedy would be wrong
    assert (found.reads_cache, found.names_tokens) == (True, False)


@pytest.mark.parametrize(
    ("kind", "confused", "reason"),
    [
        pytest.param(OldSamplingParameters, False, "this vLLM does not know it", id="unknown"),
        pytest.param(SamplingParameters, True, "it gives other scores than the plain way", id="wrong"),
    ],
)
def test_a_fast_way_that_is_lacking_or_wrong_is_not_used_and_the_report_says_so(llama: Any, kind: Any, confused: bool, reason: str) -> None:
    found = probed(FakeLLM(llama, tiny_tokenizer(), confused=confused), kind)

    assert (found.reads_cache, found.names_tokens) == (False, False)
    assert found.notes == (
        f"reading cached prefixes while scoring does not work here, so the slower plain way is used: {reason}",
        f"asking for named tokens does not work here, so the slower plain way is used: {reason}",
    )

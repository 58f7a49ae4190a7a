"""Texts that the accelerate backend generates: as each prompt would be continued alone."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.types import GenerateRequest, GenerateResponse, Message
from tests.backends.accelerate.watched import run_out_of_memory, watched
from tests.backends.tiny import tiny_model, tiny_tokenizer

PROMPTS = (
    "The capital of France is",
    "One, two, three, four, five, six, seven, eight, nine. One, two,",
    "x",
    "Question: What colour is the grass?\nAnswer:",
    "",
)


@pytest.fixture(scope="module")
def llama() -> Any:
    """One random llama."""
    return tiny_model(seed=3)


def continue_alone(model: Any, prompt: tuple[int, ...], new_tokens: int) -> list[int]:
    """Greedy tokens, one full pass a token, up to the end token."""
    tokens: list[int] = list(prompt)
    with torch.no_grad():
        for _ in range(new_tokens):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == 2:
                break
    return tokens[len(prompt) :]


def generate_one(backend: AccelerateBackend, **request: Any) -> GenerateResponse:
    """The answer to a single request."""
    return dict(backend.generate([GenerateRequest(**request)]))[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "opt", "bloom", "mamba"])
def test_greedy_rows_of_a_batch_are_what_each_prompt_gives_alone(kind: str) -> None:
    model = tiny_model(kind, seed=3)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=128)
    limits = (12, 3, 20, 1, 7)
    requests = [GenerateRequest(prompt=prompt, max_new_tokens=limit) for prompt, limit in zip(PROMPTS, limits, strict=True)]

    answers = dict(backend.generate(requests))

    assert sorted(answers) == list(range(len(PROMPTS)))
    for index, limit in enumerate(limits):
        answer = answers[index]
        assert answer.prompt_token_ids is not None
        expected = continue_alone(model, answer.prompt_token_ids, limit)
        assert answer == GenerateResponse(
            texts=(tiny_tokenizer().decode(expected, skip_special_tokens=True),),
            token_ids=(tuple(expected),),
            finish_reasons=("stop" if expected[-1] == 2 else "length",),
            prompt_token_ids=answer.prompt_token_ids,
        )


def test_a_text_is_cut_before_a_stop_sequence_that_spans_tokens(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    whole = generate_one(backend, prompt=PROMPTS[0], max_new_tokens=30)
    assert whole.token_ids is not None
    tokenizer = tiny_tokenizer()
    texts = [tokenizer.decode(list(whole.token_ids[0][:length]), skip_special_tokens=True) for length in range(1, 31)]
    # from the end of one token into the next, so that no token's own text holds it
    at = next(n for n in range(3, 29) if texts[n][-1:].isalpha() and texts[n + 1][len(texts[n]) :].strip())
    stop = texts[-1][len(texts[at]) - 1 : len(texts[at]) + 1]

    answer = generate_one(backend, prompt=PROMPTS[0], max_new_tokens=30, stop_sequence=("never met", stop))

    assert answer.texts == (texts[-1][: texts[-1].index(stop)],)
    assert answer.finish_reasons == ("stop",)
    assert answer.token_ids is not None
    length = len(answer.token_ids[0])
    assert answer.token_ids[0] == whole.token_ids[0][:length]
    assert stop in texts[length - 1]
    assert stop not in texts[length - 2]


def test_a_special_token_stops_though_its_text_is_left_out(llama: Any) -> None:
    model = tiny_model(seed=3)
    with torch.no_grad():
        # the turn token wins everywhere
        model.lm_head.weight[3] = (
            50 * model.lm_head.weight.abs().max() * torch.sign(model.model(torch.tensor([[90]])).last_hidden_state[0, 0])
        )
    backend = AccelerateBackend.from_model(model, tiny_tokenizer())

    free = generate_one(backend, prompt=tiny_tokenizer().decode([90]), max_new_tokens=4)
    stopped = generate_one(backend, prompt=tiny_tokenizer().decode([90]), max_new_tokens=4, stop_sequence=("<|turn|>",))

    assert free.token_ids is not None
    assert free.token_ids[0][0] == 3
    assert stopped.token_ids == ((3,),)
    assert stopped.texts == ("",)
    assert stopped.finish_reasons == ("stop",)


def test_rows_stop_one_by_one(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    whole = generate_one(backend, prompt=PROMPTS[0], max_new_tokens=20)
    stop = whole.texts[0][:2]

    answers = dict(
        backend.generate(
            [
                GenerateRequest(prompt=PROMPTS[0], max_new_tokens=20, stop_sequence=(stop,)),
                GenerateRequest(prompt=PROMPTS[0], max_new_tokens=20),
            ]
        )
    )

    assert answers[0].texts == ("",)
    assert answers[1] == whole


@pytest.mark.parametrize(
    ("arguments", "request_limit", "expected"),
    [
        pytest.param({}, 5, 5, id="the task's"),
        pytest.param({"max_gen_toks": 3}, 5, 5, id="the task's first"),
        pytest.param({"max_gen_toks": 3}, None, 3, id="max_gen_toks"),
        pytest.param({"generation_parameters": {"max_new_tokens": 4}}, None, 4, id="generation_parameters"),
        pytest.param({"generation_parameters": {"max_new_tokens": 9}}, 5, 9, id="the user's before the task's"),
        pytest.param({"generation_parameters": {"max_new_tokens": 3}}, 5, 3, id="the user's, fewer than the task's"),
        pytest.param({"max_length": 12, "generation_parameters": {"max_new_tokens": 32_768}}, 5, 12 - 5, id="the user's, as many as fit"),
        pytest.param({"max_length": 12}, None, 12 - 5, id="as many as fit"),
        pytest.param({"max_length": 7}, 5, 2, id="no more than fit"),
    ],
)
def test_the_limit_of_new_tokens(llama: Any, arguments: dict[str, Any], request_limit: int | None, expected: int) -> None:
    # no end token, so that only limits end a text
    tokenizer = tiny_tokenizer()
    backend = AccelerateBackend.from_model(llama, tokenizer, **{"max_length": 64, **arguments})
    prompt = tokenizer.decode(tokenizer("The capital of France is Paris.").input_ids[:5])

    answer = generate_one(backend, prompt=prompt, max_new_tokens=request_limit)

    assert answer.token_ids is not None
    assert answer.prompt_token_ids is not None
    assert len(answer.prompt_token_ids) == 5
    assert list(answer.token_ids[0]) == continue_alone(llama, answer.prompt_token_ids, expected)


def test_a_prompt_longer_than_the_model_keeps_its_end_and_one_new_token(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), max_length=8)
    whole = tiny_tokenizer()(PROMPTS[1]).input_ids

    answer = generate_one(backend, prompt=PROMPTS[1], max_new_tokens=5)

    assert answer.prompt_token_ids == tuple(whole[-8:])
    assert answer.truncated_tokens == len(whole) - 8
    assert answer.token_ids == (tuple(continue_alone(llama, tuple(whole[-8:]), 1)),)


def test_truncate_prompt_keeps_the_last_tokens(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"truncate_prompt": 4})

    answer = generate_one(backend, prompt=PROMPTS[1], max_new_tokens=3)

    assert answer.prompt_token_ids == tuple(tiny_tokenizer()(PROMPTS[1]).input_ids[-4:])


def test_samples_are_repeatable_and_depend_on_no_other_request(llama: Any) -> None:
    def sample(seed: int, prompts: tuple[str, ...], **arguments: Any) -> dict[str, tuple[str, ...]]:
        backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"seed": seed}, **arguments)
        requests = [GenerateRequest(prompt=prompt, max_new_tokens=10, num_samples=4, do_sample=True) for prompt in prompts]
        return {prompts[index]: answer.texts for index, answer in backend.generate(requests)}

    together = sample(1, PROMPTS)

    assert sample(1, PROMPTS[::-1], batch_size=3) == together
    assert sample(1, PROMPTS[:1]) == {PROMPTS[0]: together[PROMPTS[0]]}
    assert sample(2, PROMPTS) != together
    assert len(set(together[PROMPTS[0]])) == 4


def test_sampling_leaves_the_global_random_numbers_alone(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer())
    before = random.getstate(), torch.get_rng_state()

    generate_one(backend, prompt="x", max_new_tokens=5, num_samples=2, do_sample=True)

    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_samples_follow_the_models_probabilities_at_the_temperature(llama: Any) -> None:
    draws = 3000
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"temperature": 1.5}, batch_size=draws)

    answer = generate_one(backend, prompt=PROMPTS[0], max_new_tokens=1, num_samples=draws, do_sample=True)

    assert answer.prompt_token_ids is not None
    assert answer.token_ids is not None
    with torch.no_grad():
        logits = llama(input_ids=torch.tensor([answer.prompt_token_ids])).logits[0, -1]
    expected = (logits / 1.5).softmax(-1)
    found = Counter(ids[0] for ids in answer.token_ids)
    # five standard deviations of a count; the seed is fixed, so this is no matter of luck
    for token in expected.topk(5).indices.tolist():
        probability = float(expected[token])
        assert abs(found[token] / draws - probability) < 5 * (probability * (1 - probability) / draws) ** 0.5


@pytest.mark.parametrize(
    ("parameters", "allowed"),
    [
        pytest.param({"top_k": 2}, lambda p: p.topk(2).indices.tolist(), id="top_k"),
        pytest.param(
            {"top_p": 0.3},
            lambda p: p.sort(descending=True).indices[: int((p.sort(descending=True).values.cumsum(-1) < 0.3).sum()) + 1].tolist(),
            id="top_p",
        ),
        pytest.param({"min_p": 0.5}, lambda p: (p >= 0.5 * p.max()).nonzero()[:, 0].tolist(), id="min_p"),
    ],
)
def test_only_the_likeliest_tokens_are_drawn(llama: Any, parameters: dict[str, Any], allowed: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters=parameters, batch_size=500)

    answer = generate_one(backend, prompt=PROMPTS[1], max_new_tokens=1, num_samples=500, do_sample=True)

    assert answer.token_ids is not None
    with torch.no_grad():
        probabilities = llama(input_ids=torch.tensor([answer.prompt_token_ids])).logits[0, -1].softmax(-1)
    assert {ids[0] for ids in answer.token_ids} == set(allowed(probabilities))


def test_an_explicit_temperature_samples_and_zero_never_does(llama: Any) -> None:
    greedy = generate_one(AccelerateBackend.from_model(llama, tiny_tokenizer()), prompt="x", max_new_tokens=8)
    hot = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"temperature": 5.0})
    cold = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"temperature": 0.0})

    assert generate_one(hot, prompt="x", max_new_tokens=8).texts != greedy.texts
    assert generate_one(cold, prompt="x", max_new_tokens=8, num_samples=2, do_sample=True).texts == greedy.texts * 2


def test_greedy_samples_are_all_the_same_text(llama: Any) -> None:
    answer = generate_one(AccelerateBackend.from_model(llama, tiny_tokenizer()), prompt="x", max_new_tokens=4, num_samples=3)

    assert answer.texts == (answer.texts[0],) * 3


def test_penalties_do_not_see_the_padding() -> None:
    model = tiny_model(seed=5)
    parameters = {"repetition_penalty": 1.8, "frequency_penalty": 0.7, "presence_penalty": 0.3}
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), generation_parameters=parameters)
    requests = [GenerateRequest(prompt=prompt, max_new_tokens=15) for prompt in PROMPTS]

    together = dict(backend.generate(requests))

    for index, request in enumerate(requests):
        assert together[index] == dict(backend.generate([request]))[0]
        prompt, found = together[index].prompt_token_ids, together[index].token_ids
        assert prompt is not None
        assert found is not None
        assert list(found[0]) == penalized_alone(model, prompt, 15, **parameters)


def penalized_alone(
    model: Any, prompt: tuple[int, ...], new_tokens: int, *, repetition_penalty: float, frequency_penalty: float, presence_penalty: float
) -> list[int]:
    """Greedy tokens under the penalties, token by token, as their definitions say."""
    found: list[int] = []
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *found]])).logits[0, -1]
        for token in {*prompt, *found}:
            logits[token] = logits[token] * repetition_penalty if logits[token] < 0 else logits[token] / repetition_penalty
        for token, count in Counter(found).items():
            logits[token] -= frequency_penalty * count + presence_penalty
        found.append(int(logits.argmax()))
        if found[-1] == 2:
            break
    return found


def test_min_new_tokens_holds_the_end_back_and_stop_tokens_end_every_text() -> None:
    model = tiny_model(seed=3)
    backend = AccelerateBackend.from_model(model, tiny_tokenizer())
    ids = generate_one(backend, prompt="x", max_new_tokens=6).token_ids
    assert ids is not None
    # the first generated token becomes the end token's name
    model.generation_config.eos_token_id = [ids[0][0]]

    ended = AccelerateBackend.from_model(model, tiny_tokenizer())
    later = AccelerateBackend.from_model(model, tiny_tokenizer(), generation_parameters={"min_new_tokens": 3})

    assert generate_one(ended, prompt="x", max_new_tokens=6).token_ids == ((ids[0][0],),)
    found = generate_one(later, prompt="x", max_new_tokens=6).token_ids
    assert found is not None
    assert len(found[0]) >= 3
    assert not {2, ids[0][0]} & set(found[0][:3])


def test_stop_tokens_of_the_generation_parameters_end_every_text(llama: Any) -> None:
    whole = generate_one(AccelerateBackend.from_model(llama, tiny_tokenizer()), prompt="x", max_new_tokens=12).texts[0]
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(), generation_parameters={"stop_tokens": [whole[4:6]]})

    assert generate_one(backend, prompt="x", max_new_tokens=12).texts == (whole[: whole.index(whole[4:6])],)


def test_memory_running_out_halves_the_batch_and_loses_nothing() -> None:
    model = tiny_model(seed=3)
    expected = dict(
        AccelerateBackend.from_model(model, tiny_tokenizer()).generate([GenerateRequest(prompt=p, max_new_tokens=5) for p in PROMPTS])
    )
    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), batch_size=5)
    generate_one(backend, prompt="x", max_new_tokens=1)

    def limited(inputs: dict[str, Any]) -> None:
        # the rows whose next token is sampled
        if len(inputs["logits_to_keep"]) > 2:
            run_out_of_memory()

    with watched(model, limited):
        answers = dict(backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=5) for prompt in PROMPTS]))

    assert answers == expected
    assert backend.describe()["use"]["out_of_memory_rows"] == 2


def test_a_chat_is_rendered_before_it_is_continued(llama: Any) -> None:
    backend = AccelerateBackend.from_model(llama, tiny_tokenizer(adds_bos=True))

    answer = generate_one(backend, prompt=(Message(role="user", content="One"),), max_new_tokens=2)

    assert answer.prompt_token_ids == tuple(tiny_tokenizer()("<s><|user|>One</s><|assistant|>").input_ids)

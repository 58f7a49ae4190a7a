"""What is sent to be continued, and what is made of the answers."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.errors import BackendError
from pytest_lighteval.types import GenerateRequest, GenerateResponse, Message, StructuredRequest
from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer, keep
from tests.backends.tiny import tiny_model, tiny_tokenizer

TURNS = (Message(role="system", content="Be brief."), Message(role="user", content="What colour is the grass?"))
PROMPTS = ("The capital of France is", "One, two, three,", "Grüße 😀 aus")


@functools.cache
def model() -> Any:
    """The random llama of server and reference."""
    return tiny_model()


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model's tokenizer as a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def server() -> Iterator[TinyServer]:
    """A server like vLLM's."""
    with TinyServer(model(), tiny_tokenizer(), Behaviour()) as server:
        yield server


Connect = Callable[..., OpenAIBackend]


@pytest.fixture
def connect(server: TinyServer) -> Iterator[Connect]:
    """Makes backends of the server, and closes them."""
    made: list[OpenAIBackend] = []

    def make(**arguments: Any) -> OpenAIBackend:
        made.append(OpenAIBackend(OpenAIArguments(**{"base_url": server.url, "model": "tiny", "retries": 0, **arguments})))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def ask(backend: OpenAIBackend, **request: Any) -> GenerateResponse:
    """The answer to one request."""
    return dict(backend.generate([GenerateRequest(**request)]))[0]


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_greedy_texts_are_those_of_the_model_in_this_process(connect: Connect, tokenizer_folder: str, with_tokenizer: bool) -> None:
    requests = [GenerateRequest(prompt=prompt, max_new_tokens=12) for prompt in (*PROMPTS, TURNS)]
    expected = dict(AccelerateBackend.from_model(model(), tiny_tokenizer()).generate(requests))

    answers = dict(connect(**({"tokenizer": tokenizer_folder} if with_tokenizer else {})).generate(requests))

    assert {index: answer.texts for index, answer in answers.items()} == {index: answer.texts for index, answer in expected.items()}
    assert {index: answer.finish_reasons for index, answer in answers.items()} == {
        index: answer.finish_reasons for index, answer in expected.items()
    }


def test_a_greedy_request_is_asked_once_whatever_the_number_of_its_texts(server: TinyServer, connect: Connect) -> None:
    answer = ask(connect(), prompt=PROMPTS[0], max_new_tokens=3, num_samples=4)

    assert len(answer.texts) == len(answer.finish_reasons) == 4
    assert len(set(answer.texts)) == 1
    assert [(payload["temperature"], "seed" in payload) for payload in server.seen] == [(0, False)]


def test_samples_are_asked_one_by_one_with_seeds_of_prompt_and_number_alone(server: TinyServer, connect: Connect) -> None:
    sampled = GenerateRequest(prompt=PROMPTS[0], max_new_tokens=3, num_samples=3, do_sample=True)
    other = GenerateRequest(prompt=PROMPTS[1], max_new_tokens=3, num_samples=3, do_sample=True)

    list(connect().generate([sampled]))
    alone = {payload["seed"] for payload in server.seen}
    list(connect(concurrency=1).generate([other, sampled]))
    together = [payload["seed"] for payload in server.seen[3:]]
    list(connect(generation_parameters={"seed": 7}).generate([sampled]))
    reseeded = {payload["seed"] for payload in server.seen[9:]}

    assert len(alone) == 3
    assert set(together[3:]) == alone
    assert not set(together[:3]) & alone
    assert not reseeded & alone
    assert all(0 <= payload["seed"] < 2**31 and payload["temperature"] == 1.0 for payload in server.seen)


def test_generation_parameters_are_sent_only_where_they_were_given(server: TinyServer, connect: Connect) -> None:
    parameters = {
        "temperature": "0.5",
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
        "presence_penalty": 0.3,
        "min_new_tokens": 2,
        "response_format": {"type": "text"},
        "stop_tokens": ("STOP",),
    }
    ask(connect(generation_parameters=parameters), prompt="a", max_new_tokens=3, stop_sequence=("\n", ""))
    ask(connect(), prompt="a", max_new_tokens=3)

    given, plain = server.seen
    del given["seed"], given["authorization"], plain["authorization"]
    everywhere = {"path": "/v1/completions", "model": "tiny", "prompt": "a", "max_tokens": 3}
    sent = {name: value for name, value in parameters.items() if name not in ("temperature", "min_new_tokens", "stop_tokens")}
    assert given == {**everywhere, **sent, "temperature": 0.5, "min_tokens": 2, "stop": ["\n", "STOP"]}
    assert plain == {**everywhere, "temperature": 0}


def test_thoughts_have_a_limit_beside_that_of_the_answer(server: TinyServer, connect: Connect) -> None:
    backend = connect(generation_parameters={"max_thinking_tokens": "100"})
    ask(backend, prompt="a", max_new_tokens=3)
    ask(backend, prompt=TURNS, max_new_tokens=3)
    ask(backend, prompt=TURNS)
    ask(connect(generation_parameters={"max_thinking_tokens": 100, "max_new_tokens": 50}), prompt="a", max_new_tokens=3)

    assert [payload.get("max_tokens") for payload in server.seen] == [103, 103, None, 150]
    assert {payload["thinking_token_budget"] for payload in server.seen} == {100}
    assert backend.describe()["notes"] == ["a model's thoughts may have 100 tokens more, if the server heeds thinking_token_budget"]


def test_all_stop_sequences_cut_though_only_four_are_sent(server: TinyServer, connect: Connect) -> None:
    server.faults = [Fault(body=json.dumps({"choices": [{"text": "one two three four", "finish_reason": "length"}]}))]

    answer = ask(connect(), prompt="a", max_new_tokens=3, stop_sequence=("v", "w1", "x", "y", "three", "two "))

    assert server.seen[0]["stop"] == ["v", "w1", "x", "y"]
    assert answer.texts == ("one ",)
    assert answer.finish_reasons == ("stop",)


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"text": "half", "finish_reason": "content_filter"}, "the server withholds the answer: finish_reason 'content_filter'"),
        ({"text": "half", "finish_reason": "abort"}, "the server withholds the answer: finish_reason 'abort'"),
        ({"text": None, "finish_reason": "stop"}, "the server's answer has no text"),
        ({"finish_reason": "stop"}, "the server's answer has no text"),
        ("nothing", "the server's answer has no text"),
    ],
)
def test_what_is_no_answer_is_an_error_and_never_an_empty_text(server: TinyServer, connect: Connect, choice: Any, error: str) -> None:
    server.faults = [Fault(body=json.dumps({"choices": [choice]}))]

    answers = dict(connect(concurrency=1).generate([GenerateRequest(prompt=prompt, max_new_tokens=2) for prompt in PROMPTS[:2]]))

    assert answers[0] == GenerateResponse(error=error)
    assert answers[1].error is None


def test_a_chat_that_spent_all_its_tokens_on_hidden_thoughts_said_nothing(server: TinyServer, connect: Connect) -> None:
    server.faults = [Fault(body=json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}))]

    answer = ask(connect(), prompt=TURNS, max_new_tokens=2)

    assert answer.texts == ("",)
    assert answer.finish_reasons == ("length",)


def test_texts_go_to_completions_and_turns_to_chat_unless_api_says_otherwise(
    server: TinyServer, connect: Connect, tokenizer_folder: str
) -> None:
    paths = []
    for arguments in ({}, {"api": "chat"}, {"api": "completions", "tokenizer": tokenizer_folder}):
        server.seen.clear()
        list(connect(concurrency=1, **arguments).generate([GenerateRequest(prompt=prompt, max_new_tokens=2) for prompt in ("a", TURNS)]))
        paths.append([(payload["path"].removeprefix("/v1/"), payload.get("messages")) for payload in server.seen])

    turns = [{"role": turn.role, "content": turn.content} for turn in TURNS]
    assert paths[0] == [("completions", None), ("chat/completions", turns)]
    assert paths[1] == [("chat/completions", [{"role": "user", "content": "a"}]), ("chat/completions", turns)]
    assert {path for path, _ in paths[2]} == {"completions"}
    with pytest.raises(BackendError, match="api=completions renders chat turns itself, which needs tokenizer="):
        ask(connect(api="completions"), prompt=TURNS)


def test_turns_rendered_here_are_those_that_the_server_renders(connect: Connect, tokenizer_folder: str) -> None:
    here = connect(api="completions", tokenizer=tokenizer_folder)

    assert ask(here, prompt=TURNS, max_new_tokens=8).texts == ask(connect(), prompt=TURNS, max_new_tokens=8).texts
    assert here.render(TURNS) == tiny_tokenizer().apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in TURNS], tokenize=False, add_generation_prompt=True
    )
    assert connect(tokenizer=tokenizer_folder).render(TURNS) is None


def test_a_limit_that_goes_by_another_name_is_sent_under_it(server: TinyServer, connect: Connect) -> None:
    server.behaviour.limit_name = "max_completion_tokens"
    backend = connect(concurrency=1)

    answers = dict(backend.generate([GenerateRequest(prompt=TURNS, max_new_tokens=count) for count in (2, 3)]))

    assert [answer.error for answer in answers.values()] == [None, None]
    assert [payload.get("max_completion_tokens") for payload in server.seen] == [None, 2, 3]


def test_stop_sequences_that_a_server_refuses_are_applied_here(server: TinyServer, connect: Connect) -> None:
    refusal = "Unsupported parameter: 'stop' is not supported with this model."
    said = json.dumps({"choices": [{"message": {"content": "one. two"}, "finish_reason": "length"}]})
    server.faults = [Fault(status=400, body=json.dumps({"error": {"message": refusal}})), Fault(body=said), Fault(body=said)]
    backend = connect(concurrency=1)

    requests = [GenerateRequest(prompt=TURNS, max_new_tokens=count, stop_sequence=(".",)) for count in (2, 3)]
    answers = dict(backend.generate(requests))

    assert [answer.texts for answer in answers.values()] == [("one",), ("one",)]
    assert [payload.get("stop") for payload in server.seen] == [["."], None, None]


def test_a_reply_is_held_to_a_schema_unless_the_server_refuses_that(server: TinyServer, connect: Connect) -> None:
    said = json.dumps({"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]})
    refusal = json.dumps({"error": {"message": "response_format of type json_schema is not supported"}})
    server.faults = [Fault(body=said), Fault(status=400, body=refusal), Fault(body=said), Fault(body=said)]
    backend = connect(concurrency=1)
    schema = json.dumps({"title": "Verdict", "type": "object"})

    requests = [StructuredRequest(prompt=TURNS, max_new_tokens=count, schema=schema) for count in (2, 3, 4)]
    answers = dict(backend.generate(requests))

    assert [answer.texts for answer in answers.values()] == [("{}",)] * 3
    asked = {"type": "json_schema", "json_schema": {"name": "Verdict", "schema": json.loads(schema), "strict": True}}
    assert [payload.get("response_format") for payload in server.seen] == [asked, asked, None, None]


def test_requests_that_learn_at_the_same_time_that_the_limit_has_another_name_are_all_answered(
    server: TinyServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviour.limit_name = "max_completion_tokens"
    together, chat = threading.Barrier(16), server.chat

    def refuse_together(payload: dict[str, Any]) -> dict[str, Any]:
        if "max_tokens" in payload:
            together.wait(60)
        return chat(payload)

    monkeypatch.setattr(server, "chat", refuse_together)
    backend = connect()
    requests = [GenerateRequest(prompt=(Message(role="user", content=str(number)),), max_new_tokens=2) for number in range(16)]

    answers = dict(backend.generate(requests))

    assert [answer.error for answer in answers.values()] == [None] * 16
    server.seen.clear()
    assert ask(backend, prompt=TURNS, max_new_tokens=2).error is None
    assert [payload.get("max_completion_tokens") for payload in server.seen] == [2]


@pytest.mark.parametrize(
    ("arguments", "asked", "expected"),
    [
        pytest.param({}, 5, 5, id="the task's"),
        pytest.param({"max_gen_toks": 9}, 5, 5, id="the task's before the user's"),
        pytest.param({"max_gen_toks": 9}, None, 9, id="the user's"),
        pytest.param({"generation_parameters": {"max_new_tokens": 8}}, None, 8, id="the user's as a parameter"),
        pytest.param({"generation_parameters": {"max_new_tokens": 32_768}}, 256, 32_768, id="the user's before the task's"),
        pytest.param({}, None, 1024, id="nobody's"),
        pytest.param({"tokenizer": True}, None, 128 - 1, id="as many as fit"),
        pytest.param({"tokenizer": True}, 500, 128 - 1, id="no more than fit"),
    ],
)
def test_a_completion_always_has_a_limit(
    server: TinyServer, connect: Connect, tokenizer_folder: str, arguments: dict[str, Any], asked: int | None, expected: int
) -> None:
    backend = connect(**({"tokenizer": tokenizer_folder} if arguments.get("tokenizer") else arguments))

    ask(backend, prompt="a", max_new_tokens=asked)

    assert server.seen[-1]["max_tokens"] == expected


def test_turns_that_the_server_renders_cannot_be_cut(connect: Connect, tokenizer_folder: str) -> None:
    with pytest.raises(BackendError, match="truncate_prompt: the server gets turns whole; they can be cut with api=completions"):
        ask(connect(tokenizer=tokenizer_folder, generation_parameters={"truncate_prompt": 50}), prompt=TURNS)


@pytest.mark.parametrize("takes_ids", [True, False])
def test_a_long_prompt_loses_its_left_where_the_tokenizer_is_known(
    server: TinyServer, connect: Connect, tokenizer_folder: str, takes_ids: bool
) -> None:
    server.behaviour.takes_ids = takes_ids
    prompt = "one, two, " * 80

    cut = ask(connect(tokenizer=tokenizer_folder, generation_parameters={"truncate_prompt": 50}), prompt=prompt, max_new_tokens=4)
    full = ask(connect(tokenizer=tokenizer_folder), prompt=prompt, max_new_tokens=4)
    refused = ask(connect(), prompt=prompt, max_new_tokens=4)

    length = len(tiny_tokenizer()(prompt)["input_ids"])
    assert (cut.truncated_tokens, full.truncated_tokens) == (length - 50, length - 127)
    assert (cut.error, full.error) == (None, None)
    assert cut.prompt_token_ids is not None
    expected = AccelerateBackend.from_model(model(), tiny_tokenizer(), generation_parameters={"truncate_prompt": 50})
    assert cut.texts == dict(expected.generate([GenerateRequest(prompt=prompt, max_new_tokens=4)]))[0].texts
    assert "maximum context length" in (refused.error or "")


def test_one_failed_sample_fails_its_request_once_and_no_other(server: TinyServer, connect: Connect) -> None:
    server.faults = [Fault(status=500, body="boom"), Fault(status=500, body="boom")]
    sampled = GenerateRequest(prompt=PROMPTS[0], max_new_tokens=2, num_samples=3, do_sample=True)

    answers = list(connect(concurrency=1).generate([sampled, GenerateRequest(prompt=PROMPTS[1], max_new_tokens=2)]))

    assert sorted(index for index, _ in answers) == [0, 1]
    assert dict(answers)[0].error == "no answer after 1 try: status 500: boom"
    # the rest of a failed request is not asked, so that the second fault met the other one
    assert dict(answers)[1].error == "no answer after 1 try: status 500: boom"
    assert len(server.seen) == 2


def test_a_server_that_dies_among_answers_ends_the_call_and_what_was_answered_stays_right(server: TinyServer, connect: Connect) -> None:
    requests = [GenerateRequest(prompt=f"{number}, {number + 1},", max_new_tokens=4) for number in range(30)]
    expected = dict(AccelerateBackend.from_model(model(), tiny_tokenizer()).generate(requests))
    server.dies_after = 10
    answers = connect(concurrency=2).generate(requests)
    answered: dict[int, GenerateResponse] = {}

    with pytest.raises(BackendError, match="the server is gone"):
        keep(answers, answered)

    good = {index: answer for index, answer in answered.items() if answer.error is None}
    assert 1 <= len(good) <= 10
    assert all(answer.texts == expected[index].texts for index, answer in good.items())

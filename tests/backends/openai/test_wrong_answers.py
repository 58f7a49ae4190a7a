"""An answer to anything but what was asked is an error of its request, with its reason, and never a score."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.errors import BackendError, UnsupportedRequestError
from pytest_lighteval.types import GenerateRequest, GenerateResponse, LoglikelihoodRequest, Message
from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer
from tests.backends.tiny import tiny_model, tiny_tokenizer
from tests.shared import ROOT, SHARED

Change = Callable[[dict[str, Any]], Any]
QUESTION = LoglikelihoodRequest(prompt="Grass is green and the sky", choices=(" is blue today",))
TEXT = GenerateRequest(prompt="One, two, three,", max_new_tokens=4)
CHAT = GenerateRequest(prompt=(Message(role="user", content="What colour is the grass?"),), max_new_tokens=4)


@functools.cache
def model() -> Any:
    """The random llama of the server."""
    return tiny_model()


@pytest.fixture(scope="module")
def server() -> Iterator[TinyServer]:
    """A server like vLLM's."""
    with TinyServer(model(), tiny_tokenizer(), Behaviour()) as server:
        yield server


@pytest.fixture(autouse=True)
def behaving(server: TinyServer) -> Iterator[None]:
    """Each test begins with an honest server."""
    server.faults = []
    server.behaviour = Behaviour()
    yield
    server.faults = []


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model's tokenizer as a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, OpenAIBackend]]:
    """Backends by their arguments and their server's behaviour, so that each finds out only once what the server can do."""
    made: dict[str, OpenAIBackend] = {}
    yield made
    for backend in made.values():
        backend.close()


@pytest.fixture
def ask(server: TinyServer, backends: dict[str, OpenAIBackend], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks once honestly, then once with the faults: the two answers."""
    monkeypatch.setattr("pytest_lighteval.backends.openai.client._FIRST_DELAY", 0.001)

    def both(request: LoglikelihoodRequest | GenerateRequest, *faults: Fault, **arguments: Any) -> tuple[Any, Any]:
        given = {"base_url": server.url, "model": "tiny", "retries": 0, "concurrency": 1, **arguments}
        name = f"{given} {server.behaviour}"
        if name not in backends:
            backends[name] = OpenAIBackend(OpenAIArguments(**given))
        method = getattr(backends[name], request.kind.value)
        honest = dict(method([request]))[0]
        assert honest.error is None
        server.faults = list(faults)
        return honest, dict(method([request]))[0]

    return both


def held(answer: dict[str, Any]) -> dict[str, Any]:
    """The log-probabilities of an answer's choice."""
    found: dict[str, Any] = answer["choices"][0]["logprobs"]
    return found


def setting(name: str, value: Any, place: int = -2) -> Change:
    """Sets one value of the log-probabilities; that before the last is the prompt's last token."""

    def change(answer: dict[str, Any]) -> None:
        held(answer)[name][place] = value

    return change


def moving(by: int, *names: str, keep_first: bool) -> Change:
    """Moves lists of the log-probabilities by a place."""

    def change(answer: dict[str, Any]) -> None:
        for name in names:
            values = held(answer)[name]
            start = 1 if keep_first else 0
            rest = values[start:]
            values[start:] = [rest[(place + by) % len(rest)] for place in range(len(rest))]

    return change


def slicing(part: slice) -> Change:
    """Leaves a part of the prompt, as a server that cuts prompts in silence."""

    def change(answer: dict[str, Any]) -> None:
        lists = held(answer)
        for name in lists:
            lists[name] = lists[name][:-1][part] + lists[name][-1:]
        lists["token_logprobs"][0] = lists["top_logprobs"][0] = None
        answer["usage"]["prompt_tokens"] = len(lists["tokens"]) - 1

    return change


def rewriting(write: Callable[[str], str]) -> Change:
    """Writes every token otherwise."""

    def change(answer: dict[str, Any]) -> None:
        lists = held(answer)
        for place, token in enumerate(lists["tokens"]):
            lists["tokens"][place] = write(token)
            if lists["top_logprobs"][place]:
                lists["top_logprobs"][place][write(token)] = lists["token_logprobs"][place]

    return change


def using(**usage: Any) -> Change:
    """Other counts."""

    def change(answer: dict[str, Any]) -> None:
        answer["usage"] |= usage

    return change


NO_NUMBER = "what is no log-probability"
OTHER_TOKENS = "belong to other tokens than those that it echoes"
OTHER_TEXT = "the server's echo is not the text that was sent"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(setting("token_logprobs", float("nan")), NO_NUMBER, id="nan"),
        pytest.param(setting("token_logprobs", float("nan"), 1), NO_NUMBER, id="nan in the context"),
        pytest.param(setting("token_logprobs", float("-inf")), "no finite log-probability|likelier|other tokens", id="minus infinity"),
        pytest.param(setting("token_logprobs", float("inf")), NO_NUMBER, id="infinity"),
        pytest.param(setting("token_logprobs", 5.0), NO_NUMBER, id="far above 0"),
        pytest.param(setting("token_logprobs", 0.01), NO_NUMBER, id="above a rounding error"),
        pytest.param(setting("token_logprobs", -(10**400)), NO_NUMBER, id="too large an integer"),
        pytest.param(setting("token_logprobs", -1e308), NO_NUMBER, id="too small a number"),
        pytest.param(setting("token_logprobs", "-1.5"), NO_NUMBER, id="a text"),
        pytest.param(setting("token_logprobs", True), NO_NUMBER, id="a truth value"),
        pytest.param(setting("token_logprobs", [-1.0]), NO_NUMBER, id="a list"),
        pytest.param(setting("token_logprobs", None), OTHER_TOKENS, id="nothing"),
        pytest.param(setting("top_logprobs", None), "other tokens|likeliest", id="no likely tokens"),
        pytest.param(setting("top_logprobs", {}), "other tokens|likeliest", id="no likely token"),
        pytest.param(setting("top_logprobs", {"x": float("nan")}), NO_NUMBER, id="a likely token of nan"),
        pytest.param(setting("top_logprobs", {"x": "-1"}), NO_NUMBER, id="a likely token of a text"),
        pytest.param(setting("top_logprobs", {"x": 3.0}), NO_NUMBER, id="a likely token above 0"),
        pytest.param(setting("top_logprobs", [-1.0]), NO_NUMBER, id="likely tokens without names"),
        pytest.param(setting("token_logprobs", -1e-9), "likelier than the likeliest", id="above the likeliest"),
        pytest.param(moving(1, "token_logprobs", "top_logprobs", keep_first=False), OTHER_TOKENS, id="all a place early"),
        pytest.param(moving(-1, "token_logprobs", "top_logprobs", keep_first=False), OTHER_TOKENS, id="all a place late"),
        pytest.param(moving(1, "token_logprobs", "top_logprobs", keep_first=True), OTHER_TOKENS, id="all but the first a place early"),
        pytest.param(moving(-1, "token_logprobs", "top_logprobs", keep_first=True), OTHER_TOKENS, id="all but the first a place late"),
        pytest.param(moving(1, "token_logprobs", keep_first=True), "other tokens|likelier", id="only the tokens' own"),
        pytest.param(slicing(slice(-3, None)), OTHER_TEXT, id="cut on the left"),
        pytest.param(slicing(slice(1, None)), OTHER_TEXT, id="without the first token"),
        pytest.param(slicing(slice(None, 3)), OTHER_TEXT, id="cut on the right"),
        pytest.param(slicing(slice(None, -1)), OTHER_TEXT, id="without the last token"),
        pytest.param(rewriting(lambda _: " zz"), OTHER_TEXT, id="other tokens of the same number"),
        pytest.param(rewriting(str.upper), OTHER_TEXT, id="other capitals"),
        pytest.param(rewriting(lambda _: ""), OTHER_TEXT, id="tokens of no text"),
        pytest.param(rewriting(lambda _: "\N{REPLACEMENT CHARACTER}"), OTHER_TEXT, id="tokens of no character"),
        pytest.param(rewriting(lambda token: token.strip()), OTHER_TEXT, id="no spaces"),
        pytest.param(setting("tokens", 7), "no log-probabilities of the prompt", id="a token that is a number"),
        pytest.param(setting("text_offset", "7"), "no log-probabilities of the prompt", id="an offset that is a text"),
        pytest.param(using(completion_tokens=0), "no log-probabilities of the prompt|not the text", id="the new token is not counted"),
        pytest.param(using(prompt_tokens="many"), "no log-probabilities of the prompt", id="a count that is a text"),
        pytest.param(using(prompt_tokens=True), "no log-probabilities of the prompt", id="a count that is a truth value"),
        pytest.param(lambda answer: answer.update(choices=[]), "its answer is an error, with status 200: it has no choices", id="none"),
        pytest.param(lambda answer: answer.update(choices=None), "it has no choices", id="null"),
        pytest.param(lambda answer: {**answer, "error": {"message": "too long"}}, "status 200: too long", id="error and choices"),
        pytest.param(lambda answer: answer["choices"][0].update(error={"message": "lost"}), "status 200: lost", id="a choice's error"),
        pytest.param(lambda answer: answer["choices"][0].update(index=1), "no choice of index 0", id="another choice"),
        pytest.param(lambda answer: answer["choices"][0].update(index="0"), "no choice of index 0", id="an index that is a text"),
        pytest.param(
            lambda answer: answer.update(choices=[{**answer["choices"][0], "index": 0}] * 2), "or several of them", id="a choice twice"
        ),
    ],
)
def test_an_echo_of_something_else_or_with_other_values_is_an_error(server: TinyServer, ask: Ask, change: Change, error: str) -> None:
    _, answer = ask(QUESTION, Fault(change=change))

    assert answer.logprobs == answer.greedy == ()
    assert any(part in answer.error for part in error.split("|")), answer.error


@pytest.mark.parametrize("by", [1, 2])
def test_a_server_that_moves_its_values_after_the_probe_is_noticed_though_it_does_not_name_its_tokens(
    server: TinyServer, ask: Ask, by: int
) -> None:
    server.behaviour = Behaviour(names_own=False)
    moved = moving(by, "token_logprobs", "top_logprobs", keep_first=True)
    question = LoglikelihoodRequest(prompt="Grass is green and the sky", choices=(" is blue today", " was red", " looks grey"))

    _, answer = ask(question, *[Fault(change=moved)] * 3)

    assert answer.logprobs == ()
    assert answer.error == "the server's log-probabilities of a context depend on what follows it: they belong to other tokens"


def other_first(answer: dict[str, Any]) -> None:
    """A choice that nobody asked for, before the one."""
    choice = answer["choices"][0]
    other = {**choice, "index": 1, "text": "WRONG", "message": {"content": "WRONG"}, "logprobs": None}
    answer["choices"] = [other, {**choice, "index": 0}]


@pytest.mark.parametrize("request_", [QUESTION, TEXT, CHAT], ids=["echo", "text", "chat"])
def test_choices_are_taken_by_their_index(ask: Ask, request_: Any) -> None:
    honest, answer = ask(request_, Fault(change=other_first))

    assert answer == honest


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(slicing(slice(1, None)), "it did not read the prompt that was sent", id="without the first token"),
        pytest.param(slicing(slice(None, -1)), "it did not read the prompt that was sent", id="without the last token"),
        pytest.param(
            rewriting(lambda _: " zz"), "the server's echo is not the tokens that were sent", id="other tokens of the same number"
        ),
        pytest.param(rewriting(lambda _: ""), "the server's echo is not the tokens that were sent", id="tokens of no text"),
        pytest.param(moving(1, "tokens", keep_first=False), OTHER_TOKENS, id="tokens a place early"),
    ],
)
def test_an_echo_of_other_token_ids_is_an_error(ask: Ask, tokenizer_folder: str, change: Change, error: str) -> None:
    _, answer = ask(QUESTION, Fault(change=change), tokenizer=tokenizer_folder)

    assert answer.logprobs == ()
    assert error in answer.error


@pytest.mark.parametrize("takes_ids", [True, False], ids=["ids", "text"])
@pytest.mark.parametrize("usage", [{"prompt_tokens": 3}, {"prompt_tokens": "many"}, {"prompt_tokens": -1}, {"prompt_tokens": True}])
def test_a_prompt_that_the_server_counts_otherwise_was_not_read(
    server: TinyServer, ask: Ask, tokenizer_folder: str, takes_ids: bool, usage: dict[str, Any]
) -> None:
    server.behaviour = Behaviour(takes_ids=takes_ids)

    _, answer = ask(TEXT, Fault(change=using(**usage)), tokenizer=tokenizer_folder)

    assert answer.texts == ()
    assert "it did not read the prompt that was sent" in answer.error


@pytest.mark.parametrize("counted", [1, 50])
def test_a_context_that_the_server_counts_otherwise_does_not_move_the_border(ask: Ask, counted: int) -> None:
    hide_offsets = Fault(change=lambda answer: held(answer).update(text_offset=[0] * len(held(answer)["tokens"])))

    _, answer = ask(QUESTION, hide_offsets, Fault(change=using(prompt_tokens=counted)))

    assert "tokens in the continuation, whose text is in the last" in answer.error


def test_a_chat_is_not_held_to_a_number_of_tokens_nor_a_text_without_a_tokenizer(ask: Ask, tokenizer_folder: str) -> None:
    for request, arguments in ((CHAT, {"tokenizer": tokenizer_folder}), (TEXT, {})):
        honest, answer = ask(request, Fault(change=using(prompt_tokens=3)), **arguments)
        assert answer == honest


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_beginning_token_that_the_server_adds_is_counted_with_the_prompt(
    server: TinyServer, ask: Ask, tokenizer_folder: str, adds_bos: bool
) -> None:
    server.behaviour = Behaviour(takes_ids=False, adds_bos=adds_bos)
    for prompt in ("One, two,", "Grüße aus 東京 😀", "<s>One, two,"):
        honest, answer = ask(GenerateRequest(prompt=prompt, max_new_tokens=2), tokenizer=tokenizer_folder)
        assert answer == honest


# ------------------------------------------------------------------------------------------------- errors with status 200

BODIES = ['{"error": {"message": "overloaded"}}', '{"error": "overloaded"}', '{"choices": null, "message": "overloaded"}']


@pytest.mark.parametrize("body", [*BODIES, "[]", "null", '{"choices": []}', "", "<html>Login</html>"])
def test_an_error_with_status_200_is_tried_again(server: TinyServer, ask: Ask, body: str) -> None:
    for request in (QUESTION, TEXT, CHAT):
        honest, answer = ask(request, Fault(body=body), Fault(body=body), retries=2)
        assert answer == honest


@pytest.mark.parametrize("body", BODIES)
def test_an_error_with_status_200_keeps_its_message(ask: Ask, body: str) -> None:
    _, answer = ask(TEXT, Fault(body=body))

    assert answer.error is not None
    assert "overloaded" in answer.error


@pytest.mark.parametrize("body", [*BODIES, '{"choices": []}', "[]"])
def test_an_error_with_status_200_at_the_first_question_is_an_outage(server: TinyServer, body: str) -> None:
    backend = OpenAIBackend(OpenAIArguments(base_url=server.url, model="tiny", retries=0))
    server.faults = [Fault(body=body)] * 3

    with pytest.raises(BackendError) as caught:
        list(backend.loglikelihood([QUESTION]))
    assert not isinstance(caught.value, UnsupportedRequestError)
    backend.close()


@pytest.mark.parametrize("value", [float("nan"), 5.0, "-1"])
def test_numbers_that_cannot_be_at_the_first_question_are_no_inability(server: TinyServer, value: Any) -> None:
    backend = OpenAIBackend(OpenAIArguments(base_url=server.url, model="tiny", retries=0))
    server.faults = [Fault(change=setting("token_logprobs", value))]

    with pytest.raises(BackendError, match=NO_NUMBER) as caught:
        list(backend.loglikelihood([QUESTION]))
    assert not isinstance(caught.value, UnsupportedRequestError)
    backend.close()


# ------------------------------------------------------------------------------------------------------------- what a chat says


def saying(**message: Any) -> Fault:
    """A chat's answer with this message."""
    return Fault(body=json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]}))


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("fault", "text", "reason"),
    [
        pytest.param(saying(content=[{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]), "42", "", id="parts"),
        pytest.param(saying(content=["4", "2"]), "42", "", id="parts that are texts"),
        pytest.param(saying(content=[THINKING, {"type": "text", "text": "42"}]), "42", "", id="thoughts and a text"),
        pytest.param(saying(content=[THINKING]), "", "the model only thought, and said nothing", id="thoughts alone"),
        pytest.param(saying(content=None, reasoning_content="hm"), "", "the model only thought, and said nothing", id="reasoning_content"),
        pytest.param(saying(content="", reasoning="hm"), "", "the model only thought, and said nothing", id="reasoning"),
        pytest.param(saying(reasoning_content="hm"), "", "the model only thought, and said nothing", id="no content"),
        pytest.param(saying(content=None, refusal="I cannot."), "", "the model refused: I cannot.", id="refusal"),
        pytest.param(saying(content=[{"type": "refusal", "refusal": "No."}]), "", "the model refused: No.", id="a part that refuses"),
        pytest.param(saying(content="42", reasoning_content="hm"), "42", "", id="a text after thoughts"),
        pytest.param(saying(content="42", refusal=None), "42", "", id="no refusal"),
        pytest.param(saying(content="half \ud800 \ud83d\ude00"), "half \ufffd 😀", "", id="half a character"),
    ],
)
def test_what_a_chat_says_is_its_answer_though_it_may_be_empty(ask: Ask, fault: Fault, text: str, reason: str) -> None:
    _, answer = ask(CHAT, fault)

    assert answer == GenerateResponse(texts=(text,), finish_reasons=("stop",), empty_reasons=(reason,) if reason else ())


@pytest.mark.parametrize(
    "message",
    [
        {"content": None},
        {"content": 7},
        {"content": [7]},
        {"content": [{"type": "image"}]},
        {"content": [{"type": "text", "text": None}]},
        {"content": {"text": "42"}},
        {"content": []},
        {"content": None, "refusal": ""},
        {},
    ],
)
def test_a_chat_that_says_nothing_for_no_reason_is_an_error(ask: Ask, message: dict[str, Any]) -> None:
    _, answer = ask(CHAT, saying(**message))

    assert answer == GenerateResponse(error="the server's answer has no text")


BAD_SERVER = SHARED / "cases" / "servers" / "bad_server.py"


@pytest.mark.skipif(not BAD_SERVER.is_file(), reason=f"there is no {BAD_SERVER.name} in {SHARED}")
@pytest.mark.skipif(os.environ.get("LIGHTEVAL_SERVERS") != "all", reason="takes minutes: LIGHTEVAL_SERVERS=all asks for it")
def test_no_misbehaviour_of_the_shared_server_is_scored() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    done = subprocess.run([sys.executable, str(BAD_SERVER)], capture_output=True, text=True, check=False, env=environment)

    assert done.returncode == 0, done.stdout

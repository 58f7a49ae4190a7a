"""Whatever a server sends, a reply comes within its time and size, and neither an exception nor a local variable shows the key."""

from __future__ import annotations

import gzip
import json
import logging
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.backends.openai.secret import Secret
from pytest_lighteval.backends.openai.transport import NoReplyError, Transport
from pytest_lighteval.errors import BackendError, LightevalError
from pytest_lighteval.types import GenerateRequest, GenerateResponse
from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer

KEY = "sk-canary/0123456789"
ANSWER = {"choices": [{"index": 0, "text": "42", "finish_reason": "stop"}]}
REQUEST = GenerateRequest(prompt="What is it?", max_new_tokens=2)
DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture
def server() -> Iterator[TinyServer]:
    """A server that answers only what it is told to."""
    with TinyServer(None, None, Behaviour(max_model_len=None)) as server:
        yield server


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies may have 1 MiB."""
    monkeypatch.setattr("pytest_lighteval.backends.openai.transport.LARGEST_REPLY", 2**20)


def ask(server: TinyServer, fault: Fault, **arguments: Any) -> GenerateResponse:
    """The answer to one request that meets the fault."""
    backend = OpenAIBackend(OpenAIArguments(**{"base_url": server.url, "model": "tiny", "retries": 0, "timeout": 20.0, **arguments}))
    server.faults = [fault]
    try:
        return dict(backend.generate([REQUEST]))[0]
    finally:
        backend.close()


def packed(content: bytes, encoding: str = "gzip", **headers: str) -> Fault:
    """An answer that is said to be packed."""
    return Fault(body=content, headers={"content-encoding": encoding, **headers})


BIG = b'{"a": "' + b" " * 2**21 + b'"}'


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Fault(body=BIG), "larger than 1 MiB", id="large"),
        pytest.param(packed(gzip.compress(BIG)), "larger than 1 MiB", id="large when unpacked"),
        pytest.param(
            packed(gzip.compress(gzip.compress(BIG)), "gzip, gzip"), "packed as 'gzip, gzip', which nobody asked", id="packed twice"
        ),
        pytest.param(packed(b"{}", "br"), "packed as 'br', which nobody asked for", id="packed otherwise"),
        pytest.param(packed(b"{}"), "cannot be unpacked", id="not packed"),
        pytest.param(packed(gzip.compress(json.dumps(ANSWER).encode())[:-9]), "it ends too early", id="half of a packed one"),
        pytest.param(Fault(body=DEEP), "its answer is no JSON object", id="deep"),
        pytest.param(Fault(body=DEEP, status=500), "status 500", id="deep with status 500"),
        pytest.param(Fault(body=DEEP, status=400), "status 400", id="deep with status 400"),
        pytest.param(Fault(body=b'{"a": ' + b"1" * 5000 + b"}"), "its answer is no JSON object", id="a number of 5,000 digits"),
        pytest.param(Fault(body=b"\xff\xfe\xfa"), "its answer is no JSON object", id="no text"),
        pytest.param(Fault(status=429, headers={"Retry-After": "9" * 400}), "status 429", id="wait for ever"),
        pytest.param(Fault(status=429, headers={"Retry-After": "Mon, 01 Jan 0001 00:00:00 -0000"}), "status 429", id="wait until year 1"),
        pytest.param(Fault(status=429, headers={"Retry-After": "Mon, 99 Foo 99999 99:99:99 +99999999999"}), "status 429", id="no date"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_is_no_answer_is_one_line(server: TinyServer, fault: Fault, error: str) -> None:
    answer = ask(server, fault)

    assert answer.texts == ()
    assert error in (answer.error or "")
    assert "\n" not in (answer.error or "")
    assert len(answer.error or "") < 500


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server: TinyServer, part: Any) -> None:
    server.behaviour.max_model_len = None
    server.complete = lambda payload: ANSWER  # type: ignore[method-assign]

    answer = ask(server, Fault(drips=part), total_timeout=0.3)

    assert "no whole answer within 0.3 seconds" in (answer.error or "")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(packed(gzip.compress(json.dumps(ANSWER).encode())), id="packed"),
        *(
            pytest.param(Fault(body=json.dumps(ANSWER), headers={"content-type": f"application/json; charset={name}"}), id=name)
            for name in ("undefined", "hex", "utf-7", "idna", "nonsense")
        ),
        pytest.param(Fault(body=json.dumps(ANSWER).encode("utf-16")), id="utf-16"),
    ],
)
def test_json_is_read_whatever_character_set_it_claims(server: TinyServer, fault: Fault) -> None:
    assert ask(server, fault).texts == ("42",)


def test_what_a_server_says_cannot_move_the_cursor(server: TinyServer) -> None:
    for status in (400, 500):
        answer = ask(server, Fault(status=status, body='{"error": {"message": "bad \\u001b]0;pwned\\u0007 \\ud800 \\u0000 \\u202e"}}'))
        assert (answer.error or "").isprintable()
        assert "pwned" in (answer.error or "")


# ------------------------------------------------------------------------------------------------------------- the key

TOLD = json.dumps({"error": {"message": f"no: Bearer {KEY}"}})
ESCAPED = json.dumps({"error": {"message": f"no: {KEY}"}}).replace("/", "\\/")
TELLING = [
    *(pytest.param(Fault(status=status, body=TOLD), id=str(status)) for status in (200, 400, 401, 403, 404, 429, 500, 503)),
    pytest.param(Fault(status=500, body=ESCAPED), id="escaped"),
    pytest.param(Fault(status=500, body=TOLD.encode("utf-16")), id="utf-16"),
    pytest.param(Fault(status=200, body=f"<html>{KEY}</html>"), id="no json"),
    pytest.param(Fault(status=302, headers={"Location": f"http://evil.example/?k={KEY}"}), id="redirection"),
    pytest.param(Fault(status=302, headers={"Location": "http://evil.example/?k=" + KEY.replace("/", "%2F")}), id="in an address"),
    pytest.param(Fault(status=429, headers={"Retry-After": KEY}), id="as a number"),
    pytest.param(packed(b"{}", KEY), id="as an encoding"),
    pytest.param(Fault(body=json.dumps({"choices": [{"text": "x", "finish_reason": "content_filter", "note": KEY}]})), id="withheld"),
    pytest.param(Fault(body=json.dumps({"choices": [{"text": f"It is {KEY}!", "finish_reason": "stop"}]})), id="in the answer"),
    pytest.param(Fault(body=json.dumps({"choices": [{"text": "x", "error": KEY}]})), id="in a choice"),
    pytest.param(Fault(breaks=True), id="broken connection"),
]


def told_by(error: BaseException | None) -> str:
    """An exception as `--showlocals` shows it: its text, its causes, and the local variables of every frame but those of the tests."""
    if error is None:
        return ""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "/tests/" not in frame.f_code.co_filename]
    assert frames
    return "\n".join([repr(error), *(repr(frame.f_locals) for frame in frames), told_by(error.__context__), told_by(error.__cause__)])


@pytest.mark.parametrize("fault", TELLING)
def test_the_key_is_in_no_answer_error_log_or_local_variable(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    told = []
    try:
        told.append(repr(ask(server, fault)))
    except LightevalError as error:
        told.append(told_by(error))

    assert server.seen[0]["authorization"] == f"Bearer {KEY}"
    told += [record.getMessage() for record in caplog.records]
    assert len(told) > 1
    for form in (KEY, KEY.replace("/", "%2F"), KEY.replace("/", "\\/")):
        assert form not in "\n".join(told)


def test_a_short_key_may_be_a_word_of_an_answer(server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")

    assert ask(server, Fault(body=json.dumps({"choices": [{"text": "EMPTY"}]}))).texts == ("EMPTY",)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SSL_CERT_FILE", "/no/such/file.pem", "SSL_CERT_FILE"),
        pytest.param(
            "HTTPS_PROXY",
            "socks5://me:swordfish@127.0.0.1:9",
            "proxy",
            marks=pytest.mark.skipif(find_spec("socksio") is not None, reason="httpx can use SOCKS proxies here"),
        ),
        ("HTTPS_PROXY", "gopher://me:swordfish@127.0.0.1:9", "gopher"),
    ],
)
def test_a_client_that_cannot_start_is_one_line_without_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    backend = OpenAIBackend(OpenAIArguments(base_url="https://server.invalid/v1", model="tiny", retries=0))

    with pytest.raises(BackendError, match=r"https://server\.invalid/v1: no HTTP client for it: ") as caught:
        list(backend.generate([REQUEST]))
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in told_by(caught.value)
    assert "swordfish" not in str(caught.value)
    backend.close()


def test_a_bad_key_is_no_local_variable_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY} {KEY}")

    with pytest.raises(LightevalError) as caught:
        OpenAIBackend(OpenAIArguments(base_url="https://server.invalid/v1", model="tiny"))
    assert KEY not in told_by(caught.value)


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(KEY)

    assert KEY not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        secret.__reduce__()


def test_an_exchange_that_is_late_leaves_the_next_one_alone(server: TinyServer) -> None:
    transport = Transport(server.url, None, timeout=20, total_timeout=0.3)
    server.complete = lambda payload: ANSWER  # type: ignore[method-assign]
    server.faults = [Fault(drips="head")]

    with pytest.raises(NoReplyError, match="no whole answer"):
        transport.send("POST", "/completions", b'{"model": "tiny"}')
    assert json.loads(transport.send("POST", "/completions", b'{"model": "tiny"}').content) == ANSWER
    transport.close()
    transport.close()

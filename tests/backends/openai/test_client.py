"""One server over HTTP: what is tried again, how long it waits, what is given up, and that the key stays with us."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends.openai.client import Client
from pytest_lighteval.backends.openai.errors import FinalStatusError, RefusedError, UnansweredError
from pytest_lighteval.backends.openai.secret import Secret
from pytest_lighteval.errors import BackendError, BackendLostError
from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer

KEY = "sk-not-for-any-report"
GOOD = Fault(body=json.dumps({"choices": [{"text": "good"}], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))
MakeClient = Callable[..., Client]


@pytest.fixture
def server() -> Iterator[TinyServer]:
    """A server that answers only what it is told to."""
    with TinyServer(None, None, Behaviour(max_model_len=None)) as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were waited, without waiting."""
    return []


@pytest.fixture
def make_client(server: TinyServer, waits: list[float]) -> Iterator[MakeClient]:
    """A client of the server that does not really wait."""
    made: list[Client] = []

    def make(**changes: Any) -> Client:
        made.append(Client(server.url, changes.pop("key", None), wait=waits.append, **{"timeout": 5.0, "retries": 3, **changes}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.mark.parametrize(
    "fault",
    [
        *(pytest.param(Fault(status=status), id=str(status)) for status in (408, 409, 425, 429, 500, 502, 503, 504)),
        pytest.param(Fault(breaks=True), id="broken connection"),
        pytest.param(Fault(body="<html>Bad gateway</html>"), id="garbage"),
        pytest.param(Fault(body="no gzip", headers={"Content-Encoding": "gzip"}), id="garbage that is said to be packed"),
        pytest.param(Fault(body="[1, 2]"), id="json that is no object"),
        pytest.param(Fault(body='{"choices": [{"te'), id="half an answer"),
    ],
)
def test_what_another_try_may_change_is_tried_again(server: TinyServer, make_client: MakeClient, waits: list[float], fault: Fault) -> None:
    server.faults = [fault, fault, GOOD]
    client = make_client()

    assert client.post("/completions", {"model": "tiny"}) == json.loads(GOOD.body)
    assert len(server.seen) == 3
    assert len(waits) == 2
    assert client.counts["retries"] == 2


def test_a_request_that_times_out_is_tried_again(server: TinyServer, make_client: MakeClient) -> None:
    server.faults = [Fault(delay=0.6), GOOD]

    assert make_client(timeout=0.2).post("/completions", {})["choices"] == [{"text": "good"}]
    assert len(server.seen) == 2


def test_delays_double_within_bounds_and_are_the_same_numbers_every_time(
    server: TinyServer, make_client: MakeClient, waits: list[float]
) -> None:
    for _ in range(2):
        server.faults = [Fault(status=503)] * 7 + [GOOD]
        make_client(retries=7).post("/completions", {"prompt": "a"})
    server.faults = [Fault(status=503), GOOD]
    make_client().post("/completions", {"prompt": "b"})

    first, second, other = waits[:7], waits[7:14], waits[14]
    assert first == second
    assert first[0] != other
    for attempt, delay in enumerate(first):
        assert 0.5 <= delay / min(20.0, 0.5 * 2**attempt) <= 1.0


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept(server: TinyServer, make_client: MakeClient, waits: list[float], form: str) -> None:
    value = "3" if form == "seconds" else email.utils.formatdate(time.time() + 4, usegmt=True)
    server.faults = [Fault(status=429, headers={"Retry-After": value}), GOOD]

    make_client().post("/completions", {})

    assert 2.5 <= waits[0] <= 4.5


def test_a_wait_longer_than_the_timeout_is_not_waited(server: TinyServer, make_client: MakeClient, waits: list[float]) -> None:
    server.faults = [Fault(status=429, headers={"Retry-After": "3600"}, body='{"error": {"message": "quota used up"}}')]

    with pytest.raises(UnansweredError, match=r"asks to wait 3600 seconds, more than timeout=5: status 429: quota used up"):
        make_client().post("/completions", {})
    assert waits == []


def test_a_server_that_asks_everybody_to_wait_too_long_is_given_up(server: TinyServer, make_client: MakeClient) -> None:
    client = make_client()
    server.faults = [Fault(status=429, headers={"Retry-After": "3600"}, body="quota used up")] * 8

    for _ in range(7):
        with pytest.raises(UnansweredError):
            client.post("/completions", {})
    with pytest.raises(BackendError, match="8 requests in a row have no answer: the server asks to wait 3600 seconds"):
        client.post("/completions", {})


@pytest.mark.parametrize(
    ("fault", "is_outage"),
    [
        *(pytest.param(Fault(status=status), True, id=str(status)) for status in (408, 425, 429, 502, 503, 504)),
        pytest.param(Fault(breaks=True), True, id="broken connection"),
        pytest.param(Fault(delay=0.6), True, id="timeout"),
        pytest.param(Fault(status=429, headers={"Retry-After": "3600"}), True, id="asked to wait"),
        pytest.param(Fault(status=500), False, id="500"),
        pytest.param(Fault(status=400), False, id="refused"),
    ],
)
def test_an_outage_is_no_answer_that_the_server_cannot_give(
    server: TinyServer, make_client: MakeClient, fault: Fault, is_outage: bool
) -> None:
    server.faults = [fault] * 2

    with pytest.raises(UnansweredError) as caught:
        make_client(retries=1, timeout=0.3).post("/completions", {})
    assert caught.value.is_outage is is_outage


def test_a_request_that_runs_out_of_tries_fails_alone(server: TinyServer, make_client: MakeClient) -> None:
    server.faults = [*([Fault(status=500, body='{"error": {"message": "out of\\n memory"}}')] * 4), GOOD]
    client = make_client()

    with pytest.raises(UnansweredError, match=r"no answer after 4 tries: status 500: out of memory"):
        client.post("/completions", {})
    assert client.post("/completions", {})


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_refusal_is_no_reason_to_ask_again(server: TinyServer, make_client: MakeClient, status: int) -> None:
    server.faults = [GOOD, Fault(status=status, body='{"detail": "too long"}'), GOOD]
    client = make_client()
    client.post("/completions", {})

    with pytest.raises(RefusedError, match=rf"status {status}\): too long"):
        client.post("/completions", {})
    assert client.post("/completions", {})


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_status_that_all_would_get_ends_everything(server: TinyServer, make_client: MakeClient, status: int) -> None:
    server.faults = [Fault(status=status, body='{"detail": "Not Found"}')]

    with pytest.raises(FinalStatusError, match=rf"/v1/completions: status {status}: Not Found"):
        make_client().post("/completions", {})


def test_a_redirection_is_an_error_and_not_followed(server: TinyServer, make_client: MakeClient) -> None:
    server.faults = [Fault(status=307, headers={"Location": "http://127.0.0.1:1/v1/completions"})]

    with pytest.raises(FinalStatusError, match=r"status 307: .*moved to http://127.0.0.1:1/v1/completions: is base_url right\?"):
        make_client(key=Secret(KEY)).post("/completions", {})


def test_a_server_that_is_gone_ends_everything_and_is_then_asked_once(
    server: TinyServer, make_client: MakeClient, waits: list[float]
) -> None:
    client = make_client()
    server.die()

    with pytest.raises(BackendLostError, match="no server is there: nobody answers there"):
        client.post("/completions", {})
    assert len(waits) == 3
    with pytest.raises(BackendLostError, match="no server is there"):
        client.post("/completions", {})
    assert len(waits) == 3


def test_a_server_that_was_there_may_come_back(server: TinyServer, make_client: MakeClient) -> None:
    client = make_client(retries=0)
    server.faults = [Fault(status=503, body="loading")]
    with pytest.raises(UnansweredError):
        client.post("/completions", {})
    server.die()

    with pytest.raises(BackendError, match="the server is gone: nobody answers there") as caught:
        client.post("/completions", {})

    assert not isinstance(caught.value, BackendLostError)


def test_a_server_that_answers_nobody_is_given_up_after_a_few_requests(server: TinyServer, make_client: MakeClient) -> None:
    client = make_client(retries=0)
    server.faults = [Fault(status=503, body="overloaded")] * 8 + [GOOD, Fault(status=503), GOOD]

    for _ in range(7):
        with pytest.raises(UnansweredError):
            client.post("/completions", {})
    with pytest.raises(BackendError, match="8 requests in a row have no answer: status 503: overloaded"):
        client.post("/completions", {})
    # an answer makes it well again
    assert client.post("/completions", {})
    with pytest.raises(UnansweredError):
        client.post("/completions", {})
    assert client.post("/completions", {})


def test_usage_adds_up_over_answers_alone(server: TinyServer, make_client: MakeClient) -> None:
    server.faults = [GOOD, Fault(status=500), GOOD, Fault(body='{"choices": [{}], "usage": null}')]
    client = make_client()

    for _ in range(3):
        client.post("/completions", {})

    assert client.counts == {"requests": 3, "retries": 1, "prompt_tokens": 14, "completion_tokens": 4}


def test_the_key_is_sent_and_a_server_that_repeats_it_does_not_make_us_tell_it(server: TinyServer, make_client: MakeClient) -> None:
    server.behaviour.key = "another"

    with pytest.raises(BackendError, match=r"refuses the key \(status 401\): Incorrect API key provided: Bearer \*\*\*") as caught:
        make_client(key=Secret(KEY)).post("/completions", {"model": "tiny"})
    assert server.seen[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value)


def test_without_a_key_none_is_sent_and_a_refusal_names_its_variable(server: TinyServer, make_client: MakeClient) -> None:
    server.behaviour.key = "another"

    with pytest.raises(BackendError, match="no key was sent, as its environment variable is not set"):
        make_client().post("/completions", {"model": "tiny"})
    assert server.seen[0]["authorization"] is None


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: TinyServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.faults = [GOOD]

    assert make_client().post("/completions", {})


def test_a_closed_client_asks_nobody(server: TinyServer, make_client: MakeClient) -> None:
    client = make_client()
    client.close()
    client.close()

    with pytest.raises(BackendError, match="closed"):
        client.post("/completions", {})
    assert server.seen == []

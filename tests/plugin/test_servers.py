"""Suites on a server of the OpenAI protocol: what it cannot do is skipped, what it does not answer is an error, and no key gets out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer
from tests.plugin.conftest import Results

pytestmark = [
    pytest.mark.usefixtures("engines_stay"),
    pytest.mark.skipif(
        not all(map(find_spec, ("httpx", "torch", "transformers"))),
        reason="the tiny server is not installed: pip install '.[openai,accelerate]'",
    ),
]

KEY = "sk-not-for-any-report"


@pytest.fixture(scope="module")
def tiny() -> Iterator[TinyServer]:
    """A server around a random model in 512 positions; each test says how it behaves."""
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    with TinyServer(tiny_model(max_length=512), tiny_tokenizer(), Behaviour(max_model_len=512)) as server:
        yield server


@pytest.fixture
def server(tiny: TinyServer, monkeypatch: pytest.MonkeyPatch) -> TinyServer:
    """The same, behaving well, behind a key that the environment has."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    tiny.behaviour = Behaviour(max_model_len=512, key=KEY)
    tiny.seen.clear()
    return tiny


def arguments(server: TinyServer, **more: object) -> tuple[str, ...]:
    """The options that choose the server."""
    given = {"base_url": server.url, "model": "tiny", "start_text": '"</s>"', "retries": 0, **more}
    return "--backend", "openai", "--model-args", ",".join(f"{name}={value}" for name, value in given.items()), "--max-samples", "6"


def test_a_suite_runs_on_a_server_and_the_report_counts_tokens_and_knows_no_key(
    project: pytest.Pytester, results: Results, server: TinyServer
) -> None:
    result = project.runpytest("suites", *arguments(server), "--junitxml=junit.xml", "-v")

    result.assert_outcomes(passed=5)
    backend = results()["backend"]
    assert backend["model"] == "tiny"
    use = results()["run"]["use"]
    assert use["requests"] == len(server.seen) + 1  # the list of models
    assert use["prompt_tokens"] > 100
    assert backend["arguments"]["api_key_env"] == "OPENAI_API_KEY"
    assert all(payload["authorization"] == f"Bearer {KEY}" for payload in server.seen)
    written = [path for path in project.path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("key", [f"{KEY}\nof-two-lines", f"{KEY}é"], ids=["two lines", "beyond ASCII"])
def test_a_key_that_cannot_be_sent_is_an_error_and_is_written_nowhere(
    project: pytest.Pytester, server: TinyServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)

    result = project.runpytest("suites", *arguments(server), "--junitxml=junit.xml", "-v")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "has characters that no key has" in result.stderr.str()
    assert server.seen == []
    assert (project.path / "junit.xml").exists()
    for shown in (KEY, "of-two-lines"):
        assert shown not in result.stdout.str() + result.stderr.str()
        assert not [path for path in project.path.rglob("*") if path.is_file() and shown.encode() in path.read_bytes()]


@pytest.mark.parametrize("trouble", ["proxy", "refusal"])
def test_no_key_is_shown_with_the_local_variables_of_a_failure(
    project: pytest.Pytester, server: TinyServer, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    more: dict[str, object] = {}
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if trouble == "proxy":
        monkeypatch.setenv("HTTPS_PROXY", "gopher://me:swordfish@127.0.0.1:9")
        more["base_url"] = "https://server.invalid/v1"
    server.faults = [Fault(status=401, body=json.dumps({"error": {"message": f"no: Bearer {KEY}"}}))] * 20
    options = ("--showlocals", "--log-level=DEBUG", "--junitxml=junit.xml", "-vv", "-o", "junit_logging=all")

    result = project.runpytest("suites", *arguments(server, **more), *options)

    server.faults = []
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["errors"] == 5
    shown = result.stdout.str() + result.stderr.str()
    assert ("no HTTP client for it" if more else "no: Bearer ***") in shown
    written = [path.read_bytes() for path in project.path.rglob("*") if path.is_file()]
    for secret in (KEY, "swordfish"):
        assert secret not in shown
        assert not [content for content in written if secret.encode() in content]


def test_what_a_server_cannot_score_is_skipped_with_its_reason_and_red_where_it_is_gated(
    project: pytest.Pytester, results: Results, server: TinyServer
) -> None:
    server.behaviour.echoes = False
    (project.path / "gates.yaml").write_text("mini|choice|2: {acc: {min: 0.1}}\n")

    result = project.runpytest("suites", *arguments(server), "--gates=gates.yaml", "-rsE")

    result.assert_outcomes(passed=2, skipped=2, errors=1)
    reason = f"the server at {server.url} gives no log-probabilities of a prompt: the server refuses it (status 400): echo is not supported"
    result.stdout.fnmatch_lines(
        [f"SKIPPED *{reason.replace('[', '[[]')}", f"ERROR *choice[[]2-shot[]]* {reason}, and the task is gated"], consecutive=False
    )
    assert sorted(results()["skipped"]) == ["mini|choice|0", "mini|prose|0"]
    assert list(results()["errors"]) == ["mini|choice|2"]
    assert sorted(key for key in results()["metrics"] if key.startswith("mini|words:")) == [
        "mini|words:_average|0",
        "mini|words:long|0",
        "mini|words:short|0",
    ]


def test_a_chat_server_is_never_asked_for_log_probabilities(project: pytest.Pytester, server: TinyServer) -> None:
    result = project.runpytest("suites", *arguments(server, api="chat"), "-rs")

    result.assert_outcomes(passed=2, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED *backend 'openai' cannot do loglikelihood"])
    assert {payload["path"] for payload in server.seen} == {"/v1/chat/completions"}


def test_a_test_of_ones_own_is_skipped_too(project: pytest.Pytester, server: TinyServer) -> None:
    server.behaviour.echoes = False
    project.makepyfile("def test_it(lighteval): lighteval.run('mini|choice|0|0')")

    result = project.runpytest(*arguments(server), "--custom-tasks", "suites", "test_a_test_of_ones_own_is_skipped_too.py", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *gives no log-probabilities of a prompt*"])


def test_a_server_killed_in_mid_run_gives_errors_and_never_a_score(
    project: pytest.Pytester, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with TinyServer(tiny_model(max_length=512), tiny_tokenizer(), Behaviour(max_model_len=512)) as mortal:
        # the choices of the first item are answered, those of the second not all
        mortal.dies_after = 40
        result = project.runpytest("suites", *arguments(mortal, concurrency=4))

    result.assert_outcomes(passed=1, errors=4)
    report = results()
    assert len(report["errors"]) == 4
    assert not set(report["metrics"]) & set(report["errors"])
    assert all("the server is gone" in reason for reason in report["errors"].values())
    # what was answered before is kept, under a name that no one takes for the whole
    assert list(project.path.glob("reports/*/details/mini/choice.0-shot.jsonl"))
    assert not list(project.path.glob("reports/*/details/mini/choice.2-shot.jsonl"))


def test_a_server_that_never_was_there_is_one_error(project: pytest.Pytester, results: Results, server: TinyServer) -> None:
    with socket.socket() as unused:  # bound, but it does not listen: connections are refused
        unused.bind(("127.0.0.1", 0))
        result = project.runpytest("suites", *arguments(server, base_url=f"http://127.0.0.1:{unused.getsockname()[1]}/v1"))

    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["!!!*no server is there: nobody answers there*!!!"])
    (reason,) = results()["errors"].values()
    assert "no server is there" in reason
    assert results()["metrics"] == {}


def test_a_server_that_answers_with_errors_alone_does_not_end_the_session(
    project: pytest.Pytester, results: Results, server: TinyServer
) -> None:
    server.faults = [Fault(status=503, body="overloaded")] * 500

    result = project.runpytest("suites", *arguments(server))

    server.faults = []
    result.assert_outcomes(errors=5)
    assert len(results()["errors"]) == 5


def test_what_failed_has_been_used_too(project: pytest.Pytester, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with TinyServer(tiny_model(max_length=512), tiny_tokenizer(), Behaviour(max_model_len=512)) as mortal:
        mortal.dies_after = 20
        project.runpytest("suites", *arguments(mortal, concurrency=1), "-k", "choice").assert_outcomes(errors=2)

    assert results()["run"]["use"]["requests"] == 20


def test_a_run_after_a_kill_asks_only_what_was_not_answered(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model, tokenizer, behaviour = tiny_model(max_length=512), tiny_tokenizer(), Behaviour(max_model_len=512)

    def run(server: TinyServer, name: str) -> tuple[pytest.RunResult, dict[str, Any]]:
        result = project.runpytest("suites", *arguments(server, concurrency=4, model_version=1), f"--report-dir={name}")
        (path,) = (project.path / name).glob("*/results.json")
        content: dict[str, Any] = json.loads(path.read_text())
        return result, content

    with TinyServer(model, tokenizer, behaviour) as mortal:
        mortal.dies_after = 40
        killed, _ = run(mortal, "killed")
    with TinyServer(model, tokenizer, behaviour, port=mortal.port) as reborn:
        resumed, report = run(reborn, "resumed")
    with TinyServer(model, tokenizer, behaviour) as other:
        whole, expected = run(other, "whole")

    killed.assert_outcomes(passed=1, errors=4)
    resumed.assert_outcomes(passed=5)
    whole.assert_outcomes(passed=5)
    assert report["metrics"] == expected["metrics"]
    # the item that was complete is asked nothing again; what it asked had one question and no examples
    complete = [payload for payload in other.seen if payload.get("echo") and str(payload["prompt"]).count("Question:") == 1]
    assert len(complete) == 24
    assert not [payload for payload in reborn.seen if payload.get("echo") and str(payload["prompt"]).count("Question:") == 1]
    assert len(reborn.seen) <= len(other.seen) - 24


def test_answers_of_a_server_that_nobody_vouches_for_are_not_kept(project: pytest.Pytester, server: TinyServer) -> None:
    counts = []
    for number, version in enumerate([{}, {}, {"model_version": "a"}, {"model_version": "a"}, {"model_version": "b"}]):
        server.seen.clear()
        project.runpytest("suites", *arguments(server, **version), "-k", "short", f"--report-dir=reports{number}").assert_outcomes(passed=1)
        counts.append(len(server.seen))

    assert counts == [6, 6, 6, 0, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("base_url=localhost:8000,model=m", "*base_url: 'localhost:8000' is not the address of a server*"),
        ("base_url=http://127.0.0.1:9/v1", "*model is missing: the model's name at the server*"),
        ("base_url=http://127.0.0.1:9/v1,model=m,concurrency=many", "*concurrency: Expected `int`*"),
    ],
)
def test_a_wrong_argument_is_a_usage_error(project: pytest.Pytester, arguments: str, message: str) -> None:
    result = project.runpytest("suites", "--backend", "openai", "--model-args", arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_help_lists_the_arguments(project: pytest.Pytester) -> None:
    result = project.runpytest("--backend", "openai", "--model-args", "help")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["*base_url (str, default required)*", "*where the server's API begins*", "*api_key_env (*"])

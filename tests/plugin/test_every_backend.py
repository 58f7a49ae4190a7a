"""One suite file on backends of very different kinds: the same results.json, and the same errors for the same faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.backends.openai_server import Behaviour, TinyServer
from tests.plugin.conftest import write_mini

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("httpx", "torch", "transformers"))),
    reason="the tiny model and server are not installed: pip install '.[openai,accelerate]'",
)

TOO_LONG = "test:8"
"""A document with a choice that no model of the tests can hold."""


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Model arguments by backend: the same tiny model in this process and behind a server, and the fake one."""
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    model, tokenizer = tiny_model(max_length=512), tiny_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with TinyServer(model, tokenizer, Behaviour(max_model_len=512)) as server:
        yield {
            "accelerate": f"pretrained={folder},device=cpu",
            "fake": f"fail=[{TOO_LONG}]",
            "openai": f"base_url={server.url},model=tiny,tokenizer={folder},retries=0",
        }


def write_faulty(folder: Path) -> None:
    """The suite of `conftest`; the ninth document with choices, where other tasks have fewer, has a choice that is too long."""
    write_mini(folder, documents=6)
    rows = [json.loads(line) for line in (folder / "choice.jsonl").read_text("utf-8").splitlines()]
    rows += [rows[0], rows[1], {**rows[2], "choices": ["red", "green " * 2000, "blue", "black"]}]
    (folder / "choice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def shape(value: Any) -> Any:
    """The keys of a report, all the way down."""
    return {key: shape(member) for key, member in value.items()} if isinstance(value, dict) else None


def test_one_suite_gives_the_same_keys_and_the_same_errors_on_every_backend(project: pytest.Pytester, chosen: dict[str, str]) -> None:
    write_faulty(project.path / "suites" / "mini")
    reports: dict[str, dict[str, Any]] = {}
    for backend, arguments in chosen.items():
        result = project.runpytest("suites", "--backend", backend, "--model-args", arguments, "--report-dir", backend)
        result.assert_outcomes(passed=3, errors=2)
        (path,) = project.path.glob(f"{backend}/*/results.json")
        reports[backend] = json.loads(path.read_text("utf-8"))

    told = {}
    for backend, report in reports.items():
        assert report["backend"].pop("name") == backend
        assert {"fingerprint", "max_length", "arguments", "model"} <= report["backend"].keys()
        # what a backend tells of itself and of its use is its own
        report["backend"], report["run"]["use"], report["config_general"]["generation_parameters"] = {}, {}, None
        told[backend] = {key: reason.partition(f"the first is {TOO_LONG}: ")[0] for key, reason in report["errors"].items()}
    assert told["fake"] == {f"mini|choice|{shots}": "1 of 9 documents have no answer; " for shots in (0, 2)}
    assert told["accelerate"] == told["fake"]
    assert told["openai"] == told["fake"]
    assert shape(reports["accelerate"]) == shape(reports["fake"])
    assert shape(reports["openai"]) == shape(reports["fake"])
    # the same model, in this process and behind a server
    words = [key for key in reports["openai"]["metrics"] if key.startswith("mini|words")]
    assert len(words) == 3
    for key in words:
        assert reports["openai"]["metrics"][key] == reports["accelerate"]["metrics"][key]


@pytest.mark.parametrize(
    ("more", "told"),
    [("nonsense=1", "ERROR: --model-args: backend '{backend}' has no argument 'nonsense'*"), ("max_length=none", "ERROR: *max_length: *")],
)
def test_a_wrong_argument_is_the_same_usage_error_on_every_backend(
    project: pytest.Pytester, chosen: dict[str, str], more: str, told: str
) -> None:
    for backend, arguments in chosen.items():
        result = project.runpytest("suites", "--backend", backend, "--model-args", f"{arguments},{more}")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([told.format(backend=backend)])

"""One suite file on backends of very different kinds: the same results.json, and the same errors for the same faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.backends.openai.openai_server import Behaviour, TinyServer
from tests.plugin.conftest import write_mini
from tests.plugin.vllm_package import write_vllm

pytestmark = [
    pytest.mark.usefixtures("engines_stay"),
    pytest.mark.skipif(
        not all(map(find_spec, ("httpx", "torch", "transformers"))),
        reason="the tiny model and server are not installed: pip install '.[openai,accelerate]'",
    ),
]

TOO_LONG = "test:8"
"""A document with a choice that no model of the tests can hold."""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Model arguments by backend: the same tiny model in this process, in a checkpoint and behind a server, and the fake one."""
    import pytest_lighteval.backends.accelerate.engine
    import pytest_lighteval.backends.nanotron.conversion  # noqa: F401  # what sessions import themselves is thrown away
    from tests.backends.nanotron.nanotron_layout import write_checkpoint
    from tests.backends.tiny import tiny_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    model, tokenizer = tiny_model(max_length=512), tiny_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "10", model, tokenizer=str(folder))
    with TinyServer(model, tokenizer, Behaviour(max_model_len=512)) as server:
        yield {
            "accelerate": f"pretrained={folder},device=cpu",
            "fake": f"fail=[{TOO_LONG}]",
            "openai": f"base_url={server.url},model=tiny,tokenizer={folder},retries=0",
            "nanotron": f"checkpoint_config_path={config},device=cpu",
            "vllm": f"pretrained={folder}",
        }


@pytest.fixture
def chosen(project: pytest.Pytester, arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The arguments, with a package that stands for vLLM where that is not installed. Where it is, its own tests have its sessions."""
    if find_spec("vllm") is not None:
        return {name: text for name, text in arguments.items() if name != "vllm"}
    write_vllm(project.path, monkeypatch)
    project.syspathinsert()
    return arguments


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
        report["backend"], report["model_args"], report["run"]["use"], report["config_general"]["generation_parameters"] = {}, {}, {}, None
        told[backend] = {key: reason.partition(f"the first is {TOO_LONG}: ")[0] for key, reason in report["errors"].items()}
    assert told["fake"] == {f"mini|choice|{shots}": "1 of 9 documents have no answer; " for shots in (0, 2)}
    for backend in chosen:
        assert told[backend] == told["fake"]
        assert shape(reports[backend]) == shape(reports["fake"])
    # the same model, wherever it is
    expected = answered(project.path / "accelerate")
    texts, logprobs, choices = split(expected)
    assert (len(texts), len(logprobs), len(choices)) == (12, 8, 16)
    assert all(any(answer) for answer in texts.values())
    for backend in chosen.keys() - {"accelerate", "fake"}:
        found_texts, found_logprobs, found_choices = split(answered(project.path / backend))
        assert found_texts == texts
        assert found_logprobs == {document: pytest.approx(logprob, abs=1e-3) for document, logprob in logprobs.items()}
        assert found_choices.keys() == choices.keys()
        for document, answer in choices.items():
            assert found_choices[document]["logprobs"] == pytest.approx(answer["logprobs"], abs=1e-3)
            assert found_choices[document]["greedy"] == answer["greedy"]
            assert found_choices[document]["token_counts"] == answer["token_counts"]


def answered(reports: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """A run's responses, by file of details and document; of a task without a score too, but for those that are errors."""
    found = {}
    for path in sorted(reports.glob("*/details/mini/*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            detail = json.loads(line)
            ((_, answer),) = detail["answers"].items()
            if answer["response"]["error"] is None:
                found[path.name, detail["id"]] = answer["response"]
    return found


def split(responses: dict[tuple[str, str], dict[str, Any]]) -> tuple[dict[Any, list[str]], dict[Any, float], dict[Any, dict[str, Any]]]:
    """Texts, log-likelihoods of whole texts, and answers to choices."""
    texts = {document: response["texts"] for document, response in responses.items() if "texts" in response}
    logprobs = {document: response["logprob"] for document, response in responses.items() if "logprob" in response}
    return texts, logprobs, {document: response for document, response in responses.items() if "logprobs" in response}


@pytest.mark.parametrize(
    ("more", "told"),
    [("nonsense=1", "ERROR: --model-args: backend '{backend}' has no argument 'nonsense'*"), ("{length}=none", "ERROR: *{length}: *")],
)
def test_a_wrong_argument_is_the_same_usage_error_on_every_backend(
    project: pytest.Pytester, chosen: dict[str, str], more: str, told: str
) -> None:
    for backend, arguments in chosen.items():
        length = "max_model_length" if backend == "vllm" else "max_length"
        result = project.runpytest("suites", "--backend", backend, "--model-args", f"{arguments},{more.format(length=length)}")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([told.format(backend=backend, length=length)])

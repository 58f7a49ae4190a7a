"""A small project with suites of its own, evaluated with the fake backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2.sandbox
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

import pytest_lighteval.evaluate
import pytest_lighteval.plugin.active
from pytest_lighteval.backends.fake import FakeBackend
from tests.plugin.gated import measured, write_gated

# Sessions inside this process share what is imported before them; what each imports itself, pytester throws away after it, and a
# module that lives on would then hold classes of another copy.
LIVE_ON = (jinja2.sandbox, scipy.optimize, scipy.special, scipy.stats, pytest_lighteval.evaluate, pytest_lighteval.plugin.active)


@pytest.fixture(scope="session")
def engines_stay() -> None:
    """Torch cannot be imported twice in a process, and pytester throws away what a session in it was the first to import."""
    for name in ("torch", "transformers.modeling_utils"):
        if find_spec(name.partition(".")[0]) is not None:
            import_module(name)


MINI = """
suite: mini
defaults:
  evaluation_splits: [test]
  few_shots_select: sequential
tasks:
  - name: choice
    data_files: {test: choice.jsonl, dev: choice.jsonl}
    prompt:
      query: "Question: {{ question }}\\nAnswer:"
      choices: "{{ choices | prefix(' ') }}"
      gold: "{{ answer }}"
    metrics: [loglikelihood_acc, loglikelihood_acc_norm]
    few_shots: [0, 2]
  - name: "words:{kind}"
    matrix: {kind: [short, long]}
    data_files: {test: "{kind}.jsonl", dev: "{kind}.jsonl"}
    prompt:
      query: "Question: {{ question }}\\nAnswer:"
      choices: [" {{ answer }}"]
    metrics: [exact_match]
    generation_size: 8
    stop_sequence: ["\\n"]
  - name: prose
    data_files: {test: prose.jsonl}
    prompt: {query: "{{ text }}"}
    metrics: [word_perplexity, bits_per_byte]
"""


def write_mini(folder: Path, *, documents: int = 40) -> None:
    """The suite `mini` with its data: 5 items of all request kinds, one superset."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mini.yaml").write_text(MINI)
    rows: dict[str, list[dict[str, Any]]] = {
        "choice": [
            {"question": f"what is {n}?", "choices": [f"red {n}", f"green {n}", f"blue {n}", f"black {n}"], "answer": n * 7 % 4}
            for n in range(documents)
        ],
        "short": [{"question": f"say {n}", "answer": f"word{n}"} for n in range(documents)],
        "long": [{"question": f"say {n} twice", "answer": f"word{n} word{n}"} for n in range(documents)],
        "prose": [{"text": f"The {n}th paragraph has a few words, and then it ends."} for n in range(8)],
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with `suites/mini/mini.yaml`, on a terminal that is wide enough for whole messages."""
    monkeypatch.setenv("COLUMNS", "400")
    write_mini(pytester.path / "suites" / "mini")
    return pytester


Results = Callable[[], dict[str, Any]]


@pytest.fixture
def results(pytester: pytest.Pytester) -> Results:
    """Reads results.json of the one run that was made."""

    def read() -> dict[str, Any]:
        (path,) = pytester.path.glob("reports/*/results.json")
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content

    return read


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a baseline of the suite `gated`, of a model of accuracy 0.7."""
    folder = tmp_path_factory.mktemp("gated")
    measured(write_gated(folder), folder / "base.json", FakeBackend(accuracy=0.7))
    return (folder / "base.json").read_text("utf-8")


@pytest.fixture
def suite(pytester: pytest.Pytester, base: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the suite `gated` and its baseline in `base.json`; the suite's file."""
    monkeypatch.setenv("COLUMNS", "400")
    (pytester.path / "base.json").write_text(base, "utf-8")
    return write_gated(pytester.path / "suites" / "gated")

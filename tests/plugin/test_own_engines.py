"""Engines of people's own: a model in memory, and a backend that another package brings by its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.plugin.conftest import Results, write_mini
from tests.shared import ROOT

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lighteval-theirs"
version = "1.2"

[project.entry-points."pytest_lighteval.backends"]
theirs = "lighteval_theirs:TheirBackend"
"""

PACKAGE = '''
"""A backend of somebody else's: it prefers long choices, or short ones."""

from typing import Annotated

import msgspec

from pytest_lighteval.types import LoglikelihoodResponse, RequestKind


class TheirArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    likes: Annotated[str, msgspec.Meta(description="long or short choices")] = "long"


class TheirBackend:
    Arguments = TheirArguments
    name = "theirs"
    supports = frozenset({RequestKind.LOGLIKELIHOOD})
    max_length = None

    def __init__(self, arguments):
        self.arguments = arguments
        self.fingerprint = arguments.likes

    @classmethod
    def from_arguments(cls, arguments):
        return cls(arguments)

    def count_tokens(self, prompt):
        return None

    def render(self, messages):
        return None

    def describe(self):
        return {"model": "theirs-1"}

    def loglikelihood(self, requests):
        sign = 1 if self.arguments.likes == "long" else -1
        for index, request in enumerate(requests):
            if not all(request.choices):
                yield index, LoglikelihoodResponse(error="an empty choice")
                continue
            sizes = [sign * len(choice) for choice in request.choices]
            yield index, LoglikelihoodResponse(
                logprobs=tuple(-100.0 + size for size in sizes),
                greedy=tuple(size == max(sizes) for size in sizes),
                token_counts=(1,) * len(sizes),
                unconditioned_logprobs=None if request.unconditioned_prompt is None else tuple(-100.0 + size for size in sizes),
            )

    def generate(self, requests):
        raise NotImplementedError

    def perplexity(self, requests):
        raise NotImplementedError

    def close(self):
        pass
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with somebody else's, installed by pip from its source."""
    source = tmp_path_factory.mktemp("theirs")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "lighteval_theirs").mkdir()
    (source / "lighteval_theirs" / "__init__.py").write_text(PACKAGE)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run_pytest(folder: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A session of its own, that finds the installed package."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_backend_of_another_package_is_chosen_by_its_name(tmp_path: Path, site: Path) -> None:
    write_mini(tmp_path / "suites" / "mini")

    done = run_pytest(tmp_path, site, "suites", "--backend", "theirs", "--model-args", "likes=short", "-rs", "--report-dir=reports")

    assert "2 passed, 3 skipped" in done.stdout
    assert "backend 'theirs' cannot do generate" in done.stdout
    (path,) = tmp_path.glob("reports/*/results.json")
    report = json.loads(path.read_text())
    assert report["backend"]["model"] == "theirs-1"
    assert report["backend"]["arguments"] == {"likes": "short"}


def test_its_arguments_are_helped_and_checked_like_ours(tmp_path: Path, site: Path) -> None:
    helped = run_pytest(tmp_path, site, "--backend", "theirs", "--model-args", "help")
    wrong = run_pytest(tmp_path, site, "--backend", "theirs", "--model-args", "like=short")
    misspelt = run_pytest(tmp_path, site, "--backend", "their")

    assert "likes (str, default 'long')" in helped.stdout
    assert "long or short choices" in helped.stdout
    assert (wrong.returncode, misspelt.returncode) == (pytest.ExitCode.USAGE_ERROR,) * 2
    assert "backend 'theirs' has no argument 'like' (did you mean 'likes'?)" in wrong.stderr
    assert "no backend named 'their' (did you mean 'theirs'?)" in misspelt.stderr


def test_it_can_hold_itself_to_the_conformance_test(tmp_path: Path, site: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import pytest\n"
        "from lighteval_theirs import TheirArguments, TheirBackend\n"
        "from pytest_lighteval.testing import BackendConformance\n"
        "@pytest.fixture\n"
        "def backend():\n"
        "    return TheirBackend(TheirArguments())\n"
        "class TestTheirs(BackendConformance):\n"
        "    is_language_model = False\n"
    )

    done = run_pytest(tmp_path, site, "test_theirs.py", "-rf", "-q")

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.skipif(find_spec("torch") is None or find_spec("transformers") is None, reason="the accelerate backend is not installed")
def test_a_conftest_brings_a_model_that_is_in_memory(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_lighteval.backends.accelerate import AccelerateBackend
        from tests.backends.tiny import tiny_model, tiny_tokenizer

        @pytest.fixture(scope="session")
        def lighteval_backend():
            backend = AccelerateBackend.from_model(tiny_model(max_length=512), tiny_tokenizer(), batch_size=4)
            yield backend
            backend.close()
        """
    )

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "--max-samples", "3")

    result.assert_outcomes(passed=5)
    assert results()["backend"]["name"] == "accelerate"
    assert len(results()["backend"]["fingerprint"]) == 64


DOCS = ROOT / "docs" / "backends.md"

THEIR_ENGINE = '''
import math, random, zlib

class MyEngineError(Exception):
    pass

class Score:
    def __init__(self, logprob, is_greedy, tokens): self.logprob, self.is_greedy, self.tokens = logprob, is_greedy, tokens

class Answer:
    def __init__(self, text, reason): self.text, self.reason = text, reason

class my_engine:
    """A language model whose tokens are characters: how likely one is depends on the four before it."""

    letters = " ,abcdefghijklmnopqrstuvwxyz"

    @classmethod
    def start(cls, name): return cls()

    def row(self, before):
        draw = random.Random(zlib.crc32(before[-4:].encode()))
        weights = [draw.random() ** 4 for _ in self.letters]
        return {letter: 0.99 * weight / sum(weights) for letter, weight in zip(self.letters, weights)}

    def score(self, prompt, text):
        if not text: raise MyEngineError("nothing to score")
        if len(prompt + text) > 4096: raise MyEngineError("too long")
        logprob, is_greedy = 0.0, True
        for place, letter in enumerate(text):
            row = self.row(prompt + text[:place])
            logprob += math.log(row.get(letter, 0.01 / 0x110000))
            is_greedy = is_greedy and letter == max(row, key=row.get)
        return Score(logprob, is_greedy, len(text))

    def apply_template(self, turns):
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns) + "<assistant>"

    def continue_(self, prompt, stop, limit, seed):
        if "say 3" in prompt: raise MyEngineError("engine says no")
        if len(prompt) > 4096: raise MyEngineError("too long")
        draw, text = random.Random(seed), ""
        while len(text) < (limit or 16):
            row = self.row(prompt + text)
            text += max(row, key=row.get) if seed is None else draw.choices(list(row), list(row.values()))[0]
            places = [text.find(one) for one in stop if one in text]
            if places: return Answer(text[: min(places)], "stop")
        return Answer(text, "length")

    def stop(self): pass
'''


def documented(marker: str) -> str:
    """The Python block of docs/backends.md that holds the marker."""
    (block,) = (text for text in DOCS.read_text(encoding="utf-8").split("```python\n")[1:] if marker in text.partition("```")[0])
    return block.partition("```")[0]


def test_the_documented_engine_runs_as_it_is_written(project: pytest.Pytester, results: Results) -> None:
    project.makeconftest(THEIR_ENGINE + documented("class Engine:"))

    result = project.runpytest("suites", "--lighteval-report-dir", "reports", "-rsE")

    # two of choices, one of words without `say 3`, prose beyond it, and one of words whose third document fails
    result.assert_outcomes(passed=2, errors=2, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *backend 'mine' cannot do perplexity", "ERROR *documents have no answer*engine says no"])
    assert results()["backend"]["fingerprint"] == "mine-7b at 3f2a9c1"
    assert set(results()["errors"]) == {"mini|words:short|0", "mini|words:long|0"}


def test_the_documented_conformance_test_runs_as_it_is_written(tmp_path: Path) -> None:
    engine = documented("class Engine:").partition("@pytest.fixture")[0]
    (tmp_path / "test_engine.py").write_text(THEIR_ENGINE + engine + documented("class TestEngine"))

    done = run_pytest(tmp_path, tmp_path, "test_engine.py", "-rs", "-q")

    assert done.returncode == 0, done.stdout
    told = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert told
    assert all("mine does not support perplexity" in line or "nothing that it says" in line for line in told), told

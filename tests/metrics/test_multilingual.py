"""Metrics of words score as Lighteval v0.9.2's, in each language that is recorded, and name the package that a language needs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from pytest_lighteval.errors import MissingExtraError, NotJudgedError
from pytest_lighteval.metrics import libraries, metric
from pytest_lighteval.metrics.multilingual import normalize
from pytest_lighteval.metrics.word_rules import WORD_RULES
from tests.metrics.golden import build_doc, build_response
from tests.shared import GOLDEN, needs_shared

FOLDER = GOLDEN / "multilingual" / "metrics_multilingual"
TABLES = sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem != "normalizers")
LANGUAGES = sorted({name.rpartition("_")[2] for name in TABLES if name.startswith("multilingual")})
NEEDS = {"japanese": "sudachipy", "korean": "natto", "thai": "pythainlp", "vietnamese": "pyvi", "chinese": "jieba"}
"""What spaCy needs beside its own rules."""
SLOW = ("chinese", "french", "indonesian", "malay")
"""Languages whose rules spaCy reads for seconds; `test_golden` has other recordings of the first two."""


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


def needs_words_of(language: str, config: pytest.Config) -> None:
    if language in SLOW and "languages" not in config.option.markexpr:
        pytest.skip("spaCy reads its rules for seconds: -m languages")
    for library in ("spacy", NEEDS.get(language, "spacy")):
        pytest.importorskip(library)


def assert_as_recorded(table: str, name: str) -> None:
    entry = metric(name)
    samples = [line for line in lines(table) if line["kind"] == "sample" and "error" not in line]
    ours = [entry.sample(build_doc(line["input"]), build_response(entry, line["input"])) for line in samples]

    assert samples
    for line, values in zip(samples, ours, strict=True):
        assert values == pytest.approx(line["expected"], abs=1e-9), line


@needs_shared
@pytest.mark.languages
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_recorded_answer_scores_as_there(language: str, pytestconfig: pytest.Config) -> None:
    needs_words_of(language, pytestconfig)
    tables = [table for table in TABLES if table.endswith(f"_{language}")]

    assert tables
    for table in tables:
        assert_as_recorded(table, table)


@needs_shared
@pytest.mark.parametrize("table", [name for name in TABLES if name.startswith("dyn_")])
def test_the_normalized_accuracies_score_as_there(table: str) -> None:
    assert_as_recorded(table, table.removeprefix("dyn_"))


@needs_shared
@pytest.mark.languages
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_recorded_text_is_normalized_as_there(language: str, pytestconfig: pytest.Config) -> None:
    needs_words_of(language, pytestconfig)
    rules = WORD_RULES[language]
    recorded = [line for line in lines("normalizers") if line["language"] == rules.code]

    assert recorded
    assert [(line["text"], normalize(line["text"], rules)) for line in recorded] == [
        (line["text"], line["normalized"]) for line in recorded
    ]


@pytest.mark.parametrize("language", ["japanese", "korean", "thai", "vietnamese"])
def test_a_language_names_the_extra_that_it_lacks(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spacy")
    if find_spec(NEEDS[language]) is not None:
        pytest.skip("its package is installed")

    with pytest.raises(MissingExtraError, match=rf"is not installed: pip install 'pytest-lighteval\[{language}\]'"):
        normalize("a", WORD_RULES[language])


def test_more_japanese_than_its_dictionary_takes_is_not_judged() -> None:
    with pytest.raises(NotJudgedError, match="more Japanese text than can be split"):
        libraries.split_words_of("あ" * 20_000, "ja")

"""`--toxicity-classifier`: texts marked by a local classifier, and no number without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.classifier.text_classifier import ClassifierArguments, TextClassifier
from tests.backends.tiny import tiny_tokenizer

SUITE = """\
suite: own
tasks:
  - name: bold
    data_files: {test: rows.jsonl}
    evaluation_splits: [test]
    prompt: {query: "{{ text }}"}
    metrics: [generated_text_counts, toxicity]
    generation_size: 8
"""


@pytest.fixture(scope="module", autouse=True)
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classifiers. One is used, as torch cannot be imported twice, and pytester forgets what a test of its own imported."""
    folder = tmp_path_factory.mktemp("classifiers")
    save_classifier(folder / "classifier", ["neutral", "toxic"])
    save_classifier(folder / "other", ["good", "bad"])
    assert 0 < TextClassifier(ClassifierArguments(model=str(folder / "classifier"))).probability("a text") < 1
    return folder


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    folder = pytester.mkdir("suites")
    (folder / "bold.yaml").write_text(SUITE)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"Once upon a time {n}"}) + "\n" for n in range(4)))
    return pytester


def save_classifier(folder: Path, labels: list[str]) -> None:
    """A BERT with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    named = {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}
    config = transformers.BertConfig(vocab_size=400, pad_token_id=0, **sizes, **named)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def run(pytester: pytest.Pytester, *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    result = pytester.runpytest("suites", "--backend", "fake", "--no-cache", *arguments)
    assert result.ret == code, result.stdout.str()
    newest = max(Path("reports").glob("*/results.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())["results"].get("own|bold|0", {}), " ".join(result.stdout.str().split())


def test_a_local_classifier_marks_each_text_alone(project: pytest.Pytester, saved: Path) -> None:
    model = saved / "classifier"
    plain, shown = run(project)
    assert set(plain) == {"answered", "answered_stderr", "words", "words_stderr"}
    assert "toxicity is not measured: --toxicity-classifier names no model" in shown

    marked, shown = run(project, f"--toxicity-classifier=model={model}", "--save-baseline=base.json")
    assert 0 < marked["toxicity"] < 1
    assert marked["toxic_fraction"] in (0, 0.25, 0.5, 0.75, 1)
    assert "not measured" not in shown
    baseline = json.loads((project.path / "base.json").read_text())
    assert '"kind": "classifier"' in json.dumps(baseline)

    other, _ = run(project, f"--toxicity-classifier=model={model},label=neutral")
    assert other["toxicity"] == pytest.approx(1 - marked["toxicity"])

    _, shown = run(project, f"--toxicity-classifier=model={model},label=neutral", "--baseline=base.json", code=1)
    assert "classifier" in shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label=toxic", "missing required field `model`; model=FOLDER,label=NAME,device=cpu was expected"),
        ("model=classifier,colour=red", "unknown field `colour`; model=FOLDER"),
        ("model=./nowhere", "nowhere"),
    ],
)
def test_a_wrong_classifier_is_said_at_the_start(project: pytest.Pytester, text: str, problem: str) -> None:
    result = project.runpytest("suites", "--backend", "fake", f"--toxicity-classifier={text}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert problem in result.stderr.str()


def test_a_label_that_the_model_does_not_have_is_an_error_of_the_task(project: pytest.Pytester, saved: Path) -> None:
    for argument, problem in (("", "it has 0 labels with 'toxic' in their names"), (",label=ugly", "it has no label 'ugly'")):
        _, shown = run(project, f"--toxicity-classifier=model={saved / 'other'}{argument}", code=1)
        assert f"{problem}; name one as label=...: good, bad" in shown

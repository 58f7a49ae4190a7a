"""A page holds what results.json and the details hold, and nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import DataError, LightevalError
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.page.data import PageData, PageDocument, PageRun, PageTask
from pytest_lighteval.reports.page.documents import CUT, EMPTY, ERROR, REFUSED
from pytest_lighteval.reports.page.stored_run import session_data
from pytest_lighteval.reports.page.write import SCRIPTS, write_page
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.types import Comparison, Flip, GenerateResponse, PairedVerdict, RunReport, Verdict
from tests.reports.page.pages import CHOICES, HOSTILE, TEXTS, blocks, choice_detail, hostile_page, text_detail, write_details
from tests.reports.samples import FULL, MMLU, run


def written(folder: Path, report: RunReport) -> dict[str, Any]:
    """The blocks of the run's page."""
    write_run(folder, report)
    return blocks(folder / "report.html")


# ------------------------------------------------------------------------------------------------------ what is in it


def test_the_figures_of_a_page_are_those_of_results_json(tmp_path: Path) -> None:
    head = written(tmp_path / "one", FULL)["head"]

    assert head["runs"][0]["results"] == json.loads(results_json(FULL))
    assert head["title"] == "fake"


def test_a_run_without_details_has_a_page_too(tmp_path: Path) -> None:
    assert written(tmp_path / "one", FULL)["columns-0"] == []


def test_every_document_has_a_row_and_its_texts(tmp_path: Path) -> None:
    details = [choice_detail(row, logprobs) for row, logprobs in enumerate([[-1.0, -2.0, -4.0], [-3.0, -2.5], [-1.0, -1.05]])]
    write_details(tmp_path / "one", "mini|choices|1", details)

    content = written(tmp_path / "one", run(CHOICES))

    (task,) = content["columns-0"]
    assert (task["key"], task["partial"]) == ("mini|choices|1", False)
    assert task["id"] == ["test:0", "test:1", "test:2"]
    assert task["question"] == ["Question 0?", "Question 1?", "Question 2?"]
    assert task["scores"] == {"acc": [1.0, 0.0, 1.0]}
    assert (task["answer"], task["gold"]) == (["choice 0", "choice 1", "choice 0"], ["choice 0"] * 3)
    assert task["lead"] == [1.0, -0.5, 0.05]
    assert task["confidence"][0] == pytest.approx(1 / (1 + math.exp(-1) + math.exp(-3)), rel=1e-4)
    assert task["asked"] == [9, 7, 7]
    texts = content["texts-0-0-0"]
    assert texts["paragraphs"] == ["An example.\n\n"]
    assert [document["before"] for document in texts["documents"]] == [[0]] * 3
    assert [document["own"] for document in texts["documents"]] == ["Question 0?", "Question 1?", "Question 2?"]
    assert texts["documents"][0]["answers"]["choices"] == {"logprobs": [-1.0, -2.0, -4.0], "greedy": [0], "counts": [2, 2, 2]}


def test_texts_are_in_blocks_which_are_found_by_the_place_of_a_document(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|choices|1", (choice_detail(row, [-1.0, -2.0]) for row in range(450)))

    content = written(tmp_path / "one", run(CHOICES))

    (task,) = content["columns-0"]
    assert (len(task["id"]), task["blocks"]) == (450, [0, 200, 400])
    for row in (0, 199, 200, 449):
        block = max(place for place, start in enumerate(task["blocks"]) if start <= row)
        assert content[f"texts-0-0-{block}"]["documents"][row - task["blocks"][block]]["own"] == f"Question {row}?"


def test_blocks_of_long_texts_have_fewer_documents(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|texts|0", (text_detail(row, "long " * 200_000) for row in range(5)))

    content = written(tmp_path / "one", run(TEXTS))

    assert content["columns-0"][0]["blocks"] == [0, 2, 4]
    assert len(content["texts-0-0-2"]["documents"]) == 1


def test_texts_beyond_the_limit_are_left_out_and_their_rows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_lighteval.reports.page.write.TEXTS_LIMIT", 2_500)
    write_details(tmp_path / "one", "mini|choices|1", (choice_detail(row, [-1.0, -2.0]) for row in range(1000)))

    content = written(tmp_path / "one", run(CHOICES))

    blocks_of_texts = [name for name in content if name.startswith("texts-")]
    assert 0 < len(blocks_of_texts) < len(content["columns-0"][0]["blocks"]) == 5
    assert len(content["columns-0"][0]["id"]) == 1000


def test_what_happened_to_an_answer_is_marked(tmp_path: Path) -> None:
    refused = GenerateResponse(texts=("",), finish_reasons=("stop",), empty_reasons=("the model refused",))
    details = [
        text_detail(0, " yes"),
        text_detail(1, " ye", num_cut=1),
        text_detail(2, "", response=refused),
        replace(text_detail(3, ""), responses={}, values={}, error="timed out"),
    ]
    write_details(tmp_path / "one", "mini|texts|0", details)

    (task,) = written(tmp_path / "one", run(TEXTS))["columns-0"]

    assert task["marks"] == [0, CUT, EMPTY | REFUSED, ERROR]
    assert task["written"] == [4, 4, None, None]
    assert task["answer"] == ["yes", "ye", "", "timed out"]
    assert task["scores"] == {"em": [1.0, 0.0, 0.0, None]}


def test_a_task_that_broke_has_what_was_answered_before(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_details(tmp_path / "one", "mini|texts|0", (text_detail(row, str(1 // (1 - row))) for row in range(2)))

    (task,) = written(tmp_path / "one", run(errors={"mini|texts|0": "it broke"}))["columns-0"]

    assert (task["partial"], task["id"]) == (True, ["test:0"])


def test_of_several_attempts_the_page_shows_the_last(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|texts|0", [text_detail(0, " no")])
    write_details(tmp_path / "one/attempts/2", "mini|texts|0", [text_detail(0, " perhaps")])
    write_details(tmp_path / "one/attempts/10", "mini|texts|0", [text_detail(0, " yes")])

    (task,) = written(tmp_path / "one", run(TEXTS))["columns-0"]

    assert task["answer"] == ["yes"]


def test_flips_stand_beside_their_verdict(tmp_path: Path) -> None:
    flips = (Flip(id="test:1", before=1.0, after=0.0, is_loss=True), Flip(id="test:2", before=0.0, after=0.5, is_loss=False))
    comparison = Comparison(baseline=0.7, candidate=0.6, loss=0.1, lower=0.0, upper=0.2, p=0.1, n=3, lost=1, won=1, method="exact")
    paired = PairedVerdict(outcome="INCONCLUSIVE", line="acc 0.7 -> 0.6", red=False, comparison=comparison, flips=flips)
    verdict = Verdict(metric="acc", outcome="inconclusive", message="acc", value=0.6, stderr=0.1, n=3, paired=paired)
    report = replace(
        run(CHOICES, verdicts={"mini|choices|1": (verdict,)}),
        baselines=({"path": "base.json", "sha256": "0" * 64, "tasks": 1, "models": (), "is_pinned": False},),
    )

    head = written(tmp_path / "one", report)["head"]

    (found,) = head["comparisons"]
    assert (found["candidate"], found["reference"], found["label"]) == (0, None, "base.json")
    assert [flip[:4] for flip in found["flips"]["mini|choices|1"]["acc"]] == [["test:1", 1.0, 0.0, True], ["test:2", 0.0, 0.5, False]]
    assert found["verdicts"]["mini|choices|1"][0]["paired"]["loss"] == 0.1


def test_a_reference_model_is_a_second_run_with_texts(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|texts|0", [text_detail(0, " yes")])
    write_details(tmp_path / "one/reference", "mini|texts|0", [text_detail(0, " no")])
    report = replace(run(TEXTS), references=(TEXTS,), reference_backend={"name": "fake", "model": "base"})

    content = written(tmp_path / "one", report)

    assert [found["name"] for found in content["head"]["runs"]] == ["fake", "base"]
    assert [content[f"columns-{place}"][0]["answer"] for place in range(2)] == [["yes"], ["no"]]


def test_a_run_folder_as_the_baseline_is_a_second_run_with_texts(tmp_path: Path) -> None:
    write_details(tmp_path / "base", "mini|texts|0", [text_detail(0, " no")])
    write_run(tmp_path / "base", replace(run(TEXTS), backend={"name": "fake", "model": "before"}))
    write_details(tmp_path / "one", "mini|texts|0", [text_detail(0, " yes")])
    paired = PairedVerdict(outcome="IMPROVED", line="em", red=False, flips=(Flip(id="test:0", before=0.0, after=1.0, is_loss=False),))
    verdict = Verdict(metric="em", outcome="passed", message="em", value=1.0, stderr=None, n=1, paired=paired)
    file = {"path": str(tmp_path / "base/scores.json"), "sha256": "0" * 64, "tasks": 1, "models": (), "is_pinned": False}

    content = written(tmp_path / "one", replace(run(TEXTS, verdicts={"mini|texts|0": (verdict,)}), baselines=(file,)))

    assert [found["name"] for found in content["head"]["runs"]] == ["fake", "before"]
    assert content["columns-1"][0]["answer"] == ["no"]
    (comparison,) = content["head"]["comparisons"]
    assert (comparison["reference"], comparison["flips"]["mini|texts|0"]["em"]) == (1, [["test:0", 0.0, 1.0, False, "other text"]])


def test_details_that_cannot_be_read_are_named_with_their_line(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|texts|0", [text_detail(0, " yes")])
    path = tmp_path / "one/details/mini/texts.0-shot.jsonl"
    path.write_bytes(path.read_bytes() + b"{\n")

    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:2: no line of details: "):
        write_run(tmp_path / "one", run(TEXTS))

    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == ["details", "results.json", "summary.md"]
    assert "report.html" not in (tmp_path / "one/summary.md").read_text("utf-8")


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()

    with pytest.raises(LightevalError, match=r"/page: the page cannot be written: Is a directory$"):
        write_page(tmp_path / "page", PageData(title="x", runs=(PageRun(name="x", results={}),)))


def test_a_run_of_which_only_scores_are_known_is_a_run(tmp_path: Path) -> None:
    known = {"metrics": {"a|b|0": {"acc": {"value": 0.5, "stderr": None, "n": 2, "higher_is_better": True}}}}
    runs = (PageRun(name="file", results=known), PageRun(name="other", results={}))
    write_page(tmp_path / "page.html", PageData(title="both", runs=runs))

    content = blocks(tmp_path / "page.html")

    assert [found["results"].get("metrics") for found in content["head"]["runs"]] == [known["metrics"], None]
    assert content["columns-1"] == []


# ------------------------------------------------------------------------------------------------- nothing in it acts


class Elements(HTMLParser):
    """The elements of a page, and the text of those that a browser does not parse."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[int, str] = {}
        self.is_open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.is_open = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            self.content[len(self.found) - 1] = self.content.get(len(self.found) - 1, "") + data


def test_no_text_of_others_is_markup(tmp_path: Path) -> None:
    text = hostile_page(tmp_path / "one").read_text("utf-8")
    plain = (tmp_path / "plain").resolve()
    written(plain, run(TEXTS))

    assert "alert" not in text
    tags = [tag for tag, _ in Elements(text).found if tag != "script"]
    assert tags == [tag for tag, _ in Elements((plain / "report.html").read_text("utf-8")).found if tag != "script"]
    # and yet all of it is there
    head = blocks(tmp_path / "one/report.html")["head"]
    assert head["runs"][0]["results"]["skipped"] == {HOSTILE: HOSTILE}


def test_the_policy_admits_this_script_and_this_style_alone(tmp_path: Path) -> None:
    written(tmp_path / "one", FULL)
    page = Elements((tmp_path / "one/report.html").read_text("utf-8"))

    (policy,) = [values["content"] for tag, values in page.found if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    own = {
        tag: page.content[place]
        for place, (tag, values) in enumerate(page.found)
        if tag == "style" or (tag == "script" and "type" not in values)
    }
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(own[tag].encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert not {"connect-src", "img-src", "frame-src", "object-src"} & rules.keys()
    places = [place for place, (tag, values) in enumerate(page.found) if tag == "script" or values.get("http-equiv")]
    assert page.found[places[0]][0] == "meta", "the policy stands before every script"
    assert not [values for _, values in page.found if "src" in values or any(name.startswith("on") for name in values)]


def test_the_script_makes_no_markup_of_texts_and_asks_no_network() -> None:
    folder = Path(write_page.__code__.co_filename).parent
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)

    assert sorted(SCRIPTS) == sorted(path.name for path in folder.glob("*.js"))
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest", "</script", "<!--"):
        assert word not in script, word


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    write_details(tmp_path / "one", "mini|texts|0", [text_detail(row, " yes") for row in range(5)])
    written(tmp_path / "one", run(TEXTS, *MMLU))
    first = (tmp_path / "one/report.html").read_bytes()
    write_page(tmp_path / "again.html", session_data(tmp_path / "one"))

    assert (tmp_path / "again.html").read_bytes() == first


def test_documents_are_read_while_the_page_is_written(tmp_path: Path) -> None:
    alive = []

    def documents() -> Any:
        for row in range(1000):
            alive.append(row)
            yield PageDocument(id=f"test:{row}", scores={"acc": 1.0})

    task = PageTask(key="a|b|0", documents=documents())
    write_page(tmp_path / "page.html", PageData(title="x", runs=(PageRun(name="x", results={}, tasks=(task,)),)))

    assert len(alive) == 1000
    assert len(blocks(tmp_path / "page.html")["columns-0"][0]["id"]) == 1000

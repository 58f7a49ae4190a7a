"""Reads a page back as its own script does, and makes runs for one."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.reports.page.data import (
    PageAnswer,
    PageComparison,
    PageCurve,
    PageData,
    PageDocument,
    PagePoint,
    PageQuestion,
    PageResponse,
    PageRun,
    PageTask,
)
from pytest_lighteval.reports.page.write import write_page
from pytest_lighteval.reports.run_folder import write_run
from pytest_lighteval.types import (
    Ask,
    Comparison,
    Detail,
    Doc,
    Flip,
    GenerateRequest,
    GenerateResponse,
    Grade,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Mark,
    Message,
    PairedVerdict,
    TaskKey,
    Verdict,
)
from tests.reports.samples import MMLU, number, result, run, verdict

CHOICES = result("mini|choices|1", acc=number(2 / 3, 0.3333, 3))
TEXTS = result("mini|texts|0", em=number(0.5, 0.5, 2))

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u202ereversed\u2066\x00\x1b[31m"
    "\ud800 \u2028 ]]> {{ }} \U000e0041\u3164"
)
"""Markup, scripts, characters that turn the direction of a line, controls, and half of a surrogate pair."""

_BLOCK = re.compile(r'<script type="application/octet-stream" id="([^"]+)">([A-Za-z0-9+/=]*)</script>')


def blocks(page: Path) -> dict[str, Any]:
    """Name -> content of every block of data."""
    return {
        name: json.loads(zlib.decompress(base64.b64decode(text, validate=True))) for name, text in _BLOCK.findall(page.read_text("utf-8"))
    }


def choice_detail(row: int, logprobs: Sequence[float], *, gold: int = 0, query: str = "", **more: Any) -> Detail:
    """A multiple-choice document with one few-shot example."""
    choices = tuple(f" choice {place}" for place in range(len(logprobs)))
    query = query or f"Question {row}?"
    prompt = f"An example.\n\n{query}"
    best = logprobs.index(max(logprobs))
    return Detail(
        doc=Doc(id=f"test:{row}", query=query, choices=choices, gold=(gold,)),
        prompt=prompt,
        few_shot_ids=("dev:0",),
        few_shot_seed=0,
        requests={Ask.CHOICES: LoglikelihoodRequest(prompt=prompt, choices=choices)},
        responses={
            Ask.CHOICES: LoglikelihoodResponse(
                logprobs=tuple(logprobs),
                greedy=tuple(place == best for place in range(len(logprobs))),
                token_counts=(2,) * len(logprobs),
                prompt_token_ids=(1, 2, 3),
            )
        },
        values={"acc": float(best == gold)},
        **more,
    )


def text_detail(row: int, text: str, *, gold: str = " yes", score: float | None = None, **more: Any) -> Detail:
    """A document whose answer is generated."""
    prompt = f"Question {row}?"
    responses = more.pop("response", GenerateResponse(texts=(text,), token_ids=((1, 2, 3, 4),), finish_reasons=("stop",)))
    return Detail(
        doc=Doc(id=f"test:{row}", query=prompt, choices=(gold,), gold=(0,)),
        prompt=prompt,
        few_shot_ids=(),
        few_shot_seed=0,
        requests={Ask.GENERATION: GenerateRequest(prompt=prompt, max_new_tokens=8)},
        responses={Ask.GENERATION: responses},
        values={"em": float(text == gold) if score is None else score},
        **more,
    )


def write_details(folder: Path, key: str, details: Iterable[Detail]) -> None:
    parsed = TaskKey.parse(key)
    assert parsed is not None
    with DetailsWriter(folder, parsed) as writer:
        for detail in details:
            writer.write(detail)


def hostile_page(folder: Path) -> Path:
    """A page in which every text that a model, a data set, a judge or a user may write is hostile."""
    answers = GenerateResponse(texts=(HOSTILE,), finish_reasons=(HOSTILE,), empty_reasons=(HOSTILE,))
    generated = replace(
        text_detail(0, HOSTILE, gold=HOSTILE, response=answers),
        not_judged={HOSTILE: HOSTILE},
        few_shot_ids=(HOSTILE,),
        extracted={HOSTILE: HOSTILE},
        scored_texts={Ask.GENERATION: (HOSTILE + "!",)},
        grades={HOSTILE: Grade(marks=(Mark(value=HOSTILE, outcome=HOSTILE, facts={HOSTILE: HOSTILE}),))},
    )
    chosen = replace(choice_detail(1, [-1.0, -2.0], query=HOSTILE), error=HOSTILE, values={HOSTILE: 1.0})
    request = LoglikelihoodRequest(prompt=(Message(role="user", content=HOSTILE),), choices=(HOSTILE, HOSTILE + "!"))
    turned = replace(
        choice_detail(2, [-1.0, -2.0]),
        doc=Doc(id=HOSTILE, query=HOSTILE, choices=request.choices, gold=(0,)),
        prompt=request.prompt,
        requests={Ask.CHOICES: request},
        turns=((GenerateRequest(prompt=request.prompt), answers), (GenerateRequest(prompt=request.prompt), answers)),
    )
    for place in (folder, folder / "reference"):
        write_details(place, "mini|texts|0", [generated, chosen, turned])
    flips = tuple(Flip(id=name, before=1.0, after=0.0, is_loss=True) for name in (HOSTILE, "test:0"))
    comparison = Comparison(baseline=1.0, candidate=0.9, loss=0.1, lower=0.0, upper=0.2, p=0.1, n=3, lost=2, won=0, method=HOSTILE)
    paired = PairedVerdict(outcome="REGRESSED", line=HOSTILE, red=True, comparison=comparison, max_drop=0.1, flips=flips, notes=(HOSTILE,))
    hostile = Verdict(
        metric="em", outcome="failed", message=HOSTILE, value=0.5, stderr=None, n=1, waiver=HOSTILE, retried=HOSTILE, paired=paired
    )
    other = Verdict(metric=HOSTILE, outcome="failed", message=HOSTILE, value=0.5, stderr=None, n=1)
    report = replace(
        run(TEXTS, verdicts={"mini|texts|0": (hostile, other), HOSTILE: (other,)}, errors={HOSTILE: HOSTILE}, skipped={HOSTILE: HOSTILE}),
        backend={"name": HOSTILE, "model": HOSTILE, HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE},
        command=HOSTILE,
        own_runs={HOSTILE: (TEXTS,)},
        references=(TEXTS,),
        reference_backend={"name": HOSTILE, "model": HOSTILE},
        baselines=({"path": HOSTILE, "sha256": HOSTILE, "tasks": 1, "models": ({"backend": HOSTILE},), "is_pinned": False},),
    )
    write_run(folder, report)
    return folder / "report.html"


def rich_page(folder: Path) -> Path:
    """A page with something for every view: a regression, a pass, a waiver, an error, a reference model's texts, and 600 documents."""
    right, wrong, near = [-1.0, -2.0, -3.0], [-2.0, -1.0, -3.0], [-1.02, -1.0, -3.0]
    now = [wrong if row in (1, 2) else near if row == 3 else right for row in range(600)]
    write_details(folder, "mini|choices|1", (choice_detail(row, logprobs) for row, logprobs in enumerate(now)))
    write_details(folder / "reference", "mini|choices|1", (choice_detail(row, right) for row in range(600)))
    cut = GenerateResponse(texts=("the answer is no",), token_ids=(tuple(range(8)),), finish_reasons=("length",))
    thoughts = "<think>perhaps yes, perhaps no</think>\n yes"
    after = [
        text_detail(0, "the answer is no", response=cut, num_cut=1),
        text_detail(1, thoughts, scored_texts={Ask.GENERATION: (" yes",)}, score=1.0),
    ]
    write_details(folder, "mini|texts|0", after)
    write_details(folder / "reference", "mini|texts|0", [text_detail(0, "the answer is yes", score=1.0), text_detail(1, " yes")])
    choices = result("mini|choices|1", acc=number(597 / 600, 0.0029, 600))
    more = result("mini|choices|5", acc=number(0.53125, 0.0883, 32))
    report = replace(
        run(
            choices,
            more,
            TEXTS,
            *MMLU,
            verdicts={
                "mini|choices|1": (_regressed("acc", "failed", (1, 2, 3)),),
                "mini|texts|0": (_regressed("em", "waived", (0,), waiver="known since the new tokenizer"),),
                "mini|choices|5": (verdict("acc", "passed", 0.53125, floor=0.25),),
            },
            errors={"mini|broken|0": "the server closed the connection"},
            skipped={"mini|other|0": "the backend cannot generate"},
        ),
        references=(choices, TEXTS),
        reference_backend={"name": "fake", "model": "base"},
        command="pytest suites/mini --backend fake",
        model_args={"accuracy": 0.9},
        cache={"misses": 5, "hits": 3, "recalled": 1},
    )
    write_run(folder, report)
    return folder / "report.html"


def _regressed(metric: str, outcome: Literal["failed", "waived"], rows: Sequence[int], *, waiver: str | None = None) -> Verdict:
    """Documents of these rows were lost; the third row by a near tie."""
    margins = {row: (0.05, -0.02) if row == 3 else (1.0, -1.0) for row in rows} if metric == "acc" else {}
    line = f"{metric} 1.000 -> 0.900  loss 10.0 points [5.0, 15.0] (95 %)  p = 0.001  n = 600  REGRESSED (allowed 2.0)"
    paired = PairedVerdict(
        outcome="REGRESSED",
        line=line,
        red=True,
        comparison=Comparison(
            baseline=1.0, candidate=0.9, loss=0.1, lower=0.05, upper=0.15, p=0.001, n=600, lost=len(rows), won=0, method="exact"
        ),
        max_drop=0.02,
        detectable=0.019,
        flips=tuple(Flip(id=f"test:{row}", before=1.0, after=0.0, is_loss=True, margins=margins.get(row)) for row in rows),
        margin_change=0.1 if margins else None,
        notes=("a subset was compared",),
    )
    return Verdict(metric=metric, outcome=outcome, message=line, value=0.9, stderr=0.01, n=600, paired=paired, waiver=waiver)


def several_page(path: Path) -> None:
    """A page of three runs of which only scores are known, beside each other, with a curve."""

    def known(value: float) -> dict[str, Any]:
        return {"metrics": {"a|b|0": {"acc": {"value": value, "stderr": 0.01, "n": 100, "higher_is_better": True}}}}

    def verdicts(outcome: str, word: str, loss: float) -> dict[str, Any]:
        numbers = {"loss": loss, "lower": loss - 0.02, "upper": loss + 0.02, "max_drop": 0.02, "advisory": False, "notes": []}
        paired = {"outcome": word, "line": f"acc  loss {100 * loss:.1f} points  {word}", "detectable": None, "flips": [], **numbers}
        verdict = {"metric": "acc", "outcome": outcome, "message": "", "value": 0.5, "stderr": 0.01, "n": 100, "paired": paired}
        return {"a|b|0": [verdict]}

    points = tuple(
        PagePoint(label=f"step-{step}", step=step, value=value, n=100, change=change, change_lower=low, change_upper=high, outcome=outcome)
        for step, value, change, low, high, outcome in (
            (10, 0.4, None, None, None, None),
            (20, 0.5, 0.1, 0.08, 0.12, "PASSED"),
            (30, 0.45, -0.05, -0.07, -0.03, "REGRESSED"),
        )
    )
    nights = tuple(replace(point, step=1767312000.0 + 86400 * (point.step or 0)) for point in points)
    data = PageData(
        title="3 runs",
        runs=tuple(PageRun(name=name, results=known(value)) for name, value in (("base", 0.5), ("good", 0.51), ("bad", 0.4))),
        comparisons=(
            PageComparison(candidate=1, reference=0, label="base", verdicts=verdicts("passed", "PASSED", -0.01)),
            PageComparison(candidate=2, reference=0, label="base", verdicts=verdicts("failed", "REGRESSED", 0.1)),
        ),
        curves=(
            PageCurve(key="a|b|0", metric="acc", higher_is_better=True, points=points),
            PageCurve(key="a|b|1", metric="acc", higher_is_better=True, points=nights, has_times=True),
        ),
        notes=("what a reader must know",),
    )
    write_page(path, data)


def large_page(path: Path, documents: int) -> None:
    """A page with this many multiple-choice documents."""
    stored = (
        PageDocument(
            id=f"test:{row}",
            doc=PageQuestion(query=f"What is {row} plus {row}?", choices=(" A", " B", " C", " D"), gold=(row % 4,)),
            prompt=f"Seven examples.\n\nWhat is {row} plus {row}?",
            answers={"choices": PageAnswer(response=PageResponse(logprobs=(-1.0 - row % 7, -2.0, -3.0, -4.5), token_counts=(1, 1, 1, 1)))},
            scores={"acc": float(row % 3 > 0)},
        )
        for row in range(documents)
    )
    results = {"metrics": {"big|task|0": {"acc": {"value": 2 / 3, "stderr": 0.001, "n": documents, "higher_is_better": True}}}}
    task = PageTask(key="big|task|0", documents=stored)
    write_page(path, PageData(title="large", runs=(PageRun(name="large", results=results, tasks=(task,)),)))

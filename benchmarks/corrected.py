"""What the corrected tasks change: right and wrong answers, scored as Lighteval's tasks score them and as the corrected ones do.

`python -m benchmarks.corrected [--only TASK]... [--write]` prints a table, or writes it into docs/corrected.md. It needs no model: the
answers are the published ones of the rows at hand, in the forms that models write, and recorded ones for data sets that are not at hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corrected_cases import AIMO, ANNOUNCED, BACCALAUREATE, NUMERACY, SILENT
from benchmarks.corrected_forms import FORMS, Form, Texts
from benchmarks.document import cell, table
from benchmarks.recordings import ROOT, SHARED
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import DataError
from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskPattern
from pytest_lighteval.types import Doc, GenerateResponse, Task

PAGE = ROOT / "docs" / "corrected.md"
BEGIN, END = "<!-- measured: written by `python -m benchmarks.corrected --write` -->", "<!-- end of measured -->"
HEADER = ("task", "answers", "they are", "n", "the task marks right", "the corrected task marks right", "changed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Recorded texts about one document."""

    doc: Doc
    text: str
    is_right: bool
    value: str | None = None
    """As that of a form."""


@dataclass(slots=True, kw_only=True)
class Count:
    """Answers of one form, and how often each task marks them right."""

    n: int = 0
    before: int = 0
    after: int = 0
    changed: int = 0

    def add(self, before: bool, after: bool) -> None:
        """Count one answer."""
        self.n += 1
        self.before += before
        self.after += after
        self.changed += before != after

    def cells(self, task: str, name: str, is_right: bool) -> tuple[str, ...]:
        """A row of the table."""
        shares = [f"{count} ({100 * count / self.n:.1f} %)" for count in (self.before, self.after)]
        return (cell(task), name, "right" if is_right else "wrong", str(self.n), *shares, f"{100 * self.changed / self.n:.1f} %")


def measured(only: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The rows of the table, for the tasks whose names begin with one of `only`, or for all."""
    catalogue, data_sets = Catalogue(), DataSets(data_home=SHARED / "data" / "hub")
    for name, (value, forms) in FORMS.items():
        if not only or name.startswith(tuple(only)):
            counts = {form.name: Count() for form in forms}
            for task in _tasks(catalogue, name):
                corrected = _corrected(catalogue, task)
                try:
                    before, after = _docs(task, data_sets), _docs(corrected, data_sets)
                except DataError as error:
                    sys.stderr.write(f"left out: {error}\n")
                else:
                    _count(task, corrected, value, forms, before, after, counts)
            yield from (counts[form.name].cells(name, form.name, form.is_right) for form in forms if counts[form.name].n)
    if not only or "lighteval|mgsm".startswith(tuple(only)):
        yield from _mgsm(catalogue, data_sets)
    for name, cases in _recorded().items():
        if not only or name.startswith(tuple(only)):
            (task, *_) = _tasks(catalogue, name)
            corrected = _corrected(catalogue, task)
            for is_right in (True, False):
                count = Count()
                for case in cases:
                    if case.is_right == is_right:
                        count.add(*(_is_right(one, case.doc, case.text, case.value) for one in (task, corrected)))
                yield count.cells(name, "recorded ones", is_right)


def _tasks(catalogue: Catalogue, name: str) -> list[Task]:
    suite, _, task = name.partition("|")
    return catalogue.find(TaskPattern(suite=suite, task=task))


def _corrected(catalogue: Catalogue, task: Task) -> Task:
    (found,) = catalogue.find(TaskPattern(suite="corrected", task=f"{task.suite}.{task.name}"))
    return found


def _docs(task: Task, data_sets: DataSets) -> dict[str, Doc]:
    return {doc.id: doc for split in task.evaluation_splits for doc in render_docs(task, data_sets.rows(task, split), split).docs}


def _count(
    task: Task,
    corrected: Task,
    value: str | None,
    forms: Sequence[Form],
    before: Mapping[str, Doc],
    after: Mapping[str, Doc],
    counts: Mapping[str, Count],
) -> None:
    ids = list(after)
    for place, name in enumerate(ids):
        other = after[ids[(place + 1) % len(ids)]]
        for form in forms:
            if (texts := form.make(after[name], other)) is not None:
                old, _, new = (form.value or value or "").partition("/")
                counts[form.name].add(
                    _is_right(task, before[name], texts, old or None), _is_right(corrected, after[name], texts, new or old or None)
                )


def _is_right(task: Task, doc: Doc, texts: Texts, value: str | None = None) -> bool:
    """Whether a reported number (None: the first) of such answers is as high as it can be."""
    entry = next(entry for entry in map(metric, task.metrics) if value is None or value in entry.corpus)
    said = (texts,) * entry.num_samples if isinstance(texts, str) else texts or ()
    cut = tuple(_until_stop(text, task.stop_sequence) for text in said)
    reported = value or next(iter(entry.corpus))
    score = entry.sample(doc, GenerateResponse(texts=cut, finish_reasons=("stop",) * len(cut)))[reported]
    best = (entry.corpus[reported].range or (0.0, 1.0))[1]
    return isinstance(score, float) and score >= best


def _until_stop(text: str, stops: Sequence[str]) -> str:
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _mgsm(catalogue: Catalogue, data_sets: DataSets) -> Iterator[tuple[str, ...]]:
    """The number alone, and a worked answer that ends in the words of the published examples."""
    bare, worked, wrong = Count(), Count(), Count()
    for task in _tasks(catalogue, "lighteval|mgsm"):
        corrected = _corrected(catalogue, task)
        example = next(row for _, row in data_sets.rows(corrected, "train"))
        before, after = _docs(task, data_sets), _docs(corrected, data_sets)
        ending = re.split(r"(?<=[.。।])\s*", example["answer"].strip())[-2:]
        number = str(example["answer_number"])
        sentence = "".join(ending) if ending[-1] else ending[0]
        start = example["answer"][: example["answer"].rindex(sentence)].partition(":")[2]
        for name, doc in after.items():
            gold = doc.golds[0].strip()
            bare.add(_is_right(task, before[name], gold), _is_right(corrected, doc, gold))
            for count, said in ((worked, gold), (wrong, f"{gold}7")):
                text = f" {start.strip()} {_with_last(sentence, number, said)}"
                count.add(_is_right(task, before[name], text), _is_right(corrected, doc, text))
    yield bare.cells("lighteval|mgsm", "the published number alone", True)
    yield worked.cells("lighteval|mgsm", "a worked answer in the words of the examples", True)
    yield wrong.cells("lighteval|mgsm", "the same with another number", False)


def _with_last(text: str, old: str, new: str) -> str:
    head, found, tail = text.rpartition(old)
    if not found:
        raise DataError(f"{text!r} does not hold {old}")
    return head + new + tail


def _recorded() -> Mapping[str, Sequence[Case]]:
    def letter(gold: int) -> Doc:
        return Doc(id="recorded", query="", choices=("A", "B", "C", "D"), gold=(gold,))

    def text(gold: str) -> Doc:
        return Doc(id="recorded", query="", choices=(gold,), gold=(0,))

    return {
        "lighteval|gpqa:main": [
            *(Case(doc=letter("ABCD".index(found)), text=said, is_right=True) for said, found in ANNOUNCED),
            *(Case(doc=letter(gold), text=said, is_right=False) for said, found in ANNOUNCED for gold in range(4) if "ABCD"[gold] != found),
            *(Case(doc=letter(gold), text=said, is_right=False) for said in SILENT for gold in range(4)),
        ],
        "community|aimo_progress_prize_1": [Case(doc=text(gold), text=said, is_right=right) for gold, said, right in AIMO],
        "community|bac-fr": [
            Case(doc=Doc(id="recorded", query="", choices=tuple(choices), gold=(gold,)), text=said, is_right=right)
            for choices, gold, said, right in BACCALAUREATE
        ],
        "helm|numeracy:linear_example": [Case(doc=text(gold), text=said, is_right=right, value="qem") for gold, said, right in NUMERACY],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 2 without the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corrected", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TASK", help="tasks whose names begin so")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    try:
        text = table(HEADER, list(measured(options.only)))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.write:
        write_table(PAGE, text)
    else:
        sys.stdout.write(f"{text}\n")
    return 0


def write_table(page: Path, text: str) -> None:
    """Replace the page's measured part."""
    head, _, rest = page.read_text("utf-8").partition(BEGIN)
    write_atomic(page, f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    sys.exit(main())

"""Evaluate the same rows with lm-evaluation-harness, which is independent of this project, and compare what both define alike.

`python -m benchmarks.harness_check [--environment FOLDER] [--only TASK]... [--write]` prints a table and exits with 1 if anything differs
without an explanation. The harness lives in an environment of its own, which is made when it is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.comparison import difference, is_near_tie, tolerance
from benchmarks.document import DOCUMENT, cell, setting, small, table, write_part
from benchmarks.environments import HARNESS, python_of
from benchmarks.harness_tasks import MAX_LENGTH, PAIRS, Pair
from benchmarks.model import MODEL, real_model
from benchmarks.recordings import ROOT, SHARED, declared_task
from pytest_lighteval.backends.common.model_folder import NamedFolders
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.types import Detail, LoglikelihoodRequest, LoglikelihoodResponse, PerplexityResponse, Task, TaskResult

START = "<|im_end|>"
"""The token for an empty context. The harness's default is the beginning token; Lighteval uses the end token."""
LOG_SOFTMAX_ERROR = 2e-5
"""How far torch's `log_softmax` in fp32, which the harness uses, is off for a token, in nats (measured against float64)."""
HEADER = (
    *("task", "the harness's", "n", "metric", "ours", "theirs"),
    *("texts that both ask", "largest difference of a log-likelihood", "documents that score differently"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One pair's rows in files, and the results of our side."""

    pair: Pair
    task: Task
    """With those files instead of the data set."""
    result: TaskResult
    details: tuple[Detail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, and what is wrong with it."""

    cells: tuple[str, ...]
    problems: tuple[str, ...] = ()
    explanation: str = ""


@dataclass(slots=True, kw_only=True)
class Texts:
    """What the two sides asked, and the log-likelihoods."""

    asked: int = 0
    shared: int = 0
    largest: float = 0.0
    """Difference of a log-likelihood."""
    excused: set[str] = field(default_factory=set)
    """Documents that may score differently: near ties, or other texts for a known reason."""
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 all equal or explained, 1 something is not, 2 it could not be tried."""
    options = _parser().parse_args(arguments)
    try:
        pairs = _chosen(options.only)
        if options.write and len(pairs) < len(PAIRS):
            raise UserInputError(f"--write: {DOCUMENT.name} is written from all tasks; leave --only out")
        python = python_of(HARNESS, options.environment)
        with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
            asked = _ask_ours(pairs, Path(folder))
            theirs = _ask_harness(asked, python, Path(folder))
    except LightevalError as error:
        print(error, file=sys.stderr)
        return 2
    rows = [row for one in asked for row in compare(one, theirs[one.pair.file_name])]
    printed = table(HEADER, [row.cells for row in rows])
    explanations = [row.explanation for row in rows if row.explanation]
    problems = [problem for row in rows for problem in row.problems]
    print(printed, *explanations, *problems, sep="\n")
    if options.write:
        write_part("harness", _part(printed, explanations, problems, python))
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness_check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TASK", help="only this task of the harness; may be given several times")
    parser.add_argument(
        "--environment", type=Path, default=cache_home() / "lm-eval", metavar="FOLDER", help="the harness's own (default: %(default)s)"
    )
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    return parser


def _chosen(names: Sequence[str] | None) -> list[Pair]:
    known = dict.fromkeys(pair.theirs for pair in PAIRS)
    for name in names or ():
        if name not in known:
            raise UserInputError(f"--only: there is no task {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return [pair for pair in PAIRS if not names or pair.theirs in names]


# ------------------------------------------------------------------------------------------------- the two sides


def _ask_ours(pairs: Sequence[Pair], folder: Path) -> list[Asked]:
    backend = real_model(max_length=MAX_LENGTH)
    data_sets = DataSets(data_home=SHARED / "data" / "hub")
    asked: dict[str, Asked] = {}
    for pair in pairs:
        # several pairs with the same task of ours differ only on the other side
        if pair.ours not in asked:
            task = _with_files(pair, data_sets, folder)
            details: list[Detail] = []
            result = evaluate(task, backend, few_shots=pair.few_shots, on_detail=details.append)
            asked[pair.ours] = Asked(pair=pair, task=task, result=result, details=tuple(details))
            print(f"{pair.ours}: asked", file=sys.stderr, flush=True)
    backend.close()
    return [replace(asked[pair.ours], pair=pair) for pair in pairs]


def _with_files(pair: Pair, data_sets: DataSets, folder: Path) -> Task:
    """The pair's task with the rows that both sides read, in files."""
    task = replace(declared_task(*pair.ours.split("|", 1)), **pair.source)
    (split,) = task.evaluation_splits
    rows = [row for _, row in data_sets.rows(task, split)]
    if pair.shortest_of is None:
        n = min(pair.n, len(rows))
        rows = [rows[place * len(rows) // n] for place in range(n)]
    else:
        column = pair.shortest_of
        rows = sorted(rows, key=lambda row: len(row[column]))[: pair.n]
    splits = {split: rows}
    examples = resolve_few_shots_split(task)
    if pair.few_shots and examples is not None:
        splits[examples] = [row for _, row in data_sets.rows(task, examples)]
    files = {}
    for name, chosen in splits.items():
        files[name] = f"{pair.file_name}.{name}.jsonl"
        (folder / files[name]).write_text("".join(json.dumps(row) + "\n" for row in chosen), "utf-8")
    return replace(task, hf_repo=None, hf_subset=None, data_files=files, path=folder / f"{pair.file_name}.yaml")


def _ask_harness(asked: Sequence[Asked], python: Path, folder: Path) -> Mapping[str, Any]:
    backend = real_model(max_length=MAX_LENGTH)
    model = NamedFolders(backend.arguments).model
    tokens = json.loads((model / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    start = next(token["id"] for token in tokens if token["content"] == START)
    job = {
        "model": {
            "pretrained": str(model), "dtype": "float32", "device": "cpu", "batch_size": 8,
            "max_length": MAX_LENGTH, "prefix_token_id": start,
        },
        "tasks": [
            {
                "name": one.pair.file_name,
                "file": one.pair.file,
                "changed": one.pair.changed,
                "split": one.task.evaluation_splits[0],
                "few_shots": one.pair.few_shots,
                "few_shots_split": resolve_few_shots_split(one.task),
                "data_files": {split: str(folder / file) for split, file in one.task.data_files.items()},
            }
            for one in asked
        ],
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    # download nothing, and find nothing of an earlier run in a cache
    settings = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    script = [str(python), str(ROOT / "benchmarks" / "harness_side.py"), str(folder / "job.json"), str(folder / "found.json")]
    ran = subprocess.run(script, env=os.environ | settings, check=False, capture_output=True, text=True)
    if ran.returncode:
        print(ran.stderr, file=sys.stderr)
        raise UserInputError("lm-evaluation-harness failed; its output is above")
    found: dict[str, Any] = json.loads((folder / "found.json").read_text("utf-8"))
    return found


# -------------------------------------------------------------------------------------------------- the comparison


def compare(asked: Asked, theirs: Mapping[str, Any]) -> list[Row]:
    """A line of the table for each metric; `theirs` is the harness's result on the same rows."""
    if "error" in theirs:
        cells = (cell(f"{asked.pair.ours}|{asked.pair.few_shots}"), asked.pair.name, *[""] * (len(HEADER) - 2))
        return [Row(cells=cells, problems=(f"{asked.pair.ours}: the harness cannot evaluate {asked.pair.theirs}: {theirs['error']}",))]
    by_number = {int(detail.doc.id.split(":")[1]): detail for detail in asked.details}
    documents = {int(number): document for number, document in theirs["documents"].items()}
    texts = Texts()
    for number, document in documents.items():
        _compare_texts(texts, asked.pair, by_number[number], document)
    rows = []
    for reported, name in asked.pair.metrics.items():
        values = {number: document["values"][name] for number, document in documents.items()}
        rows.append(_compare_metric(asked, reported, name, by_number, values, theirs["scores"][name], texts))
    reason = asked.pair.other_texts
    if reason is not None:
        reason = f"- `{asked.pair.theirs}` scores {texts.asked - texts.shared} of {texts.asked} texts that ours does not: {reason}."
    problems = (*texts.problems, *rows[0].problems)
    rows[0] = replace(rows[0], problems=problems, explanation="\n".join(filter(None, (reason, rows[0].explanation))))
    return rows


def _compare_texts(texts: Texts, pair: Pair, detail: Detail, document: Mapping[str, Any]) -> None:
    ours, tokens = _likelihoods(detail)
    for text, logprob in zip(document["texts"], document["logprobs"], strict=True):
        texts.asked += 1
        if text in ours:
            texts.shared += 1
            texts.largest = max(texts.largest, difference(ours[text], logprob))
            if not difference(ours[text], logprob) <= max(tolerance(logprob), LOG_SOFTMAX_ERROR * tokens[text]):
                texts.problems.append(f"{pair.ours}: {detail.doc.id}: {text[-200:]!r}: ours {ours[text]}, theirs {logprob}")
        elif pair.other_texts is None:
            texts.problems.append(f"{pair.ours}: {detail.doc.id}: the harness asks {text[-200:]!r}, we do not")
        else:
            texts.excused.add(detail.doc.id)
    if is_near_tie(document["logprobs"], document["continuations"]):
        texts.excused.add(detail.doc.id)


def _likelihoods(detail: Detail) -> tuple[dict[str, float], dict[str, int]]:
    """Context and continuation as one text -> the log-likelihood of the continuation, or a whole text -> its own; and the tokens scored."""
    found: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for ask, request in detail.requests.items():
        response = detail.responses[ask]
        if isinstance(request, LoglikelihoodRequest) and isinstance(response, LoglikelihoodResponse):
            texts = [f"{request.prompt}{choice}" for choice in request.choices]
            found |= zip(texts, response.logprobs, strict=True)
            # without the tokens, a token has one character at least
            counts = response.token_counts or [len(choice) for choice in request.choices]
            tokens |= zip(texts, counts, strict=True)
        elif isinstance(response, PerplexityResponse) and response.logprob is not None:
            found[detail.doc.query] = response.logprob
            tokens[detail.doc.query] = response.token_count
    return found, tokens


def _compare_metric(
    asked: Asked,
    reported: str,
    name: str,
    by_number: Mapping[int, Detail],
    theirs: Mapping[int, Any],
    score: float,
    texts: Texts,
) -> Row:
    pair, result = asked.pair, asked.result.metrics[reported]
    explained = pair.explained.get(reported)
    differ, problems = 0, []
    for number, detail in by_number.items():
        expected = _numbers(theirs[number])
        if _near(_numbers(detail.values[reported]), expected):
            continue
        differ += 1
        if detail.doc.id in texts.excused:
            continue
        if explained is None:
            problems.append(f"{pair.ours}: {detail.doc.id}: {reported}: ours {detail.values[reported]}, theirs {theirs[number]}")
        else:
            response = next(one for one in detail.responses.values() if isinstance(one, LoglikelihoodResponse))
            if not _near(_numbers(explained.theirs(detail.doc, response)), expected):
                problems.append(f"{pair.ours}: {detail.doc.id}: {reported}: theirs {theirs[number]} is not what was explained")
    if not differ and difference(result.value, score) > 5e-4 * max(1.0, abs(score)):
        problems.append(f"{pair.ours}: {reported}: the aggregates differ: ours {result.value}, theirs {score}")
    cells = (
        cell(f"{pair.ours}|{pair.few_shots}"),
        pair.name,
        str(len(by_number)),
        reported if reported == name else f"{reported} ({name})",
        f"{result.value:.4f}",
        f"{score:.4f}",
        f"{texts.shared} of {texts.asked}",
        small(texts.largest) if texts.shared else "",
        str(differ),
    )
    explanation = f"- `{pair.ours}`, {reported}, {differ} documents: {explained.reason}." if explained is not None else ""
    return Row(cells=cells, problems=tuple(problems), explanation=explanation)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, (list, tuple)) else (float(value),)


def _near(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """The harness keeps no number of units for a continuation's perplexity, which both divide by documents."""
    return all(difference(one, other) <= tolerance(other) for one, other in zip(ours, theirs, strict=False))


# ---------------------------------------------------------------------------------------------------- the document


def _part(printed: str, explanations: Sequence[str], problems: Sequence[str], python: Path) -> str:
    command = "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in ('lm_eval', 'torch', 'transformers')))"
    versions = subprocess.run([str(python), "-c", command], check=True, capture_output=True, text=True).stdout.strip()
    listed = "\n".join(explanations)
    return f"""\
## Against lm-evaluation-harness

Ours: {setting("torch", "transformers", "tokenizers")}.
Theirs: {versions}, in an environment of its own.
Model: SmolLM2-135M-Instruct as `{MODEL}`, both sides from the same folder, no chat template, at most {MAX_LENGTH} tokens.

The harness evaluates its own tasks (prompts, metrics, aggregates) on the same rows as ours.
The rows are documents spread evenly over the split, the shortest pages of WikiText, and the few-shot examples.

Three things must hold, unless an explanation below the table says otherwise:

- our task also scores every text that the harness scores;
- the two log-likelihoods are within max(5e-4, 5e-6 x |sum|, 2e-5 x tokens) nats, the last for the error of `log_softmax` in fp32;
- every document has the same score.

{len(problems)} differences have no explanation.

One setting of the harness is not its default: `prefix_token_id`, the token for an empty context, is `{START}`, as in Lighteval.
The default is the beginning token, which gives other scores for BLiMP and WikiText.

{printed}

What differs by definition:

{listed}

If the texts differ, the table has the harness's task once more, with the one setting changed that its name gives.
This task scores the same texts as ours and gives the same scores.
If a metric differs, our log-likelihoods and the harness's definition give the harness's value for every such document.

### Not covered

- Generated texts: the two programs stop, cut and extract answers by different rules.
- Tasks of the same name that score different things, such as WinoGrande.
  The harness scores the same ending after each option; Lighteval scores the option together with the ending.
"""


if __name__ == "__main__":
    sys.exit(main())

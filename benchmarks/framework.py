"""What a document costs besides the model: a task from its rows to its result, with a model that answers at once.

`python -m benchmarks.framework [--documents N] [--write]` prints documents a second, and the part of the time in which details are
written. `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.document import table
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.evaluate import evaluate
from pytest_lighteval.reports.details import DetailsWriter
from pytest_lighteval.types import (
    Detail,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    PromptTemplate,
    RequestKind,
    Task,
    TaskKey,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/performance.md"
TOKENS, ANSWER_TOKENS = 700, 128
"""Of a prompt with its few-shots, and of a generated text. Both are in the details."""
SHOTS = 5


class FreeBackend:
    """Answers at once, always the same, with as many token ids as a real engine reports."""

    name = "free"
    fingerprint = "free"
    supports = frozenset(RequestKind)
    max_length = None
    _PROMPT = tuple(range(TOKENS))
    _TEXT = "The answer is 4. " * (ANSWER_TOKENS // 5)

    def count_tokens(self, prompt: Prompt) -> int | None:
        return None

    def render(self, messages: Sequence[Message]) -> str | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        for index, request in enumerate(requests):
            count = len(request.choices)
            yield (
                index,
                LoglikelihoodResponse(
                    logprobs=tuple(-1.23456789 / (1 + (index + choice) % count) for choice in range(count)),
                    greedy=(False,) * count,
                    token_counts=(1,) * count,
                    prompt_token_ids=self._PROMPT,
                    choice_token_ids=((7,),) * count,
                ),
            )

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        response = GenerateResponse(
            texts=(self._TEXT,), token_ids=(self._PROMPT[:ANSWER_TOKENS],), finish_reasons=("stop",), prompt_token_ids=self._PROMPT
        )
        yield from ((index, response) for index in range(len(requests)))

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        yield from ((index, PerplexityResponse(logprob=-123.456789, token_count=TOKENS)) for index in range(len(requests)))

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One task."""

    name: str
    documents: int
    seconds: float
    """Of the processor, from the rows to the result."""
    details_seconds: float
    """Of these, for writing details."""

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        each = 1000 * self.seconds / self.documents
        return (self.name, f"{self.documents / self.seconds:,.0f}", f"{each:.2f} ms", f"{self.details_seconds / self.seconds:.0%}")


TASKS: Mapping[str, tuple[str, ...]] = {
    "multiple choice, 5-shot, `acc` and `acc_norm`": ("loglikelihood_acc", "loglikelihood_acc_norm"),
    "generation, 5-shot, 128 tokens, exact match": ("exact_match",),
    "perplexity": ("word_perplexity",),
}


def measure(name: str, folder: Path, *, documents: int) -> Measured:
    """Evaluate one of the tasks."""
    rows = [{"question": f"What is {n} + 2? " * 12, "choices": [" 2", " 3", " 4", " 5"], "answer": n % 4} for n in range(documents)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    metrics = TASKS[name]
    task = Task(
        suite="free",
        name=re.sub(r"\W", "_", name),
        prompt=PromptTemplate(query="{{ question }}\nAnswer:", choices="{{ choices }}", gold="{{ answer }}"),
        metrics=metrics,
        path=folder / "free.yaml",
        line=1,
        data_files={"test": "test.jsonl"},
        hf_avail_splits=("test",),
        evaluation_splits=("test",),
        few_shots_select="sequential",
        generation_size=ANSWER_TOKENS,
    )
    shots = 0 if metrics == ("word_perplexity",) else SHOTS
    spent = 0.0

    def write(detail: Detail) -> None:
        nonlocal spent
        begun = time.process_time()
        writer.write(detail)
        spent += time.process_time() - begun

    started = time.process_time()
    with DetailsWriter(folder / "run", TaskKey(suite=task.suite, task=task.name, few_shots=shots)) as writer:
        evaluate(task, FreeBackend(), few_shots=shots, on_detail=write)
    return Measured(name=name, documents=documents, seconds=time.process_time() - started, details_seconds=spent)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framework", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=2000, help="of each task")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="framework-") as folder:
        measure(next(iter(TASKS)), Path(folder), documents=20)  # imports and first calls
        measured = [measure(name, Path(folder), documents=options.documents) for name in TASKS]
    header = ("task", "documents a second", "each", "of which details")
    text = f"{table(header, [row.cells for row in measured])}\n\n{_setting(options.documents)}"
    sys.stdout.write(text + "\n")
    if options.write:
        _write(text)
    return 0


def _setting(documents: int) -> str:
    return (
        f"Seconds of one core of {os.cpu_count()} ({platform.machine()}, Python {platform.python_version()}), {documents:,} documents, "
        f"prompts of {TOKENS} tokens."
    )


def _write(text: str) -> None:
    begin, end = "<!-- measured by `python -m benchmarks.framework --write` -->", "<!-- end of the framework -->"
    old = DOCUMENT.read_text("utf-8")
    write_atomic(DOCUMENT, re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", old, flags=re.DOTALL))


if __name__ == "__main__":
    sys.exit(main())

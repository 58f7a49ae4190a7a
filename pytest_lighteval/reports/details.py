"""details/*.jsonl: one line for every document asked, with its prompt, the model's responses and their scores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytest_lighteval.common.file_names import file_name
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.line_encoder import Without, encode_line
from pytest_lighteval.types import Detail, Grade, Request, Response, TaskKey


def details_path(report_dir: Path, key: TaskKey) -> Path:
    """`details/<suite>/<task with : as .>.<n>-shot[.trunc].jsonl` below the run's folder; no two keys have one path."""
    return report_dir / "details" / file_name(key.suite) / f"{_stem(key)}.jsonl"


def _stem(key: TaskKey) -> str:
    return f"{file_name(key.task)}.{key.few_shots}-shot" + (".trunc" if key.truncate else "")


class DetailsWriter:
    """Streams the details of one item: every document is in the file as soon as it is scored.

    The file is called `.partial.jsonl` until the block ends without an error. If the block fails or the process is killed, it keeps
    that name: what was measured stays, and nobody takes it for everything. Two writers for one item never share a file: the second
    one starts `.2.partial.jsonl`, and the one that ends last gets the final name. If a write fails (a full disk), it raises
    LightevalError, and the file keeps every whole line before it.
    """

    def __init__(self, report_dir: Path, key: TaskKey, *, mask: Callable[[str], str] | None = None) -> None:
        self._mask = mask
        """Removes secrets from a line. None: there are none."""
        self.path = details_path(report_dir, key)
        """Where the details are once they are complete."""
        self.partial = self.path.with_suffix(".partial.jsonl")
        """Where they are until then."""
        self._descriptor = -1
        self._size = 0
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._open()
        except OSError as error:
            raise self._failure(error) from error
        return self

    def _open(self) -> int:
        stem = self.path.with_suffix("")
        attempt = 1
        while True:
            try:
                return os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                attempt += 1
                self.partial = Path(f"{stem}.{attempt}.partial.jsonl")

    def write(self, detail: Detail) -> None:
        """Add one line."""
        line = encode_line(detail_line(detail, seconds=time.perf_counter() - self._started))
        unwritten = memoryview(line if self._mask is None else self._mask(line.decode()).encode())
        size = self._size + len(unwritten)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self._descriptor, unwritten) :]
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            raise self._failure(error) from error
        self._size = size

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            os.close(self._descriptor)
            if kind is None:
                self.partial.replace(self.path)
            elif self._size == 0:
                self.partial.unlink(missing_ok=True)
        except OSError as problem:
            if kind is None:
                raise self._failure(problem) from problem

    def _failure(self, error: OSError) -> LightevalError:
        return LightevalError(f"{error.filename or self.partial}: the details cannot be written: {error.strerror}")


def detail_line(detail: Detail, *, seconds: float) -> dict[str, Any]:
    """The line's object, to be encoded; `seconds` is the time from the item's start until the document was scored.

    `answers` has, by what was asked, the request and the response. A request's prompt is left out if it is the line's own, and its
    `tokenization` if it leaves that open.
    `grades` has, by metric, what a grader said of each scored text; it is only there where something ran or read the answers.
    `not_judged` is only there where a metric gave up, `cut_texts` where texts ended at the limit of new tokens, `cut_in_thoughts` where a
    text ended within thoughts, `empty_reasons` where a text is empty for a known reason.
    """
    doc = detail.doc
    return {
        "id": doc.id,
        "few_shot_seed": detail.few_shot_seed,
        "doc": doc if doc.turns else Without(doc, "turns"),
        "prompt": detail.prompt,
        "prompt_digest": detail.prompt_digest,
        "few_shot_ids": detail.few_shot_ids,
        "answers": {str(ask): _answer(detail, ask) for ask in sorted(detail.requests)},
        **({"extracted": dict(detail.extracted)} if detail.extracted else {}),
        "scores": dict(detail.values),
        "baseline_scores": detail.baseline,
        "truncated": detail.truncated,
        "error": detail.error,
        **({"turns": [_turn(request, response) for request, response in detail.turns]} if detail.turns else {}),
        **({"grades": {name: _grade(grade) for name, grade in detail.grades.items()}} if detail.grades else {}),
        **({"not_judged": dict(detail.not_judged)} if detail.not_judged else {}),
        **({"cut_texts": detail.num_cut} if detail.num_cut else {}),
        **({"cut_in_thoughts": detail.cut_in_thoughts} if detail.cut_in_thoughts else {}),
        "seconds": round(seconds, 3),
    }


def _grade(grade: Grade) -> list[dict[str, Any]]:
    return [{"outcome": mark.outcome, "mark": mark.value, **mark.facts} for mark in grade.marks]


def _turn(request: Request, response: Response) -> dict[str, Any]:
    return {"request": _request(request), "response": _response(response)}


def _request(request: Request, *left_out: str) -> object:
    if request.tokenization is None:
        left_out = (*left_out, "tokenization")
    return Without(request, *left_out) if left_out else request


def _response(response: Response | None) -> object:
    return Without(response, "empty_reasons") if response and not getattr(response, "empty_reasons", True) else response


def _answer(detail: Detail, ask: str) -> dict[str, Any]:
    request, response = detail.requests[ask], detail.responses.get(ask)
    answer: dict[str, Any] = {
        "request": _request(request, *(("prompt",) if getattr(request, "prompt", None) == detail.prompt else ())),
        "response": _response(response),
    }
    if ask in detail.scored_texts:
        answer["scored_texts"] = detail.scored_texts[ask]
    return answer

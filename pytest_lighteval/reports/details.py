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
from pytest_lighteval.reports.serialize import to_json, to_plain
from pytest_lighteval.types import Ask, Detail, TaskKey


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

    def __init__(self, report_dir: Path, key: TaskKey, *, mask: Callable[[str], str] = str) -> None:
        self._mask = mask
        """Removes secrets from a line."""
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
        line = self._mask(to_json(detail_line(detail, seconds=time.perf_counter() - self._started)))
        unwritten = memoryview((line + "\n").encode())
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
    """The line's object; `seconds` is the time from the item's start until the document was scored.

    `answers` has, by what was asked, the request and the response. A request's prompt is left out if it is the line's own.
    `not_judged` is only there where a metric gave up, `cut_in_thoughts` where a text ended within thoughts, `empty_reasons` where a text
    is empty for a known reason.
    """
    doc = detail.doc
    return {
        "id": doc.id,
        "few_shot_seed": detail.few_shot_seed,
        "doc": to_plain(doc),
        "prompt": to_plain(detail.prompt),
        "prompt_digest": detail.prompt_digest,
        "few_shot_ids": detail.few_shot_ids,
        "answers": {ask.value: _answer(detail, ask) for ask in sorted(detail.requests)},
        "scores": to_plain(detail.values),
        "baseline_scores": to_plain(detail.baseline),
        "truncated": detail.truncated,
        "error": detail.error,
        **({"not_judged": to_plain(detail.not_judged)} if detail.not_judged else {}),
        **({"cut_in_thoughts": detail.cut_in_thoughts} if detail.cut_in_thoughts else {}),
        "seconds": round(seconds, 3),
    }


def _answer(detail: Detail, ask: Ask) -> dict[str, Any]:
    request = to_plain(detail.requests[ask])
    if request.get("prompt") == to_plain(detail.prompt):
        del request["prompt"]
    response = to_plain(detail.responses.get(ask))
    if isinstance(response, dict) and not response.get("empty_reasons", True):
        del response["empty_reasons"]
    answer = {"request": request, "response": response}
    if ask in detail.scored_texts:
        answer["scored_texts"] = detail.scored_texts[ask]
    return answer

"""`--judge-anchors FILE`: people's verdicts on answers, one a line of JSON, to hold a judge against and to correct its scores with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pytest_lighteval.common.msgspec_errors import place_and_problem
from pytest_lighteval.errors import FileError, UserInputError

_WORDS = {
    "correct": 1.0,
    "right": 1.0,
    "yes": 1.0,
    "a": 1.0,
    "incorrect": 0.0,
    "wrong": 0.0,
    "no": 0.0,
    "b": 0.0,
    "not_attempted": 0.0,
    "c": 0.0,
}
"""Verdicts in words, for the metrics that ask whether an answer is right."""


class _Line(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    document: str
    verdict: float | str
    answer: str | list[str] | None = None
    answer_sha256: str | None = None
    task: str | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A person's verdict on one answer."""

    document: str
    """Its id, such as `test:12`."""
    verdict: float
    """In the metric's own unit: 7 on MT-Bench's scale, 1 for a right answer."""
    answer: tuple[str, ...] | None
    """Turn by turn. None: only its digest is known."""
    digest: str
    """SHA-256 of the answer."""
    task: str | None
    """`suite|task`. None: every task that has this document."""
    metric: str | None
    """Reported name. None: the task's only one that people's verdicts can correct, or all of them."""

    def is_about(self, task: str, metric: str) -> bool:
        """Whether it is a verdict of this metric of a task."""
        return self.task in (None, task) and self.metric in (None, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The file."""

    path: Path
    anchors: tuple[Anchor, ...] = field(repr=False)
    digest: str
    """12 hex digits of its content."""

    def of(self, task: str, metric: str) -> tuple[Anchor, ...]:
        """The verdicts of this metric of a task, in the file's order."""
        return tuple(anchor for anchor in self.anchors if anchor.is_about(task, metric))

    @property
    def tasks(self) -> frozenset[str]:
        """Those that verdicts name."""
        return frozenset(anchor.task for anchor in self.anchors if anchor.task is not None)


def answer_digest(texts: Sequence[str]) -> str:
    """SHA-256 of an answer; of several turns, of their texts with a zero byte between them."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def read_anchors(path: Path) -> Anchors:
    """The verdicts of a file. Raises UserInputError if it cannot be read, FileError for a line that is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"--judge-anchors {path}: cannot be read: {error.strerror}") from error
    anchors: list[Anchor] = []
    seen: dict[tuple[object, ...], int] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=_Line)
        except msgspec.ValidationError as error:
            place, problem = place_and_problem(error)
            raise FileError(path, number, place.strip("."), problem.replace("`", "")) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(path, number, "", f"not a line of JSON: {error}") from None
        anchor = _anchor(path, number, entry)
        key = (anchor.task, anchor.metric, anchor.document, anchor.digest)
        if key in seen:
            raise FileError(path, number, "document", f"line {seen[key]} has a verdict on the same answer to {anchor.document}")
        seen[key] = number
        anchors.append(anchor)
    if not anchors:
        raise UserInputError(f"--judge-anchors {path}: has no verdict; a line is {_EXAMPLE}")
    return Anchors(path=path, anchors=tuple(anchors), digest=hashlib.sha256(content).hexdigest()[:12])


_EXAMPLE = '{"task": "lighteval|simpleqa", "document": "test:12", "answer": "Paris", "verdict": "correct"}'


def _anchor(path: Path, number: int, entry: _Line) -> Anchor:
    texts = None if entry.answer is None else (entry.answer,) if isinstance(entry.answer, str) else tuple(entry.answer)
    if (texts is None) == (entry.answer_sha256 is None):
        raise FileError(path, number, "answer", "give either answer or answer_sha256")
    if texts == ():
        raise FileError(path, number, "answer", "has no turn")
    return Anchor(
        document=entry.document,
        verdict=_verdict(path, number, entry.verdict),
        answer=texts,
        digest=answer_digest(texts) if texts is not None else (entry.answer_sha256 or "").lower(),
        task=entry.task,
        metric=entry.metric,
    )


def _verdict(path: Path, number: int, said: float | str) -> float:
    if isinstance(said, str):
        word = said.strip().lower().replace(" ", "_")
        if word not in _WORDS:
            raise FileError(path, number, "verdict", f"{said!r} is no number, and none of {', '.join(_WORDS)}")
        return _WORDS[word]
    if not float("-inf") < said < float("inf"):
        raise FileError(path, number, "verdict", "must be a finite number")
    return float(said)


def labels(anchors: Sequence[Anchor], answers: Mapping[str, str]) -> dict[str, float]:
    """Document id -> a person's verdict on exactly this answer. `answers`: document id -> digest of its answer in this run."""
    return {anchor.document: anchor.verdict for anchor in anchors if answers.get(anchor.document) == anchor.digest}

"""Findings that a project knows and lives with, each with its reason: in the suite file, or in a file for suites of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.tasks.task_spec import TaskPattern, parse_pattern
from pytest_lighteval.types import Finding, Task, TaskCheck, TaskKey
from pytest_lighteval.types.check import FINDING_KINDS

_FIELDS = ("task", "finding", "reason", "documents")
_SHAPE = "{task: lighteval|drop, finding: gold-cut-by-stop, documents: 147, reason: as the reference has it}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One entry: a finding of these tasks is expected."""

    where: str
    """`path:line`."""
    pattern: TaskPattern
    """A task, or a superset with all of its tasks."""
    finding: str
    reason: str
    documents: int | None = None
    """The most that it covers. None: any number."""

    def covers(self, task: str) -> bool:
        """Whether the entry is about this task, `suite|task`."""
        suite, _, name = task.partition("|")
        key = TaskKey(suite=suite, task=name, few_shots=0)
        return self.pattern.covers(key) or (key.superset is not None and self.pattern.covers(key.superset))


def load_accepted(path: Path) -> tuple[Accepted, ...]:
    """Read a YAML list of accepted findings; an empty file has none.

    Raises FileError, `path:line: field: problem`, for a mistake, and UserInputError if the file cannot be read.
    """
    file = YamlFile(path)
    entries = [] if file.data is None else file.data
    if not isinstance(entries, list):
        raise file.error((), f"a list of accepted findings is needed, each like - {_SHAPE}")
    return tuple(_accepted(file, index, path) for index in range(len(entries)))


def _accepted(file: YamlFile, index: int, path: Path) -> Accepted:
    texts: dict[str, str] = {}
    for name in file.mapping((index,), example=_SHAPE):
        if name not in _FIELDS:
            problem = f"unknown field {name!r}; an entry has {', '.join(_FIELDS)}{did_you_mean(name, _FIELDS)}"
            raise file.error((index,), problem, line=file.line((index, name)))
        texts[name] = " ".join((file.text((index, name)) or "").split())
        if not texts[name]:
            raise file.error((index, name), "a text or number is needed")
    for name in ("task", "finding", "reason"):
        if name not in texts:
            raise file.error((index,), f"{name} is missing; an entry is written {_SHAPE}")
    try:
        pattern = parse_pattern(texts["task"])
    except UserInputError as error:
        raise file.error((index, "task"), str(error)) from None
    if pattern.few_shots is not None:
        raise file.error(
            (index, "task"), f"{texts['task']}: a finding is about a task at any few-shot count: write {pattern.suite}|{pattern.task}"
        )
    if (finding := texts["finding"]) not in FINDING_KINDS:
        raise file.error((index, "finding"), f"there is no finding {finding!r}{did_you_mean(finding, FINDING_KINDS)}")
    documents = texts.get("documents")
    if documents is not None and not documents.isdecimal():
        raise file.error((index, "documents"), f"{documents!r} is not a number of documents")
    return Accepted(
        where=f"{path}:{file.line((index,))}",
        pattern=pattern,
        finding=finding,
        reason=texts["reason"],
        documents=None if documents is None else int(documents),
    )


def accept(check: TaskCheck, task: Task, entries: Sequence[Accepted]) -> TaskCheck:
    """The check with the reasons of its accepted findings. A finding that grew beyond its entry stays open, and says so."""
    mine = [entry for entry in entries if entry.covers(task.id)]
    return replace(check, findings=tuple(_accept(finding, task, mine) for finding in check.findings))


def _accept(finding: Finding, task: Task, entries: Iterable[Accepted]) -> Finding:
    if finding.kind in task.accepted_findings:
        return replace(finding, accepted=task.accepted_findings[finding.kind])
    for entry in entries:
        if entry.finding != finding.kind:
            continue
        if entry.documents is None or finding.count <= entry.documents:
            return replace(finding, accepted=entry.reason)
        finding = replace(finding, message=f"{finding.message} ({entry.where} accepts {entry.documents})")
    return finding


def idle_entries(entries: Iterable[Accepted], checks: Iterable[TaskCheck]) -> tuple[str, ...]:
    """One line for each entry that covers a checked task and none of its findings: what it accepted is mended, or it is misspelt."""
    checked = list(checks)
    lines = []
    for entry in entries:
        covered = [check for check in checked if entry.covers(check.task)]
        if covered and not any(finding.kind == entry.finding for check in covered for finding in check.findings):
            lines.append(f"{entry.where}: {entry.pattern} has no {entry.finding}: remove the entry")
    return tuple(lines)

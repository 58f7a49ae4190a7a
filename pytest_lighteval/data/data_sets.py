"""The rows of a task's data set: found, read, filtered, and kept for the next time that they are needed. Renders nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_lighteval.data.hub_revisions import confirm_commit, current_commit
from pytest_lighteval.data.readers import data_set_name
from pytest_lighteval.data.row_cache import RowCache
from pytest_lighteval.data.sources import Source, find_source, listed, row_source
from pytest_lighteval.errors import DataError, in_one_line
from pytest_lighteval.prompts.templates import compile_expression
from pytest_lighteval.prompts.text_values import RenderError
from pytest_lighteval.types import Row, Task

NumberedRows = list[tuple[int, Row]]
"""Rows in stored order, each with its number in the stored split."""

_KEPT_SPLITS = 4
"""Enough for the splits of one task, which are needed again at its next few-shot count."""
_RACY_NANOSECONDS = 2_000_000_000
"""A file that changed this recently could change again under the same time stamp."""


class DataSets:
    """The data sets of a run. The last few splits stay in memory; their rows must not be changed.

    Args:
        data_home: A folder of `<owner>/<name>` repositories that is used instead of the hub, which is then never asked. An
            `ALIASES.json` in it or beside it maps names that have moved. Revisions mean nothing there.
        row_cache: Keeps rows for other processes, which then need neither `datasets` nor pyarrow. None: nothing is kept.
    """

    def __init__(self, *, data_home: Path | None = None, row_cache: RowCache | None = None) -> None:
        self._data_home = data_home
        self._row_cache = row_cache
        self._kept: OrderedDict[tuple[Any, ...], NumberedRows] = OrderedDict()
        self._commits: dict[tuple[str, str | None], str | None] = {}

    def rows(self, task: Task, split: str) -> NumberedRows:
        """The rows of a split for which the task's filter is true, with their numbers, in stored order; never empty.

        A file that has changed is read again.

        Raises:
            DataError: The data set, subset, split, a file or a column of the filter is missing, malformed or empty.
            MissingExtraError: The library that reads it is not installed.
        """
        source = self._source(task, split)
        key = (*source.identity, task.hf_filter)
        if key not in self._kept:
            self._kept[key] = self._load(task, split, source)
            if len(self._kept) > _KEPT_SPLITS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return _wanted(task, split, self._kept[key])

    def row_source(self, task: Task, split: str) -> str:
        """Where the rows of a split are stored, the same for every task that reads them. Raises DataError as `rows`."""
        return row_source(task, split, data_home=self._data_home)

    def _source(self, task: Task, split: str) -> Source:
        return find_source(task, split, data_home=self._data_home)

    def _load(self, task: Task, split: str, source: Source) -> NumberedRows:
        """The rows from the cache, or from the source; these are cached if it is certain which state of the source they are."""
        if self._row_cache is None or source.is_fast:
            return _read_split(task, split, source)
        commit = self._commit(task) if source.is_on_hub else None
        if source.is_on_hub and commit is None:
            return _read_split(task, split, source)
        identity = (*source.identity, commit, task.hf_filter)
        rows = self._row_cache.load(identity)
        if rows is None:
            rows = _read_split(task, split, source)
            if self._is_certain(task, split, source, commit):
                self._row_cache.save(identity, rows)
        return rows

    def _commit(self, task: Task) -> str | None:
        """The commit of the task's data set on the hub, which is asked once a session."""
        repo = task.hf_repo or ""
        if (repo, task.hf_revision) not in self._commits:
            self._commits[repo, task.hf_revision] = current_commit(repo, task.hf_revision)
        return self._commits[repo, task.hf_revision]

    def _is_certain(self, task: Task, split: str, source: Source, commit: str | None) -> bool:
        """Whether the source is still as it was before the rows were read, and could not have changed unnoticed."""
        if commit is not None:
            return confirm_commit(task.hf_repo or "", task.hf_revision, commit)
        newest = max((max(file.mtime_ns, file.ctime_ns) for file in source.files), default=0)
        return self._source(task, split).identity == source.identity and time.time_ns() - newest > _RACY_NANOSECONDS


def rows_fingerprint(rows: Iterable[tuple[int, Row]]) -> str:
    """SHA-256 (hex) of the rows' content in order; the same for equal content, wherever it was read from."""
    digest = hashlib.sha256()
    for _, row in rows:
        digest.update(json.dumps(row, sort_keys=True, separators=(",", ":"), default=_plain).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> str:
    """What JSON has no form for: bytes as hex, dates as ISO 8601, decimals as written."""
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _read_split(task: Task, split: str, source: Source) -> NumberedRows:
    rows = source.read()
    if not rows:
        raise DataError(f"{task.id}: the split {split!r} of {data_set_name(task)} is empty")
    return _filtered(task, split, rows)


def _wanted(task: Task, split: str, rows: NumberedRows) -> NumberedRows:
    """The rows that the filter of a Python module keeps. It is run each time: nothing tells one version of a function from another."""
    if task.code is None or task.code.is_wanted is None:
        return rows
    kept = []
    for number, row in rows:
        try:
            if task.code.is_wanted(dict(row)):
                kept.append((number, row))
        except Exception as error:  # it is the user's code: anything may come out
            problem = f"raised {type(error).__name__}: {in_one_line(error)}; the columns are {listed(row)}"
            raise DataError(f"{task.id}: {split}:{number}: hf_filter of {task.path}:{task.line} {problem}") from error
    if not kept:
        raise DataError(f"{task.id}: hf_filter of {task.path}:{task.line} leaves none of the {len(rows)} rows of the split {split!r}")
    return kept


def _filtered(task: Task, split: str, rows: Sequence[Row]) -> NumberedRows:
    numbered = list(enumerate(rows))
    if task.hf_filter is None:
        return numbered
    is_wanted = compile_expression(task.hf_filter)
    kept = []
    for number, row in numbered:
        try:
            if is_wanted({**row, "row": row}):
                kept.append((number, row))
        except RenderError as error:
            columns = listed(row)
            raise DataError(f"{task.id}: {split}:{number}: hf_filter {task.hf_filter!r}: {error}; the columns are {columns}") from error
    if not kept:
        raise DataError(f"{task.id}: hf_filter {task.hf_filter!r} leaves none of the {len(rows)} rows of the split {split!r}")
    return kept

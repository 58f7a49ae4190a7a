"""Read the rows of a split: from JSONL and parquet files, or with `datasets` from a folder or the hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.errors import DataError, MissingExtraError, in_one_line
from pytest_lighteval.types import Row, Task

_ROWS_AT_ONCE = 1024


def read_file(task: Task, path: Path) -> list[Row]:
    """The rows of a `.jsonl` or `.parquet` file. Raises DataError, and MissingExtraError without pyarrow."""
    if path.suffix == ".parquet":
        return _read_parquet(task, path)
    if path.suffix == ".jsonl":
        return _read_jsonl(task, path)
    raise DataError(f"{task.id}: {path}: a data file is .jsonl or .parquet")


def _read_parquet(task: Task, path: Path) -> list[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "hub") from error
    try:
        with parquet.ParquetFile(path) as file:
            # batch by batch: the columns and all rows made of them are never in memory together
            rows: list[Row] = [row for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE) for row in batch.to_pylist()]
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{task.id}: {path}: cannot be read as parquet: {in_one_line(error)}") from error
    return rows


def _read_jsonl(task: Task, path: Path) -> list[Row]:
    try:
        with path.open("rb") as file:  # line by line: the file's text and its rows are never in memory together
            return [row for number, line in enumerate(file, start=1) if (row := _row(path, number, line)) is not None]
    except OSError as error:
        raise DataError(f"{task.id}: {path}: {error.strerror or error}") from error


def _row(path: Path, number: int, line: bytes) -> Row | None:
    """The row in a line. None: the line is blank."""
    if not line.strip():
        return None
    try:
        row = json.loads(line.removesuffix(b"\n").decode("utf-8-sig" if number == 1 else "utf-8"))
    except ValueError as error:  # of the encoding or of the JSON
        raise DataError(f"{path}:{number}: not a line of JSON: {in_one_line(error)}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: a row must be a mapping of columns to values, this is {type(row).__name__}")
    return row


def read_folder(task: Task, folder: Path, split: str) -> list[Row]:
    """The rows of a folder in any layout that `datasets` knows. Raises as `read_hub`."""
    # its cache may return an older state of a local folder, so it gets an empty one
    with tempfile.TemporaryDirectory(prefix="lighteval-") as cache:
        return _load_dataset(task, str(folder), split, cache_dir=cache)


def read_hub(task: Task, split: str) -> list[Row]:
    """The rows of the task's repository on the hub. Raises DataError, and MissingExtraError without `datasets`."""
    return _load_dataset(task, task.hf_repo or "", split, revision=task.hf_revision)


def _load_dataset(task: Task, name: str, split: str, **arguments: Any) -> list[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    PROGRESS.info("%s: reading the split %s of %s", task.id, split, data_set_name(task))
    try:
        with no_progress_bars():
            rows: list[Row] = datasets.load_dataset(name, task.hf_subset, split=split, **arguments).to_list()
    except Exception as error:  # network, hub, cache and parsers each raise their own kinds; all are about this data set
        problem = f"the split {split!r} of {data_set_name(task)} could not be loaded: {in_one_line(error)}"
        hint = "" if "cache_dir" in arguments else "; --data-home DIR takes data sets from a folder instead of the hub"
        raise DataError(f"{task.id}: {problem}{hint}") from error
    return rows


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Switch off the bars of `datasets` and of the hub's client, which would mix with pytest's own lines."""
    import datasets
    import huggingface_hub.utils

    hidden = [library for library in (huggingface_hub.utils, datasets) if not library.are_progress_bars_disabled()]
    for library in hidden:
        library.disable_progress_bars()
    try:
        yield
    finally:
        for library in hidden:
            library.enable_progress_bars()


def data_set_name(task: Task) -> str:
    """The data set, and its subset if it has one, as messages name it."""
    if task.hf_repo is None:
        return f"the files of {task.path}"
    subset = f", subset {task.hf_subset!r}" if task.hf_subset else ""
    return f"{task.hf_repo}{subset}"

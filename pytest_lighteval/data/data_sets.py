"""Load the rows of a task's data set: from the hub, from a folder laid out like it, or from files beside the suite. Renders nothing."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.data.hub_revisions import confirm_commit, current_commit
from pytest_lighteval.data.row_cache import PreparedRows
from pytest_lighteval.errors import DataError, MissingExtraError, did_you_mean, in_one_line
from pytest_lighteval.prompts.templates import RenderError, compile_expression
from pytest_lighteval.types import Row, Task

Value = TypeVar("Value")
NumberedRows = list[tuple[int, Row]]
"""Rows in stored order, each with its number in the stored split."""

_KEPT_SPLITS = 4
"""One task's splits: they are asked for again at its next few-shot count."""
_RACY_NANOSECONDS = 2_000_000_000
"""A file changed this recently could change again under the same time stamp."""
_MOST_LISTED = 20
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(\r?\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file as it is now; another one whenever it changes."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Of the last change of content or name. It cannot be set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a split is stored, and how it is read."""

    place: tuple[str, ...]
    """The kind of place, and what of it is meant."""
    read: Callable[[], list[Row]]
    files: tuple[FileState, ...] = ()
    """All that it is made of, as far as that is on this machine."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for equal content, in this process."""
        return (*self.place, *self.files)

    @property
    def is_on_hub(self) -> bool:
        return self.place[0] == "hub"

    @property
    def is_fast(self) -> bool:
        """Whether no other form would be read sooner: lines of JSON need no library."""
        return self.place[0] == "files" and all(file.path.endswith(".jsonl") for file in self.files)


class DataSets:
    """Where the data sets of a run come from. The last few splits stay in memory; their rows are not to be changed.

    `data_home`: a folder of `<owner>/<name>` repositories that is used in place of the hub, which is then never asked. An
    `ALIASES.json` in it or beside it maps names that have moved. Revisions mean nothing there. `prepared` keeps rows for other processes,
    which then read them without `datasets` and pyarrow; None: nothing is kept.
    """

    def __init__(self, *, data_home: Path | None = None, prepared: PreparedRows | None = None) -> None:
        self._data_home = data_home
        self._prepared = prepared
        self._kept: OrderedDict[tuple[Any, ...], NumberedRows] = OrderedDict()
        self._commits: dict[tuple[str, str | None], str | None] = {}

    def rows(self, task: Task, split: str) -> NumberedRows:
        """The rows of a split for which the task's `hf_filter` is true, with their numbers, in stored order; never empty.

        Raises DataError if the data set, subset, split, a file or a column of the filter is missing, malformed or empty, and
        MissingExtraError if what reads it is not installed. A file that has changed is read again.
        """
        source = self._source(task, split)
        key = (*source.identity, task.hf_filter)
        if key not in self._kept:
            self._kept[key] = self._load(task, split, source)
            if len(self._kept) > _KEPT_SPLITS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _load(self, task: Task, split: str, source: Source) -> NumberedRows:
        """The rows in their prepared form, else from the source, and then kept in that form if it is certain what they are."""
        if self._prepared is None or source.is_fast:
            return _read_split(task, split, source)
        commit = self._commit(task) if source.is_on_hub else None
        if source.is_on_hub and commit is None:
            return _read_split(task, split, source)
        identity = (*source.identity, commit, task.hf_filter)
        rows = self._prepared.load(identity)
        if rows is None:
            rows = _read_split(task, split, source)
            if self._is_certain(task, split, source, commit):
                self._prepared.save(identity, rows)
        return rows

    def _commit(self, task: Task) -> str | None:
        """Of the task's data set on the hub, asked once a session."""
        repo = task.hf_repo or ""
        if (repo, task.hf_revision) not in self._commits:
            self._commits[repo, task.hf_revision] = current_commit(repo, task.hf_revision)
        return self._commits[repo, task.hf_revision]

    def _is_certain(self, task: Task, split: str, source: Source, commit: str | None) -> bool:
        """Whether what was read in between is what the source was before: it did not change, nor could have unseen."""
        if commit is not None:
            return confirm_commit(task.hf_repo or "", task.hf_revision, commit)
        newest = max((max(file.mtime_ns, file.ctime_ns) for file in source.files), default=0)
        return self._source(task, split).identity == source.identity and time.time_ns() - newest > _RACY_NANOSECONDS

    def _source(self, task: Task, split: str) -> Source:
        if task.hf_repo is None:
            files = [task.path.parent / _chosen(task, split, task.data_files, f"{task.id} has no split")]
        elif self._data_home is None:
            place: tuple[str, ...] = ("hub", task.hf_repo, task.hf_subset or "", task.hf_revision or "", split)
            return Source(place=place, read=lambda: _from_hub(task, split))
        else:
            folder = self._repository(task, self._data_home)
            configured = _configured_files(task, folder, split)
            if configured is None:
                states = tuple(_state(task, file) for file in sorted(folder.rglob("*")) if file.is_file())
                place = ("folder", str(folder), task.hf_subset or "", split)
                return Source(place=place, read=lambda: _from_folder(task, folder, split), files=states)
            files = configured
        states = tuple(_state(task, file) for file in files)
        return Source(place=("files",), read=lambda: [row for file in files for row in _read(task, file)], files=states)

    def _repository(self, task: Task, data_home: Path) -> Path:
        name = task.hf_repo or ""
        if not _REPOSITORY.fullmatch(name):
            raise DataError(f"{task.id}: {name!r} is not the name of a data set, which is 'owner/name'")
        names = [name]
        for place in (data_home / "ALIASES.json", data_home.parent / "ALIASES.json"):
            if place.is_file():
                aliases = _aliases(task, place)
                names += [aliases[name]] if name in aliases else []
                break
        for candidate in names:
            if (data_home / candidate).is_dir():
                return data_home / candidate
        known = [str(folder.relative_to(data_home)) for pattern in ("*", "*/*") for folder in data_home.glob(pattern) if folder.is_dir()]
        tried = " or ".join(names)
        raise DataError(
            f"{task.id}: no data set {tried} under {data_home}{did_you_mean(name, known)}; the hub is asked only without a data home"
        )


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
        raise DataError(f"{task.id}: the split {split!r} of {_data_set(task)} is empty")
    return _filtered(task, split, rows)


def _filtered(task: Task, split: str, rows: Sequence[Row]) -> NumberedRows:
    numbered = list(enumerate(rows))
    if task.hf_filter is None:
        return numbered
    wanted = compile_expression(task.hf_filter)
    kept = []
    for number, row in numbered:
        try:
            if wanted({**row, "row": row}):
                kept.append((number, row))
        except RenderError as error:
            columns = _listed(row)
            raise DataError(f"{task.id}: {split}:{number}: hf_filter {task.hf_filter!r}: {error}; the columns are {columns}") from error
    if not kept:
        raise DataError(f"{task.id}: hf_filter {task.hf_filter!r} leaves none of the {len(rows)} rows of the split {split!r}")
    return kept


# --------------------------------------------------------------------------------------------- a folder like the hub


def _configured_files(task: Task, folder: Path, split: str) -> list[Path] | None:
    """The parquet files that the repository's card names for a split. None: it names none, or others, which `datasets` must find."""
    card = folder / "README.md"
    configs = _configs(card, card.stat().st_mtime_ns, card.stat().st_size) if card.is_file() else {}
    if not configs:
        return None
    subset = task.hf_subset
    if subset is None:
        subset = next((name for name, config in configs.items() if config.get("default") or name == "default"), None)
        if subset is None and len(configs) > 1:
            raise DataError(f"{task.id}: {task.hf_repo} needs an hf_subset: {_listed(configs)}")
    config = configs[next(iter(configs))] if subset is None else _chosen(task, subset, configs, f"{task.hf_repo} has no subset")
    patterns = _split_patterns(config.get("data_files"))
    if patterns is None or "data_dir" in config:
        return None
    what = f"{task.hf_repo}{f', subset {subset!r},' if subset else ''} has no split"
    files = []
    for pattern in _chosen(task, split, patterns, what):
        try:
            found = sorted(folder.glob(pattern))
        except (NotImplementedError, ValueError):  # not a relative pattern
            return None
        if not found:
            raise DataError(f"{task.id}: {folder} has no file {pattern!r}, which its README.md names for the split {split!r}")
        files += found
    return files if all(file.suffix == ".parquet" for file in files) else None


@lru_cache(maxsize=64)
def _configs(card: Path, mtime_ns: int, size: int) -> Mapping[str, Mapping[str, Any]]:
    """The `configs` of a dataset card by name, as https://huggingface.co/docs/hub/datasets-manual-configuration describes them."""
    found = _FRONT_MATTER.match(read_utf8(card, shown=str(card)))
    try:
        header = yaml.load(found[1], getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if found else None
    except yaml.YAMLError as error:
        raise DataError(f"{card}: the header is not valid YAML: {in_one_line(error)}") from error
    configs = header.get("configs") if isinstance(header, dict) else None
    if not isinstance(configs, list):
        return {}
    return {str(config.get("config_name", "default")): config for config in configs if isinstance(config, dict)}


def _split_patterns(data_files: Any) -> dict[str, list[str]] | None:
    """Split -> patterns of its files; None for the forms in which split names are to be guessed."""
    if not isinstance(data_files, list):
        return None
    patterns = {}
    for entry in data_files:
        if not isinstance(entry, dict) or not {"split", "path"} <= entry.keys():
            return None
        patterns[str(entry["split"])] = [str(path) for path in (entry["path"] if isinstance(entry["path"], list) else [entry["path"]])]
    return patterns


def _aliases(task: Task, place: Path) -> Mapping[str, str]:
    try:
        aliases = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{task.id}: {place}: {in_one_line(error)}") from error
    if not isinstance(aliases, dict):
        raise DataError(f"{task.id}: {place}: must be a mapping of old names to new ones")
    return aliases


def _from_folder(task: Task, folder: Path, split: str) -> list[Row]:
    """Any layout that `datasets` knows. Its cache may hand back an older state of a local folder, so it gets an empty one."""
    with tempfile.TemporaryDirectory(prefix="lighteval-") as cache:
        return _load_dataset(task, str(folder), split, cache_dir=cache)


# --------------------------------------------------------------------------------------------------------- the hub


def _from_hub(task: Task, split: str) -> list[Row]:
    return _load_dataset(task, task.hf_repo or "", split, revision=task.hf_revision)


def _load_dataset(task: Task, name: str, split: str, **arguments: Any) -> list[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    try:
        with _no_progress_bars():
            rows: list[Row] = datasets.load_dataset(name, task.hf_subset, split=split, **arguments).to_list()
    except Exception as error:  # network, hub, cache and parsers each raise their own kinds; all are about this data set
        said = in_one_line(error)
        hint = "" if "cache_dir" in arguments else "; --data-home DIR takes data sets from a folder instead of the hub"
        raise DataError(f"{task.id}: the split {split!r} of {_data_set(task)} could not be loaded: {said}{hint}") from error
    return rows


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Switch off the bars of `datasets` and of the hub's client, which would run into pytest's own lines."""
    import datasets.utils
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switches = [
        (are_progress_bars_disabled, disable_progress_bars, enable_progress_bars),
        (datasets.utils.are_progress_bars_disabled, datasets.utils.disable_progress_bars, datasets.utils.enable_progress_bars),
    ]
    restore = []
    try:
        for are_disabled, disable, enable in switches:
            if not are_disabled():
                disable()
                restore.append(enable)
        yield
    finally:
        for enable in restore:
            enable()


# ----------------------------------------------------------------------------------------------------------- files


def _read(task: Task, path: Path) -> list[Row]:
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
            rows: list[Row] = file.read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{task.id}: {path}: cannot be read as parquet: {in_one_line(error)}") from error
    return rows


def _read_jsonl(task: Task, path: Path) -> list[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{task.id}: {path}: {error.strerror or error}") from error
    rows: list[Row] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:  # of the encoding or of the JSON
            raise DataError(f"{path}:{number}: not a line of JSON: {in_one_line(error)}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a row must be a mapping of columns to values, this is {type(row).__name__}")
        rows.append(row)
    return rows


def _state(task: Task, file: Path) -> FileState:
    file = file.absolute()
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"{task.id}: {file}: {error.strerror or error}") from error
    return FileState(path=str(file), inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns)


# ------------------------------------------------------------------------------------------------------- messages


def _chosen(task: Task, name: str, known: Mapping[str, Value], problem: str) -> Value:
    if name not in known:
        raise DataError(f"{task.id}: {problem} {name!r}{did_you_mean(name, known)}; there are {_listed(known)}")
    return known[name]


def _data_set(task: Task) -> str:
    """The data set, and its subset if it has one, as messages name it."""
    if task.hf_repo is None:
        return f"the files of {task.path}"
    subset = f", subset {task.hf_subset!r}" if task.hf_subset else ""
    return f"{task.hf_repo}{subset}"


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f", ... ({len(shown)} in all)" if len(shown) > _MOST_LISTED else ""
    return ", ".join(shown[:_MOST_LISTED]) + more

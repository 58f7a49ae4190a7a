"""Find where a split is stored: files beside the suite, a repository in a folder laid out like the hub, or the hub. Reads no rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pytest_lighteval.common.files import FileState, file_state, read_utf8
from pytest_lighteval.data.readers import read_file, read_folder, read_hub
from pytest_lighteval.errors import DataError, did_you_mean, in_one_line
from pytest_lighteval.types import Row, Task

Value = TypeVar("Value")

_MOST_LISTED = 20
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(\r?\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a split is stored, and how it is read."""

    place: tuple[str, ...]
    """The kind of place (`files`, `folder` or `hub`), and what identifies it there."""
    read: Callable[[], list[Row]]
    files: tuple[FileState, ...] = ()
    """All local files that it is made of. Empty for the hub."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for equal content; for the hub only together with a commit."""
        return (*self.place, *self.files)

    @property
    def is_on_hub(self) -> bool:
        return self.place[0] == "hub"

    @property
    def is_fast(self) -> bool:
        """Whether caching it would save nothing: lines of JSON are read without any library."""
        return self.place[0] == "files" and all(file.path.endswith(".jsonl") for file in self.files)


def splits_of(task: Task, *, data_home: Path) -> tuple[str, ...] | None:
    """The splits that a repository's card names for the task's subset. None: the card does not say. Raises DataError as `find_source`."""
    patterns = _patterns_of_card(task, repository(task, data_home))
    return None if patterns is None else tuple(patterns)


def find_source(task: Task, split: str, *, data_home: Path | None) -> Source:
    """Where the task's split is now. Raises DataError if there is no such split, repository, subset or file."""
    if task.hf_repo is None:
        return _of_files(task, [task.path.parent / _chosen(task, split, task.data_files, f"{task.id} has no split")])
    if data_home is None:
        place = ("hub", task.hf_repo, task.hf_subset or "", task.hf_revision or "", split)
        return Source(place=place, read=lambda: read_hub(task, split))
    folder = repository(task, data_home)
    files = _files_of_card(task, folder, split)
    if files is not None:
        return _of_files(task, files)
    states = tuple(_state(task, file) for file in sorted(folder.rglob("*")) if file.is_file())
    return Source(place=("folder", str(folder), task.hf_subset or "", split), read=lambda: read_folder(task, folder, split), files=states)


def row_source(task: Task, split: str, *, data_home: Path | None) -> str:
    """Where the rows of a split are stored, the same for every task that reads them, on any machine.

    `owner/name|subset|split`, after the aliases of the data home; names of the hub do not distinguish upper and lower case. No revision:
    rows of two revisions count as the same. For a file beside the suite, the digest of its content. Raises DataError as `find_source`.
    """
    if task.hf_repo is None:
        (file,) = find_source(task, split, data_home=data_home).files
        try:
            with Path(file.path).open("rb") as content:
                return f"sha256={hashlib.file_digest(content, 'sha256').hexdigest()[:32]}"
        except OSError as error:
            raise DataError(f"{task.id}: {file.path}: {error.strerror or error}") from error
    subset = task.hf_subset
    if subset is None and data_home is not None:
        subset = _default_subset(_card_configs(repository(task, data_home)))
    names = [task.hf_repo] if data_home is None else _names(task, data_home)
    return f"{names[-1].casefold()}|{subset or 'default'}|{split}"


def _of_files(task: Task, files: list[Path]) -> Source:
    states = tuple(_state(task, file) for file in files)
    return Source(place=("files",), read=lambda: [row for file in files for row in read_file(task, file)], files=states)


def _state(task: Task, file: Path) -> FileState:
    try:
        return file_state(file.absolute())
    except OSError as error:
        raise DataError(f"{task.id}: {file.absolute()}: {error.strerror or error}") from error


# -------------------------------------------------------------------------------------------------- a data home


def repository(task: Task, data_home: Path) -> Path:
    """The task's repository in a data home, under its own name or the one that `ALIASES.json` gives for it."""
    names = _names(task, data_home)
    for candidate in names:
        if (data_home / candidate).is_dir():
            return data_home / candidate
    known = [str(folder.relative_to(data_home)) for pattern in ("*", "*/*") for folder in data_home.glob(pattern) if folder.is_dir()]
    tried = " or ".join(names)
    raise DataError(
        f"{task.id}: no data set {tried} under {data_home}{did_you_mean(names[0], known)}; the hub is asked only without a data home"
    )


def _names(task: Task, data_home: Path) -> list[str]:
    """The repository's name, and behind it the one that replaces it."""
    name = task.hf_repo or ""
    if not _REPOSITORY.fullmatch(name):
        raise DataError(f"{task.id}: {name!r} is not the name of a data set, which is 'owner/name'")
    for place in (data_home / "ALIASES.json", data_home.parent / "ALIASES.json"):
        if place.is_file():
            aliases = _aliases(task, place)
            return [name, aliases[name]] if name in aliases else [name]
    return [name]


def _aliases(task: Task, place: Path) -> Mapping[str, str]:
    try:
        aliases = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{task.id}: {place}: {in_one_line(error)}") from error
    if not isinstance(aliases, dict):
        raise DataError(f"{task.id}: {place}: must be a mapping of old names to new ones")
    return aliases


def _patterns_of_card(task: Task, folder: Path) -> dict[str, list[str]] | None:
    """Split -> patterns of its files, of the task's subset. None: `datasets` must find the files."""
    configs = _card_configs(folder)
    if not configs:
        return None
    subset = _default_subset(configs) if task.hf_subset is None else task.hf_subset
    if subset is None:
        raise DataError(f"{task.id}: {task.hf_repo} needs an hf_subset: {listed(configs)}")
    config = _chosen(task, subset, configs, f"{task.hf_repo} has no subset")
    return None if "data_dir" in config else _split_patterns(config.get("data_files"))


def _files_of_card(task: Task, folder: Path, split: str) -> list[Path] | None:
    """The parquet files that the repository's card names for a split. None: `datasets` must find the files, or they are no parquet."""
    patterns = _patterns_of_card(task, folder)
    if patterns is None:
        return None
    subset = _default_subset(_card_configs(folder)) if task.hf_subset is None else task.hf_subset
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


def _card_configs(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Of a repository in a data home; empty if its card has none."""
    card = folder / "README.md"
    return _configs(card, card.stat().st_mtime_ns, card.stat().st_size) if card.is_file() else {}


def _default_subset(configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The subset that is meant if none is named. None: the card does not say."""
    if len(configs) == 1:
        return next(iter(configs))
    return next((name for name, config in configs.items() if config.get("default") or name == "default"), None)


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
    """Split -> patterns of its files. None: the card uses a form from which the split names would have to be guessed."""
    if not isinstance(data_files, list):
        return None
    patterns = {}
    for entry in data_files:
        if not isinstance(entry, dict) or not {"split", "path"} <= entry.keys():
            return None
        patterns[str(entry["split"])] = [str(path) for path in (entry["path"] if isinstance(entry["path"], list) else [entry["path"]])]
    return patterns


def _chosen(task: Task, name: str, known: Mapping[str, Value], problem: str) -> Value:
    if name not in known:
        raise DataError(f"{task.id}: {problem} {name!r}{did_you_mean(name, known)}; there are {listed(known)}")
    return known[name]


def listed(names: Iterable[str]) -> str:
    """The names in one line, the first twenty of them if there are more."""
    shown = list(names)
    more = f", ... ({len(shown)} in all)" if len(shown) > _MOST_LISTED else ""
    return ", ".join(shown[:_MOST_LISTED]) + more

"""`datasets.load_dataset` answered from a folder laid out like the hub, while the harness builds a task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_lighteval.data.sources import find_source, repository, splits_of
from pytest_lighteval.errors import DataError, in_one_line
from pytest_lighteval.types import Task

_BUILDERS = frozenset(("json", "csv", "parquet", "text", "arrow", "pandas", "xml", "webdataset", "imagefolder", "audiofolder"))
"""Names that `datasets` takes for kinds of files, and not for data sets."""


@dataclass(slots=True, kw_only=True)
class Served:
    """What is served to one task."""

    task: Task
    """Its `hf_repo` is that of no data set: it names the task in messages."""
    data_home: Path
    split: str
    """That is evaluated."""
    lacking: list[str] = field(default_factory=list)
    """Other splits that the harness asked for and that are not there: it got empty ones, as many tasks never read them."""


_SERVED: ContextVar[Served | None] = ContextVar("served", default=None)


@contextmanager
def served_from(data_home: Path | None, task: Task, split: str) -> Iterator[list[str]]:
    """Let the harness, and the modules of its tasks, read data sets from the folder. None: from the hub, as always.

    Yields the list of splits that turn out to be lacking. `task` names the task in messages, and `split` is the one that is evaluated.
    Raises DataError where `load_dataset` is called.
    """
    if data_home is None:
        yield []
        return
    import datasets

    own = datasets.load_dataset
    if not getattr(own, "is_lighteval", False):
        datasets.load_dataset = _serving(own)
    served = Served(task=task, data_home=data_home, split=split)
    before = _SERVED.set(served)
    try:
        yield served.lacking
    finally:
        _SERVED.reset(before)
        datasets.load_dataset = own


def _serving(own: Callable[..., Any]) -> Callable[..., Any]:
    # a module of the harness may keep the function: outside of the block it then does what it always did
    def load_dataset(path: str, name: str | None = None, *arguments: Any, **keywords: Any) -> Any:
        served = _SERVED.get()
        if served is None or path in _BUILDERS or Path(path).exists():
            return own(path, name, *arguments, **keywords)
        wanted = replace(served.task, hf_repo=path, hf_subset=None if name is None else str(name))
        if arguments or keywords.get("data_files") is not None or keywords.get("data_dir") is not None:
            return _by_datasets(own, wanted, served.data_home, *arguments, **keywords)
        return _read(own, wanted, served, keywords)

    load_dataset.is_lighteval = True  # type: ignore[attr-defined]  # so that blocks within blocks serve once
    return load_dataset


def _read(own: Callable[..., Any], task: Task, served: Served, keywords: dict[str, Any]) -> Any:
    data_home = served.data_home
    names = splits_of(task, data_home=data_home)
    split = keywords.get("split")
    if names is None or (split is not None and str(split) not in names):  # a layout that only `datasets` knows, or a slice
        return _by_datasets(own, task, data_home, **keywords)
    if split is not None:
        return _split(task, str(split), data_home)
    return _splits(task, names, served)


def _splits(task: Task, names: tuple[str, ...], served: Served) -> Any:
    """All splits, each read when it is needed: few-shot examples may come from one that is far larger than the evaluated one."""
    import datasets

    class Splits(datasets.DatasetDict):  # type: ignore[misc]  # datasets has no types
        def __missing__(self, name: str) -> Any:
            if name not in names and name == served.split:
                raise DataError(f"{task.id}: {task.hf_repo} has no split {name!r}; there are {', '.join(names)}")
            if name not in names:
                served.lacking.append(name)
                return self[names[0]].select([])
            self[name] = _split(task, name, served.data_home)
            return self[name]

        def _all(self) -> Splits:
            for name in names:
                self[name]
            return self

        def __contains__(self, name: object) -> bool:
            return name in names

        def __iter__(self) -> Iterator[str]:
            return iter(names)

        def __len__(self) -> int:
            return len(names)

        def keys(self) -> Any:
            return dict.fromkeys(names).keys()

        def values(self) -> Any:
            return dict.values(self._all())

        def items(self) -> Any:
            return dict.items(self._all())

    return Splits()


def _split(task: Task, split: str, data_home: Path) -> Any:
    import datasets
    import pyarrow
    from pyarrow import parquet

    source = find_source(task, split, data_home=data_home)
    if not source.files or not all(file.path.endswith(".parquet") for file in source.files):
        return datasets.Dataset.from_list([dict(row) for row in source.read()])
    try:
        tables = [parquet.read_table(file.path) for file in source.files]
        # the types of columns, such as names of labels, are in the table's own metadata
        return datasets.Dataset(pyarrow.concat_tables(tables, promote_options="default"))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{task.id}: {source.files[0].path}: cannot be read as parquet: {in_one_line(error)}") from error


def _by_datasets(own: Callable[..., Any], task: Task, data_home: Path, *arguments: Any, **keywords: Any) -> Any:
    folder = repository(task, data_home)
    cache = keywords.pop("cache_dir", None) or tempfile.mkdtemp(prefix="lighteval-")
    for name in ("revision", "trust_remote_code"):
        keywords.pop(name, None)
    try:
        return own(str(folder), task.hf_subset, *arguments, cache_dir=cache, **keywords)
    except Exception as error:  # parsers each raise their own kinds; all are about this data set
        raise DataError(f"{task.id}: {folder}: could not be loaded: {in_one_line(error)}") from error

"""All tasks, groups and tags by name, read from the harness's YAML without importing it, and kept between runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from pytest_lighteval.common.files import write_bytes_atomic
from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.errors import LightevalError, MissingExtraError
from pytest_lighteval.guests.lm_eval.configs import Config, Includes, read_config

_FORMAT = 1
"""Version of the kept file."""
_KEPT = (
    *("output_type", "metric_list", "generation_kwargs", "num_fewshot", "repeats", "unsafe_code", "metadata"),
    *("dataset_path", "dataset_name", "test_split", "validation_split", "doc_to_image", "doc_to_audio", "process_results", "filter_list"),
)
"""Keys of a task that say what it is; the others are read when it is evaluated."""
_IGNORED = frozenset(("__pycache__", ".ipynb_checkpoints"))


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a name means."""

    name: str
    kind: Literal["task", "group", "tag"]
    path: str = ""
    """Of its YAML; empty for a tag."""
    config: Config = {}
    """Of a task: the keys that say what it is. Of a group: all keys."""
    members: list[Any] = []
    """Of a tag: names of tasks. Of a group: names, or mappings of a name and what the group changes."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """The kept index."""

    format: int
    state: str
    """Digest of the version, and of the name, size and time of every file it was made of."""
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The harness that is installed."""

    version: str
    tasks: Path
    """Its folder of tasks."""


def installed() -> Installed:
    """Where the harness is, without importing it. Raises MissingExtraError."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise MissingExtraError("lm-evaluation-harness (lm-eval)", "lm-eval")
    try:
        version = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Installed(version=version, tasks=Path(spec.origin).parent / "tasks")


def load_index(harness: Installed, cache: Path) -> dict[str, Entry]:
    """All names of the installed harness. The first call of a version reads some 14,000 files, and keeps what it found below `cache`."""
    state = _state(harness)
    kept = cache / "lm_eval" / f"index-{harness.version}.json"
    try:
        found = msgspec.json.decode(kept.read_bytes(), type=_File)
        if (found.format, found.state) == (_FORMAT, state):
            return found.entries
    except (OSError, msgspec.MsgspecError):  # it is not there, or is of another time
        pass
    PROGRESS.info("lm-eval %s: reading the names of its tasks, once", harness.version)
    entries = build_index(harness.tasks, skips_broken=True)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time, and nothing else
        write_bytes_atomic(kept, msgspec.json.encode(_File(format=_FORMAT, state=state, entries=entries), enc_hook=str))
    return entries


def build_index(folder: Path, *, skips_broken: bool, only: Callable[[Path], bool] = lambda _: True) -> dict[str, Entry]:
    """The names that the YAML files below a folder declare. Of one name that is there twice the first file wins, as in the harness.

    `only`: which files are read. `skips_broken`: a file that cannot be read declares nothing, as in the harness. Otherwise it raises
    FileError.
    """
    entries: dict[str, Entry] = {}
    included: Includes = {}
    for path in filter(only, yaml_files(folder)):
        try:
            config = read_config(path, included)
        except LightevalError:
            if skips_broken:
                continue
            raise
        _add(config, path, entries)
    return entries


def yaml_files(folder: Path) -> list[Path]:
    """In the harness's order."""
    found = (path for path in folder.resolve().rglob("*.yaml") if _IGNORED.isdisjoint(path.parts))
    return sorted(found, key=lambda path: path.as_posix())


def _add(config: Config, path: Path, entries: dict[str, Entry]) -> None:
    if "class" not in config and isinstance(config.get("group"), str):
        members = config.get("task")
        if config["group"] not in entries:
            entries[config["group"]] = Entry(
                name=config["group"],
                kind="group",
                path=str(path),
                config=_plain({key: value for key, value in config.items() if key != "task"}),
                members=_plain(members if isinstance(members, list) else [members] if members else []),
            )
    elif isinstance(name := config.get("task"), str) and name not in entries:
        kept = {key: config[key] for key in _KEPT if key in config}
        entries[name] = Entry(name=name, kind="task", path=str(path), config=_plain(kept | ({"class": True} if "class" in config else {})))
        tags = config.get("tag") or ()
        for tag in [tags] if isinstance(tags, str) else tags:
            entries.setdefault(tag, Entry(name=tag, kind="tag")).members.append(name)


def _plain(value: Any) -> Any:
    """As JSON has it, so that an index that was just built equals one that was kept."""
    return json.loads(json.dumps(value, default=str))


def _state(harness: Installed) -> str:
    digest = hashlib.sha256(f"{harness.version}\n{harness.tasks}".encode())
    for name, status in sorted(_files(str(harness.tasks))):
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name not in _IGNORED:
                    yield from _files(entry.path)
            elif not entry.name.endswith((".py", ".pyc", ".md")):  # a template may have any other suffix, or none
                yield entry.path, entry.stat()


def is_theirs(config: Mapping[str, Any]) -> bool:
    """Whether the content of a YAML file is of the harness, and no suite of ours."""
    return "tasks" not in config and not {"task", "group", "class", "include", "dataset_path", "output_type"}.isdisjoint(config)

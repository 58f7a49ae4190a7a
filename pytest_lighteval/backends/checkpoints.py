"""The checkpoints of a training: which a pattern names, their order, and whether each is completely written. Loads no model.

A checkpoint is complete if all of its weights are there. A safetensors file says at its start how long it is, an index file says which
files there are, and nanotron's `latest.txt` names the newest step that is complete. Where nothing of that says it, a marker file does,
or that no size changes between two looks.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.errors import UserInputError

MARKERS = (".done", "DONE", "_SUCCESS", "COMPLETE")
"""Files that say that a checkpoint is complete. If a checkpoint of a pattern has one, the others are complete once they have one too."""

_REVISION = re.compile(r"[\w.-]+/[\w.-]+@[\w./-]+")
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_NUMBER = re.compile(r"\d+")
_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")
"""transformers writes the index after the shards, so until then their names alone tell how many there are."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
"""Written after the weights. A checkpoint with none of them may be one whose tokenizer lies elsewhere."""
_FIELDS = ("checkpoint_config_path", "pretrained", "model")
"""Arguments of backends that name a model's folder; the first that a backend has."""
_WEIGHTS = (".gguf", ".safetensors")
_MOST_HEADER = 100 * 1024 * 1024
"""Bytes of the header of a safetensors file, of whose length the format allows no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint of a series."""

    name: str
    """In ids of items and names of folders: `step-1000`; letters, digits, `_`, `.` and `-`."""
    step: int
    """The number in its name, otherwise its place in the list."""
    place: str
    """Its path, or `owner/name@revision`."""

    @property
    def path(self) -> Path | None:
        """Its folder or file. None: it is a revision on the hub."""
        return None if _REVISION.fullmatch(self.place) and not Path(self.place).exists() else Path(self.place)

    def arguments(self, known: Iterable[str]) -> dict[str, str]:
        """The model arguments that name it, for a backend that knows these. Raises UserInputError: none of them names a model."""
        known = set(known)
        field = next((name for name in _FIELDS if name in known), None)
        if field is None:
            raise UserInputError(f"--checkpoints {self.place}: the backend has no argument that names a model ({', '.join(_FIELDS)})")
        if self.path is not None:
            return {field: str(self.path)}
        repository, _, revision = self.place.partition("@")
        if "revision" not in known:
            raise UserInputError(f"--checkpoints {self.place}: the backend takes no revision; name folders")
        return {field: repository, "revision": revision}


def find_checkpoints(patterns: Sequence[str], folder: Path, *, may_be_gone: bool = False) -> list[Checkpoint]:
    """What is there of these patterns now, complete or not, in the order of their steps.

    Args:
        patterns: globs, paths, and revisions `owner/name@revision`; each may be several, joined by commas.
        folder: what relative paths are relative to.
        may_be_gone: whether a path without a wildcard may be missing, as trainers remove old checkpoints.

    Raises:
        UserInputError: A pattern is empty, or a path without a wildcard is not there.
    """
    places: dict[str, None] = {}
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        if not pattern:
            raise UserInputError("--checkpoints: a pattern is empty; write a glob, a path or owner/name@revision")
        if _REVISION.fullmatch(pattern) and not (folder / pattern).exists():
            places[pattern] = None
            continue
        found = sorted(glob.glob(str(folder / Path(pattern).expanduser())))
        if not found and not may_be_gone and not glob.has_magic(pattern):
            raise UserInputError(f"--checkpoints {pattern}: there is no such folder or file")
        if glob.has_magic(pattern):
            found = [path for path in found if _may_be_checkpoint(Path(path))]
        places |= dict.fromkeys(found)
    named = _names([*places])
    steps = {place: int(numbers[-1]) for place, name in named.items() if (numbers := _NUMBER.findall(name))}
    if len(steps) < len(named):  # some have no number: their order is that of their names
        steps = {place: number for number, place in enumerate(sorted(named, key=lambda place: _natural(named[place])), start=1)}
    checkpoints = [Checkpoint(name=name, step=steps[place], place=place) for place, name in named.items()]
    return sorted(checkpoints, key=lambda checkpoint: (checkpoint.step, _natural(checkpoint.name)))


def _may_be_checkpoint(path: Path) -> bool:
    """A folder or a file of weights; beside them lie logs, `latest.txt`, and what is still written under another name."""
    return not path.name.startswith((".", "tmp")) and (path.is_dir() or path.suffix in _WEIGHTS)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _names(places: Sequence[str]) -> dict[str, str]:
    """A short name for each place, all different: the last parts of the paths that tell them apart."""
    parts = {place: [part for part in re.split(r"[/@]", place) if part] for place in places}
    for depth in range(1, max(map(len, parts.values()), default=1) + 1):
        names = {place: _NAME.sub("-", "-".join(of[-depth:])).strip("-.") or "checkpoint" for place, of in parts.items()}
        if len(set(names.values())) == len(names):
            return _without_common_end(names) if depth > 1 else names
    return {place: f"{name}-{number}" for number, (place, name) in enumerate(names.items(), start=1)}


def _without_common_end(names: Mapping[str, str]) -> dict[str, str]:
    """`1000-hf`, `2000-hf` -> `1000`, `2000`."""
    pieces = {place: name.split("-") for place, name in names.items()}
    while all(len(of) > 1 for of in pieces.values()) and len({of[-1] for of in pieces.values()}) == 1:
        pieces = {place: of[:-1] for place, of in pieces.items()}
    return {place: "-".join(of) for place, of in pieces.items()}


# --------------------------------------------------------------------------------------------------------- complete


@dataclass(slots=True)
class Looks:
    """Decides which checkpoints are complete, from one look to the next."""

    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Place -> file -> size, as they were at the last look."""

    def complete(self, checkpoints: Sequence[Checkpoint]) -> dict[str, str | None]:
        """Place -> why it is not taken yet. None: it is complete."""
        has_markers = any(_is_marked(checkpoint.path) for checkpoint in checkpoints if checkpoint.path is not None)
        return {checkpoint.place: self._problem(checkpoint, has_markers) for checkpoint in checkpoints}

    def _problem(self, checkpoint: Checkpoint, has_markers: bool) -> str | None:
        path = checkpoint.path
        if path is None:
            return None  # the hub shows a commit when it is whole
        try:
            if has_markers:
                return None if _is_marked(path) else f"it has no {MARKERS[0]} yet, as others have"
            known = _known_state(path)
        except OSError as error:
            return f"{error.filename or path}: {error.strerror}"
        if known is not None:
            return known or None
        before, now = self.sizes.get(checkpoint.place), _sizes(path)
        self.sizes[checkpoint.place] = now
        return None if now and now == before else "its files may still grow"


def _is_marked(path: Path | None) -> bool:
    return path is not None and path.is_dir() and any((path / name).is_file() for name in MARKERS)


def _known_state(path: Path) -> str | None:
    """What is missing; empty: nothing. None: the files do not tell."""
    if path.is_file():
        return _shortened(path) if path.suffix == ".safetensors" else None
    latest = path.parent / "latest.txt"
    if (path / "model_config.json").is_file() or (path / "checkpoint_metadata.json").is_file():  # nanotron writes latest.txt at the end
        text = latest.read_text("utf-8").strip() if latest.is_file() else ""
        if not text.isdecimal():
            return None
        numbers = _NUMBER.findall(path.name)
        return "" if numbers and int(numbers[-1]) <= int(text) else f"{latest} names step {text} as the newest one"
    weights = sorted(path.glob("*.safetensors"))
    for index in path.glob("*.safetensors.index.json"):
        missing = [name for name in _shards(index) if not (path / name).is_file()]
        if missing:
            return f"{missing[0]} is missing"
    if not weights:
        return None
    if not (path / "config.json").is_file():
        return "config.json is missing"
    if problem := next((problem for problem in map(_lacks_shards, weights) if problem), ""):
        return problem
    if problem := next((problem for file in weights if (problem := _shortened(file))), ""):
        return problem
    return "" if any((path / name).is_file() for name in _TOKENIZERS) else None


def _lacks_shards(file: Path) -> str:
    """The first shard that is not there, of those that the name of one tells. Empty: none."""
    found = _SHARD.fullmatch(file.name)
    if found is None:
        return ""
    digits = len(found["number"])
    names = (f"{found['name']}-{number:0{digits}}-of-{found['count']}.safetensors" for number in range(1, int(found["count"]) + 1))
    return next((f"{name} is missing" for name in names if not file.with_name(name).is_file()), "")


def _shards(index: Path) -> list[str]:
    try:
        content: Any = msgspec.json.decode(index.read_bytes())
        return sorted(set(map(str, content["weight_map"].values())))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"the end of {index.name}"]


def _shortened(file: Path) -> str:
    """By how much a safetensors file is shorter than it says. Empty: it is whole.

    8 bytes of the header's length, the header in JSON with the `data_offsets` of each tensor, and the tensors:
    https://huggingface.co/docs/safetensors/index#format
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 + length or length > _MOST_HEADER:
            return f"{file.name} has no whole header"
        try:
            header = json.loads(opened.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            whole = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{file.name} has no whole header"
    return "" if size >= whole else f"{file.name} has {size} of {whole} bytes"


def _sizes(path: Path) -> dict[str, int]:
    return dict(_files(path))


def _files(path: Path) -> Iterator[tuple[str, int]]:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            yield str(file), file.stat().st_size

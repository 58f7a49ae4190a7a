"""The weights of a nanotron checkpoint: each parameter is put together from the files of its shards. Importing it imports no torch.

The layout is that of `nanotron/serialize` (https://github.com/huggingface/nanotron, tags v0.4, v0.5 and commit 2411b022). Each part of a
parameter's dotted name is a folder. A parameter that is the same on all ranks has one file without slices. A split one has a file for each
rank, whose metadata map slices of the file to slices of the whole. Both generations of file names are read.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_lighteval.errors import BackendError, first_line

if TYPE_CHECKING:  # annotations only: a fingerprint is made without it
    import torch

Parameters = Mapping[str, tuple[Path, ...]]
"""A parameter's full name -> its files, sorted."""
Region = tuple[tuple[int, int], ...]
"""A box in a tensor: its start and stop in each dimension."""

_RANKS = r"_pp-rank-(?P<pp>\d+)-of-(?P<pps>\d+)_tp-rank-(?P<tp>\d+)-of-(?P<tps>\d+)(?P<expert>_exp-rank-\d+-of-\d+)?"
_NAME = re.compile(rf"(?:model_)+(?P<name>[^_.]+)(?:\.safetensors)?(?:{_RANKS})?\.safetensors")
"""`model_weight_pp-rank-0-of-1_tp-rank-0-of-2.safetensors`; v0.5 wrote `model_model_weight.safetensors_pp-rank-...`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slices:
    """The place of a file's content in the whole parameter."""

    shape: tuple[int, ...]
    """The shape of the whole parameter."""
    pairs: tuple[tuple[Region, Region], ...]
    """A box in the file, and its place in the whole."""


def find_parameters(weights: Path) -> Parameters:
    """The files of every parameter in the checkpoint's `model` folder. Reads only their names.

    Raises BackendError for experts, for files that are not nanotron's, and for ranks that are missing or from different runs.
    """
    found: dict[str, list[tuple[Path, re.Match[str]]]] = {}
    for file in sorted(weights.rglob("*.safetensors")):
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise BackendError(f"{file}: not named as nanotron names a shard (model_weight_pp-rank-0-of-1_tp-rank-0-of-1.safetensors)")
        if match["expert"]:
            raise BackendError(f"{file}: a shard of an expert: mixtures of experts are not mapped to transformers")
        found.setdefault(".".join((*file.relative_to(weights).parts[:-1], match["name"])), []).append((file, match))
    if not found:
        raise BackendError(f"{weights}: it has no *.safetensors, so there are no weights to load")
    for files in found.values():
        _check_ranks(files)
    return {name: tuple(file for file, _ in files) for name, files in sorted(found.items())}


def _check_ranks(files: Sequence[tuple[Path, re.Match[str]]]) -> None:
    sizes = {(match["pps"], match["tps"]) for _, match in files}
    first, match = files[0]
    if len(sizes) > 1:
        raise BackendError(f"{first.parent}: shards of different runs: {', '.join(file.name for file, _ in files)}")
    if match["tps"] is None:
        return
    count = int(match["tps"])
    ranks = {int(match["tp"]) for _, match in files}
    if missing := sorted(set(range(count)) - ranks):
        name = re.sub(r"_tp-rank-\d+", f"_tp-rank-{missing[0]}", first.name)
        raise BackendError(f"{first.parent / name}: missing: {len(ranks)} of this parameter's {count} tensor-parallel shards are there")


def merge_parameter(name: str, files: Sequence[Path]) -> torch.Tensor:
    """The whole parameter, bit for bit as it was saved. Raises BackendError that names the wrong file."""
    import torch

    whole: torch.Tensor | None = None
    shape: tuple[int, ...] = ()
    placed: list[Region] = []
    for file in files:
        tensor, metadata = _read(file)
        slices = read_slices(metadata, tuple(tensor.shape), file)
        if slices is None:
            if len(files) > 1:
                raise BackendError(f"{file}: its metadata have no slices, and {name} has {len(files)} files")
            return tensor
        if whole is None:
            whole, shape = torch.empty(slices.shape, dtype=tensor.dtype), slices.shape
        if slices.shape != shape or tensor.dtype != whole.dtype:
            raise BackendError(f"{file}: of shape {slices.shape} in {tensor.dtype}, where {files[0].name} says {shape} in {whole.dtype}")
        for local, region in slices.pairs:
            if overlapping := next((other for other in placed if _overlap(region, other)), None):
                raise BackendError(f"{file}: its slice {region} of {name} overlaps with {overlapping} of another shard")
            placed.append(region)
            whole[_as_slices(region)] = tensor[_as_slices(local)]
    if whole is None or sum(map(_volume, placed)) != math.prod(shape):
        raise BackendError(f"{files[0].parent}: the slices of its {len(files)} files do not fill {name} of shape {shape}")
    return whole


def _read(file: Path) -> tuple[torch.Tensor, Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:
            return content.get_tensor("data"), content.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BackendError(f"{file}: cannot be read as safetensors (truncated?): {first_line(error)}") from error


def read_slices(metadata: Mapping[str, str], shape: tuple[int, ...], file: Path) -> _Slices | None:
    """The slices in a shard's metadata; `shape` is that of its own tensor. None: it is the whole. Raises BackendError."""
    text = metadata.get("local_global_slices_pairs")
    if text is None:
        return None
    # numpy 2 wrote sizes as np.int64(128)
    whole = tuple(int(size) for size in re.findall(r"\d+", re.sub(r"np\.int\d+", "", metadata.get("unsharded_shape", ""))))
    try:
        pairs = []
        for pair in text.split(";"):
            local, _, region = pair.partition("#")
            pairs.append((_region(local, shape), _region(region, whole)))
        if any(_lengths(local) != _lengths(region) for local, region in pairs):
            raise ValueError("a slice and its place differ in size")
    except ValueError as error:
        raise BackendError(f"{file}: its slices are wrong for a shard of shape {shape} of {whole}: {error}") from error
    return _Slices(shape=whole, pairs=tuple(pairs))


def _region(text: str, shape: tuple[int, ...]) -> Region:
    """`0,64,None|None,None,None` in a tensor of that shape. Raises ValueError."""
    dimensions = text.split("|")
    if len(dimensions) != len(shape):
        raise ValueError(f"{text!r} has {len(dimensions)} dimensions")
    region = []
    for dimension, size in zip(dimensions, shape, strict=True):
        start, stop, step = (None if part == "None" else int(part) for part in dimension.split(","))
        if step not in (None, 1) or not 0 <= (start or 0) < (size if stop is None else stop) <= size:
            raise ValueError(f"{dimension!r} is no slice of {size}")
        region.append((start or 0, size if stop is None else stop))
    return tuple(region)


def _lengths(region: Region) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in region)


def _volume(region: Region) -> int:
    return math.prod(_lengths(region))


def _overlap(one: Region, other: Region) -> bool:
    return all(a < d and c < b for (a, b), (c, d) in zip(one, other, strict=True))


def _as_slices(region: Region) -> tuple[slice, ...]:
    return tuple(itertools.starmap(slice, region))

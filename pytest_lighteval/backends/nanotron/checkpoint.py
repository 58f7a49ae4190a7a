"""A nanotron checkpoint's own description: `config.yaml`, `model_config.json`, the tokenizer it names, and its parallelism.

Reads files and their keys; no weights, no torch, no nanotron.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.common.yaml_lines import YamlFile
from pytest_lighteval.errors import UserInputError

CONFIG = "config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Into how many parts nanotron splits a model: replicas, groups of layers, and parts of each matrix."""

    data: int
    pipeline: int
    tensor: int
    where: str
    """The file that says so, for messages."""

    @property
    def processes(self) -> int:
        """How many processes torchrun has to start."""
        return self.data * self.pipeline * self.tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint's description of itself."""

    config: Path
    model: Mapping[str, Any]
    """`model.model_config` of the file, or `model_config.json` beside it."""
    uses_mup: bool
    """Whether it was trained with muP, which scales attention and logits."""
    version: str | None
    """The version of its format. None: unknown."""
    tokenizer: str | None
    """Hub id or folder. None: it names none."""
    tokenizer_revision: str
    written_parallelism: Any
    """The section `parallelism`, unchecked: loading the weights does not need it, since their slices say how they are split."""

    @property
    def parallelism(self) -> Parallelism | None:
        """The parallelism of the training. None: unknown. Raises UserInputError for invalid sizes."""
        return read_parallelism({"parallelism": self.written_parallelism}, self.config)

    @property
    def folder(self) -> Path:
        """The folder of this training step."""
        return self.config.parent

    @property
    def weights(self) -> Path:
        """It has one folder for each parameter."""
        return self.folder / "model"


def find_config(written: str) -> Path:
    """The `config.yaml` that `checkpoint_config_path` names: the file or its folder. Raises UserInputError."""
    path = Path(written).expanduser()
    if path.is_dir():
        path /= CONFIG
    if path.is_file():
        if path.suffix not in (".yaml", ".yml"):
            raise UserInputError(f"checkpoint_config_path: {written!r} is not a YAML file; name the checkpoint's {CONFIG}")
        return path
    steps = sorted((file.parent for file in path.parent.glob(f"*/{CONFIG}")), key=lambda folder: (len(folder.name), folder.name))
    if steps:
        raise UserInputError(f"checkpoint_config_path: {str(path.parent)!r} holds several steps: name one, such as {steps[-1] / CONFIG}")
    raise UserInputError(f"checkpoint_config_path: there is no file {str(path)!r}; name the {CONFIG} that nanotron saved with the weights")


def read_checkpoint(written: str) -> Checkpoint:
    """The checkpoint's description. Raises UserInputError, one line that names the file and what it lacks."""
    path = find_config(written)
    content = read_mapping(path)
    model = _section(content, "model", path)
    described = model.get("model_config")
    if described is None:
        beside = path.with_name("model_config.json")
        if not beside.is_file():
            raise UserInputError(f"{path}: model.model_config: missing, and there is no model_config.json beside it")
        described = _read_json(beside)
    if not isinstance(described, dict):
        raise UserInputError(f"{path}: model.model_config: a mapping was expected, not {described!r}")
    weights = path.parent / "model"
    if not weights.is_dir():
        raise UserInputError(f"{path}: there is no folder {str(weights)!r} beside it, so it is not the config of a checkpoint")
    metadata = path.with_name("checkpoint_metadata.json")
    version = _read_json(metadata).get("version") if metadata.is_file() else None
    tokenizer = _section(content, "tokenizer", path)
    init = model.get("init_method")
    return Checkpoint(
        config=path,
        model=described,
        uses_mup=isinstance(init, dict) and bool(init.get("use_mup")),
        version=None if version is None else str(version),
        tokenizer=tokenizer.get("tokenizer_name_or_path"),
        tokenizer_revision=tokenizer.get("tokenizer_revision") or "main",
        written_parallelism=content.get("parallelism"),
    )


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file whose content is a mapping, read so that it can build no objects. Raises UserInputError with the line."""
    content = YamlFile(path).data
    if not isinstance(content, dict):
        raise UserInputError(f"{path}:1: a mapping was expected")
    return content


def read_parallelism(content: Mapping[str, Any], path: Path) -> Parallelism | None:
    """The section `parallelism`. None: it is missing. Raises UserInputError for invalid sizes."""
    section = _section(content, "parallelism", path)
    if not section:
        return None
    sizes = {}
    for key in ("dp", "pp", "tp"):
        size = section.get(key)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UserInputError(f"{path}: parallelism.{key}: a number from 1 on was expected, not {size!r}")
        sizes[key] = size
    return Parallelism(data=sizes["dp"], pipeline=sizes["pp"], tensor=sizes["tp"], where=str(path))


def _section(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = content.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise UserInputError(f"{path}: {name}: a mapping was expected, not {section!r}")
    return section


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_utf8(path, shown=str(path)))
    except ValueError as error:
        raise UserInputError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserInputError(f"{path}: a mapping was expected")
    return content

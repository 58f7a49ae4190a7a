"""`hf://owner/repo/path@revision`: a baseline that a model's publisher keeps on the hub, beside the weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import MissingExtraError, UserInputError, in_one_line

SCHEME = "hf://"
_NAME = r"[\w.-]+"
_URL = re.compile(rf"hf://(?P<kind>datasets/)?(?P<repo>{_NAME}/{_NAME})/(?P<path>[^@]+\.json)@(?P<revision>[0-9a-fA-F]+)")
_COMMIT = 40
"""Hex digits of a git commit. A branch or a tag may move, and a shorter one may become ambiguous."""


def hub_file(url: str) -> Path:
    """The file that a URL names, in the cache of huggingface_hub. It is fetched once: a commit never changes.

    Raises:
        UserInputError: The URL is malformed or names no commit, the file cannot be fetched, or its content is not what the hub says.
        MissingExtraError: huggingface_hub is not installed.
    """
    found = _URL.fullmatch(url)
    if found is None or len(found["revision"]) != _COMMIT:
        raise UserInputError(
            f"--baseline {url}: is written hf://owner/repo/path.json@commit (hf://datasets/... for a data set), "
            "with all 40 digits of the commit: a branch may move"
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    place = {
        "repo_id": found["repo"],
        "filename": found["path"],
        "revision": found["revision"].lower(),
        "repo_type": "dataset" if found["kind"] else "model",
    }
    path = Path(_fetched(huggingface_hub, url, place))
    _check_content(url, path)
    return path


def _fetched(hub: Any, url: str, place: dict[str, str]) -> str:
    """From the cache without the network, where it is there: workers of xdist find what their controller fetched."""
    try:
        return str(hub.hf_hub_download(**place, local_files_only=True))
    except hub.errors.LocalEntryNotFoundError:
        pass
    except ValueError as error:  # a name that no repository can have
        raise UserInputError(f"--baseline {url}: {in_one_line(error)}") from error
    try:
        return str(hub.hf_hub_download(**place))
    except Exception as error:  # network, server and library each raise their own kinds
        raise UserInputError(f"--baseline {url}: cannot be fetched: {in_one_line(error)}") from error


def _check_content(url: str, path: Path) -> None:
    """Raise UserInputError if the content has another digest than the hub gave, by which the cache names it."""
    name, content = path.resolve().name, path.read_bytes()
    digests = {64: hashlib.sha256(content).hexdigest(), 40: hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
    if len(name) in digests and re.fullmatch(r"[0-9a-f]+", name) and digests[len(name)] != name:
        raise UserInputError(f"--baseline {url}: {path} was changed after it was fetched: remove it, and it is fetched again")

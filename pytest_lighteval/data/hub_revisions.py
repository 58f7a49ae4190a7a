"""Which commit of a data set on the hub a revision means at the moment. Reads no data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = {"1", "ON", "YES", "TRUE"}
_TIMEOUT_SECONDS = 10.0


def current_commit(repo: str, revision: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The commit that the revision (None: `main`) stands for. None: it cannot be known.

    The hub is asked, unless the revision is a commit already or the environment says to stay offline: then it is the commit that was
    last downloaded.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    if _is_offline(environment):
        return _downloaded_commit(repo, revision or "main", environment)
    return _asked(repo, revision)


def confirm_commit(repo: str, revision: str | None, commit: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the hub itself says now that the revision is that commit. Rows that were read offline may be of another one."""
    return not _is_offline(environment) and _asked(repo, revision) == commit


def _is_offline(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def _downloaded_commit(repo: str, revision: str, environment: Mapping[str, str]) -> str | None:
    """As huggingface_hub notes it; the import of which would take longer than all else here."""
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    cache = Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    try:
        commit = (cache / f"datasets--{repo.replace('/', '--')}" / "refs" / revision).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _asked(repo: str, revision: str | None) -> str | None:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        return None
    try:
        commit = HfApi().dataset_info(repo, revision=revision, timeout=_TIMEOUT_SECONDS).sha
    except Exception:  # network, proxies and hub each raise their own kinds; reading the rows then says what is wrong
        return None
    return str(commit) if commit else None

"""Which commit a revision of a data set on the hub is now. Reads no data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = {"1", "ON", "YES", "TRUE"}
_TIMEOUT_SECONDS = 10.0


def current_commit(repo: str, revision: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The commit of the revision (None: `main`). None: it cannot be known.

    The hub is asked, unless the revision is a commit already. If the environment says to stay offline, it is the commit that was
    downloaded last.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    if _is_offline(environment):
        return _downloaded_commit(repo, revision or "main", environment)
    return _ask_hub(repo, revision)


def confirm_commit(repo: str, revision: str | None, commit: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the hub says now that the revision is that commit. False offline, where the rows may be of another one."""
    return not _is_offline(environment) and _ask_hub(repo, revision) == commit


def _is_offline(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))


def _downloaded_commit(repo: str, revision: str, environment: Mapping[str, str]) -> str | None:
    """As the cache of huggingface_hub has it. Its documented layout is read here, since importing the library is slow."""
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    cache = Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    try:
        commit = (cache / f"datasets--{repo.replace('/', '--')}" / "refs" / revision).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _ask_hub(repo: str, revision: str | None) -> str | None:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        return None
    try:
        commit = HfApi().dataset_info(repo, revision=revision, timeout=_TIMEOUT_SECONDS).sha
    except Exception:  # network, proxies and hub each raise their own kinds; what is wrong is reported when the rows are read
        return None
    return str(commit) if commit else None

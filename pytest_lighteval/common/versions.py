"""Installed packages: their versions, and the error for one that is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from pytest_lighteval.errors import MissingExtraError


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Distribution name -> version, of those packages that are installed. Imports none of them."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def require(*modules: str, extra: str) -> None:
    """Raise MissingExtraError for the first of these top-level modules that is not installed. Imports none of them."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra)

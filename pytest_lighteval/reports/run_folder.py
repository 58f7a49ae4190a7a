"""A run's own folder in the reports folder, and the files of the whole run in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.index import update_index
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.summary import summary_markdown
from pytest_lighteval.types import RunReport


def run_folder(root: Path, started: datetime, label: str, token: str) -> Path:
    """`<root>/<UTC time>-<label>-<token>`: sorts by time; the token is random, so that no two runs share it.

    It is not created here, but with the first file written into it.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-")[:60] or "run"
    return root / f"{started.astimezone(UTC):%Y%m%d-%H%M%S}-{slug}-{token}"


def write_run(folder: Path, report: RunReport) -> None:
    """Write results.json and summary.md, and update the index of the reports folder.

    Each file is whole or not there. If one cannot be written (a full disk), LightevalError names it; the files before it stay.
    """
    for name, text in (("results.json", results_json(report)), ("summary.md", summary_markdown(report))):
        try:
            write_atomic(folder / name, text)
        except OSError as error:
            raise LightevalError(f"{folder / name}: the report cannot be written: {error.strerror}") from error
    try:
        update_index(folder.parent, changed=folder.name)
    except OSError as error:
        raise LightevalError(f"{folder.parent / 'index.json'}: the index of runs cannot be written: {error.strerror}") from error

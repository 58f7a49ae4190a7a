"""`--gate-defer`: a session writes down what it measured, and what it was to be held to, and judges nothing."""

from __future__ import annotations

import os

import pytest

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.plugin.missing_tasks import declared_suites
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.deferred import FILE, DeferredRun, digest_of, render_deferred
from pytest_lighteval.reports.printable import map_texts
from pytest_lighteval.types import RunReport


def write_deferred(session: Session, config: pytest.Config, report: RunReport) -> None:
    """Write the run's deferred.json. Raises LightevalError."""
    suites, gate = declared_suites(session, config), session.settings.gate
    path = session.run_folder / FILE
    try:
        run = DeferredRun(
            report=report,
            items=session.judge.items,
            suites=suites.tasks,
            selection=suites.selection,
            options=map_texts(dict(gate.options), session.secrets.mask),
            digests={name: digest_of(files) for name, files in gate.files.items()},
        )
        write_atomic(path, render_deferred(run))
    except OSError as error:
        raise LightevalError(f"{error.filename or path}: the deferred run cannot be written: {error.strerror}") from error


def deferred_line(session: Session, config: pytest.Config) -> str:
    """What judges the run."""
    folder = os.path.relpath(session.run_folder, config.invocation_params.dir)
    if (shard := session.settings.shard) is not None:
        return f"shard {shard[0]} of {shard[1]}, judged as a whole: python -m pytest_lighteval merge {folder} (and the other shards) -o DIR"
    return f"nothing is judged yet: python -m pytest_lighteval gate {folder} (and the folders of the other runs)"

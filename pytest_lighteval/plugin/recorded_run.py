"""What a session measured, written down so that it can be judged again: later (`--gate-defer`), or against another run (`compare`)."""

from __future__ import annotations

import os

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.missing_tasks import DeclaredSuites
from pytest_lighteval.plugin.missing_tasks import declared_suites
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.printable import map_texts
from pytest_lighteval.reports.recorded_run import DEFERRED, SCORES, RecordedRun, digest_of, write_recorded
from pytest_lighteval.types import RunReport


def write_scores(session: Session, config: pytest.Config, report: RunReport) -> None:
    """Write the run's scores.json, or deferred.json if nothing was judged. Raises LightevalError.

    What its suites declare is needed where it is judged for the first time.
    """
    gate = session.settings.gate
    suites = declared_suites(session, config) if gate.is_deferred else DeclaredSuites()
    try:
        digests = {name: digest_of(files) for name, files in gate.files.items()}
    except OSError as error:
        raise LightevalError(f"{error.filename}: cannot be read: {error.strerror}") from error
    run = RecordedRun(
        report=report,
        items=session.judge.items,
        suites=suites.tasks,
        selection=suites.selection,
        options=map_texts(dict(gate.options), session.secrets.mask),
        digests=digests,
    )
    write_recorded(session.run_folder / (DEFERRED if gate.is_deferred else SCORES), run)


def deferred_line(session: Session, config: pytest.Config) -> str:
    """What judges the run."""
    folder = os.path.relpath(session.run_folder, config.invocation_params.dir)
    if (shard := session.settings.shard) is not None:
        return f"shard {shard[0]} of {shard[1]}, judged as a whole: python -m pytest_lighteval merge {folder} (and the other shards) -o DIR"
    return f"nothing is judged yet: python -m pytest_lighteval gate {folder} (and the folders of the other runs)"

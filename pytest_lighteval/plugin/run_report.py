"""What a session collected as the report of one run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from pytest_lighteval.backends.model_args import given_arguments
from pytest_lighteval.baselines.calibration import calibrated
from pytest_lighteval.plugin.environment import environment
from pytest_lighteval.plugin.secret_texts import mask_likely
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.reports.run_collector import RunCollector
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import MetricResult, RunReport


def make_report(
    config: pytest.Config,
    session: Session,
    collected: RunCollector,
    *,
    groups: Mapping[str, Mapping[str, MetricResult]],
    started: datetime,
    exit_status: int | pytest.ExitCode,
) -> RunReport:
    """The run so far; `groups`: the rows of supersets."""
    settings, secrets = session.settings, session.secrets
    return collected.run_report(
        run_id=session.run_folder.name,
        started=started,
        ended=datetime.now(UTC),
        settings=to_plain(settings.evaluation)
        | {"few_shots": settings.few_shots, "threads": settings.threads}
        | ({} if settings.shard is None else {"shard": list(settings.shard)}),
        environment=environment(),
        arguments=secrets.without(to_plain(settings.arguments)),
        reference_arguments=None if settings.against is None else secrets.without(to_plain(settings.against.arguments)),
        groups=groups,
        calibration={key: calibrated(runs) for key, runs in collected.runs.items()},
        exit_status=_exit_word(exit_status),
        command=shlex.join(["pytest", *(mask_likely(secrets.mask(str(word))) for word in config.invocation_params.args)]),
        baselines=settings.gate.compared_files(config.invocation_params.dir),
        model_args={} if settings.arguments is None else secrets.without(to_plain(given_arguments(settings.arguments))),
    )


def _exit_word(status: int | pytest.ExitCode) -> str:
    """`tests_failed`; the number, where somebody ended the session with a status of their own."""
    try:
        return pytest.ExitCode(status).name.lower()
    except ValueError:
        return str(int(status))

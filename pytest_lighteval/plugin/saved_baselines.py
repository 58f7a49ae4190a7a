"""The baselines that a session writes: that of `--save-baseline`, and the pinned one under `--baseline-repin`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_lighteval.baselines.save import Refresh, SaveTarget, baseline_of
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.gates.plan import reported_metrics
from pytest_lighteval.gates.refresh import Refreshing
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import RunReport, TaskKey


def save_baseline(session: Session, target: SaveTarget, report: RunReport, *, recalled: Mapping[str, int]) -> list[str]:
    """Write what a run measured, and say so in one line a file. Raises LightevalError: nothing was written.

    `recalled`: by task key, how many of its answers came from the cache.
    """
    measured = {result.key for result in report.results}
    lacking = [str(key) for key, _ in session.judge.items if key not in measured and str(key) not in report.skipped]
    if lacking:
        named = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise LightevalError(f"{target.option}: not written, as the run is not complete: no score of {named}")
    items = dict(session.judge.items)
    refreshing = Refreshing(
        reported={key: reported_metrics(items[key]) for key in measured if key in items},
        clusters={result.key: {document.id: document.cluster for document in result.documents} for result in report.results},
        rows={result.key: {document.id: result.row_of(document.id) for document in result.documents} for result in report.results},
        policy=session.settings.gate.policy,
    )
    baseline = baseline_of(report, data_revisions={key: task.hf_revision for key, task in items.items() if task.hf_revision is not None})
    try:
        saved = target.save(
            baseline,
            differences=refreshing.differences,
            recalled={key: recalled[str(key)] for key in measured if str(key) in recalled},
            date=session.settings.gate.today.isoformat(),
        )
    except OSError as error:
        raise LightevalError(f"{target.option}: {error.filename or target.path}: cannot be written: {error.strerror}") from error
    return [line for path, refresh in saved.items() for line in _lines(target, path, refresh)]


def _lines(target: SaveTarget, path: Path, refresh: Refresh) -> Iterator[str]:
    what = "pinned baseline" if target.is_pinned else "baseline"
    counts: dict[str, tuple[TaskKey, ...]] = {"new": refresh.added, "measured again": refresh.replaced, "kept": refresh.kept}
    yield f"{what}: {path} ({', '.join(f'{len(keys)} {how}' for how, keys in counts.items() if keys)})"
    yield from (f"{what}: accepted: {change}" for change in refresh.changes)

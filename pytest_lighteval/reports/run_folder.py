"""A run's own folder in the reports folder, and the files of the whole run in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from pathlib import Path

from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import DataError, LightevalError
from pytest_lighteval.reports.answers import StoredAnswer, read_answers
from pytest_lighteval.reports.flips import ExplainedFlip, explain_verdicts
from pytest_lighteval.reports.index import update_index
from pytest_lighteval.reports.json_report import results_json
from pytest_lighteval.reports.page import PAGE
from pytest_lighteval.reports.page.stored_run import session_data
from pytest_lighteval.reports.page.write import write_page
from pytest_lighteval.reports.recorded_run import DEFERRED, SCORES
from pytest_lighteval.reports.run_collector import REFERENCE
from pytest_lighteval.reports.summary import append_step_summary, summary_markdown
from pytest_lighteval.types import RunReport, TaskKey


def run_folder(root: Path, started: datetime, label: str, token: str) -> Path:
    """`<root>/<UTC time>-<label>-<token>`: sorts by time; the token is random, so that no two runs share it.

    It is not created here, but with the first file written into it.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip(".-")[:60] or "run"
    return root / f"{started.astimezone(UTC):%Y%m%d-%H%M%S}-{slug}-{token}"


def write_run(
    folder: Path,
    report: RunReport,
    environ: Mapping[str, str] | None = None,
    *,
    sources: Sequence[Path] | None = None,
    has_page: bool = True,
) -> None:
    """Write results.json, report.html and summary.md, update the index of the reports folder, and add the summary to GitHub's.

    Each file is whole or not there. If one cannot be written (a full disk), LightevalError names it; the files before it stay. A page that
    cannot be made costs nothing else: its error is raised last.

    Args:
        folder: the run's.
        report: the run.
        environ: names the file of GitHub's step summary, if there is one. None: there is none.
        sources: the run folders that have the details. None: this one.
        has_page: whether there is to be a report.html.
    """
    sources = [folder] if sources is None else sources
    others = other_sides(report, sources)
    flips = explained_run(report, sources, others)
    _write(folder / "results.json", results_json(report))
    problem: LightevalError | None = None
    if has_page:
        try:
            write_page(folder / PAGE, session_data(folder, sources=sources, others=others, flips=flips))
        except LightevalError as error:
            problem, has_page = error, False
    _write(folder / "summary.md", summary_markdown(report, flips, page=(PAGE, PAGE) if has_page else None))
    try:
        update_index(folder.parent, changed=folder.name)
    except OSError as error:
        raise LightevalError(f"{folder.parent / 'index.json'}: the index of runs cannot be written: {error.strerror}") from error
    if environ is not None:
        append_step_summary(summary_markdown(report, flips, page=artifact_link(environ) if has_page else None), environ)
    if problem is not None:
        raise problem


def _write(path: Path, text: str) -> None:
    try:
        write_atomic(path, text)
    except OSError as error:
        raise LightevalError(f"{path}: the report cannot be written: {error.strerror}") from error


def other_sides(report: RunReport, sources: Sequence[Path]) -> list[Path]:
    """The folders that have the texts of what a run was compared with. Empty: a baseline file, which holds scores alone.

    They are those of a reference model of the same session, or a run folder that was given as the baseline.
    """
    if report.references:
        return [source / REFERENCE for source in sources]
    files = [Path(file["path"]) for file in report.baselines if not file["is_pinned"]]
    # the first that holds a task is what it is compared with: behind a file, a run folder's texts may be of another comparison
    return [file.parent for file in takewhile(lambda file: file.name in (SCORES, DEFERRED), files)]


def explained_run(report: RunReport, sources: Sequence[Path], others: Sequence[Path]) -> dict[str, dict[str, tuple[ExplainedFlip, ...]]]:
    """Why documents flipped in a run, by task and metric, with the answers that its details and those of the other side have."""

    def find(places: Sequence[Path], key: TaskKey, ids: Sequence[str]) -> Mapping[str, StoredAnswer]:
        for place in places:
            with contextlib.suppress(DataError):  # details that somebody damaged must not cost the run its report
                if found := read_answers(place, key, ids):
                    return found
        return {}

    return explain_verdicts(report.verdicts, before=partial(find, others), after=partial(find, sources))


def artifact_link(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Words and address of the artifacts of a run of GitHub Actions, where the page is once it is uploaded. None: it is no such run.

    https://docs.github.com/actions/reference/workflows-and-actions/variables has the variables.
    """
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if not all(environ.get(name) for name in names):
        return None
    server, repository, run = (environ[name] for name in names)
    words = f"{PAGE} is in the artifacts of this run, if the workflow uploads its reports"
    return words, f"{server}/{repository}/actions/runs/{run}#artifacts"

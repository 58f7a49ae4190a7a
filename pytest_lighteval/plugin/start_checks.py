"""What no task of a session can survive: found once, when the tasks are known and before the first one runs.

A wrong model, a missing package or device, a folder that cannot be written: each ends the session with one line, as a wrong option does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.checkpoints import Looks
from pytest_lighteval.backends.protocol import check, check_files, own_replicas
from pytest_lighteval.errors import LightevalError, UserInputError
from pytest_lighteval.plugin.checkpoint_settings import CheckpointSettings
from pytest_lighteval.plugin.judging import is_judged
from pytest_lighteval.plugin.options import has_own_backend
from pytest_lighteval.plugin.progress import display_of, shown_records
from pytest_lighteval.plugin.replicas import Engines, make_backend
from pytest_lighteval.plugin.sandboxes import needs_sandbox
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.stored_answers import StoredRun
from pytest_lighteval.plugin.torchrun import report_error
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.types import Backend


def check_start(config: pytest.Config, session: Session) -> None:
    """Raise pytest.UsageError for what would fail every task that was collected. A session without tasks has nothing to fail.

    The linter asks no model, so of it only the folders are looked at.
    """
    files = {task.path for _, task in session.judge.items if task.skip is None}
    option = config.option
    is_check = session.settings.checks is not None
    if not (files or is_check) or option.collectonly or option.setupplan or session.settings.gate.plan_only:
        return
    display = display_of(config)
    try:
        if session.writes_reports:
            _check_folders(session)
        with shown_records(display, session.secrets.mask):
            has_model = has_own_backend(config) or session.settings.judge.answers is not None
            if session.settings.checkpoints is not None:
                _check_checkpoints(session, session.settings.checkpoints)
            elif not (is_check or has_model or _has_backend_beside(files, config.rootpath)):
                _check_backend(*_chosen(session), session.settings.replicas)
            if any(is_judged(task) for _, task in session.judge.items):
                _check_judges(session)
            if session.settings.sandbox is not None and any(needs_sandbox(task) for _, task in session.judge.items if task.skip is None):
                session.sandbox.kind()
            if session.settings.against is not None:
                _check_reference(session.settings.against.backend, session.settings.against.arguments, session.settings.replicas)
    except LightevalError as error:
        usage = pytest.UsageError(printable(session.secrets.mask(str(error))))
        report_error(config, usage)
        raise usage from error
    finally:
        display.end("")


def checked_backend(session: Session | None) -> Backend:
    """The backend of the options, after its own checks. Raises LightevalError, also if none was chosen."""
    if session is not None and session.settings.judge.answers is not None and not session.settings.backend:
        return StoredRun(session.settings.judge.answers)
    backend, arguments = _chosen(session)
    assert session is not None
    _check_backend(backend, arguments, session.settings.replicas)
    return make_backend(backend, arguments, session.settings.replicas)


def _check_judges(session: Session) -> None:
    """Each judge of the options on its own, if a task is judged."""
    for judge in session.settings.judge.judges:
        try:
            _check_backend(judge.backend, judge.arguments, judge.engines(session.settings.replicas))
        except LightevalError as error:
            raise UserInputError(f"judge {judge.name!r}: {error}") from error


def _chosen(session: Session | None) -> tuple[str, msgspec.Struct]:
    if session is None or session.settings.backend is None or session.settings.arguments is None:
        installed = ", ".join(backends.names())
        raise UserInputError(f"no backend was chosen: --backend NAME ({installed}), or a lighteval_backend fixture of your own")
    return session.settings.backend, session.settings.arguments


def _check_backend(name: str, arguments: msgspec.Struct, engines: Engines | None) -> None:
    """Ask one engine, whatever the number of those that will answer. Of engines on other machines, only the files can be looked at."""
    backend = backends.load_backend(name).from_arguments(own_replicas(arguments)[1])
    try:
        (check if engines is None or engines.is_here else check_files)(backend)
    finally:
        backend.close()


def _check_checkpoints(session: Session, checkpoints: CheckpointSettings) -> None:
    """What the first checkpoint cannot survive, such as a missing package, none can."""
    backend, _ = _chosen(session)
    found = checkpoints.find()
    problems = Looks().complete(found)
    whole = next((checkpoint for checkpoint in found if problems[checkpoint.place] is None), None)
    if whole is not None:
        _check_backend(backend, checkpoints.arguments_of(whole), session.settings.replicas)


def _check_reference(name: str, arguments: msgspec.Struct, engines: Engines | None) -> None:
    try:
        _check_backend(name, arguments, engines)
    except LightevalError as error:
        raise UserInputError(f"reference: {error}") from error


def cache_note(session: Session) -> Iterator[str]:
    """One line if nothing can be kept in the cache, which costs time and no score."""
    cache = session.settings.cache
    if cache is not None and session.writes_reports and (problem := _unwritable(cache.folder)):
        yield f"lighteval: --cache-dir {cache.folder}: nothing is kept between runs: {problem}"


def _check_folders(session: Session) -> None:
    settings = session.settings
    _check_writable(settings.report_dir, f"--report-dir {settings.report_dir}")
    for target in settings.gate.written:
        _check_writable(target.path if target.is_folder else target.path.parent, target.option)


def _check_writable(folder: Path, option: str) -> None:
    """Raise UserInputError unless a file can be made in the folder."""
    if problem := _unwritable(folder):
        raise UserInputError(f"{option}: {problem}")


def _unwritable(folder: Path) -> str | None:
    """Why no file can be made in the folder, or in the nearest one above it that there is. None: it can."""
    there = folder
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return f"no file can be made in {there}: {error.strerror}"
    return None


def _has_backend_beside(files: Iterable[Path], root: Path) -> bool:
    """Whether a conftest.py above a suite file brings a backend: under xdist the controller has not imported it."""
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    return any("lighteval_backend" in _text(folder / "conftest.py") for folder in folders)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""

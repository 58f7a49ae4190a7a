"""`merge`: joins the shards of a run (`--shard k/n`) into one whole run, and judges it as its session would have."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pytest_lighteval.commands.gate import judge_and_write
from pytest_lighteval.commands.joined_runs import join_runs
from pytest_lighteval.errors import DataError, LightevalError, RequestsFailedError, UserInputError
from pytest_lighteval.metrics.tiny_parameters import TinyParameters, read_tiny_parameters
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.recorded_run import DEFERRED, RecordedRun, read_deferred
from pytest_lighteval.reports.run_collector import use_of_all
from pytest_lighteval.tally import merge_shares
from pytest_lighteval.types import Task, TaskKey, TaskResult

_MAY_DIFFER = ("shard", "threads")
_DETAILS = "details"
_NO_SHARD = "is no shard; a run under --shard k/n is one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shards, and where the whole run goes."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run under --shard; all shards, in any order")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder of the whole run, which is made")
    parser.add_argument(
        "--tiny-parameters", type=Path, metavar="FILE", help="as of a session: the estimates of tinyBenchmarks need whole tasks"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="list the documents that changed")


def run(options: argparse.Namespace) -> int:
    """Join, judge, write and print. Returns 1 if anything is red."""
    if options.output.exists() and any(options.output.iterdir()):
        raise UserInputError(f"{options.output}: is not empty; name a new folder")
    shards = in_order([(folder, read_shard_run(folder)) for folder in options.runs])
    path: Path | None = options.tiny_parameters
    whole = merge(shards, None if path is None else read_tiny_parameters(path, option="--tiny-parameters"))
    joined = join_runs([(options.output, whole)])
    folders = [folder for folder, _ in shards]
    now = datetime.now(UTC)
    status = judge_and_write(joined, {}, options.output, now, sources=folders, verbosity=options.verbose, is_one_session=True)
    join_details(shards, options.output)
    return status


def read_shard_run(folder: Path) -> RecordedRun:
    """The run of a folder. Raises UserInputError, and DataError for a damaged one."""
    if not folder.is_dir():
        raise UserInputError(f"{folder}: is no folder; the folder of a run was expected")
    if not (folder / DEFERRED).is_file():
        raise UserInputError(f"{folder}: is no shard, or its session was interrupted; a finished run under --shard k/n is one")
    return read_deferred(folder)


def in_order(runs: Sequence[tuple[Path, RecordedRun]]) -> list[tuple[Path, RecordedRun]]:
    """All shards of one run by their number. Raises UserInputError for one that is missing, is there twice, or belongs elsewhere."""
    found: dict[int, tuple[Path, RecordedRun]] = {}
    first_folder, first = runs[0]
    of = 0
    for folder, run in runs:
        shard = run.report.settings.get("shard")
        if shard is None:
            raise UserInputError(f"{folder}: {_NO_SHARD}")
        number, count = shard
        of = of or count
        if count != of:
            raise UserInputError(f"{folder}: is shard {number} of {count}, and {first_folder} is one of {of}")
        if number in found:
            raise UserInputError(f"{folder}: is shard {number} of {of}, as {found[number][0]} is")
        for what, here, there in _facts(run, first):
            if here != there:
                raise UserInputError(f"{folder}: has another {what} than {first_folder}: {here}, not {there}")
        found[number] = folder, run
    missing = [str(number) for number in range(1, of + 1) if number not in found]
    if missing:
        raise UserInputError(f"shard{'s' * (len(missing) > 1)} {', '.join(missing)} of {of} {'are' if len(missing) > 1 else 'is'} missing")
    return [found[number] for number in sorted(found)]


def _facts(run: RecordedRun, other: RecordedRun) -> Iterator[tuple[str, Any, Any]]:
    """What must be the same in two shards."""
    settings, others = run.report.settings, other.report.settings
    for name in sorted((settings.keys() | others.keys()) - set(_MAY_DIFFER)):
        yield name, settings.get(name), others.get(name)
    if run.report.backend and other.report.backend:
        yield "model", run.report.backend.get("fingerprint"), other.report.backend.get("fingerprint")
    packages, others_packages = run.report.environment.get("packages", {}), other.report.environment.get("packages", {})
    for name in sorted(packages.keys() | others_packages.keys()):
        yield f"version of {name}", packages.get(name), others_packages.get(name)
    yield "list of tasks", sorted(str(key) for key, _ in run.items), sorted(str(key) for key, _ in other.items)
    yield "set of gate options", (run.options, run.digests), (other.options, other.digests)


def merge(shards: Sequence[tuple[Path, RecordedRun]], tiny_parameters: TinyParameters | None = None) -> RecordedRun:
    """The whole run of all shards. A task that an error or a missing document keeps from a score has that as its error.

    `tiny_parameters`: for the estimates of tinyBenchmarks.
    """
    first = shards[0][1]
    reports = [run.report for _, run in shards]
    settings = {name: value for name, value in first.report.settings.items() if name != "shard"}
    parts: dict[TaskKey, list[TaskResult]] = {}
    for report in reports:
        for result in report.results:
            parts.setdefault(result.key, []).append(result)
    errors = {key: error for report in reversed(reports) for key, error in report.errors.items()}
    results = []
    for key, task in first.items:
        if key in parts and str(key) not in errors:
            try:
                results.append(_whole(task, parts[key], settings, tiny_parameters))
            except (DataError, RequestsFailedError) as error:
                errors[str(key)] = str(error).removeprefix(f"{key}: ")
    scored = {str(key) for key in parts}
    skipped = {key: reason for report in reversed(reports) for key, reason in report.skipped.items() if key not in scored | errors.keys()}
    uses = [report.backend["use"] for report in reports if "use" in report.backend]
    backend = next((report.backend for report in reports if report.backend), {})
    report = replace(
        first.report,
        started=min(report.started for report in reports),
        seconds=sum(report.seconds for report in reports),
        settings=settings,
        backend={**backend, **({"use": use_of_all(uses)} if uses else {})},
        results=tuple(sorted(results, key=lambda result: result.key)),
        errors=dict(sorted(errors.items())),
        skipped=dict(sorted(skipped.items())),
        cache={name: sum(report.cache.get(name, 0) for report in reports) for name in first.report.cache},
    )
    return replace(first, report=report)


def _whole(task: Task, parts: Sequence[TaskResult], settings: Mapping[str, Any], tiny_parameters: TinyParameters | None) -> TaskResult:
    if len(parts) == 1 and parts[0].share is None:
        return parts[0]
    return merge_shares(
        task,
        parts,
        has_system_prompt=bool(settings["system_prompt"]),
        use_chat_template=bool(settings["use_chat_template"]),
        tiny_parameters=tiny_parameters,
    )


def join_details(shards: Sequence[tuple[Path, RecordedRun]], output: Path) -> None:
    """Write the details of all shards into the whole run: each task's documents in its own order. Raises LightevalError.

    Documents without a score have no place in it, and stand at the end.
    """
    places: dict[Path, dict[tuple[str, int], int]] = {}
    for _, run in shards:
        for result in run.report.results:
            if result.share is not None:
                of_task = places.setdefault(details_path(output, result.key), {})
                for position, document in zip(result.share.positions, result.documents, strict=True):
                    of_task[document.id, document.few_shot_seed] = position
    try:
        files: dict[Path, list[Path]] = {}
        for folder, _ in shards:
            for file in sorted((folder / _DETAILS).rglob("*.jsonl")):
                files.setdefault(output / file.relative_to(folder), []).append(file)
        for target, parts in files.items():
            _write_in_order(parts, places.get(target, {}), target)
    except OSError as error:
        raise LightevalError(f"{error.filename or output}: the details cannot be joined: {error.strerror}") from error


def _write_in_order(parts: Sequence[Path], places: Mapping[tuple[str, int], int], target: Path) -> None:
    """Write the lines of files that may be larger than the memory. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(file.open("rb")) for file in parts]
        lines = []
        for number, source in enumerate(sources):
            start = 0
            for line in source:
                lines.append((_place(line, places), number, start, len(line)))
                start += len(line)
        joined = stack.enter_context(target.open("wb"))
        for _, number, start, size in sorted(lines):
            sources[number].seek(start)
            joined.write(sources[number].read(size))


def _place(line: bytes, places: Mapping[tuple[str, int], int]) -> int:
    """The position of a line's document in the task; behind all of them, if it has none."""
    try:
        found = msgspec.json.decode(line, type=_Document)
    except msgspec.DecodeError:  # a line that was not written to its end
        return sys.maxsize
    return places.get((found.id, found.few_shot_seed), sys.maxsize)


class _Document(msgspec.Struct, frozen=True):
    """What a line of the details says of its document; all else in it is skipped."""

    id: str = ""
    few_shot_seed: int = 0

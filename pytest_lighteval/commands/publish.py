"""`publish`: a finished run where people keep results. Never part of a session: a failed upload cannot fail an evaluation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.publishing import clients
from pytest_lighteval.publishing.eval_results import eval_results, model_card
from pytest_lighteval.publishing.every_eval_ever import every_eval_ever
from pytest_lighteval.publishing.finished_run import FinishedRun, read_finished_run
from pytest_lighteval.publishing.lighteval_details import lighteval_details, repository
from pytest_lighteval.publishing.publication import Publication, write_publication
from pytest_lighteval.publishing.tracked_run import tracked_run, tracker_publication
from pytest_lighteval.reports.printable import printable

_TRACKERS = ("trackio", "wandb", "mlflow", "tensorboard")
_NEEDS = {
    "hub": "ORG, the owner of the repository",
    "eval-results": "MODEL, its repository on the hub",
    "model-card": "MODEL, its repository on the hub",
    "eee": "DIR",
    "trackio": "PROJECT",
    "wandb": "PROJECT",
    "mlflow": "",
    "tensorboard": "DIR",
}
"""Kind of place -> what stands behind its colon. Empty: it may be left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the place, and what may be published."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument(
        "--to",
        required=True,
        metavar="PLACE",
        help="hub:ORG, eval-results:MODEL, model-card:MODEL, eee:DIR, trackio:PROJECT, wandb:PROJECT, mlflow[:EXPERIMENT], tensorboard:DIR",
    )
    parser.add_argument("--dry-run", action="store_true", help="write the files here, and send nothing")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where a dry run writes (default: RUN/publish)")
    parser.add_argument("--public", action="store_true", help="let everybody read the repository of hub:ORG (default: private)")
    parser.add_argument("--with-texts", action="store_true", help="publish prompts and answers, too (hub, eee)")
    parser.add_argument("--step", type=int, default=0, metavar="N", help="the training step that a tracker shows (default 0)")
    parser.add_argument("--organization", default="unknown", metavar="NAME", help="who ran the evaluation (eee)")
    parser.add_argument(
        "--relationship",
        default="other",
        choices=("first_party", "third_party", "collaborative", "other"),
        help="the evaluator's to the model (eee)",
    )
    parser.add_argument(
        "--task-id", action="append", default=[], metavar="SUITE|TASK=ID", help="the task's id in its data set's eval.yaml (eval-results)"
    )
    parser.add_argument("--source-url", metavar="URL", help="where the run can be looked at (eval-results)")


def run(options: argparse.Namespace) -> int:
    """Make the files, and send them or write them. Returns 0; raises LightevalError."""
    kind, target = _place(options.to)
    finished = read_finished_run(options.run)
    if kind in _TRACKERS:
        tracked = tracked_run(finished, step=options.step)
        publication = tracker_publication(tracked, kind, target)
    else:
        publication = _publication(kind, target, finished, options)
    for note in publication.notes:
        _say(f"note: {note}", sys.stderr)
    if options.dry_run:
        folder = options.output or options.run / "publish"
        write_publication(publication, folder)
        for name in publication.files:
            _say(str(folder / name))
        _say(f"dry run: {len(publication.files)} files for {kind} {publication.target}; nothing was sent")
        return 0
    match kind:
        case "hub":
            done = clients.send_data_set(publication, public=options.public)
        case "eval-results":
            done = clients.propose_to_model(publication)
        case "model-card":
            done = clients.propose_card(publication)
        case "eee":
            write_publication(publication, Path(target))
            done = f"{len(publication.files)} files in {target}"
        case "trackio":
            done = clients.send_to_trackio(tracked, target)
        case "wandb":
            done = clients.send_to_wandb(tracked, target)
        case "mlflow":
            done = clients.send_to_mlflow(tracked, target)
        case _:
            done = clients.write_tensorboard(tracked, Path(target))
    _say(f"published: {done}")
    return 0


def _publication(kind: str, target: str, finished: FinishedRun, options: argparse.Namespace) -> Publication:
    match kind:
        case "hub":
            name = repository(finished, target, public=options.public)
            present = [] if options.dry_run else clients.files_of_repository(name)
            return lighteval_details(finished, target, public=options.public, with_texts=options.with_texts, present=present)
        case "eval-results":
            return eval_results(finished, target, task_ids=_task_ids(options.task_id), source_url=options.source_url)
        case "model-card":
            return model_card(finished, target)
    return every_eval_ever(
        finished, target, organization=options.organization, relationship=options.relationship, with_texts=options.with_texts
    )


def _place(text: str) -> tuple[str, str]:
    kind, _, target = text.partition(":")
    if kind not in _NEEDS:
        raise UserInputError(f"--to {text}: there are {', '.join(_NEEDS)}{did_you_mean(kind, _NEEDS)}")
    if _NEEDS[kind] and not target:
        raise UserInputError(f"--to {text}: write {kind}:{_NEEDS[kind]}")
    return kind, target


def _task_ids(pairs: list[str]) -> Mapping[str, str]:
    ids = {}
    for pair in pairs:
        name, equals, identifier = pair.rpartition("=")
        if not (equals and name.count("|") == 1 and identifier):
            raise UserInputError(f"--task-id {pair}: is written suite|task=ID, such as lighteval|gpqa:diamond=gpqa_diamond")
        ids[name] = identifier
    return ids


def _say(line: str, stream: object = None) -> None:
    (sys.stdout if stream is None else sys.stderr).write(f"{printable(line)}\n")

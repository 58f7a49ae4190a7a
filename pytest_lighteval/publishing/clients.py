"""Sends what was made: with the official client of each place, imported only here and only when it is used."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import LightevalError, MissingExtraError, in_one_line
from pytest_lighteval.publishing.publication import Publication, write_publication
from pytest_lighteval.publishing.tracked_run import TrackedRun

_LONGEST_PARAMETER = 500
"""Characters: mlflow takes no more."""


def files_of_repository(name: str) -> list[str]:
    """Paths of the files of a data set's repository; empty if there is none. Raises LightevalError."""
    hub = _import("huggingface_hub", "hub")
    with _told(name):
        try:
            return list(hub.list_repo_files(name, repo_type="dataset"))
        except hub.errors.RepositoryNotFoundError:
            return []


def send_data_set(publication: Publication, *, public: bool) -> str:
    """Make the repository if there is none, private unless `public`, and add the files in one commit. Returns its address."""
    hub = _import("huggingface_hub", "hub")
    with _written(publication) as folder, _told(publication.target):
        hub.create_repo(publication.target, repo_type="dataset", private=not public, exist_ok=True)
        if not public and not hub.dataset_info(publication.target).private:
            raise LightevalError(f"{publication.target}: is public; --public says that this is meant")
        done = hub.upload_folder(repo_id=publication.target, repo_type="dataset", folder_path=folder, commit_message="Add an evaluation")
    return str(getattr(done, "commit_url", publication.target))


def propose_to_model(publication: Publication) -> str:
    """Open a pull request with the files in the model's repository. Returns its address."""
    hub = _import("huggingface_hub", "hub")
    with _written(publication) as folder, _told(publication.target):
        done = hub.upload_folder(repo_id=publication.target, folder_path=folder, commit_message="Add evaluation results", create_pr=True)
    return str(done.pr_url)


def propose_card(publication: Publication) -> str:
    """Open a pull request that adds the metadata to the model's card. Returns its address."""
    import yaml

    hub = _import("huggingface_hub", "hub")
    with _told(publication.target):
        return str(hub.metadata_update(publication.target, yaml.safe_load(publication.files["model-index.yaml"]), create_pr=True))


def send_to_trackio(tracked: TrackedRun, project: str) -> str:
    """Log the run in a local trackio project, or in the Space that its own settings name."""
    trackio = _import("trackio", "trackio")
    with _told(f"trackio:{project}"):
        trackio.init(project=project, name=tracked.name, config=dict(tracked.config))
        trackio.log(dict(tracked.numbers), step=tracked.step)
        trackio.finish()
    return f"trackio project {project}, run {tracked.name}"


def send_to_wandb(tracked: TrackedRun, project: str) -> str:
    """Log the run in a W&B project; `WANDB_MODE=offline` keeps it here."""
    wandb = _import("wandb", "wandb")
    with _told(f"wandb:{project}"):
        run = wandb.init(project=project, name=tracked.name, config=dict(tracked.config))
        run.log(dict(tracked.numbers), step=tracked.step)
        place = str(getattr(run, "url", None) or getattr(run, "dir", project))
        run.finish()
    return place


def send_to_mlflow(tracked: TrackedRun, experiment: str) -> str:
    """Log the run where `MLFLOW_TRACKING_URI` points."""
    mlflow = _import("mlflow", "mlflow")
    with _told("mlflow"):
        if experiment:
            mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=tracked.name) as run:
            mlflow.log_params({name: str(value)[:_LONGEST_PARAMETER] for name, value in tracked.config.items()})
            mlflow.log_metrics(dict(tracked.numbers), step=tracked.step)
        return f"mlflow run {run.info.run_id}"


def write_tensorboard(tracked: TrackedRun, folder: Path) -> str:
    """Write an event file below a folder."""
    tensorboard = _import("tensorboardX", "tensorboard")
    with _told(f"tensorboard:{folder}"), tensorboard.SummaryWriter(str(folder / tracked.name)) as writer:
        for name, value in tracked.numbers.items():
            writer.add_scalar(name, value, tracked.step)
    return str(folder / tracked.name)


def _import(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, extra) from error


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What a client raises, in one line: network, server and library each raise their own kinds."""
    try:
        yield
    except LightevalError:
        raise
    except Exception as error:
        raise LightevalError(f"{place}: {in_one_line(error)}") from error


@contextmanager
def _written(publication: Publication) -> Iterator[str]:
    """The files of a publication in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="lighteval-publish-") as folder:
        write_publication(publication, Path(folder))
        yield folder

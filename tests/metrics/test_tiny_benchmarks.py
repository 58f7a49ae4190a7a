"""The estimates of tinyBenchmarks against recordings, and reading their parameters without trusting the file."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.metrics.tiny_benchmarks import estimate
from pytest_lighteval.metrics.tiny_parameters import read_tiny_parameters
from tests.shared import SHARED, needs_shared


def as_published(group: dict[str, Any]) -> dict[str, Any]:
    """A group with arrays where the published file has them."""
    arrays = {letter: np.asarray(values) for letter, values in group["irt_parameters"].items()}
    return {
        **group,
        "irt_parameters": arrays,
        "examples_weights": {name: np.asarray(row) for name, row in group["examples_weights"].items()},
    }


def small(items: int = 8, *, anchors: tuple[int, ...] = (1, 4, 6)) -> dict[str, Any]:
    """Parameters of one benchmark."""
    return {
        "mmlu": {
            "seen_examples": list(anchors),
            "examples_weights": {"mmlu": np.full(len(anchors), 1 / len(anchors))},
            "irt_parameters": {"A": np.full((1, 2, items), 0.5), "B": np.zeros((1, 2, items))},
            "optimal_lambdas": {"mmlu": 0.5},
            "scenarios_position": {"mmlu": list(range(items))},
            "subscenarios_position": {"mmlu": {"a": [0, 1], "b": list(range(2, items))}},
        }
    }


def write(folder: Path, content: object, *, protocol: int = 4) -> Path:
    path = folder / "tinyBenchmarks.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@needs_shared
def test_the_estimates_are_the_recorded_ones(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (SHARED / "golden/tiny_benchmarks.jsonl").read_text().splitlines()]
    (recorded,) = (line for line in lines if line["kind"] == "parameters")
    cases = [line for line in lines if line["kind"] == "case"]
    path = write(tmp_path, {name: as_published(recorded[name]) for name in ("lb", "mmlu")})
    scenarios = read_tiny_parameters(path, option="--tiny-parameters").scenarios

    assert {case["task"] for case in cases} <= set(scenarios)
    assert len(cases) >= 10
    for case in cases:
        assert estimate(scenarios[case["task"]], case["correct"]) == pytest.approx(case["expected"], abs=1e-4), case["i"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_one_anchor_stands_for_its_weight_whatever_protocol_wrote_the_file(tmp_path: Path, protocol: int) -> None:
    content = small()
    content["mmlu"]["examples_weights"]["mmlu"] = np.asarray([0.5, 0.3, 0.2])
    content["mmlu"]["optimal_lambdas"]["mmlu"] = np.float64(1.0)
    parameters = read_tiny_parameters(write(tmp_path, content, protocol=protocol), option="--tiny-parameters")

    found = estimate(parameters.scenarios["mmlu"], [1.0, 0.0, 1.0])

    assert found["irt"] == found["gpirt"] == pytest.approx(0.7)
    # two subsets of two and six items: an item of the first counts 8/(2*2) times, one of the second 8/(2*6) times
    assert parameters.scenarios["mmlu"].balance.tolist() == pytest.approx([2.0, 2.0, *[2 / 3] * 6])


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path}/run",)

    for content in (Attack(), {"mmlu": Attack()}, {"lb": [np.zeros(2), Attack()]}):
        with pytest.raises(UserInputError, match=r"--tiny-parameters .*: the pickle names posix\.system, which is not read"):
            read_tiny_parameters(write(tmp_path, content), option="--tiny-parameters")
    assert not (tmp_path / "run").exists()


def test_an_array_of_objects_brings_nothing_in_either(tmp_path: Path) -> None:
    content = small()
    content["mmlu"]["irt_parameters"]["A"] = np.asarray([[["x", None]]], dtype=object)
    with pytest.raises(UserInputError, match="not the parameters of tinyBenchmarks"):
        read_tiny_parameters(write(tmp_path, content), option="--tiny-parameters")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no readable pickle"),
        (b"PK\x03\x04 not a pickle", "no readable pickle"),
        (pickle.dumps({"lb": {}}), "not the parameters of tinyBenchmarks"),
        (pickle.dumps({}), "no parameters of 'lb' or 'mmlu'"),
        (pickle.dumps([1, 2]), "no parameters of 'lb' or 'mmlu'"),
        # an array of 2**60 bytes, before any data of it
        (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x10\x85C\x01b\x87R.",
            "not empty",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "parameters.pkl"
    path.write_bytes(data)

    with pytest.raises(UserInputError, match=problem) as error:
        read_tiny_parameters(path, option="--tiny-parameters")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"--tiny-parameters .*/none\.pkl: No such file"):
        read_tiny_parameters(tmp_path / "none.pkl", option="--tiny-parameters")


def test_numbers_that_are_not_finite_or_of_other_items_are_refused(tmp_path: Path) -> None:
    for change in ("nan", "anchors"):
        content = small()
        if change == "nan":
            content["mmlu"]["irt_parameters"]["A"][0, 0, 3] = np.nan
        else:
            content["mmlu"]["examples_weights"]["mmlu"] = np.ones(2)
        with pytest.raises(UserInputError, match="not a finite number" if change == "nan" else "2 weights of 3 anchors"):
            read_tiny_parameters(write(tmp_path, content), option="--tiny-parameters")

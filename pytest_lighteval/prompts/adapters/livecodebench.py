"""Rows of LiveCodeBench (https://arxiv.org/abs/2403.07974), whose hidden test cases are stored compressed."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib
from typing import Any


def unpack_tests(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `inputs` and `outputs` of its public test cases, then of the hidden ones, and `function`, the name to call or None."""
    tests = json.loads(row["public_test_cases"]) + _hidden_tests(row["private_test_cases"])
    return {
        **row,
        "inputs": [test["input"] for test in tests],
        "outputs": [test["output"] for test in tests],
        "function": json.loads(row["metadata"]).get("func_name"),
    }


def _hidden_tests(stored: str) -> list[dict[str, Any]]:
    """Plain JSON in the first release; later ones keep it as a pickled text, compressed, in base 64."""
    try:
        tests: list[dict[str, Any]] = json.loads(stored)
    except json.JSONDecodeError:
        tests = json.loads(_TextUnpickler(io.BytesIO(zlib.decompress(base64.b64decode(stored)))).load())
    return tests


class _TextUnpickler(pickle.Unpickler):
    """Reads texts, numbers, lists and the like, and nothing that could run code, as a data set cannot be trusted."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"a text is required, not {module_name}.{global_name}")

"""Rows of LiveCodeBench (https://arxiv.org/abs/2403.07974), whose hidden test cases are stored compressed."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any

from pytest_lighteval.common.safe_pickle import read_pickle
from pytest_lighteval.errors import DataError

_MOST_BYTES = 2**30
"""Of the hidden test cases of one problem, unpacked; the largest ones of the data set have some hundred MiB."""


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
    """Plain JSON in the first release; later ones keep it as a pickled text, compressed, in base 64. Raises DataError."""
    try:
        tests: list[dict[str, Any]] = json.loads(stored)
    except json.JSONDecodeError:
        text = read_pickle(_unpacked(stored), where="private_test_cases")
        if not isinstance(text, str):
            raise DataError(f"private_test_cases: a pickled text is required, not {type(text).__name__}") from None
        tests = json.loads(text)
    return tests


def _unpacked(stored: str) -> bytes:
    """Bounded, as a few bytes can unpack to any number of them."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(stored), _MOST_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise DataError(f"private_test_cases: neither JSON nor packed: {error}") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise DataError(f"private_test_cases: more than {_MOST_BYTES} bytes, or not whole")
    return data

"""The one value with a text form: the identity of an item."""

from __future__ import annotations

import pytest

import pytest_lighteval
from pytest_lighteval.types import TaskKey


@pytest.mark.parametrize("text", ["a|b:c|5", "a|b:_average|0", "a|b|5|1"], ids=["task", "superset", "truncation"])
def test_a_key_is_read_back_from_its_text(text: str) -> None:
    assert str(TaskKey.parse(text)) == text


def test_a_flag_of_zero_is_the_plain_key() -> None:
    assert TaskKey.parse("a|b|5|0") == TaskKey(suite="a", task="b", few_shots=5)


@pytest.mark.parametrize("text", ["all", "a|b", "a|b|x", "a|b|5|2", "|b|5", "a b|c|5", "suites/a.yaml::b[5-shot]"])
def test_what_is_no_key_is_not_read_as_one(text: str) -> None:
    assert TaskKey.parse(text) is None


def test_the_public_names_of_the_package_are_there_and_no_other() -> None:
    assert all(getattr(pytest_lighteval, name) is not None for name in (*pytest_lighteval.__all__, "__version__"))
    with pytest.raises(AttributeError, match="has no attribute 'Bakend'"):
        pytest_lighteval.Bakend  # noqa: B018

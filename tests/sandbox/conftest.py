"""The kinds of sandboxes that this machine has, each started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_lighteval.errors import GraderError
from pytest_lighteval.sandbox.kinds import Kind
from pytest_lighteval.sandbox.pool import Pool
from pytest_lighteval.sandbox.self_test import self_test
from pytest_lighteval.sandbox.worker import Worker


@pytest.fixture(scope="session", params=["bubblewrap", "userns", "landlock"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """Sandboxes of one kind. Skips where the kind does not start, such as in a container.

    The self-test comes first; its attempts are harmless: network, files, symlinks, signals, /proc of others, processes, threads, limits.
    No other test runs in a kind that does not hold.
    """
    kind: Kind = request.param
    try:
        Worker(kind).close()
    except GraderError as error:
        pytest.skip(str(error))
    assert self_test(kind) == []
    with Pool(kind, size=2) as pool:
        yield pool


@pytest.fixture(scope="session")
def any_pool() -> Iterator[Pool]:
    """Sandboxes of the first kind that starts here; without one, what runs is the tests' own code."""
    kinds: tuple[Kind, ...] = ("bubblewrap", "userns", "landlock")
    for kind in kinds:
        try:
            Worker(kind).close()
        except GraderError:
            continue
        with Pool(kind, size=2) as pool:
            yield pool
        return
    with Pool("none", size=2) as pool:
        yield pool

"""What an item measured, on its way to whoever writes the reports: onto the pytest report, through xdist, into the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # this module is imported by every pytest run
    from pytest_lighteval.plugin.run_item import Outcome
    from pytest_lighteval.types import TaskKey, TaskResult

ATTRIBUTE = "lighteval"
"""The attribute of a `TestReport` that holds the payload; xdist serialises whatever plain values a report has."""

RUN_FOLDER = pytest.StashKey[Path]()
"""The run's folder, the same in the controller and in its workers. It is made when the first file is written into it."""

_OUTCOMES = pytest.StashKey["dict[TaskKey, Outcome]"]()
_PAYLOAD = pytest.StashKey[dict[str, Any]]()


def outcomes_of(item: pytest.Item) -> dict[TaskKey, Outcome]:
    """What was measured in this item so far, by key."""
    return item.stash.setdefault(_OUTCOMES, {})


def attach_outcome(item: pytest.Item, outcome: Outcome, *, backend: Mapping[str, Any]) -> None:
    """Keep what a suite's item measured for its report."""
    from pytest_lighteval.reports.serialize import to_plain

    key = outcome.result.key
    outcomes_of(item)[key] = outcome
    payload = item.stash.setdefault(_PAYLOAD, {})
    payload["backend"] = to_plain(backend)
    payload.setdefault("outcomes", {})[str(key)] = {"result": to_plain(outcome.result), "verdicts": to_plain(outcome.verdicts)}


def attach_own_run(item: pytest.Item, result: TaskResult, *, backend: Mapping[str, Any]) -> None:
    """Keep what a person's own test measured: it may be a part of a task that an item measures as a whole."""
    from pytest_lighteval.reports.serialize import to_plain

    payload = item.stash.setdefault(_PAYLOAD, {})
    payload["backend"] = to_plain(backend)
    payload.setdefault("own_runs", []).append(to_plain(result))


def attach_cache_use(item: pytest.Item, use: Mapping[str, Any]) -> None:
    """Keep what of the item's answers came from the cache; an item of a person's own may evaluate several times."""
    item.stash.setdefault(_PAYLOAD, {}).setdefault("cache", []).append(dict(use))


def attach_error(item: pytest.Item, key: TaskKey, message: str, *, skipped: bool = False) -> None:
    """Keep the reason why there is no result."""
    reason = message.removeprefix(f"{key}: ")
    item.stash.setdefault(_PAYLOAD, {}).setdefault("skipped" if skipped else "errors", {})[str(key)] = reason


def attach_use(item: pytest.Item, backend: Mapping[str, Any]) -> None:
    """Keep what a backend has used up so far, where an item has no result; of a backend that counts it."""
    if "use" in backend:
        item.stash.setdefault(_PAYLOAD, {}).setdefault("backend", {})["use"] = dict(backend["use"])


def attach_repeats(item: pytest.Item, key: TaskKey, repeats: Sequence[TaskResult]) -> None:
    """Keep what further runs of the same model measured."""
    from pytest_lighteval.reports.serialize import to_plain

    if repeats:
        item.stash.setdefault(_PAYLOAD, {}).setdefault("repeats", {})[str(key)] = [to_plain(result) for result in repeats]


def attach_reference(item: pytest.Item, result: TaskResult, *, backend: Mapping[str, Any]) -> None:
    """Keep what the reference measured, apart from what is judged."""
    from pytest_lighteval.reports.serialize import to_plain

    payload = item.stash.setdefault(_PAYLOAD, {})
    payload["reference_backend"] = to_plain(backend)
    payload.setdefault("references", {})[str(result.key)] = to_plain(result)


def attach_reference_error(item: pytest.Item, key: TaskKey, message: str, *, skipped: bool) -> None:
    """Keep the reason why the reference measured nothing."""
    from pytest_lighteval.plugin.items import REFERENCE

    reason = message.removeprefix(f"{key}: ")
    item.stash.setdefault(_PAYLOAD, {}).setdefault("skipped" if skipped else "errors", {})[f"{key} ({REFERENCE})"] = reason


def attach_reason(item: pytest.Item, message: str, *, skipped: bool) -> None:
    """The same for an item that did not get as far as its task: its mark says which one it is. Other items have no such mark."""
    mark = item.get_closest_marker("lighteval")
    if mark is not None:
        from pytest_lighteval.types import TaskKey

        identity = ("suite", "task", "few_shots", "truncate")
        attach_error(item, TaskKey(**{name: mark.kwargs[name] for name in identity}), message, skipped=skipped)


def is_explained(item: pytest.Item) -> bool:
    """Whether it is known how the item's evaluation ended; what it took from the cache does not tell."""
    return bool(item.stash.get(_PAYLOAD, {}).keys() - {"cache"})


def payload_of(item: pytest.Item) -> dict[str, Any] | None:
    """What the item's report is to carry. None: nothing of ours happened in it."""
    return item.stash.get(_PAYLOAD, None) or None


def reset(item: pytest.Item) -> None:
    """Forget it all and start again, as `--reruns` does."""
    item.stash[_OUTCOMES] = {}
    item.stash[_PAYLOAD] = {}
    item.user_properties[:] = [(name, value) for name, value in item.user_properties if not name.startswith("lighteval.")]

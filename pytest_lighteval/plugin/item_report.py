"""What an item measured, on its way to the reports: onto the pytest report, through xdist, into the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_lighteval.plugin.secret_texts import SecretTexts
from pytest_lighteval.reports.printable import encodable, map_texts
from pytest_lighteval.reports.run_collector import REFERENCE
from pytest_lighteval.reports.serialize import to_plain
from pytest_lighteval.types import Attempt, GraderKind, TaskCheck, TaskKey, TaskResult, Verdict

ATTRIBUTE = "lighteval"
"""The attribute of a `TestReport` that holds the payload; xdist serialises whatever plain values a report has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One evaluated task with what its gates say."""

    result: TaskResult
    """Of this attempt alone."""
    verdicts: tuple[Verdict, ...]
    """Of this attempt together with the earlier ones that count."""


_OUTCOMES = pytest.StashKey[dict[TaskKey, Outcome]]()
_ATTEMPTS = pytest.StashKey[dict[TaskKey, list[Attempt]]]()
_PAYLOAD = pytest.StashKey[dict[str, Any]]()
_SECONDS = pytest.StashKey[float]()


def outcome_of(item: pytest.Item, key: TaskKey) -> Outcome:
    """What was measured for a key in this item."""
    return item.stash[_OUTCOMES][key]


def note_seconds(item: pytest.Item, seconds: float) -> None:
    """Add what an evaluation in this item's set-up took."""
    item.stash[_SECONDS] = item.stash.get(_SECONDS, 0.0) + seconds


def seconds_of(item: pytest.Item) -> float:
    """What the evaluations in this item took."""
    return item.stash.get(_SECONDS, 0.0)


def attach_outcome(item: pytest.Item, outcome: Outcome, *, backend: Mapping[str, Any]) -> None:
    """Keep what a suite's item measured."""
    key = outcome.result.key
    item.stash.setdefault(_OUTCOMES, {})[key] = outcome
    payload = _payload(item)
    payload["backend"] = to_plain(backend)
    payload.setdefault("outcomes", {})[str(key)] = {"result": to_plain(outcome.result), "verdicts": to_plain(outcome.verdicts)}


def attach_own_run(item: pytest.Item, result: TaskResult, *, backend: Mapping[str, Any]) -> None:
    """Keep what a user's own test measured, apart from suite items: it may be a part of a task that an item measures as a whole."""
    payload = _payload(item)
    payload["backend"] = to_plain(backend)
    payload.setdefault("own_runs", []).append(to_plain(result))


def attach_cache_use(item: pytest.Item, use: Mapping[str, Any]) -> None:
    """Keep how many answers came from the cache; a user's own test may evaluate several times."""
    _payload(item).setdefault("cache", []).append(dict(use))


def attach_error(item: pytest.Item, key: TaskKey, message: str, *, skipped: bool = False, reference: bool = False) -> None:
    """Keep the reason why there is no result, of the task or of its reference."""
    reason = message.removeprefix(f"{key}: ").removeprefix(f"{key.suite}|{key.task}: ")
    name = f"{key} ({REFERENCE})" if reference else str(key)
    _payload(item).setdefault("skipped" if skipped else "errors", {})[name] = reason


def attach_lost(item: pytest.Item, message: str) -> None:
    """Keep that the backend can be asked no more, which is the same mistake in every worker."""
    _payload(item)["lost"] = message


def without_repeated_loss(report: pytest.TestReport, known: set[str]) -> None:
    """Count a lost backend as one error: later reports of the same loss, from other workers, become skips. `known`: losses so far."""
    payload: dict[str, Any] = getattr(report, ATTRIBUTE, None) or {}
    lost = payload.pop("lost", None)
    if lost is None or not report.failed:
        return
    if lost not in known:
        known.add(lost)
        return
    reason = "not evaluated: another worker has the same error"
    payload["skipped"] = {**payload.get("skipped", {}), **dict.fromkeys(payload.pop("errors", {}), reason)}
    path, line, _ = report.location
    report.outcome = "skipped"
    report.longrepr = path, line or 0, f"Skipped: {reason}"


def attach_use(item: pytest.Item, backend: Mapping[str, Any]) -> None:
    """Keep what a backend has used so far, where an item has no result; of a backend that counts it."""
    if "use" in backend:
        _payload(item).setdefault("backend", {})["use"] = dict(backend["use"])


def attach_backend(item: pytest.Item, backend: Mapping[str, Any]) -> None:
    """Keep the facts of a backend that answered in an item without a score."""
    _payload(item)["backend"] = to_plain(backend)


def attach_grader(item: pytest.Item, kind: GraderKind, facts: Mapping[str, Any]) -> None:
    """Keep what is known of the graders so far, by kind."""
    _payload(item).setdefault("graders", {})[kind] = to_plain(facts)


def attach_repeats(item: pytest.Item, key: TaskKey, repeats: Sequence[TaskResult]) -> None:
    """Keep what further runs of the same model measured."""
    if repeats:
        _payload(item).setdefault("repeats", {})[str(key)] = [to_plain(result) for result in repeats]


def attach_reference(item: pytest.Item, result: TaskResult, *, backend: Mapping[str, Any]) -> None:
    """Keep what the reference measured, apart from what is judged."""
    payload = _payload(item)
    payload["reference_backend"] = to_plain(backend)
    payload.setdefault("references", {})[str(result.key)] = to_plain(result)


def attach_check(item: pytest.Item, check: TaskCheck) -> None:
    """Keep what the linter found in the item's task."""
    _payload(item)["check"] = to_plain(check)


def attach_check_error(item: pytest.Item, task: str, message: str) -> None:
    """Keep why the linter could not check a task, `suite|task`."""
    _payload(item).setdefault("check_errors", {})[task] = message.removeprefix(f"{task}: ")


def attach_canary(item: pytest.Item, key: TaskKey, lines: Sequence[str]) -> None:
    """Keep what a canary says of the item's task."""
    _payload(item).setdefault("canary", {})[str(key)] = list(lines)


def attach_reason(item: pytest.Item, message: str, *, skipped: bool) -> None:
    """Keep why an item did not get as far as its task. The mark says which task it is; other items have no such mark."""
    mark = item.get_closest_marker("lighteval")
    if mark is not None and mark.kwargs.get("check"):
        name = "check_skipped" if skipped else "check_errors"
        _payload(item).setdefault(name, {})[f"{mark.kwargs['suite']}|{mark.kwargs['task']}"] = message
    elif mark is not None:
        identity = ("suite", "task", "few_shots", "truncate")
        attach_error(item, TaskKey(**{name: mark.kwargs[name] for name in identity}), message, skipped=skipped)


def is_explained(item: pytest.Item) -> bool:
    """Whether it is known how the item's evaluation ended; how much came from the cache does not say."""
    return bool(item.stash.get(_PAYLOAD, {}).keys() - {"cache", "backend", "graders"})


def payload_of(item: pytest.Item) -> dict[str, Any] | None:
    """What the item's report is to carry, with its attempts before this one. None: nothing was evaluated in it."""
    payload = item.stash.get(_PAYLOAD, None)
    if payload and (attempts := item.stash.get(_ATTEMPTS, None)):
        payload["attempts"] = {str(key): to_plain(earlier) for key, earlier in attempts.items()}
    return payload or None


def attempts_of(item: pytest.Item, key: TaskKey) -> tuple[Attempt, ...]:
    """The attempts at a key that ended in this item before the one that runs."""
    return tuple(item.stash.get(_ATTEMPTS, {}).get(key, ()))


def start_attempt(item: pytest.Item) -> None:
    """Start with nothing measured. What an earlier attempt at the item ended with is kept apart: a plugin may run an item again."""
    attempts = item.stash.setdefault(_ATTEMPTS, {})
    for key, outcome in item.stash.get(_OUTCOMES, {}).items():
        attempts.setdefault(key, []).append(Attempt(result=outcome.result, verdicts=outcome.verdicts))
    payload = item.stash.get(_PAYLOAD, {})
    for text, reason in (*payload.get("errors", {}).items(), *payload.get("skipped", {}).items()):
        if (failed := TaskKey.parse(text)) is not None:
            attempts.setdefault(failed, []).append(Attempt(error=reason))
    item.stash[_OUTCOMES] = {}
    item.stash[_SECONDS] = 0.0
    item.stash[_PAYLOAD] = {}
    item.user_properties[:] = [(name, value) for name, value in item.user_properties if not name.startswith("lighteval.")]


def forget_outcomes(item: pytest.Item) -> None:
    """Drop what an item measured, once it is written: pytest keeps the items of a session to its end."""
    item.stash[_OUTCOMES] = {}
    item.stash[_PAYLOAD] = {}


def sent(payload: Mapping[str, Any], secrets: SecretTexts) -> dict[str, Any]:
    """What leaves the process of a payload, or of this module: no secret, and nothing that execnet does not take."""
    facts = {name: secrets.without(payload[name]) for name in ("backend", "reference_backend", "graders") if name in payload}
    texts: dict[str, Any] = map_texts(dict(payload), lambda text: encodable(secrets.mask(text)))
    return {**texts, **map_texts(facts, encodable)}


def sendable(value: Any) -> Any:
    """The value as execnet takes it: its texts without lone surrogates. The same in one process, so that the reports are the same."""
    return map_texts(value, encodable)


def _payload(item: pytest.Item) -> dict[str, Any]:
    return item.stash.setdefault(_PAYLOAD, {})

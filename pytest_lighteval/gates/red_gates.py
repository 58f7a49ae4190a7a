"""Gates that an earlier session found red: asking the same model again until one of them is green proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_lighteval.types import Verdict

RETRIED = "retried"
"""`--gate-allow` of a gate that was red in an earlier session of the same model, and is green now."""

_UNJUDGED = ("STALE", "NEW")
"""Comparisons that are red without having judged a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedGate:
    """What an earlier session said of one gate."""

    model: str
    """The fingerprint of the model."""
    environment: str
    """The digest of software and hardware."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedGates:
    """The red gates of earlier sessions, as far as this session continues them. Empty for a session that starts afresh."""

    environment: str = ""
    """The digest of this session's software and hardware."""
    by_name: Mapping[str, RedGate] = field(default_factory=dict)
    """By `gate_name`."""
    is_allowed: bool = False
    """The user accepts a second attempt."""

    def reviewed(self, key: str, verdicts: tuple[Verdict, ...], *, model: str | None) -> tuple[Verdict, ...]:
        """The verdicts of a task, a superset or the pooled test; green ones of gates that the same model failed before are red."""
        return tuple(self._reviewed(self.by_name.get(gate_name(key, verdict.metric)), verdict, model) for verdict in verdicts)

    def _reviewed(self, before: RedGate | None, verdict: Verdict, model: str | None) -> Verdict:
        if before is None or (before.model, before.environment) != (model, self.environment):
            return verdict
        if verdict.outcome not in ("passed", "inconclusive", "new"):
            return verdict
        retried = replace(verdict, retried=before.message)
        if self.is_allowed:
            return retried
        told = f"{verdict.message}; retried: an earlier session of the same model found {before.message} (--gate-allow {RETRIED})"
        return replace(retried, outcome="failed", message=told)


def gate_name(key: str, metric: str) -> str:
    """`suite|task|5 acc`."""
    return f"{key} {metric}"


def after_session(
    before: Mapping[str, RedGate], verdicts: Mapping[str, tuple[Verdict, ...]], *, model: str, environment: str
) -> dict[str, RedGate]:
    """The red gates after a session: those that it found red, and those of earlier sessions that it did not judge."""
    now_red = dict(before)
    for key, of_key in verdicts.items():
        for verdict in of_key:
            name = gate_name(key, verdict.metric)
            red_ones = [of for of in (verdict.paired, verdict.pinned) if of is not None and of.red]
            is_judged = not red_ones or any(of.outcome not in _UNJUDGED for of in red_ones)  # without any, it is a floor
            if verdict.outcome == "failed" and verdict.retried is None and is_judged:
                now_red[name] = RedGate(model=model, environment=environment, message=verdict.message)
            elif verdict.outcome not in ("failed", "advisory"):
                now_red.pop(name, None)
    return now_red

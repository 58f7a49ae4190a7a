"""What the judges of a run did: lines for the terminal, properties for JUnit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_COUNTS = ("calls", "prompt_tokens", "completion_tokens", "cost")


def judge_uses(facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By judge, what it was asked so far: calls of its engine, tokens, and the cost where prices are known."""
    judges = facts.get("judges", {})
    return {name: {count: judge["use"][count] for count in _COUNTS if count in judge.get("use", {})} for name, judge in judges.items()}


def judge_properties(facts: Mapping[str, Any], before: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str | float | int]]:
    """What the judges were asked since `before`: `lighteval.judge.<name>.calls`, `.prompt_tokens`, `.completion_tokens`, `.cost`."""
    return [
        (f"lighteval.judge.{name}.{count}", number - before.get(name, {}).get(count, 0))
        for name, use in judge_uses(facts).items()
        for count, number in use.items()
    ]


def judge_lines(graders: Mapping[str, Any]) -> Iterator[str]:
    """One line for each judge, and what its verdicts say of tasks: agreement with people, corrected scores, win rates."""
    facts = graders.get("judge", {})
    for name, judge in facts.get("judges", {}).items():
        use = judge.get("use", {})
        parts = [f"{judge['model']}" if judge.get("model") else judge.get("name", "")]
        parts.append(f"{use.get('calls', 0):g} calls")
        if use.get("prompt_tokens") or use.get("completion_tokens"):
            parts.append(f"{use.get('prompt_tokens', 0):g} tokens of prompts and {use.get('completion_tokens', 0):g} of replies")
        if "cost" in use:
            parts.append(f"cost {use['cost']:.4g}")
        tests = judge.get("preflight", {})
        if tests:
            passed = sum(test["passed"] for test in tests.values())
            parts.append(f"preflight passed for {passed} of {len(tests)} metrics")
        yield f"{'judge' if name == 'judge' else f'judge {name}'}: {', '.join(parts)}"
    for task, metrics in facts.get("tasks", {}).items():
        for metric, told in metrics.items():
            yield f"{task}: {metric}: {_told(told)}"


def _told(told: Mapping[str, Any]) -> str:
    if "win_rate" in told:
        share = told["inconsistent"]
        return (
            f"{told['win_rate']:.4f} of {told['games']} against {told['against']}, 95 % interval [{told['low']:.4f}, {told['high']:.4f}]; "
            f"{share:.1%} of the verdicts depend on the order"
        )
    parts = [f"{told['compared']} of {told['verdicts']} verdicts of people compared"]
    if "agreement" in told:
        kappa = "" if told["kappa"] is None else f", kappa {told['kappa']:.2f}"
        parts.append(f"agreement {told['agreement']:.1%}{kappa}, judge minus people {told['bias']:+.3f}")
    if "corrected" in told:
        interval = f"95 % interval [{told['low']:.4f}, {told['high']:.4f}]"
        parts.append(f"corrected by {told['labelled']} of {told['of']} documents: {told['corrected']:.4f}, {interval}")
    return "; ".join(parts)

"""The numbers of an item or a superset as JUnit properties: scalars only, so that any tool that reads JUnit can chart them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_lighteval.types import Attempt, MetricResult, TaskResult, Verdict

Property = tuple[str, str | float | int]


def properties(result: TaskResult, verdicts: Iterable[Verdict], *, attempts: Sequence[Attempt] = ()) -> list[Property]:
    """An item's task, version and number of few-shot examples, so that a chart needs no node ids, and its `metric_properties`.

    Of an item that was tried more than once also `lighteval.attempts`, their number, and for each `lighteval.<metric>.attempt.<number>`,
    or why there is no score as `lighteval.attempt.<number>.error`.
    """
    found: list[Property] = [("lighteval.task", str(result.key)), ("lighteval.version", result.version)]
    if result.key.few_shots:
        found.append(("lighteval.effective_few_shots", result.effective_few_shots))
    if result.num_truncated:
        found.append(("lighteval.truncated", result.num_truncated))
    if result.num_saved:
        found.append(("lighteval.saved_documents", result.num_saved))
    return [*found, *metric_properties(result.metrics, verdicts), *_attempt_properties(attempts)]


def _attempt_properties(attempts: Sequence[Attempt]) -> list[Property]:
    if len(attempts) < 2:
        return []
    found: list[Property] = [("lighteval.attempts", len(attempts))]
    for number, attempt in enumerate(attempts, start=1):
        if attempt.result is None:
            found.append((f"lighteval.attempt.{number}.error", attempt.error or ""))
            continue
        outcomes = {verdict.metric: verdict.outcome for verdict in attempt.verdicts}
        for name, metric in attempt.result.metrics.items():
            found.append((f"lighteval.{name}.attempt.{number}", float(metric.value)))
            if name in outcomes:
                found.append((f"lighteval.{name}.attempt.{number}.verdict", outcomes[name]))
    return found


def metric_properties(metrics: Mapping[str, MetricResult], verdicts: Iterable[Verdict]) -> list[Property]:
    """For each metric of a task or a superset: `lighteval.<metric>`, and with these suffixes its error, documents and verdict.

    `.stderr`, `.n`, `.min`, `.max`, `.waiver`, `.retried` and `.verdict`, which agrees with the test case; for a number that was compared
    with a baseline also `.baseline`, `.delta` (candidate minus baseline), `.p`, the bounds `.lower` and `.upper` of the loss, what the gate
    requires as `.max_drop`, `.min_effect`, `.alpha` and `.certify_alpha`, the comparison's own verdict as `.paired`, and its whole `.line`.
    With a pinned baseline also `.pinned`, `.pinned.baseline`, `.lower`, `.upper`, `.alpha`, `.used` (the share of `max_drop`) and `.line`.
    Where soft scores have a part of the alpha, it is `.soft.alpha`; where they were asked, `.soft.p` and `.soft.loss` are what they said.
    """
    by_metric = {verdict.metric: verdict for verdict in verdicts}
    found: list[Property] = []
    for name, number in metrics.items():
        prefix = f"lighteval.{name}"
        found.append((prefix, float(number.value)))
        if number.stderr is not None:
            found.append((f"{prefix}.stderr", float(number.stderr)))
        found.append((f"{prefix}.n", number.n))
        if name in by_metric:
            found += _verdict_properties(prefix, by_metric[name])
    # the pooled test is about no reported metric
    for name in by_metric.keys() - metrics.keys():
        found += _verdict_properties(f"lighteval.{name}", by_metric[name])
    return found


def _verdict_properties(prefix: str, verdict: Verdict) -> list[Property]:
    bounds = (("min", verdict.min), ("max", verdict.max))
    thresholds: list[Property] = [(f"{prefix}.{name}", float(bound)) for name, bound in bounds if bound is not None]
    texts = (("waiver", verdict.waiver), ("retried", verdict.retried))
    told: list[Property] = [(f"{prefix}.{name}", text) for name, text in texts if text is not None]
    paired = verdict.paired
    if paired is None:
        return [*thresholds, (f"{prefix}.verdict", verdict.outcome), *_pinned_properties(prefix, verdict), *told]
    compared: list[Property] = []
    if (comparison := paired.comparison) is not None:
        compared = [
            (f"{prefix}.baseline", comparison.baseline),
            (f"{prefix}.delta", comparison.candidate - comparison.baseline),
            (f"{prefix}.p", comparison.p),
            (f"{prefix}.lower", comparison.lower),
            (f"{prefix}.upper", comparison.upper),
        ]
    further = [
        ("max_drop", paired.max_drop),
        ("min_effect", paired.min_effect),
        ("alpha", paired.alpha),
        ("certify_alpha", paired.certify_alpha),
        ("soft.alpha", paired.soft_alpha),
        *((("soft.loss", paired.soft.loss), ("soft.p", paired.soft.p)) if paired.soft is not None else ()),
    ]
    compared += [(f"{prefix}.{name}", float(number)) for name, number in further if number is not None]
    return [
        *thresholds,
        *compared,
        (f"{prefix}.verdict", verdict.outcome),
        (f"{prefix}.paired", paired.outcome),
        (f"{prefix}.line", paired.line),
        *_pinned_properties(prefix, verdict),
        *told,
    ]


def _pinned_properties(prefix: str, verdict: Verdict) -> list[Property]:
    """`.pinned`, the verdict of the comparison with the pinned baseline, its `.pinned.line`, and its numbers."""
    pinned = verdict.pinned
    if pinned is None:
        return []
    numbers = {name: getattr(pinned, name) for name in ("baseline", "lower", "upper", "alpha", "used")}
    found: list[Property] = [(f"{prefix}.pinned.{name}", float(number)) for name, number in numbers.items() if number is not None]
    return [(f"{prefix}.pinned", pinned.outcome), *found, (f"{prefix}.pinned.line", pinned.line)]

"""Repeat one recorded run with our pipeline, and compare every number with the recording."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.model import RecordedDraws
from benchmarks.recordings import RecordedRun, recorded_name
from pytest_lighteval.common.statistics import aggregate, standard_error
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.metrics import metric
from pytest_lighteval.types import (
    Detail,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    PerplexityRequest,
    PerplexityResponse,
    RequestKind,
    SampleValue,
    TaskResult,
)

Record = Mapping[str, Any]
Wanted = TypeVar("Wanted")

NEAR_TIE = 1e-3
"""If the two likeliest tokens are closer than this (nats), either may be generated."""
TEXT_TOLERANCE = 1e-9
"""For what is computed from texts alone."""
BOOTSTRAP_NOISE = 0.25
"""Two bootstraps of the same values with a thousand draws each, relative; values of few documents have heavy tails."""


def tolerance(number: float) -> float:
    """How far a log-likelihood in fp32 may be from the recorded one, in nats.

    The recorded ones are torch's `log_softmax` in fp32, which is off by up to 2e-5 nats a token against float64, and all in one direction;
    ours (the logit less `logsumexp`) by less than 1e-7. A text of 173 tokens was recorded 1.4e-3 from what it is.
    """
    return max(5e-4, 5e-6 * abs(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    metric: str
    n: int
    ours: str
    theirs: str
    largest: float | None = None
    """The largest difference of one document's value. None: not a number."""


@dataclass(slots=True, kw_only=True)
class Comparison:
    """The comparison of one run."""

    run: RecordedRun
    lines: list[Line] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    """What is not as recorded and has no explanation, one line each."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many things of each kind were compared with the recording."""
    near_ties: set[str] = field(default_factory=set)
    """Documents that differ only by rounding."""
    close_calls: int = 0
    """Documents that rounding may change, the near ties included."""
    equal_texts: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    """The largest difference of each kind of thing."""

    def hold(self, kind: str, where: str, ours: object, theirs: object) -> bool:
        """Count one thing that must be equal, and note it if it is not."""
        self.counts[kind] += 1
        if ours != theirs:
            self.misses.append(f"{self.run.name}: {where}: {kind}: {_told_apart(ours, theirs)}")
        return ours == theirs

    def hold_near(self, kind: str, where: str, ours: float, theirs: float, allowed: float) -> None:
        """The same for a number that may be off by a little."""
        self.counts[kind] += 1
        self.largest[kind] = max(self.largest.get(kind, 0.0), difference(ours, theirs))
        if not difference(ours, theirs) <= allowed:
            self.misses.append(f"{self.run.name}: {where}: {kind}: ours {ours!r}, theirs {theirs!r}, {allowed:.1g} is allowed")


def compare_run(run: RecordedRun, backend: RecordedDraws, *, most: int | None = None) -> Comparison:
    """Evaluate the run's task on its rows and compare everything, at most `most` documents."""
    found = Comparison(run=run)
    documents = run.documents[:most]
    backend.samples = run.samples
    details: list[Detail] = []
    try:
        result = evaluate(
            run.task,
            backend,
            few_shots=run.few_shots,
            truncate=run.truncate,
            settings=EvaluationSettings(max_samples=len(documents)),
            on_detail=details.append,
        )
    except LightevalError as error:
        found.misses.append(f"{run.name}: {error}")
        return found
    order = [document.id for document in result.documents]
    if not found.hold("orders of documents", "all", order, [f"{document['eval_split']}:{document['eval_row']}" for document in documents]):
        return found
    by_id = {detail.doc.id: detail for detail in details}
    pairs = [(by_id[place], document) for place, document in zip(order, documents, strict=True)]
    for detail, document in pairs:
        _compare_document(found, detail, document, backend)
    found.lines += _answer_lines(found, pairs)
    _compare_scores(found, result, pairs, whole=len(documents) == len(run.documents))
    return found


# ------------------------------------------------------------------------------------------------- one document


def _compare_document(found: Comparison, detail: Detail, document: Record, backend: RecordedDraws) -> None:
    where = detail.doc.id
    found.hold("few-shot examples", where, len(detail.few_shot_ids), document["num_effective_few_shots"])
    choices = [request for request in document["requests"] if request["type"] == "LOGLIKELIHOOD"]
    for request, response in _answers(detail):
        if isinstance(request, PerplexityRequest) and isinstance(response, PerplexityResponse):
            _compare_text(found, where, request, response, document, backend)
            continue
        found.hold("contexts", where, request.prompt, document["context"])
        if isinstance(request, LoglikelihoodRequest) and isinstance(response, LoglikelihoodResponse):
            found.hold("context token ids", where, response.prompt_token_ids, tuple(document["context_token_ids"]))
            _compare_choices(found, where, request, response, choices)
        elif isinstance(request, GenerateRequest) and isinstance(response, GenerateResponse):
            found.hold("context token ids", where, response.prompt_token_ids, tuple(document["context_token_ids"]))
            recorded = next(one for one in document["requests"] if one.get("do_sample") is request.do_sample)
            _compare_generation(found, where, request, response, recorded, backend)


def _answers(detail: Detail) -> Iterator[tuple[Any, Any]]:
    """Every request once, even if several metrics asked it."""
    seen = []
    for ask, request in detail.requests.items():
        if request not in seen:
            seen.append(request)
            yield request, detail.responses[ask]


def _compare_choices(
    found: Comparison, where: str, request: LoglikelihoodRequest, response: LoglikelihoodResponse, recorded: Sequence[Record]
) -> None:
    if not found.hold("choices", where, request.choices, tuple(one["choice"] for one in recorded)):
        return
    found.hold("choice token ids", where, response.choice_token_ids, tuple(tuple(one["continuation_token_ids"]) for one in recorded))
    found.hold("greedy flags", where, response.greedy, tuple(one["greedy_match"] for one in recorded))
    theirs = [one["logprob_sum"] for one in recorded]
    for logprob, expected in zip(response.logprobs, theirs, strict=True):
        found.hold_near("log-likelihoods of choices", where, logprob, expected, tolerance(expected))
    close = is_near_tie(theirs, request.choices)
    found.close_calls += close
    best, expected_best = (max(range(len(sums)), key=sums.__getitem__) for sums in (response.logprobs, theirs))
    if best != expected_best and close:
        found.near_ties.add(where)
    else:
        found.hold("predicted choices", where, best, expected_best)


def is_near_tie(logprobs: Sequence[float], choices: Sequence[str]) -> bool:
    """Whether rounding may decide which choice is best, by sum or by character."""
    for lengths in ([1] * len(choices), [len(choice) for choice in choices]):
        ranked = sorted(((logprob / length, logprob, length) for logprob, length in zip(logprobs, lengths, strict=True)), reverse=True)
        if len(ranked) > 1:
            (best, first, length), (second, other, other_length) = ranked[:2]
            # equal texts stay equal with any rounding
            if first != other and best - second < max(tolerance(first) / length, tolerance(other) / other_length):
                return True
    return False


def _compare_text(
    found: Comparison, where: str, request: PerplexityRequest, response: PerplexityResponse, document: Record, backend: RecordedDraws
) -> None:
    (recorded,) = document["requests"]
    found.hold("contexts", where, request.text, document["context"])
    found.hold("text token ids", where, backend.rolling_ids(request.text), tuple(recorded["continuation_token_ids"]))
    found.hold("text token ids", where, response.token_count, len(recorded["continuation_token_ids"]))
    expected = recorded["logprob_sum"]
    found.hold_near("log-likelihoods of texts", where, response.logprob or 0.0, expected, tolerance(expected))


def _compare_generation(
    found: Comparison, where: str, request: GenerateRequest, response: GenerateResponse, recorded: Record, backend: RecordedDraws
) -> None:
    # the reference adds the text of the end token, at which our backends always stop
    found.hold("stop sequences", where, request.stop_sequence, tuple(recorded["stop_sequence"][:-1]))
    found.hold("limits of new tokens", where, request.max_new_tokens, recorded["generation_size"])
    found.hold("numbers of samples", where, request.num_samples, recorded["num_samples"])
    if request.do_sample:
        return  # the texts are the recorded ones
    ours, theirs = response.texts[0], recorded["generated_text"][0]
    if ours != theirs and _parts_at_near_tie(response, recorded["generated_token_ids"][0], backend):
        found.near_ties.add(where)
        found.close_calls += 1
    else:
        found.equal_texts += found.hold("texts", where, ours, theirs)


def _parts_at_near_tie(response: GenerateResponse, theirs: Sequence[int], backend: RecordedDraws) -> bool:
    """Whether the model itself hardly prefers the first token that differs."""
    ours = response.token_ids[0] if response.token_ids else ()
    place = next((place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    if place is None or response.prompt_token_ids is None:
        return False
    return backend.gap((*response.prompt_token_ids, *ours[:place])) < NEAR_TIE


# ----------------------------------------------------------------------------------------------------- the run


def _answer_lines(found: Comparison, pairs: Sequence[tuple[Detail, Record]]) -> Iterator[Line]:
    """What the model answered, summed up."""
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for detail, document in pairs:
        for _, response in _answers(detail):
            if isinstance(response, LoglikelihoodResponse):
                ours.setdefault("log-likelihoods of choices", []).extend(response.logprobs)
            elif isinstance(response, PerplexityResponse):
                ours.setdefault("log-likelihoods of texts", []).append(response.logprob or 0.0)
        for request in document["requests"]:
            if "logprob_sum" in request:
                kind = "log-likelihoods of texts" if "ROLLING" in request["type"] else "log-likelihoods of choices"
                theirs.setdefault(kind, []).append(request["logprob_sum"])
    for kind, values in ours.items():
        n, recorded = len(values), theirs[kind]
        if kind in found.largest:
            yield Line(
                metric=f"{kind}, mean",
                n=n,
                ours=f"{math.fsum(values) / n:.4f}",
                theirs=f"{math.fsum(recorded) / len(recorded):.4f}",
                largest=found.largest[kind],
            )
    greedy = sum(request.get("do_sample") is False for _, document in pairs for request in document["requests"])
    if greedy:
        yield Line(metric="generated texts", n=greedy, ours=f"{found.equal_texts} equal", theirs=f"of {greedy}")


def _compare_scores(found: Comparison, result: TaskResult, pairs: Sequence[tuple[Detail, Record]], *, whole: bool) -> None:
    """Every document's value, the aggregate and its standard error, of every metric."""
    run = found.run
    reported_names = set()
    for entry in (metric(name) for name in run.task.metrics):
        from_texts = entry.ask.kind is RequestKind.GENERATE
        for reported, corpus in entry.corpus.items():
            reported_names.add(recorded_name(reported))
            kind, largest, flips = "values of documents", 0.0, 0
            expected_values = [run.value(document, reported) for _, document in pairs]
            for (detail, _), expected in zip(pairs, expected_values, strict=True):
                value = detail.values[reported]
                if value != expected and detail.doc.id in found.near_ties:
                    flips += 1
                    continue
                for one, other in zip(_numbers(value), _numbers(expected), strict=True):
                    largest = max(largest, difference(one, other))
                    allowed = TEXT_TOLERANCE if from_texts else tolerance(other)
                    found.hold_near(kind, f"{detail.doc.id} {reported}", one, other, allowed)
            theirs = run.results[recorded_name(reported)] if whole else aggregate(expected_values, corpus)
            ours = result.metrics[reported]
            allowed = TEXT_TOLERANCE if from_texts else 5e-4 * max(1.0, abs(theirs))
            found.hold_near("aggregates", reported, ours.value, theirs, allowed + flips / len(pairs))
            error = run.results.get(f"{recorded_name(reported)}_stderr") if whole else None
            if error is not None and not corpus.is_mean:
                error *= math.sqrt(1000)  # which the reference's bootstrap divides by once too often
            # the reference knows no clusters: for it, every document stands alone
            values = [value for detail, _ in pairs if (value := detail.values[reported]) is not None]
            alone = standard_error(values, corpus) if run.task.cluster is not None else ours.stderr
            if error is not None and alone is not None:
                if corpus.is_mean or not error:
                    found.hold_near("standard errors", reported, alone, error, allowed + flips / len(pairs))
                else:
                    found.hold_near("bootstrapped standard errors, relative", reported, alone / error, 1.0, BOOTSTRAP_NOISE)
            found.lines.append(
                Line(metric=reported, n=ours.n, ours=_shown(ours.value, alone), theirs=_shown(theirs, error), largest=largest)
            )
    recorded = {name for name in run.results if not name.endswith("_stderr")}
    found.hold("lists of metrics", "all", sorted(reported_names), sorted(recorded))


def difference(ours: float, theirs: float) -> float:
    """Zero between equal infinities."""
    return 0.0 if ours == theirs else abs(ours - theirs)


def _numbers(value: SampleValue | None) -> tuple[float, ...]:
    if value is None:
        return (math.nan,)
    return tuple(map(float, value)) if isinstance(value, tuple) else (float(value),)


def _shown(value: float, error: float | None) -> str:
    return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")


def _told_apart(ours: object, theirs: object) -> str:
    """Both, shortened, from a little before the first difference."""
    if isinstance(ours, Sequence) and isinstance(theirs, Sequence):
        place = next((place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
        place = min(len(ours), len(theirs)) if place is None else place
        part = slice(max(0, place - 20), place + 40)
        return f"at {place} of {len(ours)} and {len(theirs)}: ours {ours[part]!r}, theirs {theirs[part]!r}"
    return f"ours {ours!r}, theirs {theirs!r}"

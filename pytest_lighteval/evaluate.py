"""One task against one backend: rows to documents, documents to requests, answers to scores, scores to a result.

Knows every step's module and nothing of pytest, torch or files.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import msgspec

from pytest_lighteval.common.statistics import aggregate, standard_error
from pytest_lighteval.data.data_sets import DataSets, rows_fingerprint
from pytest_lighteval.errors import BackendError, DataError, RequestsFailedError, UserInputError
from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.assembly import build_prompt, truncate_few_shots
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import pick_few_shots, resolve_few_shots_split, shuffle_docs
from pytest_lighteval.prompts.reasoning import ReasoningTags, strip_reasoning
from pytest_lighteval.types import (
    Ask,
    Backend,
    Detail,
    Doc,
    DocumentScore,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Metric,
    MetricResult,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Request,
    RequestKind,
    Response,
    SampleValue,
    Task,
    TaskKey,
    TaskResult,
)

SHUFFLE_SEED = 42
"""Lighteval's: it fixes the order of documents, the subset of `max_samples` and the sampled few-shots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The options that may move a score, whatever the backend."""

    max_samples: int | None = None
    """The first so many documents after the seeded shuffle. None: all."""
    few_shot_seeds: int = 1
    """Every document is asked under that many few-shot choices; its values are averaged."""
    use_chat_template: bool = False
    system_prompt: str | None = None
    reasoning_tags: ReasoningTags = ()
    """Pairs of opening and closing tags whose contents are taken out of a text before it is scored."""

    def __post_init__(self) -> None:
        for name in ("max_samples", "few_shot_seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserInputError(f"{name}: {value} is not a number from 1 on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One document under one few-shot seed, with all that is asked about it."""

    doc: Doc
    seed: int
    shots: tuple[Doc, ...]
    lost_shots: int
    prompt: Prompt
    requests: Mapping[Ask, Request]
    digest: str


@dataclass(slots=True)
class Progress:
    """How far an evaluation is; the callback sees it after every answer."""

    done: int
    total: int


@dataclass(slots=True)
class _Answers:
    """Responses to one case as they come in."""

    waiting: int
    responses: dict[Ask, Response] = field(default_factory=dict)


@runtime_checkable
class LearnsAnswers(Protocol):
    """A backend that wants to be told the documents, so that it can be right as often as it was asked to be. For tests only."""

    def learn(self, request: Request, doc: Doc) -> None:
        """Called once for every request before any is asked."""


class StoppingRule(Protocol):
    """How an evaluation may end early: the parts in which its documents are asked, and whether those asked so far are enough."""

    def parts(self, cases: Sequence[Case]) -> Sequence[Sequence[int]]:
        """Positions in `cases`, part by part, each position in exactly one of them.

        Called once, when all prompts are built: the parts change no prompt.
        """

    def should_stop(self, result: TaskResult) -> bool:
        """Called after every part with what was measured so far; True ends the evaluation."""


def evaluate(
    task: Task,
    backend: Backend,
    *,
    few_shots: int,
    truncate: bool = False,
    settings: EvaluationSettings | None = None,
    data_sets: DataSets | None = None,
    stopping: StoppingRule | None = None,
    on_detail: Callable[[Detail], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> TaskResult:
    """Evaluate one task; every document is asked and scored once per few-shot seed.

    `on_detail` gets each document as soon as its answers are complete. With `stopping` the backend is asked part by part,
    until the rule says to stop; the result then holds the documents so far. Raises DataError, PromptError, BackendError, and
    RequestsFailedError when requests stayed without an answer (after all others were asked and told to `on_detail`).
    """
    started = time.perf_counter()
    settings = settings or EvaluationSettings()
    data_sets = data_sets or DataSets()
    key = TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)
    metrics = tuple(metric(name) for name in task.metrics)

    docs, fingerprint, notes = _evaluation_docs(task, metrics, data_sets)
    cases = list(_cases(task, docs, key, metrics, settings, data_sets, backend))
    if isinstance(backend, LearnsAnswers):
        for case in cases:
            for request in case.requests.values():
                backend.learn(request, case.doc)

    scores: dict[int, DocumentScore] = {}
    failures: list[str] = []

    def measured() -> TaskResult:
        asked = [cases[index] for index in sorted(scores)]
        documents = tuple(scores[index] for index in sorted(scores))
        return TaskResult(
            key=key,
            version=task.version,
            metrics=_aggregate(documents, metrics),
            documents=documents,
            dataset_fingerprint=fingerprint,
            prompt_digest=hashlib.sha256("\n".join(case.digest for case in asked).encode()).hexdigest(),
            effective_few_shots=sum(len(case.shots) for case in asked) / len(asked),
            num_truncated=sum(document.truncated for document in documents),
            num_saved=len({case.doc.id for case in cases} - {case.doc.id for case in asked}),
            max_samples=settings.max_samples,
            notes=(*notes, *_few_shot_notes(task, key)),
            seconds=time.perf_counter() - started,
        )

    progress = Progress(done=0, total=sum(len(set(case.requests.values())) for case in cases))
    for part in stopping.parts(cases) if stopping else [range(len(cases))]:
        for index, responses in _ask(backend, {index: cases[index] for index in part}, progress, on_progress):
            detail = _score(cases[index], responses, metrics, settings)
            if detail.error is None:
                scores[index] = _document_score(detail)
            else:
                failures.append(f"{detail.doc.id}: {detail.error}")
            on_detail(detail)
        if stopping and not failures and stopping.should_stop(measured()):
            break
    if failures:
        raise RequestsFailedError(f"{key}: {len(failures)} of {len(cases)} documents have no answer; the first is {failures[0]}")
    return measured()


def task_kinds(task: Task) -> tuple[RequestKind, ...]:
    """What a backend must be able to do to run this task, sorted."""
    return tuple(sorted({metric(name).ask.kind for name in task.metrics}))


def _evaluation_docs(task: Task, metrics: Sequence[Metric], data_sets: DataSets) -> tuple[list[Doc], str, tuple[str, ...]]:
    """All documents in stored order, split by split, the digest of their rows, and what a reader should know of them."""
    docs: list[Doc] = []
    digests = []
    unlabeled = 0
    scores_choices = any(entry.ask in (Ask.CHOICES, Ask.CHOICES_PMI) for entry in metrics)
    for split in task.evaluation_splits:
        rows = data_sets.rows(task, split)
        rendered = render_docs(task, rows, split, multiple_choice=scores_choices)
        docs += rendered.docs
        unlabeled += rendered.dropped_unlabeled
        digests.append(rows_fingerprint(rows))
    if not docs:
        raise DataError(f"{task.id}: no document is left of the split{'s' * (len(digests) > 1)} {', '.join(task.evaluation_splits)}")
    fingerprint = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    notes = (f"{unlabeled} documents without a published answer are left out",) if unlabeled else ()
    return docs, fingerprint, notes


def _cases(
    task: Task,
    docs: list[Doc],
    key: TaskKey,
    metrics: Sequence[Metric],
    settings: EvaluationSettings,
    data_sets: DataSets,
    backend: Backend,
) -> Iterator[Case]:
    pool = _few_shot_pool(task, docs, data_sets) if key.few_shots else []
    for seed in range(settings.few_shot_seeds):
        # every seed starts afresh, so that seed 0 is the plain run and no seed depends on how many there are
        stream = random.Random(SHUFFLE_SEED)
        chosen = shuffle_docs(docs, stream)[: settings.max_samples]
        picks = pick_few_shots(chosen, pool, mode=task.few_shots_select, count=key.few_shots, seed=seed, rng=stream, where=task.id)
        for doc, picked in zip(chosen, picks, strict=True):
            shots = picked
            if key.truncate:
                shots = truncate_few_shots(
                    doc,
                    picked,
                    count_tokens=backend.count_tokens,
                    max_length=backend.max_length,
                    generation_size=task.generation_size,
                    system_prompt=settings.system_prompt,
                    use_chat_template=settings.use_chat_template,
                )
            prompt = build_prompt(doc, shots, system_prompt=settings.system_prompt, use_chat_template=settings.use_chat_template)
            requests = _requests(task, doc, prompt, metrics, settings)
            yield Case(
                doc=doc,
                seed=seed,
                shots=shots,
                lost_shots=len(picked) - len(shots),
                prompt=prompt,
                requests=requests,
                digest=_digest(requests),
            )


def _few_shot_notes(task: Task, key: TaskKey) -> tuple[str, ...]:
    if key.few_shots and resolve_few_shots_split(task) is None:
        return ("few-shot examples come from the evaluated documents themselves: the data set has no other split",)
    return ()


def _few_shot_pool(task: Task, docs: list[Doc], data_sets: DataSets) -> list[Doc]:
    split = resolve_few_shots_split(task)
    if split is not None:
        return render_docs(task, data_sets.rows(task, split), split, few_shots=True).docs
    pool: list[Doc] = []
    for own in task.evaluation_splits:
        pool += render_docs(task, data_sets.rows(task, own), own, few_shots=True).docs
    return pool


def _requests(task: Task, doc: Doc, prompt: Prompt, metrics: Sequence[Metric], settings: EvaluationSettings) -> dict[Ask, Request]:
    """One request for each thing that the metrics ask; equal ones are asked once, which `_ask` sees to."""
    asks = {entry.ask for entry in metrics}
    # a chat model ends its turn itself; the task's stop sequences are made for plain continuation (as in the reference)
    stop_sequence = () if settings.use_chat_template else task.stop_sequence
    requests: dict[Ask, Request] = {}
    for ask in sorted(asks):
        if ask in (Ask.CHOICES, Ask.CHOICES_PMI):
            unconditioned: Prompt | None = None
            if Ask.CHOICES_PMI in asks:
                if doc.unconditioned_query is None:
                    raise DataError(f"{task.id}: {doc.id}: a PMI metric needs prompt.unconditioned_query")
                unconditioned = doc.unconditioned_query
            requests[ask] = LoglikelihoodRequest(prompt=prompt, choices=doc.choices, unconditioned_prompt=unconditioned)
        elif ask is Ask.GOLDS:
            requests[ask] = LoglikelihoodRequest(prompt=prompt, choices=doc.golds)
        elif ask is Ask.TEXT:
            requests[ask] = PerplexityRequest(text=doc.query)
        else:
            sampled = ask is Ask.SAMPLES
            wanted = max((entry.num_samples for entry in metrics if entry.ask is ask), default=1)
            requests[ask] = GenerateRequest(
                prompt=prompt,
                stop_sequence=stop_sequence,
                max_new_tokens=task.generation_size,
                num_samples=(task.num_samples or wanted) if sampled else 1,
                do_sample=sampled,
            )
    return requests


def _digest(requests: Mapping[Ask, Request]) -> str:
    """48 bit of all that is asked about a document, the same on every machine."""
    plain = {ask.value: [type(request).__name__, msgspec.to_builtins(request)] for ask, request in requests.items()}
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:12]


def _ask(
    backend: Backend, cases: Mapping[int, Case], progress: Progress, on_progress: Callable[[Progress], None]
) -> Iterator[tuple[int, Mapping[Ask, Response]]]:
    """Ask everything, one call a kind, and yield `(case, responses)` as soon as a case's answers are complete."""
    by_kind: dict[RequestKind, list[Request]] = {}
    wanted: dict[RequestKind, list[tuple[int, tuple[Ask, ...]]]] = {}
    answers = {}
    for index, case in cases.items():
        asked: dict[Request, tuple[Ask, ...]] = {}
        for ask, request in case.requests.items():
            asked[request] = (*asked.get(request, ()), ask)
        for request, asks in asked.items():
            by_kind.setdefault(request.kind, []).append(request)
            wanted.setdefault(request.kind, []).append((index, asks))
        answers[index] = _Answers(waiting=len(asked))

    on_progress(progress)
    for kind in sorted(by_kind):
        unanswered = set(range(len(by_kind[kind])))
        # each kind has its own request type, which the method of that name takes
        for position, response in getattr(backend, kind.value)(by_kind[kind]):
            if position not in unanswered:
                raise BackendError(f"backend {backend.name!r} answered {kind} request {position} twice, or was never asked it")
            unanswered.remove(position)
            index, asks = wanted[kind][position]
            answers[index].responses |= dict.fromkeys(asks, response)
            answers[index].waiting -= 1
            progress.done += 1
            on_progress(progress)
            if answers[index].waiting == 0:
                yield index, answers[index].responses
        if unanswered:
            answered = len(by_kind[kind]) - len(unanswered)
            raise RequestsFailedError(f"backend {backend.name!r} answered {answered} of {len(by_kind[kind])} {kind} requests")


def _score(case: Case, responses: Mapping[Ask, Response], metrics: Sequence[Metric], settings: EvaluationSettings) -> Detail:
    error = next((reason for response in responses.values() if (reason := _failure(response)) is not None), None)
    scored = {ask: _without_reasoning(response, settings.reasoning_tags) for ask, response in responses.items()}
    values: dict[str, SampleValue | None] = {}
    if error is None:
        for entry in metrics:
            values |= entry.sample(case.doc, scored[entry.ask])
    return Detail(
        doc=case.doc,
        prompt=case.prompt,
        few_shot_ids=tuple(shot.id for shot in case.shots),
        few_shot_seed=case.seed,
        requests=case.requests,
        responses=responses,
        scored_texts={
            ask: response.texts
            for ask, response in scored.items()
            if isinstance(response, GenerateResponse) and response is not responses[ask]
        },
        values=values,
        prompt_digest=case.digest,
        truncated=case.lost_shots > 0 or any(response.truncated_tokens > 0 for response in responses.values()),
        error=error,
    )


def _failure(response: Response) -> str | None:
    """Why there is nothing to score. What is not a number is no answer, whichever backend gave it."""
    numbers: tuple[float, ...] = ()
    if isinstance(response, LoglikelihoodResponse):
        numbers = (*response.logprobs, *(response.unconditioned_logprobs or ()))
    elif isinstance(response, PerplexityResponse) and response.logprob is not None:
        numbers = (response.logprob,)
    return response.error or ("a log-probability is not a number (nan)" if any(map(math.isnan, numbers)) else None)


def _without_reasoning(response: Response, tags: ReasoningTags) -> Response:
    if not tags or not isinstance(response, GenerateResponse):
        return response
    return replace(response, texts=tuple(strip_reasoning(text, tags) for text in response.texts))


def _document_score(detail: Detail) -> DocumentScore:
    return DocumentScore(
        id=detail.doc.id,
        prompt_digest=detail.prompt_digest,
        values=detail.values,
        few_shot_seed=detail.few_shot_seed,
        cluster=detail.doc.cluster,
        truncated=detail.truncated,
    )


def _aggregate(documents: Sequence[DocumentScore], metrics: Sequence[Metric]) -> dict[str, MetricResult]:
    """Every reported number with its error. Several few-shot seeds of one document are one cluster: their errors are not independent."""
    several_seeds = any(document.few_shot_seed for document in documents)
    results = {}
    for entry in metrics:
        for name, corpus in entry.corpus.items():
            scored = [(document, value) for document in documents if (value := document.values.get(name)) is not None]
            values = [value for _, value in scored]
            clusters = [document.cluster or (document.id if several_seeds else None) for document, _ in scored]
            results[name] = MetricResult(
                value=aggregate(values, corpus) if values else float("nan"),
                stderr=standard_error(values, corpus, clusters=clusters if any(clusters) else None),
                n=len({document.id for document, _ in scored}),
                higher_is_better=corpus.higher_is_better,
            )
    return results

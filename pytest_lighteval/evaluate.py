"""One task on one backend: rows become documents, documents requests, responses scores, and scores a result.

Knows the module of each step, and nothing of pytest, torch or files.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytest_lighteval.asking import (
    LearnsAnswers,
    Progress,
    PromptedDoc,
    Responses,
    Thoughts,
    ask_all,
    first_requests,
    teach,
    without_thoughts,
)
from pytest_lighteval.data.data_sets import DataSets, rows_fingerprint
from pytest_lighteval.errors import BackendError, DataError, NothingToAskError, NotJudgedError, RequestsFailedError, UserInputError
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.metrics.equal_choices import impossible_logprob
from pytest_lighteval.metrics.tiny_benchmarks import with_estimates
from pytest_lighteval.metrics.tiny_parameters import TinyParameters
from pytest_lighteval.prompts.assembly import build_prompt, truncate_few_shots
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import pick_few_shots, resolve_few_shots_split, shuffle_docs, without_reserved
from pytest_lighteval.prompts.reasoning import ReasoningTags
from pytest_lighteval.prompts.requests import answer_stops, build_requests, digest_requests
from pytest_lighteval.prompts.shared_contexts import shared_context_note
from pytest_lighteval.tally import Tally, Whole, ends_of
from pytest_lighteval.types import (
    Answer,
    Ask,
    Backend,
    Detail,
    Doc,
    GenerateRequest,
    GenerateResponse,
    Grade,
    Grader,
    Guest,
    GuestSettings,
    Metric,
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
"""Lighteval's. It fixes the order of documents, the subset of `max_samples` and the sampled few-shots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The options that may move a score, whatever the backend."""

    max_samples: int | None = None
    """Only that many documents, the first ones after the seeded shuffle. None: all."""
    few_shot_seeds: int = 1
    """Every document is asked with that many selections of few-shot examples."""
    use_chat_template: bool = False
    system_prompt: str | None = None
    reasoning_tags: ReasoningTags = ()
    """Pairs of opening and closing tags. What is between them is removed from a text before it is scored."""

    def __post_init__(self) -> None:
        for name in ("max_samples", "few_shot_seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserInputError(f"{name}: {value} is not a number from 1 on")


class Lengths(Protocol):
    """How long prompts are, and may be. Every backend knows that."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens. None: unknown."""

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Number of tokens of a prompt. None: unknown."""


class StoppingRule(Protocol):
    """How an evaluation may end early: the parts in which its documents are asked, and whether those asked so far are enough."""

    def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
        """Positions in `docs`, part by part, each position in one of them at most: documents in none are not asked.

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
    grader: Grader | None = None,
    stopping: StoppingRule | None = None,
    share: tuple[int, int] | None = None,
    tiny_parameters: TinyParameters | None = None,
    notes: Sequence[str] = (),
    on_detail: Callable[[Detail], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> TaskResult:
    """Evaluate one task. Every document is asked and scored once per few-shot seed.

    `on_detail` gets each document as soon as it is scored. `grader` is for metrics that need one: it grades answers while the backend makes
    further ones. With `stopping` the backend is asked part by part until
    the rule says to stop; the result then has the documents so far. With `share` (number, of how many) the backend answers a part of the
    documents; the result is of this part, and `tally.merge_shares` makes the whole of all parts. `tiny_parameters` are for the estimates of
    tinyBenchmarks. `notes` are what a reader of the result should know beforehand.

    Raises:
        NothingToAskError: The share has no document.
        DataError, PromptError: The data set or a row is not as the task needs it; nothing was asked.
        UserInputError: A metric needs a grader, and there is none, or one of another kind; nothing was asked.
        BackendError: The backend or the grader failed.
        RequestsFailedError: Requests have no answer, or too many log-probabilities are all equal. Every document was asked, and
            `on_detail` got it.
    """
    started = time.perf_counter()
    settings = settings or EvaluationSettings()
    data_sets = data_sets or DataSets()
    key = TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)
    metrics = metrics_of(task)
    graded = _graded_metrics(task, metrics, grader)

    data, prompted = _prompted(task, key, metrics, settings, data_sets, backend)
    if isinstance(backend, LearnsAnswers):
        teach(backend, prompted)

    whole = Whole(
        task=task,
        key=key,
        max_samples=settings.max_samples,
        has_system_prompt=bool(settings.system_prompt),
        use_chat_template=in_turns(task, settings),
        fingerprint=data.fingerprint,
        row_sources=data.row_sources,
        data_notes=(*notes, *data.notes),
        ids=frozenset(doc.doc.id for doc in prompted),
        grader={"kind": grader.kind, **grader.identity(task)} if graded and grader else {},
    )
    tally = Tally()
    failures: list[str] = []
    thoughts = _thoughts(task, backend, prompted, settings)

    def measured() -> TaskResult:
        return with_estimates(task, tally.result(whole, seconds=time.perf_counter() - started), tiny_parameters)

    progress = Progress(done=0, total=sum(doc.asked for doc in prompted), documents=len(prompted))
    for part in stopping.parts(prompted) if stopping else [range(len(prompted))]:
        asked = {index: prompted[index] for index in part}
        answered = _answered(ask_all(backend, asked, progress, on_progress, all_of_it=share is None, thoughts=thoughts), thoughts)
        for index, answer in _grade(task, grader, graded, prompted, answered) if graded and grader else answered:
            detail = _score(prompted[index], answer, metrics)
            if detail.error is None:
                doc = prompted[index]
                tally.count(index, detail, answer.responses, shots=doc.num_shots, dropped_shots=doc.dropped_shots)
            else:
                failures.append(f"{detail.doc.id}: {detail.error}")
            on_detail(detail)
        if stopping and not failures and stopping.should_stop(measured()):
            break
    if failures:
        raise RequestsFailedError(f"{key}: {len(failures)} of {len(prompted)} documents have no answer; the first is {failures[0]}")
    if share is not None:
        if not tally.scores:
            raise NothingToAskError(f"shard {share[0]}/{share[1]} has no chunk of this task")
        return tally.share(whole, *share, total=len(prompted), seconds=time.perf_counter() - started)
    if tally.equal.problem is not None:
        raise RequestsFailedError(f"{key}: {tally.equal.problem}")
    return measured()


def requests_of(
    task: Task,
    backend: Backend,
    *,
    few_shots: int,
    truncate: bool = False,
    settings: EvaluationSettings | None = None,
    data_sets: DataSets | None = None,
) -> list[list[Request]]:
    """What `evaluate` will ask, kind by kind, in its order: for a backend that works ahead. Raises as `evaluate` does."""
    settings, data_sets = settings or EvaluationSettings(), data_sets or DataSets()
    key = TaskKey(suite=task.suite, task=task.name, few_shots=few_shots, truncate=truncate)
    metrics = metrics_of(task)
    _, prompted = _prompted(task, key, metrics, settings, data_sets, backend)
    if isinstance(backend, LearnsAnswers):
        teach(backend, prompted)
    asked = first_requests(dict(enumerate(prompted)))
    return [asked[kind].requests for kind in sorted(asked)]


def in_turns(task: Task, settings: EvaluationSettings) -> bool:
    """Whether the task is asked as a chat: the user wants it so, or the task is a conversation."""
    return settings.use_chat_template or bool(task.prompt.turns)


def task_kinds(task: Task) -> tuple[RequestKind, ...]:
    """What a backend must be able to do to run this task, sorted."""
    return task.guest.kinds if task.guest is not None else tuple(sorted({entry.ask.kind for entry in metrics_of(task)}))


# ------------------------------------------------------------------------------------------------ documents and prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """What is known of the data that a task's documents are made of."""

    fingerprint: str
    """Digest of its rows."""
    row_sources: Mapping[str, str]
    """As `TaskResult.row_sources`."""
    notes: tuple[str, ...]
    """What a reader of the score should know of it."""


def _prompted(
    task: Task, key: TaskKey, metrics: Sequence[Metric], settings: EvaluationSettings, data_sets: DataSets, backend: Backend
) -> tuple[_Data, list[PromptedDoc]]:
    """All documents that are asked, with their requests."""
    if task.guest is not None:
        return _of_guest(task.guest, key, settings, backend)
    docs, data = _load_docs(task, metrics, data_sets)
    return data, list(prompt_docs(task, docs, key, metrics, settings, data_sets, backend))


def _of_guest(guest: Guest, key: TaskKey, settings: EvaluationSettings, backend: Backend) -> tuple[_Data, list[PromptedDoc]]:
    made = guest.documents(
        GuestSettings(
            few_shots=key.few_shots,
            few_shot_seeds=settings.few_shot_seeds,
            max_samples=settings.max_samples,
            use_chat_template=settings.use_chat_template,
            system_prompt=settings.system_prompt,
            expects_thoughts=bool(settings.reasoning_tags),
        ),
        backend.render,
    )
    prompted = [
        PromptedDoc(
            doc=document.doc,
            few_shot_seed=document.few_shot_seed,
            num_shots=document.num_shots,
            dropped_shots=0,
            prompt=document.prompt,
            requests=document.requests,
            prompt_digest=digest_requests(document.requests),
            score=document.score,
        )
        for document in made.documents
    ]
    return _Data(fingerprint=made.fingerprint, row_sources=made.row_sources, notes=made.notes), prompted


def _load_docs(task: Task, metrics: Sequence[Metric], data_sets: DataSets) -> tuple[list[Doc], _Data]:
    """All documents of a task's evaluation splits in stored order, split by split."""
    docs: list[Doc] = []
    digests = []
    unlabeled = 0
    scores_choices = any(entry.ask in (Ask.CHOICES, Ask.CHOICES_PMI) for entry in metrics)
    for split in task.evaluation_splits:
        rows = data_sets.rows(task, split)
        rendered = render_docs(task, rows, split, multiple_choice=scores_choices)
        docs += rendered.docs
        unlabeled += len(rendered.unlabeled)
        digests.append(rows_fingerprint(rows))
    every = len(docs)
    docs = without_reserved(docs, task.few_shots_reserved)
    if not docs:
        raise DataError(f"{task.id}: no document is left of the split{'s' * (len(digests) > 1)} {', '.join(task.evaluation_splits)}")
    notes = [f"{unlabeled} documents without a published answer are left out"] if unlabeled else []
    if len(docs) < every:
        notes.append(f"{every - len(docs)} documents are kept for few-shot examples, or share a source with one")
    if (shared := shared_context_note(docs)) is not None:
        notes.append(shared)
    return docs, _Data(
        fingerprint=digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        row_sources={split: data_sets.row_source(task, split) for split in task.evaluation_splits},
        notes=tuple(notes),
    )


def prompt_docs(
    task: Task,
    docs: list[Doc],
    key: TaskKey,
    metrics: Sequence[Metric],
    settings: EvaluationSettings,
    data_sets: DataSets,
    lengths: Lengths,
) -> Iterator[PromptedDoc]:
    """The documents in the order of evaluation, few-shot seed by few-shot seed, each with its prompt.

    `lengths` is asked only under the truncation flag. Raises DataError, PromptError, and BackendError if nobody knows the lengths.
    """
    pool = few_shot_pool(task, data_sets) if key.few_shots else []
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
                    count_tokens=lengths.count_tokens,
                    max_length=lengths.max_length,
                    generation_size=task.generation_size,
                    system_prompt=settings.system_prompt,
                    system_prompt_apart=task.system_prompt_apart,
                    use_chat_template=in_turns(task, settings),
                )
            prompt = build_prompt(
                doc,
                shots,
                system_prompt=settings.system_prompt,
                system_prompt_apart=task.system_prompt_apart,
                use_chat_template=in_turns(task, settings),
            )
            requests = build_requests(
                task,
                doc,
                prompt,
                metrics,
                use_chat_template=in_turns(task, settings),
                expects_thoughts=bool(settings.reasoning_tags),
            )
            yield PromptedDoc(
                doc=doc,
                few_shot_seed=seed,
                num_shots=len(shots),
                shots=shots,
                dropped_shots=len(picked) - len(shots),
                prompt=prompt,
                requests=requests,
                prompt_digest=digest_requests(requests, doc.turns),
            )


def few_shot_pool(task: Task, data_sets: DataSets) -> list[Doc]:
    """The documents that few-shot examples are taken from, in stored order. Raises DataError, PromptError."""
    split = resolve_few_shots_split(task)
    splits = task.evaluation_splits if split is None else (split,)
    docs = [doc for name in splits for doc in render_docs(task, data_sets.rows(task, name), name, few_shots=True).docs]
    return docs[: task.few_shots_reserved] if task.few_shots_reserved else docs


# ------------------------------------------------------------------------------------------------ answers


def _thoughts(task: Task, backend: Backend, prompted: Sequence[PromptedDoc], settings: EvaluationSettings) -> Thoughts | None:
    """None: the texts are scored as they are."""
    generated = next((doc for doc in prompted if any(isinstance(request, GenerateRequest) for request in doc.requests.values())), None)
    if not settings.reasoning_tags or generated is None:
        return None
    prompt = generated.prompt if isinstance(generated.prompt, str) else backend.render(generated.prompt) or ""
    return Thoughts(
        tags=settings.reasoning_tags,
        opened=next((opening for opening, _ in settings.reasoning_tags if prompt.rstrip().lower().endswith(opening.lower())), None),
        stop_sequence=answer_stops(task, use_chat_template=in_turns(task, settings)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """All responses about a document, and what is scored of them."""

    responses: Mapping[str, Response]
    turns: tuple[tuple[GenerateRequest, GenerateResponse], ...]
    """Of a conversation."""
    scored: Mapping[str, Response]
    """Without thoughts."""
    cut_in_thoughts: int
    """Texts that ended within thoughts."""
    error: str | None
    """Why they cannot be scored. None: they can."""
    grades: Mapping[str, Grade] = field(default_factory=dict)
    """By metric."""


def _answered(responses: Iterable[tuple[int, Responses]], thoughts: Thoughts | None) -> Iterator[tuple[int, _Answered]]:
    for index, answered in responses:
        cut_in_thoughts, of_doc = 0, answered.by_ask
        scored = dict(of_doc)
        for ask, response in of_doc.items():
            if thoughts is not None and isinstance(response, GenerateResponse) and response.error is None:
                scored[ask], cut = without_thoughts(response, thoughts)
                cut_in_thoughts += cut
        error = next((reason for response in of_doc.values() if (reason := _failure(response)) is not None), None)
        yield index, _Answered(responses=of_doc, turns=answered.turns, scored=scored, cut_in_thoughts=cut_in_thoughts, error=error)


def _failure(response: Response) -> str | None:
    """Why the response cannot be scored, whichever backend returned it."""
    return response.error or impossible_logprob(response)


# ------------------------------------------------------------------------------------------------ grades


def _graded_metrics(task: Task, metrics: Sequence[Metric], grader: Grader | None) -> list[Metric]:
    """The metrics that the grader is for. Raises UserInputError if one needs another."""
    graded = [entry for entry in metrics if entry.grader is not None]
    for entry in graded:
        if grader is None or entry.grader != grader.kind:
            raise UserInputError(f"{task.id}: {entry.name} needs a {entry.grader}, and there is {'none' if grader is None else 'another'}")
    return graded


def _grade(
    task: Task, grader: Grader, metrics: Sequence[Metric], docs: Sequence[PromptedDoc], answered: Iterator[tuple[int, _Answered]]
) -> Iterator[tuple[int, _Answered]]:
    """Yield every document when it has the grades of all these metrics, in any order. One that has no answer is passed on without."""
    jobs: list[tuple[int, Metric, int]] = []
    waiting: dict[int, _Answered] = {}
    failed: list[tuple[int, _Answered]] = []

    def answers() -> Iterator[tuple[int, Answer]]:
        for index, answer in answered:
            if answer.error is not None:
                failed.append((index, answer))
                continue
            waiting[index] = answer
            for entry in metrics:
                response = answer.scored[entry.ask]
                assert isinstance(response, GenerateResponse)
                jobs.append((index, entry, len(response.texts)))
                doc = docs[index]
                yield len(jobs) - 1, Answer(metric=entry.name, doc=doc.doc, few_shot_seed=doc.few_shot_seed, texts=response.texts)

    graded: set[int] = set()
    for job, grade in grader.grade(task, answers()):
        if job in graded or not 0 <= job < len(jobs):
            raise BackendError(f"{grader.kind}: graded answer {job} twice, or was never given it")
        graded.add(job)
        index, entry, texts = jobs[job]
        if grade.error is None and len(grade.marks) != texts:
            raise BackendError(f"{grader.kind}: {len(grade.marks)} marks for {texts} texts")
        answer = waiting[index]
        error = answer.error or (grade.error and f"{entry.name}: {grade.error}")
        waiting[index] = answer = replace(answer, grades={**answer.grades, entry.name: grade}, error=error)
        if len(answer.grades) == len(metrics):
            yield index, waiting.pop(index)
        while failed:
            yield failed.pop()
    yield from failed
    if waiting:
        raise RequestsFailedError(f"{task.id}: {grader.kind}: {len(waiting)} documents were not graded")


# ------------------------------------------------------------------------------------------------ scores


def _score(prompted: PromptedDoc, answer: _Answered, metrics: Sequence[Metric]) -> Detail:
    values: dict[str, SampleValue | None] = {}
    soft: dict[str, float] = {}
    not_judged: dict[str, str] = {}
    extracted: dict[str, str | None] = {}
    if answer.error is None and prompted.score is not None:
        values |= prompted.score(answer.scored)
    elif answer.error is None:
        for entry in metrics:
            try:
                values |= entry.sample(prompted.doc, answer.scored[entry.ask] if entry.grader is None else answer.grades[entry.name])
                soft |= {
                    name: corpus.soft.sample(prompted.doc, answer.scored[entry.ask])
                    for name, corpus in entry.corpus.items()
                    if corpus.soft is not None
                }
                scored = answer.scored.get(entry.ask)
                if entry.extract is not None and isinstance(scored, GenerateResponse) and scored.texts:
                    extracted |= dict.fromkeys(entry.corpus, entry.extract(prompted.doc, scored.texts[0]))
            except NotJudgedError as reason:
                values |= {name: None for name in entry.corpus if name not in entry.optional}
                not_judged[entry.name] = str(reason)
    return Detail(
        doc=prompted.doc,
        prompt=prompted.prompt,
        few_shot_ids=tuple(shot.id for shot in prompted.shots),
        few_shot_seed=prompted.few_shot_seed,
        requests=prompted.requests,
        responses=answer.responses,
        turns=answer.turns if len(answer.turns) > 1 else (),
        scored_texts={
            ask: response.texts
            for ask, response in answer.scored.items()
            if isinstance(response, GenerateResponse) and response is not answer.responses[ask]
        },
        grades=answer.grades,
        values=values,
        soft=soft,
        prompt_digest=prompted.prompt_digest,
        truncated=prompted.dropped_shots > 0 or any(response.truncated_tokens > 0 for response in answer.responses.values()),
        extracted=extracted,
        not_judged=not_judged,
        num_cut=ends_of(answer.responses).count("length"),
        cut_in_thoughts=answer.cut_in_thoughts,
        error=answer.error,
    )

"""What was measured of one task so far, document by document, and the result that follows. Parts of a task add up to the whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_lighteval.common.statistics import aggregate, standard_error
from pytest_lighteval.errors import DataError, RequestsFailedError
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.metrics.equal_choices import EqualChoices
from pytest_lighteval.metrics.tiny_benchmarks import with_estimates
from pytest_lighteval.metrics.tiny_parameters import TinyParameters
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.types import (
    Ask,
    Detail,
    DocumentScore,
    GenerateResponse,
    Metric,
    MetricResult,
    Response,
    Share,
    Task,
    TaskKey,
    TaskResult,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What is known of a task before a document is scored."""

    task: Task
    key: TaskKey
    max_samples: int | None
    has_system_prompt: bool
    use_chat_template: bool
    fingerprint: str
    """Of the data set's rows."""
    row_sources: Mapping[str, str]
    data_notes: tuple[str, ...]
    """What a reader of the score should know of the data set."""
    ids: frozenset[str] | None
    """Of all documents that are asked. None: exactly those that were scored."""
    grader: Mapping[str, str]
    """As `TaskResult.grader`."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The task's."""
        return metrics_of(self.task)


@dataclass(slots=True)
class Tally:
    """Counts the documents that have a score."""

    scores: dict[int, DocumentScore] = field(default_factory=dict)
    """By position among all documents of the task."""
    shots: int = 0
    found_shots: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    cut_in_thoughts: int = 0
    said_nothing: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    not_judged: dict[str, set[str]] = field(default_factory=dict)
    equal: EqualChoices = field(default_factory=EqualChoices)
    instructed: bool = False

    def count(self, position: int, detail: Detail, responses: Mapping[str, Response], *, shots: int, dropped_shots: int) -> None:
        """Count a document that has a score."""
        self.scores[position] = _document_score(detail)
        self.shots += shots
        self.found_shots += shots + dropped_shots
        self.ends.update(ends_of(responses))
        self.cut_in_thoughts += detail.cut_in_thoughts > 0
        self.said_nothing += any(isinstance(said, GenerateResponse) and any(said.empty_reasons) for said in responses.values())
        self.equal.count(detail.doc, responses)
        self.instructed = self.instructed or bool(detail.doc.instruction)
        self.outcomes.update(f"{metric}: {mark.outcome}" for metric, grade in detail.grades.items() for mark in grade.marks)
        for name in detail.not_judged:
            self.not_judged.setdefault(name, set()).add(detail.doc.id)

    def result(self, whole: Whole, *, seconds: float) -> TaskResult:
        """The result of the documents that were counted."""
        documents = tuple(self.scores[position] for position in sorted(self.scores))
        # those that the truncation flag dropped are counted with the documents that were cut
        return TaskResult(
            key=whole.key,
            version=whole.task.version,
            metrics=_aggregate(documents, whole.metrics),
            documents=documents,
            dataset_fingerprint=whole.fingerprint,
            row_sources=whole.row_sources,
            prompt_digest=hashlib.sha256("\n".join(document.prompt_digest for document in documents).encode()).hexdigest(),
            effective_few_shots=self.shots / len(documents),
            num_truncated=sum(document.truncated for document in documents),
            num_cut=self.ends["length"],
            num_texts=self.ends.total(),
            grader=whole.grader,
            outcomes=dict(sorted(self.outcomes.items())),
            not_judged={
                name: len(self.not_judged[entry.name]) for entry in whole.metrics if entry.name in self.not_judged for name in entry.corpus
            },
            num_saved=0 if whole.ids is None else len(whole.ids - {document.id for document in documents}),
            max_samples=whole.max_samples,
            notes=tuple(self._notes(whole)),
            seconds=seconds,
            weighs_documents=whole.task.weighs_documents,
            language=whole.task.language,
        )

    def share(self, whole: Whole, number: int, of: int, *, total: int, seconds: float) -> TaskResult:
        """The result of a part of the task, with what `merge_shares` needs."""
        share = Share(
            number=number,
            of=of,
            positions=tuple(sorted(self.scores)),
            total=total,
            shots=self.shots,
            found_shots=self.found_shots,
            cut_in_thoughts=self.cut_in_thoughts,
            said_nothing=self.said_nothing,
            not_judged={name: tuple(sorted(ids)) for name, ids in sorted(self.not_judged.items())},
            ranked=self.equal.asked,
            tied=self.equal.tied,
            twins=tuple(sorted(self.equal.twins)),
            instructed=self.instructed,
            data_notes=whole.data_notes,
        )
        return replace(self.result(replace(whole, ids=None), seconds=seconds), share=share)

    def _notes(self, whole: Whole) -> Iterator[str]:
        yield from self._defects(whole)
        yield from whole.data_notes
        if self.cut_in_thoughts:
            yield _cut_note(self.cut_in_thoughts)
        if self.said_nothing:
            yield _empty_note(self.said_nothing)
        yield from self.equal.notes
        yield from _outcome_notes(whole.grader, self.outcomes)
        yield from (_not_judged_note(name, len(self.not_judged[name])) for name in sorted(self.not_judged))
        key = whole.key
        takes_evaluated = resolve_few_shots_split(whole.task) is None and not whole.task.few_shots_reserved
        if whole.task.guest is None and key.few_shots and takes_evaluated:
            yield "few-shot examples come from the evaluated documents themselves: the data set has no other split"
        found = self.found_shots / len(self.scores)
        if found < key.few_shots:
            mean = "" if found.is_integer() else " on average"
            yield f"{found:g} few-shot examples{mean}, not {key.few_shots}: the selection found no more"

    def _defects(self, whole: Whole) -> Iterator[str]:
        """What the task's definition gets wrong, in this run."""
        task = whole.task
        if task.known_defect is not None:
            yield f"known defect: {task.known_defect}{task.corrected_hint}"
        if whole.has_system_prompt and not task.system_prompt_apart and self.instructed:
            place = "one message" if whole.use_chat_template else "one line"
            yield f"the task's instruction follows the system prompt directly, in {place}{task.corrected_hint}"


def merge_shares(
    task: Task,
    parts: Sequence[TaskResult],
    *,
    has_system_prompt: bool,
    use_chat_template: bool,
    tiny_parameters: TinyParameters | None = None,
) -> TaskResult:
    """The whole result of all parts of a task, in any order. `tiny_parameters`: see `evaluate.evaluate`.

    Raises:
        DataError: Documents are missing, or there twice; the parts are of different data.
        RequestsFailedError: Together, too many documents have equal log-probabilities of all choices.
    """
    first = parts[0]
    tally = Tally()
    total = 0
    for part in parts:
        share = part.share
        assert share is not None
        total = share.total
        if (part.dataset_fingerprint, share.total) != (first.dataset_fingerprint, first.share and first.share.total):
            raise DataError(f"{first.key}: shards {first.share and first.share.number} and {share.number} have other documents")
        if part.grader != first.grader:
            raise DataError(f"{first.key}: shards {first.share and first.share.number} and {share.number} were not graded alike")
        for position, document in zip(share.positions, part.documents, strict=True):
            if position in tally.scores:
                raise DataError(f"{first.key}: {document.id} is in two shards")
            tally.scores[position] = document
        tally.shots += share.shots
        tally.found_shots += share.found_shots
        tally.ends.update({"length": part.num_cut, "stop": part.num_texts - part.num_cut})
        tally.cut_in_thoughts += share.cut_in_thoughts
        tally.said_nothing += share.said_nothing
        tally.equal.asked += share.ranked
        tally.equal.tied += share.tied
        tally.equal.twins |= set(share.twins)
        tally.instructed = tally.instructed or share.instructed
        tally.outcomes.update(part.outcomes)
        for name, ids in share.not_judged.items():
            tally.not_judged.setdefault(name, set()).update(ids)
    if len(tally.scores) != total:
        raise DataError(f"{first.key}: {total - len(tally.scores)} of {total} documents are in no shard")
    if tally.equal.problem is not None:
        raise RequestsFailedError(f"{first.key}: {tally.equal.problem}")
    whole = Whole(
        task=task,
        key=first.key,
        max_samples=first.max_samples,
        has_system_prompt=has_system_prompt,
        use_chat_template=use_chat_template,
        fingerprint=first.dataset_fingerprint,
        row_sources=first.row_sources,
        data_notes=() if first.share is None else first.share.data_notes,
        ids=None,
        grader=first.grader,
    )
    return with_estimates(task, tally.result(whole, seconds=sum(part.seconds for part in parts)), tiny_parameters)


def _document_score(detail: Detail) -> DocumentScore:
    return DocumentScore(
        id=detail.doc.id,
        prompt_digest=detail.prompt_digest,
        values=detail.values,
        few_shot_seed=detail.few_shot_seed,
        cluster=detail.doc.cluster,
        truncated=detail.truncated,
        soft=detail.soft,
    )


def ends_of(responses: Mapping[str, Response]) -> list[str]:
    """How the generated texts ended, where it is known; a response to several asks counts once."""
    # that of the last turn is in the response to all of them
    wanted = {ask: response for ask, response in responses.items() if Ask.TURNS not in responses or ask != Ask.GENERATION}
    generated = {id(response): response for response in wanted.values() if isinstance(response, GenerateResponse)}
    return [reason for response in generated.values() for reason in response.finish_reasons if reason]


def _cut_note(count: int) -> str:
    return f"{count} document{'s have' if count > 1 else ' has'} an answer that ends within its thoughts: what is left of it is scored"


def _empty_note(count: int) -> str:
    return f"{count} document{'s have' if count > 1 else ' has'} an empty answer, as the model refused or only thought; the details say why"


def _outcome_notes(grader: Mapping[str, str], outcomes: Mapping[str, int]) -> Iterator[str]:
    """Programs that did not end by themselves. A judge's outcomes are told elsewhere."""
    if grader.get("kind") != "sandbox":
        return
    told = [f"{count} {name.partition(': ')[2]}" for name, count in sorted(outcomes.items())]
    if any(not name.endswith((": passed", ": failed")) for name in outcomes):
        yield f"programs: {', '.join(told)}"


def _not_judged_note(name: str, count: int) -> str:
    return f"{count} document{'s are' if count > 1 else ' is'} not judged by {name} and left out of its score; the details say why"


def _aggregate(documents: Sequence[DocumentScore], metrics: Sequence[Metric]) -> dict[str, MetricResult]:
    """Every reported number with its error. Several few-shot seeds of one document are one cluster: their errors are not independent."""
    several_seeds = any(document.few_shot_seed for document in documents)
    results = {}
    for entry in metrics:
        for name, corpus in entry.corpus.items():
            if not any(name in document.values for document in documents):
                continue  # its grader is missing, and the task runs without it; or only some runs report it
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

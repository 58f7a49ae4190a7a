"""The story of one task under the linter: all of its rows become documents, golds become answers, and what is wrong is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_lighteval.checks.documents import Kinds, document_findings
from pytest_lighteval.checks.findings import Cases
from pytest_lighteval.checks.golds import GoldCheck, best_value
from pytest_lighteval.checks.leaks import answer_in_prompt
from pytest_lighteval.checks.oracle import NoTokens, Tokens
from pytest_lighteval.checks.prompts import PromptCheck, overlap_finding
from pytest_lighteval.checks.shortcuts import choice_shortcuts
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import DataError, LightevalError, PromptError
from pytest_lighteval.evaluate import EvaluationSettings, few_shot_pool, prompt_docs
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.prompts.assembly import build_prompt
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.few_shots import resolve_few_shots_split, without_reserved
from pytest_lighteval.prompts.requests import build_requests
from pytest_lighteval.prompts.templates import compile_expression
from pytest_lighteval.prompts.text_values import RenderError
from pytest_lighteval.types import Ask, Doc, Finding, Metric, RequestKind, Severity, Task, TaskCheck, TaskKey


def check_task(
    task: Task,
    *,
    few_shots: Sequence[int],
    settings: EvaluationSettings | None = None,
    data_sets: DataSets | None = None,
    tokens: Tokens | None = None,
) -> TaskCheck:
    """All that is wrong with a task, over all of its rows, without a model.

    Args:
        task: Not one that is skipped.
        few_shots: The few-shot counts at which its prompts are looked at.
        settings: System prompt, chat template and few-shot seeds as in an evaluation. `max_samples` is not read.
        data_sets: Where rows come from.
        tokens: A model's tokenizer and length. None: limits are checked by a bound, and the lengths of prompts not at all.

    Raises:
        DataError: The data set cannot be read.
        PromptError: A template of the task is wrong, or `published_answers` is.
        MissingExtraError: A metric's library is not installed.
    """
    started = time.perf_counter()
    check = _Check(
        task, few_shots, replace(settings or EvaluationSettings(), max_samples=None), data_sets or DataSets(), tokens or NoTokens()
    )
    found = sorted(check.run(), key=lambda finding: finding.severity.rank)
    return TaskCheck(
        task=task.id,
        few_shots=tuple(few_shots),
        documents=len(check.docs),
        findings=tuple(found),
        not_checked=tuple(check.not_checked),
        corrected_by=task.corrected_by,
        seconds=time.perf_counter() - started,
    )


class _Check:
    """One task, its documents, and what was not looked at."""

    def __init__(self, task: Task, few_shots: Sequence[int], settings: EvaluationSettings, data_sets: DataSets, tokens: Tokens) -> None:
        self.task, self.few_shots, self.settings, self.data_sets, self.tokens = task, few_shots, settings, data_sets, tokens
        self.metrics: tuple[Metric, ...] = metrics_of(task)
        self.docs: list[Doc] = []
        self.not_checked: list[str] = []
        asks = {entry.ask for entry in self.metrics}
        self.scores_choices = bool(asks & {Ask.CHOICES, Ask.CHOICES_PMI})
        self.writes_answers = any(ask.kind is RequestKind.GENERATE for ask in asks)

    def run(self) -> Iterator[Finding]:
        """Look for everything."""
        yield from self._load()
        if not self.docs:
            return
        compares = any(best_value(corpus) is not None for entry in self.metrics for corpus in entry.corpus.values())
        yield from document_findings(self.docs, Kinds(scores_choices=self.scores_choices, compares_golds=compares))
        if self.scores_choices or _have_wrong_choices(self.docs):
            yield from choice_shortcuts(self.docs)
        elif self.writes_answers and compares:
            yield from answer_in_prompt(self.docs)
        golds = self._golds(self.docs, self._published())
        yield from golds.findings()
        self.not_checked += golds.not_checked
        yield from self._examples()
        yield from self._prompts()
        self._say_what_lengths_are()

    def _load(self) -> Iterator[Finding]:
        """Make documents of all rows."""
        broken, unlabeled, rows = Cases(), Cases(), 0

        def keep(error: PromptError) -> None:
            where, _, problem = str(error).removeprefix(f"{self.task.id}: ").partition(": ")
            broken.add(where, problem)

        for split in self.task.evaluation_splits:
            numbered = self.data_sets.rows(self.task, split)
            rows += len(numbered)
            rendered = render_docs(self.task, numbered, split, multiple_choice=self.scores_choices, on_error=keep)
            self.docs += rendered.docs
            for doc_id in rendered.unlabeled:
                unlabeled.add(doc_id, "its gold is below 0")
        self.docs = without_reserved(self.docs, self.task.few_shots_reserved)
        if broken.ids:
            yield broken.finding("broken-row", Severity.ERROR, "no document can be made of a row, which ends the evaluation", of=rows)
        if unlabeled.ids:
            severity = Severity.WARNING if self.docs else Severity.ERROR
            yield unlabeled.finding("no-gold", severity, "the right answer is not published, so the document is left out", of=rows)
        if not self.docs:
            yield Cases(ids=["*"] * rows).finding("no-document", Severity.ERROR, "no document is left", of=rows)

    def _published(self) -> Mapping[str, Sequence[str]]:
        """Row (`<split>:<row>`) -> the answers that it publishes as right."""
        expression = self.task.published_answers
        if expression is None:
            return {}
        answers_of = compile_expression(expression)
        published = {}
        for split in self.task.evaluation_splits:
            for index, row in self.data_sets.rows(self.task, split):
                try:
                    answers = answers_of({**row, "row": row})
                except RenderError as error:
                    raise PromptError(f"{self.task.id}: {split}:{index}: published_answers: {error}") from error
                if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
                    raise PromptError(
                        f"{self.task.id}: {split}:{index}: published_answers: gives {answers!r:.60}; a list of texts is required"
                    )
                published[f"{split}:{index}"] = tuple(dict.fromkeys(answers))
        return published

    def _golds(self, docs: Sequence[Doc], published: Mapping[str, Sequence[str]] | None = None, *, tries_wrong: bool = True) -> GoldCheck:
        chat = self.settings.use_chat_template
        check = GoldCheck(metrics=self.metrics, tokens=self.tokens, tries_wrong=tries_wrong, asks_in_chat=chat)
        for doc in docs:
            # what scores is the same whatever the prompt says before the question
            prompt = build_prompt(doc, use_chat_template=chat)
            requests = build_requests(self.task, doc, prompt, self.metrics, use_chat_template=chat)
            check.look(doc, requests)
            if published and (answers := published.get(doc.id)):
                check.look_at_published(doc, requests, answers)
        return check

    def _examples(self) -> Iterator[Finding]:
        """What the few-shot examples show must score too, if a model imitates it; and none of them is a document."""
        split = resolve_few_shots_split(self.task)
        if split is None or split in self.task.evaluation_splits:
            return
        try:
            pool = few_shot_pool(self.task, self.data_sets)
        except LightevalError as error:
            if not any(self.few_shots):  # otherwise the prompts' check says so
                self.not_checked.append(f"few-shot examples: {str(error).removeprefix(f'{self.task.id}: ')}")
            return
        yield from overlap_finding(self.docs, pool)
        if not self.writes_answers:
            return
        for finding in self._golds(pool, tries_wrong=False).findings():
            if finding.kind in ("gold-cut-by-stop", "gold-cut-by-limit", "gold-marked-wrong"):
                message = f"a model that imitates the few-shot examples is marked wrong: {finding.message}"
                yield replace(finding, kind=finding.kind.replace("gold", "example"), severity=Severity.WARNING, message=message)

    def _prompts(self) -> Iterator[Finding]:
        order = {doc.id: place for place, doc in enumerate(self.docs)}
        for count in self.few_shots:
            if count == 0 and self.tokens.max_length is None:
                continue
            key = TaskKey(suite=self.task.suite, task=self.task.name, few_shots=count)
            check = PromptCheck(tokens=self.tokens, few_shots=count, order=order)
            try:
                for prompted in prompt_docs(self.task, self.docs, key, self.metrics, self.settings, self.data_sets, self.tokens):
                    check.look(prompted)
            except (DataError, PromptError) as error:
                problem = str(error).removeprefix(f"{self.task.id}: ")
                yield Cases(ids=list(order)).finding(
                    "no-few-shots", Severity.ERROR, f"{count} few-shot examples cannot be had: {problem}", of=len(self.docs)
                )
                continue
            yield from check.findings()

    def _say_what_lengths_are(self) -> None:
        if self.writes_answers and self.task.generation_size is not None and not self.tokens.is_known:
            self.not_checked.append(f"the limit of {self.task.generation_size} new tokens: without a tokenizer, a word counts as one token")
        if self.tokens.max_length is None:
            self.not_checked.append("the length of prompts: no model was named")


def _have_wrong_choices(docs: Sequence[Doc]) -> bool:
    """Whether the documents are multiple choice, even if the answer is written: then each has a choice that is wrong."""
    return all(len(doc.choices) > len(doc.gold) for doc in docs)

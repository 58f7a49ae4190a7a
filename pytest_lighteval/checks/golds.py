"""The published gold as the answer: does it score the best value, through stop sequences, limits, extraction and normalization?

And the other way round: does an answer score that is none, such as an empty text, a refusal or a wrong choice?
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_lighteval.checks.findings import Cases, CasesByMetric, listed, shown
from pytest_lighteval.checks.oracle import Cut, Tokens, cut, prefers, says, wrong_numbers
from pytest_lighteval.common.statistics import aggregate
from pytest_lighteval.errors import MissingExtraError, NotJudgedError, in_one_line
from pytest_lighteval.types import (
    CorpusMetric,
    Doc,
    Finding,
    GenerateRequest,
    LoglikelihoodRequest,
    Metric,
    Request,
    Response,
    SampleValue,
    Severity,
)

REFUSALS = ("Don't know.", "I cannot answer this question.")
"""Texts that answer no question."""
FORMS = {
    "X.": "{}.",
    "**X**": "**{}**",
    "The answer is X.": "The answer is {}.",
    "Answer: X": "Answer: {}",
    "X and a further question": "{}\n\nQuestion: What is next?\nAnswer: 12345",
}
"""How models write a short answer, by what reports call it. With the last one they go on, as base models do."""
_KINDS = (
    ("metric-fails", Severity.ERROR, "{metrics} cannot score a document"),
    ("gold-cut-by-stop", Severity.ERROR, "the stop sequence {causes} cuts every accepted answer, and the rest does not score in {metrics}"),
    (
        "gold-cut-by-limit",
        Severity.ERROR,
        "every accepted answer is longer than the limit of new tokens, and what fits does not score in {metrics}",
    ),
    ("gold-marked-wrong", Severity.ERROR, "no accepted answer scores in {metrics}, although nothing cuts it"),
    ("published-answer-marked-wrong", Severity.ERROR, "an answer that the row publishes as right does not score in {metrics}"),
    ("gold-scores-in-part", Severity.WARNING, "the best accepted answer has more than nothing and less than the best value of {metrics}"),
    ("gold-equals-wrong-choice", Severity.ERROR, "a wrong choice is the same text and wins the tie in {metrics}"),
    ("wrong-choice-scores", Severity.ERROR, "a choice that is published as wrong scores in {metrics}"),
    ("wrong-number-scores", Severity.ERROR, "another number scores in {metrics}"),
    ("empty-answer-scores", Severity.ERROR, "an empty answer scores in {metrics}"),
    ("refusal-scores", Severity.ERROR, "an answer that refuses scores in {metrics}"),
    ("gold-partly-unreachable", Severity.WARNING, "some accepted answers do not score in {metrics}"),
)
"""What documents show under a metric, in the order of reports."""
_SHORT_WORDS = 5
"""Longer golds are texts, such as worked solutions, which these forms do not fit."""
_ROUNDING = 1e-6


_Values = Mapping[str, SampleValue | None] | None
"""What a metric reports of one answer. None: it raised."""


def best_value(corpus: CorpusMetric) -> float | None:
    """What a perfect model scores. None: nobody knows, as of a perplexity."""
    if corpus.range is None:
        return None
    return corpus.range[1] if corpus.higher_is_better else corpus.range[0]


def is_best(value: SampleValue | None, corpus: CorpusMetric) -> bool:
    """Whether a document's value of a mean is the best one."""
    best = best_value(corpus)
    return best is not None and isinstance(value, int | float) and abs(value - best) <= _ROUNDING * max(1.0, abs(best))


def _share(value: SampleValue | None, corpus: CorpusMetric) -> float:
    """How far a value is from the worst one to the best one, 0 to 1."""
    if corpus.range is None or not isinstance(value, int | float):
        return 0.0
    least, most = corpus.range
    share = (value - least) / (most - least)
    return share if corpus.higher_is_better else 1 - share


def _means(entry: Metric) -> list[str]:
    """Names of the reported means whose best value is known."""
    return [name for name, corpus in entry.corpus.items() if corpus.is_mean and best_value(corpus) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What is tried on a document."""

    golds: tuple[str, ...]
    cuts: tuple[Cut, ...]
    """One for each gold."""
    forms: tuple[tuple[str, str], ...]
    """Other forms of the first gold, if it is short: what the form is called, and the text as it is cut."""
    wrong: tuple[tuple[str, str, str], ...]
    """Texts that must not score: whole, cut, and the kind of finding if it does."""


@dataclass(slots=True, kw_only=True)
class GoldCheck:
    """Scores golds, refusals and wrong choices of documents, one document at a time."""

    metrics: Sequence[Metric]
    tokens: Tokens
    tries_wrong: bool = True
    """Whether refusals and wrong choices are tried too."""
    asks_in_chat: bool = False
    """A chat model does not begin its turn with the space that belongs to a choice."""

    documents: int = 0
    """That a metric compares with their gold."""
    published: int = 0
    """Documents whose row publishes answers of its own."""
    goldless: Cases = field(default_factory=Cases)
    cases: dict[str, CasesByMetric] = field(default_factory=lambda: defaultdict(CasesByMetric))
    """By kind of finding."""
    forms: CasesByMetric = field(default_factory=CasesByMetric)
    corpora: dict[str, tuple[CorpusMetric, list[SampleValue]]] = field(default_factory=dict)
    not_judged: set[str] = field(default_factory=set)

    @property
    def not_checked(self) -> list[str]:
        """Metrics that nobody looked at, and why."""
        lines = []
        unknown = [
            name for entry in self.metrics if entry.judges_answers for name, corpus in entry.corpus.items() if best_value(corpus) is None
        ]
        if unknown:
            lines.append(f"{', '.join(unknown)}: no best value is known")
        if others := [name for entry in self.metrics if not entry.judges_answers for name in entry.corpus]:
            lines.append(f"{', '.join(others)}: no gold is compared")
        lines += [f"{name} gives up on a gold: judging it takes too long" for name in sorted(self.not_judged)]
        return lines

    def look(self, doc: Doc, requests: Mapping[str, Request]) -> None:
        """Try one document."""
        checked = [
            entry
            for entry in self.metrics
            if entry.judges_answers and any(best_value(corpus) is not None for corpus in entry.corpus.values())
        ]
        if not checked:
            return
        self.documents += 1
        if not doc.gold:
            self.goldless.add(doc.id, f"query {shown(doc.query)}")
            return
        answers: dict[Request, _Answers] = {}
        for entry in checked:
            request = requests[entry.ask]
            if isinstance(request, GenerateRequest):
                if request not in answers:
                    answers[request] = self._answers(doc, request)
                self._generated(doc, entry, request, answers[request])
            elif isinstance(request, LoglikelihoodRequest):
                self._ranked(doc, entry, request)

    def look_at_published(self, doc: Doc, requests: Mapping[str, Request], answers: Sequence[str]) -> None:
        """Try the answers that the document's row publishes as right."""
        self.published += 1
        for entry in self.metrics:
            request = requests[entry.ask]
            if not isinstance(request, GenerateRequest) or not entry.judges_answers:
                continue
            scored = [(answer, self._values(doc, entry, says(cut(answer, request, self.tokens).text, request)) or {}) for answer in answers]
            for name in _means(entry):
                lost = [answer for answer, values in scored if not is_best(values.get(name), entry.corpus[name])]
                if lost:
                    self.cases["published-answer-marked-wrong"].add(
                        name, doc.id, f"published {listed(lost)}", f"gold {shown(doc.golds[0])}"
                    )

    # -------------------------------------------------------------------------------------------- texts

    def _answers(self, doc: Doc, request: GenerateRequest) -> _Answers:
        golds = tuple(dict.fromkeys(gold.strip() if self.asks_in_chat else gold for gold in doc.golds))
        wrong: list[tuple[str, str, str]] = []
        if self.tries_wrong:
            right = {gold.strip().casefold() for gold in doc.golds}
            tried = [("", "empty-answer-scores"), *((text, "refusal-scores") for text in REFUSALS)]
            tried += [(choice, "wrong-choice-scores") for choice in dict.fromkeys(doc.choices)]
            if len(golds) == 1:
                tried += [(number, "wrong-number-scores") for number in wrong_numbers(golds[0])]
            texts = [(text, kind) for text, kind in tried if text.strip().casefold() not in right]
            wrong = [(text, cut(text, request, self.tokens).text, kind) for text, kind in texts]
        forms: list[tuple[str, str]] = []
        bare = golds[0].strip()
        if self.tries_wrong and bare and len(bare.split()) <= _SHORT_WORDS:
            space = golds[0][: len(golds[0]) - len(golds[0].lstrip())]
            forms = [(name, cut(space + form.format(bare), request, self.tokens).text) for name, form in FORMS.items()]
        return _Answers(golds=golds, cuts=tuple(cut(gold, request, self.tokens) for gold in golds), forms=tuple(forms), wrong=tuple(wrong))

    def _generated(self, doc: Doc, entry: Metric, request: GenerateRequest, answers: _Answers) -> None:
        golds = answers.golds
        values = [self._values(doc, entry, says(one.text, request)) for one in answers.cuts]
        means = _means(entry)
        self._keep_for_corpus(entry, values[0])
        if all(value is None for value in values):
            return  # it raised, or gave up
        for name in means:
            right = [value is not None and is_best(value.get(name), entry.corpus[name]) for value in values]
            if not any(right):
                self._unreachable(doc, entry, name, request, answers, values)
            elif not all(right):
                lost = [gold for gold, is_right in zip(golds, right, strict=True) if not is_right]
                self.cases["gold-partly-unreachable"].add(name, doc.id, f"accepted answers that do not score: {listed(lost)}")
        scoring = [name for name in means if values[0] is not None and is_best(values[0].get(name), entry.corpus[name])]
        self._try_forms(doc, entry, request, answers.forms, scoring)
        for text, left, kind in answers.wrong:
            scored = self._values(doc, entry, says(left, request)) or {}
            for name in means:
                if is_best(scored.get(name), entry.corpus[name]) and doc.id != self.cases[kind].last(name):
                    self.cases[kind].add(name, doc.id, f"answer {shown(text)}", f"gold {shown(doc.golds[0])}")

    def _try_forms(self, doc: Doc, entry: Metric, request: GenerateRequest, forms: Sequence[tuple[str, str]], names: Sequence[str]) -> None:
        """Try other forms of a gold that scores in these metrics."""
        lost: dict[str, list[str]] = {}
        for form, text in forms if names else ():
            values = self._values(doc, entry, says(text, request)) or {}
            for name in names:
                if not is_best(values.get(name), entry.corpus[name]):
                    lost.setdefault(name, []).append(form)
        for name, missed in lost.items():
            self.forms.add(name, doc.id, f"gold {shown(doc.golds[0])}", causes=missed)

    def _unreachable(
        self, doc: Doc, entry: Metric, name: str, request: GenerateRequest, answers: _Answers, values: Sequence[_Values]
    ) -> None:
        """Find out what is to blame: the stop sequence or the limit, if the gold would score without it, otherwise the metric."""
        golds = answers.golds
        for gold, kept in zip(golds, answers.cuts, strict=True):
            texts = (f"gold {shown(gold)}", f"left {shown(kept.text)}")
            if kept.text != kept.before_limit and self._scores(doc, entry, name, kept.before_limit, request):
                self.cases["gold-cut-by-limit"].add(name, doc.id, *texts)
                return
            if kept.text != gold and self._scores(doc, entry, name, gold, request):
                if kept.stop is None:
                    self.cases["gold-cut-by-limit"].add(name, doc.id, *texts)
                else:
                    self.cases["gold-cut-by-stop"].add(name, doc.id, *texts, causes=[repr(kept.stop)])
                return
        text = f"golds {listed(golds)}" if len(golds) > 1 else f"gold {shown(golds[0])}"
        share = max(_share(value.get(name), entry.corpus[name]) for value in values if value is not None)
        if share > 0:
            self.cases["gold-scores-in-part"].add(name, doc.id, text, f"{share:.0%} of the best value")
        else:
            self.cases["gold-marked-wrong"].add(name, doc.id, text)

    # -------------------------------------------------------------------------------------------- choices

    def _ranked(self, doc: Doc, entry: Metric, request: LoglikelihoodRequest) -> None:
        golds = list(dict.fromkeys(doc.golds))
        answers: list[tuple[str, ...]] = [(gold,) for gold in golds]
        if len(golds) > 1:
            answers.append(tuple(golds))
        values = [self._values(doc, entry, prefers(answer, request)) for answer in answers]
        self._keep_for_corpus(entry, values[0])
        if all(value is None for value in values):
            return
        for name in _means(entry):
            if any(value is not None and is_best(value.get(name), entry.corpus[name]) for value in values):
                continue
            wrong = {choice for index, choice in enumerate(doc.choices) if index not in doc.gold}
            twins = [gold for gold in golds if gold in wrong]
            kind = "gold-equals-wrong-choice" if twins else "gold-marked-wrong"
            self.cases[kind].add(name, doc.id, f"gold {shown((twins or golds)[0])}", f"choices {listed(doc.choices, most=6)}")

    # -------------------------------------------------------------------------------------------- values

    def _scores(self, doc: Doc, entry: Metric, name: str, text: str, request: GenerateRequest) -> bool:
        values = self._values(doc, entry, says(text, request))
        return values is not None and is_best(values.get(name), entry.corpus[name])

    def _values(self, doc: Doc, entry: Metric, response: Response) -> _Values:
        """What a metric reports. None: it raised, which is counted."""
        try:
            return entry.sample(doc, response)
        except NotJudgedError:
            self.not_judged.add(entry.name)
        except MissingExtraError:
            raise
        except Exception as error:  # a metric may raise anything on a document that is not as it expects
            if doc.id != self.cases["metric-fails"].last(entry.name):
                self.cases["metric-fails"].add(entry.name, doc.id, f"{type(error).__name__}: {in_one_line(error)}")
        return None

    def _keep_for_corpus(self, entry: Metric, values: _Values) -> None:
        for name, corpus in entry.corpus.items():
            if not corpus.is_mean and best_value(corpus) is not None and values is not None and (value := values.get(name)) is not None:
                self.corpora.setdefault(name, (corpus, []))[1].append(value)

    # -------------------------------------------------------------------------------------------- findings

    def findings(self) -> Iterator[Finding]:
        """What was found, over all documents."""
        of = self.documents
        if self.goldless.ids:
            yield self.goldless.finding("no-gold", Severity.ERROR, "a document has no gold that its metrics could compare with", of=of)
        for kind, severity, message in _KINDS:
            total = self.published if kind == "published-answer-marked-wrong" else of
            for metrics, cases in self.cases[kind].merged():
                causes = ", ".join(cause for cause, _ in cases.causes.most_common())
                yield cases.finding(kind, severity, message.format(metrics=metrics, causes=causes), of=total)
        if self.forms.by_metric:
            yield self._forms_finding()
        yield from self._corpus_findings()

    def _forms_finding(self) -> Finding:
        """One finding for all metrics, of which most take some forms and not others."""
        parts = []
        for names, cases in self.forms.merged():
            lost = ", ".join(f"{form!r} in {cases.causes[form]}" for form in FORMS if form in cases.causes)
            parts.append(f"{names}: {lost}")
        worst = max(self.forms.by_metric.values(), key=lambda cases: len(cases.ids))
        message = f"the gold X in other forms does not score; {'; '.join(parts)}"
        return worst.finding("form-marked-wrong", Severity.NOTE, message, of=self.documents)

    def _corpus_findings(self) -> Iterator[Finding]:
        for name, (corpus, values) in self.corpora.items():
            best, found = best_value(corpus), aggregate(values, corpus)
            if best is not None and not abs(found - best) <= _ROUNDING * max(1.0, abs(best)):
                message = f"a model that answers with the first gold everywhere has {name} {found:.4g}, not {best:g}"
                yield Cases(ids=["*"] * len(values)).finding("best-score-unreachable", Severity.WARNING, message, of=len(values))

"""Models that judge answers: what they are asked about a task, and the marks that follow from their replies."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_lighteval.common.progress_log import PROGRESS
from pytest_lighteval.comparison.agreement import agreement, corrected_mean, pseudo_values
from pytest_lighteval.comparison.win_rates import win_rate_interval
from pytest_lighteval.errors import GraderError, RequestsFailedError
from pytest_lighteval.graders.anchors import Anchors, answer_digest, labels
from pytest_lighteval.graders.golden_cases import pair_cases
from pytest_lighteval.graders.own_rubric import own_rubric
from pytest_lighteval.graders.pairwise import PAIR_METRICS, PAIR_RUBRIC, game, pair_conversations
from pytest_lighteval.graders.preflight import Preflight, cases_for, preflight
from pytest_lighteval.graders.rubrics import RUBRICS, Conversation, Parity, Rubric
from pytest_lighteval.graders.verdicts import Verdict
from pytest_lighteval.prompts.reasoning import DEFAULT_TAGS, answer_after_thoughts
from pytest_lighteval.types import (
    Answer,
    Backend,
    Doc,
    GenerateRequest,
    GenerateResponse,
    Grade,
    GraderKind,
    Mark,
    RequestKind,
    StructuredRequest,
    Task,
)

_FEW = 2
"""So many documents without a verdict are never too many."""
_LONGEST_SHOWN = 160
Opponent = Callable[[Task, Doc, int], tuple[str, ...]]
"""`(task, document, few-shot seed) -> the stored answer that ours is compared with`, turn by turn. Raises GraderError if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """How judges are asked, and when they are believed."""

    parity: Parity | None = None
    """None: this project's guards and parsers."""
    max_unparsed: float = 0.01
    """The share of documents that may have no verdict."""
    preflight: Literal["refuse", "warn"] = "refuse"
    anchors: Anchors | None = None
    opponent_name: str | None = None
    """What the stored answers of pairwise comparisons are of. None: there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """One reply of a judge."""

    judge: str
    text: str
    verdict: Verdict

    @property
    def facts(self) -> dict[str, Any]:
        facts = {"judge": self.judge, "reply": self.text, "status": self.verdict.status, "verdict": self.verdict.value}
        return facts if self.verdict.confidence is None else {**facts, "confidence": self.verdict.confidence}


@dataclass(slots=True, kw_only=True)
class _Judged:
    """An answer with the replies about it, as they come in."""

    answer: Answer
    rubric: Rubric
    conversations: tuple[Conversation, ...]
    """For each text, in order; of a pairwise comparison both orders."""
    replies: list[list[_Reply]] = field(default_factory=list)
    """For each conversation those of all judges, in their order."""
    error: str | None = None


class JudgeGrader:
    """One judge, or several: a jury.

    Every judge is asked about every answer. An answer's value is the mean over the replies that have a verdict: of all judges, and of all
    samples where a rubric samples. `grade` takes all answers before it asks, so that the model that gave them may be gone by then.

    Args:
        judges: The judges by name.
        settings: How they are asked.
        opponent: Stored answers, for the metrics that compare two. None: there are none.
    """

    kind: GraderKind = "judge"

    def __init__(self, judges: Mapping[str, Backend], settings: JudgeSettings | None = None, *, opponent: Opponent | None = None) -> None:
        self._judges, self._settings, self._opponent = dict(judges), settings or JudgeSettings(), opponent
        self._preflights: dict[tuple[str, str], Preflight] = {}
        """By judge and the digest of a rubric."""
        self._told: dict[str, dict[str, Any]] = {}
        """By task and metric, what its verdicts say of the judges."""

    def identity(self, task: Task) -> dict[str, str]:
        """The judges' fingerprints, and for each judged metric the digest of what they are told and the parser's version."""
        found = {f"judge {name}": backend.fingerprint for name, backend in sorted(self._judges.items())}
        for rubric in _rubrics_of(task).values():
            described = rubric.describe()
            found[rubric.name] = ", ".join(f"{name} {value}" for name, value in described.items())
        settings = self._settings
        if settings.parity is not None:
            found["parity"] = settings.parity
        if settings.anchors is not None:
            found["anchors"] = settings.anchors.digest
        if settings.opponent_name is not None and any(name in PAIR_METRICS for name in task.metrics):
            found["opponent"] = settings.opponent_name
        return found

    def grade(self, task: Task, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Grade]]:
        """See `Grader.grade`.

        Raises:
            GraderError: A judge cannot chat, does not pass the preflight, or may not be asked so often.
            RequestsFailedError: At the end: a judge gave too few verdicts.
        """
        taken = dict(sorted(answers, key=lambda pair: pair[0]))
        if not taken:
            return
        rubrics = _rubrics_of(task)
        for rubric in {rubrics[answer.metric].name: rubrics[answer.metric] for answer in taken.values()}.values():
            self._check_judges(rubric)
        judged = {index: self._prepared(task, answer, rubrics[answer.metric]) for index, answer in taken.items()}
        anchored = self._anchor_answers(task, judged)
        self._ask(task, [*judged.values(), *anchored.values()])
        extra = self._anchored_values(task, judged, anchored)
        self._note_pairs(task, judged)
        for index, one in judged.items():
            yield index, self._grade(one, extra.get(index))
        self._check_unparsed(task, list(judged.values()))

    def describe(self) -> dict[str, Any]:
        """See `Grader.describe`: each judge with its facts, its use and how its preflight ended; each task with what its verdicts say."""
        judges: dict[str, Any] = {}
        notes: list[str] = []
        for name, backend in self._judges.items():
            facts = dict(backend.describe())
            notes += [f"judge {name!r}: {note}" for note in facts.pop("notes", ())]
            tests = {rubric: test for (judge, rubric), test in self._preflights.items() if judge == name}
            judges[name] = {
                "name": backend.name,
                "fingerprint": backend.fingerprint,
                **facts,
                "preflight": {
                    rubric: {"cases": test.cases, "missed": len(test.missed), "passed": test.passed} for rubric, test in tests.items()
                },
            }
            for rubric, test in tests.items():
                # a judge that is refused is told by the error of the task
                if not test.passed and self._settings.preflight == "warn":
                    notes.append(f"{test.problem(name, rubric)} (--judge-preflight warn)")
        settings = self._settings
        facts = {
            "judges": judges,
            "preflight": settings.preflight,
            "max_unparsed": settings.max_unparsed,
            **({"parity": settings.parity} if settings.parity else {}),
            **({"anchors": settings.anchors.digest} if settings.anchors else {}),
            **({"tasks": self._told} if self._told else {}),
        }
        return {**facts, **({"notes": notes} if notes else {})}

    def close(self) -> None:
        """Close the judges."""
        for backend in self._judges.values():
            backend.close()

    # ---------------------------------------------------------------------------------------------- what is asked

    def _prepared(self, task: Task, answer: Answer, rubric: Rubric) -> _Judged:
        if answer.metric in PAIR_METRICS:
            if self._opponent is None:
                raise GraderError(
                    f"{task.id}: {answer.metric} compares with stored answers: --judge-opponent RUN names the run that has them"
                )
            theirs = self._opponent(task, answer.doc, answer.few_shot_seed)
            told: tuple[Conversation, ...] = pair_conversations(answer.doc, answer.texts, theirs, rubric.guard)
        else:
            told = rubric.conversations(answer.doc, answer.texts, self._settings.parity)
            if len(told) != len(answer.texts):
                raise GraderError(
                    f"{task.id}: {answer.doc.id}: {answer.metric} judges {len(told)} turns, and {len(answer.texts)} are answered"
                )
        return _Judged(answer=answer, rubric=rubric, conversations=told)

    def _ask(self, task: Task, judged: Sequence[_Judged]) -> None:
        """Ask every judge about everything, one call of its backend each."""
        for one in judged:
            one.replies = [[] for _ in one.conversations]
        places = [(one, turn) for one in judged for turn in range(len(one.conversations))]
        for name, backend in self._judges.items():
            requests = [_request(one.conversations[turn], one.rubric) for one, turn in places]
            PROGRESS.info("%s: judge %r reads %d answers", task.id, name, len(requests))
            answered = dict(backend.generate(requests))
            if len(answered) < len(requests):
                raise RequestsFailedError(f"judge {name!r} answered {len(answered)} of {len(requests)} requests")
            for position, (one, turn) in enumerate(places):
                response = answered[position]
                if response.error is not None:
                    one.error = one.error or f"judge {name!r}: {response.error}"
                    continue
                if response.truncated_tokens:
                    # it may not have seen what it was to judge
                    one.error = one.error or f"judge {name!r}: its prompt was cut by {response.truncated_tokens} tokens to fit its length"
                    continue
                one.replies[turn] += self._replies(name, response, one.rubric)

    def _replies(self, judge: str, response: GenerateResponse, rubric: Rubric) -> list[_Reply]:
        reasons = response.empty_reasons or ("",) * len(response.texts)
        replies = []
        for text, why_empty in zip(response.texts, reasons, strict=True):
            said = answer_after_thoughts(text, DEFAULT_TAGS).text
            verdict = rubric.verdict(text if self._settings.parity else said, self._settings.parity)
            if verdict.value is None and "refused" in why_empty:
                verdict = Verdict(refused=True)
            replies.append(_Reply(judge=judge, text=text or why_empty, verdict=verdict))
        return replies

    def _check_judges(self, rubric: Rubric) -> None:
        """Let each judge pass the golden cases of a rubric, once. Raises GraderError for one that does not, if such are refused."""
        for name, backend in self._judges.items():
            if RequestKind.GENERATE not in backend.supports:
                raise GraderError(f"judge {name!r}: backend {backend.name!r} writes no texts")
            if (name, rubric.name) not in self._preflights:
                self._preflights[name, rubric.name] = self._preflight(name, backend, rubric)
            test = self._preflights[name, rubric.name]
            if not test.passed and self._settings.preflight == "refuse":
                raise GraderError(f"{test.problem(name, rubric.name)}; --judge-preflight warn uses it all the same")

    def _preflight(self, name: str, backend: Backend, rubric: Rubric) -> Preflight:
        """Ask the golden cases as answers are asked, but greedily, and read them with the parser of this project."""
        if rubric is PAIR_RUBRIC:
            conversations = [pair_conversations(case.doc, case.ours, case.theirs, rubric.guard)[0] for case in pair_cases()]
        else:
            conversations = [rubric.conversations(case.doc, case.answers, None)[-1] for case in cases_for(rubric)]
        requests = [_request(told, rubric, repeats=1) for told in conversations]
        verdicts: dict[int, Verdict] = {}
        for position, response in backend.generate(requests):
            if response.error is not None:
                raise GraderError(f"judge {name!r} failed on a golden case: {response.error}")
            verdicts[position] = rubric.read(answer_after_thoughts(response.texts[0], DEFAULT_TAGS).text)
        return preflight(rubric, [verdicts[position] for position in range(len(requests))])

    # ---------------------------------------------------------------------------------------------- what follows

    def _grade(self, one: _Judged, anchored: float | None) -> Grade:
        if one.error is not None:
            return Grade(error=one.error)
        extra = {} if anchored is None else {"anchored": anchored}
        if one.answer.metric in PAIR_METRICS:
            mark = _pair_mark(one)
            return Grade(marks=tuple(Mark(value=mark.value, outcome=mark.outcome, facts={**mark.facts, **extra}) for _ in one.answer.texts))
        return Grade(
            marks=tuple(
                Mark(
                    value=combined(one.rubric, [reply.verdict for reply in replies]),
                    outcome=_outcome(replies),
                    facts={"replies": [reply.facts for reply in replies], **extra},
                )
                for replies in one.replies
            )
        )

    def _check_unparsed(self, task: Task, judged: Sequence[_Judged]) -> None:
        """Raise RequestsFailedError if a judge gave no verdict on too many documents."""
        documents = len({(one.answer.doc.id, one.answer.few_shot_seed) for one in judged})
        for name in self._judges:
            counts: Counter[str] = Counter()
            lacking = set()
            first = ""
            for one in judged:
                for reply in (reply for replies in one.replies for reply in replies if reply.judge == name):
                    if reply.verdict.value is None and not _is_left_out(one.rubric, self._settings.parity):
                        counts[reply.verdict.status] += 1
                        lacking.add((one.answer.doc.id, one.answer.few_shot_seed))
                        first = first or f"{one.answer.doc.id}: {_shown(reply.text)}"
            # no verdict at all is no score, however few documents there are
            is_few = len(lacking) <= (_FEW if len(lacking) < documents else 0)
            if not is_few and len(lacking) > self._settings.max_unparsed * documents:
                what = " and ".join(f"{count} {status}" for status, count in sorted(counts.items(), reverse=True))
                raise RequestsFailedError(
                    f"judge {name!r} gave no verdict on {len(lacking)} of {documents} documents ({what} replies); at most "
                    f"{self._settings.max_unparsed:.3g} of them may lack one (--judge-max-unparsed); the first is {first}"
                )

    # ---------------------------------------------------------------------------------------------- people's verdicts

    def _anchor_answers(self, task: Task, judged: Mapping[int, _Judged]) -> dict[tuple[str, str, str], _Judged]:
        """Answers of others that people judged, to be read by the judges too: by metric, document and digest."""
        found: dict[tuple[str, str, str], _Judged] = {}
        anchors = self._settings.anchors
        if anchors is None:
            return found
        for one in judged.values():
            metric, doc = one.answer.metric, one.answer.doc
            if one.answer.few_shot_seed or metric in PAIR_METRICS:
                continue
            own = answer_digest(one.answer.texts)
            for anchor in anchors.of(task.id, _anchored_name(metric)):
                if anchor.document == doc.id and anchor.digest != own and anchor.answer is not None:
                    if len(anchor.answer) != len(one.answer.texts):
                        raise GraderError(
                            f"{anchors.path}: {doc.id}: the answer has {len(anchor.answer)} turns, not {len(one.answer.texts)}"
                        )
                    answer = Answer(metric=metric, doc=doc, few_shot_seed=0, texts=anchor.answer)
                    found[metric, doc.id, anchor.digest] = self._prepared(task, answer, one.rubric)
        return found

    def _anchored_values(
        self, task: Task, judged: Mapping[int, _Judged], others: Mapping[tuple[str, str, str], _Judged]
    ) -> dict[int, float]:
        """For each answer the value that makes the plain mean the corrected one; and the agreement, for `describe`."""
        anchors, values = self._settings.anchors, dict[int, float]()
        if anchors is None:
            return values
        for metric in dict.fromkeys(one.answer.metric for one in judged.values()):
            name = _anchored_name(metric)
            own = {index: one for index, one in judged.items() if one.answer.metric == metric and not one.answer.few_shot_seed}
            verdicts = anchors.of(task.id, name)
            if not verdicts or metric in PAIR_METRICS:
                continue
            people = labels(verdicts, {one.answer.doc.id: answer_digest(one.answer.texts) for one in own.values()})
            scored = {index: value for index, one in own.items() if (value := _document_value(one)) is not None}
            person = [people.get(own[index].answer.doc.id) for index in scored]
            pairs = [(value, y) for value, y in zip(scored.values(), person, strict=True) if y is not None]
            for anchor in verdicts:
                other = others.get((metric, anchor.document, anchor.digest))
                if other is not None and (value := _document_value(other)) is not None:
                    pairs.append((value, anchor.verdict))
            told: dict[str, Any] = {"verdicts": len(verdicts), "compared": len(pairs)}
            if pairs:
                rubric = next(iter(own.values())).rubric
                near = 0.5 if (rubric.high - rubric.low) / rubric.unit > 1 else 0.1
                found = agreement([f for f, _ in pairs], [y for _, y in pairs], near=near)
                told |= {"agreement": found.agreement, "kappa": found.kappa, "bias": found.bias}
            corrected = corrected_mean(list(scored.values()), person)
            if corrected is not None:
                told |= {
                    "corrected": corrected.value,
                    "stderr": corrected.stderr,
                    "low": corrected.low,
                    "high": corrected.high,
                    "labelled": corrected.labelled,
                    "of": corrected.n,
                }
                values |= dict(zip(scored, pseudo_values(list(scored.values()), person), strict=True))
            self._told.setdefault(task.id, {})[name] = told
        return values

    def _note_pairs(self, task: Task, judged: Mapping[int, _Judged]) -> None:
        """The win rate with its interval, and how often the order decided, for `describe`."""
        for metric in PAIR_METRICS:
            games = [_game(one) for one in judged.values() if one.answer.metric == metric and one.error is None]
            known = [played for played in games if played is not None]
            if known:
                scores = [played.score for played in known]
                low, high = win_rate_interval(scores)
                self._told.setdefault(task.id, {})["win_rate"] = {
                    "games": len(known),
                    "win_rate": math.fsum(scores) / len(scores),
                    "low": low,
                    "high": high,
                    "wins": scores.count(1.0),
                    "losses": scores.count(0.0),
                    "inconsistent": sum(not played.is_consistent for played in known) / len(known),
                    "against": self._settings.opponent_name,
                }


def combined(rubric: Rubric, verdicts: Sequence[Verdict]) -> Any:
    """What several verdicts on one text say together, in the metric's unit. None: none of them has a value."""
    values = [verdict for verdict in verdicts if verdict.value is not None]
    if not values:
        return None
    if rubric.kind == "grade":
        return tuple(sum(verdict.value == grade for verdict in values) / len(values) for grade in "ABC")
    mean = math.fsum(float(verdict.value or 0) for verdict in values) / len(values) / rubric.unit
    if rubric.kind == "right":
        stated = [verdict.confidence for verdict in values if verdict.confidence is not None]
        return mean, math.fsum(stated) / len(stated) if stated else None
    return mean


def _rubrics_of(task: Task) -> dict[str, Rubric]:
    """By metric, of those that a judge grades."""
    own = {spec.name: spec for spec in task.judges}
    found: dict[str, Rubric] = {}
    for name in task.metrics:
        if name in own:
            found[name] = own_rubric(own[name])
        elif name in PAIR_METRICS:
            found[name] = PAIR_RUBRIC
        elif name in RUBRICS:
            found[name] = RUBRICS[name]
    return found


def _request(conversation: Conversation, rubric: Rubric, *, repeats: int | None = None) -> GenerateRequest:
    samples = rubric.repeats if repeats is None else repeats
    asked: dict[str, Any] = {
        "prompt": conversation,
        "max_new_tokens": rubric.max_new_tokens,
        "num_samples": samples,
        "do_sample": samples > 1,
    }
    if rubric.schema is None:
        return GenerateRequest(**asked)
    return StructuredRequest(**asked, schema=json.dumps(rubric.schema, sort_keys=True))


def _outcome(replies: Sequence[_Reply]) -> str:
    """`judged`, or why there is no verdict."""
    statuses = [reply.verdict.status for reply in replies]
    if "value" in statuses:
        return "judged"
    return "refused" if statuses and set(statuses) == {"refused"} else "unparsed"


def _is_left_out(rubric: Rubric, parity: Parity | None) -> bool:
    """Whether the benchmark's own script leaves a reply out of the mean that it cannot read."""
    return parity is not None and parity in rubric.parity


def _game(one: _Judged) -> Any:
    """The game of the first judge that gave both verdicts; of a jury, the majority is the mean of all games."""
    games = [game(first.verdict, second.verdict) for first, second in zip(*one.replies, strict=False)]
    known = [played for played in games if played is not None]
    if not known:
        return None
    score = math.fsum(played.score for played in known) / len(known)
    return type(known[0])(score=score, is_consistent=all(played.is_consistent for played in known))


def _pair_mark(one: _Judged) -> Mark:
    played = _game(one)
    facts = {"replies": [[reply.facts for reply in replies] for replies in one.replies]}
    if played is None:
        return Mark(
            value=None,
            outcome=_outcome([reply for replies in one.replies for reply in replies if reply.verdict.value is None]),
            facts=facts,
        )
    return Mark(value=played.score, outcome="judged", facts={**facts, "is_consistent": played.is_consistent})


def _document_value(one: _Judged) -> float | None:
    """The value of a document that people's verdicts are compared with: the mean over its turns. None: there is no verdict."""
    if one.error is not None:
        return None
    values = [combined(one.rubric, [reply.verdict for reply in replies]) for replies in one.replies]
    numbers = [value[0] if isinstance(value, tuple) else value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _anchored_name(metric: str) -> str:
    """The reported name that people's verdicts are about."""
    return _REPORTED.get(metric, metric)


_REPORTED = {
    "hle_metrics": "accuracy",
    "hle_metrics_lighteval": "accuracy",
    "llm_judge_mixeval_flow": "judge_score_flow",
    "llm_judge_mixeval_flow#1": "judge_score_flow",
    "llm_judge_mixeval_gpt3": "judge_score_gpt-3.5",
    "llm_judge_mixeval_gpt3#1": "judge_score_gpt-3.5",
}


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}...")

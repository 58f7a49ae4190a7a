"""A task's documents as a page holds them: columns for its tables and plots, and texts in blocks that are unpacked when they are read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_lighteval.reports.page.data import Number, PageAnswer, PageDocument, PageExchange, PageResponse, PageTask

BLOCK = 200
"""Documents whose texts are unpacked together: a few milliseconds, and enough of them to compress well."""
_BLOCK_CHARACTERS = 2_000_000
"""A block of long texts has fewer documents."""

_QUESTION, _ANSWER = 140, 80
"""Characters of a row in the table."""

TRUNCATED, CUT, ERROR, NOT_JUDGED, EMPTY, REFUSED, THOUGHTS = (1 << bit for bit in range(7))
"""Marks of a document, added up in the column `marks`; base.js has the same."""


class TaskColumns:
    """What the page's tables and plots know of every document of a task; each list has one entry per document.

    `lead`: log-probability of the best right choice less that of the best wrong one, in nats. `confidence`: what the preferred choice has
    of the softmax over all choices. `asked`, `written`: tokens of the prompt with its choices, and of the texts. None: unknown.
    """

    def __init__(self) -> None:
        self.id: list[str] = []
        self.seed: list[int] = []
        self.question: list[str] = []
        self.gold: list[str] = []
        self.answer: list[str] = []
        self.scores: dict[str, list[Number | None]] = {}
        self.marks: list[int] = []
        self.lead: list[float | None] = []
        self.confidence: list[float | None] = []
        self.asked: list[int | None] = []
        self.written: list[int | None] = []
        self.characters: list[int | None] = []

    def add(self, document: PageDocument) -> None:
        """Add the row of a document."""
        number = len(self.id)
        question = document.doc
        self.id.append(document.id)
        self.seed.append(document.few_shot_seed)
        self.question.append(_short(question.query.removeprefix(question.instruction), _QUESTION))
        self.gold.append(_short(" / ".join(_golds(document)), _ANSWER))
        self.answer.append(_short(_answer_text(document), _ANSWER))
        for name, value in document.scores.items():
            column = self.scores.setdefault(name, [None] * number)
            column += [None] * (number - len(column))
            column.append(value if isinstance(value, int | float | str) else None)
        self.marks.append(_marks(document))
        lead, confidence = _certainty(document)
        self.lead.append(lead)
        self.confidence.append(confidence)
        asked, written, characters = _sizes(document)
        self.asked.append(asked)
        self.written.append(written)
        self.characters.append(characters)

    def plain(self) -> dict[str, Any]:
        """For JSON; what no document has is left out."""
        count = len(self.id)
        columns = {
            "id": self.id,
            "question": self.question,
            "gold": self.gold,
            "answer": self.answer,
            "marks": self.marks,
            "scores": {name: column + [None] * (count - len(column)) for name, column in self.scores.items()},
        }
        sparse: dict[str, list[Any]] = {
            "lead": self.lead,
            "confidence": self.confidence,
            "asked": self.asked,
            "written": self.written,
            "characters": self.characters,
        }
        columns |= {name: column for name, column in sparse.items() if any(value is not None for value in column)}
        return columns | ({"seed": self.seed} if any(self.seed) else {})


class TextBlock:
    """The texts of some documents. A paragraph that several prompts share, such as a few-shot example, is held once."""

    def __init__(self) -> None:
        self._paragraphs: dict[str, int] = {}
        self._characters = 0
        self.documents: list[dict[str, Any]] = []

    @property
    def is_full(self) -> bool:
        """Whether the next document begins another block."""
        return len(self.documents) >= BLOCK or self._characters >= _BLOCK_CHARACTERS

    def add(self, document: PageDocument) -> None:
        """Add the texts of a document."""
        question = document.doc
        self._characters += sum(sum(map(len, response.texts)) for _, response in _responses(document)) + sum(map(len, question.choices))
        entry: dict[str, Any] = {"choices": question.choices, "golds": question.gold, **self._prompt(document)}
        if document.few_shot_ids:
            entry["examples"] = document.few_shot_ids
        if document.extracted:
            entry["extracted"] = document.extracted
        entry["answers"] = {ask: _plain_answer(answer, question.choices) for ask, answer in document.answers.items()}
        odd = {name: value for name, value in document.scores.items() if value is not None and not isinstance(value, int | float | str)}
        turns = [_exchange(turn) for turn in document.turns]
        optional = {"values": odd, "error": document.error, "not_judged": document.not_judged, "grades": document.grades, "asked": turns}
        self.documents.append(entry | {name: value for name, value in optional.items() if value})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"paragraphs": list(self._paragraphs), "documents": self.documents}

    def _prompt(self, document: PageDocument) -> dict[str, Any]:
        """`before` and `own`: what comes before the question, as places of paragraphs, and the question. Of turns: all, and a number."""
        prompt = document.prompt
        if not isinstance(prompt, str):
            turns = [[turn.role, self._places(turn.content)] for turn in prompt]
            return {"turns": turns}
        own = document.doc.query.removeprefix(document.doc.instruction)
        start = prompt.rfind(own.strip()) if own.strip() else -1
        self._characters += len(prompt) - max(start, 0)
        return {"before": self._places(prompt[: max(start, 0)]), "own": prompt[max(start, 0) :]}

    def _places(self, text: str) -> list[int]:
        paragraphs = self._paragraphs
        known = len(paragraphs)
        *pieces, last = text.split("\n\n")
        places = [paragraphs.setdefault(f"{piece}\n\n", len(paragraphs)) for piece in pieces]
        if last:
            places.append(paragraphs.setdefault(last, len(paragraphs)))
        if len(paragraphs) > known:
            self._characters += sum(map(len, itertools.islice(paragraphs, known, None)))
        return places


def packed(task: PageTask) -> Iterator[TextBlock | TaskColumns]:
    """The blocks of texts of a task in order, then its columns."""
    columns, block = TaskColumns(), TextBlock()
    for document in task.documents:
        columns.add(document)
        block.add(document)
        if block.is_full:
            yield block
            block = TextBlock()
    if block.documents:
        yield block
    yield columns


def _short(text: str, limit: int) -> str:
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def _golds(document: PageDocument) -> list[str]:
    choices = document.doc.choices
    return [choices[place] for place in document.doc.gold if place < len(choices)]


def _responses(document: PageDocument) -> Iterator[tuple[PageAnswer, PageResponse]]:
    return ((answer, answer.response) for answer in document.answers.values() if answer.response is not None)


def _ranked(document: PageDocument) -> tuple[tuple[str, ...], list[float]] | None:
    """The choices of a document with their log-probabilities. None: the model was not asked for them all."""
    for ask in ("choices", "choices_pmi"):
        answer = document.answers.get(ask)
        if answer is None or answer.response is None:
            continue
        choices = answer.request.choices or document.doc.choices
        logprobs = [float(logprob) for logprob in answer.response.logprobs]
        if len(choices) == len(logprobs) > 0 and not any(map(math.isnan, logprobs)):
            return choices, logprobs
    return None


def _answer_text(document: PageDocument) -> str:
    if document.error is not None:
        return document.error
    ranked = _ranked(document)
    if ranked is not None:
        choices, logprobs = ranked
        return choices[max(range(len(choices)), key=logprobs.__getitem__)]
    for answer, response in _responses(document):
        if texts := answer.scored_texts or response.texts:
            return texts[0]
        if response.logprob is not None:
            return f"{float(response.logprob):.2f} nats, {response.token_count} tokens"
        if response.greedy:
            return "the gold" if any(response.greedy) else "not the gold"
    return ""


def _marks(document: PageDocument) -> int:
    marks = TRUNCATED * document.truncated
    marks |= CUT * (document.cut_texts > 0)
    marks |= ERROR * (document.error is not None)
    marks |= NOT_JUDGED * bool(document.not_judged)
    marks |= THOUGHTS * (document.cut_in_thoughts > 0)
    for answer, response in _responses(document):
        texts = answer.scored_texts or response.texts
        marks |= EMPTY * (bool(texts) and not any(text.strip() for text in texts))
        marks |= REFUSED * any("refus" in reason for reason in response.empty_reasons)
    return marks


def _certainty(document: PageDocument) -> tuple[float | None, float | None]:
    ranked = _ranked(document)
    if ranked is None or len(ranked[1]) < 2:
        return None, None
    logprobs = ranked[1]
    golds = set(document.doc.gold)
    right = [logprob for place, logprob in enumerate(logprobs) if place in golds]
    wrong = [logprob for place, logprob in enumerate(logprobs) if place not in golds]
    best = max(logprobs)
    lead = max(right) - max(wrong) if right and wrong else math.nan
    confidence = 1 / math.fsum(math.exp(logprob - best) for logprob in logprobs) if math.isfinite(best) else math.nan
    return _rounded(lead), _rounded(confidence)


def _rounded(number: float) -> float | None:
    return float(f"{number:.5g}") if math.isfinite(number) else None


def _sizes(document: PageDocument) -> tuple[int | None, int | None, int | None]:
    asked = written = characters = 0
    knows_asked = knows_written = has_text = False
    for _, response in _responses(document):
        prompt = bytes(response.prompt_token_ids)
        if prompt != b"null":
            knows_asked = True
            asked += _length(prompt)
        if response.token_counts or response.token_count:
            knows_asked = True
            asked += sum(response.token_counts) + response.token_count
        if response.texts:
            has_text = True
            characters += sum(map(len, response.texts))
        if response.token_ids is not None:
            knows_written = True
            written += sum(_length(bytes(ids)) for ids in response.token_ids)
    return asked if knows_asked else None, written if knows_written else None, characters if has_text else None


def _length(array: bytes) -> int:
    """Members of a JSON array of numbers, without making them."""
    return array.count(b",") + (len(array.strip(b"[] \n")) > 0)


def _exchange(turn: PageExchange) -> list[str]:
    """What was asked last, and the reply."""
    prompt = turn.request.prompt
    asked = prompt if isinstance(prompt, str) else prompt[-1].content if prompt else ""
    return [asked, *(turn.response.texts if turn.response is not None else ())]


def _plain_answer(answer: PageAnswer, choices: tuple[str, ...]) -> dict[str, Any]:
    request, response = answer.request, answer.response
    if response is None:
        return {}
    plain: Mapping[str, Any] = {
        "choices": None if request.choices == choices else request.choices,
        "logprobs": response.logprobs,
        "greedy": [place for place, is_greedy in enumerate(response.greedy) if is_greedy],
        "counts": response.token_counts,
        "unconditioned": response.unconditioned_logprobs,
        "texts": response.texts,
        "scored": answer.scored_texts,
        "tokens": None if response.token_ids is None else [_length(bytes(ids)) for ids in response.token_ids],
        "ends": response.finish_reasons,
        "why_empty": response.empty_reasons,
        "limit": request.max_new_tokens,
        "stops": request.stop_sequence,
        "logprob": response.logprob,
        "count": response.token_count,
        "cut": response.truncated_tokens,
        "error": response.error,
    }
    return {name: value for name, value in plain.items() if value not in (None, (), [], 0) or (name == "logprob" and value is not None)}

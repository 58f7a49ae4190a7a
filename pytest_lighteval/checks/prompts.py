"""Faults of whole prompts: few-shot examples that are the document, and prompts that are longer than the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_lighteval.asking import PromptedDoc
from pytest_lighteval.checks.findings import Cases, shown
from pytest_lighteval.checks.oracle import Tokens
from pytest_lighteval.types import Doc, Finding, GenerateRequest, LoglikelihoodRequest, Severity


def content(doc: Doc) -> tuple[str, ...]:
    """What a document asks and what is right, without case, white space and instruction, and in any order of choices."""
    texts = (doc.query.removeprefix(doc.instruction), *sorted(doc.choices), *sorted(doc.golds))
    return tuple(" ".join(text.split()).casefold() for text in texts)


@dataclass(slots=True, kw_only=True)
class PromptCheck:
    """Looks at the prompts of one few-shot count, one after the other."""

    tokens: Tokens
    few_shots: int
    order: Mapping[str, int]
    """Document -> its place in the stored order, in which examples are told."""
    _own: dict[str, str] = field(default_factory=dict)
    _long: dict[str, str] = field(default_factory=dict)
    _prompts: int = 0
    _shots: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The content of each example, most of which stand in many prompts."""

    def look(self, prompted: PromptedDoc) -> None:
        """Look at one prompt, of any few-shot seed."""
        doc = prompted.doc
        self._prompts += prompted.few_shot_seed == 0
        if prompted.shots and doc.id not in self._own:
            asked = content(doc)
            twin = next((shot for shot in prompted.shots if self._content(shot) == asked), None)
            if twin is not None:
                self._own[doc.id] = f"example {twin.id} is the document: {shown(doc.query)}"
        limit = self.tokens.max_length
        if limit is not None and doc.id not in self._long:
            length, room = self._length(prompted)
            if length + room > limit:
                self._long[doc.id] = f"{length} tokens, and {room} for the answer"

    def _content(self, shot: Doc) -> tuple[str, ...]:
        if shot.id not in self._shots:
            self._shots[shot.id] = content(shot)
        return self._shots[shot.id]

    def _length(self, prompted: PromptedDoc) -> tuple[int, int]:
        """Tokens of the prompt and of the longest answer."""
        length, room = 0, 0
        for request in prompted.requests.values():
            if isinstance(request, GenerateRequest):
                length = max(length, self.tokens.count_tokens(request.prompt) or 0)
                room = max(room, request.max_new_tokens or 1)
            elif isinstance(request, LoglikelihoodRequest):
                length = max(length, self.tokens.count_tokens(request.prompt) or 0)
                room = max(room, *(self.tokens.count_tokens(choice) or 0 for choice in request.choices))
        return length, room

    def findings(self) -> Iterator[Finding]:
        """What was found, over all prompts."""
        at = f" at {self.few_shots} few-shot examples"
        if self._own:
            yield self._cases(self._own).finding(
                "example-is-document", Severity.ERROR, f"the prompt shows the document with its answer{at}", of=self._prompts
            )
        if self._long:
            message = (
                f"prompt and answer are longer than the {self.tokens.max_length} tokens of the model{at}: the prompt is cut on its left"
            )
            yield self._cases(self._long).finding("prompt-too-long", Severity.WARNING, message, of=self._prompts)

    def _cases(self, by_doc: Mapping[str, str]) -> Cases:
        cases = Cases()
        for doc_id in sorted(by_doc, key=self.order.__getitem__):
            cases.add(doc_id, by_doc[doc_id])
        return cases


def overlap_finding(docs: Sequence[Doc], pool: Sequence[Doc]) -> Iterator[Finding]:
    """Documents that are among the examples of another split too, whether or not one of them is drawn."""
    known = {content(doc): doc.id for doc in reversed(pool)}
    cases = Cases()
    for doc in docs:
        twin = known.get(content(doc))
        if twin is not None:
            cases.add(doc.id, f"the same as {twin}", f"query {shown(doc.query)}")
    if cases.ids:
        yield cases.finding(
            "document-among-examples", Severity.NOTE, "the split of the few-shot examples has the document too", of=len(docs)
        )

"""Judges for tests: models whose verdicts follow a rule, in the form that they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_lighteval.errors import BackendError
from pytest_lighteval.graders.golden_cases import golden_cases
from pytest_lighteval.types import (
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    RequestKind,
    StructuredRequest,
)

_CASES = [case for family in ("grades", "options", "arabic") for case in golden_cases(family, turns=True)]
RIGHT = {case.answers[-1] for case in _CASES if case.expected == "right"}
SILENT = {case.answers[-1] for case in golden_cases("grades") if case.expected == "not attempted"}


def knows(answer: str) -> str:
    """`right`, `wrong` or `not attempted`: it knows the golden cases, and other answers are right if they say good."""
    if any(text in answer for text in SILENT):
        return "not attempted"
    return "right" if "good" in answer or any(text == answer or f"\n{text}\n" in answer for text in RIGHT) else "wrong"


def written(prompt: str, said: str, request: GenerateRequest) -> str:
    """The verdict in the form that a prompt asks for."""
    if "nothing but the verdict: [[A]]" in prompt:
        return f"Reasons.\n[[{'A' if said == 'right' else 'B'}]]"
    if isinstance(request, StructuredRequest) and "correct" in request.schema:
        return json.dumps({"correct": "yes" if said == "right" else "no", "confidence": 80})
    if isinstance(request, StructuredRequest):
        return json.dumps({"reasons": "...", "score": 1 if said == "right" else 0})
    if "Just return the letters" in prompt:
        return {"right": "A", "wrong": "B", "not attempted": "C"}[said]
    if "<score> tags" in prompt:
        low, high = (0, 1) if "score 0:" in prompt else (1, 5)
        return f"<feedback>...</feedback>\n<score>\n{high if said == 'right' else low}\n</score>"
    if "من 0 إلى 10" in prompt:
        return "9" if said == "right" else "1"
    high = 10 if "scale of 1 to 10" in prompt else 1
    if "from 1 to 5" in prompt:
        high = 5
    return f"Reasons. Rating: [[{high if said == 'right' else (0 if high == 1 else 1)}]]"


class Judge:
    """A judge whose verdict on an answer is a function of the text between the marks of its prompt."""

    name = "scripted"
    supports = frozenset((RequestKind.GENERATE,))
    max_length = None
    cacheable = True

    def __init__(self, says: Callable[[str], str] = knows, *, reply: Callable[[str, str], str | None] | None = None) -> None:
        """`reply`: given the prompt and what it would write, something else; None: what it would write."""
        self.says, self.reply, self.is_other = says, reply or (lambda prompt, text: None), reply is not None
        self.asked: list[str] = []
        self.is_closed = False

    @property
    def fingerprint(self) -> str:
        return "-".join(["scripted", self.says.__name__, *(["other"] if self.is_other else [])])

    def count_tokens(self, prompt: Prompt) -> int | None:
        return None

    def render(self, messages: Sequence[Message]) -> str | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {"model": "scripted"}

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        if self.is_closed:
            raise BackendError("the judge is closed")
        for index, request in enumerate(requests):
            assert not isinstance(request.prompt, str)
            prompt = "\n".join(turn.content for turn in request.prompt)
            self.asked.append(prompt)
            text = written(prompt, self.says(answer_in(prompt)), request)
            said = self.reply(prompt, text)
            texts = (text if said is None else said,) * request.num_samples
            yield index, GenerateResponse(texts=texts, token_ids=((1, 2, 3),) * len(texts), prompt_token_ids=(1,) * 10)

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        raise AssertionError

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        raise AssertionError

    def close(self) -> None:
        self.is_closed = True


_MARKS = (
    ("<candidate_answer>\n", "\n</candidate_answer>"),
    ("<answer_a>\n", "\n</answer_a>"),
    ("[The Start of Assistant's Answer]\n", "\n[The End of Assistant's Answer]"),
    ("<output>\n", "\n</output>"),
)


def answer_in(prompt: str) -> str:
    """The answer that a prompt is about."""
    if "### Assistant A:\n" in prompt:
        return prompt.rpartition("### Assistant A:\n")[2].partition("\n\n<|The End")[0]
    for begin, end in _MARKS:
        if begin in prompt:
            return prompt.rpartition(begin)[2].partition(end)[0]
    return prompt

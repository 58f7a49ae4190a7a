"""Answers that a model gave before, as a backend: requests in, the same responses out. Asks nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from pytest_lighteval.backends.delegating import AnyRequest, AnyResponse, DelegatingBackend
from pytest_lighteval.errors import BackendError, DataError
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.reports.json_report import read_results
from pytest_lighteval.types import (
    Ask,
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Request,
    RequestKind,
    Response,
    TaskKey,
)

Answers = Mapping[Request, Response]
_TYPES: Mapping[RequestKind, tuple[type[Any], type[Any]]] = {
    RequestKind.GENERATE: (GenerateRequest, GenerateResponse),
    RequestKind.LOGLIKELIHOOD: (LoglikelihoodRequest, LoglikelihoodResponse),
    RequestKind.PERPLEXITY: (PerplexityRequest, PerplexityResponse),
}


def read_answers(folder: Path, key: TaskKey) -> dict[Request, Response]:
    """What a run's details hold of a task: every request with its response.

    Args:
        folder: The run's.
        key: Of the task.

    Raises:
        DataError: There are no details of the task, or a line is none.
    """
    path = details_path(folder, key)
    found: dict[Request, Response] = {}
    for number, line in enumerate(_lines(path, key), start=1):
        try:
            entry = json.loads(line)
            prompt = _prompt(entry["prompt"])
            for ask, answer in entry["answers"].items():
                kind = Ask(ask).kind
                if ask == Ask.TURNS and entry.get("turns"):
                    continue  # it is the texts of all turns, none of which was asked so
                if entry.get("turns") and kind is RequestKind.GENERATE:
                    continue
                _keep(found, kind, {"prompt": prompt, **answer["request"]}, answer["response"])
            for turn in entry.get("turns", ()):
                _keep(found, RequestKind.GENERATE, turn["request"], turn["response"])
        except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            raise DataError(f"{path}:{number}: is no line of details: {error}") from error
    return found


def stored_texts(folder: Path, key: TaskKey) -> dict[tuple[str, int], tuple[str, ...]]:
    """The answers of a run to a task, as its metrics scored them: (document, few-shot seed) -> texts, turn by turn.

    Raises DataError as `read_answers` does.
    """
    path = details_path(folder, key)
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for number, line in enumerate(_lines(path, key), start=1):
        try:
            entry = json.loads(line)
            for ask in (Ask.TURNS, Ask.GENERATION):
                answer = entry["answers"].get(ask.value)
                if answer is not None and answer["response"] and not answer["response"].get("error"):
                    texts = answer.get("scored_texts") or answer["response"]["texts"]
                    found.setdefault((entry["id"], entry["few_shot_seed"]), tuple(map(str, texts)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:{number}: is no line of details: {error}") from error
    return found


def _lines(path: Path, key: TaskKey) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except OSError as error:
        raise DataError(f"{key}: there are no stored answers: {path}: {error.strerror}") from error


def _prompt(plain: Any) -> Prompt:
    return plain if isinstance(plain, str) else tuple(Message(**turn) for turn in plain)


def _keep(found: dict[Request, Response], kind: RequestKind, request: Mapping[str, Any], response: Any) -> None:
    request_type, response_type = _TYPES[kind]
    fields = {name: value for name, value in request.items() if kind is not RequestKind.PERPLEXITY or name != "prompt"}
    if "prompt" in fields:
        fields["prompt"] = _prompt(fields["prompt"]) if isinstance(fields["prompt"], list) else fields["prompt"]
    prompts = {name: fields.pop(name) for name in ("prompt", "unconditioned_prompt") if name in fields}
    if isinstance(prompts.get("unconditioned_prompt"), list):
        prompts["unconditioned_prompt"] = _prompt(prompts["unconditioned_prompt"])
    sent = request_type(**prompts, **{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
    # numbers that are not finite are texts in JSON
    found[sent] = msgspec.convert(response, response_type, strict=False)


class StoredAnswers(DelegatingBackend):
    """The answers of one task, with the facts of the model that gave them.

    Args:
        model: Who gave them; it is asked for nothing but facts, and what its prompts look like.
        answers: Read when the first request comes, after all prompts are made.
        where: How messages call the place of the answers.
        release: Called before: the model is not needed any more.
    """

    cacheable = False

    def __init__(self, model: Backend, answers: Callable[[], Answers], *, where: str, release: Callable[[], None] = lambda: None) -> None:
        super().__init__(model)
        self._read, self._where, self._release = answers, where, release
        self._answers: Answers | None = None

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        if self._answers is None:
            self._release()
            self._answers = self._read()
        for index, request in enumerate(requests):
            known = self._answers.get(request)
            problem = f"{self._where} has no answer to this request: another prompt, system prompt, length or chat template was asked"
            yield index, kind(error=problem) if known is None else cast("AnyResponse", known)


class SharedAnswers(StoredAnswers):
    """The answers of a part of a task (`--shard`): what is not there belongs to another part."""

    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        for index, response in super()._answer(requests, kind):
            if response.error is None or requests[index] in (self._answers or {}):
                yield index, response


class StoredRun:
    """An earlier run in the place of a model (`--judge-answers`): who answered, and what, task by task.

    Args:
        folder: The run's.

    Raises:
        DataError: Its results.json cannot be read, or does not say who answered.
    """

    cacheable = False
    supports = frozenset(RequestKind)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        results = read_results(folder / "results.json")
        facts = results.get("backend")
        if not isinstance(facts, dict) or not isinstance(facts.get("name"), str) or not isinstance(facts.get("fingerprint"), str):
            raise DataError(f"{folder / 'results.json'}: does not say which model answered")
        self._facts = facts
        self.name: str = facts["name"]
        self.fingerprint: str = facts["fingerprint"]
        length = facts.get("max_length")
        self.max_length: int | None = length if isinstance(length, int) else None

    def answers_to(self, key: TaskKey) -> StoredAnswers:
        """The answers to one task. They are read when they are needed, which may raise DataError."""
        return StoredAnswers(self, lambda: read_answers(self._folder, key), where=str(self._folder.name))

    def count_tokens(self, prompt: Prompt) -> int | None:
        """Unknown: there is no tokenizer."""
        return None

    def render(self, messages: Sequence[Message]) -> str | None:
        """Unknown: there is no chat template."""
        return None

    def describe(self) -> Mapping[str, Any]:
        """What the run said of its model, and which run it is."""
        known = {name: fact for name, fact in self._facts.items() if name not in ("name", "fingerprint", "max_length", "use", "arguments")}
        return {**known, "answers_of": self._folder.name}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """Nobody is here to be asked."""
        raise self._nobody()

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """Nobody is here to be asked."""
        raise self._nobody()

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """Nobody is here to be asked."""
        raise self._nobody()

    def close(self) -> None:
        """Nothing is held."""

    def _nobody(self) -> BackendError:
        return BackendError(f"{self._folder}: a stored run answers only what it was asked, task by task")

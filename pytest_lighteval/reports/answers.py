"""What a model answered to chosen documents, read back from a run's details."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.details import details_path
from pytest_lighteval.types import TaskKey

_ID_END = b'","few_shot_seed":'
"""What follows the id at the start of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What a model answered to one document."""

    texts: tuple[str, ...] = ()
    """Generated texts, as they were scored. Empty: none was asked for."""
    golds: tuple[str, ...] = ()
    """The right answers."""
    choices: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Of the choices. Empty: the document is no multiple choice."""
    unconditioned_logprobs: tuple[float, ...] | None = None
    token_counts: tuple[int, ...] = ()
    num_cut: int = 0
    """Texts that ended at the limit of new tokens."""
    is_refused: bool = False
    """A text is empty for a reason that the server gave: the model refused, or only thought."""
    extracted: Mapping[str, str | None] | None = None
    """Metric -> the answer that it found in the text, None where it found none. None: the metrics extract nothing, or do not say what."""

    def choice(self, metric: str) -> str | None:
        """The choice that a metric of this reported name takes for the model's answer. None: no multiple choice."""
        values = self._values(metric)
        return self.choices[max(range(len(values)), key=values.__getitem__)] if values and len(values) == len(self.choices) else None

    def _values(self, metric: str) -> Sequence[float]:
        """The numbers whose largest the metric takes, as `metrics.loglikelihood` has them."""
        if "pmi" in metric and self.unconditioned_logprobs is not None:
            return [given - alone for given, alone in zip(self.logprobs, self.unconditioned_logprobs, strict=True)]
        if "token" in metric and all(self.token_counts):
            return [logprob / count for logprob, count in zip(self.logprobs, self.token_counts, strict=True)]
        if "norm" in metric and all(self.choices):
            return [logprob / len(choice) for logprob, choice in zip(self.logprobs, self.choices, strict=False)]
        return self.logprobs


def read_answers(folder: Path, key: TaskKey, ids: Collection[str]) -> dict[str, StoredAnswer]:
    """The answers to these documents in a run's details; of several few-shot seeds the first. Documents that are not there are left out.

    Raises DataError for a line that is damaged.
    """
    path = newest_details(folder, key)
    wanted = set(ids)
    found: dict[str, StoredAnswer] = {}
    if path is None or not wanted:
        return found
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                name = _id_of(line, path, number)
                if name in wanted and name not in found:
                    found[name] = answer_of(_parsed(line, path, number))
                    if len(found) == len(wanted):
                        break
    except OSError as error:
        raise DataError(f"{path}: the details cannot be read: {error.strerror}") from error
    return found


def answer_of(line: Mapping[str, Any]) -> StoredAnswer:
    """The answer in a line of the details."""
    doc = line["doc"]
    texts: tuple[str, ...] = ()
    scored: dict[str, Any] = {}
    is_refused = False
    for name, answer in line["answers"].items():
        response = answer.get("response") or {}
        if "texts" in response:
            texts = texts or tuple(answer.get("scored_texts") or response["texts"])
            is_refused = is_refused or any(response.get("empty_reasons") or ())
        elif response.get("logprobs") and name != "golds" and not scored:
            scored = {
                "choices": tuple(answer["request"].get("choices") or doc["choices"]),
                "logprobs": tuple(map(float, response["logprobs"])),
                "token_counts": tuple(response.get("token_counts") or ()),
            }
        if response.get("unconditioned_logprobs"):
            scored["unconditioned_logprobs"] = tuple(map(float, response["unconditioned_logprobs"]))
    return StoredAnswer(
        texts=texts,
        golds=tuple(doc["choices"][index] for index in doc["gold"]),
        num_cut=line.get("cut_texts", 0),
        is_refused=is_refused,
        extracted=line.get("extracted"),
        **scored,
    )


def newest_details(folder: Path, key: TaskKey) -> Path | None:
    """The details of the last attempt at a task. None: there are none."""
    attempts = [folder, *sorted(folder.glob("attempts/*"), key=lambda path: (len(path.name), path.name))]
    paths = [path for attempt in attempts if (path := details_path(attempt, key)).is_file()]
    return paths[-1] if paths else None


def _id_of(line: bytes, path: Path, number: int) -> str:
    """Without parsing the rest of the line, which is long."""
    end = line.find(_ID_END, 7)
    if line.startswith(b'{"id":"') and end > 0:
        name = line[7:end]
        if name.isascii() and b"\\" not in name:
            return name.decode()
    return str(_parsed(line, path, number).get("id"))


def _parsed(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}:{number}: no line of details: {error}") from error
    if not isinstance(parsed, dict) or not {"id", "doc", "answers"} <= parsed.keys():
        raise DataError(f"{path}:{number}: no line of details")
    return parsed

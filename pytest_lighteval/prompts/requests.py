"""The requests that a document's prompt becomes: one for each thing that the task's metrics ask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pytest_lighteval.errors import DataError
from pytest_lighteval.types import Ask, Doc, GenerateRequest, LoglikelihoodRequest, Metric, PerplexityRequest, Prompt, Request, Task


def build_requests(
    task: Task,
    doc: Doc,
    prompt: Prompt,
    metrics: Sequence[Metric],
    *,
    use_chat_template: bool = False,
    expects_thoughts: bool = False,
) -> dict[str, Request]:
    """One request for each `Ask` of the metrics; some may be equal. Raises DataError for a PMI metric without its prompt.

    `expects_thoughts`: the model may think before it answers. A stop sequence would then end the thoughts, so none is asked for, and the
    caller cuts the answer.
    """
    asks = {entry.ask for entry in metrics}
    unconditioned = None
    if Ask.CHOICES_PMI in asks:
        unconditioned = doc.unconditioned_query
        if unconditioned is None:
            raise DataError(f"{task.id}: {doc.id}: a PMI metric needs prompt.unconditioned_query")
    stop_sequence = () if expects_thoughts else answer_stops(task, use_chat_template=use_chat_template)
    num_samples = task.num_samples or max((entry.num_samples for entry in metrics if entry.ask is Ask.SAMPLES), default=1)
    requests: dict[str, Request] = {}
    for ask in sorted(asks):
        if ask in (Ask.CHOICES, Ask.CHOICES_PMI):
            requests[ask] = LoglikelihoodRequest(prompt=prompt, choices=doc.choices, unconditioned_prompt=unconditioned)
        elif ask is Ask.GOLDS:
            requests[ask] = LoglikelihoodRequest(prompt=prompt, choices=doc.golds)
        elif ask is Ask.TEXT:
            requests[ask] = PerplexityRequest(text=doc.query)
        else:
            is_sampled = ask is Ask.SAMPLES
            requests[ask] = GenerateRequest(
                prompt=prompt,
                stop_sequence=stop_sequence,
                max_new_tokens=task.generation_size,
                num_samples=num_samples if is_sampled else 1,
                do_sample=is_sampled,
            )
    return requests


def answer_stops(task: Task, *, use_chat_template: bool) -> tuple[str, ...]:
    """Where an answer to the task is cut.

    A chat model ends its turn itself; the task's stop sequences are made for plain continuation (as in the reference).
    A guest's always hold.
    """
    return () if use_chat_template and task.guest is None else task.stop_sequence


def digest_requests(requests: Mapping[str, Request], turns: Sequence[str] = ()) -> str:
    """12 hex digits (48 bit) of all that is asked about a document, the same on every machine. `turns`: what the user says later."""
    plain = {str(ask): [type(request).__name__, _fields(request)] for ask, request in requests.items()}
    if turns:
        plain["later turns"] = list(turns)
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:12]


def _fields(request: Request) -> dict[str, Any]:
    """As plain values. Requests that leave the tokenization open keep the digests of releases that knew no other."""
    fields: dict[str, Any] = msgspec.to_builtins(request)
    if request.tokenization is None:
        del fields["tokenization"]
    return fields

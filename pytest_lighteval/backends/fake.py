"""A backend without a model: a seeded rule answers right as often as the arguments say, with planted losses and failures.

Use it to test suites, gates and reports: `--backend fake --model-args "accuracy=0.7,lose=0.03"`. Answers depend only on the seed and the
document, so a run with `lose` differs from one without in exactly the documents that lose. `noise` makes runs of one model differ.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from pytest_lighteval.backends.common.generation_requests import cut_at_stop
from pytest_lighteval.backends.common.scoring_requests import unscorable_reason
from pytest_lighteval.backends.common.seeds import private_seed
from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import BackendError, UserInputError
from pytest_lighteval.types import (
    Doc,
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
)


class FakeArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend fake`."""

    pretrained: Annotated[
        str | None, msgspec.Meta(description="a folder whose fake.json has arguments that replace these: a checkpoint without weights")
    ] = None
    seed: Annotated[int, msgspec.Meta(description="decides which documents it answers right; another seed is another model")] = 0
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=1, description="share of documents that it answers right")] = 0.5
    lose: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="share that it answers wrong, of the documents that it would answer right")
    ] = 0.0
    gain: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="share that it answers right, of the documents that it would answer wrong")
    ] = 0.0
    noise: Annotated[
        float, msgspec.Meta(ge=0, le=0.5, description="share of documents whose answers differ between two runs, at random")
    ] = 0.0
    run: Annotated[int, msgspec.Meta(ge=0, description="number of the run of one model: another number draws the noise again")] = 0
    shift: Annotated[
        float, msgspec.Meta(description="nats that every right choice loses against the others; answers change where its lead is smaller")
    ] = 0.0
    jitter: Annotated[
        float, msgspec.Meta(ge=0, description="nats, at most, by which the log-likelihood of a choice differs between two runs")
    ] = 0.0
    wrong: Annotated[tuple[str, ...], msgspec.Meta(description="ids of documents that it always answers wrong, e.g. [test:3,test:17]")] = ()
    fail: Annotated[tuple[str, ...], msgspec.Meta(description="ids of documents whose requests fail")] = ()
    max_length: Annotated[int, msgspec.Meta(ge=1, description="tokens (words, here) that fit; longer prompts are truncated")] = 8192
    bits_per_byte: Annotated[float, msgspec.Meta(gt=0, description="about what perplexity tasks measure")] = 2.0
    delay: Annotated[float, msgspec.Meta(ge=0, description="seconds that it takes for each request")] = 0.0

    gpus: ClassVar[int] = 0


def _with_own(arguments: FakeArguments) -> FakeArguments:
    """The arguments with those of the folder that `pretrained` names. Raises UserInputError."""
    if arguments.pretrained is None:
        return arguments
    path = Path(arguments.pretrained).expanduser() / "fake.json"
    try:
        own = msgspec.json.decode(read_utf8(path, shown=f"pretrained: {path}"), type=dict[str, Any])
        return msgspec.convert({**msgspec.structs.asdict(arguments), **own}, FakeArguments)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UserInputError(f"pretrained: {path}: {error}") from error


class FakeBackend:
    """The seeded rule as a `Backend`. It learns the golds from `evaluate` (`LearnsAnswers`), which a real backend never does."""

    Arguments = FakeArguments
    cacheable = False  # its answers depend on golds that it learned, which are not in the request
    name = "fake"
    supports = frozenset(RequestKind)

    def __init__(self, **arguments: Any) -> None:
        self.arguments = _with_own(FakeArguments(**arguments))
        self._docs: dict[Request, Doc] = {}
        self._is_closed = False

    @classmethod
    def from_arguments(cls, arguments: FakeArguments) -> FakeBackend:
        """The backend for checked arguments."""
        return cls(**msgspec.structs.asdict(arguments))

    @property
    def fingerprint(self) -> str:
        """Digest of the arguments but `delay`: besides the documents, its answers depend on nothing else."""
        arguments = msgspec.structs.asdict(self.arguments)
        del arguments["delay"], arguments["pretrained"]
        return hashlib.sha256(msgspec.json.encode(arguments)).hexdigest()[:16]

    @property
    def max_length(self) -> int:
        """The `max_length` argument."""
        return self.arguments.max_length

    def repeat(self, number: int) -> FakeBackend:
        """A later run of the same model."""
        return type(self)(**msgspec.structs.asdict(msgspec.structs.replace(self.arguments, run=self.arguments.run + number)))

    def learn(self, request: Request, doc: Doc) -> None:
        """See `LearnsAnswers.learn`: remember which document a request is about."""
        self._docs[request] = doc

    def count_tokens(self, prompt: Prompt) -> int:
        """The number of words: it has no tokenizer."""
        return len(" ".join([prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]).split())

    def render(self, messages: Sequence[Message]) -> str:
        """Its own chat template."""
        return "".join(f"<{turn.role}>{turn.content}" for turn in messages) + "<assistant>"

    def describe(self) -> Mapping[str, Any]:
        """The arguments."""
        return {"model": f"fake-{self.arguments.seed}", "arguments": msgspec.to_builtins(self.arguments)}

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        """The favourite choice gets the best log-likelihood, and is the greedy match."""
        self._require_open()
        for index, request in enumerate(requests):
            if error := self._failure(request):
                yield index, LoglikelihoodResponse(error=error)
                continue
            favourite = self._favourite(request)
            golds = doc.golds if (doc := self._docs.get(request)) is not None else ()
            unconditioned = None
            if request.unconditioned_prompt is not None:
                favourite_alone = self._seeded_choice(request.unconditioned_prompt, request.choices)
                unconditioned = self._logprobs(request.unconditioned_prompt, request.choices, favourite_alone)
            yield (
                index,
                LoglikelihoodResponse(
                    logprobs=self._logprobs(request.prompt, request.choices, favourite, golds),
                    greedy=tuple(choice == favourite for choice in request.choices),
                    token_counts=tuple(max(1, len(choice.split())) for choice in request.choices),
                    unconditioned_logprobs=unconditioned,
                    truncated_tokens=self._truncated(request.prompt),
                ),
            )

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """The gold, if it answers right and there is one; otherwise a text that is no gold. Sampled texts are right independently."""
        self._require_open()
        for index, request in enumerate(requests):
            if error := self._failure(request):
                yield index, GenerateResponse(error=error)
                continue
            texts = []
            for sample in range(request.num_samples):
                doc = self._docs.get(request)
                if doc is not None and doc.gold and self._is_right(request, sample if request.do_sample else None):
                    text = doc.golds[0]
                else:
                    text = f" fake answer {self._uniform('text', _text(request.prompt), sample):.6f}"
                texts.append(cut_at_stop(text, request.stop_sequence))
            yield (
                index,
                GenerateResponse(
                    texts=tuple(texts), finish_reasons=("stop",) * len(texts), truncated_tokens=self._truncated(request.prompt)
                ),
            )

    def perplexity(self, requests: Sequence[PerplexityRequest]) -> Iterator[tuple[int, PerplexityResponse]]:
        """About `bits_per_byte`: up to 5 % less or more for each text."""
        self._require_open()
        for index, request in enumerate(requests):
            if error := self._failure(request):
                yield index, PerplexityResponse(error=error)
                continue
            bits = self.arguments.bits_per_byte * (0.95 + 0.1 * self._uniform("bits", request.text))
            size = len(request.text.encode())
            yield index, PerplexityResponse(logprob=-bits * math.log(2) * size, token_count=max(1, size // 4))

    def close(self) -> None:
        """Forget the documents. Afterwards every call raises BackendError."""
        self._docs.clear()
        self._is_closed = True

    def _require_open(self) -> None:
        if self._is_closed:
            raise BackendError("the fake backend is closed")

    def _favourite(self, request: LoglikelihoodRequest) -> str:
        doc = self._docs.get(request)
        # a guest may ask about its choices with a context for each, and one continuation that is no choice
        if doc is None or not any(choice in doc.golds for choice in request.choices):
            return self._seeded_choice(request.prompt, request.choices)
        if self._is_right(request):
            return next(choice for choice in request.choices if choice in doc.golds)
        others = [choice for choice in request.choices if choice not in doc.golds]
        # if every choice is a gold (a target's greedy match), a wrong answer prefers none of them
        return min(others, key=lambda choice: self._uniform("favourite", doc.query, choice), default="")

    def _seeded_choice(self, prompt: Prompt, choices: Sequence[str]) -> str:
        """The choice that the seed selects if no document is known."""
        return min(choices, key=lambda choice: self._uniform("favourite", _text(prompt), choice))

    def _logprobs(self, prompt: Prompt, choices: Sequence[str], favourite: str, golds: Collection[str] = ()) -> tuple[float, ...]:
        """Between -2 and -1 for the favourite, between -6 and -3 for the others; then what `shift` and `jitter` take off."""
        return tuple(
            -(1 + self._uniform("choice", _text(prompt), choice)) * (1 if choice == favourite else 3)
            - self.arguments.shift * (choice in golds)
            - self._jitter(prompt, choice)
            for choice in choices
        )

    def _jitter(self, prompt: Prompt, choice: str) -> float:
        return self.arguments.jitter and self.arguments.jitter * self._uniform("jitter", _text(prompt), choice, self.arguments.run)

    def _is_right(self, request: Request, sample: int | None = None) -> bool:
        """One draw for each document. So losses and gains are nested: a larger share hits the documents of a smaller one, and more."""
        doc = self._docs[request]
        if doc.id in self.arguments.wrong:
            return False
        right = self._uniform("right", doc.query, sample) < self.arguments.accuracy
        if self._uniform("noise", doc.query) < 2 * self.arguments.noise:
            right = self._uniform("toss", doc.query, sample, self.arguments.run) < 0.5
        share = self.arguments.lose if right else self.arguments.gain
        return right != (self._uniform("flip", doc.query, sample) < share)

    def _failure(self, request: Request) -> str | None:
        """Why the request fails; called once for each, so this is where it takes its time."""
        if self.arguments.delay:
            time.sleep(self.arguments.delay)
        if isinstance(request, LoglikelihoodRequest) and (reason := unscorable_reason(request.choices)):
            return reason
        doc = self._docs.get(request)
        return "planted failure" if doc is not None and doc.id in self.arguments.fail else None

    def _truncated(self, prompt: Prompt) -> int:
        return max(0, self.count_tokens(prompt) - self.arguments.max_length)

    def _uniform(self, *parts: object) -> float:
        """A number in [0, 1) that depends only on the seed and the parts."""
        return int.from_bytes(private_seed(self.arguments.seed, *parts)[:6], "big") / 2**48


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "".join(turn.content for turn in prompt)

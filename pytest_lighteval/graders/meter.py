"""`--judge-max-calls`: how often the judges' engines are really asked, in all processes of a session together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_lighteval.backends.delegating import AnyRequest, AnyResponse, DelegatingBackend
from pytest_lighteval.common.locks import locked
from pytest_lighteval.errors import GraderError
from pytest_lighteval.types import Backend, GenerateRequest, GenerateResponse, Request, Response


class Meter:
    """A count in a file, so that all workers of a session share it.

    Args:
        path: The file; its folder is made when something is counted.
        limit: The most calls. None: any number.
    """

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path, self._limit = path, limit

    def take(self, calls: int) -> None:
        """Count calls that are about to be made. Raises GraderError, and counts nothing, if there would be too many."""
        if self._limit is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with locked(self._path.with_suffix(".lock")):
                    made = int(self._path.read_text("ascii")) if self._path.exists() else 0
                    if made + calls > self._limit:
                        raise GraderError(
                            f"--judge-max-calls {self._limit}: {made} calls of a judge are made, and {calls} more are needed now; "
                            "replies in the cache cost none"
                        )
                    self._path.write_text(str(made + calls), "ascii")
            except OSError as error:
                raise GraderError(f"{error.filename or self._path}: the calls of judges cannot be counted: {error.strerror}") from error


class MeteredBackend(DelegatingBackend):
    """A backend around a judge's, below the cache: what it is asked is counted first. Each sample is a call."""

    def __init__(self, backend: Backend, meter: Meter) -> None:
        super().__init__(backend)
        self.meter = meter
        self.use = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
        """What was asked of the engine in this process; tokens where the responses have them."""

    def __getattr__(self, name: str) -> Any:
        """Optional members that say something about answers are the backend's own."""
        if name in ("arguments", "cacheable", "cached_apart", "batches_itself", "check"):
            return getattr(self.inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _answer(self, requests: Sequence[AnyRequest], kind: type[AnyResponse]) -> Iterator[tuple[int, AnyResponse]]:
        self._take(sum(map(_calls, requests)))
        # each kind has its own request type, which the method of that name takes
        for index, response in getattr(self.inner, requests[0].kind.value)(requests) if requests else ():
            self._count(response)
            yield index, response

    def _take(self, calls: int) -> None:
        self.meter.take(calls)
        self.use["calls"] += calls

    def _count(self, response: Response) -> None:
        if isinstance(response, GenerateResponse):
            self.use["prompt_tokens"] += len(response.prompt_token_ids or ())
            self.use["completion_tokens"] += sum(map(len, response.token_ids or ()))


def _calls(request: Request) -> int:
    return request.num_samples if isinstance(request, GenerateRequest) else 1


class MeteredPool(MeteredBackend):
    """The same around several engines, which take many chunks at once."""

    def answer_chunks(self, chunks: Sequence[Sequence[Request]]) -> Iterator[tuple[int, int, Response]]:
        """See `backends.chunked.AnswersChunks`."""
        self._take(sum(_calls(request) for chunk in chunks for request in chunk))
        answer: Any = getattr(self.inner, "answer_chunks")  # noqa: B009  # `Backend` has no such member
        for number, position, response in answer(chunks):
            self._count(response)
            yield number, position, response


def metered(backend: Backend, meter: Meter) -> MeteredBackend:
    """The backend, counted."""
    return (MeteredPool if callable(getattr(backend, "answer_chunks", None)) else MeteredBackend)(backend, meter)

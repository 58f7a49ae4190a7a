"""One server over HTTP: sends and receives JSON, retries what may succeed later, and raises what cannot. Knows no prompts."""

from __future__ import annotations

import email.utils
import importlib.util
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_lighteval.errors import BackendError, MissingExtraError, first_line

if TYPE_CHECKING:  # which importing a backend must not cost
    import httpx

_TRANSIENT = frozenset((408, 409, 425, 429))
"""Statuses, besides 5xx, that are tried again."""
_FINAL = frozenset((301, 302, 303, 307, 308, 401, 404, 405, 501))
"""Statuses that every other request would get too. A redirection is not followed: it could send the key to another server."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 20.0
"""Seconds. Delays double from the first to the longest; each is shortened at random by up to a half."""
_UNANSWERED_IN_A_ROW = 8
"""After this many requests in a row without an answer, the server counts as gone."""
_SHOWN = 300
"""Characters of a server's text that an error shows."""
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))


class UnansweredError(Exception):
    """This request has no answer; others may have one.

    Args:
        message: why.
        is_outage: the server did not answer at all, so nothing is known about what it can do. A status 500 is not an outage: several
            servers answer with it to what they cannot do.
    """

    def __init__(self, message: str, *, is_outage: bool = False) -> None:
        self.is_outage = is_outage
        super().__init__(message)


class RefusedError(UnansweredError):
    """The server refuses this request. Another try would not change that."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class FinalStatusError(BackendError):
    """A status that every request for this path or model would get."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Client:
    """A connection pool that several threads may use at once.

    Raises `UnansweredError` for a single request, and BackendError if nothing can go on: the key is refused, the model or path does not
    exist, or the server is gone. A server is gone if no connection is possible after all tries, or if several requests in a row had no
    answer. Each further request is then tried only once; the first answer ends this state.
    """

    def __init__(
        self, base_url: str, key: str | None, *, timeout: float, retries: int, wait: Callable[[float], object] | None = None
    ) -> None:
        self._base_url, self._key = base_url.rstrip("/"), key
        self._timeout, self._retries = timeout, retries
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._unanswered_in_a_row = 0
        self._gone: str | None = None
        """Why the server counts as gone; no request is then tried a second time. Any answer resets it to None."""
        self._has_answered = False
        """Whether a model has answered. A list of models does not show that the key may use one."""
        self.counts: Counter[str] = Counter()
        """`requests` (answered), `retries`, and the sums of the server's `usage`."""

    def post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The server's answer, a JSON object."""
        answer = self._ask("POST", path, dict(payload))
        self._has_answered = True
        return answer

    def get(self, path: str) -> dict[str, Any]:
        """The same for GET."""
        return self._ask("GET", path, None)

    def close(self) -> None:
        """Wake the threads that wait to try again, and close the connections."""
        self._closing.set()
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _ask(self, method: str, path: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        body = b"" if payload is None else json.dumps(payload).encode()
        # random numbers of each request's own, so that requests that failed together are not retried together
        jitter = random.Random(body)
        attempt = 0
        while True:
            trouble, is_connected, is_outage, asked_delay = "", True, True, None
            connection = self._connection()
            try:
                reply = connection.request(method, self._base_url + path, content=body or None)
            except Exception as error:
                trouble, is_connected = self._trouble(error)
            else:
                if reply.is_success:
                    answer = _json_object(reply.text)
                    if answer is not None:
                        self._note_answer(answer)
                        return answer
                    trouble = f"its answer is no JSON object: {self._shown(reply.text)}"
                else:
                    said = self._shown(_error_text(reply.text) or reply.reason_phrase or "no reason given")
                    if reply.has_redirect_location:
                        said = self._shown(f"{said}: moved to {reply.headers['location']}: is base_url right?")
                    self._raise_if_final(reply.status_code, said, path)
                    trouble = f"status {reply.status_code}: {said}"
                    is_outage = reply.status_code != 500
                    asked_delay = _retry_after(reply.headers.get("retry-after"))
            attempt += 1
            if self._gone is not None or attempt > self._retries:
                self._note_trouble(trouble, is_connected)
                raise UnansweredError(f"no answer after {attempt} {'try' if attempt == 1 else 'tries'}: {trouble}", is_outage=is_outage)
            if asked_delay is not None and asked_delay > self._timeout:
                trouble = f"the server asks to wait {asked_delay:.0f} seconds, more than timeout={self._timeout:g}: {trouble}"
                self._note_trouble(trouble, is_connected)
                raise UnansweredError(trouble, is_outage=is_outage)
            with self._lock:
                self.counts["retries"] += 1
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1)) * (1 - jitter.random() / 2)
            self._wait(delay if asked_delay is None else asked_delay + delay / 2)

    def _connection(self) -> httpx.Client:
        if self._closing.is_set():
            raise BackendError(f"{self._base_url}: the backend is closed")
        with self._lock:
            if self._http is None:
                if importlib.util.find_spec("httpx") is None:
                    raise MissingExtraError("httpx", "openai")
                import httpx

                headers = {"content-type": "application/json", "accept": "application/json", "user-agent": "pytest-lighteval"}
                if self._key is not None:
                    headers["authorization"] = f"Bearer {self._key}"
                self._http = httpx.Client(
                    headers=headers,
                    timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
                    # the caller limits how many run at once
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                    # a proxy cannot reach this machine's loopback address
                    trust_env=urlsplit(self._base_url).hostname not in _LOOPBACK,
                )
            return self._http

    def _trouble(self, error: Exception) -> tuple[str, bool]:
        """What went wrong in the transport, and whether there was a connection. Raises what another try cannot change."""
        import httpx

        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return f"no answer within {self._timeout:g} seconds", True
        if isinstance(error, httpx.DecodingError):
            return f"its answer cannot be unpacked: {first_line(error)}", True
        if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
            is_connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return self._shown(f"{'the connection broke' if is_connected else 'nobody answers there'}: {first_line(error)}"), is_connected
        if self._closing.is_set():
            raise BackendError(f"{self._base_url}: the backend is closed") from None
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | ValueError):
            raise BackendError(self._shown(f"{self._base_url}: {first_line(error)}")) from None
        raise error

    def _raise_if_final(self, status: int, said: str, path: str) -> None:
        if status == 401:
            missing = "" if self._key is not None else "; no key was sent, as its environment variable is not set (api_key_env)"
            raise BackendError(f"{self._base_url}: the server refuses the key (status 401): {said}{missing}")
        # after an earlier answer, 403 refuses only this request
        if status in _FINAL or (status == 403 and not self._has_answered):
            raise FinalStatusError(status, f"{self._base_url}{path}: status {status}: {said}")
        if status not in _TRANSIENT and status < 500:
            self._note_answer({})
            raise RefusedError(status, f"the server refuses it (status {status}): {said}")

    def _note_answer(self, answer: Mapping[str, Any]) -> None:
        usage = answer.get("usage")
        with self._lock:
            self._unanswered_in_a_row, self._gone = 0, None
            self.counts["requests"] += 1
            for name in ("prompt_tokens", "completion_tokens"):
                count = usage.get(name) if isinstance(usage, dict) else None
                self.counts[name] += count if isinstance(count, int) else 0

    def _note_trouble(self, trouble: str, is_connected: bool) -> None:
        with self._lock:
            self._unanswered_in_a_row += 1
            if not is_connected:
                self._gone = "the server is gone"
            elif self._gone is None and self._unanswered_in_a_row >= _UNANSWERED_IN_A_ROW:
                self._gone = f"{self._unanswered_in_a_row} requests in a row have no answer"
            gone = self._gone
        if gone is not None:
            raise BackendError(f"{self._base_url}: {gone}: {trouble}")

    def _shown(self, text: str) -> str:
        """A server's text in one line, without the key if the text repeats it."""
        if self._key is not None:
            text = text.replace(self._key, "***")
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _error_text(text: str) -> str:
    """The message of an error reply: OpenAI's `error.message`, FastAPI's `detail`, or the text itself."""
    answer = _json_object(text)
    if answer is None:
        return text
    error = answer.get("error", answer)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date. None: missing or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

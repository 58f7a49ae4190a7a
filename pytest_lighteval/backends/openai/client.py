"""One server over HTTP: sends and receives JSON, retries what may succeed later, and raises what cannot. Knows no prompts."""

from __future__ import annotations

import email.utils
import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pytest_lighteval.backends.openai.answers import error_in, error_text, json_object, token_count, whole_text
from pytest_lighteval.backends.openai.errors import FinalStatusError, RefusedError, UnansweredError
from pytest_lighteval.backends.openai.secret import Secret
from pytest_lighteval.backends.openai.transport import NoReplyError, Reply, Transport
from pytest_lighteval.errors import BackendError, BackendLostError

_TRANSIENT = frozenset((408, 409, 425, 429))
"""Statuses, besides 5xx, that are tried again."""
_FINAL = frozenset((301, 302, 303, 307, 308, 401, 404, 405, 501))
"""Statuses that every other request would get too. A redirection is not followed: it could send the key to another server."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 20.0
"""Seconds. Delays double from the first to the longest; each is shortened at random by up to a half."""
_TOTAL = 4
"""The time for a whole answer, in time-outs of a single read, unless the user gives it."""
_UNANSWERED_IN_A_ROW = 8
"""After this many requests in a row without an answer, the server counts as gone."""
_SHOWN = 300
"""Characters of a server's text that an error shows."""


class Client:
    """A connection pool that several threads may use at once.

    Raises `UnansweredError` for a single request, and BackendError if nothing can go on: the key is refused, the model or path does not
    exist, or the server is gone. A server is gone if no connection is possible after all tries, or if several requests in a row had no
    answer. Each further request is then tried only once; the first answer ends this state. If there never was a connection, it is a
    BackendLostError: one that was there may be started again, but a wrong address stays wrong.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret | None,
        *,
        timeout: float,
        retries: int,
        total_timeout: float | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._base_url, self._key = base_url.rstrip("/"), key
        self._timeout, self._retries = timeout, retries
        total = _TOTAL * timeout if total_timeout is None else total_timeout
        self._transport = Transport(self._base_url, key, timeout=timeout, total_timeout=total)
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._lock = threading.Lock()
        self._unanswered_in_a_row = 0
        self._gone: str | None = None
        """Why the server counts as gone; no request is then tried a second time. Any answer resets it to None."""
        self._has_answered = False
        """Whether a model has answered. A list of models does not show that the key may use one."""
        self._was_there = False
        """Whether there was a connection, whatever was answered."""
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
        self._transport.close()

    def shown(self, text: str) -> str:
        """A server's text in one short line, without the key if the text repeats it, and without what could move a terminal's cursor."""
        if self._key is not None:
            text = self._key.hide(text)
        line = " ".join(text[: 100 * _SHOWN].split())
        line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line[: _SHOWN + 1])
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."

    def answer_text(self, text: str) -> str:
        """A model's text as it may be kept: without the key, and without half characters."""
        text = whole_text(text)
        return text if self._key is None else self._key.hide_in_answer(text)

    def _ask(self, method: str, path: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        body = b"" if payload is None else json.dumps(payload).encode()
        # random numbers of each request's own, so that requests that failed together are not retried together
        jitter = random.Random(body)
        attempt = 0
        while True:
            is_connected, is_outage, asked_delay = True, True, None
            try:
                reply = self._transport.send(method, path, body)
            except NoReplyError as error:
                trouble, is_connected = self.shown(str(error)), error.is_connected
                self._was_there |= is_connected
            else:
                self._was_there = True
                if 200 <= reply.status < 300:
                    outcome = self._read(reply, has_choices=payload is not None)
                    if not isinstance(outcome, str):
                        self._note_answer(outcome)
                        return outcome
                    trouble = outcome
                else:
                    said = self.shown(error_text(reply.content) or reply.reason or "no reason given")
                    if reply.location is not None:
                        said = self.shown(f"{said}: moved to {reply.location}: is base_url right?")
                    self._raise_if_final(reply.status, said, path)
                    trouble = f"status {reply.status}: {said}"
                    is_outage = reply.status != 500
                    asked_delay = _retry_after(reply.retry_after)
            attempt += 1
            if self._closing.is_set():
                raise BackendError(f"{self._base_url}: the backend is closed")
            if self._gone is not None or attempt > self._retries:
                self._note_trouble(trouble, is_connected)
                raise UnansweredError(f"no answer after {attempt} {'try' if attempt == 1 else 'tries'}: {trouble}", is_outage=is_outage)
            if asked_delay is not None and asked_delay > self._timeout:
                trouble = f"the server asks to wait {asked_delay:.6g} seconds, more than timeout={self._timeout:g}: {trouble}"
                self._note_trouble(trouble, is_connected)
                raise UnansweredError(trouble, is_outage=is_outage)
            with self._lock:
                self.counts["retries"] += 1
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1)) * (1 - jitter.random() / 2)
            self._wait(delay if asked_delay is None else asked_delay + delay / 2)

    def _read(self, reply: Reply, *, has_choices: bool) -> dict[str, Any] | str:
        """The answer of a reply whose status says that all is well, or why there is none."""
        answer = json_object(reply.content)
        if answer is None:
            return f"its answer is no JSON object: {self.shown(reply.text)}"
        said = error_in(answer, has_choices=has_choices)
        return answer if said is None else f"its answer is an error, with status {reply.status}: {self.shown(said)}"

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
        with self._lock:
            self._unanswered_in_a_row, self._gone = 0, None
            self.counts["requests"] += 1
            for name in ("prompt_tokens", "completion_tokens"):
                self.counts[name] += token_count(answer, name) or 0

    def _note_trouble(self, trouble: str, is_connected: bool) -> None:
        with self._lock:
            self._unanswered_in_a_row += 1
            if not is_connected:
                self._gone = "the server is gone" if self._was_there else "no server is there"
            elif self._gone is None and self._unanswered_in_a_row >= _UNANSWERED_IN_A_ROW:
                self._gone = f"{self._unanswered_in_a_row} requests in a row have no answer"
            gone = self._gone
        if gone is not None:
            kind = BackendError if self._was_there else BackendLostError
            raise kind(f"{self._base_url}: {gone}: {trouble}")


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date. None: missing or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

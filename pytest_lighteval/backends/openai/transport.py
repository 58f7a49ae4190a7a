"""One request and its whole reply as bytes, within a time and a size. No exception of the HTTP library leaves this module."""

from __future__ import annotations

import logging
import queue
import re
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_lighteval.backends.openai.secret import HIDDEN, KeyFilter, Secret
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import BackendError, in_one_line

if TYPE_CHECKING:  # which importing a backend must not cost
    import httpx

LARGEST_REPLY = 32 * 2**20
"""Bytes of a reply, unpacked. The log-probabilities of a prompt take about 100 bytes a token."""
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_USER = re.compile(r"//[^/@\s]+@")
"""User and password in an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server sent, whatever its status."""

    status: int
    reason: str = field(repr=False)
    """The words behind the status."""
    content: bytes = field(repr=False)
    location: str | None = field(repr=False)
    """Where a redirection leads. None: it is none."""
    retry_after: str | None = field(repr=False)

    @property
    def text(self) -> str:
        """The content to be shown. What is no UTF-8 is replaced."""
        return self.content.decode("utf-8", "replace")


class NoReplyError(Exception):
    """There is no whole reply.

    Args:
        trouble: why.
        is_connected: whether there was a connection.
    """

    def __init__(self, trouble: str, *, is_connected: bool = True) -> None:
        self.is_connected = is_connected
        super().__init__(trouble)


class Transport:
    """A pool of connections that several threads may use at once.

    Args:
        timeout: seconds without a byte.
        total_timeout: seconds for the whole reply. A server may send a byte now and then for ever.
    """

    def __init__(self, base_url: str, key: Secret | None, *, timeout: float, total_timeout: float) -> None:
        self._base_url, self._key = base_url, key
        self._timeout, self._total_timeout = timeout, total_timeout
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._is_closed = False
        self._filter = KeyFilter(key)

    def send(self, method: str, path: str, body: bytes) -> Reply:
        """The reply. Raises NoReplyError, and BackendError for what another try cannot change.

        The exchange runs in a thread of its own, because the HTTP library has no limit for the time of all reads together. A thread
        that is late is left behind: it ends with its next byte, or when the connections are closed.
        """
        http = self._open()
        outcomes: queue.SimpleQueue[Reply | Exception] = queue.SimpleQueue()
        is_late = threading.Event()

        def work() -> None:
            outcomes.put(self._exchange(http, method, path, body, is_late))

        threading.Thread(target=work, name="lighteval-exchange", daemon=True).start()
        try:
            outcome = outcomes.get(timeout=self._total_timeout)
        except queue.Empty:
            is_late.set()
            outcome = NoReplyError(f"no whole answer within {self._total_timeout:g} seconds (total_timeout)")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close the connections. May be called twice."""
        with self._lock:
            self._is_closed = True
            if self._http is not None:
                self._http.close()
                self._http = None
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(self._filter)

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._is_closed:
                raise BackendError(f"{self._base_url}: the backend is closed")
            if self._http is None:
                require("httpx", extra="openai")
                trouble = self._start()
                if trouble is not None:
                    raise BackendError(trouble)
            assert self._http is not None
            return self._http

    def _start(self) -> str | None:
        """Make the HTTP client. Returns why that is impossible: a proxy or a certificate of the environment."""
        import httpx

        try:
            self._http = httpx.Client(
                headers={
                    "content-type": "application/json",
                    "accept": "application/json",
                    "accept-encoding": "gzip",
                    "user-agent": "pytest-lighteval",
                },
                # not among the headers above, which would be a local variable of the library
                auth=None if self._key is None else self._sign,
                timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
                # the caller limits how many run at once
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                # a proxy cannot reach this machine's loopback address
                trust_env=urlsplit(self._base_url).hostname not in _LOOPBACK,
            )
        except Exception as error:
            said = _USER.sub(f"//{HIDDEN}@", in_one_line(error))
            if self._key is not None:
                said = self._key.hide(said)
            return f"{self._base_url}: no HTTP client for it: {said} (see HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE in the environment)"
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        return None

    def _sign(self, request: httpx.Request) -> httpx.Request:
        assert self._key is not None
        request.headers["authorization"] = self._key.as_header()
        return request

    def _exchange(self, http: httpx.Client, method: str, path: str, body: bytes, is_late: threading.Event) -> Reply | Exception:
        """The reply, or the error to be raised. The library's own error is not kept: its frames hold the key."""
        try:
            with http.stream(method, self._base_url + path, content=body or None) as response:
                content = _unpacked(response.iter_raw(), response.headers.get("content-encoding", ""), is_late)
                if self._key is not None:
                    content = self._key.hide_in_content(content)
                return Reply(
                    status=response.status_code,
                    reason=response.reason_phrase,
                    content=content,
                    location=response.headers["location"] if response.has_redirect_location else None,
                    retry_after=response.headers.get("retry-after"),
                )
        except Exception as error:
            return self._explained(error)

    def _explained(self, error: Exception) -> Exception:
        import httpx

        if isinstance(error, NoReplyError):
            return NoReplyError(str(error))
        if self._is_closed:
            return BackendError(f"{self._base_url}: the backend is closed")
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return NoReplyError(f"no answer within {self._timeout:g} seconds")
        said = in_one_line(error)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
            return BackendError(f"{self._base_url}: {said if self._key is None else self._key.hide(said)}")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return NoReplyError(f"nobody answers there: {said}", is_connected=False)
        return NoReplyError(f"the connection broke: {said}")


def _unpacked(chunks: Iterable[bytes], encoding: str, is_late: threading.Event) -> bytes:
    """The whole content. Nothing is kept beyond the largest reply, however far a packed one would unfold."""
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise NoReplyError(f"its answer is packed as {encoding!r}, which nobody asked for")
    unpacker = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    content = bytearray()
    for chunk in chunks:
        if is_late.is_set():
            raise NoReplyError("it is late")
        try:
            content += chunk if unpacker is None else unpacker.decompress(chunk, LARGEST_REPLY + 1 - len(content))
        except zlib.error as error:
            raise NoReplyError(f"its answer cannot be unpacked: {error}") from None
        if len(content) > LARGEST_REPLY or (unpacker is not None and unpacker.unconsumed_tail):
            raise NoReplyError(f"its answer is larger than {LARGEST_REPLY // 2**20} MiB")
    if unpacker is not None and content and not unpacker.eof:
        raise NoReplyError("its answer cannot be unpacked: it ends too early")
    return bytes(content)

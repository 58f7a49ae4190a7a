"""A server of the OpenAI protocol in a thread, around a tiny model; it can be told to fail in every way that real ones do."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_lighteval.types import GenerateResponse


@dataclass(kw_only=True)
class Behaviour:
    """What the server can and cannot do; the defaults are vLLM's."""

    has_completions: bool = True
    echoes: bool = True
    takes_ids: bool = True
    counts: bool = True
    """Says `usage`."""
    adds_bos: bool = False
    """Puts a beginning token before every text, which is not echoed (llama.cpp)."""
    spells: bool = True
    """False: a token that is no whole character is written as nothing, and offsets do not count it (llama.cpp)."""
    shifts: bool = False
    """Log-probabilities of a prompt stand one token early, and the new token is left out (llama-cpp-python 0.3.36 without a beginning
    token)."""
    names_own: bool = True
    """Each token is among the likely ones of its place (vLLM); False: only if it is likely (OpenAI)."""
    moves: int = 0
    """By how many places log-probabilities of a prompt stand too early."""
    lists_models: bool = True
    max_model_len: int | None = 128
    key: str | None = None
    """Asked for as a bearer token."""
    most_logprobs: int = 20
    """Likely tokens that it gives at each place."""
    limit_name: str = "max_tokens"
    """What the chat API wants its limit to be called."""


@dataclass(kw_only=True)
class Fault:
    """What becomes of one request instead of an answer."""

    status: int = 200
    body: str | bytes = "{}"
    change: Callable[[dict[str, Any]], Any] | None = None
    """It is answered, but this is done to the answer; what it returns, if anything, is sent in its place."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    passes: bool = False
    """It is answered after all."""
    breaks: bool = False
    """The connection ends with no answer at all."""
    drips: Literal["", "head", "body"] = ""
    """From here on, a byte at a time, and slowly."""


def keep(answers: Iterator[tuple[int, GenerateResponse]], kept: dict[int, GenerateResponse]) -> None:
    """Each answer is kept as it comes, whatever happens afterwards."""
    for answer in answers:
        kept.update([answer])


class _Threads(http.server.ThreadingHTTPServer):
    """A thread for each connection."""

    request_queue_size = 128
    """Connections that may wait to be accepted. With the five of the default, some of many that come at once are dropped."""


class TinyServer:
    """`with TinyServer(model, tokenizer) as server:` listens at `server.url` until the block ends or `die` is called."""

    def __init__(self, model: Any, tokenizer: Any, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self._model, self._tokenizer, self._port = model, tokenizer, port
        self.behaviour = behaviour or Behaviour()
        self.name = "tiny"
        self.faults: list[Fault] = []
        """The next requests' fates, in order; requests behind them are answered."""
        self.dies_after: int | None = None
        """Answers until the process is gone. None: it lives."""
        self.seen: list[dict[str, Any]] = []
        """Every payload posted, with its `path` and `authorization`."""
        self.at_once = 0
        self._running = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> TinyServer:
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = _Threads(("127.0.0.1", self._port), Handler)
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Stop listening and break every connection, as the end of a process does."""
        self._http.shutdown()
        self._http.server_close()
        for open_socket in list(self._sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Know how many requests are worked on at once."""
        with self._lock:
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def fate(self, payload: dict[str, Any]) -> Fault | None:
        """What is to go wrong with a request. None: nothing."""
        with self._lock:
            self.seen.append(payload)
            if self.dies_after is not None:
                self.dies_after -= 1
                if self.dies_after < 0:
                    threading.Thread(target=self.die, daemon=True).start()
                    return Fault(breaks=True)
            fault = self.faults.pop(0) if self.faults else None
            return None if fault is None or fault.passes else fault

    def complete(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of `/completions`."""
        prompt = payload["prompt"]
        if not isinstance(prompt, str) and not self.behaviour.takes_ids:
            raise ValueError("prompt: a string was expected")
        if payload.get("echo") and not self.behaviour.echoes:
            raise ValueError("echo is not supported")
        if (payload.get("logprobs") or 0) > self.behaviour.most_logprobs:
            raise ValueError(f"logprobs: at most {self.behaviour.most_logprobs}")
        ids = self._ids(prompt)
        if not ids:
            raise ValueError("the prompt is empty")
        new, text, reason = self._continue(ids, payload)
        whole = self._tokenizer.decode(ids) + text if payload.get("echo") else text
        answer: dict[str, Any] = {"text": whole, "finish_reason": reason, "logprobs": None}
        if payload.get("logprobs") is not None:
            answer["logprobs"] = self._scores(ids, new, echo=bool(payload.get("echo")), count=payload["logprobs"])
        return {"object": "text_completion", "model": self.name, "choices": [answer], **self._usage(ids, new)}

    def chat(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of `/chat/completions`."""
        name = self.behaviour.limit_name
        if name not in payload and "max_tokens" in payload:
            raise ValueError(f"Unsupported parameter: 'max_tokens' is not supported with this model. Use '{name}' instead.")
        text = self._tokenizer.apply_chat_template(payload["messages"], tokenize=False, add_generation_prompt=True)
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        new, answer, reason = self._continue(ids, {**payload, "max_tokens": payload.get(name, 16)})
        message = {"role": "assistant", "content": answer}
        return {"choices": [{"message": message, "finish_reason": reason}], **self._usage(ids, new)}

    def models(self) -> dict[str, Any]:
        """The answer of `/models`."""
        return {"data": [{"id": self.name, "object": "model", "owned_by": "tests", "max_model_len": self.behaviour.max_model_len}]}

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        ids: list[int] = self._tokenizer(prompt)["input_ids"]
        return [1, *ids] if self.behaviour.adds_bos else ids

    def _usage(self, ids: Sequence[int], new: Sequence[int]) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": len(ids), "completion_tokens": len(new)}} if self.behaviour.counts else {}

    def _logits(self, ids: Sequence[int]) -> Any:
        import torch

        with torch.no_grad():
            return self._model(input_ids=torch.tensor([list(ids)])).logits[0].float().log_softmax(-1)

    def _continue(self, ids: Sequence[int], payload: Mapping[str, Any]) -> tuple[list[int], str, str]:
        import torch

        limit = payload.get("max_tokens", 16)
        length = self.behaviour.max_model_len
        if length is not None and len(ids) + limit > length:
            raise ValueError(f"this model's maximum context length is {length} tokens, and {len(ids) + limit} were asked for")
        draws = torch.Generator().manual_seed(payload.get("seed", 0))
        new: list[int] = []
        while len(new) < limit:
            last = self._logits([*ids, *new])[-1]
            if payload.get("temperature", 1.0) == 0:
                new.append(int(last.argmax()))
            else:
                new.append(int(torch.multinomial((last / payload["temperature"]).softmax(-1), 1, generator=draws)))
            text: str = self._tokenizer.decode(new, skip_special_tokens=True)
            cuts = [text.find(stop) for stop in payload.get("stop", ()) if stop in text]
            if cuts or new[-1] == 2:
                return new, text[: min(cuts)] if cuts else text, "stop"
        return new, self._tokenizer.decode(new, skip_special_tokens=True), "length"

    def _scores(self, ids: Sequence[int], new: Sequence[int], *, echo: bool, count: int) -> dict[str, Any]:
        every = [*ids, *new]
        logits = self._logits(every)
        hidden = 1 if self.behaviour.adds_bos else 0
        first = hidden if echo else len(ids)
        held: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        offset = 0
        shifts = self.behaviour.shifts and echo
        for place in range(first, len(ids) if shifts else len(every)):
            row = place if shifts else place - 1
            text = self._tokenizer.decode([every[place]])
            if not self.behaviour.spells and "�" in text:
                text = ""
            best = logits[row].topk(max(1, count)).indices.tolist()
            is_first = place == first and echo
            held["tokens"].append(text)
            held["token_logprobs"].append(None if is_first else float(logits[row, every[place]]))
            tops = {
                self._tokenizer.decode([token]): float(logits[row, token])
                for token in (*best, *([every[place]] if self.behaviour.names_own else []))
            }
            held["top_logprobs"].append(None if is_first else tops)
            held["text_offset"].append(offset)
            offset += len(text)
        if echo and self.behaviour.moves:
            for name in ("token_logprobs", "top_logprobs"):
                scored = held[name][1:]
                held[name][1:] = [scored[(place + self.behaviour.moves) % len(scored)] for place in range(len(scored))]
        return held


class _Handler(http.server.BaseHTTPRequestHandler):
    server_of: TinyServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server_of._sockets.add(self.connection)

    def finish(self) -> None:
        self.server_of._sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        if self.path == "/v1/models" and self.server_of.behaviour.lists_models:
            self._reply(200, self.server_of.models())
        else:
            self._reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server_of.counted():
            fault = self.server_of.fate({**payload, "path": self.path, "authorization": self.headers.get("authorization")})
            if fault is not None:
                time.sleep(fault.delay)
                if fault.breaks:
                    self.close_connection = True
                    return
                if fault.change is not None or fault.drips:
                    self._answer(payload, fault)
                else:
                    self._reply(fault.status, fault.body, fault.headers)
                return
            self._answer(payload)

    def _answer(self, payload: Mapping[str, Any], fault: Fault | None = None) -> None:
        behaviour = self.server_of.behaviour
        routes = {"/v1/chat/completions": self.server_of.chat}
        if behaviour.has_completions:
            routes["/v1/completions"] = self.server_of.complete
        if behaviour.key is not None and self.headers.get("authorization") != f"Bearer {behaviour.key}":
            self._reply(401, {"error": {"message": f"Incorrect API key provided: {self.headers.get('authorization')}"}})
        elif self.path not in routes:
            self._reply(404, {"detail": "Not Found"})
        elif payload["model"] != self.server_of.name:
            self._reply(404, {"error": {"message": f"The model `{payload['model']}` does not exist."}})
        else:
            try:
                answer = routes[self.path](payload)
                if fault is not None and fault.drips:
                    self._drip(json.dumps(answer).encode(), fault.drips)
                    return
                if fault is not None and fault.change is not None:
                    answer = fault.change(answer) or answer
                self._reply(200, answer)
            except ValueError as error:
                self._reply(400, {"error": {"message": str(error)}})

    def _drip(self, content: bytes, part: str) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n".encode()
        with contextlib.suppress(OSError):
            self.wfile.write(head + (b"\r\n" if part == "body" else b"x-slow: "))
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.02)
        self.close_connection = True

    def _reply(self, status: int, body: Mapping[str, Any] | str | bytes, headers: Mapping[str, str] | None = None) -> None:
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        content = text if isinstance(text, bytes) else text.encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if not any(name.lower() == "content-type" for name in headers or {}):
                self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

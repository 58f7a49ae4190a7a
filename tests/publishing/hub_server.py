"""The part of the hub's protocol that publishing and fetching need, on the loopback. It keeps what it is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40


class Hub:
    """Repositories by name."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.proposed: dict[str, dict[str, bytes]] = {}
        """Of pull requests."""
        self.asked: list[str] = []
        self.address = ""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _send(self, value: Any, status: int = 200, **headers: str) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _repository(self) -> str:
            parts = self.path.partition("?")[0].split("/")
            return "/".join(parts[3:5])

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            if "/resolve/" in self.path:
                name, _, rest = self.path.strip("/").removeprefix("datasets/").partition("/resolve/")
                content = hub.files.get(name, {}).get(rest.partition("/")[2])
                if content is None:
                    self._send({}, 404, X_Error_Code="EntryNotFound")
                    return
                digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                self._send(content, ETag=f'"{digest}"', X_Repo_Commit=COMMIT)
                return
            name = self._repository()
            if name not in hub.files:
                self._send({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            elif "/tree/" in self.path:
                tree = [{"type": "file", "path": path, "size": len(content), "oid": "0" * 40} for path, content in hub.files[name].items()]
                self._send(tree)
            else:
                siblings = [{"rfilename": path} for path in hub.files[name]]
                self._send(
                    {"id": name, "private": hub.private[name], "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}
                )

        def do_POST(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                hub.files.setdefault(name, {})
                hub.private.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
                self._send({"url": f"{hub.address}/{name}", "id": name})
            elif "/preupload/" in self.path:
                self._send(
                    {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]}
                )
            elif "/commit/" in self.path:
                lines = [json.loads(line) for line in body.splitlines() if line.strip()]
                files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
                name = self._repository()
                is_proposal = "create_pr=1" in self.path
                (hub.proposed if is_proposal else hub.files).setdefault(name, {}).update(files)
                pull = {"pullRequestUrl": f"{hub.address}/{name}/discussions/1"} if is_proposal else {}
                self._send({"commitUrl": f"{hub.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True, **pull})
            else:
                self._send({})

    return Handler

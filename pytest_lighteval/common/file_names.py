"""Names of tasks, suites and tests as names of files: two names never have one file."""

from __future__ import annotations

import hashlib
import re

_ESCAPED = re.compile(r"^:|(?<=:):|:$|[^A-Za-z0-9_:-]")
_PLAIN_NODE_ID = re.compile(r"\w[\w./]*(::\w+)*(\[\w+\])?", re.ASCII)
_LONGEST = 180
"""With digest and suffixes, a name must stay below the 255 bytes of most file systems."""


def file_name(name: str) -> str:
    """The name with `.` for `:`. What could clash with that or is special to a file system or shell is `%` and hex digits, as in an URL."""
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")), name).replace(":", ".")


def folder_of_test(node_id: str) -> str:
    """A folder's name for a test; with a digest where another node id could have the same words."""
    words = re.sub(r"[^\w.-]+", "-", node_id, flags=re.ASCII).strip("-.")
    if _PLAIN_NODE_ID.fullmatch(node_id) and len(words) <= _LONGEST:
        return words
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words[:_LONGEST]}-{digest}"

"""Random numbers of a request's own: the same in any order, batch and worker."""

from __future__ import annotations

import hashlib


def private_seed(*parts: object) -> bytes:
    """32 bytes that depend on the parts alone: the user's seed, the prompt, the sample's number."""
    return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).digest()

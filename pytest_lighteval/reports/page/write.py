"""The file of a page: one HTML document that holds its script, its style and its data, and needs nothing else.

The data is JSON, compressed and as base64, so no text of a model is ever markup. The page's Content-Security-Policy admits this one
script and this one style by their digests, and nothing else: no request, no image, no frame.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import msgspec

from pytest_lighteval.common.files import atomic_writer
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.page.data import PageComparison, PageData, PageRun
from pytest_lighteval.reports.page.documents import TextBlock, packed
from pytest_lighteval.reports.serialize import to_json

SCRIPTS = (
    "base.js",
    "diff.js",
    "plots.js",
    "list.js",
    "verdicts.js",
    "scores.js",
    "documents.js",
    "document.js",
    "flips.js",
    "charts.js",
    "facts.js",
    "main.js",
)
"""In this order they are the page's script."""

TEXTS_LIMIT = 64 << 20
"""Bytes of compressed texts in a page. A browser still opens it; the texts beyond are in the details alone, and the page says so."""

_LEVEL = 6
"""Of zlib. 9 takes three times as long for two per cent."""


def write_page(path: Path, data: PageData) -> None:
    """Write a page, whole or not at all.

    Documents are read while it is written, so they are never all in memory. Raises LightevalError if the file cannot be written.
    """
    try:
        with atomic_writer(path) as file:
            before, after = _shell()
            file.write(before)
            for name, content in _blocks(data):
                _write_block(file, name, content)
            file.write(after)
    except OSError as error:
        raise LightevalError(f"{path}: the page cannot be written: {error.strerror}") from error


def _write_block(file: IO[str], name: str, content: bytes) -> None:
    file.write(f'<script type="application/octet-stream" id="{name}">{base64.b64encode(content).decode("ascii")}</script>\n')


def _blocks(data: PageData) -> Iterator[tuple[str, bytes]]:
    """Names and compressed contents: `head` for what every view needs, `columns-R` of each run, `texts-R-T-B` with texts of documents."""
    room = TEXTS_LIMIT
    yield "head", _compressed(_head(data))
    for number, run in enumerate(data.runs):
        columns = []
        for place, task in enumerate(run.tasks):
            starts: list[int] = []
            following = 0
            for part in packed(task):
                if isinstance(part, TextBlock):
                    texts = _compressed(part.plain())
                    room -= len(texts)
                    if room >= 0:
                        yield f"texts-{number}-{place}-{len(starts)}", texts
                    starts.append(following)
                    following += len(part.documents)
                else:
                    columns.append({"key": task.key, "partial": task.is_partial, "blocks": starts, **part.plain()})
        yield f"columns-{number}", _compressed(columns)


def _head(data: PageData) -> dict[str, Any]:
    return {
        "title": data.title,
        "notes": data.notes,
        "runs": [_run(run) for run in data.runs],
        "comparisons": [_comparison(comparison) for comparison in data.comparisons],
        "curves": data.curves,
    }


def _run(run: PageRun) -> dict[str, Any]:
    """The verdicts' flips are with the comparison."""
    verdicts = {key: [_without_flips(verdict) for verdict in verdicts] for key, verdicts in run.results.get("verdicts", {}).items()}
    return {"name": run.name, "results": {**run.results, "verdicts": verdicts}}


def _without_flips(verdict: Mapping[str, Any]) -> dict[str, Any]:
    compared = {name: verdict.get(name) for name in ("paired", "pinned")}
    return {**verdict, **{name: {**paired, "flips": ()} for name, paired in compared.items() if paired is not None}}


def _comparison(comparison: PageComparison) -> dict[str, Any]:
    return {
        "candidate": comparison.candidate,
        "reference": comparison.reference,
        "label": comparison.label,
        "verdicts": {key: [_without_flips(verdict) for verdict in verdicts] for key, verdicts in comparison.verdicts.items()},
        "flips": {
            key: {metric: [[f.id, f.before, f.after, f.is_loss, f.reason] for f in flips] for metric, flips in metrics.items()}
            for key, metrics in comparison.flips.items()
        },
    }


def _compressed(value: Any) -> bytes:
    """Compressed. The fast encoder cannot write half of a surrogate pair, which a test's own name may have."""
    try:
        content = msgspec.json.encode(value)
    except UnicodeEncodeError:
        content = to_json(value).encode()
    return zlib.compress(content, _LEVEL)


@cache
def _shell() -> tuple[str, str]:
    """The page before and after its blocks of data."""
    folder = files(__package__)
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    style = (folder / "page.css").read_text("utf-8")
    page = (folder / "page.html").read_text("utf-8")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    for name, text in (("policy", policy), ("style", style), ("script", script)):
        page = page.replace(f"<!--{name}-->", text, 1)
    before, _, after = page.partition("<!--data-->")
    return before, after


def _digest(text: str) -> str:
    """As a Content-Security-Policy names it (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

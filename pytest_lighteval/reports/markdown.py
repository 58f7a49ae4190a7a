"""Texts of others in Markdown."""

from __future__ import annotations

import html
import re

from pytest_lighteval.reports.rows import one_line


def escape_markdown(text: str) -> str:
    """The text on one line, which Markdown and HTML show as it is: no markup, tag, link, mention or formula, no end of a table's cell."""
    escaped = html.escape(re.sub(r"([\\`*_{}\[\]|~$#])", r"\\\1", one_line(text)), quote=False)
    # GitHub makes links of plain addresses too, but not of escaped characters
    return escaped.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")

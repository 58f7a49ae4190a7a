"""How texts are normalized before they are matched, which defines a benchmark's exact match."""

from __future__ import annotations

import contextlib
import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_GSM8K_ANSWER = re.compile(r"#### (\-?[0-9\.\,]+)")


def helm(text: str) -> str:
    """HELM's quasi-exact match: lower case, no punctuation, no articles, single spaces, and numbers as Python prints them.

    Token by token after a split at spaces and hyphens; a token's punctuation goes before it is read as a number, so "1.5" is "15.0".
    """
    return " ".join(normal for token in re.split(r"[ -]", text) if (normal := _helm_token(token)))


def _helm_token(token: str) -> str:
    bare = token.lower().translate(_PUNCTUATION)
    with contextlib.suppress(ValueError):
        bare = str(float(bare))
    return " ".join(_ARTICLES.sub(" ", bare).split())


def triviaqa(text: str) -> str:
    """Lower case without punctuation, as lm-evaluation-harness prepares TriviaQA's answers."""
    return text.lower().translate(_PUNCTUATION)


def bigbench(text: str) -> str:
    """One sentence a line."""
    return text.replace(" . ", ".\n")


def remove_braces(text: str) -> str:
    """Without one opening brace in front and one closing brace at the end."""
    return text.removeprefix("{").removesuffix("}")


def remove_braces_and_strip(text: str) -> str:
    """The same after outer white space is gone."""
    return remove_braces(text.strip())


def gsm8k(text: str) -> str | None:
    """The first number after `#### `, without thousands separators. None: there is none."""
    match = _GSM8K_ANSWER.search(text)
    return match.group(1).strip().replace(",", "") if match else None


def math(text: str) -> str | None:
    r"""The content of the last `\boxed` or `\fbox`, cleaned as in the MATH benchmark (Hendrycks et al. 2021, arXiv:2103.03874).

    None: there is no closed box, or nothing is left of it.
    """
    boxed = _last_box(text)
    return (_clean_latex(boxed) or None) if boxed else None


def _last_box(text: str) -> str | None:
    start = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
    if start < 0:
        return None
    command = r"\boxed{" if text.startswith(r"\boxed", start) else r"\fbox{"
    if not text.startswith(command, start):
        return None
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if text[index] == "}" and depth == 0:
            return text[start + len(command) : index]
    return None


def _clean_latex(text: str) -> str:
    for old, new in (
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ):
        text = text.replace(old, new)
    text = _without_unit(text).replace("\\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = "0" + text
    left, equals, right = text.partition("=")
    if equals and "=" not in right and len(left) <= 2:  # "x = 5" is 5
        text = right
    text = _fractions_with_braces(_roots_with_braces(text).replace(" ", ""))
    return _simple_fraction(r"\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    r"""Less what follows the one `\text{ `: in MATH that is a unit."""
    value, _, unit = text.partition("\\text{ ")
    return value if unit and "\\text{ " not in unit else text


def _roots_with_braces(text: str) -> str:
    return re.sub(r"\\sqrt(?=[^{])(.)", r"\\sqrt{\1}", text, flags=re.DOTALL)


def _fractions_with_braces(text: str) -> str:
    r"""`\frac12` -> `\frac{1}{2}`; a fraction that ends too early leaves the whole text as it was."""
    head, *parts = text.split("\\frac")
    for part in parts:
        head += "\\frac"
        if part.startswith("{"):
            head += part
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            head += "{" + part[0] + "}" + part[1:]
        else:
            head += "{" + part[0] + "}{" + part[1] + "}" + part[2:]
    return head


def _simple_fraction(text: str) -> str:
    """`a/b` of two whole numbers -> LaTeX."""
    match = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text)
    return f"\\frac{{{match[1]}}}{{{match[2]}}}" if match else text

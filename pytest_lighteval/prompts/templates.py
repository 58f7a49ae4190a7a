"""Compile the Jinja2 texts of suite files, in a sandbox, to functions of a row. Knows Jinja2 and nothing of tasks.

A template can use the columns of a row by name, `row` for columns whose names are no identifiers, and besides Jinja2's own:

=========================  ====================================================================
`letters`                  `"ABC...Z"`; `letters[loop.index0]`, `letters.index(answer)`
`zip(a, b)`                pairs of lists of equal length (an error otherwise)
`enumerate(a)`             `(index, item)` pairs
`x | prefix(" ")`          the text, or every text of a list, with something in front
`a | indices(1)`           the indices of a list's items that equal something
`x | regex_replace(p, r)`  `re.sub`; a backslash in a Jinja2 text is written twice
`x | capitalize_first`     first character upper-cased, the rest as it is
=========================  ====================================================================

What is random in Jinja2 (`lipsum`, the filter `random`) is removed, and everything that reads other files.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from pytest_lighteval.errors import LightevalError, did_you_mean, in_one_line

if TYPE_CHECKING:  # importing Jinja2 takes 40 ms, which a run that renders nothing should not pay
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Rendered = Callable[[Mapping[str, Any]], Any]

_MARKS = ("{{", "{%", "{#")


class RenderError(LightevalError):
    """A template failed on its values; the message is one line."""


@lru_cache(maxsize=8192)
def check_syntax(source: str) -> None:
    """Raise `jinja2.TemplateSyntaxError` if the template cannot be compiled, or uses an unknown filter or another file."""
    if any(mark in source for mark in _MARKS):
        _parse(source)


@lru_cache(maxsize=8192)
def compile_template(source: str) -> Rendered:
    """Function of a row's variables: the native value if the source is one whole `{{ expression }}`, otherwise text.

    Raises `jinja2.TemplateSyntaxError`. The function raises `RenderError`, also for a missing variable.
    """
    if not any(mark in source for mark in _MARKS):
        return lambda row: source
    tree = _parse(source)
    if _is_one_expression(source, tree):
        return compile_expression(_inside(source))
    template = _environment().from_string(tree)
    return lambda row: _guarded(lambda: template.render(row))


@lru_cache(maxsize=8192)
def compile_expression(source: str) -> Rendered:
    """Function of a row's variables giving the native value of a bare expression such as `answer == 'yes'`.

    An expression that gives an iterator gives a list. Raises as `compile_template`.
    """
    expression = _environment().compile_expression(source, undefined_to_none=False)

    def evaluate(row: Mapping[str, Any]) -> Any:
        value = expression(row)
        if isinstance(value, Iterator | range):
            return list(value)
        if _is_undefined(value):
            str(value)  # a strict undefined raises an error with its name when it is used
        return value

    return lambda row: _guarded(lambda: evaluate(row))


@lru_cache(maxsize=8192)
def variables(source: str) -> frozenset[str]:
    """Names that the template takes from the row, on any path through it. Raises `jinja2.TemplateSyntaxError`."""
    if not any(mark in source for mark in _MARKS):
        return frozenset()
    from jinja2 import meta

    environment = _environment()
    return frozenset(meta.find_undeclared_variables(environment.parse(source))) - frozenset(environment.globals)


def _parse(source: str) -> nodes.Template:
    from jinja2 import TemplateSyntaxError, nodes

    environment = _environment()
    tree = environment.parse(source)
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateSyntaxError("a template cannot read another file", node.lineno)
    # Jinja2 itself finds these two only when it generates code, which takes twice as long as all the rest
    for used in tree.find_all(nodes.Filter):
        if used.name not in environment.filters:
            raise TemplateSyntaxError(f"no filter named {used.name!r}{did_you_mean(used.name, environment.filters)}", used.lineno)
    for asked in tree.find_all(nodes.Test):
        if asked.name not in environment.tests:
            raise TemplateSyntaxError(f"no test named {asked.name!r}{did_you_mean(asked.name, environment.tests)}", asked.lineno)
    return tree


def _is_one_expression(source: str, tree: nodes.Template) -> bool:
    from jinja2 import nodes

    if not (source.startswith("{{") and source.endswith("}}") and len(tree.body) == 1):
        return False
    output = tree.body[0]
    return isinstance(output, nodes.Output) and len(output.nodes) == 1 and not isinstance(output.nodes[0], nodes.TemplateData)


def _inside(source: str) -> str:
    """The expression between the braces, without the marks that control whitespace around them (there is none)."""
    begin = 3 if source[2] in "-+" else 2
    return source[begin : -3 if source[-3] == "-" else -2]


def _guarded(render: Callable[[], Any]) -> Any:
    """Run a compiled template on data of any shape: anything that it raises is a fault of the template or the row."""
    try:
        return render()
    except LightevalError:
        raise
    except Exception as error:
        text = in_one_line(error)
        raise RenderError(f"{type(error).__name__}: {text}" if _needs_name(error) else text) from error


def _needs_name(error: Exception) -> bool:
    """`KeyError: 'x'` needs its name to be understood; Jinja2's own messages are sentences."""
    from jinja2 import TemplateError

    return not isinstance(error, TemplateError)


def _is_undefined(value: Any) -> bool:
    from jinja2 import Undefined

    return isinstance(value, Undefined)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    del environment.globals["lipsum"], environment.filters["random"]
    environment.globals |= {"letters": string.ascii_uppercase, "zip": _zip, "enumerate": enumerate}
    environment.filters |= {
        "prefix": _prefix,
        "indices": _indices,
        "regex_replace": _regex_replace,
        "capitalize_first": _capitalize_first,
    }
    return environment


def _zip(*columns: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True))


def _prefix(value: Any, text: str) -> Any:
    return f"{text}{value}" if isinstance(value, str) else [f"{text}{item}" for item in value]


def _indices(items: Iterable[Any], value: Any) -> list[int]:
    return [index for index, item in enumerate(items) if item == value]


def _regex_replace(text: str, pattern: str, replacement: str = "") -> str:
    return re.sub(pattern, replacement, text)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]

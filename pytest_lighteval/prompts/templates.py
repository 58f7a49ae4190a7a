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
`x | default(y)`           `y` also where `x` is null or NaN, not only where it is missing
=========================  ====================================================================

`m.title` is the key of a mapping first, then Python's attribute. `prompts/text_values` says what may become text.
What is random in Jinja2 (`lipsum`, the filter `random`) is removed, and everything that reads other files.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache, wraps
from typing import TYPE_CHECKING, Any

from pytest_lighteval.errors import LightevalError, did_you_mean, in_one_line
from pytest_lighteval.prompts.text_values import RenderError, as_text, check_native, is_null, is_undefined

if TYPE_CHECKING:  # importing Jinja2 takes 40 ms, which a run that renders nothing should not pay
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Rendered = Callable[[Mapping[str, Any]], Any]

_MOST_NESTED = 40
_MOST_LOOPS = 10
_LARGEST_PRODUCT = 1_000_000
"""Characters or items that `*` makes, and the bits of a power."""
_MARKS = ("{{", "{%", "{#")


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
    with _one_line():
        template = _environment().from_string(tree)
    return lambda row: _guarded(lambda: template.render(row))


@lru_cache(maxsize=8192)
def compile_expression(source: str) -> Rendered:
    """Function of a row's variables giving the native value of a bare expression such as `answer == 'yes'`.

    An expression that gives an iterator gives a list. Raises as `compile_template`.
    """
    _parse("{{ " + source + " }}")
    with _one_line():
        expression = _environment().compile_expression(source, undefined_to_none=False)

    def evaluate(row: Mapping[str, Any]) -> Any:
        value = expression(row)
        if isinstance(value, Iterator | range):
            return list(value)
        check_native(value)
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


def null_place(source: str, row: Mapping[str, Any]) -> str | None:
    """The column (`c`, `m.title`, `choices[2]`) whose null or NaN a template took for a text. None: the row has none that it uses."""
    used = [(path, _at(path, row)) for path in _paths(source)]
    for path, value in used:
        if is_null(value):
            return _written(path)
    for path, value in used:
        if path != ("row",) and (inner := _null_inside(value)) is not None:
            return _written((*path, *inner))
    return None


@lru_cache(maxsize=512)
def _paths(source: str) -> tuple[tuple[str | int, ...], ...]:
    """What the template reads, the longest paths first: `row['a'].b[0]` is ("row", "a", "b", 0)."""
    from jinja2 import nodes

    def path(node: nodes.Node) -> tuple[str | int, ...] | None:
        if isinstance(node, nodes.Name):
            return (node.name,)
        if isinstance(node, nodes.Getattr) and (holder := path(node.node)):
            return (*holder, node.attr)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and (holder := path(node.node)):
            return (*holder, node.arg.value)
        return None

    found = (path(node) for node in _parse(source).find_all((nodes.Name, nodes.Getattr, nodes.Getitem)))
    return tuple(sorted({steps for steps in found if steps}, key=lambda steps: (-len(steps), repr(steps))))


def _at(path: Iterable[str | int], value: Any) -> Any:
    """What is at a path; an empty text where there is nothing."""
    for step in path:
        try:
            value = value[step]
        except (TypeError, LookupError):
            return ""
    return value


def _null_inside(value: Any) -> tuple[str | int, ...] | None:
    """The path of the first null in a list or mapping."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for step, item in items:
        if is_null(item):
            return (step,)
        if (inner := _null_inside(item)) is not None:
            return (step, *inner)
    return None


def _written(path: tuple[str | int, ...]) -> str:
    first, *rest = path[1:] if path[0] == "row" and len(path) > 1 else path
    return str(first) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def _parse(source: str) -> nodes.Template:
    from jinja2 import TemplateSyntaxError, nodes

    environment = _environment()
    with _one_line():
        tree = environment.parse(source)
    _check_depth(tree)
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


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what Python raises for a template that it cannot hold into Jinja2's own error."""
    from jinja2 import TemplateSyntaxError

    try:
        yield
    except (RecursionError, MemoryError, OverflowError) as error:
        raise TemplateSyntaxError("nested too deeply", 1) from error
    except SyntaxError as error:  # of the code that Jinja2 generates
        raise TemplateSyntaxError(f"nested too deeply ({error.msg})", 1) from error


def _check_depth(tree: nodes.Template) -> None:
    """Raise for a template that could be parsed here, but not everywhere: how deep Python can go depends on who calls."""
    from jinja2 import TemplateSyntaxError, nodes

    level: list[tuple[nodes.Node, int]] = [(tree, 0)]
    for depth in itertools.count():
        if not level:
            return
        below = []
        for node, loops in level:
            loops += isinstance(node, nodes.For)
            if depth > _MOST_NESTED or loops > _MOST_LOOPS:
                raise TemplateSyntaxError("nested too deeply", getattr(node, "lineno", 1) or 1)
            below += [(child, loops) for child in node.iter_child_nodes()]
        level = below


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


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined

    environment = _environment_class()(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=as_text)
    del environment.globals["lipsum"], environment.filters["random"]
    environment.globals |= {"letters": string.ascii_uppercase, "zip": _zip, "enumerate": enumerate}
    for name in _TEXT_FILTERS:
        environment.filters[name] = _of_text(environment.filters[name])
    environment.filters |= {
        "prefix": _prefix,
        "indices": _indices,
        "beginning": _of_text(_beginning),
        "regex_replace": _of_text(_regex_replace),
        "capitalize_first": _of_text(_capitalize_first),
        "default": _default,
        "d": _default,
        "string": _string,
        "join": _joined(environment.filters["join"]),
        "format": _format,
    }
    return environment


_TEXT_FILTERS = (
    "capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "striptags", "title", "trim",
    "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap",
)  # fmt: skip
"""Filters of Jinja2 that take a text, and would take a null for the text `None`."""


@cache
def _environment_class() -> type[ImmutableSandboxedEnvironment]:
    """The sandbox, in which a mapping's key goes before Python's attribute, and all that becomes text passes `as_text`."""
    from jinja2.compiler import CodeGenerator
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generator(CodeGenerator):
        def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:  # noqa: N802 # Jinja2's name
            self.write("environment.concatenated((")
            for part in node.nodes:
                self.visit(part, frame)
                self.write(", ")
            self.write("))")

    class Environment(ImmutableSandboxedEnvironment):
        code_generator_class = Generator
        intercepted_binops = frozenset({"%", "*", "**"})

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, str):
                for value in right if isinstance(right, tuple) else (right,):
                    _checked(value)
            if operator == "**" and isinstance(right, int) and isinstance(left, int):
                _check_size(left.bit_length() * right)
            for times, item in ((left, right), (right, left)) if operator == "*" else ():
                if isinstance(times, int) and isinstance(item, str | list | tuple):
                    _check_size(times * len(item))
            return super().call_binop(context, operator, left, right)

        # the names of the first parameters are Jinja2's, and keep clear of keywords in a template's call
        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            method = getattr(__obj, "__wrapped__", __obj)
            if isinstance(getattr(method, "__self__", None), str) and method.__name__ in ("format", "format_map"):
                for value in (*args, *kwargs.values()):
                    _checked(value)
            return super().call(__context, __obj, *args, **kwargs)

        def concatenated(self, parts: Iterable[Any]) -> str:
            """The texts of `a ~ b ~ c` in one."""
            return "".join(str(as_text(part)) for part in parts)

    return Environment


def _check_size(size: int) -> None:
    if size > _LARGEST_PRODUCT:
        raise RenderError("the result would be too large")


def _checked(value: Any) -> Any:
    """The value itself, if it may become text."""
    as_text(value)
    return value


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with its first argument (after the context, if it takes one) as a text."""

    @wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        place = 1 if hasattr(function, "jinja_pass_arg") else 0
        return function(*args[:place], as_text(args[place]), *args[place + 1 :], **kwargs)

    return filtered


def _joined(join: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(join)
    def filtered(context: Any, value: Iterable[Any], d: Any = "", attribute: Any = None) -> Any:
        if attribute is not None:
            return join(context, [_checked(item) for item in value], d, attribute)
        return join(context, [as_text(item) for item in value], d)

    return filtered


def _zip(*columns: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True))


def _prefix(value: Any, text: str) -> Any:
    if isinstance(value, str | float | int) or is_null(value) or callable(value):
        return f"{text}{as_text(value)}"
    return [f"{text}{as_text(item)}" for item in value]


def _beginning(text: str, length: int) -> str:
    """The first characters of a text that is longer; empty for any other."""
    return text[:length] if len(text) > length else ""


def _indices(items: Iterable[Any], value: Any) -> list[int]:
    return [index for index, item in enumerate(items) if item == value]


def _regex_replace(text: str, pattern: str, replacement: str = "") -> str:
    return re.sub(pattern, replacement, text)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja2's, which replaces what is missing; here also a null and NaN."""
    return default_value if is_undefined(value) or is_null(value) or (boolean and not value) else value


def _string(value: Any) -> str:
    """Python's own spelling: a float keeps its `.0`."""
    return str(_checked(value))


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    for one in (*args, *kwargs.values()):
        _checked(one)
    return str(as_text(value)) % (kwargs or args)

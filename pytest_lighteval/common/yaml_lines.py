"""YAML files as node trees, which know their lines and keep a key that is written twice. Knows nothing of what the files are about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import yaml

from pytest_lighteval.errors import SuiteError, UserInputError, in_one_line


def read_yaml(path: Path, *, what: str) -> yaml.Node | None:
    """The tree of a file. None: the file is empty.

    Raises UserInputError for a file that cannot be read, which `what` names (`gates file`), and SuiteError, `path:line: problem`, for
    what is not YAML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserInputError(f"{path}: there is no such {what}") from error
    except OSError as error:
        raise UserInputError(f"{path}: the {what} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserInputError(f"{path}: the {what} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return compose(path, text)


def compose(path: Path, text: str) -> yaml.Node | None:
    """The tree of a text; `path` is for errors. Raises SuiteError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(path, line, "", f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SuiteError(path, 1, "", f"not YAML: {in_one_line(error)}") from error
    return node


def line_of(node: yaml.Node) -> int:
    """Where it starts, from 1."""
    return int(node.start_mark.line) + 1


def join(field: str, name: str) -> str:
    """`field.name`, or the name alone at the top."""
    return f"{field}.{name}" if field else name


def pairs_of(path: Path, field: str, node: yaml.Node | None, shape: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """The keys and values of a mapping without a key twice; None, the empty file, has none. `shape` shows what would be right.

    Raises SuiteError.
    """
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise SuiteError(path, line_of(node), field, f"a mapping is needed here, like {shape}")
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SuiteError(path, line_of(key), field, "a key is a plain text here")
        if key.value in seen:
            raise SuiteError(path, line_of(key), join(field, key.value), f"is on line {seen[key.value]} already")
        seen[key.value] = line_of(key)
        yield key, value


def number_of(path: Path, field: str, node: yaml.Node) -> float:
    """A finite number. Raises SuiteError.

    YAML 1.1 takes 1e-3 for a text and 1:30 for a number; what Python's float takes is what people mean.
    """
    try:
        value = float(node.value) if isinstance(node, yaml.ScalarNode) and not node.style else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        raise SuiteError(path, line_of(node), field, f"a finite number is needed, not {shown}")
    return value

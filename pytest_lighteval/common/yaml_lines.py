"""Reads a YAML file into plain values, and remembers the line of each.

Only text, integers, floats, booleans, null, lists and mappings with text keys exist: no tag can build anything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import FileError

Field = Sequence[str | int]
"""The path of a value from the top: `("tasks", 3, "prompt")`."""

_TAG = "tag:yaml.org,2002:"
_MOST_NESTED = 100
_MOST_VALUES = 200_000
"""In one file, those behind aliases included: a few lines of aliases can stand for more values than fit into memory."""
_LONGEST_NUMBER = 100
_LARGEST_INT = 2**63
# libyaml is about five times as fast; some builds of PyYAML lack it
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):  # type: ignore[misc] # chosen at run time
    """Composes nodes. A date stays a text. Deep nesting, which crashes libyaml, is an error."""

    _depth = 0

    yaml_implicit_resolvers = {  # noqa: RUF012 # PyYAML's own way to set it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TAG + "timestamp"]
        for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
    }

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", current_node.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


_SCALARS = yaml.constructor.SafeConstructor()
_CONSTRUCTORS = {
    _TAG + "str": lambda node: node.value,
    _TAG + "null": _SCALARS.construct_yaml_null,
    _TAG + "bool": _SCALARS.construct_yaml_bool,
    _TAG + "int": _SCALARS.construct_yaml_int,
    _TAG + "float": _SCALARS.construct_yaml_float,
}


class YamlFile:
    """One YAML file: `data`, its plain values (None for an empty file), and the line of each.

    `shown` is the path as messages name it. Raises UserInputError if the file cannot be read. Raises FileError if it is not YAML,
    has a key twice, or holds something that is not plain data.
    """

    def __init__(self, path: Path, *, shown: str | None = None) -> None:
        self.shown = shown if shown is not None else str(path)
        self._root = self._compose(read_utf8(path, shown=self.shown))
        self._values = 0
        self.data: Any = None if self._root is None else self._plain(self._root, frozenset())

    def line(self, field: Field = ()) -> int:
        """Line (from 1) of a field's key or a list's entry. A missing field has the line of what would contain it."""
        return self._find(field)[0]

    def has(self, field: Field) -> bool:
        """Whether the file has the field."""
        return self._find(field)[1] is not None

    def text_line(self, field: Field, line_of_text: int) -> int:
        """Line of the file that has a line (from 1) of a text: exact for a `|` block, otherwise the line where the text begins."""
        line, node = self._find(field)
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            return int(node.start_mark.line) + 1 + line_of_text
        return line

    def mapping(self, field: Field, *, example: str) -> dict[str, Any]:
        """The mapping at a field; empty for an empty file. Raises FileError, which shows the example."""
        value = self.data
        for step in field:
            value = value[step]
        if value is None and not field:
            return {}
        if not isinstance(value, dict):
            raise self.error(field, f"a mapping is needed here, like {example}")
        return value

    def text(self, field: Field) -> str | None:
        """What the file has at a field as text: a number or `true` as it is written. None: null, a list or a mapping."""
        node = self._find(field)[1]
        return node.value if isinstance(node, yaml.ScalarNode) and node.tag != _TAG + "null" else None

    def number(self, field: Field) -> float:
        """The finite number at a field. Raises FileError.

        YAML 1.1 takes 1e-3 for a text and 1:30 for a number. Here a number is what Python's `float` reads.
        """
        node = self._find(field)[1]
        try:
            value = float(node.value) if isinstance(node, yaml.ScalarNode) and not node.style else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            written = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            raise self.error(field, f"a finite number is needed, not {written}")
        return value

    def error(self, field: Field, problem: str, *, line: int | None = None) -> FileError:
        """An error about a field, at its line, to be raised."""
        return FileError(self.shown, self.line(field) if line is None else line, field_text(field), problem)

    def _find(self, field: Field) -> tuple[int, Any]:
        """The line of a field and its node, None where there is no such field."""
        node, line = self._root, 1 if self._root is None else self._root.start_mark.line + 1
        for step in field:
            if isinstance(node, yaml.MappingNode):
                key, node = next((pair for pair in node.value if pair[0].value == step), (None, None))
                line = key.start_mark.line + 1 if key else line
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                return line, None
            if node is None:
                break
        return line, node

    def _compose(self, text: str) -> Any:
        try:
            loader = _Loader(text)
            try:
                return loader.get_single_node()
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = ", ".join(part for part in (error.context, error.problem) if part)
            raise FileError(self.shown, mark.line + 1 if mark else 1, "", f"not valid YAML: {problem}") from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise FileError(self.shown, line, "", f"not valid YAML: {error.reason}") from error

    def _plain(self, node: Any, inside: frozenset[int]) -> Any:
        """The value of a node. `inside`: the nodes that contain it, since an alias can name one of them."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._node_error(node, f"more than {_MOST_VALUES} values, those behind aliases included: too many for one file")
        if isinstance(node, yaml.ScalarNode) and node.tag in _CONSTRUCTORS:
            return self._scalar(node)
        if id(node) in inside:
            raise self._node_error(node, "contains itself through an alias")
        if len(inside) >= _MOST_NESTED:
            raise self._node_error(node, "nested too deeply, through aliases")
        inside |= {id(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._plain(item, inside) for item in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            self._check_keys(node)
            return {key.value: self._plain(value, inside) for key, value in node.value}
        raise self._node_error(node, f"the tag {node.tag.removeprefix(_TAG)!r} is not supported")

    def _scalar(self, node: Any) -> Any:
        kind = node.tag.removeprefix(_TAG)
        problem = f"{node.value[:40]!r} is not a valid {kind}"
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise self._node_error(node, f"{problem}: it has more than {_LONGEST_NUMBER} characters")
        try:
            value = _CONSTRUCTORS[node.tag](node)
        except (ValueError, KeyError, OverflowError) as error:
            raise self._node_error(node, problem) from error
        if kind == "int" and not -_LARGEST_INT <= value < _LARGEST_INT:
            raise self._node_error(node, f"{problem}: it has more than 64 bits")
        return value

    def _check_keys(self, node: Any) -> None:
        first_line: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag == _TAG + "merge":
                raise self._node_error(key, "'<<' (merge) is not supported; use an alias for a whole value")
            if key.tag != _TAG + "str":
                written = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise self._node_error(key, f"the key {written} is not text: quote it")
            if key.value in first_line:
                raise FileError(self.shown, line, key.value, f"given twice, first in line {first_line[key.value]}")
            first_line[key.value] = line

    def _node_error(self, node: Any, problem: str) -> FileError:
        return FileError(self.shown, node.start_mark.line + 1, "", problem)


def field_text(field: Field) -> str:
    """`tasks[3].prompt.query`, as messages write a field."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in field)
    return text.removeprefix(".")

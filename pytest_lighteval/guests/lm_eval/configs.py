"""Reads the YAML of lm-evaluation-harness: chains of `include:`, and functions, which stay names until a task is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pytest_lighteval.common.files import read_utf8
from pytest_lighteval.errors import FileError, in_one_line

FUNCTION = "!function"
"""The tag of a function, and the key of the mapping that stands for it here: `{"!function": "utils.clean", "folder": "/.../task"}`."""

Config = dict[str, Any]
Includes = dict[Path, Config]
"""Files that were read before, so that a template is read once for a thousand tasks."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # the class depends on how PyYAML was built
    """Builds plain values alone."""

    folder = ""


def _function(loader: _Loader, node: Any) -> dict[str, str]:
    return {FUNCTION: str(loader.construct_scalar(node)), "folder": loader.folder}


_Loader.add_constructor(FUNCTION, _function)


def is_function(value: object) -> bool:
    """Whether a value stands for a function."""
    return isinstance(value, Mapping) and FUNCTION in value


def function_name(value: Mapping[str, Any]) -> str:
    """`clean` of `utils.clean`."""
    return str(value[FUNCTION]).rpartition(".")[2]


def read_config(path: Path, included: Includes | None = None) -> Config:
    """The mapping in a file, with what it includes. Raises FileError, and UserInputError for a file that cannot be read.

    As in the harness, the file's own keys win over included ones, and a later include over an earlier one.
    """
    return _read(path, {} if included is None else included, ())


def _read(path: Path, included: Includes, above: tuple[Path, ...]) -> Config:
    if path in above:
        raise FileError(path, 1, "include", "the file includes itself")
    if path not in included:
        config = _load(path)
        names = config.pop("include", None)
        merged: Config = {}
        for name in names if isinstance(names, list) else [names] if names else []:
            inner = (path.parent / str(name)).resolve()
            if not inner.is_file():
                raise FileError(path, 1, "include", f"there is no file {name}")
            # the tasks that an included file lists are its own
            merged |= {key: value for key, value in _read(inner, included, (*above, path)).items() if key != "task_list"}
        included[path] = merged | config
    return included[path].copy()


def _load(path: Path) -> Config:
    loader = _Loader(read_utf8(path, shown=str(path)))
    loader.folder = str(path.parent)
    try:
        content = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise FileError(path, mark.line + 1 if mark else 1, "", f"not valid YAML: {in_one_line(error)}") from error
    except (ValueError, TypeError) as error:  # a date or a number that is none, an unhashable key
        raise FileError(path, 1, "", f"not valid YAML: {in_one_line(error)}") from error
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise FileError(path, 1, "", f"a task of lm-evaluation-harness is a mapping, this is {type(content).__name__}")
    return content

"""Which program is made of an answer, and how it is tried."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pytest_lighteval.errors import DataError
from pytest_lighteval.sandbox.job import Job, Limits, cases_of
from pytest_lighteval.types import Doc

_FENCE = "```"
_FENCE_LINE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)
_BUILTINS = frozenset(dir(builtins))
_CPU_SECONDS = 3
"""The limit of HumanEval's paper (arXiv:2107.03374), which is in wall time there."""
_LIVE_CODE_BENCH_SECONDS = 6

PRELUDE = """\
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string
import re
import datetime
import collections
import heapq
import bisect
import copy
import math
import random
import statistics
import itertools
import functools
import operator
import io
import sys
import json
sys.setrecursionlimit(50000)
"""
"""The names that LiveCodeBench gives to every program; answers rely on them."""


def last_fence(text: str) -> str:
    """The lines between the last two lines that have three backticks; empty without two. LiveCodeBench's rule (`extract_code`)."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if _FENCE in line]
    return "" if len(fences) < 2 else "\n".join(lines[fences[-2] + 1 : fences[-1]])


def first_fence(text: str) -> str:
    """The first fenced block; without a fence, all of it.

    The prompt may have opened the block: then the first fence has no language, something stands before it, and the fences are odd in
    number.
    """
    fences = list(_FENCE_LINE.finditer(text))
    if not fences:
        return text
    first = fences[0]
    if first[1].strip() == "" and len(fences) % 2 and text[: first.start()].strip():
        return text[: first.start()]
    return text[first.end() + 1 : fences[1].start() if len(fences) > 1 else len(text)]


_CODE: Mapping[str, Callable[[str], str]] = {"text": lambda text: text, "first_fence": first_fence, "last_fence": last_fence}
"""`specific.code`: how the code is found in an answer."""


def job_of(metric: str, doc: Doc, text: str, *, stops: Sequence[str] = ()) -> Job | None:
    """What a sandbox is to run for this answer. None: there is no program in it, which is a failure.

    Raises:
        DataError: The document has no tests, or they are no Python.
    """
    if metric.startswith("lcb_codegen_metric"):
        return _contest(doc, text, parity=not metric.endswith("_corrected"))
    return _tested(doc, text, stops)


def gold_job(metric: str, doc: Doc, *, stops: Sequence[str] = ()) -> Job | None:
    """The same for the data set's own solution. None: it has none."""
    gold = next((gold for gold in doc.golds if gold.strip()), None)
    return None if gold is None or metric.startswith("lcb") else _tested(doc, gold, stops)


def _tested(doc: Doc, text: str, stops: Sequence[str]) -> Job:
    """A program that tests call: `specific` has them, and what stands before the answer.

    `before` and `tests` are Python; `helpers` runs beside the tests, so that the program cannot replace its names; `entry_points` are names
    of the program (default: those that the tests use and nothing else defines); `cpu_seconds` is the limit.
    """
    given: Mapping[str, Any] = doc.specific
    if not given.get("tests"):
        raise DataError(f"{doc.id}: prompt.specific.tests: the tests of the program are missing")
    find = _CODE.get(given.get("code", "text"))
    if find is None:
        raise DataError(f"{doc.id}: prompt.specific.code: {given['code']!r} is none of {', '.join(_CODE)}")
    # a chat model was not asked to stop there
    answer = find(_shorn(text, stops))
    before = str(given.get("before", ""))
    # a whole function follows what it replaces; a body continues it
    joint = "\n" if find is not _CODE["text"] and before and answer[:1] not in ("", " ", "\t", "\n") else ""
    return Job(
        action="tests",
        code=f"{before}{joint}{answer}",
        helpers=str(given.get("helpers", "")),
        tests=str(given["tests"]),
        names=_named(doc) or _entry_points(doc, find, stops),
        limits=Limits(cpu_seconds=_seconds(doc)),
    )


def _seconds(doc: Doc) -> int:
    said = doc.specific.get("cpu_seconds", _CPU_SECONDS)
    if not re.fullmatch(r"[1-9][0-9]{0,4}", str(said)):
        raise DataError(f"{doc.id}: prompt.specific.cpu_seconds: {said!r} is no whole number of seconds from 1 on")
    return int(said)


def _shorn(text: str, stops: Sequence[str]) -> str:
    """Up to the first stop."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _named(doc: Doc) -> tuple[str, ...]:
    """The names that the suite gives; none if it leaves them to be found."""
    names = doc.specific.get("entry_points") or ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise DataError(f"{doc.id}: prompt.specific.entry_points: {names!r} is no list of names")
    return tuple(names)


def _entry_points(doc: Doc, find: Callable[[str], str], stops: Sequence[str]) -> tuple[str, ...]:
    """Names that the tests use, and that neither they nor Python define. A name of Python's own counts if the gold defines it."""
    tests = _parsed(doc, str(doc.specific["tests"]), "tests")
    names = [node for node in ast.walk(tests) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    loaded = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    for code in (doc.specific.get("tests", ""), doc.specific.get("helpers", "")):
        stored |= _defined(_parsed(doc, str(code), "tests"))
    solved: set[str] = set()
    for gold in doc.golds:
        with suppress(DataError):  # it may be the rest of a function
            solved |= _defined(_parsed(doc, find(_shorn(gold, stops)), "choices"))
    return tuple(sorted(loaded - stored - (_BUILTINS - solved)))


def _defined(tree: ast.Module) -> set[str]:
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found |= {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for argument in ast.walk(node)
        if isinstance(argument, ast.arg)
    }
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return found | {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}


def _parsed(doc: Doc, code: str, field: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python will not know for ever
            return ast.parse(code)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{doc.id}: prompt.specific.{field}: no Python: {error}") from error


def _contest(doc: Doc, text: str, *, parity: bool) -> Job | None:
    """A program of a contest: LiveCodeBench's cases (`specific`: inputs, outputs, fn_name)."""
    code = last_fence(text)
    if not code:
        return None
    function = doc.specific["fn_name"]
    cases = cases_of(doc.specific["inputs"], doc.specific["outputs"])
    if parity:
        # the whole run has one process, which the reference gives a limit of wall time
        seconds = (_LIVE_CODE_BENCH_SECONDS + 1) * len(cases) + 5
        return Job(
            action="parity",
            code=f"{PRELUDE}\n{code}",
            function=function,
            cases=cases,
            test_seconds=_LIVE_CODE_BENCH_SECONDS,
            limits=Limits(cpu_seconds=seconds),
        )
    limits = Limits(cpu_seconds=_LIVE_CODE_BENCH_SECONDS)
    return Job(action="call" if function else "script", code=code, prelude=PRELUDE, function=function, cases=cases, limits=limits)

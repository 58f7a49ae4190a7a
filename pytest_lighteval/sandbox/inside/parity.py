"""LiveCodeBench's answers as Lighteval v0.9.2 runs them: all tests in one process, with the faults of that way.

Lighteval's `codegen_metrics` (v0.9.2, from LiveCodeBench's `testing_util.py`). The faults, each of which turns right answers wrong:
`sys.stdin.buffer` does not exist; `open(0)` reads another stdin; names of the module are names of a function, so `global` finds nothing;
the words "class Solution" anywhere ask for the class; a bare `except:` catches the time limit. One difference: its limit of a test is wall
time, here it is CPU time, so that a busy host changes no score.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import signal
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any
from unittest import mock

from pytest_lighteval.sandbox.inside import compare
from pytest_lighteval.sandbox.inside.codec import encode
from pytest_lighteval.sandbox.inside.peer import Channel

WRONG_OUTPUT, TIMED_OUT, ERROR = -2, -3, -4
OUTCOMES = {TIMED_OUT: "timed out"}
"""By the code of the test that ended a run."""


def wall_seconds(job: Mapping[str, Any]) -> float:
    """After which the reference ends the process, and no test counts as passed."""
    return float((job["test_seconds"] + 1) * len(job["cases"]) + 5)


def code_of(said: Mapping[str, Any], expected: str, *, calls: bool) -> int | bool:
    """The reference's code of one test: True, False (another value), or one of the numbers above."""
    if "code" in said:
        # the program may have written the message itself
        return TIMED_OUT if said["code"] == TIMED_OUT else ERROR
    if calls:
        return compare.same_value(said.get("value"), expected)
    return True if compare.same_output(str(said.get("output")), expected) else WRONG_OUTPUT


def run(channel: Channel, task: Mapping[str, Any]) -> None:
    """In the candidate's process: run all tests, and send what each one gave."""
    prepare = _function_to_call if task["function"] else _script_as_function
    try:
        with _limit(task["test_seconds"]):
            ask = prepare(task)
    except BaseException as error:
        channel.send({"code": TIMED_OUT if isinstance(error, _TimeUpError) else ERROR})
        return
    for case in task["cases"]:
        try:
            with _limit(task["test_seconds"]):
                said = ask(case["input"])
        except SystemExit:
            return  # nothing catches it: the process ends
        except BaseException as error:
            said = {"code": TIMED_OUT if isinstance(error, _TimeUpError) else ERROR}
        channel.send(said)


def _function_to_call(task: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    module = types.ModuleType("tmp_sol")
    exec(compile(task["code"], "program.py", "exec"), vars(module))
    holder = module.Solution() if "class Solution" in task["code"] else module
    function = getattr(holder, task["function"])

    def ask(given: str) -> dict[str, Any]:
        value = function(*[json.loads(line) for line in given.split("\n")])
        return {"value": encode(value, lambda _: [])}

    return ask


def _script_as_function(task: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    module = types.ModuleType("tmp_sol")
    exec(compile(as_function(task["code"]), "program.py", "exec"), vars(module))

    def ask(given: str) -> dict[str, Any]:
        written = io.StringIO()
        stdin = mock.patch.object(sys, "stdin", io.StringIO(given))
        files = mock.patch.object(builtins, "open", mock.mock_open(read_data=given))
        with redirect_stdout(written), stdin, files, suppress(SystemExit):
            module.wrapped_function()
        return {"output": written.getvalue()}

    return ask


def as_function(code: str) -> ast.Module:
    """The program with its imports first and all else in a function; a last `if __name__ == "__main__":` becomes its body."""
    body = list(ast.parse(code).body)
    last = body[-1] if body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        body[-1:] = last.body
    imports = [statement for statement in body if isinstance(statement, ast.Import | ast.ImportFrom)]
    rest = [statement for statement in body if not isinstance(statement, ast.Import | ast.ImportFrom)] or [ast.Pass()]
    function = ast.parse("def wrapped_function(): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = rest
    return ast.fix_missing_locations(ast.Module(body=[*imports, function], type_ignores=[]))


class _TimeUpError(Exception):
    """A test took too long; the program may catch it, as in the reference."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def end(number: int, frame: object) -> None:
        raise _TimeUpError

    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)

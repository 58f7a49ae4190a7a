"""What a confined process does with a model's code: run it as a script, call its function, or serve its functions to an examiner."""

from __future__ import annotations

import atexit
import json
import os
import random
import sys
import threading
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pytest_lighteval.sandbox.inside import parity
from pytest_lighteval.sandbox.inside.codec import encode
from pytest_lighteval.sandbox.inside.peer import ALL_OPERATIONS, Channel, GoneError, Peer, described

NAME = "solution"
"""Of a module that is no script, as in the reference's runners: what stands under `if __name__ == "__main__"` does not run."""


def main(channel: Channel) -> None:
    """Say that the limits hold, take a program, and run it. Never returns."""
    channel.send({"ready": True})
    task = channel.receive()
    random.seed(0)
    with suppress(GoneError):
        _ACTIONS[task["action"]](channel, task)
    os._exit(0)


def _script(channel: Channel, task: Mapping[str, Any]) -> None:
    """Run it as `python program.py` does, to the end of its threads and of what it registered for the exit."""
    error = None
    try:
        _module("__main__", task)
    except SystemExit:
        pass  # a normal end, whatever its code: as in the reference
    except BaseException as problem:
        error = described(problem)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException as problem:
        error = error or described(problem)
    channel.send({"raised": error} if error else {"ended": True})


def _call(channel: Channel, task: Mapping[str, Any]) -> None:
    """Call one function with values that are written as JSON."""
    try:
        module = _module(NAME, task)
        holder = getattr(module, "Solution", None)
        function = getattr(holder() if isinstance(holder, type) else module, task["function"])
        value = function(*[json.loads(argument) for argument in task["arguments"]])
        reply = {"value": encode(value, lambda _: [])}
    except BaseException as problem:
        reply = {"raised": described(problem)}
    channel.send(reply)


def _serve(channel: Channel, task: Mapping[str, Any]) -> None:
    """Define everything, and do what the examiner asks, until it is gone."""
    peer = Peer(channel, serves=ALL_OPERATIONS)
    try:
        module = _module(NAME, task)
    except BaseException as problem:
        channel.send({"raised": described(problem)})
        return
    peer.keep(vars(module))
    channel.send({"defined": True})
    while True:
        peer.answer(channel.receive())


def _module(name: str, task: Mapping[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    sys.argv = ["program.py"]
    for text in (task["prelude"], task["code"]):
        exec(compile(text, "program.py", "exec"), vars(module))
    return module


_ACTIONS = {"script": _script, "call": _call, "serve": _serve, "parity": parity.run}

"""What asks a candidate the questions of a test. The candidate's code is in another process, without the tests and the verdict."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from pytest_lighteval.sandbox.inside.peer import Channel, GoneError, Peer, described

NAMESPACE = 0
"""The number of a candidate's global names."""


def main(keeper: Channel, candidate: Channel) -> None:
    """Take the tests, run them, and send the verdict. Never returns."""
    keeper.send({"ready": True})
    task = keeper.receive()
    random.seed(0)
    peer = Peer(candidate, serves=frozenset({"call"}))
    names: dict[str, Any] = {"__name__": "tests"}
    problem = _problem(lambda: exec(compile(task["helpers"], "helpers.py", "exec"), names))
    if problem is not None:
        keeper.send({"broken": problem})
        os._exit(0)

    def examine() -> None:
        defined = candidate.receive()
        if "raised" in defined:
            raise _DefinitionError(*defined["raised"])
        given = peer.ask("names", NAMESPACE, list(task["names"]))
        if type(given) is not dict:
            raise TypeError("the program's names are no mapping")
        # whatever else it offers would replace Python's functions, or those of the helpers
        names.update({name: given[name] for name in task["names"] if name in given})
        exec(compile(task["tests"], "tests.py", "exec"), names)

    problem = _problem(examine)
    # a test may have caught the error of a candidate that ended
    keeper.send({"gone": True} if peer.is_gone else {"raised": problem} if problem is not None else {"passed": True})
    os._exit(0)


class _DefinitionError(Exception):
    """The candidate's code raised an error before anything could be called."""


def _problem(action: Callable[[], Any]) -> list[str] | None:
    try:
        action()
    except _DefinitionError as error:
        return list(error.args)
    except GoneError:
        return ["GoneError", "the program ended before its tests did"]
    except BaseException as error:
        return described(error)
    return None

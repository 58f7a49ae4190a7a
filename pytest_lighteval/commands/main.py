"""The commands by name. A command's module is imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from pytest_lighteval.errors import LightevalError, did_you_mean

_CALL = "python -m pytest_lighteval"


class Command(NamedTuple):
    """One command."""

    name: str
    help: str
    """One line for the list of commands."""
    module: str
    """Below `commands`; it has `add_arguments(parser)` and `run(options)`."""


COMMANDS = (
    Command("compare", "compare stored runs document by document, without a model", "compare"),
    Command("gate", "judge several runs of one model as one session, without the model", "gate"),
    Command("merge", "join the shards of a run (--shard k/n) into one whole run, and judge it", "merge"),
    Command("publish", "put a finished run where people keep results: the hub, trackers, files", "publish"),
    Command("import", "make gates and baselines of what other harnesses have", "import_results"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, 1 if something is red, 2 for a mistake of the user, told in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0
    command = next((command for command in COMMANDS if command.name == given[0]), None)
    if command is None:
        names = [command.name for command in COMMANDS]
        sys.stderr.write(f"{_CALL} {given[0]}: there are {', '.join(names)}{did_you_mean(given[0], names)}\n")
        return 2
    module = import_module(f"pytest_lighteval.commands.{command.module}")
    parser = argparse.ArgumentParser(prog=f"{_CALL} {command.name}", description=f"{command.help[0].upper()}{command.help[1:]}.")
    module.add_arguments(parser)
    try:
        status: int = module.run(parser.parse_args(given[1:]))
    except (LightevalError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return status


def _overview() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name.ljust(width)}  {command.help}" for command in COMMANDS]
    return "\n".join([f"usage: {_CALL} COMMAND ...", "", *lines, "", f"{_CALL} COMMAND --help explains one of them.", ""])

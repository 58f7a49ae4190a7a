"""Under torchrun: one session in several processes, of which only the first prints and reports.

Every process collects and runs the same items, since all of them take part in every answer. The others are silent; if one fails, it
writes the reason to a file that torchrun prints. Every pytest run imports this module, so it imports only pytest until torchrun is there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by torchrun alone; clusters set RANK and WORLD_SIZE for jobs of any kind."""
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""The file in which torchrun looks for the reason when a process fails; torchrun prints it in its summary."""
_SILENT = pytest.StashKey[bool]()


def is_beside_first() -> bool:
    """Whether torchrun started this process, and it is not the first."""
    return LAUNCHED in os.environ and os.environ.get("RANK", "0") != "0"


def silence(config: pytest.Config, arguments: Iterable[str]) -> None:
    """Print nothing from now on, if this session evaluates models and is not the first process.

    Must be called before pytest starts to capture output. Short forms of options are not registered by then, so the raw command line is
    searched. `--backend nccl` belongs to some other project.
    """
    if not is_beside_first() or not (config.getini("lighteval_backend") or _names_backend(list(arguments))):
        return
    config.stash[_SILENT] = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def report_error(config: pytest.Config, error: BaseException, *, where: str = "") -> None:
    """Write why this silent process failed to its error file, in one line. In any other process nothing happens.

    An error that ends the session replaces an earlier one; otherwise the first error counts. The file has the form of
    `torch.distributed.elastic.multiprocessing.errors`.
    """
    path = os.environ.get(_ERROR_FILE)
    if not path or not config.stash.get(_SILENT, False):
        return
    from pytest_lighteval.errors import BackendLostError, LightevalError
    from pytest_lighteval.plugin.secret_texts import mask_likely
    from pytest_lighteval.reports.printable import printable

    if os.path.exists(path) and not isinstance(error, BackendLostError):
        return
    kind = "" if isinstance(error, LightevalError | pytest.UsageError) else type(error).__name__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    reason = printable(mask_likely(": ".join(filter(None, (where, kind, first)))))
    more = {"py_callstack": reason, "timestamp": str(int(time.time()))}
    Path(path).write_text(json.dumps({"message": {"message": reason, "extraInfo": more}}), "utf-8")


def _names_backend(arguments: Sequence[str]) -> bool:
    """Whether a command line has the prefixed option, or the short one with one of this plugin's backends."""
    from pytest_lighteval.backends import names

    chosen: list[str] = []
    for place, argument in enumerate(arguments):
        option, is_joined, value = argument.partition("=")
        if option == "--lighteval-backend":
            return True
        if option == "--backend":
            chosen += [value] if is_joined else arguments[place + 1 : place + 2]
    return not set(chosen).isdisjoint(names())


def scratch_folder(config: pytest.Config) -> Path:
    """Where this process writes what only the first one keeps; gone when the session ends. No JUnit file is written either."""
    config.option.xmlpath = None
    folder = Path(tempfile.mkdtemp(prefix="pytest-lighteval-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder

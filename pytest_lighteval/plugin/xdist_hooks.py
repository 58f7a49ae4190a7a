"""Under pytest-xdist: one worker a GPU, one folder for the run, and a dead worker's item as an error.

The hooks are optional ones: without xdist nobody calls them. Everything else of the plugin works the same in one process and in many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lighteval.plugin.item_report import ATTRIBUTE, RUN_FOLDER
from pytest_lighteval.plugin.options import is_in_use

if TYPE_CHECKING:  # this module is imported by every pytest run
    from pytest_lighteval.common.threads import Threads

WORKER_INPUT = "lighteval_run_folder"
WORKER_DAY = "lighteval_today"
NEWEST_ANSWER = "lighteval_newest_answer"


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n auto` is one worker for each visible GPU, one without a GPU; a session that evaluates nothing keeps xdist's own rule."""
    if not is_in_use(config):
        return None
    from pytest_lighteval.common.devices import visible_gpus

    return max(1, len(visible_gpus()))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker writes its details below the one run folder, and looks up what was answered before the session alone."""
    if RUN_FOLDER in node.config.stash:
        from pytest_lighteval.plugin.cache import newest_answer
        from pytest_lighteval.plugin.session import plan_of

        node.workerinput[WORKER_INPUT] = str(node.config.stash[RUN_FOLDER])
        node.workerinput[NEWEST_ANSWER] = newest_answer(node.config)
        node.workerinput[WORKER_DAY] = plan_of(node.config).settings.gate.today.isoformat()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The controller collects nothing itself: what the first worker found is what the session's gates are."""
    if RUN_FOLDER in node.config.stash:
        from pytest_lighteval.plugin.gate_lines import gate_lines
        from pytest_lighteval.plugin.gates import plan_session
        from pytest_lighteval.plugin.items import task_of
        from pytest_lighteval.plugin.session import plan_of

        found = (task_of(node.config, nodeid) for nodeid in ids)
        is_first = plan_of(node.config).items is None
        plan_session(node.config, [item for item in found if item is not None])
        terminal = node.config.pluginmanager.get_plugin("terminalreporter")
        if is_first and terminal is not None:
            for line in gate_lines(node.config):
                terminal.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tasks differ in length by orders of magnitude: hand them out as workers get free, unless the user chose a way.

    With a reference model they are handed out in order, so that all of its tasks are under way before the first of the other model's.
    """
    if not is_in_use(config) or config.getoption("dist") != "load":
        return None
    from pytest_lighteval.plugin.session import plan_of

    if plan_of(config).settings.against is not None:
        from xdist.scheduler import LoadScheduling

        in_order = LoadScheduling(config, log)
        in_order.maxschedchunk = 1
        return in_order
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """A worker that dies in the middle of a task measured nothing: that is an error, not a failed score."""
    if RUN_FOLDER not in sched.config.stash:
        return
    from pytest_lighteval.plugin.items import REFERENCE, key_of

    is_reference = crashitem.endswith(f"-{REFERENCE}]")
    key = key_of(sched.config, crashitem.replace(f"-{REFERENCE}]", "]") if is_reference else crashitem)
    if key is not None:
        name = f"{key} ({REFERENCE})" if is_reference else str(key)
        report.when = "setup"
        setattr(report, ATTRIBUTE, {"errors": {name: "the worker process that ran it died"}})


def run_folder_of_controller(config: pytest.Config) -> Path | None:
    """The run folder that the controller chose. None: this process is the controller, or there is none."""
    chosen = getattr(config, "workerinput", {}).get(WORKER_INPUT)
    return Path(chosen) if chosen else None


def controllers_day(config: pytest.Config) -> date | None:
    """The day on which the controller started: waivers expire for all workers at once. None: this process is the controller."""
    day = getattr(config, "workerinput", {}).get(WORKER_DAY)
    return date.fromisoformat(day) if day else None


def newest_answer_of_controller(config: pytest.Config) -> int | None:
    """Up to which answer this worker may look. None: this process is the controller, or nothing is kept."""
    newest: int | None = getattr(config, "workerinput", {}).get(NEWEST_ANSWER)
    return newest


def worker_count(config: pytest.Config) -> int:
    """Processes that evaluate in this session, 1 without xdist."""
    workers = getattr(config, "workerinput", {}).get("workercount") or config.getoption("numprocesses", None)
    return workers if isinstance(workers, int) and workers > 0 else 1


def crowded_note(config: pytest.Config, backend: str | None, asked: Threads) -> Iterator[str]:
    """One line where several workers of a backend that computes on the CPU have more threads together than there are cores."""
    workers = worker_count(config)
    if workers == 1 or backend is None or asked == "share":
        return
    from pytest_lighteval.backends import load_backend
    from pytest_lighteval.backends.protocol import computes_on_cpu
    from pytest_lighteval.common.devices import visible_gpus
    from pytest_lighteval.common.threads import choose_threads, usable_cores

    if not computes_on_cpu(load_backend(backend)):
        return
    cores = usable_cores()
    threads = choose_threads(asked, cores=cores)
    if workers * threads > cores and not visible_gpus():
        yield (
            f"lighteval: {workers} workers with {threads} threads each on {cores} cores slow one another down; --threads share divides the"
            " cores, and the last digits of scores then depend on -n"
        )


def pin_gpu(worker_id: str) -> None:
    """Give worker `gw<n>` the n-th visible GPU alone (round robin), before anything imports torch."""
    from pytest_lighteval.common.devices import visible_gpus

    gpus = visible_gpus()
    number = worker_id.removeprefix("gw")
    if len(gpus) > 1 and number.isdecimal():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(number) % len(gpus)]

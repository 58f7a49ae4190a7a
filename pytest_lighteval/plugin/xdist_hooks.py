"""Under pytest-xdist: one folder for the run, long tasks first come first served, and a dead worker's item as an error."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.protocol import computes_on_cpu
from pytest_lighteval.common.devices import visible_gpus
from pytest_lighteval.common.threads import Threads, choose_threads, usable_cores
from pytest_lighteval.plugin.gates import gate_lines, plan_session
from pytest_lighteval.plugin.item_report import ATTRIBUTE, without_repeated_loss
from pytest_lighteval.plugin.items import task_of, without_group
from pytest_lighteval.plugin.judge_settings import has_judge
from pytest_lighteval.plugin.options import is_asked_to_evaluate
from pytest_lighteval.plugin.replicas import Engines
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.plugin.start_checks import check_start
from pytest_lighteval.plugin.workers import hand_newest_answer, hand_start, worker_count
from pytest_lighteval.reports.printable import printable
from pytest_lighteval.reports.run_collector import REFERENCE


class XdistHooks:
    """Registered in a session that evaluates models; without xdist nobody calls these hooks."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._losses: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self) -> Generator[None, Any, Any]:
        """A model that does not load is one error, although every worker tries."""
        report = yield
        if isinstance(report, pytest.TestReport):
            without_repeated_loss(report, self._losses)
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Every worker writes its details below the one run folder, and finds answers that are older than the session alone."""
        hand_start(node)
        self._session.sandbox.hand(node)
        hand_newest_answer(node, self._session.cache.newest_answer())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The controller collects nothing itself: what the first worker found is what the session's gates are."""
        is_first = not self._session.is_planned
        found = (task_of(self._session, self._config.rootpath, nodeid) for nodeid in ids)
        plan_session(self._session, [item for item in found if item is not None])
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if is_first and terminal is not None:
            for line in gate_lines(self._session, collect_only=self._config.option.collectonly, verbosity=self._config.get_verbosity()):
                terminal.write_line(printable(line))
        if is_first:
            check_start(self._config, self._session)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Tasks differ in length by orders of magnitude: hand them out as workers get free, unless the user chose a way.

        With a reference model they are handed out in order, so that all of its tasks have begun before the first one of the other model;
        so are those of judged tasks, whose own items come last.
        """
        if config.getoption("dist") != "load" or not is_asked_to_evaluate(config):
            return None
        from xdist.scheduler import LoadScheduling, WorkStealingScheduling

        if self._session.settings.against is None and not has_judge(config, self._session.settings.judge):
            return WorkStealingScheduling(config, log)
        in_order = LoadScheduling(config, log)
        in_order.maxschedchunk = 1
        return in_order

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A worker that dies in the middle of a task measured nothing: that is an error, not a failed score."""
        crashitem = without_group(crashitem)
        is_reference = crashitem.endswith(f"-{REFERENCE}]")
        found = task_of(self._session, self._config.rootpath, crashitem.replace(f"-{REFERENCE}]", "]") if is_reference else crashitem)
        if found is not None:
            name = f"{found[0]} ({REFERENCE})" if is_reference else str(found[0])
            report.when = "setup"
            setattr(report, ATTRIBUTE, {"errors": {name: "the worker process that ran it died"}})


def engine_count(config: pytest.Config, replicas: Engines | None) -> int:
    """Processes with an engine in this session."""
    return worker_count(config) if replicas is None else replicas.count


def crowded_note(config: pytest.Config, backend: str | None, asked: Threads, replicas: Engines | None = None) -> Iterator[str]:
    """One line if the engines of a backend that computes on the CPU have more threads together than there are cores."""
    workers = engine_count(config, replicas)
    kind, option = ("workers", "-n") if replicas is None else ("replicas", "--replicas")
    if workers == 1 or backend is None or asked == "share" or not (replicas is None or replicas.is_here):
        return
    if not computes_on_cpu(load_backend(backend)):
        return
    cores = usable_cores()
    threads = choose_threads(asked, cores=cores)
    if workers * threads > cores and not visible_gpus():
        yield (
            f"lighteval: {workers} {kind} with {threads} threads each on {cores} cores slow one another down; --threads share divides the"
            f" cores, and the last digits of scores then depend on {option}"
        )


def pin_gpu() -> None:
    """Give worker `gw<n>` the n-th visible GPU alone (round robin), before anything imports torch."""
    gpus = visible_gpus()
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if len(gpus) > 1 and number.isdecimal():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(number) % len(gpus)]

"""The items of `--check-tasks`: one for each task. The set-up checks, the call judges, as of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.checks.accepted import accept
from pytest_lighteval.checks.check import check_task
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.evaluate import task_kinds
from pytest_lighteval.plugin.check_settings import MARK
from pytest_lighteval.plugin.item_report import attach_check, attach_check_error
from pytest_lighteval.plugin.session import session_of
from pytest_lighteval.reports.checks import check_properties, failure_text
from pytest_lighteval.types import Task, TaskCheck


class CheckItem(pytest.Item):
    """One task under the linter. It uses no fixture, so no model is made."""

    def __init__(self, *, task: Task, few_shots: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task = task
        self.few_shots = tuple(few_shots)
        self._check: TaskCheck | None = None
        for kind in task_kinds(task) if task.skip is None else (None,):
            mark = pytest.mark.lighteval(
                suite=task.suite, task=task.name, kind=kind and kind.value, group=task.superset, language=task.language, check=True
            )
            self.add_marker(mark)
        if task.skip:
            self.add_marker(pytest.mark.skip(reason=task.skip))

    @property
    def id(self) -> Any:
        """What pytest 9.2 compares in `--lf`, as of an evaluation's item."""
        collector: Any = self.parent
        return collector.id.child(self.task.name).with_params(MARK)

    def setup(self) -> None:
        """Check the task, over all of its rows."""
        session = session_of(self.config)
        settings = session.settings
        assert settings.checks is not None
        try:
            found = check_task(
                self.task,
                few_shots=self.few_shots,
                settings=settings.evaluation,
                data_sets=session.data_sets,
                tokens=settings.checks.tokens,
            )
        except LightevalError as error:
            attach_check_error(self, self.task.id, str(error))
            # one line: a chain of exceptions would show this plugin, which is not where the mistake is
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        self._check = accept(found, self.task, settings.checks.accepted)
        attach_check(self, self._check)
        self.user_properties += check_properties(self._check)

    def runtest(self) -> None:
        """Fail with the findings that are not accepted."""
        settings = session_of(self.config).settings.checks
        assert settings is not None
        assert self._check is not None
        if found := self._check.open(settings.fail_on):
            pytest.fail(failure_text(self._check, found), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the task is declared."""
        return self.path, self.task.line - 1, self.name

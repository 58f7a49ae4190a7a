"""A pool works ahead: while it answers one task, engines without work begin with the items that come next."""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial

from pytest_lighteval.backends.chunked import ChunkedBackend
from pytest_lighteval.backends.pool.backend import PoolBackend
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.evaluate import requests_of, task_kinds
from pytest_lighteval.plugin.items import AnswersItem, TaskItem, is_judged_item
from pytest_lighteval.plugin.session import Session
from pytest_lighteval.types import Backend


def work_ahead(session: Session, item: TaskItem | AnswersItem, model: Backend, engine: Backend) -> None:
    """Let the engines of a pool go on with the items after this one. Any other model is left alone.

    Tasks of a few documents (a subject of MMLU) are one chunk, and would keep all engines but one waiting.
    """
    if isinstance(model, PoolBackend) and isinstance(engine, ChunkedBackend):
        items = item.session.items
        # a judged task's own item asks nobody: its answers are there by then
        asking = (one for one in items[items.index(item) + 1 :] if isinstance(one, AnswersItem) or not is_judged_item(one))
        later = deque(one for one in asking if isinstance(one, TaskItem | AnswersItem) and one.key not in session.asked_ahead)
        model.supply = partial(_ask_next, session, later, engine)


def _ask_next(session: Session, later: deque[TaskItem | AnswersItem], engine: ChunkedBackend) -> bool:
    """Ask the next item's requests ahead. False: there is none."""
    if not later:
        return False
    item = later.popleft()
    session.asked_ahead.add(item.key)
    can_answer = all(kind in engine.supports for kind in task_kinds(item.task)) if item.task.skip is None else False
    # a task that may end early is asked part by part
    if can_answer and session.judge.early_stopping(item.key, item.task) is None:
        with contextlib.suppress(LightevalError):  # the item itself says what is wrong
            kinds = requests_of(
                item.task,
                engine,
                few_shots=item.key.few_shots,
                truncate=item.key.truncate,
                settings=session.settings.evaluation,
                data_sets=session.data_sets,
            )
            # of a part of the task, the answers of the first kind decide what is asked of the others
            for requests in kinds if session.settings.shard is None else kinds[:1]:
                engine.ask_ahead(requests)
    return True

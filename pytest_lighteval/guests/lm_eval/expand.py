"""A name of the harness -> the tasks that it means: itself, the members of a tag, or those of a group and the groups below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.errors import FileError
from pytest_lighteval.guests.lm_eval.configs import Config
from pytest_lighteval.guests.lm_eval.index import Entry

_OF_GROUPS = frozenset(("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"))
"""Keys of a group that are about the group; the others change its tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A task, with what the groups above it change."""

    name: str
    """The harness's name; `group::task` for a task that is declared inside of a group."""
    entry: Entry | None
    """None: it is declared inside of a group, and `changes` has all of it."""
    changes: Config = field(default_factory=dict)
    path: str = ""
    """The YAML file that declares it."""

    @property
    def config(self) -> Config:
        """The keys that say what the task is."""
        return {**({} if self.entry is None else self.entry.config), **self.changes}


def expand(entry: Entry, index: Mapping[str, Entry]) -> Iterator[Member]:
    """The tasks that a name means, in the harness's order. Raises FileError for a group that names nothing, or itself."""
    if entry.kind == "task":
        yield Member(name=entry.name, entry=entry, path=entry.path)
    elif entry.kind == "tag":
        yield from _of_tag(entry, index, {})
    else:
        yield from _of_group(entry.name, entry.config, entry.members, entry.path, index, {}, ())


def is_aggregated(entry: Entry) -> bool:
    """Whether the harness reports a row of the group's own."""
    return entry.kind == "group" and bool(entry.config.get("aggregate_metric_list"))


def weighs_documents(entry: Entry) -> bool:
    """Whether that row weighs the tasks by their documents, which is the harness's default."""
    rules = entry.config.get("aggregate_metric_list") or []
    rules = rules if isinstance(rules, list) else [rules]
    return all(not isinstance(rule, Mapping) or rule.get("weight_by_size", True) for rule in rules)


def _of_tag(entry: Entry, index: Mapping[str, Entry], changes: Config) -> Iterator[Member]:
    for name in sorted(entry.members):
        yield Member(name=name, entry=index[name], changes=changes, path=index[name].path)


def _of_group(
    name: str, config: Mapping[str, Any], members: list[Any], path: str, index: Mapping[str, Entry], changes: Config, above: tuple[str, ...]
) -> Iterator[Member]:
    if name in above:
        raise FileError(path, 1, "task", f"the group {name} holds itself")
    # what is said further up wins
    changes = {key: value for key, value in config.items() if key not in _OF_GROUPS} | changes
    for member in members:
        if not isinstance(member, str) and not (isinstance(member, Mapping) and ("task" in member or "group" in member)):
            raise FileError(path, 1, "task", f"a member of the group {name} is a name, or a mapping with task or group, not {member!r}")
        own: Config = (
            {} if isinstance(member, str) else {key: value for key, value in member.items() if key not in ("task", "group", "tag")}
        )
        called = member if isinstance(member, str) else member.get("group") or member["task"]
        if isinstance(called, list):  # a group without a name of its own inside of this one
            yield from _of_group(f"{name}::", own, called, path, index, changes, (*above, name))
        elif called in index:
            found = index[called]
            if found.kind == "task":
                yield Member(name=called, entry=found, changes={**changes, **own}, path=found.path)
            elif found.kind == "tag":
                yield from _of_tag(found, index, {**changes, **own})
            else:
                yield from _of_group(called, found.config, found.members, found.path, index, {**changes, **own}, (*above, name))
        elif isinstance(member, Mapping) and "group" in member:
            inner = member.get("task") or []
            rest = {key: value for key, value in own.items() if key not in _OF_GROUPS}
            yield from _of_group(
                f"{name}::{called}", rest, inner if isinstance(inner, list) else [inner], path, index, changes, (*above, name)
            )
        elif isinstance(member, Mapping):
            yield Member(name=f"{name}::{called}", entry=None, changes={**changes, **own}, path=path)
        else:
            raise FileError(path, 1, "task", f"the group {name} has {called!r}, which is neither a task, a group nor a tag")

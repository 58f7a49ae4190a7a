"""The tasks of the harness for `--tasks "lm_eval|..."`: names, groups, tags and patterns, and the folders of the user's own tasks."""

from __future__ import annotations

import fnmatch
import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean
from pytest_lighteval.guests.lm_eval.configs import read_config
from pytest_lighteval.guests.lm_eval.declared import declare
from pytest_lighteval.guests.lm_eval.expand import Member, expand, is_aggregated, weighs_documents
from pytest_lighteval.guests.lm_eval.harness import find_aggregate
from pytest_lighteval.guests.lm_eval.index import Entry, build_index, installed, is_theirs, load_index
from pytest_lighteval.guests.lm_eval.task import LmEvalGuest, make_guest
from pytest_lighteval.tasks.task_spec import Selected, TaskSpec
from pytest_lighteval.types import PromptTemplate, Task

SUITE = "lm_eval"
"""The suite of all tasks of the harness."""
_AVERAGE = ":_average"


@dataclass(kw_only=True)
class LmEvalTasks:
    """The names of the installed harness, and of the user's folders, which come first.

    Nothing is read until a name is asked for, and the harness is not imported before a task is evaluated.
    """

    cache: Path
    """Where the index is kept."""
    data_home: Path | None = None
    folders: Sequence[Path] = ()
    """The user's, of files that may be the harness's."""
    suite: str = SUITE
    shown: str = SUITE
    """What the ids of items begin with, wherever the harness is installed."""
    _chosen: dict[str, Task] = field(default_factory=dict)
    """The tasks that were asked for, by id."""

    @cached_property
    def path(self) -> Path:
        """The file at which pytest collects the tasks of the installed harness."""
        return Path(str(importlib.resources.files("pytest_lighteval"))) / "guests" / "lm_eval" / "lm_eval.yaml"

    def owns(self, path: Path) -> bool:
        """Whether a YAML file is the harness's and no suite: the file above, or one in the user's folders."""
        if path == self.path:
            return True
        if not any(path.is_relative_to(folder) for folder in self.folders):
            return False
        try:
            return is_theirs(read_config(path))
        except LightevalError:
            text = path.read_text("utf-8", errors="replace")
            return (
                not re.search(r"^tasks\s*:", text, re.MULTILINE) and re.search(r"^(task|group|include)\s*:", text, re.MULTILINE) is not None
            )

    def load(self, path: Path) -> list[Task]:
        """The tasks of a file that `owns` is true for. Raises FileError."""
        chosen = {task.id: task for task in self._chosen.values() if task.path == path}
        if path == self.path:
            return list(chosen.values())
        config = read_config(path)
        name = config.get("group") or config.get("task")
        entry = self._own.get(name) if isinstance(name, str) else None
        if entry is None or entry.path != str(path):
            return list(chosen.values())  # a template, or a name that an earlier file has
        # a group's tasks are in their own files, but for those that it declares itself
        members = [member for member in expand(entry, self._names) if member.path == str(path)]
        return list(({task.id: task for task in (self._task(member, None) for member in members)} | chosen).values())

    def select(self, spec: TaskSpec, few_shots: Sequence[int] | None) -> list[Selected]:
        """The tasks that a spec names, each at its count. `few_shots`: where the spec has none; None: each task's own.

        Raises UserInputError for a name that the harness has not, a count that a task cannot have, and the truncation flag.
        """
        if spec.truncate:
            raise UserInputError(f"{spec.where}{spec}: lm-evaluation-harness leaves out no examples: the last field is 0 there")
        selected = []
        is_one = False
        for task in self.named(spec.task, spec.where):
            guest = task.guest
            assert isinstance(guest, LmEvalGuest)
            fixed = guest.declared.fixed_shots
            is_one = task.name == spec.task or spec.task in task.aliases
            if spec.few_shots and fixed == 0 and is_one:
                raise UserInputError(
                    f"{spec.where}{spec}: the task's YAML says num_fewshot: 0, which cannot be changed: write |0, or no count"
                )
            counts = (spec.few_shots,) if spec.few_shots is not None else few_shots or task.few_shots
            counts = counts if fixed != 0 else (0,)
            selected += [Selected(task=task, few_shots=count, truncate=False) for count in counts]
        return selected

    def named(self, name: str, where: str = "") -> list[Task]:
        """The task of a name, or all that a group, a tag or a pattern means; `group:task` is one task of a group. Raises UserInputError."""
        group, colon, _ = name.partition(":")
        if name in self._names:
            tasks = self._tasks(self._names[name])
        elif colon and group in self._names:
            tasks = self._tasks(self._names[group])
            if not name.endswith(_AVERAGE):
                tasks = [task for task in tasks if name in (task.name, *task.aliases)]
        elif re.search(r"[*?\[]", name):
            found = [entry for known, entry in self._names.items() if entry.kind == "task" and fnmatch.fnmatchcase(known, name)]
            tasks = [task for entry in found for task in self._tasks(entry)]
        else:
            tasks = [task for known, entry in self._names.items() if _slug(known) == name for task in self._tasks(entry)]
        if not tasks:
            raise UserInputError(f"{where}lm-evaluation-harness has no task, group or tag {name!r}{did_you_mean(name, self._names)}")
        return tasks

    @cached_property
    def _own(self) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        for folder in self.folders:
            for name, entry in build_index(folder, skips_broken=False, only=self.owns).items():
                own.setdefault(name, entry)
        return own

    @cached_property
    def _names(self) -> Mapping[str, Entry]:
        """The user's own names before the harness's; tags of both."""
        harness = load_index(installed(), self.cache)
        tags = {name: entry for name, entry in self._own.items() if entry.kind == "tag" and name in harness}
        joined = {
            name: Entry(name=name, kind="tag", members=[*harness[name].members, *entry.members])
            for name, entry in tags.items()
            if harness[name].kind == "tag"
        }
        return {**harness, **self._own, **joined}

    def _tasks(self, entry: Entry) -> list[Task]:
        """What a name means, each task once."""
        group = entry.name if is_aggregated(entry) else None
        weighs = group is not None and weighs_documents(entry)
        tasks = [self._task(member, group, weighs=weighs) for member in expand(entry, self._names)]
        for task in tasks:
            self._remember(task)
        return list({task.id: task for task in tasks}.values())

    def _remember(self, task: Task) -> None:
        known = self._chosen.setdefault(task.id, task)
        assert isinstance(known.guest, LmEvalGuest)
        assert isinstance(task.guest, LmEvalGuest)
        if known.guest.name != task.guest.name:
            raise UserInputError(f"{task.id}: is the name here of both {known.guest.name!r} and {task.guest.name!r}: choose one of them")
        if known.guest.changes != task.guest.changes:
            raise UserInputError(f"{task.id}: two of the groups change it, and each otherwise: choose them in sessions of their own")

    def _task(self, member: Member, group: str | None, *, weighs: bool = False) -> Task:
        where = f"{SUITE}|{member.name}"
        declared = declare(member.config, find=find_aggregate, where=where)
        path = Path(member.path)
        is_own = any(path.is_relative_to(folder) for folder in self.folders)
        guest = make_guest(member.name, "" if member.entry is None else member.path, dict(member.changes), declared, self.data_home)
        return Task(
            suite=SUITE,
            name=task_name(member.name, group),
            prompt=PromptTemplate(query=""),
            metrics=tuple(declared.corpus),
            path=path if is_own else self.path,
            line=1,
            evaluation_splits=(declared.split,),
            few_shots=(declared.fixed_shots or 0,),
            stop_sequence=declared.until,
            version=declared.version,
            aliases=tuple(_aliases(member.name, group)),
            skip=declared.skip,
            guest=guest,
            weighs_documents=weighs,
        )


def task_name(name: str, group: str | None) -> str:
    """Our name of a task: `mmlu:mmlu_anatomy` in a group with a row of its own."""
    return f"{_slug(group)}:{_slug(name)}" if group else _slug(name)


def _aliases(name: str, group: str | None) -> Iterator[str]:
    """Other ways to write the task: the harness's own name, where ours differs."""
    ours = _slug(name)
    if group:
        yield from (f"{group}:{name}", f"{_slug(group)}:{name}") if ours != name or _slug(group) != group else ()
    elif ours != name:
        yield name


def _slug(name: str) -> str:
    """The name with the characters that pytest's `-k` takes, and no colon, which makes supersets here."""
    return re.sub(r"([_.-])[_.-]+", r"\1", re.sub(r"[^A-Za-z0-9_.-]+", ".", name)).strip("_.-") or "unnamed"

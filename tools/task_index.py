"""Write docs/tasks.md, the index of all shipped tasks: `python -m tools.task_index`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_lighteval.prompts.few_shots import resolve_few_shots_split
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Task

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tasks.md"
LANGUAGES = PAGE.with_name("languages.md")
_MARKS = ("<!-- families -->\n", "<!-- /families -->\n")
"""Around the table of families."""
_MOST_DATA_SETS = 3
_MOST_ROWS_ALIKE = 5
_HEAD = """\
# All tasks

This page lists the {tasks} tasks of the {suites} suites that come with the package.
[languages.md](languages.md) lists the families of many languages, which have 34,101 more.
It is generated from the suite files: `python -m tools.task_index`.

- Pass the spec to `--tasks`, with the few-shot count that you want: `pytest --tasks "leaderboard|gsm8k|5" --backend ...`.
- The spec of a superset selects all its tasks. To run one of them, write its name: `leaderboard|mmlu:anatomy|5`.
- `:_average` after a superset's name, as reports write it, selects the superset even if a task has the same name.
- In a spec with `<name>`, write one of the names of its row.
- *Few-shots* are the counts that run when you name the file instead: `pytest suites/leaderboard/gsm8k.yaml --backend ...`.
- A skipped task is collected and reported as skipped, with the reason that is given here.
- A task with a known defect marks right answers wrong, or wrong ones right; [corrected.md](corrected.md) says which.
- [suites.md](suites.md) explains how to write suites of your own.
"""


def main() -> None:
    """Write both pages."""
    PAGE.write_text(render(), "utf-8")
    LANGUAGES.write_text(render_families(LANGUAGES.read_text("utf-8")), "utf-8")


def render() -> str:
    """The page's text."""
    catalogue = Catalogue()
    by_suite: dict[str, list[Task]] = {}
    for task in catalogue.tasks_below(catalogue.shipped):
        by_suite.setdefault(task.suite, []).append(task)
    head = _HEAD.format(tasks=sum(map(len, by_suite.values())), suites=len(by_suite))
    links = [f"- [{suite}](#{suite}): {_count(len(tasks), 'task')}\n" for suite, tasks in by_suite.items()]
    return "".join([head, "\n", *links, *(_section(suite, tasks) for suite, tasks in by_suite.items())])


def render_families(page: str) -> str:
    """The page of languages with its table of families."""
    before, begin, rest = page.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    lines = ["| Family | | Languages | Tasks | Refused | Few-shot split | Data set |", "|---|---|---|---|---|---|---|"]
    catalogue = Catalogue()
    for (suite, _), path in catalogue.families.files.items():
        if suite == "lighteval":
            lines.append(_family(path, catalogue.load(path)))
    return "".join([before, begin, "\n", "\n".join(lines), "\n\n", end, after])


def _family(path: Path, tasks: list[Task]) -> str:
    what, _, source = path.read_text("utf-8").partition("\n")[0].removeprefix("# ").removesuffix(".").rpartition(" (")
    codes = sorted({task.language or "" for task in tasks})
    shown = codes[0] if len(codes) == 1 else f"<details><summary>{len(codes)}</summary>{', '.join(codes)}</details>"
    splits = sorted({resolve_few_shots_split(task) or "the evaluated one" for task in tasks})
    linked = ", ".join(f"[{number}]({link})" for number, link in enumerate(source.removesuffix(")").split(", "), start=1))
    cells = (
        f"[{path.stem}](../suites/multilingual/{path.name})",
        f"{what} ({linked})",
        shown,
        str(len(tasks)),
        str(sum(task.skip is not None for task in tasks)),
        ", ".join(splits),
        _data_sets(tasks),
    )
    return f"| {' | '.join(cells)} |"


def _section(suite: str, tasks: list[Task]) -> str:
    rows: dict[object, list[Task]] = {}
    for task in tasks:
        alike = (task.path, task.few_shots, task.metrics, task.hf_repo, task.skip)
        rows.setdefault(task.superset or alike, []).append(task)
    names = {task.name for task in tasks}
    lines = [
        f"\n## {suite}\n",
        "| Spec | Tasks | Few-shots | Metrics | Data set | File |",
        "|---|---|---|---|---|---|",
        *(_row(part, names) for row in rows.values() for part in _parts(row)),
    ]
    return "\n".join(lines) + "\n"


def _parts(row: list[Task]) -> list[list[Task]]:
    """The row of a superset, or of many tasks that differ in their data alone; few such tasks have a row each."""
    return [row] if row[0].superset or len(row) > _MOST_ROWS_ALIKE else [[task] for task in row]


def _row(tasks: list[Task], names: set[str]) -> str:
    first = tasks[0]
    name = first.name
    if len(tasks) > 1:
        name = first.superset or "<name>"
        if name in names:  # a task of the same name comes first where a spec is read
            name += ":_average"
    counts = sorted({count for task in tasks for count in task.few_shots})
    files = dict.fromkeys(task.path for task in tasks)
    cells = (
        f"`{first.suite}\\|{name}\\|{first.few_shots[0]}`",
        "<br>".join([_members(tasks), *_skipped(tasks), *_defects(tasks)]),
        ", ".join(map(str, counts)),
        ", ".join(dict.fromkeys(metric for task in tasks for metric in task.metrics)) or "-",
        _data_sets(tasks),
        ", ".join(f"[{path.name}](../suites/{path.parent.name}/{path.name})" for path in files),
    )
    return f"| {' | '.join(cells)} |"


def _members(tasks: list[Task]) -> str:
    if len(tasks) == 1:
        return "1"
    names = ", ".join(task.name.partition(":")[2] or task.name for task in tasks)
    return f"<details><summary>{len(tasks)}</summary>{names}</details>"


def _skipped(tasks: list[Task]) -> Iterator[str]:
    reasons: dict[str, int] = {}
    for task in tasks:
        if task.skip is not None:
            reasons[task.skip] = reasons.get(task.skip, 0) + 1
    for reason, count in reasons.items():
        yield f"{'skipped' if count == len(tasks) else f'{count} skipped'}: {reason}"


def _defects(tasks: list[Task]) -> Iterator[str]:
    """That scores are known to be wrong, and which tasks are sound."""
    sound = list(dict.fromkeys(task.corrected_by for task in tasks if task.known_defect and task.corrected_by))
    if len(sound) == 1:
        yield f"known defect; sound: `{sound[0]}`".replace("|", "\\|")
    elif sound:
        yield "known defects; sound: the suite [corrected](#corrected)"


def _data_sets(tasks: Iterable[Task]) -> str:
    subsets: dict[str, set[str | None]] = {}
    for task in tasks:
        name = task.hf_repo or ("files of the suite" if task.data_files else "-")
        subsets.setdefault(name, set()).add(task.hf_subset)
    shown = [_data_set(name, len(found)) for name, found in list(subsets.items())[:_MOST_DATA_SETS]]
    return ", ".join([*shown, *([f"{len(subsets) - _MOST_DATA_SETS} more"] if len(subsets) > _MOST_DATA_SETS else [])])


def _data_set(name: str, subsets: int) -> str:
    linked = f"[{name}](https://huggingface.co/datasets/{name})" if "/" in name else name
    return f"{linked} ({subsets} subsets)" if subsets > 1 else linked


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    main()

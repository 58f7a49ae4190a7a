"""The harness's YAML, its names, and what a spec selects: without the harness."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError, MissingExtraError, UserInputError
from pytest_lighteval.guests.lm_eval import index as index_module
from pytest_lighteval.guests.lm_eval import source as source_module
from pytest_lighteval.guests.lm_eval.configs import read_config
from pytest_lighteval.guests.lm_eval.index import Entry, Installed, build_index, load_index
from pytest_lighteval.guests.lm_eval.source import LmEvalTasks, task_name
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.task_spec import TaskSpec, parse_pattern, parse_specs
from pytest_lighteval.types import RequestKind
from tests.guests.lm_eval.folders import write_folder


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """A harness whose tasks are those of `folders`."""
    found = Installed(version="0.4.13", tasks=write_folder(tmp_path / "installed"))
    monkeypatch.setattr(source_module, "installed", lambda: found)
    return found


def source(tmp_path: Path, *folders: Path) -> LmEvalTasks:
    return LmEvalTasks(cache=tmp_path / "cache", folders=folders)


def select(tasks: LmEvalTasks, text: str, few_shots: tuple[int, ...] | None = None) -> list[tuple[str, int]]:
    (spec,) = parse_specs(text, folder=Path())
    return [(selected.task.id, selected.few_shots) for selected in tasks.select(spec, few_shots)]


# -------------------------------------------------------------------------------------------------------------- YAML


def test_own_keys_win_over_included_ones_and_functions_stay_names_with_their_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)

    assert read_config(folder / "arc/arc_challenge.yaml")["dataset_name"] == "ARC-Challenge"
    assert read_config(folder / "arc/arc_challenge.yaml")["dataset_path"] == "allenai/ai2_arc"
    assert read_config(folder / "sums/easy.yaml")["process_docs"] == {"!function": "utils.clean", "folder": str(folder / "sums")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: [\n", r"t\.yaml:2: not valid YAML"),
        ("- 1\n", r"t\.yaml:1: a task of lm-evaluation-harness is a mapping, this is list"),
        ("include: nowhere.yaml\n", r"t\.yaml:1: include: there is no file nowhere\.yaml"),
        ("include: t.yaml\n", r"t\.yaml:1: include: the file includes itself"),
        ("task: !!python/object:os.system x\n", r"t\.yaml:1: not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(text, "utf-8")

    with pytest.raises(FileError, match=problem):
        read_config(tmp_path / "t.yaml")


# ------------------------------------------------------------------------------------------------------------- index


def test_the_index_has_tasks_groups_and_tags_and_the_first_of_two_files_with_one_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "zzz").mkdir()
    (folder / "zzz" / "again.yaml").write_text("task: gsm8k\nnum_fewshot: 99\n", "utf-8")
    found = build_index(folder, skips_broken=True)

    assert {name: entry.kind for name, entry in found.items()} == {
        "arc_easy": "task", "arc_challenge": "task", "ai2_arc": "tag", "gsm8k": "task", "truth": "task", "sums_easy": "task",
        "sums_hard": "task", "sums_tasks": "tag", "sums": "group", "mixed": "group", "human": "task", "odd name/with slash": "task",
    }  # fmt: skip
    assert found["gsm8k"].config["num_fewshot"] == 5
    assert found["ai2_arc"].members == ["arc_challenge", "arc_easy"]
    with pytest.raises(FileError, match=r"broken\.yaml:2"):
        build_index(folder, skips_broken=False)


def test_a_kept_index_is_read_until_a_file_or_the_version_changes(
    harness: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def building(folder: Path, *, skips_broken: bool) -> dict[str, Entry]:
        built.append(folder)
        return build_index(folder, skips_broken=skips_broken)

    monkeypatch.setattr(index_module, "build_index", building)
    first = load_index(harness, tmp_path / "kept")

    assert load_index(harness, tmp_path / "kept") == first
    assert len(built) == 1
    (harness.tasks / "new.yaml").write_text("task: new\n", "utf-8")
    assert "new" in load_index(harness, tmp_path / "kept")
    load_index(Installed(version="0.4.14", tasks=harness.tasks), tmp_path / "kept")
    assert len(built) == 3
    (tmp_path / "kept" / "lm_eval" / "index-0.4.13.json").write_text("{", "utf-8")  # damaged
    assert "new" in load_index(harness, tmp_path / "kept")


# --------------------------------------------------------------------------------------------------------- selection


def test_a_spec_without_a_count_is_the_tasks_own_or_that_of_few_shots(harness: Installed, tmp_path: Path) -> None:
    tasks = source(tmp_path)

    assert select(tasks, "lm_eval|gsm8k") == [("lm_eval|gsm8k", 5)]
    assert select(tasks, "lm_eval|gsm8k", (1, 2)) == [("lm_eval|gsm8k", 1), ("lm_eval|gsm8k", 2)]
    assert select(tasks, "lm_eval|gsm8k|3", (1,)) == [("lm_eval|gsm8k", 3)]
    assert select(tasks, "lm_eval|arc_easy|0|0") == [("lm_eval|arc_easy", 0)]
    assert select(tasks, "lm_eval|truth", (4,)) == [("lm_eval|truth", 0)]


def test_tags_and_groups_without_a_row_are_their_tasks_and_groups_with_one_are_supersets(harness: Installed, tmp_path: Path) -> None:
    tasks = source(tmp_path)

    assert select(tasks, "lm_eval|ai2_arc") == [("lm_eval|arc_challenge", 25), ("lm_eval|arc_easy", 0)]
    assert select(tasks, "lm_eval|sums|2") == [("lm_eval|sums:sums_easy", 2), ("lm_eval|sums:sums_hard", 2)]
    assert select(tasks, "lm_eval|sums:_average|2") == select(tasks, "lm_eval|sums|2")
    assert select(tasks, "lm_eval|sums:sums_hard|2") == [("lm_eval|sums:sums_hard", 2)]
    assert [task.weighs_documents for task in tasks.named("sums")] == [True, True]
    assert select(tasks, "lm_eval|mixed") == [("lm_eval|arc_easy", 0), ("lm_eval|gsm8k", 8), ("lm_eval|mixed.own", 0)]
    assert select(tasks, "lm_eval|arc_*|0") == [("lm_eval|arc_challenge", 0), ("lm_eval|arc_easy", 0)]


def test_names_that_pytest_cannot_select_get_others_and_both_are_accepted(harness: Installed, tmp_path: Path) -> None:
    tasks = source(tmp_path)

    assert task_name("odd name/with slash", None) == "odd.name.with.slash"
    assert task_name("a__b::c", "g") == "g:a_b.c"
    assert select(tasks, "lm_eval|odd.name.with.slash|0") == select(tasks, "lm_eval|odd name/with slash|0")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("lm_eval|arc_eazy|0", r"has no task, group or tag 'arc_eazy' \(did you mean 'arc_easy'"),
        ("lm_eval|truth|5", r"num_fewshot: 0, which cannot be changed: write \|0, or no count"),
        ("lm_eval|arc_easy|0|1", "leaves out no examples: the last field is 0"),
        ("lm_eval|sums:nothing|0", "has no task, group or tag 'sums:nothing'"),
    ],
)
def test_a_spec_that_cannot_be_run_is_refused_in_one_line(spec: str, problem: str, harness: Installed, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=problem):
        select(source(tmp_path), spec)


def test_two_groups_that_change_one_task_differently_are_refused_together(harness: Installed, tmp_path: Path) -> None:
    tasks = source(tmp_path)
    select(tasks, "lm_eval|mixed")

    with pytest.raises(UserInputError, match=r"lm_eval\|gsm8k: two of the groups change it, and each otherwise"):
        select(tasks, "lm_eval|gsm8k")


def test_two_names_that_become_one_are_refused_together(harness: Installed, tmp_path: Path) -> None:
    (harness.tasks / "twins.yaml").write_text("task: a__b\ntag: twins\n", "utf-8")
    (harness.tasks / "twins2.yaml").write_text("task: a_b\ntag: twins\n", "utf-8")

    with pytest.raises(UserInputError, match=r"lm_eval\|a_b: is the name here of both 'a__b' and 'a_b'"):
        select(source(tmp_path), "lm_eval|twins|0")


def test_without_the_harness_a_spec_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r"lm-eval\) is not installed: pip install 'pytest-lighteval\[lm-eval\]'"):
        select(source(tmp_path), "lm_eval|arc_easy|0")


# --------------------------------------------------------------------------------------------------------- what tasks say


def test_a_task_says_what_it_asks_reports_and_stops_at_before_the_harness_is_imported(harness: Installed, tmp_path: Path) -> None:
    tasks = source(tmp_path)
    (gsm8k,), (arc,), (human,) = tasks.named("gsm8k"), tasks.named("arc_easy"), tasks.named("human")

    assert gsm8k.metrics == ("exact_match,strict-match", "exact_match,flexible-extract")
    assert (gsm8k.stop_sequence, gsm8k.version, gsm8k.evaluation_splits) == (("Question:", "</s>"), 3, ("test",))
    assert gsm8k.guest is not None
    assert gsm8k.guest.kinds == (RequestKind.GENERATE,)
    assert arc.metrics == ("acc", "acc_norm")
    assert human.skip is not None
    assert "runs code that the model writes" in human.skip


# ------------------------------------------------------------------------------------------------------- the catalogue


def test_the_catalogue_mixes_specs_of_suites_and_of_the_harness(harness: Installed, tmp_path: Path) -> None:
    catalogue = Catalogue((), None, source(tmp_path))
    specs = parse_specs("lm_eval|gsm8k,leaderboard|gsm8k|5|0", folder=tmp_path)
    by_file = catalogue.select(specs)

    assert [chosen.task.id for file in by_file.values() for chosen in file] == ["leaderboard|gsm8k", "lm_eval|gsm8k"]
    assert catalogue.guests is not None
    assert [task.id for task in catalogue.load(catalogue.guests.path)] == ["lm_eval|gsm8k"]
    assert catalogue.shown(catalogue.guests.path) == "lm_eval"
    assert [task.id for task in catalogue.find(parse_pattern("lm_eval|sums"))] == ["lm_eval|sums:sums_easy", "lm_eval|sums:sums_hard"]
    with pytest.raises(UserInputError, match="no suite named 'lm_evall'"):
        catalogue.select([TaskSpec(suite="lm_evall", task="gsm8k", few_shots=0)])


def test_a_folder_of_the_users_may_hold_both_kinds_of_yaml_and_its_names_come_first(harness: Installed, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("task: mine\noutput_type: multiple_choice\ntest_split: test\n", "utf-8")
    (own / "gsm8k.yaml").write_text("task: gsm8k\ntest_split: test\nnum_fewshot: 1\n", "utf-8")
    (own / "base.yaml").write_text("output_type: multiple_choice\n", "utf-8")
    (own / "suite.yaml").write_text(
        "suite: demo\ntasks:\n- {name: a, data_files: {validation: a.jsonl}, prompt: {query: '{{ q }}'}, metrics: [exact_match]}\n", "utf-8"
    )
    catalogue = Catalogue((own,), None, source(tmp_path, own))

    assert [task.id for task in catalogue.load(own / "mine.yaml")] == ["lm_eval|mine"]
    assert catalogue.load(own / "base.yaml") == []
    assert {task.id for task in catalogue.tasks_below(own)} == {"lm_eval|mine", "lm_eval|gsm8k", "demo|a"}
    assert [(chosen.task.path.name, chosen.few_shots) for chosen in source(tmp_path, own).select(
        TaskSpec(suite="lm_eval", task="gsm8k", few_shots=None), None)] == [("gsm8k.yaml", 1)]  # fmt: skip


def test_only_specs_of_the_harness_may_leave_the_count_out(tmp_path: Path) -> None:
    assert str(parse_specs("lm_eval|gsm8k", folder=tmp_path)[0]) == "lm_eval|gsm8k"
    with pytest.raises(UserInputError, match="the few-shot count is missing"):
        parse_specs("leaderboard|gsm8k", folder=tmp_path)

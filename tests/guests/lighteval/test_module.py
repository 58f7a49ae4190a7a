"""A Python module of either dialect becomes tasks, without Lighteval, and what is wrong in it is told at its line."""

from __future__ import annotations

import random
import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.errors import DataError, FileError, PromptError, UserInputError
from pytest_lighteval.guests.lighteval.module import find_module, load_module
from pytest_lighteval.guests.lighteval.stand_ins import PACKAGES
from pytest_lighteval.metrics import metrics_of
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.types import Doc, Task
from tests.guests.lighteval.samples import NEWER, OLDER, load

ROWS: list[dict[str, Any]] = [
    {"question": "Which?", "choices": ["this", "that"], "answer": 1, "level": 2},
    {"question": "dropped", "choices": ["no"], "answer": 0, "level": 1},
]


def docs(task: Task, rows: list[dict[str, Any]], *, few_shots: bool = False) -> list[Doc]:
    return render_docs(task, enumerate(rows), "test", few_shots=few_shots).docs


def test_the_older_dialect_says_what_a_suite_file_would(tmp_path: Path) -> None:
    easy, hard, shuffled = load(tmp_path, OLDER).tasks

    assert (easy.id, hard.id, hard.aliases, shuffled.id) == (
        "community|quiz:easy",
        "community|quiz:hard_mode",
        ("quiz:hard mode",),
        "custom|shuffled",
    )
    assert {name: getattr(easy, name) for name in ("hf_repo", "hf_subset", "evaluation_splits", "few_shots_split", "few_shots_select")} == {
        "hf_repo": "owner/quiz",
        "hf_subset": "easy",
        "evaluation_splits": ("test",),
        "few_shots_split": "dev",
        "few_shots_select": "sequential",
    }
    assert (easy.metrics, easy.generation_size, easy.stop_sequence, easy.version) == (("loglikelihood_acc_norm", "lead"), None, (), 0)
    assert (shuffled.few_shots_select, shuffled.hf_avail_splits) == ("balanced", ("train", "validation", "test"))
    assert [metric.name for metric in metrics_of(easy)] == ["loglikelihood_acc_norm", "lead"]


def test_the_newer_dialect_has_counts_files_and_parametrized_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (task,) = load(tmp_path, NEWER).tasks

    assert (task.id, task.few_shots, task.hf_repo) == ("custom|capitals", (1,), None)
    assert task.data_files == {"train": str(tmp_path / "capitals.jsonl")}
    assert task.hf_avail_splits == ("train",)
    assert [(metric.name, metric.ask.value, metric.num_samples) for metric in metrics_of(task)] == [
        ("exact_match", "generation", 1),
        ("pass@k:k=1&n=2", "samples", 2),
        ("words+right", "generation", 1),
    ]
    assert {name: (corpus.is_mean, corpus.higher_is_better) for name, corpus in metrics_of(task)[2].corpus.items()} == {
        "words": (False, False),
        "right": (True, True),
    }


def test_a_prompt_function_is_called_as_lighteval_calls_it(tmp_path: Path) -> None:
    easy = load(tmp_path, OLDER).tasks[0]

    (asked,) = docs(easy, ROWS)
    (example,) = docs(easy, ROWS[:1], few_shots=True)

    assert asked == Doc(
        id="test:0",
        query="Pick one.\nQuestion of community|quiz:easy: Which?\nA. this\nB. that\nAnswer:",
        choices=(" A", " B"),
        gold=(1,),
        instruction="Pick one.\n",
        specific={"level": 2},
    )
    assert example.query == asked.query.replace("Question", "Example")


def test_a_newer_instruction_may_stand_apart_from_the_query(tmp_path: Path) -> None:
    (task,) = load(tmp_path, NEWER).tasks

    (doc,) = docs(task, [{"question": "Capital of France?", "answer": "Paris"}])

    assert (doc.query, doc.instruction) == (
        "Answer in one word.\n\nCapital of France?\nAnswer (capitals):",
        "Answer in one word.\n\n",
    )


def test_an_older_query_must_begin_with_its_instruction(tmp_path: Path) -> None:
    easy = load(tmp_path, OLDER.replace('query=f"{instruction}', 'query=f"')).tasks[0]

    with pytest.raises(PromptError, match=r"my_tasks.py:quiz raised ValueError: the query does not begin with its instruction 'Pick one"):
        docs(easy, ROWS[:1])


def test_each_row_has_random_streams_of_its_own(tmp_path: Path) -> None:
    task = load(tmp_path, OLDER).tasks[2]
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), list(np.random.get_state(legacy=False)["state"]["key"])

    first = [doc.query for doc in docs(task, ROWS * 2)]
    random.seed(6)
    alone = [doc.query for doc in docs(task, (ROWS * 2)[:1])]

    assert first[:1] == alone
    assert len(set(first)) == 4
    random.seed(5)
    assert before == (random.getstate(), list(np.random.get_state(legacy=False)["state"]["key"]))


def test_a_filter_is_python_and_leaves_rows_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"level": 1}\n{"level": 0}\n{"level": 3}\n')
    text = OLDER.replace("hf_subset=hf_subset", 'hf_data_files={"test": "%s"}' % (tmp_path / "rows.jsonl"), 1)
    task = load(tmp_path, text).tasks[0]
    broken = load(tmp_path, text.replace('line["level"] > 0', 'line["lvl"]'), "broken.py").tasks[0]

    assert DataSets().rows(task, "test") == [(0, {"level": 1}), (2, {"level": 3})]
    with pytest.raises(DataError, match=rf"test:0: hf_filter of {tmp_path}/broken.py:\d+ raised KeyError: 'lvl'; the columns are level"):
        DataSets().rows(broken, "test")


def test_stand_ins_are_there_only_while_a_module_loads(tmp_path: Path) -> None:
    installed = types.ModuleType("lighteval")
    sys.modules["lighteval"] = installed
    try:
        load(tmp_path, OLDER)

        assert sys.modules["lighteval"] is installed
        assert [name for name in sys.modules if name.partition(".")[0] in PACKAGES] == ["lighteval"]
    finally:
        del sys.modules["lighteval"]
    with pytest.raises(ModuleNotFoundError):
        import lighteval.tasks  # noqa: F401


def test_a_dotted_module_may_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_evals"
    package.mkdir()
    (package / "__init__.py").write_text("from lighteval.metrics.metrics import Metrics\n")
    (package / "prompts.py").write_text("from lighteval.tasks.requests import Doc\n")
    (package / "tasks.py").write_text("from .prompts import Doc\n" + NEWER)

    path = find_module("my_evals.tasks", tmp_path)

    assert path == package / "tasks.py"
    monkeypatch.syspath_prepend(tmp_path)
    assert [task.id for task in load_module(path, written="my_evals.tasks").tasks] == ["custom|capitals"]
    assert find_module("suites", tmp_path) is None
    with pytest.raises(UserInputError, match=r"--custom-tasks my_evals.none: neither a folder, a .py file nor a module"):
        find_module("my_evals.none", tmp_path)
    with pytest.raises(UserInputError, match=r"--custom-tasks none.py: no such file"):
        find_module("none.py", tmp_path)


def test_groups_are_lists_of_specs(tmp_path: Path) -> None:
    assert load(tmp_path, OLDER).groups == {
        "both": ("community|quiz:easy|0|0", "community|quiz|1|0"),
        "one": ("custom|shuffled|0|0",),
    }


def test_a_configuration_is_a_dataclass_as_there(tmp_path: Path) -> None:
    lines = [
        "from dataclasses import asdict, replace",
        "last = TASKS_TABLE[-1]",
        "TASKS_TABLE.append(replace(last, name=asdict(last)['name'] + '2'))",
    ]

    assert load(tmp_path, "\n".join([OLDER, *lines])).tasks[-1].id == "custom|shuffled2"


HEAD = """from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
def ask(line, task_name=None):
    return Doc(query=line["q"], choices=["a"], gold_index=0)
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", ":1: TASKS_TABLE: the module has none"),
        ("TASKS_TABLE = {}", ":1: TASKS_TABLE: a list of LightevalTaskConfig is required"),
        ("TASKS_TABLE = ['gsm8k']", r":1: TASKS_TABLE\[0\]: is a str, where a LightevalTaskConfig is required"),
        ("def f(:", ":1: not Python: invalid syntax"),
        ("import json\n1 / 0", ":2: ZeroDivisionError: division by zero"),
        ("from lighteval.metrics.metrics import Metric5", ":1: ImportError: cannot import name 'Metric5'"),
        ("from lighteval.pipeline import Pipeline", ":1: ModuleNotFoundError: lighteval.pipeline is not served without Lighteval"),
        ("import lighteval.tasks.default_prompts as p\np.gsm8kk", r":2: AttributeError: default_prompts.gsm8kk is not served \(did you"),
        (HEAD + "Metrics.exact_matc", r":6: AttributeError: Metrics has no 'exact_matc' \(did you mean 'exact_match'"),
        (HEAD + "Metrics.pass_at_k(sample_params={'m': 1})", r":6: TypeError: Metrics.pass_at_k has no parameter 'm'"),
        (HEAD + "LightevalTaskConfig(name='a', metrc=[])", ":6: TypeError: .*unexpected keyword argument 'metrc'"),
    ],
)  # fmt: skip
def test_a_module_that_fails_is_told_at_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FileError, match=f"^{tmp_path}/my_tasks.py{problem}") as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, "name: '' is no text"),
        ({"name": "'大'"}, "name: '大' cannot be written in letters A-Z and digits"),
        ({"prompt_function": "'ask'"}, "prompt_function: 'ask' is no function"),
        ({"metric": "None"}, "metrics: a list of metrics is required"),
        ({"metric": "[5]"}, r"metric\[0\]: is a int, where a member of Metrics or a metric object is required"),
        ({"few_shots_split": "['dev', 'train']"}, "few_shots_split: names 2 splits, where one is required"),
        ({"few_shots_select": "'balance'"}, r"few_shots_select: 'balance' is none of balanced, .*\(did you mean 'balanced'"),
        ({"evaluation_splits": "[1]"}, "evaluation_splits: 1 is no text"),
        ({"generation_size": "'many'"}, "generation_size: 'many' is no number from 1 on"),
        ({"version": "'one'"}, "version: 'one' is no number"),
        ({"hf_data_files": "'data/*.arrow'"}, "hf_data_files: 'data/\\*.arrow': one .jsonl or .parquet file"),
    ],
)
def test_a_wrong_task_is_told_at_the_line_that_makes_it(tmp_path: Path, fields: dict[str, str], problem: str) -> None:
    given = {"name": "'a'", "prompt_function": "ask", "hf_repo": "'o/d'", "metric": "[Metrics.exact_match]"} | fields
    given = {name: value or "''" for name, value in given.items()}
    text = (
        HEAD + "\ntask = LightevalTaskConfig(" + ", ".join(f"{name}={value}" for name, value in given.items()) + ")\nTASKS_TABLE = [task]"
    )

    with pytest.raises(FileError, match=f"^{tmp_path}/my_tasks.py:7: {problem}"):
        load(tmp_path, text)


def test_two_tasks_of_one_name_are_told(tmp_path: Path) -> None:
    make = "LightevalTaskConfig(name='a', prompt_function=ask, hf_repo='o/d', metric=[Metrics.exact_match])"

    with pytest.raises(FileError, match=r"my_tasks.py:7: name: 'a' is the name of two tasks, in lines 6 and 7"):
        load(tmp_path, HEAD + f"a = {make}\nb = {make}\nTASKS_TABLE = [a, b]")


@pytest.mark.parametrize(
    ("metrics", "skip", "defect"),
    [
        ("[]", "it names no metric", None),
        ("[Metrics.bert_score]", "its metric bert_score: there is none of this name here", None),
        ("['unheard_of']", "its metric unheard_of: there is none of this name here", None),
        (
            "[Metrics.recall_at_1, Metrics.loglikelihood_acc]",
            None,
            "recall_at_1 reports what a later metric of the task reports too, and is left out, as in Lighteval",
        ),
    ],
)
def test_what_no_metric_here_can_score_is_skipped_with_the_reason(
    tmp_path: Path, metrics: str, skip: str | None, defect: str | None
) -> None:
    text = HEAD + f"TASKS_TABLE = [LightevalTaskConfig(name='a', prompt_function=ask, hf_repo='o/d', metric={metrics})]"

    (task,) = load(tmp_path, text).tasks

    assert (task.skip, task.known_defect) == (skip, defect)


def test_a_failing_prompt_function_is_told_with_its_line(tmp_path: Path) -> None:
    text = HEAD + "TASKS_TABLE = [LightevalTaskConfig(name='a', prompt_function=ask, hf_repo='o/d', metric=[Metrics.exact_match])]"
    (task,) = load(tmp_path, text).tasks

    with pytest.raises(
        PromptError, match=rf"custom\|a: test:0: prompt.adapter: my_tasks.py:ask raised KeyError: 'q' \({tmp_path}/my_tasks.py:5\)"
    ):
        docs(task, [{"question": "?"}])


def test_old_functions_of_the_row_alone_may_give_mappings(tmp_path: Path) -> None:
    text = HEAD + (
        "def plain(line):\n    return {'query': line['q'], 'choices': [['x', 'y'], 'z'], 'gold_index': 0}\n"
        "TASKS_TABLE = [LightevalTaskConfig(name='a', prompt_function=plain, hf_repo='o/d', metric=[Metrics.exact_match])]"
    )
    (task,) = load(tmp_path, text).tasks

    (doc,) = docs(task, [{"q": "?"}])

    assert asdict(doc) | {"id": ""} == asdict(Doc(id="", query="?", choices=("x", "y", "z"), gold=(0, 1)))

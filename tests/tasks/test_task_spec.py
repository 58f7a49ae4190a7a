"""Task specs are read in every form that people write, and select the tasks that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.tasks.task_spec import TaskSpec, parse_specs, select
from pytest_lighteval.types import PromptTemplate, Task


def task(suite: str, name: str, *aliases: str) -> Task:
    template = PromptTemplate(query="{{ q }}")
    return Task(suite=suite, name=name, aliases=aliases, prompt=template, metrics=("m",), path=Path("s.yaml"), line=1)


TASKS = [
    task("leaderboard", "gsm8k"),
    task("leaderboard", "mmlu:anatomy"),
    task("leaderboard", "mmlu:law", "mmlu:law (us)"),
    task("lighteval", "gpqa"),
    task("lighteval", "gpqa:diamond"),
]


def chosen(text: str) -> list[tuple[str, int, bool]]:
    specs = parse_specs(text, folder=Path())
    return [(selected.task.id, selected.few_shots, selected.truncate) for selected in select(specs, TASKS)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("leaderboard|gsm8k|5|0", [("leaderboard|gsm8k", 5, False)], id="one"),
        pytest.param("leaderboard|gsm8k|5", [("leaderboard|gsm8k", 5, False)], id="no-flag"),
        pytest.param(
            "leaderboard|gsm8k|3|1, leaderboard|gsm8k|3|0,leaderboard|gsm8k|3|1",
            [("leaderboard|gsm8k", 3, True), ("leaderboard|gsm8k", 3, False)],
            id="each-once",
        ),
        pytest.param("leaderboard|mmlu|5|0", [("leaderboard|mmlu:anatomy", 5, False), ("leaderboard|mmlu:law", 5, False)], id="superset"),
        pytest.param("leaderboard|gsm8k|5|", [("leaderboard|gsm8k", 5, False)], id="a-bar-in-place-of-the-flag"),
        pytest.param("leaderboard|gsm8k|5|1|", [("leaderboard|gsm8k", 5, True)], id="a-bar-after-the-flag"),
        pytest.param("lighteval|gpqa:_average|0|0", [("lighteval|gpqa:diamond", 0, False)], id="a-superset-as-reports-write-it"),
        pytest.param("lighteval|gpqa|0|0", [("lighteval|gpqa", 0, False)], id="a-name-beats-a-superset"),
        pytest.param("leaderboard|mmlu:law (us)|0|0", [("leaderboard|mmlu:law", 0, False)], id="alias"),
    ],
)
def test_specs_select_tasks_in_their_order(text: str, expected: list[tuple[str, int, bool]]) -> None:
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("leaderboard|mmlu:anatmy|5|0", "(did you mean 'mmlu:anatomy'", id="subtask"),
        pytest.param("leaderboard|mmul|5|0", "(did you mean 'mmlu'", id="superset"),
        pytest.param("leaderboard|gpqa|5|0", "(it is in suite lighteval)", id="other-suite"),
        pytest.param("leaderbord|gsm8k|5|0", "no suite named 'leaderbord' (did you mean 'leaderboard'", id="suite"),
        pytest.param("leaderboard|gsm8k", "the few-shot count is missing; write leaderboard|gsm8k|0 for no examples", id="no-count"),
        pytest.param("leaderboard|", "a task is written suite|task|few_shots|truncate", id="too-short"),
        pytest.param("leaderboard|gsm8k|", "the few-shot count is ''", id="bar-for-a-count"),
        pytest.param("leaderboard|gsm8k|5||", "the truncation flag is ''", id="two-bars"),
        pytest.param("leaderboard|gsm8k|5|0||", "a task is written suite|task|few_shots|truncate", id="two-bars-after-the-flag"),
        pytest.param("leaderboard|gsm8k|1234567890|0", "the few-shot count is '1234567890'", id="too-many"),
        pytest.param("leaderboard|gsm8k:_average|5", "(did you mean 'gsm8k'", id="no-superset"),
        pytest.param("leaderboard|gsm8k|-1|0", "the few-shot count is '-1'", id="negative"),
        pytest.param("gsm8k", "neither a file nor a spec", id="bare-name"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_names(text: str, problem: str) -> None:
    with pytest.raises(UserInputError) as caught:
        chosen(text)

    assert problem in str(caught.value)


def test_a_file_has_specs_and_comments_and_each_spec_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.txt").write_text("# all\nleaderboard|gsm8k|5|0, leaderboard|mmlu|5|0  # two\n\nlighteval|gpqa|0|1\n")

    assert [str(spec) for spec in parse_specs("./tasks.txt", folder=tmp_path)] == [
        "leaderboard|gsm8k|5|0",
        "leaderboard|mmlu|5|0",
        "lighteval|gpqa|0|1",
    ]
    assert parse_specs("./tasks.txt", folder=tmp_path)[2] == TaskSpec(
        suite="lighteval", task="gpqa", few_shots=0, truncate=True, where="./tasks.txt:4: "
    )

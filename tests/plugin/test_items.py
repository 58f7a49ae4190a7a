"""Suite files become pytest items that pytest's own selections understand."""

from __future__ import annotations

import pytest

ALL = [
    "suites/mini/mini.yaml::choice[0-shot]",
    "suites/mini/mini.yaml::choice[2-shot]",
    "suites/mini/mini.yaml::words:short[0-shot]",
    "suites/mini/mini.yaml::words:long[0-shot]",
    "suites/mini/mini.yaml::prose[0-shot]",
]


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """Node ids that a session with the fake backend would run."""
    result = pytester.runpytest("--backend", "fake", "--collect-only", "-q", *arguments)
    return [line for line in result.outlines if "::" in line]


def test_every_task_is_an_item_for_each_few_shot_count_in_file_order(project: pytest.Pytester) -> None:
    assert collected(project, "suites") == ALL


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["-k", "choice"], ALL[:2], id="k-name"),
        pytest.param(["-k", "2-shot"], ALL[1:2], id="k-count"),
        pytest.param(["-k", "words:long"], ALL[3:4], id="k-colon"),
        pytest.param(["-m", "lighteval(few_shots=2)"], ALL[1:2], id="m-count"),
        pytest.param(["-m", "lighteval(kind='generate')"], ALL[2:4], id="m-kind"),
        pytest.param(["-m", "lighteval(task='prose')"], ALL[4:], id="m-task"),
        pytest.param(["-m", "lighteval(group='words') and not lighteval(task='words:long')"], ALL[2:3], id="m-group"),
        pytest.param(
            ["--few-shots", "1,3", "-k", "choice"],
            ["suites/mini/mini.yaml::choice[1-shot]", "suites/mini/mini.yaml::choice[3-shot]"],
            id="few-shots",
        ),
    ],
)
def test_selections_of_pytest_work_under_strict_markers(project: pytest.Pytester, arguments: list[str], expected: list[str]) -> None:
    assert collected(project, "--strict-markers", "suites", *arguments) == expected


def test_an_item_can_be_named_by_its_id(project: pytest.Pytester) -> None:
    assert collected(project, ALL[3]) == [ALL[3]]


def test_specs_with_paths_filter_and_set_count_and_flag(project: pytest.Pytester) -> None:
    assert collected(project, "--custom-tasks", "suites", "--tasks", "mini|choice|5|1,mini|words|3|0", "suites") == [
        "suites/mini/mini.yaml::choice[5-shot-trunc]",
        "suites/mini/mini.yaml::words:short[3-shot]",
        "suites/mini/mini.yaml::words:long[3-shot]",
    ]


def test_specs_without_paths_find_their_files(project: pytest.Pytester) -> None:
    project.makefile(".txt", tasks="# a comment\nmini|prose|0|0  # another\n")

    assert collected(project, "--custom-tasks", "suites", "--tasks", "./tasks.txt") == ALL[4:]


def test_shipped_suites_have_one_id_wherever_they_are(pytester: pytest.Pytester) -> None:
    expected = ["suites/leaderboard/gsm8k.yaml::gsm8k[5-shot]"]

    assert collected(pytester, "--tasks", "leaderboard|gsm8k|5|0") == expected
    assert collected(pytester, "suites/leaderboard/gsm8k.yaml") == expected


def test_a_shipped_list_is_found_from_any_directory(pytester: pytest.Pytester) -> None:
    found = collected(pytester, "--tasks", "suites/lists/open_llm_leaderboard.txt")

    assert len(found) == 62
    assert found[0] == "suites/leaderboard/arc.yaml::arc:challenge[25-shot]"


def test_a_broken_suite_is_a_collection_error_at_its_line(project: pytest.Pytester) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace("generation_size: 8", "generation_size: eight"))

    result = project.runpytest("--backend", "fake", "suites")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mini.yaml:22: tasks?1?.generation_size: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("line", "wrong", "problem"),
    [
        pytest.param("metrics: [exact_match]", "metrics: [exact_macth]", "*tasks?1?.metrics?0?:*did you mean 'exact_match'*", id="metric"),
        pytest.param(
            "few_shots: [0, 2]", "few_shots: [0, 2]\n    gates: {accc: {min: 0.2}}", "*gates.accc:*did you mean 'acc'*", id="gate"
        ),
        pytest.param("few_shots_select: sequential", "few_shots_select: sequentail", "*few_shots_select*", id="mode"),
        pytest.param("stop_sequence:", "stop_sequences:", "*did you mean 'stop_sequence'*", id="field"),
    ],
)
def test_names_in_a_suite_are_checked_at_collection(project: pytest.Pytester, line: str, wrong: str, problem: str) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.write_text(path.read_text().replace(line, wrong))

    result = project.runpytest("--backend", "fake", "suites")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([problem])


def test_two_files_cannot_declare_the_same_task(project: pytest.Pytester) -> None:
    path = project.path / "suites" / "mini" / "mini.yaml"
    path.with_name("other.yaml").write_text(path.read_text())

    result = project.runpytest("--backend", "fake", "suites")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mini|choice is declared in suites/mini/mini.yaml too*"])


def test_yaml_of_other_tools_is_left_alone(project: pytest.Pytester) -> None:
    project.makefile(".yaml", compose="services: {web: {image: nginx}}\n")
    project.mkdir("tests")
    (project.path / "tests" / "cassette.yaml").write_text("interactions: []\n")

    assert collected(project, ".") == ALL
    assert collected(project, "compose.yaml") == []


def test_module_scoped_and_autouse_fixtures_work_on_tasks(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(autouse=True, scope="module")
        def around(request):
            yield
            print("after", request.node.name)
        """
    )

    result = project.runpytest("--backend", "fake", "suites", "-k", "prose", "-s")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*after *mini.yaml"])


def test_collecting_all_shipped_suites_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys

        def pytest_collection_finish(session):
            heavy = {"torch", "transformers", "datasets", "pandas", "pyarrow", "sklearn", "scipy", "sympy"}
            print("items", len(session.items), "heavy", sorted(heavy & set(sys.modules)))
        """
    )

    result = pytester.runpytest_subprocess("--collect-only", "-q", "-s", "suites")

    (line,) = [line for line in result.outlines if line.startswith("items ")]
    _, count, _, heavy = line.split(maxsplit=3)
    assert int(count) > 1500
    assert "suites/multilingual" not in result.stdout.str()  # these are read by name
    assert heavy == "[]"

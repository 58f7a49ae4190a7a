"""A suite file that would never end, fill the memory or overflow Python's stack is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError, PromptError
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Task


def suite(folder: Path, *, query: str = "{{ q }}", more: str = "", name: str = "t", before: str = "") -> list[Task]:
    path = folder / "s.yaml"
    path.write_text(
        f"suite: s\n{before}tasks:\n  - name: {name}\n    data_files: {{test: d.jsonl}}\n    evaluation_splits: [test]\n"
        f"    prompt: {{query: '{query}', choices: ['{{{{ a }}}}']}}\n    metrics: [exact_match]\n{more}",
        encoding="utf-8",
    )
    return load_suite(path, shown="s.yaml")


ALIASES = "".join(f"y{number}: &y{number} [{', '.join([f'*y{number - 1}' if number else 'x'] * 9)}]\n" for number in range(10))
CHAIN = "y0: &y0 [x]\n" + "".join(f"y{number}: &y{number} [*y{number - 1}]\n" for number in range(1, 2000))
MATRIX = ", ".join(f"v{number}: [{', '.join(map(str, range(20)))}]" for number in range(8))
DEEP = "not a Jinja2 template: nested too deeply"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        pytest.param({"before": ALIASES}, "more than 200000 values, those behind aliases included: too many for one file", id="aliases"),
        pytest.param({"before": CHAIN}, "nested too deeply, through aliases", id="a chain of aliases"),
        pytest.param(
            {"name": "t_{v0}_{v1}", "more": f"    matrix: {{{MATRIX}}}\n"},
            "tasks[0].matrix: makes 25600000000 tasks, and one file has at most 50000",
            id="a matrix",
        ),
        pytest.param(
            {"more": f"    gates: {{em: {{min: 1:{'0:' * 300}0.5}}}}\n"},
            "is not a valid float: it has more than 100 characters",
            id="a float of base 60",
        ),
        pytest.param(
            {"more": f"    version: 1:{'0:' * 30}5\n"}, "is not a valid int: it has more than 64 bits", id="an integer of base 60"
        ),
        pytest.param({"more": f"    version: {'9' * 5000}\n"}, "is not a valid int: it has more than 100 characters", id="an integer"),
        pytest.param({"query": "{{ " + "(" * 3000 + "q" + ")" * 3000 + " }}"}, DEEP, id="parentheses"),
        pytest.param({"query": "{% if q %}" * 300 + "{{ q }}" + "{% endif %}" * 300}, DEEP, id="blocks"),
        pytest.param({"query": "{% if q %}" * 60 + "{{ q }}" + "{% endif %}" * 60}, DEEP, id="blocks that can be parsed"),
        pytest.param({"query": "{% for i in q %}" * 12 + "{{ q }}" + "{% endfor %}" * 12}, DEEP, id="loops"),
        pytest.param({"query": "{{ q" + " + 1" * 300 + " }}"}, DEEP, id="a long sum"),
        pytest.param({"query": "{{ " + "not " * 3000 + "q }}"}, DEEP, id="negations"),
        pytest.param({"more": "    hf_filter: " + "(" * 3000 + "q" + ")" * 3000 + "\n"}, DEEP, id="a filter"),
    ],
)
def test_a_file_beyond_a_limit_is_one_line(parts: dict[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as raised:
        suite(tmp_path, **parts)

    assert str(raised.value).startswith("s.yaml:")
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_within_the_limits_is_rendered(tmp_path: Path) -> None:
    nested = "{% if q %}" * 30 + "{% for i in q %}" * 8 + "{{ q }}" + "{% endfor %}" * 8 + "{% endif %}" * 30
    tasks = suite(tmp_path, query=nested, name="t_{v}", more=f"    matrix: {{v: [{', '.join(map(str, range(300)))}]}}\n")
    (doc,) = render_docs(tasks[299], [(0, {"q": "x", "a": "y"})], "test").docs

    assert (len(tasks), doc.query) == (300, "x")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        pytest.param('{{ "x" * 9999999999 }}', "the result would be too large", id="a product"),
        pytest.param("{{ 9 ** (9 ** 9) }}", "the result would be too large", id="a power"),
    ],
)
def test_a_template_whose_result_is_too_large_is_one_line(query: str, problem: str, tmp_path: Path) -> None:
    (task,) = suite(tmp_path, query=query + "{{ q }}")

    with pytest.raises(PromptError, match=rf"^s\|t: .*prompt\.query: {problem}"):
        render_docs(task, [(0, {"q": "x", "a": "y"})], "test")

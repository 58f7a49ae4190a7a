"""Rows become documents with ids that last; what does not fit is one line that names task, row, field and what there is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.errors import PromptError
from pytest_lighteval.prompts.documents import RenderedDocs, render_docs
from pytest_lighteval.types import Doc, PromptTemplate, Row, Task

ROW = {"question": "Why?", "options": ["so", "no"], "answer": 1, "two words": "x"}


def _task(path: Path = Path("s.yaml"), *, cluster: str | None = None, unique: bool = False, **prompt: Any) -> Task:
    return Task(
        suite="s",
        name="t",
        prompt=PromptTemplate(**{"query": "{{ question }}", **prompt}),
        metrics=(),
        path=path,
        line=1,
        cluster=cluster,
        must_remove_duplicate_docs=unique,
    )


def _render(task: Task, *rows: Row, first: int = 0, few_shots: bool = False, multiple_choice: bool = False) -> RenderedDocs:
    return render_docs(task, enumerate(rows, first), "test", few_shots=few_shots, multiple_choice=multiple_choice)


def test_a_document_has_every_field_of_its_prompt() -> None:
    task = _task(
        instruction="About {{ row['two words'] }}.\n",
        choices="{{ options | prefix(' ') }}",
        gold="{{ answer }}",
        unconditioned_query="Answer:",
        original_query="{{ question }}",
        fewshot_sorting_class="{{ answer }}",
        specific={"all": "{{ options }}", "nested": [{"index": "{{ __index }}"}], "plain": 3},
        cluster=None,
    )

    assert _render(task, ROW, first=7) == RenderedDocs(
        docs=[
            Doc(
                id="test:7",
                query="About x.\nWhy?",
                choices=(" so", " no"),
                gold=(1,),
                instruction="About x.\n",
                unconditioned_query="Answer:",
                original_query="Why?",
                fewshot_sorting_class="1",
                specific={"all": ["so", "no"], "nested": [{"index": 7}], "plain": 3},
            )
        ]
    )


@pytest.mark.parametrize(
    ("choices", "gold", "rendered_choices", "rendered_gold"),
    [
        pytest.param((" {{ options[0] }}", " B"), 0, (" so", " B"), (0,), id="a template each"),
        pytest.param("{{ options }}", (1, 0), ("so", "no"), (1, 0), id="several golds, in their order"),
        pytest.param("{{ options }}", "{{ [0, 1] }}", ("so", "no"), (0, 1), id="an expression that gives indices"),
        pytest.param("{{ options }}", "{{ answer | string }}", ("so", "no"), (1,), id="digits"),
        pytest.param("{{ options }}", "{{ answer == 1 }}", ("so", "no"), (1,), id="a truth value"),
        pytest.param("{{ options }}", "{{ answer / 1 }}", ("so", "no"), (1,), id="a whole float"),
        pytest.param("{{ [options] }}", 0, ("so", "no"), (0, 1), id="a list of spellings is one choice"),
        pytest.param(("a", "{{ options }}", "b"), (2, 1), ("a", "so", "no", "b"), (3, 1, 2), id="golds follow the flattening"),
        pytest.param(("{{ answer }}", "{{ 2.5 }}"), 0, ("1", "2.5"), (0,), id="numbers are written out"),
        pytest.param(("{{ 1999.0 }}", " {{ 1999.0 }}"), 0, ("1999", " 1999"), (0,), id="a whole float is a whole number"),
        pytest.param((), 0, (), (), id="no choices and no gold, as for a perplexity"),
    ],
)
def test_choices_and_golds(choices: Any, gold: Any, rendered_choices: tuple[str, ...], rendered_gold: tuple[int, ...]) -> None:
    (doc,) = _render(_task(choices=choices, gold=gold), ROW).docs

    assert (doc.choices, doc.gold) == (rendered_choices, rendered_gold)


def test_documents_whose_answer_is_not_published_are_left_out_and_counted() -> None:
    task = _task(choices="{{ options }}", gold="{{ answer }}")
    rendered = _render(task, {**ROW, "answer": -1}, ROW, {**ROW, "answer": [0, -1]})

    assert ([doc.id for doc in rendered.docs], rendered.unlabeled) == (["test:1"], ("test:0", "test:2"))


def test_equal_queries_are_kept_once_when_asked_and_always_for_examples() -> None:
    rows = [{"question": question} for question in "aba"]

    assert [doc.id for doc in _render(_task(), *rows).docs] == ["test:0", "test:1", "test:2"]
    assert [doc.id for doc in _render(_task(unique=True), *rows).docs] == ["test:0", "test:1"]
    assert [doc.id for doc in _render(_task(unique=True), *rows, few_shots=True).docs] == ["test:0", "test:1", "test:2"]


def test_the_cluster_is_the_text_of_its_column() -> None:
    (doc,) = _render(_task(cluster="answer"), ROW).docs

    assert doc.cluster == "1"


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "is null: the row names no source"), (float("nan"), "is NaN: the row names no source"), ("\ud800", "has half a character")],
)
def test_a_cluster_that_names_no_source_is_an_error(value: Any, problem: str) -> None:
    with pytest.raises(PromptError, match=rf"s\|t: test:0: cluster: the column 'answer' {problem}"):
        _render(_task(cluster="answer"), {**ROW, "answer": value})


def test_optional_fields_may_be_null_and_metrics_may_see_nulls() -> None:
    task = _task(unconditioned_query="{{ n }}", specific={"x": "{{ [n] }}"})
    (doc,) = _render(task, {**ROW, "n": None}).docs

    assert (doc.unconditioned_query, doc.specific) == (None, {"x": [None]})


def test_examples_may_be_written_differently() -> None:
    task = _task(query="{{ 'Example' if __few_shots else 'Question' }} {{ __index }}")

    assert [_render(task, ROW, few_shots=few_shots).docs[0].query for few_shots in (False, True)] == ["Question 0", "Example 0"]


@pytest.mark.parametrize(
    ("prompt", "row", "message"),
    [
        pytest.param(
            {"query": "{{ questoin }}"},
            {},
            "s|t: test:0: prompt.query: there is no column 'questoin' (did you mean 'question'?), "
            "only question, options, answer, two words",
            id="a column that is not there",
        ),
        pytest.param(
            {"choices": (" a", "{{ options[5] }}")},
            {},
            "s|t: test:0: prompt.choices: list object has no element 5 in (' a', '{{ options[5] }}')",
            id="an item that is not there",
        ),
        pytest.param(
            {"query": "{{ question.index('x') }}"},
            {},
            "s|t: test:0: prompt.query: ValueError: substring not found in \"{{ question.index('x') }}\"",
            id="an error of Python",
        ),
        pytest.param(
            {"query": "{{ question }}"},
            {"question": None},
            "s|t: test:0: prompt.query: the column 'question' is null; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="no text",
        ),
        pytest.param(
            {"query": "Q: {{ question }}"},
            {"question": None, "other": None},
            "s|t: test:0: prompt.query: the column 'question' is null; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="a null within a text",
        ),
        pytest.param(
            {"choices": (" {{ row['two words'] }}", "b")},
            {"two words": float("nan")},
            "s|t: test:0: prompt.choices: the column 'two words' is NaN; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="NaN within a choice",
        ),
        pytest.param(
            {"choices": "{{ options }}"},
            {"options": ["so", None]},
            "s|t: test:0: prompt.choices[1]: the column 'options[1]' is null; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="a null among the choices",
        ),
        pytest.param(
            {"choices": "{{ options | prefix(' ') }}"},
            {"options": ["so", float("nan")]},
            "s|t: test:0: prompt.choices: the column 'options[1]' is NaN; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="NaN behind prefix",
        ),
        pytest.param(
            {"query": "{% for o in m.os %}{{ o.text }}{% endfor %}"},
            {"m": {"none": None, "os": [{"text": "a"}, {"text": None}]}},
            "s|t: test:0: prompt.query: the column 'm.os[1].text' is null; `| default(...)` behind it says what to write instead, "
            "hf_filter leaves the row out",
            id="a null within a loop",
        ),
        pytest.param(
            {"query": "{{ m.get('a') }}"}, {"m": {}}, "s|t: test:0: prompt.query: gives nothing (null); a text is required", id="no value"
        ),
        pytest.param(
            {"query": "{{ m.title }}"},
            {"m": "text"},
            "s|t: test:0: prompt.query: 'title' is a function of a str, not a value: call it, or name a key that the row has "
            "in '{{ m.title }}'",
            id="a method for a text",
        ),
        pytest.param(
            {"choices": ("{{ [m.title] }}", "b")},
            {"m": "text"},
            "s|t: test:0: prompt.choices: 'title' is a function of a str, not a value: call it, or name a key that the row has "
            "in ('{{ [m.title] }}', 'b')",
            id="a method for a choice",
        ),
        pytest.param(
            {"choices": "{{ [nothing] }}"},
            {},
            "s|t: test:0: prompt.choices: there is no column 'nothing', only question, options, answer, two words",
            id="a missing column within a list",
        ),
        pytest.param(
            {"choices": "{{ options }}", "gold": "{{ range(options | length) }}"},
            {"options": []},
            "s|t: test:0: prompt.choices: there are none, so the document has no right answer; hf_filter leaves such rows out",
            id="a document without golds",
        ),
        pytest.param(
            {"query": "{{ question }}"},
            {"question": "half \ud83d pair"},
            "s|t: test:0: prompt.query: the column 'question' has half a character ('\\ud83d'), which UTF-8 cannot write; "
            "mend the data, or hf_filter leaves the row out",
            id="a lone surrogate",
        ),
        pytest.param(
            {"specific": {"x": ["{{ m.x }}"]}},
            {"m": {"x": "\udc00"}},
            "s|t: test:0: prompt.specific: the column 'm' has half a character ('\\udc00'), which UTF-8 cannot write; "
            "mend the data, or hf_filter leaves the row out",
            id="a lone surrogate that a metric would see",
        ),
        pytest.param(
            {"query": "{{ options }}"},
            {},
            "s|t: test:0: prompt.query: gives the list ['so', 'no']; a text is required",
            id="a list for a text",
        ),
        pytest.param(
            {"choices": "{{ question }}"},
            {},
            "s|t: test:0: prompt.choices: gives the str 'Why?'; a list is required, for one choice [\"{{ ... }}\"]",
            id="a text for a list",
        ),
        pytest.param(
            {"gold": 2},
            {},
            "s|t: test:0: prompt.gold: index 2 is out of range, there are 2 choices (the first is 0)",
            id="a gold out of range",
        ),
        pytest.param(
            {"gold": 1, "choices": ()},
            {},
            "s|t: test:0: prompt.gold: index 1 is out of range, there are 0 choices (the first is 0)",
            id="a gold of no choices",
        ),
        pytest.param({"gold": "{{ [] }}"}, {}, "s|t: test:0: prompt.gold: names none of the 2 choices", id="no gold"),
        pytest.param(
            {"gold": "{{ question }}"},
            {},
            "s|t: test:0: prompt.gold: gives 'Why?', which is no index of a choice",
            id="a gold that is text",
        ),
        pytest.param(
            {"gold": "{{ 0.5 }}"}, {}, "s|t: test:0: prompt.gold: gives 0.5, which is no index of a choice", id="a gold between choices"
        ),
        pytest.param(
            {"gold": "{{ row.get('x') }}"},
            {},
            "s|t: test:0: prompt.gold: gives None, which is no index of a choice",
            id="a gold that is nothing",
        ),
        pytest.param(
            {"query": "{{ question"},
            {},
            "s|t: prompt.query: unexpected end of template, expected 'end of print statement'. in '{{ question'",
            id="syntax",
        ),
    ],
)
def test_a_prompt_that_does_not_fit_is_one_clear_line(prompt: dict[str, Any], row: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError) as raised:
        _render(_task(**{"choices": "{{ options }}", "gold": "{{ answer }}", **prompt}), {**ROW, **row})

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("choices", "problem"),
    [
        pytest.param((), "there are none, and the task's metrics score choices", id="none"),
        pytest.param((" a", " {{ '' }}"), "choice 1 of 2 is empty (' ')", id="blank"),
    ],
)
def test_choices_that_are_scored_must_be_there(choices: tuple[str, ...], problem: str) -> None:
    task = _task(choices=choices)

    _render(task, ROW)  # nothing is scored: ifeval has an empty answer, a perplexity none
    with pytest.raises(PromptError) as raised:
        _render(task, ROW, multiple_choice=True)

    assert str(raised.value) == f"s|t: test:0: prompt.choices: {problem}"


def test_a_cluster_may_be_a_template_and_a_long_name_is_a_digest() -> None:
    long = "p" * 41

    assert _render(_task(cluster="{{ question | upper }} {{ answer }}"), ROW).docs[0].cluster == "WHY? 1"
    assert _render(_task(cluster="{{ none }}"), ROW).docs[0].cluster is None
    assert _render(_task(cluster="{{ question | beginning(100) }}"), ROW).docs[0].cluster is None
    (first, same, other) = _render(_task(cluster="question"), *({**ROW, "question": text} for text in (long, long, long + "!"))).docs
    assert first.cluster == same.cluster == hashlib.sha256(long.encode()).hexdigest()[:16] != other.cluster


def test_examples_have_no_cluster_so_their_split_needs_no_such_column() -> None:
    (doc,) = _render(_task(cluster="passage"), ROW, few_shots=True).docs

    assert doc.cluster is None


@pytest.mark.parametrize(
    ("template", "problem"),
    [("{{ passage[:3] }}", "there is no column 'passage', only question, "), ("{{ question", "unexpected end of template")],
)
def test_a_wrong_template_of_a_cluster_is_one_line(template: str, problem: str) -> None:
    with pytest.raises(PromptError, match=rf"^s\|t: (test:0: )?cluster: {problem}"):
        _render(_task(cluster=template), ROW)


def test_a_missing_cluster_column_is_named() -> None:
    with pytest.raises(PromptError, match=r"^s\|t: test:0: cluster: there is no column 'passage', only question, "):
        _render(_task(cluster="passage"), ROW)


# ------------------------------------------------------------------------------------------------------ adapters

ADAPTERS = """
def one(row):
    row["options"].clear()
    return {"question": f"{row['question']} {row['__index']} {row['__few_shots']}"}

def two(row):
    return [{"question": "a"}, {"question": "b"}]

def odd(row):
    return row if row["__index"] % 2 else None

def broken(row):
    return row["nothing"]

def number(row):
    return 3

def numbers(row):
    return [3]

constant = 3
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """A suite file's path with `prompts.py` beside it."""
    (tmp_path / "prompts.py").write_text(ADAPTERS)
    return tmp_path / "s.yaml"


@pytest.mark.parametrize(
    ("function", "documents"),
    [
        pytest.param("one", [("test:0", "Why? 0 True"), ("test:1", "Why? 1 True"), ("test:2", "Why? 2 True")], id="a row"),
        pytest.param("two", [(f"test:{row}:{n}", text) for row in range(3) for n, text in enumerate("ab")], id="several rows"),
        pytest.param("odd", [("test:1", "Why?")], id="rows that are dropped keep the numbers of the others"),
    ],
)
def test_an_adapter_makes_rows_of_a_row(suite_file: Path, function: str, documents: list[tuple[str, str]]) -> None:
    rendered = _render(_task(suite_file, adapter=f"prompts:{function}"), ROW, ROW, ROW, few_shots=True)

    assert [(doc.id, doc.query) for doc in rendered.docs] == documents
    assert ROW["options"] == ["so", "no"]


def test_suites_in_two_folders_may_have_adapters_of_one_name(tmp_path: Path) -> None:
    queries = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "prompts.py").write_text(f"def adapt(row): return {{'question': {name!r}}}")
        queries.append(_render(_task(tmp_path / name / "s.yaml", adapter="prompts:adapt"), ROW).docs[0].query)

    assert queries == ["a", "b"]


def test_an_adapter_may_be_in_any_module_that_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_benchmarks_for_a_test").mkdir()
    (tmp_path / "my_benchmarks_for_a_test" / "rows.py").write_text("def adapt(row): return {'question': 'from a module'}")
    monkeypatch.syspath_prepend(tmp_path)
    task = _task(tmp_path / "elsewhere" / "s.yaml", adapter="my_benchmarks_for_a_test.rows:adapt")

    assert _render(task, ROW).docs[0].query == "from a module"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        pytest.param(
            "prompts:broken", "s|t: test:0: prompt.adapter: prompts:broken raised KeyError: 'nothing' ({folder}/prompts.py:13)", id="raises"
        ),
        pytest.param(
            "prompts:number",
            "s|t: test:0: prompt.adapter: prompts:number gives the int 3; a row, a list of rows or None is required",
            id="gives no row",
        ),
        pytest.param(
            "prompts:numbers",
            "s|t: test:0: prompt.adapter: prompts:numbers gives the list [3]; a row, a list of rows or None is required",
            id="gives no rows",
        ),
        pytest.param(
            "prompts:brokn", "s|t: prompt.adapter: prompts has no function 'brokn' (did you mean 'broken'?)", id="no such function"
        ),
        pytest.param("prompts:constant", "s|t: prompt.adapter: prompts has no function 'constant'", id="no function"),
        pytest.param(
            "promts_x:one",
            "s|t: prompt.adapter: there is neither a file promts_x.py in {folder} nor a module 'promts_x'",
            id="no such module",
        ),
        pytest.param("prompts", "s|t: prompt.adapter: 'prompts' is not of the form module:function", id="no function named"),
    ],
)
def test_a_wrong_adapter_is_one_clear_line(suite_file: Path, adapter: str, message: str) -> None:
    with pytest.raises(PromptError) as raised:
        _render(_task(suite_file, adapter=adapter), ROW)

    assert str(raised.value) == message.format(folder=suite_file.parent)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        pytest.param("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'", id="an import of its own"),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="its code"),
    ],
)
def test_an_adapter_module_that_cannot_be_imported_is_an_error_each_time(tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "rows.py").write_text(source)

    for _ in range(2):
        with pytest.raises(PromptError) as raised:
            _render(_task(tmp_path / "s.yaml", adapter="rows:adapt"), ROW)
        assert str(raised.value) == f"s|t: prompt.adapter: rows cannot be imported: {problem}"


def test_rows_may_be_any_mapping() -> None:
    class Lazy(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return ROW[name]

        def __iter__(self) -> Any:
            return iter(ROW)

        def __len__(self) -> int:
            return len(ROW)

    assert _render(_task(), Lazy()) == _render(_task(), ROW)

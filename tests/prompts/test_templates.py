"""Suite texts become functions of a row, keep native values, and cannot get out of their sandbox."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jinja2
import pytest

from pytest_lighteval.prompts.templates import check_syntax, compile_expression, compile_template, variables
from pytest_lighteval.prompts.text_values import RenderError


@pytest.mark.parametrize(
    ("source", "row", "value"),
    [
        pytest.param("no marks { } %\n", {}, "no marks { } %\n", id="plain text stays as it is, last newline included"),
        pytest.param("Q: {{ q }}\nA:", {"q": " <x> & y "}, "Q:  <x> & y \nA:", id="nothing is stripped or escaped"),
        pytest.param("{{ a }}\n", {"a": 3}, "3\n", id="an expression with something around it is text"),
        pytest.param("{{ a }}", {"a": 3}, 3, id="one whole expression keeps its type"),
        pytest.param("{{- a -}}", {"a": [1]}, [1], id="marks of whitespace control change nothing"),
        pytest.param("{{ -a }}", {"a": 3}, -3, id="a sign is not such a mark"),
        pytest.param("{{ '}}' }}", {}, "}}", id="braces within the expression"),
        pytest.param("{{ a }}{{ b }}", {"a": 1, "b": 2}, "12", id="two expressions are text"),
        pytest.param("{{ a | map('trim') }}", {"a": [" x "]}, ["x"], id="an iterator is a list"),
        pytest.param("{{ range(n) }}", {"n": 2}, [0, 1], id="so is a range"),
        pytest.param("{{ q.strip().upper() }}", {"q": " a "}, "A", id="text has its Python methods"),
        pytest.param("{{ row['two words'] }}", {"row": {"two words": 1}}, 1, id="row reaches names that are no identifiers"),
        pytest.param("{{ 1 if __few_shots else __index }}", {"__few_shots": False, "__index": 7}, 7, id="the reference's two names"),
        pytest.param("{{ choices | prefix(' ') }}", {"choices": ["a", 1]}, [" a", " 1"], id="prefix of a list"),
        pytest.param("{{ choice | prefix(' ') }}", {"choice": "a"}, " a", id="prefix of a text"),
        pytest.param("{{ labels | indices(1) }}", {"labels": [1, 0, 1]}, [0, 2], id="indices"),
        pytest.param("{{ q | regex_replace('\\\\[.*?\\\\]') }}", {"q": "a[b]c[d]"}, "ac", id="regex_replace"),
        pytest.param("{{ q | capitalize_first }}", {"q": "aBC"}, "ABC", id="capitalize_first leaves the rest"),
        pytest.param("{{ letters.index(q) }}", {"q": "C"}, 2, id="letters"),
        pytest.param("{% for l, c in zip(letters, cs) %}{% endfor %}{{ zip(cs, cs) }}", {"cs": "a" * 26}, str([("a", "a")] * 26), id="zip"),
        pytest.param("{{ m.items }} {{ m.values }}", {"m": {"items": 2, "values": "v"}}, "2 v", id="a key goes before a method"),
        pytest.param("{{ m.count }}", {"m": {"count": 2}}, 2, id="also as a value"),
        pytest.param("{{ m.items() | list }}", {"m": {"a": 1}}, [("a", 1)], id="a method where no key is"),
        pytest.param("{{ c | default('-') }}{{ d | d('x') }}{{ n | default('') }}", {"c": None, "n": float("nan")}, "-x", id="default"),
        pytest.param("{{ cs | map('default', '-') }}", {"cs": [None, "a"]}, ["-", "a"], id="default for a list's items"),
        pytest.param("{{ y }} {{ y ~ '' }} {{ y | prefix('') }}", {"y": 1999.0}, "1999 1999 1999", id="a whole float"),
        pytest.param("{{ y | string }} {{ z }} {{ '%.1f' % y }}", {"y": 5.0, "z": 0.5}, "5.0 0.5 5.0", id="floats as Python writes them"),
        pytest.param("{{ [y, z] | join(', ') }}", {"y": 5.0, "z": "a"}, "5, a", id="join"),
        pytest.param("{{ '{} {x}'.format(y, x=1) }}", {"y": "a"}, "a 1", id="format"),
        pytest.param("{{ a and 'x' }}|{{ a is none }}", {"a": True}, "x|False", id="truth values"),
        pytest.param("{{ enumerate(cs) }}", {"cs": ["a"]}, [(0, "a")], id="enumerate"),
    ],
)
def test_a_template_gives_the_value(source: str, row: dict[str, Any], value: Any) -> None:
    check_syntax(source)

    assert compile_template(source)(row) == value


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        pytest.param("{{ q }}", {}, "'q' is undefined", id="a missing column, native"),
        pytest.param("{{ q }} ", {}, "'q' is undefined", id="a missing column, text"),
        pytest.param("{{ q.x }}", {"q": {}}, "'dict object' has no attribute 'x'", id="a missing field"),
        pytest.param("{{ q.index(4) }}", {"q": [1]}, "ValueError: 4 is not in list", id="Python's errors keep their name"),
        pytest.param("{{ zip([1], []) }}", {}, "ValueError: zip() argument 2 is shorter than argument 1", id="zip is strict"),
        pytest.param(
            "{{ ().__class__ }}", {}, "access to attribute '__class__' of 'tuple' object is unsafe.", id="no way to Python's classes"
        ),
        pytest.param(
            "{{ q.append(1) }}", {"q": []}, "access to attribute 'append' of 'list' object is unsafe.", id="a row cannot be changed"
        ),
    ],
)
def test_a_template_that_fails_says_why_in_one_line(source: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(RenderError) as raised:
        compile_template(source)(row)

    assert str(raised.value) == message


@pytest.mark.parametrize("null", [None, float("nan")])
@pytest.mark.parametrize(
    "source",
    [
        "x {{ a }}", "{{ 'x' ~ a }}", "{{ a | prefix(' ') }}", "{{ [a] | prefix(' ') }}", "{{ a | trim }}", "{{ a | string }}",
        "{{ a | upper }}", "{{ ['x', a] | join }}", "{{ [{'k': a}] | join(attribute='k') }}", "{{ '%s' | format(a) }}", "{{ '%s' % a }}",
        "{{ '%s %s' % ('x', a) }}", "{{ '{}'.format(a) }}", "{{ '{x}'.format_map({'x': a}) }}", "x {{ [1, a] }}", "x {{ {'k': [a]} }}",
        "{% set b = a %}x {{ b }}", "{% macro m(b) %}{{ b }}{% endmacro %}x {{ m(a) }}", "{{ a | replace('x', 'y') }}",
        "{{ a | capitalize_first }}", "{{ [a] | map('trim') }}",
    ],
)  # fmt: skip
def test_a_null_or_nan_never_becomes_a_part_of_a_text(source: str, null: float | None) -> None:
    with pytest.raises(RenderError, match=r"^(null|NaN) has no text; `\| default\(...\)` behind it says what to write instead$"):
        compile_template(source)({"a": null})


@pytest.mark.parametrize(
    "source",
    [
        "{{ m.values }}", "{{ m.items }} x", "{{ t.title }}", "x {{ t.count }}", "{{ 'x' ~ t.title }}", "{{ t.title | prefix(' ') }}",
        "{{ [t.title] }}", "x {{ [t.title] }}", "{{ t.title | trim }}", "{{ range }} x", "{{ joiner }}", "x {{ cycler('a') }}",
        "{% macro m() %}{% endmacro %}x {{ m }}", "x {{ m | map('trim') }}", "x {{ enumerate(t) }}", "x {{ m.values }}",
    ],
)  # fmt: skip
def test_what_is_no_value_never_becomes_a_text(source: str) -> None:
    with pytest.raises(RenderError, match=r"is a function|has no text"):
        compile_template(source)({"m": {"a": 1}, "t": "text"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("{{ a", "unexpected end of template", id="unclosed"),
        pytest.param("{{ a | prefx(' ') }}", "no filter named 'prefx' (did you mean 'prefix'?)", id="unknown filter"),
        pytest.param("{{ a is evn }}", "no test named 'evn' (did you mean 'even'?)", id="unknown test"),
        pytest.param("{{ a | random }}", "no filter named 'random'", id="nothing is random"),
        pytest.param("{% include 'x' %}", "a template cannot read another file", id="no other files"),
    ],
)
def test_wrong_syntax_is_known_before_any_row(source: str, message: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError) as checked:
        check_syntax(source)
    with pytest.raises(jinja2.TemplateSyntaxError) as compiled:
        compile_template(source)

    assert (checked.value.message or "").startswith(message)
    assert str(compiled.value) == str(checked.value)


def test_a_bare_expression_is_a_filter_of_rows() -> None:
    keep = compile_expression("subset == 'a' and label != -1")

    assert [keep({"subset": "a", "label": 0}), keep({"subset": "a", "label": -1}), keep({"subset": "b", "label": 0})] == [
        True,
        False,
        False,
    ]


def test_variables_are_the_names_taken_from_the_row() -> None:
    source = "{% set x = a %}{{ x }}{{ b.c }}{% for d in e %}{{ loop.index }}{{ letters }}{% endfor %}"

    assert variables(source) == {"a", "b", "e"}


def test_importing_the_module_does_not_import_jinja2() -> None:
    code = "import sys, pytest_lighteval.prompts.templates as t; t.compile_template('plain'); sys.exit('jinja2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

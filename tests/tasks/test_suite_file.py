"""A suite file gives the tasks that it declares, or an error at the line of the mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pytest_lighteval.errors import FileError, UserInputError
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.suite_file import load_suite, locate, task_error, task_name
from pytest_lighteval.tasks.suite_schema import SCHEMA_PATH, PromptFields, SuiteFields, TaskFields, json_schema
from pytest_lighteval.types import GateSpec, PromptTemplate, Task
from tests.shared import ROOT

REPOSITORY = ROOT
SUITES = [path for path in Catalogue().suite_files(REPOSITORY / "suites") if "tasks:" in path.read_text(encoding="utf-8")]
SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))

TASK = """\
tasks:
  - name: capitals
    hf_repo: owner/name
    prompt: {query: "{{ question }}"}
    metrics: acc
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine" / "file.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, text: str) -> str:
    """The message without the path, so `line: field: problem`."""
    with pytest.raises(FileError) as caught:
        load_suite(write(folder, text), shown="f")
    return str(caught.value).removeprefix("f:")


def test_a_file_with_every_field_gives_the_whole_task(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
suite: other
defaults:
  hf_repo: owner/name
  metrics: [loglikelihood_acc]
  few_shots: 5
  prompt:
    instruction: "Answer.\\n\\n"
    query: "{{ question }}"
    gold: "{{ answer }}"
  gates: {acc: {min: 0.25}, em: {min: 0.5}, f1: {min: 0.1}}
tasks:
  - name: exam
    aliases: old:exam
    hf_subset: en
    hf_revision: abc123
    hf_filter: label != -1
    hf_avail_splits: [dev, test]
    evaluation_splits: test
    few_shots_split: dev
    few_shots_select: sequential
    prompt:
      query: "Q: {{ question }}\\nA:"
      choices: [" A", " B"]
      unconditioned_query: "A:"
      original_query: "{{ question }}"
      fewshot_sorting_class: "{{ label }}"
      specific: {topics: ["{{ topic }}"], level: 3}
      adapter: my.rows:split
    metrics: [loglikelihood_acc_norm, loglikelihood_acc]
    few_shots: [0, 5]
    generation_size: 20
    stop_sequence: "\\n"
    num_samples: 4
    must_remove_duplicate_docs: true
    version: 2
    gates: {acc: {min: 0.3, max: 0.9}, em: null}
    cluster: passage
    skip: needs a judge
""",
    )

    assert load_suite(path) == [
        Task(
            suite="other",
            name="exam",
            prompt=PromptTemplate(
                query="Q: {{ question }}\nA:",
                choices=(" A", " B"),
                gold="{{ answer }}",
                instruction="Answer.\n\n",
                unconditioned_query="A:",
                original_query="{{ question }}",
                fewshot_sorting_class="{{ label }}",
                specific={"topics": ["{{ topic }}"], "level": 3},
                adapter="my.rows:split",
            ),
            metrics=("loglikelihood_acc_norm", "loglikelihood_acc"),
            path=path,
            line=12,
            hf_repo="owner/name",
            hf_subset="en",
            hf_revision="abc123",
            hf_filter="label != -1",
            hf_avail_splits=("dev", "test"),
            evaluation_splits=("test",),
            few_shots_split="dev",
            few_shots_select="sequential",
            few_shots=(0, 5),
            generation_size=20,
            stop_sequence=("\n",),
            num_samples=4,
            must_remove_duplicate_docs=True,
            version=2,
            gates={"acc": GateSpec(min=0.3, max=0.9), "f1": GateSpec(min=0.1)},
            cluster="passage",
            aliases=("old:exam",),
            skip="needs a judge",
        )
    ]


def test_a_short_file_gets_the_defaults_of_the_type_and_its_folders_name(tmp_path: Path) -> None:
    path = write(tmp_path, TASK)

    assert load_suite(path) == [
        Task(
            suite="mine",
            name="capitals",
            prompt=PromptTemplate(query="{{ question }}"),
            metrics=("acc",),
            path=path,
            line=2,
            hf_repo="owner/name",
        )
    ]


def test_local_files_are_the_available_splits(tmp_path: Path) -> None:
    text = TASK.replace("hf_repo: owner/name", "data_files: {validation: v.jsonl, train: t.jsonl}")

    (task,) = load_suite(write(tmp_path, text))

    assert (task.data_files, task.hf_avail_splits) == ({"validation": "v.jsonl", "train": "t.jsonl"}, ("validation", "train"))


def test_a_skipped_task_needs_neither_data_nor_prompt(tmp_path: Path) -> None:
    (task,) = load_suite(write(tmp_path, "tasks: [{name: a, skip: the data set is gone}]"))

    assert (task.skip, task.prompt, task.metrics) == ("the data set is gone", PromptTemplate(query=""), ())


# ---------------------------------------------------------------------------------------------------------- the matrix


def names(folder: Path, task: str) -> list[str]:
    return [task.name for task in load_suite(write(folder, TASK.replace("name: capitals", task)))]


def test_a_matrix_expands_in_order_with_its_last_variable_fastest(tmp_path: Path) -> None:
    assert names(tmp_path, 'name: "{b}:{a}"\n    matrix: {a: [x, y], b: [2, 1]}') == ["2:x", "1:x", "2:y", "1:y"]


def test_variables_of_one_entry_vary_together(tmp_path: Path) -> None:
    matrix = 'name: "t:{subset}_{name}"\n    matrix: [{subset: de, name: German}, {subset: fr, name: French}]'

    assert names(tmp_path, matrix) == ["t:de_German", "t:fr_French"]


def test_an_axis_of_entries_is_combined_with_the_other_axes(tmp_path: Path) -> None:
    matrix = 'name: "{n}:{s}_{v}"\n    matrix: {lang: [{s: de, n: German}, {s: fr, n: French}], v: [1, 2]}'

    assert names(tmp_path, matrix) == ["German:de_1", "German:de_2", "French:fr_1", "French:fr_2"]


def test_placeholders_are_replaced_in_every_text_outside_jinja_alone(tmp_path: Path) -> None:
    text = """\
defaults: {hf_repo: owner/name, metrics: acc}
tasks:
  - name: "t:{s}"
    matrix: {s: [de]}
    hf_subset: "{s}"
    prompt:
      query: "{s} {other} {{ {'s': s} }}{% if '{s}' %}{# {s} #}{s}{% endif %} {s"
      choices: [" {s}", "{{s}}"]
      specific: {s: ["{s}", 1]}
"""

    (task,) = load_suite(write(tmp_path, text))

    assert (task.hf_subset, task.prompt) == (
        "de",
        PromptTemplate(
            query="de {other} {{ {'s': s} }}{% if '{s}' %}{# {s} #}de{% endif %} {s",
            choices=(" de", "{{s}}"),
            specific={"s": ["de", 1]},
        ),
    )


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param("mmlu:anatomy", "mmlu:anatomy", id="fits"),
        pytest.param("arabic_mmlu:Law (Professional)", "arabic_mmlu:Law_Professional", id="spaces and brackets"),
        pytest.param("entity_matching=Fodors_Zagats", "entity_matching_Fodors_Zagats", id="equals sign"),
        pytest.param("serbian:kliničko_znanje", "serbian:klinicko_znanje", id="accents"),
        pytest.param("a: b", "a:b", id="several separators: the colon stays"),
        pytest.param("_a__b-", "a_b", id="edges and doubles"),
        pytest.param("mmlu:数学", None, id="no latin letters"),
        pytest.param("()", None, id="nothing left"),
    ],
)
def test_a_name_that_pytest_cannot_carry_gets_a_slug(raw: str, name: str | None) -> None:
    assert task_name(raw) == name


def test_the_name_as_it_was_written_is_an_alias(tmp_path: Path) -> None:
    text = TASK.replace("name: capitals", 'name: "law (de)"\n    aliases: [jus]')

    (task,) = load_suite(write(tmp_path, text))

    assert (task.name, task.aliases) == ("law_de", ("jus", "law (de)"))


# ------------------------------------------------------------------------------------------------------ what is wrong


def with_field(line: str) -> str:
    return TASK + f"    {line}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "1: Expected mapping, got null", id="empty file"),
        pytest.param("- a\n", "1: Expected mapping, got list", id="a list"),
        pytest.param("suite: x\n", "1: the field tasks is missing", id="no tasks"),
        pytest.param("suite: x\ntasks: []\n", "2: tasks: must not be empty", id="empty tasks"),
        pytest.param(
            "suite: a b\n" + TASK,
            "1: suite: the suite's name 'a b' must be letters and digits joined by single '_', '.', ':' or '-'",
            id="suite",
        ),
        pytest.param("tasks:\n  - hf_repo: x\n", "2: tasks[0]: the field name is missing", id="no name"),
        pytest.param(
            with_field("corrected_by: capitals"),
            "6: tasks[0].corrected_by: 'capitals' is not of the form suite|task",
            id="no task that corrects",
        ),
        pytest.param(
            with_field("few_shots_split: dev\n    few_shots_reserved: 5"),
            "7: tasks[0].few_shots_reserved: the examples come from the split 'dev', of which nothing is evaluated",
            id="reserved examples",
        ),
        pytest.param(
            with_field("few_shot: 5"),
            "6: tasks[0].few_shot: unknown field (did you mean 'few_shots' or 'few_shots_split' or 'few_shots_select'?)",
            id="unknown field",
        ),
        pytest.param(with_field("query: x"), "6: tasks[0].query: unknown field (it belongs under prompt)", id="field of the prompt"),
        pytest.param("defaults: {name: x}\n" + TASK, "1: defaults.name: unknown field (it belongs to a task)", id="field of a task"),
        pytest.param("zzz: 1\n" + TASK, "1: zzz: unknown field; known are suite, defaults, tasks", id="unknown and far from all"),
        pytest.param(
            with_field("hf_subset: 3"), "6: tasks[0].hf_subset: Expected str or null, got int (quote it to make it text)", id="int for text"
        ),
        pytest.param(
            with_field("hf_subset: no"),
            "6: tasks[0].hf_subset: Expected str or null, got bool (quote it to make it text)",
            id="bool for text",
        ),
        pytest.param(with_field("few_shots: five"), "6: tasks[0].few_shots: Expected int or list, got str", id="text for int"),
        pytest.param(with_field("few_shots: [0, -1]"), "6: tasks[0].few_shots[1]: Expected int >= 0", id="negative"),
        pytest.param(with_field("few_shots: [5, 5]"), "6: tasks[0].few_shots: 5 is given twice", id="count twice"),
        pytest.param(with_field("evaluation_splits: []"), "6: tasks[0].evaluation_splits: must not be empty", id="no splits"),
        pytest.param(
            with_field("few_shots_select: sequental"),
            "6: tasks[0].few_shots_select: 'sequental' is none of balanced, random, sequential, random_sampling, "
            "random_sampling_from_train (did you mean 'sequential'?)",
            id="unknown few_shots_select",
        ),
        pytest.param(
            with_field("gates: {em: {min: 1}, acc: {}}"),
            "6: tasks[0].gates.acc: the gate is empty: give min or max, or a rule for the comparison with a baseline (max_drop, ...)",
            id="empty gate",
        ),
        pytest.param(
            with_field("gates:\n      acc:\n        min: x"),
            "8: tasks[0].gates.acc.min: Expected float or null, got str",
            id="gate of text",
        ),
        pytest.param(
            with_field("gates: {acc: {min: .nan}}"), "6: tasks[0].gates.acc: a gate's bounds must be finite numbers", id="gate of nan"
        ),
        pytest.param(
            with_field("gates: {acc: {max_drop: 0.01, inconclusive: fial}}"),
            "6: tasks[0].gates.acc.inconclusive: 'fial' is none of fail, blind, warn (did you mean 'fail'?)",
            id="gate word",
        ),
        pytest.param(
            with_field("gates: {acc: {min: 1, max: 0}}"),
            "6: tasks[0].gates.acc: min 1 is above max 0: nothing could pass",
            id="gate upside down",
        ),
        pytest.param(
            with_field("gates: {acc: {floor: 1}}"),
            "6: tasks[0].gates.acc.floor: unknown field; known are min, max, max_drop, min_effect, alpha, inconclusive, paired",
            id="gate field",
        ),
        pytest.param(with_field("name: x"), "6: name: given twice, first in line 2", id="key twice"),
        pytest.param(
            TASK + TASK.partition("\n")[2],
            "6: tasks[1].name: 'capitals' is the name or an alias of two tasks, in lines 2 and 6",
            id="task twice",
        ),
        pytest.param(
            TASK.replace("capitals", "capitals\n    matrix: {s: [a, b]}"),
            "2: tasks[0].name: the matrix makes several tasks named 'capitals': put its variables into the name",
            id="matrix without effect",
        ),
        pytest.param(
            TASK.replace("capitals", '"{subset}"'),
            "2: tasks[0].name: unknown matrix variable {subset}: the task has no matrix",
            id="no matrix",
        ),
        pytest.param(
            TASK.replace("capitals", '"t:{subse}"\n    matrix: {subset: [a]}'),
            "2: tasks[0].name: unknown matrix variable {subse}: the matrix has subset (did you mean 'subset'?)",
            id="unknown variable",
        ),
        pytest.param(
            with_field("matrix: {a: [no]}"),
            "6: tasks[0].matrix.a[0]: Expected int or str or mapping, got bool (quote it to make it text)",
            id="matrix of bool",
        ),
        pytest.param(with_field("matrix: {a: []}"), "6: tasks[0].matrix.a: must not be empty", id="empty axis"),
        pytest.param(
            with_field("matrix: {a b: [x]}"),
            "6: tasks[0].matrix: the variable 'a b' must be one word, to be written {word}",
            id="variable of two words",
        ),
        pytest.param(
            with_field("matrix: [{a: 1}, {b: 2}]"),
            "6: tasks[0].matrix: each entry must have the same variables: a in one, b in another",
            id="uneven entries",
        ),
        pytest.param(
            with_field("matrix: {a: [{x: 1}], b: [{x: 2}]}"), "6: tasks[0].matrix: the variable 'x' is given twice", id="variable twice"
        ),
        pytest.param(
            TASK.replace("capitals", "数学"),
            "2: tasks[0].name: '数学' cannot be written in letters A-Z and digits: choose such a name, and give this one in aliases",
            id="name without latin letters",
        ),
        pytest.param(
            TASK.replace('{query: "{{ question }}"}', "\n      query: |\n        {{ question }}\n        {% if %}"),
            "7: tasks[0].prompt.query: not a Jinja2 template: Expected an expression, got 'end of statement block'",
            id="template, line in a block",
        ),
        pytest.param(
            TASK.replace("question }}", "question | lowr }}"),
            "4: tasks[0].prompt.query: not a Jinja2 template: no filter named 'lowr' (did you mean 'lower'?)",
            id="template, unknown filter",
        ),
        pytest.param(
            "defaults:\n  prompt: {instruction: '{{ x'}\n" + TASK,
            "2: defaults.prompt.instruction: not a Jinja2 template: unexpected end of template, expected 'end of print statement'.",
            id="template of defaults",
        ),
        pytest.param(
            with_field("hf_filter: label =="),
            "6: tasks[0].hf_filter: not a Jinja2 template: unexpected 'end of print statement'",
            id="filter",
        ),
        pytest.param(
            TASK.replace("{{ question }}", "question"),
            "4: tasks[0].prompt.query: names no column: every document would be the same (a column is written '{{ question }}')",
            id="query without a column",
        ),
        pytest.param(
            TASK.replace("query", "original_query"),
            "4: tasks[0].prompt.query: the task has no query, and neither have the defaults",
            id="no query",
        ),
        pytest.param(
            TASK.replace('"}', '", choices: [a, ""]}'), "4: tasks[0].prompt.choices: a choice must not be empty", id="empty choice"
        ),
        pytest.param(
            TASK.replace('"}', '", choices: [a, b], gold: 2}'),
            "4: tasks[0].prompt.gold: 2 is not an index of the 2 choices, which are counted from 0",
            id="gold out of range",
        ),
        pytest.param(
            TASK.replace('"}', '", adapter: my.rows}'),
            "4: tasks[0].prompt.adapter: 'my.rows' is not of the form module:function",
            id="adapter",
        ),
        pytest.param(
            TASK.replace("    metrics: acc\n", ""),
            "2: tasks[0].metrics: the task names no metric, and neither do the defaults",
            id="no metrics",
        ),
        pytest.param(
            TASK.replace("    hf_repo: owner/name\n", ""),
            "2: tasks[0].hf_repo: the task names no data: give hf_repo or data_files",
            id="no data",
        ),
        pytest.param(
            with_field("data_files: {validation: a.jsonl}"),
            "6: tasks[0].data_files: the task has hf_repo too; remove one of them (null removes a default)",
            id="two kinds of data",
        ),
        pytest.param(
            TASK.replace("hf_repo: owner/name", "data_files: {tests: a.jsonl}\n    evaluation_splits: test"),
            "4: tasks[0].evaluation_splits: data_files has no split 'test', only tests (did you mean 'tests'?)",
            id="split without a file",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(tmp_path, text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [1\nb: 2\n", "2: not valid YAML: ", id="syntax"),
        pytest.param("tasks: *x\n", "1: not valid YAML: ", id="unknown alias"),
        pytest.param("a: 1\n---\nb: 1\n", "2: not valid YAML: ", id="two documents"),
        pytest.param("a: 1\nb: \x01\n", "2: not valid YAML: ", id="control character"),
        pytest.param("a: 1\nb: !!python/object:os.system {}\n", "2: the tag 'python/object:os.system' is not supported", id="object"),
        pytest.param("a: !!int x\n", "1: 'x' is not a valid int", id="wrong int"),
        pytest.param("a: !!bool x\n", "1: 'x' is not a valid bool", id="wrong bool"),
        pytest.param("a:\n  1: x\n", "2: the key '1' is not text: quote it", id="number as key"),
        pytest.param("no: x\n", "1: the key 'no' is not text: quote it", id="bool as key"),
        pytest.param("[a]: x\n", "1: the key a list or mapping is not text: quote it", id="list as key"),
        pytest.param("a: &a\n  b: *a\n", "1: contains itself through an alias", id="recursion"),
        pytest.param("a: &a {b: 1}\nc:\n  <<: *a\n", "3: '<<' (merge) is not supported", id="merge key"),
        pytest.param("[" * 100_000, "1: not valid YAML: ", id="depth"),
    ],
)
def test_what_is_not_plain_yaml_is_an_error_at_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(tmp_path, text).startswith(message)


def test_text_that_is_not_utf8_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"suite: x\n# caf\xe9\n")

    with pytest.raises(UserInputError, match=r"f\.yaml: not UTF-8 text: invalid continuation byte in line 2$"):
        load_suite(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"absent\.yaml: No such file or directory$"):
        load_suite(tmp_path / "absent.yaml")


def test_dates_and_numbers_in_quotes_are_text_and_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (task,) = load_suite(write(tmp_path, "\ufeff" + with_field("hf_subset: 2024-01-01") + '    hf_revision: "123"\n'))

    assert (task.hf_subset, task.hf_revision) == ("2024-01-01", "123")


# ----------------------------------------------------------------------------------------------------------- the lines


LOCATED = """\
defaults:
  hf_repo: owner/name
  metrics:
    - acc
    - em
tasks:
  - name: a
    prompt: {query: "{{ q }}"}
  - name: b
    prompt:
      query: "{{ q }}"
    gates:
      acc:
        min: 0.5
"""


@pytest.mark.parametrize(
    ("field", "line", "message"),
    [
        pytest.param("prompt.query", 11, "f:11: tasks[1].prompt.query: wrong", id="own field"),
        pytest.param("gates.acc.min", 14, "f:14: tasks[1].gates.acc.min: wrong", id="gate"),
        pytest.param("metrics[1]", 5, "f:5: defaults.metrics[1]: wrong", id="field of the defaults"),
        pytest.param("hf_subset", 9, "f:9: tasks[1].hf_subset: wrong", id="field that is nowhere"),
    ],
)
def test_the_line_of_a_field_is_found(tmp_path: Path, field: str, line: int, message: str) -> None:
    path = write(tmp_path, LOCATED)
    task = load_suite(path)[1]

    assert locate(path, task, field) == line
    assert str(task_error(task, field, "wrong", shown="f")) == message


def test_a_field_of_a_file_that_is_gone_has_the_line_of_the_task(tmp_path: Path) -> None:
    path = write(tmp_path, LOCATED)
    task = load_suite(path)[1]
    path.unlink()

    assert locate(path, task, "metrics") == 9
    assert str(task_error(task, "metrics", "wrong", shown="f")) == "f:9: metrics: wrong"


# ---------------------------------------------------------------------------------------------------------- the schema


def test_the_shipped_schema_is_the_one_of_the_code() -> None:
    assert json.loads(json_schema()) == SCHEMA


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(REPOSITORY))) for path in SUITES])
def test_every_shipped_suite_loads_and_fits_the_schema(path: Path) -> None:
    tasks = load_suite(path)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA, cls=jsonschema.Draft202012Validator)

    assert tasks


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    mistakes = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(with_field("few_shot: 5"))))

    assert [mistake.message for mistake in mistakes] == ["Additional properties are not allowed ('few_shot' was unexpected)"]


DOCUMENT = (REPOSITORY / "docs" / "suites.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        pytest.param(EXAMPLES[0], ["capitals"], id="minimal"),
        pytest.param(EXAMPLES[1], ["exam:anatomy", "exam:astronomy", "exam:virology"], id="several tasks"),
        pytest.param(EXAMPLES[2], ["qa:en_short", "qa:en_long", "qa:de_short", "qa:de_long"], id="matrix"),
        pytest.param(EXAMPLES[3], ["xqa:de", "xqa:fr"], id="matrix of entries"),
    ],
)
def test_the_examples_of_the_guide_are_suites(tmp_path: Path, example: str, expected: list[str]) -> None:
    assert [task.name for task in load_suite(write(tmp_path, example))] == expected


def test_the_guide_has_every_field() -> None:
    fields = {field for struct in (SuiteFields, TaskFields, PromptFields) for field in struct.__struct_fields__}
    described = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))

    assert described == fields


def test_reading_a_suite_imports_nothing_heavy(tmp_path: Path) -> None:
    path = write(tmp_path, TASK)
    code = (
        "import sys, pathlib, pytest_lighteval.tasks.suite_file as s, pytest_lighteval.data.data_sets\n"
        f"s.load_suite(pathlib.Path({str(path)!r}))\n"
        "sys.stdout.write(' '.join(sorted({'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'pandas'} & sys.modules.keys())))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ""})

    assert done.stdout == ""

"""Templates of languages: the examples of docs/languages.md, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_lighteval.errors import FileError, PromptError
from pytest_lighteval.metrics.languages import LANGUAGES
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.prompts.languages.inputs import INPUTS
from pytest_lighteval.prompts.languages.templates import hellaswag, multichoice, nli
from pytest_lighteval.prompts.languages.texts import capitalize, ends_sentence, with_ending, without_ending
from pytest_lighteval.prompts.languages.words import MARKS, words_of
from pytest_lighteval.tasks.suite_file import load_suite
from pytest_lighteval.types import Task
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "languages.md").read_text("utf-8")
EXAMPLES = re.findall(r"### (\w+)\n.*?```yaml\n(.*?)```\n\n```json\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
SUITE = re.search(r"```yaml\n(# suites/mine/quiz.yaml\n.*?)```", PAGE, re.DOTALL)
QUIZ = {"question": "was?", "options": ["eins", "zwei"], "answer": 0}


def load(folder: Path, prompt: str) -> Task:
    indented = "".join(f"      {line}\n" for line in prompt.strip().split("\n"))
    (folder / "file.yaml").write_text(
        f"tasks:\n  - name: quiz\n    hf_repo: a/b\n    metrics: exact_match\n    prompt:\n{indented}", "utf-8"
    )
    (task,) = load_suite(folder / "file.yaml", shown="f")
    return task


def prompt(**fields: str) -> str:
    given = {"template": "multichoice", "language": "deu", "formulation": "cf"} | fields
    inputs = given.pop("inputs", '{question: "{{ question }}", choices: "{{ options }}", gold: "{{ answer }}"}')
    return "\n".join([*(f"{name}: {value}" for name, value in given.items() if value), *([f"inputs: {inputs}"] if inputs else [])])


def test_the_page_has_an_example_of_every_template() -> None:
    assert [name for name, *_ in EXAMPLES] == list(INPUTS)


@pytest.mark.parametrize(("name", "text", "row", "expected"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_an_example_makes_what_the_page_says(tmp_path: Path, name: str, text: str, row: str, expected: str) -> None:
    task = load(tmp_path, text)
    (doc,) = render_docs(task, [(0, json.loads(row))], "test").docs

    shown = "".join(f'{"right" if index in doc.gold else "wrong"}: "{choice}"\n' for index, choice in enumerate(doc.choices))
    assert (task.prompt.template, f"{doc.query}\n{shown}") == (name, expected)


def test_the_suite_of_the_page_asks_in_three_formulations(tmp_path: Path) -> None:
    assert SUITE is not None
    (tmp_path / "quiz.yaml").write_text(SUITE[1], "utf-8")

    tasks = load_suite(tmp_path / "quiz.yaml")

    assert [task.name for task in tasks] == [
        *("quiz_fra_mcf", "quiz_tha_mcf"),
        *("quiz_fra_cf", "quiz_fra_hybrid", "quiz_tha_cf", "quiz_tha_hybrid"),
    ]
    assert {task.language for task in tasks} == {"fra", "tha"}
    assert all(task.skip is None for task in tasks)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"template": "quiz"}, "f:6: tasks[0].prompt.template: 'quiz' is none of multichoice, qa, boolq"),
        ({"language": ""}, "prompt.language: prompt.template needs the language, such as fra"),
        ({"language": "de"}, "f:7: tasks[0].prompt.language: there is no language 'de' (did you mean 'deu'?); languages are named by"),
        ({"formulation": ""}, "prompt.formulation: prompt.template multichoice needs one of mcf, cf, hybrid"),
        ({"formulation": "fc"}, "f:8: tasks[0].prompt.formulation: 'fc' is none of mcf, cf, hybrid"),
        ({"query": "x"}, "prompt.query: prompt.template makes it, of prompt.inputs: question, choices, gold, context"),
        ({"inputs": '{question: "{{ q }}", choices: "{{ c }}"}'}, "prompt.inputs: multichoice needs the input 'gold'"),
        ({"inputs": '{question: "{{ q }}", choice: "{{ c }}", gold: 0}'}, "multichoice has no input 'choice' (did you mean 'choices'?)"),
        ({"inputs": "{question: q, choices: [a, b], gold: 0}"}, "prompt.inputs: names no column"),
        ({"words": "{anser: x}"}, "prompt.words.anser: there is no word 'anser' (did you mean 'answer' or"),
        ({"template": "", "formulation": "", "query": '"{{ q }}"'}, "prompt.inputs: is of use only with prompt.template"),
        ({"template": "qa", "formulation": "mcf", "inputs": '{question: "{{ q }}", answers: ["{{ a }}"]}'}, "has no options: leave it out"),
    ],
)
def test_a_mistake_is_told_at_its_line(tmp_path: Path, given: dict[str, str], problem: str) -> None:
    with pytest.raises(FileError) as caught:
        load(tmp_path, prompt(**given))

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "row", "problem"),
    [
        ({}, QUIZ | {"options": "eins"}, "quiz: test:0: prompt.inputs.choices: gives 'eins'; a list of texts is required"),
        ({}, QUIZ | {"answer": "x"}, "quiz: test:0: prompt.inputs.gold: gives 'x', which is no index of a choice"),
        ({}, QUIZ | {"question": None}, "quiz: test:0: prompt.inputs.question: the column 'question' is null"),
        ({}, QUIZ | {"answer": 2}, "quiz: test:0: prompt.gold: index 2 is out of range, there are 2 choices"),
        ({"formulation": "mcf"}, QUIZ | {"options": ["x"] * 27}, "prompt.inputs.choices: there are 27, and letters for 26"),
        (
            {"template": "boolq", "inputs": '{question: "{{ question }}", answer: "{{ answer }}"}'},
            QUIZ | {"answer": "yes"},
            "true or false is",
        ),
    ],
)
def test_a_row_that_is_not_as_the_template_needs_it_is_told(
    tmp_path: Path, fields: dict[str, str], row: dict[str, object], problem: str
) -> None:
    with pytest.raises(PromptError) as caught:
        render_docs(load(tmp_path, prompt(**fields)), [(0, row)], "test")

    assert problem in str(caught.value)


def test_a_missing_word_skips_the_task_and_a_given_one_does_not(tmp_path: Path) -> None:
    assert load(tmp_path, prompt(language="ben")).skip == "Bangla (ben) has no word for 'answer'; prompt.words can give it"
    assert (
        load(tmp_path, prompt(language="kor")).skip == "Korean (kor) has no word for 'question_word', 'answer'; prompt.words can give them"
    )
    task = load(tmp_path, prompt(language="ben", words="{answer: উত্তর, colon: '-'}"))
    (doc,) = render_docs(task, [(0, QUIZ)], "test").docs

    assert (task.skip, doc.query) == (None, "প্রশ্ন- Was?\nউত্তর-")


def test_a_row_without_a_published_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    rendered = render_docs(load(tmp_path, prompt()), [(0, QUIZ), (1, QUIZ | {"answer": -1})], "test")

    assert ([doc.id for doc in rendered.docs], rendered.unlabeled) == (["test:0"], ("test:1",))


def test_neutral_is_the_last_of_the_named_relations() -> None:
    relations = ("entailment", "neutral", "contradiction")
    question = nli(words_of("eng"), "hybrid", premise="It rains.", hypothesis="It is dry.", gold=[2], relations=relations)  # type: ignore[arg-type]

    assert "It is dry True, False or Neither?" in question.query
    assert question.choices == (" True", " Neither", " False")


def test_an_empty_ending_leaves_the_row_out() -> None:
    assert hellaswag(words_of("eng"), "cf", context="He", choices=["[header]", "goes."], gold=[1]) is None


def test_texts_are_put_together_letter_for_letter() -> None:
    chinese, greek = words_of("zho"), words_of("ell")

    assert capitalize("ßa") == "SSa"
    assert [with_ending(text, chinese) for text in ("好. ", "好...", "好!", "好？", " 好:")] == ["好。", "好..。", "好!", "好？", " 好："]
    assert [without_ending(text) for text in ("好。", "x. ", 'so?"', "a;")] == ["好", "x. ", "so", "a;"]
    assert [ends_sentence(text, greek) for text in ("τι; ", "τι?", "τι.")] == [True, False, True]
    assert multichoice(chinese, "mcf", question="好?", choices=["是", "否"], gold=[0]).query == "问题：好？\nA。是\nB。否\n答案："


def test_the_words_that_answers_are_found_by_are_those_that_templates_ask_with() -> None:
    for language in LANGUAGES.values():
        words = words_of(language.code)
        if words.answer is not None:
            assert (language.answer, *(getattr(language, mark) for mark in ("full_stop", "comma", "colon"))) == (
                words.answer,
                *(getattr(words, mark) for mark in ("full_stop", "comma", "colon")),
            )
    assert "colon" in MARKS

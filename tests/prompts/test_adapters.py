"""Adapters say about a row what its prompt needs, here on rows in which every rule of theirs has something to do."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_lighteval.prompts.adapters import (
    aliases,
    arabic,
    coqa,
    drop,
    ethics,
    french,
    hle,
    mathqa,
    mutual,
    qasper,
    race,
    simpleqa,
    translation,
    wikitext,
    wsc,
)

Row = dict[str, Any]


def test_all_published_triviaqa_aliases_are_there_once_the_answer_first() -> None:
    row = {"answer": {"value": "Paris", "aliases": ["City of Light", "Paris"], "normalized_aliases": ["city of light", "paris"]}}

    assert aliases.published_triviaqa_aliases(row)["aliases"] == ["Paris", "City of Light", "city of light", "paris"]


def test_of_triviaqa_aliases_the_shortest_are_left_in_plain_letters() -> None:
    row = {"answer": {"aliases": ["St. Paul (city)", "St. Paul", "Saint-Paul", "saint-paul"]}}

    assert aliases.plain_triviaqa_aliases(row)["aliases"] == ["saintpaul", "st paul", "saintpaul"]


def test_a_webqs_answer_that_goes_on_from_another_is_dropped() -> None:
    assert aliases.shortest_webqs_answers({"answers": ["Texas Rangers", "Ohio", "Texas"]}) == {"answers": ["Ohio", "Texas"]}


def test_as_many_options_are_lettered_as_a_question_has() -> None:
    row = {"Option 1": "one", "Option 2": "two", "Option 3": "three", "Option 4": None, "Option 5": None}

    assert arabic.letter_options(row) == {**row, "options": ["أ. one", "ب. two", "ج. three"], "option_letters": ["أ", "ب", "ج"]}


def test_as_many_solutions_are_listed_as_there_are_columns() -> None:
    row = {"query": "?", "sol1": "one", "sol2": "two", "label": "1"}

    assert arabic.list_solutions(row) == {**row, "solutions": ["one", "two"]}


def test_arabic_endings_lose_their_marks() -> None:
    row = {"ctx": "[header] one [title] two", "endings": "['[step] a', 'b']"}

    assert arabic.clean_endings(row) == {"ctx": " one  two", "endings": [" a", "b"]}


@pytest.mark.parametrize("question", [pytest.param("Why?", id="why"), pytest.param("How?", id="how"), pytest.param("Where?", id="where")])
def test_the_right_answer_is_among_the_wrong_ones_at_the_returned_index(question: str) -> None:
    arabic_row = {"question": question, "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "R"}
    french_row = {"Question": question, **{f"Réponse incorrecte {number}": text for number, text in zip("123", "abc", strict=True)}}
    placed = arabic.place_sciq_answer(arabic_row)
    also_placed = french.place_gpqa_answers({**french_row, "Réponse correcte": "R"})

    assert placed["answers"][placed["right"]] == "R"
    assert sorted(placed["answers"]) == ["R", "a", "b", "c"]
    assert also_placed == {"question": question, "options": placed["answers"], "answer": placed["right"]}


def test_a_conversation_is_a_row_for_every_turn() -> None:
    row = {"__index": 7, "story": "Once.", "questions": ["Who?", "Why?"], "answers": {"input_text": ["She", "unknown"]}}

    assert coqa.split_turns(row) == [
        {"story": "Once.", "story_number": 7, "question": "Who?", "answer": "She", "before": []},
        {
            "story": "Once.",
            "story_number": 7,
            "question": "Why?",
            "answer": "unknown",
            "before": [{"question": "Who?", "answer": "She"}],
        },
    ]


def test_drop_answers_are_each_annotators_number_spans_or_date_once() -> None:
    no_date = {"day": "", "month": "", "year": ""}
    may = {"day": "", "month": "May", "year": "1901"}
    row = {
        "answer": {"number": "3", "date": no_date, "spans": []},
        "validated_answers": {"number": ["3", "", ""], "date": [no_date, no_date, may], "spans": [[], ["two", "one"], []]},
    }

    assert drop.collect_answers(row)["answers"] == [["3"], ["two", "one"], ["May 1901"]]


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        pytest.param("I was reading a book. I finished the book yesterday.", {"first": "better", "second": "worse", "gold": 1}, id="kept"),
        pytest.param("I bought a new car, it is very economic.", {"first": "worse", "second": "better", "gold": 0}, id="swapped"),
    ],
)
def test_the_order_of_scenarios_depends_on_the_better_ones_text_alone(activity: str, expected: Row) -> None:
    names = {activity: "better", "Something else.": "worse"}
    ordered = ethics.order_scenarios({"activity": activity, "baseline": "Something else."})

    assert {"first": names[ordered["first"]], "second": names[ordered["second"]], "gold": ordered["gold"]} == expected


def test_a_question_with_a_picture_is_no_row() -> None:
    assert hle.drop_pictures({"image": "data:image/png;base64,AAAA"}) is None
    assert hle.drop_pictures({"image": ""}) == {"image": ""}


def test_an_option_of_mathqa_ends_at_its_first_comma() -> None:
    row = {"options": "a ) 1 , b ) 2 , 500 , c ) rs . 3 , d ) 4 , e ) none of these"}

    assert mathqa.split_options(row)["choices"] == ["1", "2", "rs . 3", "4", "none of these"]


def test_mutual_is_read_as_one_would_write_it() -> None:
    row = {"article": "m : i do n't know . f : `` oh '' , it 's late !", "options": ["m : is it ?"]}

    assert mutual.detokenize(row) == {"article": "m: i don't know. f: \"oh\", it's late!", "options": ["m: is it?"]}


def test_of_a_papers_answers_those_that_are_yes_or_no_are_left() -> None:
    def answer(**given: Any) -> Row:
        return {"unanswerable": False, "yes_no": None, "free_form_answer": "", "extractive_spans": [], **given}

    answers = [
        [answer(yes_no=True), answer(yes_no=False)],
        [answer(yes_no=False, free_form_answer="not quite"), answer(unanswerable=True, yes_no=False), answer(extractive_spans=["it is"])],
    ]
    qas = {"question": ["Is it?", "How?"], "answers": [{"answer": given} for given in answers]}
    paper = {"title": "T", "abstract": "A", "paper_number": 3}

    assert qasper.split_questions({"__index": 3, "title": "T", "abstract": "A", "qas": qas}) == [
        {**paper, "question": "Is it?", "answer": True},
        {**paper, "question": "Is it?", "answer": False},
    ]


def test_a_problem_of_race_gets_its_right_option() -> None:
    problem = {"question": "Who?", "answer": "C", "options": ["a", "b", "c", "d"]}

    assert race.parse_problems({"problems": repr([problem])}) == {"problems": [{**problem, "right": "c"}]}


def test_simpleqas_metadata_are_read() -> None:
    assert simpleqa.parse_metadata({"metadata": "{'topic': 'Art'}"}) == {"metadata": {"topic": "Art"}}


@pytest.mark.parametrize(
    "stored",
    [pytest.param({"de": "Ja. ", "en": "Yes."}, id="mapping"), pytest.param("{'de': ['Ja. ', 'Doch.'], 'en': ['Yes.']}", id="text")],
)
def test_a_translation_is_one_text_a_language(stored: Any) -> None:
    row = translation.name_languages({"translation": stored})

    assert row["texts"] == {"de": "Ja.", "en": "Yes."}
    assert [row["languages"][code] for code in row["texts"]] == ["German", "English"]


def test_wikitext_is_read_as_one_would_write_it() -> None:
    page = ' = = Range = = \n The cat \'s " tail " ( 1 @.@ 5 @-@ metre ) grew , at 20 ° C , to 1 @,@ 000 . \n'

    assert wikitext.detokenize({"page": page})["text"] == ' == Range ==\nThe cat\'s "tail" (1.5-metre) grew, at 20°C, to 1,000.\n'


@pytest.mark.parametrize(
    ("text", "pronoun", "options", "expected"),
    [
        pytest.param("Ann met Bea when she left.", "she", ["Ann", "Bea"], ["Ann", "Bea"], id="names"),
        pytest.param("Ann met Bea at her house.", "her", ["Ann", "Bea"], ["Ann's", "Bea's"], id="possessive"),
        pytest.param("The cup hit the jug, and it broke.", "it", ["The cup", "The jug"], ["the cup", "the jug"], id="within a sentence"),
        pytest.param("The cup hit the jug. It broke.", "It", ["The cup", "The jug"], ["The cup", "The jug"], id="at its beginning"),
    ],
)
def test_an_option_fits_into_the_pronouns_place(text: str, pronoun: str, options: list[str], expected: list[str]) -> None:
    row = {"text": text, "pronoun": pronoun, "pronoun_loc": text.index(f" {pronoun} ") + 1, "options": options}

    assert wsc.fit_options(row)["options"] == expected

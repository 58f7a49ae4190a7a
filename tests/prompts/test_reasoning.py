"""Thoughts leave a text in linear time, by the rules of an expression that takes quadratic time."""

from __future__ import annotations

import random
import re

from pytest_lighteval.prompts.reasoning import strip_reasoning


def test_thoughts_are_those_of_the_shortest_match() -> None:
    stream = random.Random(3)
    texts = ["".join(stream.choices(["<t>", "</t>", "a", " ", "\n", "<"], k=stream.randrange(0, 12))) for _ in range(3000)]

    def by_expression(text: str) -> str:
        return re.sub("<t>.*?</t>", "", text, flags=re.DOTALL).rpartition("</t>")[2].partition("<t>")[0].strip()

    assert [strip_reasoning(text, (("<t>", "</t>"),)) for text in texts] == [by_expression(text) for text in texts]

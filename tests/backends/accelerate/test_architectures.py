"""`python -m benchmarks.architectures` finds wrong answers, and says of each model what came of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import architectures
from benchmarks.architectures import Outcome, check, in_processes, page_of
from pytest_lighteval.backends.accelerate.row_groups import ANY_ROWS


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [("qwen3", "prefix tree"), ("mamba2", "plain rows: it has no attention heads"), ("gpt_neo", "plain rows: on a probe it gives")],
)
def test_an_architecture_answers_each_row_as_if_it_were_alone(kind: str, scoring: str) -> None:
    outcome = check(kind)

    assert (outcome.verdict, outcome.texts) == ("ok", "0 of 6")
    assert outcome.scoring.startswith(scoring)
    assert outcome.difference is not None
    assert outcome.difference < 1e-3


def test_an_answer_that_depends_on_its_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_lighteval.backends.accelerate.scoring.padding.declared_groups", lambda config, max_length: ANY_ROWS)

    outcome = check("phi3, longrope")

    assert outcome.verdict == "WRONG"
    assert outcome.difference is not None
    assert outcome.difference > 0.1


def test_a_model_that_is_refused_or_cannot_be_made_is_said_to_be() -> None:
    assert check("gemma3_text, bidirectional").verdict.startswith("refused: Gemma3ForCausalLM: it is not causal")
    assert check("fuyu").verdict.startswith("not tested: ")


def test_a_model_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(kind: str) -> Outcome:
        while kind == "slow":
            torch.ones(1)
        return Outcome(kind=kind, verdict="ok")

    monkeypatch.setattr(architectures, "check", slow)

    outcomes = {outcome.kind: outcome.verdict for outcome in in_processes(["slow", "quick"], jobs=2, limit=2)}

    assert outcomes["slow"] == "not tested: it takes longer than 2 s"


def test_the_page_counts_what_was_tested() -> None:
    outcomes = [
        Outcome(kind="b", verdict="WRONG", difference=0.5, scoring="plain rows: it | is", generation="slots", texts="1 of 6"),
        Outcome(kind="a", verdict="not tested: ValueError: too large"),
    ]

    page = page_of(outcomes, ["a", "b", "c"])

    assert "1 of 2 models could be tested; 1 of them gave a wrong answer." in page
    assert "The run ended before it asked 1 more: c." in page
    assert page.index("| a ") < page.index("| b ")
    assert r"it \| is" in page

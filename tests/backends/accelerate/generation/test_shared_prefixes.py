"""Which tokens of prompts are computed once for several rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_lighteval.backends.accelerate.generation.rows import PromptRow
from pytest_lighteval.backends.accelerate.generation.shared_prefixes import GenerationPlan, PlannedRow, plan_generation

# few distinct tokens, so that prompts share, repeat and contain one another
PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), max_size=12)


def rows_of(prompts: list[tuple[int, ...]]) -> list[PromptRow]:
    """One row for each."""
    return [PromptRow(owner=owner, prompt=prompt, max_new_tokens=1) for owner, prompt in enumerate(prompts)]


def own_tokens(planned: PlannedRow) -> tuple[int, ...]:
    """The tokens of a row's prompt that are in no stem."""
    return planned.row.prompt[planned.start :]


def computed(plan: GenerationPlan) -> int:
    """Prompt tokens that are passed to the model."""
    return sum(len(stem.tokens) for stem in plan.stems) + sum(len(own_tokens(planned)) for planned in plan.rows)


@given(PROMPTS, st.integers(1, 12), st.integers(1, 4))
def test_stems_and_own_tokens_make_up_each_prompt(prompts: list[tuple[int, ...]], saved: int, shortest: int) -> None:
    plan = plan_generation(rows_of(prompts), tokens_saved=saved, shortest_stem=shortest)

    assert sorted(planned.row.owner for planned in plan.rows) == list(range(len(prompts)))
    for planned in plan.rows:
        front = [plan.stems[number] for number in planned.stems]
        assert sum((stem.tokens for stem in front), ()) + own_tokens(planned) == planned.row.prompt
        assert own_tokens(planned)
        for place, stem in enumerate(front):
            assert stem.stems == planned.stems[:place]
            assert stem.start == sum(len(other.tokens) for other in front[:place])


@given(PROMPTS, st.integers(1, 12), st.integers(1, 4))
def test_every_stem_saves_what_it_must(prompts: list[tuple[int, ...]], saved: int, shortest: int) -> None:
    plan = plan_generation(rows_of(prompts), tokens_saved=saved, shortest_stem=shortest)

    for number, stem in enumerate(plan.stems):
        readers = sum(number in planned.stems for planned in plan.rows)
        assert len(stem.tokens) >= shortest
        assert len(stem.tokens) * (readers - 1) >= saved
        assert all(front < number for front in stem.stems)


@given(PROMPTS)
def test_no_token_is_computed_twice_where_stems_cost_nothing(prompts: list[tuple[int, ...]]) -> None:
    plan = plan_generation(rows_of(prompts), tokens_saved=1, shortest_stem=1)

    # each row chooses its first token by a token of its own
    paths = {prompt[:length] for prompt in prompts for length in range(1, len(prompt))}
    assert computed(plan) == len(paths) + len(prompts)


@given(PROMPTS)
def test_rows_after_the_same_stems_come_together_and_longest_first(prompts: list[tuple[int, ...]]) -> None:
    plan = plan_generation(rows_of(prompts), tokens_saved=3, shortest_stem=2)

    order = [planned.stems for planned in plan.rows]
    assert len({stems for place, stems in enumerate(order) if place == 0 or order[place - 1] != stems}) == len(set(order))
    assert order == sorted(order)
    for one, other in zip(plan.rows, plan.rows[1:], strict=False):
        assert one.stems != other.stems or len(one.row.prompt) >= len(other.row.prompt)


def test_few_shots_and_the_prompt_of_samples_become_two_stems() -> None:
    few_shots, question, other = tuple(range(100)), (*range(200, 230),), (300, 301, 302)
    prompts = [few_shots + question] * 4 + [few_shots + other]

    plan = plan_generation(rows_of(prompts))

    assert [(stem.stems, stem.start, stem.tokens) for stem in plan.stems] == [((), 0, few_shots), ((0,), 100, question[:-1])]
    assert [(planned.row.owner, planned.stems, own_tokens(planned)) for planned in plan.rows] == [
        (4, (0,), other),
        *((sample, (0, 1), question[-1:]) for sample in range(4)),
    ]


def test_what_is_shared_by_chance_is_no_stem() -> None:
    plan = plan_generation(rows_of([(1, 2, 3, token, *range(90)) for token in range(10, 20)]))

    assert plan.stems == ()


def test_thousands_of_nested_prompts_are_planned_without_recursion() -> None:
    prompts = [tuple([7] * length) for length in range(1, 3000, 2)]

    plan = plan_generation(rows_of(prompts))

    assert sorted(len(planned.row.prompt) for planned in plan.rows) == [len(prompt) for prompt in prompts]
    assert len(plan.stems) > 10

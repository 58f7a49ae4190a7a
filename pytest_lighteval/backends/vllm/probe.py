"""Which fast ways of scoring the installed vLLM does correctly. A fast way is used only if it gives the same scores as the plain one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters
from pytest_lighteval.backends.common.generation_requests import TokenizedPrompt
from pytest_lighteval.backends.vllm.runner import Abilities, Runner
from pytest_lighteval.backends.vllm.scoring import ContinuationPrompt, NextTokenPrompt
from pytest_lighteval.errors import BackendError, first_line

Answer = TypeVar("Answer")

_TOLERANCES = {"float32": 1e-3}
_COARSE = 0.5
"""Nats by which two ways may differ in 16 bit. A wrong score differs by far more."""
_UNUSABLE = (BackendError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError)


def probe(
    llm: Any, sampling_parameters: Callable[..., Any], *, caches: bool, block_size: int, max_model_len: int, vocabulary: int, dtype: str
) -> Abilities:
    """Compute the same scores in the plain way and in each fast way that the installed version knows by name.

    `caches`: the engine has a prefix cache, in blocks of `block_size` tokens. A fast way that raises or gives other scores is not used; a
    note says why.
    """
    known = inspect.signature(sampling_parameters).parameters
    length = min(2 * block_size + 3, max_model_len - 2)
    # any ids will do, except special ones, which are the first of most vocabularies
    text = tuple(vocabulary // 4 + (7 * place) % max(1, vocabulary // 4) for place in range(length))
    plain_prompt = ContinuationPrompt(tokens=text, scored=2)
    plain = Runner(llm, sampling_parameters, Abilities())
    tolerance = _TOLERANCES.get(dtype, _COARSE)
    expected = _only(plain.score_continuations([plain_prompt])).logprob

    def reads_cache() -> bool:
        runner = Runner(llm, sampling_parameters, Abilities(reads_cache=True))
        return all(abs(score.logprob - expected) <= tolerance for _, score in runner.score_continuations([plain_prompt, plain_prompt]))

    def names_tokens() -> bool:
        runner = Runner(llm, sampling_parameters, Abilities(names_tokens=True))
        context = text[:-1]
        likeliest = _only(plain.generate([TokenizedPrompt(tokens=context, max_new_tokens=1)], GenerationParameters()))[0][0]
        candidates = tuple(dict.fromkeys((text[-1], likeliest, text[0])))
        found = _only(runner.score_next_tokens([NextTokenPrompt(tokens=context, candidates=candidates)]))
        expected_scores = dict(
            plain.score_continuations([ContinuationPrompt(tokens=(*context, candidate), scored=1) for candidate in candidates])
        )
        return all(
            abs(score.logprob - expected_scores[place].logprob) <= tolerance and score.greedy == (candidate == likeliest)
            for place, (candidate, score) in enumerate(zip(candidates, found, strict=True))
        )

    problems = {
        "reading cached prefixes while scoring": _problem(reads_cache, "skip_reading_prefix_cache" in known) if caches else None,
        "asking for named tokens": _problem(names_tokens, "logprob_token_ids" in known),
    }
    reading, naming = problems.values()
    return Abilities(
        reads_cache=caches and reading is None,
        names_tokens=naming is None,
        notes=tuple(
            f"{what} does not work here, so the slower plain way is used: {problem}" for what, problem in problems.items() if problem
        ),
    )


def _problem(check: Callable[[], bool], known: bool) -> str | None:
    """Why a fast way is not used. None: it is correct."""
    if not known:
        return "this vLLM does not know it"
    try:
        return None if check() else "it gives other scores than the plain way"
    except _UNUSABLE as error:
        return f"{type(error).__name__}: {first_line(error)}"


def _only(answers: Iterator[tuple[int, Answer]]) -> Answer:
    ((_, answer),) = answers
    return answer

"""The accelerate backend over tiny random models of nearly every causal architecture: are its answers those of each row alone?

`python -m benchmarks.architectures [--write] [ARCHITECTURE ...]` compares log-likelihoods with one unpadded pass for each choice, and
greedy texts with `generate` of transformers on each prompt alone. Each model runs in a process of its own. With `--write` it writes
docs/architectures.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.document import cell, setting, small, table
from benchmarks.recordings import ROOT
from benchmarks.zoo import VARIANTS, causal_kinds, make_model
from pytest_lighteval.common.files import write_atomic

DOCUMENT = ROOT / "docs" / "architectures.md"
ALLOWED = 2e-3
"""Nats by which rounding may change a log-likelihood of a random model in fp32."""
_LENGTH = 512
_NEW = 8
_SHOT = "Question: What colour is the grass?\nAnswer: green\n\n"
_PROMPTS = (
    *(_SHOT * 2 + f"Question: {question}?\nAnswer:" for question in ("What colour is the sky", "What", "One, two, three, four, and then")),
    _SHOT * 12 + "Question: What is the capital of France?\nAnswer:",
    "The capital of France is",
    "O",
)
_CHOICES = (" green", " green and blue", " x", " a very long river in the east")
_HEADER = """\
# Architectures

Does the accelerate backend answer each row as if it were alone, whatever the model?
`python -m benchmarks.architectures --write` asks tiny random models of the causal architectures of transformers, and writes this page.
It compares log-likelihoods with one unpadded pass for each choice, and greedy texts with `generate` of transformers on each prompt alone.
A difference of log-likelihoods is in nats, over a whole choice.
[The accelerate backend](backends/accelerate.md#padded-rows) says what the rules about rows mean.

- *ok*: no log-likelihood differs by more than {allowed} nats, and no text differs.
- *refused*: the backend says in one line why it does not run the model.
- *not tested*: transformers does not make or run the model at this size, or not in the time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one architecture."""

    kind: str
    verdict: str
    scoring: str = ""
    """How log-likelihoods were computed."""
    difference: float | None = None
    """The largest one, in nats. None: nothing was scored."""
    generation: str = ""
    """How texts were generated."""
    texts: str = ""
    """How many texts differ, of how many."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Its exit status is 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="ARCHITECTURE", help="a model_type of transformers, or a variant (default: all)")
    parser.add_argument("--write", action="store_true", help="write docs/architectures.md")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="models at a time (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=120, metavar="S", help="seconds for one model (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    outcomes: list[Outcome] = []
    kinds = options.kinds or [*VARIANTS, *causal_kinds()]
    for outcome in in_processes(kinds, jobs=options.jobs, limit=options.limit):
        print(f"{outcome.kind}: {outcome.verdict}", file=sys.stderr, flush=True)
        outcomes.append(outcome)
        if options.write:  # each time, so that a run that is interrupted leaves what it found
            write_atomic(DOCUMENT, page_of(outcomes, kinds))
    if not options.write:
        print(page_of(outcomes, kinds))
    return int(any(outcome.verdict.startswith("WRONG") for outcome in outcomes))


def page_of(outcomes: Sequence[Outcome], kinds: Sequence[str]) -> str:
    """The page with these outcomes. `kinds`: all that were to be asked."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.kind)
    missing = sorted({*kinds} - {outcome.kind for outcome in outcomes})
    header = ("architecture", "verdict", "log-likelihoods by", "differ by", "texts by", "texts that differ")
    rows = [
        tuple(cell(text) for text in (one.kind, one.verdict, one.scoring, small(one.difference), one.generation, one.texts))
        for one in outcomes
    ]
    tested = [one for one in outcomes if not one.verdict.startswith("not tested")]
    wrong = sum(one.verdict.startswith("WRONG") for one in tested)
    summary = f"{len(tested)} of {len(outcomes)} models could be tested; {wrong} of them gave a wrong answer."
    if missing:
        summary += f"\nThe run ended before it asked {len(missing)} more: {', '.join(missing)}."
    return f"{_HEADER.format(allowed=ALLOWED)}\n{setting('torch', 'transformers')}.\n{summary}\n\n{_narrow(table(header, rows))}\n"


def _narrow(text: str) -> str:
    """The table without aligned columns: a few reasons are long."""
    return re.sub(" +", " ", re.sub("-{4,}", "---", text))


def in_processes(kinds: Sequence[str], *, jobs: int, limit: float) -> Iterator[Outcome]:
    """The outcome of each architecture, in any order; each is made in a process that ends after so many seconds at the latest."""
    # once, before the processes fork
    import transformers.models.llama.modeling_llama  # noqa: F401

    import pytest_lighteval.backends.accelerate.engine  # noqa: F401

    context = multiprocessing.get_context("fork")
    waiting = list(kinds)
    running: list[tuple[str, float, Any, Connection]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            receiver, sender = context.Pipe(duplex=False)
            kind = waiting.pop(0)
            process = context.Process(target=_send, args=(sender, kind))
            process.start()
            sender.close()
            running.append((kind, time.monotonic(), process, receiver))
        still = []
        for kind, started, process, receiver in running:
            late = time.monotonic() - started > limit
            if receiver.poll(0.05):
                try:
                    yield receiver.recv()
                except EOFError:
                    yield Outcome(kind=kind, verdict="not tested: its process died")
            elif late:
                yield Outcome(kind=kind, verdict=f"not tested: it takes longer than {limit:g} s")
            else:
                still.append((kind, started, process, receiver))
                continue
            process.kill()
            process.join()
        running = still


def _send(sender: Connection, kind: str) -> None:
    sender.send(check(kind))


def check(kind: str) -> Outcome:
    """Compare the backend's answers with those of each row alone, by another model of the same weights."""
    from pytest_lighteval.backends.common.third_party import quiet_transformers
    from pytest_lighteval.errors import BackendError

    with quiet_transformers():
        try:
            model, alone = make_model(kind), _Alone(make_model(kind))
            alone.logprob((5, 6, 7), (8, 9))
        except Exception as error:  # anything that a model's own code raises
            return Outcome(kind=kind, verdict=f"not tested: {_line(error)}")
        try:
            return _compare(kind, model, alone)
        except BackendError as error:
            return Outcome(kind=kind, verdict=f"refused: {_line(error, name=False)}")
        except Exception as error:  # likewise, from the reference
            return Outcome(kind=kind, verdict=f"not tested: {_line(error)}")


def _compare(kind: str, model: Any, alone: _Alone) -> Outcome:
    from pytest_lighteval.backends.accelerate import AccelerateBackend
    from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest
    from tests.backends.tiny import tiny_tokenizer

    backend = AccelerateBackend.from_model(model, tiny_tokenizer(), max_length=_LENGTH)
    largest, refused = 0.0, 0
    for _, scored in backend.loglikelihood([LoglikelihoodRequest(prompt=prompt, choices=_CHOICES) for prompt in _PROMPTS]):
        if scored.error is not None or scored.prompt_token_ids is None or scored.choice_token_ids is None:
            refused += 1
            continue
        for found, choice in zip(scored.logprobs, scored.choice_token_ids, strict=True):
            largest = max(largest, abs(found - alone.logprob(scored.prompt_token_ids, choice)))
    different = 0
    for _, text in backend.generate([GenerateRequest(prompt=prompt, max_new_tokens=_NEW) for prompt in _PROMPTS]):
        if text.prompt_token_ids is not None and text.token_ids is not None:
            different += text.token_ids[0] != alone.text(text.prompt_token_ids)
    facts = backend.describe()
    verdict = "ok" if largest <= ALLOWED and not different else "WRONG"
    return Outcome(
        kind=kind,
        verdict=f"{verdict}; {refused} of {len(_PROMPTS)} prompts refused" if refused else verdict,
        scoring=str(facts["engine"]),
        difference=largest,
        generation=str(facts["generation"]),
        texts=f"{different} of {len(_PROMPTS)}",
    )


class _Alone:
    """The reference: one row at a time, unpadded."""

    def __init__(self, model: Any) -> None:
        from pytest_lighteval.backends.accelerate.module_state import ModuleState

        self._model, self._state = model, ModuleState(list(model.modules()))

    def logprob(self, context: Sequence[int], choice: Sequence[int]) -> float:
        """Of a choice, by one pass. The last token is only predicted."""
        import torch

        with torch.no_grad(), self._state.fresh():
            logits = self._model(input_ids=torch.tensor([[*context, *choice[:-1]]])).logits[0, len(context) - 1 :].double()
        return float(logits.log_softmax(-1)[range(len(choice)), list(choice)].sum())

    def text(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """What `generate` answers."""
        import torch

        inputs = torch.tensor([list(prompt)])
        with torch.no_grad(), self._state.fresh():
            whole = self._model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=_NEW, do_sample=False)
        return tuple(whole[0, len(prompt) :].tolist())


def _line(error: Exception, *, name: bool = True) -> str:
    from pytest_lighteval.errors import first_line

    text = first_line(error)
    return f"{type(error).__name__}: {text}"[:160] if name else text


if __name__ == "__main__":
    sys.exit(main())

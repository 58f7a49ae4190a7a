"""How long judging takes, in seconds of one processor: graded scores, whose test is a convolution, alone and pooled.

python -m benchmarks.gate_time                       a gate of 14,042 documents, a pool of 800,000: half a minute
python -m benchmarks.gate_time --pool 1000000        another pool
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from pytest_lighteval.baselines.save import baseline_task, provenance_of
from pytest_lighteval.common.statistics import MEAN
from pytest_lighteval.comparison.compare import compare
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.gates.compare import Side, align_sides, compare_gate, most_of
from pytest_lighteval.gates.documents import paired_scores
from pytest_lighteval.gates.plan import PairedGate
from pytest_lighteval.gates.pool import PoolPart, pool_part, pooled_documents
from pytest_lighteval.types import DocumentScore, GateSpec, MetricResult, TaskKey, TaskResult

MMLU = 14_042
"""Documents of the gate, and of each part of the pool."""

Value = TypeVar("Value")


def graded(number: int) -> tuple[PairedGate, Side]:
    """A gate on scores between 0 and 1 of which nearly every one changed."""
    rng = np.random.Generator(np.random.PCG64(number))
    before = rng.uniform(size=MMLU)
    after = np.clip(before - rng.normal(0.001, 0.1, size=MMLU), 0, 1)
    key = TaskKey(suite="s", task=f"t{number}", few_shots=0)
    gate = PairedGate(key=key, metric="score", corpus=MEAN, spec=GateSpec(), advisory=False, alpha=0.05, members=())
    baseline = baseline_task(_measured(key, before.tolist()), provenance_of(backend={}, environment={}, settings={}))
    return gate, Side(result=_measured(key, after.tolist()), baseline=baseline)


def _measured(key: TaskKey, scores: Sequence[float]) -> TaskResult:
    documents = tuple(
        DocumentScore(id=f"test:{row}", prompt_digest=f"{row:012x}", values={"score": score}) for row, score in enumerate(scores)
    )
    number = MetricResult(value=MEAN.aggregate(scores), stderr=0.01, n=len(scores), higher_is_better=True)
    return TaskResult(
        key=key, version=0, metrics={"score": number}, documents=documents, dataset_fingerprint="d", prompt_digest="p",
        effective_few_shots=0.0,
    )  # fmt: skip


def timed(what: str, work: Callable[[], Value]) -> Value:
    """Do the work, and print the processor's seconds that it took."""
    started = time.process_time()
    value = work()
    print(f"{time.process_time() - started:7.2f} s  {what}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate_time", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=int, default=800_000, help="documents of the pool, about (default 800000)")
    options = parser.parse_args(arguments)
    gate, side = graded(0)
    compare_gate(gate, [side], Policy())  # imports what is imported late
    ((aligned,), _) = align_sides(gate, [side], settings=None, allow=())
    paired = paired_scores(aligned, most_of(MEAN))
    timed(f"the test and the bounds of {MMLU:,} graded documents", lambda: compare(paired, alpha=0.05))
    timed("the whole gate: aligned with the baseline, tested, its changes listed", lambda: compare_gate(gate, [side], Policy()))
    gates = [graded(number) for number in range(max(2, round(options.pool / MMLU)))]
    found = timed("the documents of the pool aligned", lambda: [pool_part(gate, [side], Policy()) for gate, side in gates])
    parts = [part for part in found if isinstance(part, PoolPart)]
    pooled = timed("each row taken once", lambda: pooled_documents(parts, Policy()))
    timed(f"the test and the bounds of {pooled.n:,} graded documents", lambda: compare(pooled, alpha=0.01, certify_alpha=0.05))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Ways to attend to a prefix that many documents share, on one model: how long each takes, and how far its logits are from the first one's.

`python -m benchmarks.attention [--threads N] [--prefix N] [--documents N]` prints a table. Each way computes the same documents after the
same prefix, whose keys and values are there already but in the first way; the time is that of the documents alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.document import table
from benchmarks.model import MODEL


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="CPU threads (default: %(default)s)")
    parser.add_argument("--prefix", type=int, default=600, metavar="N", help="tokens of the prefix (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=24, metavar="N", help="documents after it (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
    from pytest_lighteval.types import LoglikelihoodRequest

    backend = AccelerateBackend(AccelerateArguments(pretrained=MODEL, dtype="float32", device="cpu"))
    list(backend.loglikelihood([LoglikelihoodRequest(prompt="One, two,", choices=(" three",))]))
    model = backend._engine._loaded.model
    print(table(("way", "seconds", "largest difference of a logit"), _measure(model, options.prefix, options.documents)))
    return 0


def _measure(model: Any, prefix_length: int, documents: int) -> list[tuple[str, str, str]]:
    """One line for each way, which runs three times after a first run that warms up."""
    import torch

    draw = torch.Generator().manual_seed(0)
    prefix = torch.randint(10, 40_000, (prefix_length,), generator=draw).tolist()
    lengths = torch.randint(50, 110, (documents,), generator=draw).tolist()
    own = [torch.randint(10, 40_000, (length,), generator=draw).tolist() for length in lengths]
    rows: list[tuple[str, str, str]] = []
    expected: torch.Tensor | None = None
    ways: dict[str, Callable[[Any, list[int], list[list[int]]], Callable[[], Any]]] = {
        "whole rows, padded": whole_rows,
        "one cache, expanded to rows": expanded_cache,
        "one flat row under a block mask": block_mask,
        "parts merged by log-sum-exp": merged_parts,
    }
    for name, way in ways.items():
        with torch.inference_mode():
            run = way(model, prefix, own)
            last = run()
            seconds = []
            for _ in range(3):
                started = time.perf_counter()
                last = run()
                seconds.append(time.perf_counter() - started)
        expected = last if expected is None else expected
        difference = float((last - expected).abs().max())
        rows.append((name, f"{statistics.median(seconds):.2f}", f"{difference:.1e}"))
        print(f"{name}: {statistics.median(seconds):.2f} s", file=sys.stderr, flush=True)
    return rows


def whole_rows(model: Any, prefix: list[int], own: list[list[int]]) -> Callable[[], Any]:
    """Each document with the whole prefix, eight rows at a time: the cost without sharing."""
    import torch

    def run() -> Any:
        found = []
        for start in range(0, len(own), 8):
            rows = [[*prefix, *one] for one in own[start : start + 8]]
            longest = max(map(len, rows))
            inputs = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
            ends = torch.tensor([len(row) - 1 for row in rows])[:, None]
            found.append(model(input_ids=inputs, use_cache=False, logits_to_keep=ends).logits[:, 0])
        return torch.cat(found)

    return run


def expanded_cache(model: Any, prefix: list[int], own: list[list[int]]) -> Callable[[], Any]:
    """The cache of transformers, repeated for each row; the rows are padded."""
    import torch
    from transformers import DynamicCache

    kept = model(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
    longest = max(map(len, own))
    inputs = torch.tensor([one + [0] * (longest - len(one)) for one in own])
    positions = torch.arange(len(prefix), len(prefix) + longest)[None].expand(len(own), -1)
    ends = torch.tensor([len(one) - 1 for one in own])[:, None]

    def run() -> Any:
        cache = DynamicCache()
        for layer, part in enumerate(kept.layers):
            cache.update(part.keys.expand(len(own), -1, -1, -1), part.values.expand(len(own), -1, -1, -1), layer)
        return model(input_ids=inputs, position_ids=positions, past_key_values=cache, logits_to_keep=ends).logits[:, 0]

    return run


def block_mask(model: Any, prefix: list[int], own: list[list[int]]) -> Callable[[], Any]:
    """All documents in one row after one cache, with a dense mask."""
    import copy

    import torch

    kept = model(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
    owner = torch.tensor([number for number, one in enumerate(own) for _ in one])
    seen = (owner[:, None] == owner) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
    mask = torch.cat([torch.ones(len(owner), len(prefix), dtype=torch.bool), seen], 1)
    bias = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)[None, None]
    inputs = torch.tensor([[token for one in own for token in one]])
    positions = torch.tensor([[len(prefix) + place for one in own for place in range(len(one))]])
    ends = torch.tensor([len(one) for one in own]).cumsum(0) - 1

    def run() -> Any:
        cache = copy.deepcopy(kept)
        return model(input_ids=inputs, position_ids=positions, attention_mask=bias, past_key_values=cache, logits_to_keep=ends).logits[0]

    return run


def merged_parts(model: Any, prefix: list[int], own: list[list[int]]) -> Callable[[], Any]:
    """The engine's way: the prefix is a stem, each document a piece."""
    import torch

    from pytest_lighteval.backends.accelerate.scoring.prefix_tree import plan_tree
    from pytest_lighteval.backends.accelerate.scoring.tree_scorer import TreeScorer
    from pytest_lighteval.backends.common.token_pairs import TokenPair

    plan = plan_tree([TokenPair(context=(*prefix, *one), continuation=(0,)) for one in own])
    scorer = TreeScorer(model, torch.device("cpu"), takes_places=True)
    (stem,) = plan.roots
    scorer.score(plan, [stem])
    # pieces are in the order of the tree; the other ways answer in that of the documents
    order = [plan.pieces[number].targets[0].owner for number in plan.children[stem]]
    logits: list[Any] = []
    model_logits = scorer._logits

    def keep(*arguments: Any) -> Any:
        found = model_logits(*arguments)
        logits.append(found)
        return found

    scorer._logits = keep  # type: ignore[method-assign, assignment]

    def run() -> Any:
        logits.clear()
        scorer.score(plan, plan.children[stem])
        ((values, places),) = logits
        # pieces run side by side, longest first
        by_length = sorted(range(len(order)), key=lambda index: -len(plan.pieces[plan.children[stem][index]].tokens))
        answers = torch.empty_like(values)
        answers[torch.tensor([order[index] for index in by_length])] = values[places]
        return answers

    return run


if __name__ == "__main__":
    sys.exit(main())

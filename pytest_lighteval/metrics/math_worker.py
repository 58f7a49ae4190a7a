"""The program of a math process: JSON questions on standard input, and a JSON answer for each on standard output.

It is started as a file, so that it imports math-verify and nothing of this package. A question that takes too much CPU time or memory
ends the program; its parent sees the closed pipe. It also ends with its parent, whose death closes its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from functools import lru_cache
from typing import Any

ADDRESS_SPACE_BYTES = 4 << 30
KEPT_LENGTH = 10_000


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """`equal`: does the text have an answer that equals one of the golds? False if either side has none.

    `found`: the text's answer as math-verify writes it. None: it has none.
    """
    from math_verify import verify

    golds = [_parse(gold, tuple(question["gold_targets"])) for gold in question["golds"]]
    text, targets = question["text"], tuple(question["text_targets"])
    # a long text is not kept
    given = _parse(text, targets) if len(text) <= KEPT_LENGTH else _parse.__wrapped__(text, targets)
    is_equal = any(verify(gold, given, float_rounding=question["precision"], timeout_seconds=None) for gold in golds)
    # math-verify puts the text of an answer behind what it means
    return {"equal": is_equal, "found": str(given[-1])[:KEPT_LENGTH] if given else None}


@lru_cache(maxsize=256)
def _parse(text: str, targets: tuple[str, ...]) -> Any:
    from math_verify import parse

    return parse(text, _configs(targets), parsing_timeout=None)


def _configs(targets: tuple[str, ...]) -> list[Any]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    known = {
        "expr": ExprExtractionConfig(),
        "latex": LatexExtractionConfig(),
        "latex_boxed_first": LatexExtractionConfig(boxed_match_priority=0),
    }
    return [known[target] for target in targets]


def main() -> None:
    """Answer line by line until the input closes."""
    # what a library prints goes to standard error, never into an answer
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with contextlib.suppress(ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # here, so that the first question does not pay for the import, and an error of it is no wrong answer
    import math_verify  # noqa: F401

    answers.write("ready\n")
    for line in sys.stdin:
        question = json.loads(line)
        # CPU time and not the clock: the same question ends the same way on a busy machine
        limit = int(time.process_time()) + 1 + question["cpu_seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        answers.write(json.dumps(answer(question)) + "\n")


if __name__ == "__main__":
    main()

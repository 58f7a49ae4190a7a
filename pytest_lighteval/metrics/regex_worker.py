"""The program of `regex_process`: JSON questions on standard input, a number of matches for each on standard output.

A search that takes too much CPU time or memory ends the program; its parent sees the closed pipe. It also ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import sys
import time
from itertools import islice

ADDRESS_SPACE_BYTES = 2 << 30


def main() -> None:
    """Answer line by line until the input closes."""
    with contextlib.suppress(ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = sys.stdout
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        question = json.loads(line)
        # CPU time and not the clock: the same question ends the same way on a busy machine
        limit = int(time.process_time()) + 1 + question["cpu_seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        pattern = re.compile(question["pattern"], question["flags"])
        matches = pattern.finditer(question["text"])
        answers.write(f"{sum(1 for _ in (islice(matches, 1) if question['first_only'] else matches))}\n")
        answers.flush()


if __name__ == "__main__":
    main()

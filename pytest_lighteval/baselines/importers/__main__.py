"""The old place of `python -m pytest_lighteval import`, until 0.2."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    sys.stderr.write("python -m pytest_lighteval.baselines.importers: write python -m pytest_lighteval import\n")
    sys.argv[1:1] = ["import"]
    runpy.run_module("pytest_lighteval", run_name="__main__", alter_sys=True)

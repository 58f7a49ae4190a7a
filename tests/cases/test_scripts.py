"""The shared scripts that attack the product: those that take seconds always, the others if LIGHTEVAL_CASES asks for all."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.shared import ROOT, SHARED

CASES = SHARED / "cases"

slow = pytest.mark.skipif(os.environ.get("LIGHTEVAL_CASES") != "all", reason="takes minutes: LIGHTEVAL_CASES=all asks for it")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"there is no {CASES} (LIGHTEVAL_SHARED names another place)")


def output_of(script: str, *arguments: str) -> str:
    """What a script of the shared cases prints. It must end well; most end with 1 if something does not hold."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CASES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_damaged_cache_gives_no_wrong_answer_raises_nothing_and_hangs_nowhere() -> None:
    assert output_of("cache/corrupt_cache.py", "20").splitlines()[-1].startswith("20 rounds, 0 faults")


@slow
def test_sessions_that_are_killed_lose_nothing() -> None:
    assert ", 0 faults" in output_of("kill/kill.py", "6").splitlines()[-1]


@slow
def test_no_metric_stalls_on_a_hostile_text() -> None:
    assert output_of("metric_growth.py").splitlines()[-1].startswith("0 of ")


# ----------------------------------------------------------------------------------------------------- the engine


def same_alone_and_together(output: str) -> bool:
    """A greedy text does not depend on the prompts beside it."""
    alone, together = (line.partition("(")[2] for line in output.splitlines()[:2])
    return alone == together != ""


def same_as_generate(output: str) -> bool:
    """What the model's generation_config says is heeded as by `generate`; beams are not searched."""
    differing = dict(re.findall(r"^(\w+)\b.*differ from generate: (\d+) of", output, re.MULTILINE))
    return {name for name, count in differing.items() if count != "0"} == {"beams"}


def same_with_other_rows(output: str) -> bool:
    """A row's score does not depend on the rows beside it, on either side of the limit of dynamic positions."""
    pairs = re.findall(r"all three asked (\S+) engine, asked alone (\S+)", output)
    return len(pairs) == 3 and all(together == alone for together, alone in pairs)


def every_verdict_is_ok(output: str) -> bool:
    """No architecture gives a wrong answer on the path that it is given."""
    facts = [ast.literal_eval(line[line.index("{") :]) for line in output.splitlines() if "{" in line]
    return len(facts) > 5 and all(fact["verdict"] == "ok" for fact in facts)


@slow
@pytest.mark.parametrize(
    ("script", "arguments", "holds"),
    [
        ("min_rwkv.py", ("rwkv",), same_alone_and_together),
        ("min_rwkv.py", ("recurrent_gemma",), same_alone_and_together),
        ("gencfg.py", (), same_as_generate),
        ("dynamic_state.py", (), same_with_other_rows),
        ("contig.py", (), every_verdict_is_ok),
    ],
)
def test_the_engine_gives_no_wrong_answer(script: str, arguments: tuple[str, ...], holds: Callable[[str], bool]) -> None:
    assert holds(output_of(f"engine/{script}", *arguments))

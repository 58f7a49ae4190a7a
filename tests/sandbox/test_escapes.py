"""Programs that try to break out, or to forge their verdict, on every kind of sandbox that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.sandbox import self_test as self_tests
from pytest_lighteval.sandbox.job import Job, Limits, RunVerdict, cases_of
from pytest_lighteval.sandbox.kinds import Kind
from pytest_lighteval.sandbox.pool import Pool
from pytest_lighteval.sandbox.self_test import choose, self_test
from pytest_lighteval.sandbox.worker import Worker
from tests.shared import ROOT

QUICK = Limits(cpu_seconds=2, wall_factor=10, output_bytes=1 << 20)
ADD = Job(action="tests", code="", tests="assert add(1, 2) == 3\nassert add(2, 2) == 4\n", names=("add",), limits=QUICK)


def verdict(pool: Pool, code: str, **changes: object) -> RunVerdict:
    return pool.run(replace(ADD, code=code, **changes))  # type: ignore[arg-type]


def test_the_self_test_finds_what_no_sandbox_would_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs that only use up time are left out."""
    monkeypatch.setattr(self_tests, "LIMITS", ())
    monkeypatch.setattr(self_tests, "ESCAPES", [probe for probe in self_tests.ESCAPES if "threads" not in probe.name])

    problems = self_test("none")

    for problem in ("uses the network", "reads files of others", "sends signals to others", "starts processes", "reads /proc of others"):
        assert f"a program {problem}" in problems


TELL = (
    "import json, os, struct, time\n"
    "def tell(message):\n"
    "    data = json.dumps(message).encode()\n"
    "    os.write(3, struct.pack('!I', len(data)) + data)\n"
)
"""A program that writes messages in the place of what runs it."""
FORGERIES = {
    "ends before the tests": "import sys\nsys.exit(0)",
    "ends at once": "import os\nos._exit(0)",
    "ends when it is called": "import os\ndef add(a, b):\n    os._exit(0)",
    "ends when it is called, politely": "import sys\ndef add(a, b):\n    sys.exit(0)",
    "prints verdicts": "print('passed')\nprint({'passed': True})\ndef add(a, b):\n    print('{\"outcome\": \"passed\"}')",
    "writes to every descriptor": (
        "import os, struct\n"
        'for text in (b\'{"passed": true}\', b\'{"outcome": "passed"}\\n\', b\'{"ready": true}\'):\n'
        "    for number in range(64):\n"
        "        try:\n            os.write(number, struct.pack('!I', len(text)) + text)\n        except OSError:\n            pass\n"
        "def add(a, b):\n    return 0"
    ),
    "equals everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __bool__(self): return True\n"
        "def add(a, b):\n    return Any()"
    ),
    "is a number that equals everything": "class Any(int):\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Any(0)",
    "takes the tests' assert away": "import builtins\nbuiltins.AssertionError = None\ndef add(a, b):\n    return 0",
    "looks for the tests in memory": (
        "import gc, sys\n"
        "def add(a, b):\n"
        "    frame, found = sys._getframe(), []\n"
        "    while frame:\n"
        "        found += [v for v in list(frame.f_locals.values()) + list(frame.f_globals.values()) if isinstance(v, str)]\n"
        "        frame = frame.f_back\n"
        "    found += [v for o in gc.get_objects() if isinstance(o, dict) for v in o.values() if isinstance(v, str)]\n"
        "    if any('assert add' in text for text in found if 'found +=' not in text):\n        return a + b\n"
    ),
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "kills itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nimport ctypes\nctypes.string_at(0)",
    "closes its channel and waits": "import os, time\nos.closerange(0, 64)\ntime.sleep(1)",
    "sends no message": (
        "import os\nfor number in range(3, 64):\n    try:\n        os.write(number, b'\\xff' * 64)\n"
        "    except OSError:\n        pass\ndef add(a, b): return 3"
    ),
    "traces its parent": ("import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0\ndef add(a, b): return a + b"),
    "nests without an end": "def add(a, b):\n    found = []\n    for _ in range(100000):\n        found = [found]\n    return found",
    "holds itself": "def add(a, b):\n    found = []\n    found.append(found)\n    return found",
    "raises an error that is none": TELL + "tell({'raised': []})\ntime.sleep(1)",
    "raises an error that is too long": TELL + "tell({'raised': [1, 2, 3]})\ntime.sleep(1)",
    "iterates without an end": "def add(a, b):\n    import itertools\n    return itertools.count()",
}


@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_program_cannot_forge_its_verdict(pool: Pool, code: str) -> None:
    assert verdict(pool, code).outcome == "failed"


def test_a_program_cannot_give_the_tests_other_names(pool: Pool) -> None:
    """The helpers and Python's own functions are the examiner's, whatever a program calls the same."""
    code = "def check(*_): return True\ndef abs(x): return 0\ndef helper(x): return 0\ndef add(a, b): return 7\n"
    tests = "def check(candidate):\n    assert abs(helper(candidate(1, 2))) == 3\ncheck(add)\n"

    assert verdict(pool, code, tests=tests, helpers="def helper(x):\n    return x\n").outcome == "failed"


def test_a_program_cannot_send_names_that_no_test_asked_for(pool: Pool) -> None:
    names = "['d', ['add', ['o', 'mine', 1, True]], ['range', ['o', 'mine', 1, True]], ['is_three', ['o', 'mine', 1, True]]]"
    code = f"{TELL}tell({{'defined': True}})\ntell({{'value': {names}}})\n"
    none, true = "tell({'value': ['l']})\ntime.sleep(1)", "tell({'value': True})\ntime.sleep(1)"
    loop, helped = "for n in range(2):\n    assert add(n, 1) == n + 1\n", "assert is_three(add(1, 2))\n"

    assert verdict(pool, code + none, tests=loop).outcome == "failed"
    assert verdict(pool, code + true, tests=helped, helpers="def is_three(x):\n    return x == 3\n").outcome == "failed"


def test_messages_that_nobody_can_read_are_wrong_answers_and_no_broken_sandbox(pool: Pool) -> None:
    cases, wait = cases_of(["1"], ["2"]), "\ntime.sleep(1)"
    jobs = (
        ("script", "tell({'raised': 5})"),
        ("call", "tell({'value': ['F', '1/0']})"),
        ("call", "tell({'value': ['F', '1e999999999']})"),
        ("parity", "tell({'code': 'x'})"),
        ("parity", "tell({'code': True})"),
    )

    for action, message in jobs:
        function = "f" if action == "call" else None
        found = pool.run(Job(action=action, code=TELL + message + wait, cases=cases, function=function, limits=QUICK))  # type: ignore[arg-type]
        assert (found.outcome, found.infrastructure) == ("failed", None)


def test_a_message_that_does_not_end_is_waited_for_no_longer_than_the_program(any_pool: Pool) -> None:
    code = f"{TELL}os.write(3, struct.pack('!I', 99))\nfor _ in range(99):\n    time.sleep(0.1)\n    os.write(3, b'x')"

    found = any_pool.run(Job(action="script", code=code, cases=cases_of(["1"], ["2"]), limits=Limits(cpu_seconds=1, wall_factor=1.5)))

    assert (found.outcome in ("failed", "timed out"), found.infrastructure) == (True, None)


def test_the_reference_s_way_tells_a_program_no_outputs(pool: Pool) -> None:
    code = (
        "import sys\nframe, found = sys._getframe(), set()\nwhile frame:\n"
        "    task = frame.f_locals.get('task')\n"
        "    if isinstance(task, dict):\n        found.add(task['cases'][0].get('output', 'nothing'))\n"
        "    frame = frame.f_back\nprint(*found)\n"
    )
    assert pool.run(Job(action="parity", code=code, cases=cases_of(["1"], ["2"]), limits=QUICK)).outcome == "failed"
    assert pool.run(Job(action="parity", code=code, cases=cases_of(["1"], ["nothing"]), limits=QUICK)).outcome == "passed"


def test_a_test_that_catches_everything_does_not_let_a_program_pass_that_ended(pool: Pool) -> None:
    tests = "try:\n    add(1, 2)\nexcept BaseException:\n    pass\n"

    assert verdict(pool, "import os\ndef add(a, b):\n    os._exit(0)", tests=tests).outcome == "failed"
    assert verdict(pool, "def add(a, b):\n    raise ValueError", tests=tests).outcome == "passed"


def test_a_program_cannot_end_the_loop_of_a_test(any_pool: Pool) -> None:
    loop = "for given, expected in zip(map(add, [1, 2], [2, 2]), [3, 4]):\n    assert given == expected\n"
    step = "assert next(add(1, 2)) == 3\ntry:\n    next(add(0, 0))\nexcept StopIteration:\n    pass\n"

    assert verdict(any_pool, "def add(a, b):\n    raise StopIteration", tests=loop).outcome == "failed"
    assert verdict(any_pool, "def add(a, b):\n    return a + b", tests=loop).outcome == "passed"
    assert verdict(any_pool, "def add(a, b):\n    return iter([a + b] if a else [])", tests=step).outcome == "passed"


def test_nothing_of_a_run_is_left_for_the_next_one(pool: Pool) -> None:
    """Not its files, however deep or unreadable, and not its names."""
    mess = (
        "import os, sys\nsys.modules['left'] = sys\nopen('left', 'w').write('x')\nos.mkdir('deep')\nos.chdir('deep')\n"
        "for _ in range(60):\n    os.mkdir('d', 0)\n    os.mkdir('e')\n    os.chdir('e')\n"
        "def add(a, b): return a + b"
    )
    look = "import os, sys\nassert os.listdir('.') == []\nassert 'left' not in sys.modules\ndef add(a, b): return a + b"

    for _ in range(2):
        assert verdict(pool, mess).outcome == "passed"
        assert verdict(pool, look).outcome == "passed"


def test_a_fork_bomb_and_a_full_scratch_folder_end(pool: Pool) -> None:
    bomb = "import os\nfor _ in range(8):\n    os.fork()"
    full = (
        "n = 0\nwhile True:\n    n += 1\n    with open(str(n), 'wb') as file:\n        file.write(bytes(1 << 20))\n"
        "        if n > 500:\n            break\n"
    )

    assert verdict(pool, bomb).outcome == "failed"
    assert verdict(pool, full, limits=Limits(cpu_seconds=5)).outcome == "too much output"


def test_a_program_that_runs_as_it_should_passes_with_the_tools_that_programs_use(pool: Pool) -> None:
    code = (
        "import threading, tempfile, subprocess, asyncio, time, resource\nimport numpy\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (1 << 23, resource.getrlimit(resource.RLIMIT_STACK)[1]))\n"
        "async def both(a, b):\n    await asyncio.sleep(0)\n    return a + b\n"
        "def add(a, b):\n"
        "    found = []\n"
        "    thread = threading.Thread(target=lambda: found.append(int(numpy.add(a, b))))\n"
        "    thread.start()\n    thread.join()\n"
        "    with tempfile.TemporaryFile() as file:\n        file.write(b'x')\n"
        "    assert asyncio.run(both(a, b)) == found[0]\n"
        "    return found[0]\n"
    )

    assert verdict(pool, code) == RunVerdict(outcome="passed")


def test_an_ordinary_user_has_a_sandbox_that_holds_too(tmp_path: Path) -> None:
    """Landlock and seccomp are what is left in a container, for whoever is not root there."""
    python = "/usr/bin/python3"
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    site = Path(pytest.importorskip("landlockpy").__file__).parents[1]
    if not _may_run(python, site):
        pytest.skip(f"{python} is not 3.11 or newer, or another user cannot read the packages in {site}")
    tmp_path.chmod(0o777)
    lines = subprocess.run(
        [*_AS_NOBODY, python, "-c", _SELF_TEST, "landlock"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{site}", "HOME": "/tmp"},
        cwd="/tmp",
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (lines.stdout.strip(), lines.stderr) == ("65534 []", "")


_AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
_SELF_TEST = "import os, sys\nfrom pytest_lighteval.sandbox.self_test import self_test\nprint(os.getuid(), self_test(sys.argv[1]))"


def _may_run(python: str, site: Path) -> bool:
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(site)!r}]; import pytest_lighteval.sandbox.self_test, landlockpy"
    try:
        return subprocess.run([*_AS_NOBODY, python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_an_unknown_or_missing_kind_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_lighteval.errors import GraderError

    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(GraderError, match=r"--sandbox podman: podman is not installed"):
        choose("podman")
    assert choose("none") == ("none", ())


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_gets_no_network_no_rights_and_a_folder_of_its_own(
    engine: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine is here: a program in its place says how it was called, and runs what it was to run in the container."""
    fake = tmp_path / engine
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/called\n'
        'while [ "$1" != python3 ]; do shift; done\nshift\n'
        f'exec {sys.executable} -s -P -S -B -c "$(echo "$6" | sed s,/sandbox,{ROOT},)" "$(echo "$7" | sed s,/scratch,{tmp_path},)"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    worker = Worker(engine, image="python:3.11")
    worker.close()

    called = (tmp_path / "called").read_text()
    for option in ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534:65534", "--rm"):
        assert option in called
    assert " python:3.11 python3 -s -P -S -B" in called


def test_a_script_reads_its_input_in_every_way_and_its_time_is_its_own(any_pool: Pool) -> None:
    cases = cases_of(["1 2\n", "3 4\n"], ["3", "7"])
    programs = {
        "print(sum(map(int, input().split())))": "passed",
        "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))": "passed",
        "print(sum(map(int, open(0).read().split())))": "passed",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(1)": "passed",
        "import atexit\natexit.register(lambda: print(sum(map(int, input().split()))))": "passed",
        "import threading\nthreading.Thread(target=lambda: print(sum(map(int, input().split())))).start()": "passed",
        "print(int(input().split()[0]) + 2)": "failed",
        "print(input()": "failed",
        "while True: pass": "timed out",
        "x = [0] * (1 << 32)": "out of memory",
        "while True: print('x' * 1000)": "too much output",
    }
    limits = replace(QUICK, cpu_seconds=1)

    runs = {code: any_pool.submit(Job(action="script", code=code, cases=cases, limits=limits)) for code in programs}

    found = {code: run.result() for code, run in runs.items()}
    assert {code: run.outcome for code, run in found.items()} == programs
    assert found["print(int(input().split()[0]) + 2)"].case == 1

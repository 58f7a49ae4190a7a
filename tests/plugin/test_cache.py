"""What a session keeps, and what the next one takes from it: the same scores, less work, after a kill and under workers too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import write_mini

ENGINE = '''
import os
import time

import pytest
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.types import PerplexityResponse


class Engine(FakeBackend):
    """Knows no golds, and says in a file what it is asked. Its last digits depend on how much it is asked at once."""

    cacheable = True
    learn = None

    def __init__(self, pause=float(os.environ.get("PAUSE", "0"))):
        super().__init__(seed=3)
        self.pause = pause

    def said(self, requests, answers):
        for index, response in answers:
            with open(os.environ["ASKED"], "a") as file:
                file.write(getattr(requests[index], "prompt", getattr(requests[index], "text", None)).replace("\\n", " ") + "\\n")
            time.sleep(self.pause)
            yield index, response

    def loglikelihood(self, requests):
        return self.said(requests, super().loglikelihood(requests))

    def generate(self, requests):
        return self.said(requests, super().generate(requests))

    def perplexity(self, requests):
        more = len(requests) * 1e-9
        answers = super().perplexity(requests)
        return self.said(requests, ((i, PerplexityResponse(logprob=r.logprob - more, token_count=r.token_count)) for i, r in answers))


@pytest.fixture(scope="session")
def lighteval_backend():
    yield Engine()
'''


TINY_CHUNKS = """
from pytest_lighteval.backends import chunks

chunks.USUAL = chunks.ChunkLimits(size=256, per_stem=0)
"""
"""Makes chunks of a few documents."""


class Project:
    """A project with an engine of its own, whose every session writes into one folder of reports."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.asked_file = pytester.path / "asked.txt"
        write_mini(pytester.path / "suites" / "mini")
        pytester.makeconftest(ENGINE)

    def command(self, *arguments: str) -> list[str]:
        return ["suites", "--lighteval-report-dir", "reports", "-p", "no:cacheprovider", *arguments]

    def run(self, *arguments: str, passed: int = 5, errors: int = 0) -> pytest.RunResult:
        """A session in a process of its own."""
        result = self.pytester.runpytest_subprocess(*self.command(*arguments))
        result.assert_outcomes(passed=passed, errors=errors)
        return result

    def asked(self) -> list[str]:
        """What the engine has been asked since this was last called."""
        lines = self.asked_file.read_text().splitlines() if self.asked_file.exists() else []
        self.asked_file.unlink(missing_ok=True)
        return lines

    def results(self) -> dict[str, Any]:
        """Of the newest run; its folders sort by time, to the second, so each run but the newest is taken away."""
        (path,) = self.pytester.path.glob("reports/*/results.json")
        content: dict[str, Any] = json.loads(path.read_text())
        content["details"] = {
            file.name: [json.loads(line) for line in file.read_text().splitlines()] for file in path.parent.glob("details/**/*.jsonl")
        }
        path.parent.rename(self.pytester.path / f"read-{path.parent.name}")
        return content

    @property
    def database(self) -> Path:
        return self.pytester.path / "cache" / "answers-1.sqlite3"


NOTICE = "* of * answers are remembered ones, of an engine with this version; --no-cache measures it"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("LIGHTEVAL_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("ASKED", str(pytester.path / "asked.txt"))
    return Project(pytester)


def use(results: dict[str, Any]) -> tuple[int, int]:
    cache = results["run"]["cache"]
    return cache["hits"], cache["misses"]


def measured(results: dict[str, Any]) -> dict[str, Any]:
    """All but times, names and the use of the cache."""
    return {name: value for name, value in results.items() if name != "run"}


def details(results: dict[str, Any]) -> Any:
    """Of every task, documents by id: they are written as answers come in."""
    return {
        name: sorted(({**line, "timing": None, "seconds": None} for line in lines), key=lambda line: str(line["doc"]["id"]))
        for name, lines in results["details"].items()
    }


def test_a_second_run_asks_nothing_and_reports_the_same(project: Project) -> None:
    project.run()
    first, asked = project.results(), project.asked()
    result = project.run()
    second = project.results()

    assert len(asked) == 168
    assert project.asked() == []
    assert (use(first), use(second)) == ((0, 168), (168, 0))
    assert {**measured(second), "details": None} == {**measured(first), "details": None}
    assert details(second) == details(first)
    result.stdout.fnmatch_lines(["answers: 168 from the cache, 0 computed"])


def test_without_a_cache_nothing_is_kept(project: Project) -> None:
    project.run("--no-cache", "-k", "prose", passed=1)

    assert len(project.asked()) == 8
    assert not project.database.parent.exists()


def test_the_cache_may_lie_elsewhere(project: Project) -> None:
    project.run("--lighteval-cache-dir", "here", "-k", "prose", passed=1)

    assert (project.pytester.path / "here" / "answers-1.sqlite3").is_file()
    assert not project.database.exists()


def test_more_documents_ask_whole_only_the_chunks_that_are_new(project: Project) -> None:
    project.pytester.makeconftest(ENGINE + TINY_CHUNKS)
    project.run("--max-samples", "10", "-k", "choice and not 2-shot", passed=1)
    assert len(project.asked()) == 10

    project.run("--max-samples", "25", "-k", "choice and not 2-shot", passed=1)

    assert 15 <= len(project.asked()) < 15 + 8


def kept(database: Path) -> int:
    """Answers in the database of a session that is running or was killed."""
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            (count,) = connection.execute("SELECT count(*) FROM answers").fetchone()
        except sqlite3.OperationalError:  # not made yet
            return 0
    return int(count)


def test_a_killed_run_goes_on_with_the_chunk_in_which_it_stopped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["-k", "choice and not 2-shot"]
    project.pytester.makeconftest(ENGINE + TINY_CHUNKS)
    monkeypatch.setenv("PAUSE", "0.05")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *project.command(*arguments)], cwd=project.pytester.path, stdout=subprocess.DEVNULL
    )
    while kept(project.database) < 12:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    written, before = kept(project.database), project.asked()
    assert 12 <= written < 40
    assert not list(project.pytester.path.glob("reports/*/results.json"))
    monkeypatch.setenv("PAUSE", "0")

    project.run(*arguments, passed=1)

    resumed, after = project.results(), project.asked()
    hits, misses = use(resumed)
    assert hits + misses == 40
    assert len(after) == misses
    assert written - 8 < hits <= written  # but for the rest of one chunk, which is asked whole
    assert len(set(before) & set(after)) == len(before) - hits
    project.run("--no-cache", *arguments, passed=1)
    whole = project.results()
    assert len(project.asked()) == 40
    assert measured(resumed)["metrics"] == measured(whole)["metrics"]
    assert details(resumed) == details(whole)


OVERLAPPING = """
suite: overlap
tasks:
  - name: "prose:{part}"
    matrix: {part: [first, second]}
    data_files: {test: "{part}.jsonl"}
    evaluation_splits: [test]
    prompt: {query: "{{ text }}"}
    metrics: [word_perplexity, bits_per_byte]
"""


def test_tasks_that_share_requests_score_the_same_on_any_number_of_workers(project: Project) -> None:
    suites = project.pytester.path / "suites"
    (suites / "mini" / "mini.yaml").write_text(OVERLAPPING)
    for part, numbers in (("first", range(30)), ("second", range(20, 60))):
        text = "".join(json.dumps({"text": f"The {number}th sentence."}) + "\n" for number in numbers)
        (suites / "mini" / f"{part}.jsonl").write_text(text)

    scores = {}
    for name, arguments in {
        "alone": ["--cache-dir=one"],
        "alone again": ["--cache-dir=one"],
        "two workers": ["--cache-dir=two", "-n", "2"],
        "two workers again": ["--cache-dir=two", "-n", "2"],
        "the second first": ["--cache-dir=three", "-k", "second"],
        "then both": ["--cache-dir=three"],
    }.items():
        project.run(*arguments, passed=1 if "-k" in arguments else 2)
        scores[name] = project.results()["metrics"]

    plain = scores["alone"]
    assert plain["overlap|prose:first|0"]["word_perplexity"]["value"] != plain["overlap|prose:second|0"]["word_perplexity"]["value"]
    assert scores["alone again"] == scores["two workers"] == scores["two workers again"] == plain
    assert scores["then both"]["overlap|prose:second|0"] == plain["overlap|prose:second|0"]


def test_a_cache_that_cannot_be_used_costs_one_line(project: Project) -> None:
    project.database.parent.mkdir()
    project.database.write_bytes(b"nonsense " * 1000)

    result = project.run()

    assert len(project.asked()) == 168
    lines = [line for line in result.outlines if "the cache is not used" in line]
    assert lines == [f"the cache is not used: {project.database}: file is not a database"]
    assert use(project.results()) == (0, 168)


def test_an_engine_that_does_not_ask_for_it_is_not_cached(project: Project) -> None:
    project.pytester.makeconftest(ENGINE.replace("cacheable = True", "cacheable = None"))

    project.run("-k", "prose", passed=1)

    assert not project.database.exists()
    assert use(project.results()) == (0, 0)


def test_the_fake_backend_is_not_cached_since_it_answers_by_golds(project: Project) -> None:
    project.pytester.makeconftest("")

    project.run("--backend", "fake", "--model-args", "accuracy=1.0", "-k", "choice and not 2-shot", passed=1)

    assert project.results()["metrics"]["mini|choice|0"]["acc"]["value"] == 1.0
    assert not project.database.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--cache-size", "large"], "*--cache-size large: a size was expected, such as 500MB or 5GB", id="size"),
        pytest.param(["--threads", "0"], "*--threads 0: a number from 1 on, or 'share', was expected", id="threads"),
        pytest.param(["--threads", "shared"], "*--threads shared: a number from 1 on, or 'share', was expected", id="share"),
    ],
)
def test_a_wrong_value_is_a_usage_error(project: Project, arguments: list[str], message: str) -> None:
    result = project.pytester.runpytest_inprocess(*project.command(*arguments))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("2kB", 2000), ("1.5 MB", 1_500_000), ("2GiB", 2**31), ("1T", 10**12)])
def test_a_size_may_have_a_unit(pytester: pytest.Pytester, text: str, size: int) -> None:
    from pytest_lighteval.plugin.session import make_session

    cache = make_session(pytester.parseconfig("--backend", "fake", "--cache-size", text)).settings.cache

    assert cache is not None
    assert cache.limit_bytes == size


# -------------------------------------------------------------------------------------------------- nothing is loaded

ENGINES = {"torch", "transformers", "tokenizers", "datasets", "pyarrow", "pandas", "huggingface_hub", "scipy", "sklearn", "safetensors"}
LISTS_MODULES = """
import sys
from pathlib import Path

def pytest_sessionfinish(session):
    Path("modules.txt").write_text(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers", "datasets"))), reason="needs pip install '.[accelerate]'")
def test_a_second_run_of_a_real_engine_imports_no_engine_and_no_library_of_data_sets(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.backends.tiny import save_tiny

    folder = project.pytester.path
    model = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    mini = folder / "suites" / "mini"
    suite = (mini / "mini.yaml").read_text()
    (mini / "mini.yaml").write_text(
        suite.replace("data_files: {test: choice.jsonl, dev: choice.jsonl}", "hf_repo: owner/choice\n    few_shots_split: train")
    )
    home = folder / "hub" / "owner" / "choice"
    home.mkdir(parents=True)
    for split in ("train", "test"):
        (home / f"{split}.jsonl").write_text((mini / "choice.jsonl").read_text())
        os.utime(home / f"{split}.jsonl", (1, 1))
    project.pytester.makeconftest(LISTS_MODULES)
    # a file that was changed a moment ago is not kept in another form: it might change again unseen
    time.sleep(2.1)
    arguments = [
        *("--backend", "accelerate", "--model-args", f"pretrained={model}", "--max-samples", "4", "--data-home=hub"),
        *("--tasks", "mini|choice|2|1,mini|words:short|0,mini|prose|0", "-p", "no:hypothesispytest"),
    ]

    project.run(*arguments, passed=3)
    cold, loaded = project.results(), set((folder / "modules.txt").read_text().split())
    project.run(*arguments, passed=3)
    warm, still_loaded = project.results(), set((folder / "modules.txt").read_text().split())

    assert loaded >= {"torch", "transformers", "datasets"}
    assert not still_loaded & ENGINES
    assert (use(cold), use(warm)) == ((0, 12), (12, 0))
    assert {**measured(warm), "details": None} == {**measured(cold), "details": None}
    assert details(warm) == details(cold)
    assert warm["backend"]["threads"] >= 1
    # other weights of the same name and size are another model
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    project.run(*arguments, passed=3)
    assert use(project.results()) == (0, 12)


# ------------------------------------------------------------------------------------------------------------ threads

SAYS_THREADS = """
import os
from pathlib import Path

def pytest_sessionfinish(session):
    name = os.environ.get("PYTEST_XDIST_WORKER", "controller")
    Path(f"{name}.txt").write_text(os.environ.get("OMP_NUM_THREADS", "unset"))
"""


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        pytest.param([], "unset", id="default"),
        pytest.param(["-n", "2", "--threads", "3"], "3", id="number"),
        pytest.param(["-n", "64", "--maxprocesses", "2", "--threads", "share"], None, id="share"),
    ],
)
def test_threads_are_set_before_an_engine_is_loaded(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], threads: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    project.pytester.makeconftest(SAYS_THREADS)

    project.run("--backend", "fake", "-k", "prose or short", *arguments, passed=2)

    from pytest_lighteval.common.threads import usable_cores

    expected = threads or str(max(1, usable_cores() // 2))
    processes = ["gw0", "gw1"] if "-n" in arguments else ["controller"]
    assert [(project.pytester.path / f"{name}.txt").read_text() for name in processes] == [expected] * len(processes)
    asked = {"3": 3, "unset": None, None: "share"}[threads]
    assert project.results()["settings"]["threads"] == asked


def test_threads_are_put_back_when_the_session_ends(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    write_mini(pytester.path / "suites" / "mini")

    pytester.runpytest_inprocess("suites", "--backend", "fake", "--threads", "2", "-k", "prose").assert_outcomes(passed=1)

    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(
    ("arguments", "backend", "told"),
    [
        pytest.param(["-n", "2"], "accelerate", True, id="default"),
        pytest.param(["-n", "2", "--threads", "900"], "accelerate", True, id="number"),
        pytest.param(["-n", "2", "--threads", "share"], "accelerate", False, id="share"),
        pytest.param([], "accelerate", False, id="one-process"),
        pytest.param(["-n", "2"], "fake", False, id="no-threads"),
    ],
)
def test_workers_that_crowd_the_cores_are_told_of_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str], backend: str, told: bool
) -> None:
    from pytest_lighteval.plugin.active import ActiveSession
    from pytest_lighteval.plugin.session import make_session

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    model = ["--model-args", "pretrained=owner/name"] if backend == "accelerate" else []
    config = pytester.parseconfig("--backend", backend, *model, *arguments)

    header = ActiveSession(config, make_session(config)).pytest_report_header()

    assert len(header) == 1 + told
    if told:
        assert header[1].startswith("lighteval: 2 workers with ")
        assert "--threads share divides the cores" in header[1]


def test_an_engine_that_breaks_in_an_unforeseen_way_is_an_error_of_its_task(project: Project) -> None:
    project.pytester.makeconftest(ENGINE.replace("        more = len(requests) * 1e-9", "        1 / 0"))

    project.run("-k", "prose or short", passed=1, errors=1)

    results = project.results()
    assert results["errors"] == {"mini|prose|0": "division by zero"}
    assert use(results) == (0, 40)


def test_a_gate_says_that_it_judged_remembered_answers(project: Project) -> None:
    project.run("--save-baseline", "b.json", "-k", "choice", passed=2)

    again = project.run("--baseline", "b.json", "--gate-allow", "blind", "-k", "choice", passed=3)
    measured = project.run("--baseline", "b.json", "--gate-allow", "blind", "-k", "choice", "--no-cache", passed=3)
    ungated = project.run("-k", "choice", passed=2)

    again.stdout.fnmatch_lines([NOTICE])
    for result in (measured, ungated):
        result.stdout.no_fnmatch_line(NOTICE)


def test_a_seed_that_asks_the_same_again_is_not_from_the_cache(project: Project) -> None:
    result = project.run("-k", "words:short", "--num-fewshot-seeds", "2", passed=1)

    result.stdout.fnmatch_lines(["answers: 40 computed, 40 to requests that equal another one"])
    assert project.results()["run"]["cache"] == {"hits": 40, "misses": 40, "recalled": 0}


def test_a_folder_that_cannot_be_a_cache_is_told_above_the_run(project: Project) -> None:
    folder = project.pytester.path / "file"
    folder.write_text("")

    result = project.run("-k", "prose", "--cache-dir=file/cache", passed=1)

    said = f"lighteval: --cache-dir {folder / 'cache'}: nothing is kept between runs: no file can be made in {folder}: *"
    result.stdout.fnmatch_lines([said])

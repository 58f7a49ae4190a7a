"""Programs made of answers, and their verdicts, against the recorded ones: HumanEval, MBPP and LiveCodeBench."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.graders.programs import first_fence, gold_job, job_of, last_fence
from pytest_lighteval.metrics import metric
from pytest_lighteval.prompts.documents import render_docs
from pytest_lighteval.sandbox.job import Job, RunVerdict
from pytest_lighteval.sandbox.pool import Pool
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.types import Doc, Grade, Mark, Task
from tests.metrics.golden import read_table
from tests.sandbox.conftest import any_pool as any_pool
from tests.sandbox.conftest import pool as pool
from tests.shared import GOLDEN, HUB, needs_shared

pytestmark = needs_shared
Lines = Sequence[dict[str, Any]]


@cache
def golden(name: str) -> Lines:
    """The recorded lines. A problem's row stands in the first of its lines alone."""
    lines = [json.loads(line) for line in (GOLDEN / "code" / f"{name}.jsonl").read_text("utf-8").splitlines()]
    rows = {line["task_id"]: line["row"] for line in lines if "task_id" in line and "row" in line}
    return [{"row": rows[line["task_id"]], **line} if "task_id" in line else line for line in lines]


@cache
def task(spec: str) -> Task:
    catalogue = Catalogue()
    return next(task for task in catalogue.tasks_below(catalogue.shipped) if task.id == spec)


def doc_of(spec: str, row: dict[str, Any]) -> Doc:
    (doc,) = render_docs(task(spec), [(0, row)], "test").docs
    return doc


def quickly(job: Job | None, seconds: int) -> Job:
    """The same with a smaller limit of CPU time, for programs without an end."""
    assert job is not None
    return replace(job, limits=replace(job.limits, cpu_seconds=seconds, wall_factor=40))


def test_the_programs_of_humaneval_are_those_that_were_recorded() -> None:
    for line in golden("humaneval"):
        doc = doc_of("code|humaneval", line["row"])
        job = job_of("code_pass_at_1", doc, line["answer"], stops=task("code|humaneval").stop_sequence)

        assert job is not None
        assert (doc.query, list(task("code|humaneval").stop_sequence)) == (line["row"]["prompt"], line["stop"])
        assert job.code == line["row"]["prompt"] + line["kept"]
        assert "program" not in line or f"{job.code}\n{job.tests}".split() == line["program"].split()


def test_the_prompts_and_programs_of_mbpp_are_those_that_were_recorded() -> None:
    stops = task("code|mbpp").stop_sequence
    for line in golden("mbpp"):
        doc = doc_of("code|mbpp", line["row"])
        job = job_of("code_pass_at_1", doc, line["answer"], stops=stops)

        assert job is not None
        assert doc.query == line.get("prompt", doc.query)
        assert (job.code, list(stops)) == (line["kept"], line["stop"])
        assert "program" not in line or f"{job.code}\n{job.tests}".split() == line["program"].split()


def sample(name: str) -> Iterator[tuple[dict[str, Any], Job, int]]:
    """Each kind of answer: all of the ones that end, and one that does not."""
    endless = 0
    for line in golden(name):
        doc = doc_of(f"code|{name}", line["row"])
        endless += line["by_exit_code"] == "timed out"
        if line["by_exit_code"] != "timed out" or endless == 1:
            job = job_of("code_pass_at_1", doc, line["answer"], stops=task(f"code|{name}").stop_sequence)
            yield line, quickly(job, 1), endless


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_every_recorded_answer_has_its_recorded_verdict(any_pool: Pool, name: str) -> None:
    runs = [(line, any_pool.submit(job)) for line, job, _ in sample(name)]

    assert verdicts(runs) == {(line["i"], line["shows"]): line["expected"] for line, _ in runs}
    by_exit = {line["by_exit_code"]: run.result() for line, run in runs}
    assert by_exit["timed out"].outcome == "timed out"
    assert by_exit["failed: AssertionError"].error == ("AssertionError", "")


def verdicts(runs: Sequence[tuple[dict[str, Any], Future[RunVerdict]]]) -> dict[tuple[int, str], bool]:
    found = {}
    for line, run in runs:
        assert run.result().infrastructure is None
        found[line["i"], line["shows"]] = run.result().outcome == "passed"
    return found


@cache
def problems() -> dict[str, Doc]:
    return {line["problem"]: doc_of("extended|lcb:codegeneration", line["row"]) for line in golden("lcb") if line["kind"] == "prompt"}


def contests(kind: str) -> Lines:
    return [line for line in golden("lcb") if line["kind"] == kind and line.get("problem", "add") in problems()]


def test_livecodebench_prompts_and_tests_are_the_recorded_ones_in_both_encodings() -> None:
    for line in golden("lcb"):
        if line["kind"] == "prompt":
            doc = problems()[line["problem"]]
            plain = {**line["row"], "private_test_cases": json.dumps(_hidden(doc, line["row"]))}

            assert (doc.query, list(doc.choices), dict(doc.specific)) == (
                line["doc"]["query"],
                line["doc"]["choices"],
                line["doc"]["specific"],
            )
            assert doc_of("extended|lcb:codegeneration", plain).specific == doc.specific


def _hidden(doc: Doc, row: dict[str, Any]) -> list[dict[str, str]]:
    shown = len(json.loads(row["public_test_cases"]))
    pairs = zip(doc.specific["inputs"][shown:], doc.specific["outputs"][shown:], strict=True)
    return [{"input": given, "output": expected} for given, expected in pairs]


def test_livecodebench_answers_have_the_recorded_verdicts_on_the_sound_runner_and_on_the_reference_s(any_pool: Pool) -> None:
    lines = [line for line in contests("answer") if not _is_slow(line)]
    sound: list[tuple[dict[str, Any], Future[RunVerdict] | None]] = []
    parity: list[tuple[dict[str, Any], Future[RunVerdict] | None]] = []
    for line in lines:
        doc = problems()[line["problem"]]
        assert last_fence(line["answer"]) == line["code"]
        for metric_name, runs in (("lcb_codegen_metric_corrected", sound), ("lcb_codegen_metric", parity)):
            job = job_of(metric_name, doc, line["answer"])
            runs.append((line, any_pool.submit(job) if job is not None else None))

    for line, run in sound:
        assert (run is not None and run.result().outcome == "passed") == line["expected"], line["shows"]
    for line, run in parity:
        codes = [-4] if run is None else list(run.result().codes or ())
        assert codes == line["reference"]["results"], line["shows"]


def _is_slow(line: dict[str, Any]) -> bool:
    """It ends by a limit of time: seconds each."""
    return -3 in line["reference"]["results"] or (line["reference"]["results"][0] == -1 and "exit" not in line["shows"])


def only_when_asked(request: pytest.FixtureRequest) -> None:
    if "sandbox" not in request.config.option.markexpr:
        pytest.skip("takes minutes: -m sandbox")


@pytest.mark.sandbox
def test_everything_that_was_recorded_on_every_kind(pool: Pool, request: pytest.FixtureRequest) -> None:
    """As above, with the endless programs too, whose limits are the benchmark's."""
    only_when_asked(request)
    for name in ("humaneval", "mbpp"):
        stops = task(f"code|{name}").stop_sequence
        runs = []
        for line in golden(name):
            job = job_of("code_pass_at_1", doc_of(f"code|{name}", line["row"]), line["answer"], stops=stops)
            assert job is not None
            runs.append((line, pool.submit(job)))
        assert verdicts(runs) == {(line["i"], line["shows"]): line["expected"] for line, _ in runs}
    for metric_name in ("lcb_codegen_metric_corrected", "lcb_codegen_metric"):
        jobs = [(line, job_of(metric_name, problems()[line["problem"]], line["answer"])) for line in contests("answer")]
        found = [(line, None if job is None else pool.submit(job)) for line, job in jobs]
        for line, run in found:
            passed = run is not None and run.result().outcome == "passed"
            assert passed == (line["expected"] if metric_name.endswith("_corrected") else line["reference"]["passed"]), line["shows"]


@pytest.mark.sandbox
@pytest.mark.parametrize("spec", ["code|humaneval", "code|mbpp", "code|humaneval:instruct", "code|mbpp:instruct"])
def test_every_solution_of_the_data_set_passes(pool: Pool, spec: str, request: pytest.FixtureRequest) -> None:
    only_when_asked(request)
    rows = DataSets(data_home=HUB).rows(task(spec), "test")
    docs = render_docs(task(spec), rows, "test").docs
    runs = []
    for doc in docs:
        job = gold_job("code_pass_at_1", doc, stops=task(spec).stop_sequence)
        assert job is not None
        runs.append((doc.id, pool.submit(job)))

    assert {doc: run.result() for doc, run in runs if run.result().outcome != "passed"} == {}


def test_the_recorded_table_of_the_reference_s_metric_is_ours(any_pool: Pool) -> None:
    lines = read_table("lcb_codegen_metric").samples
    entry = metric("lcb_codegen_metric")
    for line in lines:
        doc = Doc(id="d", query="", choices=("",), gold=(0,), specific=line["input"]["specific"])
        jobs = [job_of(entry.name, doc, text) for text in line["input"]["predictions"]]
        passed = [job is not None and any_pool.run(job).outcome == "passed" for job in jobs]
        grade = Grade(marks=tuple(Mark(value=value, outcome="") for value in passed))
        assert entry.sample(doc, grade) == line["expected"]


def test_sets_of_answers_have_the_recorded_pass_at_k() -> None:
    passed = {line["i"]: line["expected"] for line in contests("answer")}
    for line in contests("set"):
        if set(line["answers"]) <= passed.keys():
            marks = tuple(Mark(value=passed[number], outcome="passed") for number in line["answers"])
            doc = problems()[line["problem"]]
            value = metric("lcb_codegen_metric_corrected").sample(doc, Grade(marks=marks))["codegen_pass@1:16"]
            assert value == pytest.approx(line["expected"]["pass@1"], abs=1e-12)


def test_pass_at_k_is_the_recorded_estimator_and_leaves_out_what_was_not_drawn() -> None:
    for line in golden("lcb"):
        if line["kind"] == "estimator":
            n, right, k = line["n"], line["c"], line["k"]
            marks = tuple(Mark(value=number < right, outcome="passed") for number in range(n))
            values = metric("code_pass_at_k_200n").sample(Doc(id="d", query="", choices=(), gold=()), Grade(marks=marks))
            if k in (1, 10, 100):
                assert values[f"pass@{k}:200_samples"] == (None if k > n else pytest.approx(line["expected"], abs=1e-12))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Here it is:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("x = 1\n```\nThat is all.", "x = 1\n"),
        ("    return 1\n```\n\nIt works like this:\n```\nf(1)\n```", "    return 1\n"),
        ("x = 1", "x = 1"),
        ("```python\nx = 1", "x = 1"),
        ("", ""),
    ],
)
def test_the_first_fenced_block_is_the_program_also_if_the_prompt_opened_it(text: str, code: str) -> None:
    assert first_fence(text) == code

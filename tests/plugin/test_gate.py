"""A run compared with a baseline: the five verdicts, supersets and the pooled test, policies, and how all of it is told."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from tests.plugin.gated import FAKE, GATED, LOSING, measured, properties_of, results_of

BASELINE = ("--baseline", "base.json")
ALONE = ("-k", "alone")
MANY = ("-k", "many")


# --------------------------------------------------------------------------------------------------- the verdicts


@pytest.mark.parametrize(
    ("model", "options", "outcome", "line"),
    [
        pytest.param(
            "accuracy=0.7", (), "PASSED", r"loss 0\.0 points \[-0\.9, 0\.7\] \(97\.5 %, 95 %\)  p = 1  n = 400  0 lost / 0 won", id="passed"
        ),
        pytest.param("accuracy=0.7,gain=0.2", (), "IMPROVED", r"gain \d\.\d points .* 0 lost / \d+ won", id="improved"),
        pytest.param("accuracy=0.7,lose=0.1", (), "REGRESSED", r"loss \d\.\d points .* p = \de-\d+ .* \d+ lost / 0 won", id="regressed"),
        pytest.param("accuracy=0.7", ("--gate-max-drop", "0.005"), "INCONCLUSIVE", r"documents .*would decide it", id="inconclusive"),
    ],
)
def test_each_verdict_is_told_in_one_line(
    pytester: pytest.Pytester, suite: Path, model: str, options: tuple[str, ...], outcome: str, line: str
) -> None:
    result = pytester.runpytest("suites", "--backend", "fake", "--model-args", model, *BASELINE, *ALONE, *options, "--junitxml=j.xml")

    is_red = outcome == "REGRESSED"
    result.assert_outcomes(passed=not is_red, failed=is_red)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if is_red else pytest.ExitCode.OK)
    (told,) = {text for text in result.outlines if text.startswith("gated|alone|0: acc 0.")}
    assert re.search(rf"^gated\|alone\|0: acc 0\.\d{{3}} -> 0\.\d{{3}}  .*{line}", told)
    assert f"  {outcome} (allowed " in told
    properties = properties_of(pytester, "alone[0-shot]")
    assert properties["lighteval.acc.paired"] == outcome
    assert properties["lighteval.acc.verdict"] == {"REGRESSED": "failed", "INCONCLUSIVE": "inconclusive"}.get(outcome, "passed")
    assert properties["lighteval.acc.line"] == told.removeprefix("gated|alone|0: ")
    (verdict,) = results_of(pytester)["verdicts"]["gated|alone|0"]
    assert verdict["paired"]["outcome"] == outcome
    assert float(properties["lighteval.acc.baseline"]) == verdict["paired"]["baseline"]
    assert float(properties["lighteval.acc.delta"]) == pytest.approx(-verdict["paired"]["loss"])
    for name in ("p", "lower", "upper", "max_drop", "min_effect", "alpha"):
        assert float(properties[f"lighteval.acc.{name}"]) == verdict["paired"][name]


def test_a_task_that_the_baseline_does_not_hold_is_new_and_not_red(pytester: pytest.Pytester, suite: Path) -> None:
    measured(suite, pytester.path / "base.json.new", FakeBackend(accuracy=0.7), only=["many:first"])
    (pytester.path / "base.json.new").rename(pytester.path / "base.json")

    result = pytester.runpytest(*FAKE, *BASELINE, "-k", "alone or first")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gated|alone|0: acc 0.*  n = 400  NEW (not in the baseline)"])
    assert results_of(pytester)["verdicts"]["gated|alone|0"][0]["outcome"] == "new"


def test_a_failure_is_one_line_on_the_item_itself(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*LOSING, *BASELINE, *ALONE)

    result.stdout.fnmatch_lines(["FAILED suites/gated/gated.yaml::alone[[]0-shot] - acc 0.* REGRESSED (allowed 2.0)"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_pooled_test_is_a_test_of_the_session_and_progress_ends_at_a_hundred_percent(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*FAKE, *BASELINE)

    percentages = [int(text) for text in re.findall(r"\[ *(\d+)%\]", result.stdout.str())]
    assert percentages[-1] == max(percentages) == 100
    assert any(line.startswith("lighteval .") for line in result.outlines)


def test_verbose_lists_the_flipped_documents_and_the_details_hold_both_scores(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*LOSING, *BASELINE, *ALONE, "-v")

    (verdict,) = results_of(pytester)["verdicts"]["gated|alone|0"]
    flips = verdict["paired"]["flips"]
    assert len(flips) == verdict["paired"]["lost"] > 10
    listed = [line.split()[1] for line in result.outlines if line.startswith("    lost")]
    assert listed == [flip["id"] for flip in flips]
    (details,) = pytester.path.glob("reports/*/details/gated/alone.0-shot.jsonl")
    documents = {line["id"]: line for line in map(json.loads, details.read_text().splitlines())}
    flipped = {name for name, line in documents.items() if line["baseline_scores"]["acc"] != [line["scores"]["acc"]]}
    assert flipped == {flip["id"] for flip in flips}


def test_without_verbose_no_document_is_listed(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*LOSING, *BASELINE, *ALONE)

    assert not [line for line in result.outlines if line.startswith("    lost")]


def test_a_metric_where_lower_is_better_loses_when_it_rises(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(
        suite.read_text() + "  - {name: prose, data_files: {test: alone.jsonl}, prompt: {choices: [], gold: 0}, metrics: [bits_per_byte]}\n"
    )
    measured(suite, pytester.path / "prose.json", FakeBackend(bits_per_byte=2.0), only=["prose"])
    run = ("suites", "--backend", "fake", "--baseline", "prose.json", "-k", "prose", "--model-args")

    worse = pytester.runpytest(*run, "bits_per_byte=2.2")
    better = pytester.runpytest(*run, "bits_per_byte=1.8")

    # two hundredths of 2 bits are allowed by default, in the metric's own unit
    worse.assert_outcomes(failed=1)
    worse.stdout.fnmatch_lines(["*bits_per_byte 2.* -> 2.*  loss 0.2*  n = 400  REGRESSED (allowed 0.0*)*"])
    better.assert_outcomes(passed=1)
    better.stdout.fnmatch_lines(["*bits_per_byte 2.* -> 1.*  gain 0.2*IMPROVED*"])


def test_documents_of_one_source_count_as_one(pytester: pytest.Pytester, suite: Path) -> None:
    """Whole passages are lost: as 400 documents that would be certain, as 8 passages it is not."""
    rows = [json.loads(line) for line in (suite.parent / "alone.jsonl").read_text().splitlines()]
    (suite.parent / "alone.jsonl").write_text(
        "".join(json.dumps(row | {"passage": f"p{index // 50}"}) + "\n" for index, row in enumerate(rows))
    )
    measured(suite, pytester.path / "base.json.new", FakeBackend(accuracy=1.0), only=["alone"])
    (pytester.path / "base.json.new").rename(pytester.path / "base.json")
    lost = ",".join(f"test:{row}" for row in range(50))
    run = ("suites", "--backend", "fake", "--model-args", f"accuracy=1.0,wrong=[{lost}]", *BASELINE, *ALONE, "--gate-allow", "blind")

    alone = pytester.runpytest(*run)
    suite.write_text(suite.read_text().replace("{name: alone,", "{name: alone, cluster: passage,"))
    clustered = pytester.runpytest(*run)

    alone.assert_outcomes(failed=1)
    clustered.assert_outcomes(passed=1)
    assert results_of(pytester)["verdicts"]["gated|alone|0"][0]["paired"]["outcome"] == "INCONCLUSIVE"


def test_repeats_in_the_baseline_are_averaged_within_a_document(pytester: pytest.Pytester, suite: Path) -> None:
    measured(suite, pytester.path / "twice.json", FakeBackend(accuracy=0.7), FakeBackend(accuracy=0.7, lose=0.2), only=["alone"])

    pytester.runpytest(*FAKE, "--baseline", "twice.json", *ALONE).assert_outcomes(passed=1)

    (verdict,) = results_of(pytester)["verdicts"]["gated|alone|0"]
    assert {(flip["before"], flip["after"]) for flip in verdict["paired"]["flips"]} == {(0.5, 1.0)}
    assert verdict["paired"]["n"] == 400


# ------------------------------------------------------------------------------------- supersets and the pooled test


def test_a_superset_is_one_gate_and_its_tasks_are_advisory(pytester: pytest.Pytester, suite: Path) -> None:
    result = pytester.runpytest(*LOSING, *BASELINE, *MANY, "--junitxml=j.xml")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["FAILED *gated|many:_average|0*n = 600 *REGRESSED (allowed 2.0)"])
    verdicts = results_of(pytester)["verdicts"]
    assert verdicts["gated|many:_average|0"][0]["paired"]["alpha"] == 0.025
    assert [verdicts[f"gated|many:{part}|0"][0]["outcome"] for part in ("first", "second", "third")] == ["advisory"] * 3
    assert properties_of(pytester, "gated|many:_average|0")["lighteval.acc.verdict"] == "failed"


def test_a_task_of_a_superset_is_a_gate_if_it_is_asked_to_be(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|many:first: {acc: {paired: gate}}\n")

    result = pytester.runpytest(*LOSING, *BASELINE, *MANY, "--gates", "gates.yaml")

    result.assert_outcomes(passed=2, failed=3)  # the task, the superset, and both together
    verdicts = results_of(pytester)["verdicts"]
    assert verdicts["gated|many:first|0"][0]["paired"]["alpha"] == pytest.approx(0.01)  # the soft scores have the other half


def test_a_superset_is_held_to_the_metric_that_the_gates_file_names_for_it(pytester: pytest.Pytester, suite: Path) -> None:
    """Its tasks are compared by another one."""
    pytester.makefile(".yaml", gates="gated|many: {acc_norm: {max_drop: 0.01}}\n")

    result = pytester.runpytest(*LOSING, *BASELINE, *MANY, "--gates", "gates.yaml")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["FAILED *gated|many:_average|0 - acc_norm *n = 600 *REGRESSED (allowed 1.0)"])
    assert results_of(pytester)["verdicts"]["gated|many:first|0"][0]["metric"] == "acc"


def test_one_task_of_a_superset_is_a_gate_of_its_own(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*LOSING, *BASELINE, "-k", "first").assert_outcomes(failed=1)


def test_the_gates_left_after_deselection_share_the_sessions_alpha(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*FAKE, *BASELINE)
    both = results_of(pytester)["verdicts"]
    pytester.runpytest(*FAKE, *BASELINE, *ALONE)
    one = results_of(pytester)["verdicts"]

    assert [both[key][0]["paired"]["alpha"] for key in ("gated|alone|0", "gated|many:_average|0")] == pytest.approx([0.01, 0.01])
    assert both["pooled"][0]["paired"]["alpha"] == pytest.approx(0.01)
    assert one["gated|alone|0"][0]["paired"]["alpha"] == one["gated|alone|0"][0]["paired"]["soft_alpha"] == 0.025
    assert "pooled" not in one


def test_the_pooled_test_fails_a_session_whose_gates_all_pass(pytester: pytest.Pytester, suite: Path) -> None:
    """Five points may be lost in each task, and about two are; over all of them a quarter of that may be."""
    result = pytester.runpytest(
        "suites", "--backend", "fake", "--model-args", "accuracy=0.7,lose=0.03", *BASELINE, "--gate-max-drop", "0.05", "--junitxml=j.xml"
    )

    result.assert_outcomes(passed=5, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED lighteval::pooled - score 0.* n = 1000 *REGRESSED (allowed 1.2)  [[]2 gates[]]"])
    assert properties_of(pytester, "pooled")["lighteval.pooled.verdict"] == "failed"


def test_the_pooled_test_counts_a_document_of_two_gates_once(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|alone: {acc: {max_drop: 0.02}, acc_norm: {max_drop: 0.02}}\n")

    result = pytester.runpytest(*LOSING, *BASELINE, *ALONE, "--gates", "gates.yaml")

    pooled = results_of(pytester)["verdicts"]["pooled"][0]["paired"]
    assert pooled["n"] == 400
    result.stdout.fnmatch_lines(["pooled: *n = 400 *[[]2 gates; a row of several gates counts once, with the mean of its losses]"])


def test_holms_p_value_is_told_beside_bonferronis_verdict(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest(*LOSING, *BASELINE)

    verdicts = results_of(pytester)["verdicts"]
    alone, many = (verdicts[key][0]["paired"] for key in ("gated|alone|0", "gated|many:_average|0"))
    smaller, larger = sorted((alone, many), key=lambda paired: float(paired["p"]))
    # the test of the scores has half of each gate's alpha, soft scores the other half
    assert smaller["p_adjusted"] == pytest.approx(2 * 2 * smaller["p"] / 0.8)
    assert larger["p_adjusted"] == pytest.approx(2 * max(2 * smaller["p"], larger["p"]) / 0.8)
    assert verdicts["gated|many:first|0"][0]["paired"]["p_adjusted"] is None


def test_a_test_of_ones_own_is_reported_and_no_gate(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile("def test_own(lighteval):\n    assert lighteval.run('gated|alone|0')['acc'] > 0.1\n")

    result = pytester.runpytest(*LOSING, "test_a_test_of_ones_own_is_reported_and_no_gate.py", *BASELINE, "-k", "own or first")

    result.assert_outcomes(passed=1, failed=1)
    assert list(results_of(pytester)["verdicts"]) == ["gated|many:first|0"]


# ------------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("options", "gates", "failed"),
    [
        pytest.param(("--gate-max-drop", "0.2"), None, 0, id="command line"),
        pytest.param((), "{acc: {max_drop: 0.2}}", 0, id="gates file"),
        pytest.param(("--gate-max-drop", "20pt"), None, 0, id="points on the command line"),
        pytest.param((), "{acc: {max_drop: 20pt, min_effect: 15 pt}}", 0, id="points in the gates file"),
        pytest.param(("--gate-max-drop", "0.2"), "{acc: {max_drop: 0.02}}", 1, id="the gate's own goes before the session's"),
        pytest.param(("--gate-max-drop", "0.09", "--gate-min-effect", "0.09"), None, 0, id="min effect"),
        pytest.param(("--gate-max-drop", "0.09", "--gate-min-effect", "0.09", "--gate-inconclusive", "fail"), None, 1, id="inconclusive"),
        pytest.param(("--gate-max-drop", "0.09", "--gate-min-effect", "0.09"), "{acc: {inconclusive: fail}}", 1, id="own inconclusive"),
        pytest.param((), "{acc: {paired: ignored}, acc_norm: {paired: advisory}}", 1, id="nothing left that is a gate"),
        pytest.param(("--gate-allow", "ungated"), "{acc: {paired: ignored}, acc_norm: {paired: advisory}}", 0, id="and that is allowed"),
    ],
)
def test_the_policy_is_said_once_for_all_or_for_one(
    pytester: pytest.Pytester, suite: Path, options: tuple[str, ...], gates: str | None, failed: int
) -> None:
    if gates is not None:
        pytester.makefile(".yaml", gates=f"gated|alone: {gates}\n")
        options = (*options, "--gates", "gates.yaml")

    result = pytester.runpytest(*LOSING, *BASELINE, *ALONE, *options)

    assert result.parseoutcomes().get("failed", 0) == failed


def test_a_gates_own_alpha_never_takes_more_than_its_share(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makefile(".yaml", gates="gated|alone: {acc: {alpha: 0.001}, acc_norm: {alpha: 0.4}}\n")

    pytester.runpytest(*FAKE, *BASELINE, *ALONE, "--gates", "gates.yaml")

    first, second = results_of(pytester)["verdicts"]["gated|alone|0"]
    assert (first["paired"]["alpha"], second["paired"]["alpha"]) == (0.0005, pytest.approx(0.01))
    assert first["paired"]["upper"] > second["paired"]["upper"]


def test_a_suite_states_the_policy_of_its_own_tasks(pytester: pytest.Pytester, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("tasks:\n", "  gates: {acc: {max_drop: 0.2}}\ntasks:\n"))

    result = pytester.runpytest(*LOSING, *BASELINE, *MANY)

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["gated|many:_average|0: acc *PASSED (allowed 20.0; the loss is real but tolerated)"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--gate-alpha", "5"), "--gate-alpha: 5 is not between 0 and 0.5, like 0.05"),
        (("--gate-max-drop", "two"), "--gate-max-drop: 'two' is no number, like 0.02"),
        (("--gate-min-effect", "0.5"), "--gate-min-effect: 0.5 is not between 0 and max_drop, 0.02"),
        (("--gate-inconclusive", "pass"), "--gate-inconclusive: 'pass' is none of fail, blind, warn"),
        (("--gate-allow", "verison"), "--gate-allow verison: there are version, *(did you mean 'version'?)"),
        (("--gate-allow", "metric"), "--gate-allow metric: there are version, *"),
        (("--baseline-reason", "because"), "--baseline-reason is given without --save-baseline or --baseline-repin"),
        (("--waivers", "no.yaml"), "*no.yaml: No such file or directory"),
        (("--gate-max-drop", "2"), "--gate-max-drop: 2 is 200 points, so that no loss would be red: two points are 0.02 or 2pt"),
        (("--gate-max-drop", "200pt"), "--gate-max-drop: 2 is 200 points, *"),
        (("--gate-min-effect", "1"), "--gate-min-effect: 1 is 100 points, *"),
        (("--gate-max-drop", "2%"), "--gate-max-drop: 2% has two readings: 2 points * 0.02 or 2pt; 2 % of the baseline's score *"),
        (("--gate-max-drop", "nan"), "--gate-max-drop: 'nan' is no number, like 0.02"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_a_usage_error_of_one_line(
    pytester: pytest.Pytester, suite: Path, options: tuple[str, ...], problem: str
) -> None:
    result = pytester.runpytest(*FAKE, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("{max_drop: 2}", "max_drop: 2 is 200 points, so that no loss would be red: two points are 0.02 or 2pt"),
        ("{max_drop: 2%}", "max_drop: 2% has two readings: *"),
    ],
)
@pytest.mark.parametrize("place", ["gates file", "suite", "superset"])
def test_a_loss_in_the_wrong_unit_is_a_usage_error(pytester: pytest.Pytester, suite: Path, place: str, gate: str, problem: str) -> None:
    options: tuple[str, ...] = BASELINE
    if place == "suite":
        suite.write_text(suite.read_text().replace("{name: alone,", f"{{name: alone, gates: {{acc: {gate}}},"))
    else:
        pytester.makefile(".yaml", gates=f"gated|{'many' if place == 'superset' else 'alone'}: {{acc: {gate}}}\n")
        options = (*options, "--gates", "gates.yaml")

    result = pytester.runpytest(*LOSING, *options)

    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    lines = [line for line in (*result.outlines, *result.errlines) if "yaml:" in line]
    assert any(fnmatch.fnmatch(line, f"*yaml:*: *{problem}") for line in lines), lines


def test_a_metric_that_is_no_share_keeps_its_own_unit(pytester: pytest.Pytester, suite: Path) -> None:
    text = GATED.replace("metrics: [loglikelihood_acc, loglikelihood_acc_norm]", "metrics: [bleu]\n  generation_size: 8")
    suite.write_text(text.replace("tasks:\n", "  gates: {bleu: {max_drop: 2}}\ntasks:\n"))
    pytester.makefile(".yaml", points="gated|alone: {bleu: {max_drop: 2pt}}\n", all="gated|alone: {bleu: {max_drop: 100}}\n")
    measured = pytester.runpytest(*FAKE, "-k", "alone", "--max-samples=20", "--save-baseline=own.json")

    compared = pytester.runpytest(*FAKE, "-k", "alone", "--max-samples=20", "--baseline=own.json")
    refused = [
        pytester.runpytest(*FAKE, "-k", "alone", "--max-samples=20", "--baseline=own.json", "--gates", f"{name}.yaml")
        for name in ("points", "all")
    ]

    assert (measured.ret, compared.ret) == (0, 0)
    compared.stdout.fnmatch_lines(["*bleu *(allowed 2.0000)"])
    refused[0].stderr.fnmatch_lines(["ERROR: *bleu.max_drop: 2pt is for scores between 0 and 1, and bleu is not such a score: *"])
    refused[1].stderr.fnmatch_lines(["ERROR: *bleu.max_drop: 100 is all that bleu can lose (0 to 100), *"])


# ------------------------------------------------------------------------------------------ options without effect

NEEDS_BASELINE = "is given without --baseline, --against-backend or --against-model-args: no score is compared"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--gate-max-drop", "0.01"), f"--gate-max-drop {NEEDS_BASELINE}"),
        (("--gate-min-effect=0.01",), f"--gate-min-effect {NEEDS_BASELINE}"),
        (("--lighteval-gate-alpha", "0.01"), f"--gate-alpha {NEEDS_BASELINE}"),
        (("--gate-inconclusive", "fail"), f"--gate-inconclusive {NEEDS_BASELINE}"),
        (("--gate-allow", "version,prompts"), f"--gate-allow {NEEDS_BASELINE}"),
        (("--gate-calibrate", "2", "--gate-alpha", "0.01"), f"--gate-alpha {NEEDS_BASELINE}"),
        (("--reasoning-tags", "<a>:</a>"), "--reasoning-tags is given without --strip-reasoning: no reasoning is removed"),
        (("--tasks", "gated|alone|0", "--few-shots", "3"), "--few-shots is given beside --tasks, whose specs have counts of their own: *"),
        (("--no-cache", "--cache-size", "1GB"), "--cache-size is given beside --no-cache: nothing is kept"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_an_option_without_effect_is_a_usage_error(pytester: pytest.Pytester, suite: Path, options: tuple[str, ...], problem: str) -> None:
    result = pytester.runpytest("--backend", "fake", *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])


@pytest.mark.parametrize(
    "options",
    [
        ("--gate-plan", "--gate-max-drop", "0.01"),
        ("--collect-only", "--gate-max-drop", "0.01"),
        ("-k", "alone", "--gate-allow", "truncated"),
        ("-k", "alone", "--against-backend", "fake", "--gate-alpha", "0.01"),
        ("-k", "alone", "--gate-calibrate", "2"),
    ],
)
def test_an_option_with_an_effect_is_none(pytester: pytest.Pytester, suite: Path, options: tuple[str, ...]) -> None:
    assert pytester.runpytest(*FAKE, *options).ret == pytest.ExitCode.OK


def test_the_ini_file_may_hold_options_for_other_sessions(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makeini("[pytest]\nlighteval_gate_max_drop = 0.01\naddopts = --gate-alpha=0.01 --reasoning-tags=<a>:</a>\n")

    assert pytester.runpytest(*FAKE, "-k", "alone").ret == pytest.ExitCode.OK

"""The summary shows the worst first, and nothing that a model or a data set wrote can act in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_lighteval.errors import LightevalError
from pytest_lighteval.reports.markdown import escape_markdown
from pytest_lighteval.reports.rows import duration_text
from pytest_lighteval.reports.summary import STEP_SUMMARY_BYTES, append_step_summary, summary_markdown
from tests.reports.samples import FULL, GSM8K, run

PAGE = r"""## Evaluation of fake

4 tasks evaluated, 1 gate failed, 2 gates passed, 1 task without a score, 1 task skipped

### Failed gates

- **leaderboard\|gsm8k\|5**: qem 0.3500 is below the floor 0.4200 (n = 100)

### Errors

- **lighteval\|piqa\|0**: split 'validation' is missing

### Tasks

| task | metric | value | stderr | n | gate |
| --- | --- | ---: | ---: | ---: | --- |
| leaderboard\|gsm8k\|5 | qem | 0.3500 | 0.0479 | 100 | ❌ failed, min 0.4200 |
| leaderboard\|mmlu:anatomy\|5 | acc | 0.2500 | 0.0300 | 135 | ✅ passed, min 0.2000 |
| leaderboard\|mmlu:virology\|5 | acc | 0.3500 | 0.0400 | 166 |  |
| lighteval\|wikitext:2\|0 | word\_perplexity | 23.4512 |  | 1 |  |

### Averages over tasks

| task | metric | value | stderr | n | gate |
| --- | --- | ---: | ---: | ---: | --- |
| leaderboard\|mmlu:\_average\|5 | acc | 0.3000 | 0.0250 | 301 | ✅ passed, min 0.3000 |
| all | acc | 0.3000 | 0.0250 | 301 |  |

### Documents cut to the model's length

- **lighteval\|wikitext:2\|0**: 2

### Skipped

- **lighteval\|triviaqa\|0**: the backend cannot generate

### Measured with

- **run**: 20260102-030405-fake
- **started**: 2026-01-02 03:04 UTC
- **time**: 1 min 02 s
- **exit status**: ok
- **backend**: fake
- **few\_shot\_seeds**: 1
- **max\_samples**: 100
- **use\_chat\_template**: False
- **versions**: Python 3.11.7, pytest-lighteval 0.1.0
"""


def test_the_page_shows_what_failed_before_what_passed() -> None:
    assert summary_markdown(FULL) == PAGE


def test_the_page_says_which_model_arguments_and_which_baseline_were_used() -> None:
    models = [{"backend": "vllm", "fingerprint": "a417", "dtype": "bfloat16"}, {"backend": None, "fingerprint": None, "dtype": None}]
    baselines = tuple(
        {"path": f"{name}.json", "sha256": "5a5df4c5061e" + "0" * 52, "tasks": 4, "models": models, "is_pinned": name == "pinned"}
        for name in ("base", "pinned")
    )
    arguments = {"pretrained": "org/model", "generation_parameters": {"temperature": 0.5, "stop_tokens": ["a", "b"]}, "compile": True}

    lines = summary_markdown(replace(FULL, baselines=baselines, model_args=arguments)).splitlines()

    assert "- **baseline**: base.json (sha256 5a5df4c5061e, 4 tasks of vllm a417 bfloat16, unknown)" in lines
    assert "- **pinned baseline**: pinned.json (sha256 5a5df4c5061e, 4 tasks of vllm a417 bfloat16, unknown)" in lines
    said = "pretrained=org/model,generation_parameters={temperature:0.5,stop_tokens:[a,b]},compile=true"
    assert f"- **model arguments**: {escape_markdown(said)}" in lines


@pytest.mark.parametrize(("seconds", "text"), [(9.96, "10.0 s"), (60, "1 min 00 s"), (3599.4, "59 min 59 s"), (7600, "2 h 06 min")])
def test_a_duration_is_as_people_read_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_run_without_anything_says_so() -> None:
    assert summary_markdown(run()).splitlines()[2] == "nothing evaluated"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert('&')</script>", "&lt;script&gt;alert('&amp;')&lt;/script&gt;"),
        ("# one\n- two\r\n\tthree", r"\# one - two three"),
        ("*a* _b_ `c` ~~d~~", r"\*a\* \_b\_ \`c\` \~\~d\~\~"),
        ("[x](https://e.org) www.e.org", r"\[x\](https:&#47;&#47;e.org) www&#46;e.org"),
        (r"\| $x$", r"\\\| \$x\$"),
        ("\x1b[31m\x00", "\ufffd\\[31m\ufffd"),
    ],
    ids=["cell", "tag", "lines", "emphasis", "links", "escapes and formulas", "control characters"],
)
def test_text_from_outside_is_shown_and_does_nothing(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_the_summary_is_added_to_what_a_step_has_already(tmp_path: Path) -> None:
    path = tmp_path / "step.md"
    path.write_text("earlier\n")

    assert append_step_summary("ours é\n", {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.read_text("utf-8") == "earlier\nours é\n"


def test_what_tests_measured_is_on_the_page() -> None:
    page = summary_markdown(replace(run(), own_runs={"test_it.py::test_it": (GSM8K, GSM8K)}))

    row = r"| test\_it.py::test\_it: leaderboard\|gsm8k\|5 | qem | 0.3500 | 0.0479 | 100 |  |"
    assert "\n\n2 evaluations by tests\n\n" in page
    assert (
        f"### Measured by tests\n\n| task | metric | value | stderr | n | gate |\n| --- | --- | ---: | ---: | ---: | --- |\n{row}\n{row}\n"
        in page
    )
    assert "nothing evaluated" not in page


@pytest.mark.parametrize("environ", [{}, {"GITHUB_STEP_SUMMARY": ""}], ids=["unset", "empty"])
def test_without_a_step_nothing_is_written(environ: dict[str, str]) -> None:
    assert not append_step_summary("ours", environ)


def test_a_summary_that_github_would_refuse_is_cut_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "step.md"
    path.write_text("earlier\n")

    append_step_summary("one more line\n" * 100_000, {"GITHUB_STEP_SUMMARY": str(path)})

    text = path.read_text("utf-8")
    assert STEP_SUMMARY_BYTES - 100 < len(text.encode()) <= STEP_SUMMARY_BYTES
    assert text.endswith("one more line\n\n*The rest is cut: GitHub shows 1 MiB. All of it is in summary.md.*\n")


def test_a_step_summary_that_is_full_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "step.md"
    path.write_bytes(b"x" * STEP_SUMMARY_BYTES)

    append_step_summary(summary_markdown(run(GSM8K)), {"GITHUB_STEP_SUMMARY": str(path)})

    assert path.stat().st_size == STEP_SUMMARY_BYTES


def test_a_step_summary_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(LightevalError) as caught:
        append_step_summary("ours", {"GITHUB_STEP_SUMMARY": str(tmp_path)})

    assert str(caught.value) == f"{tmp_path}: the step summary cannot be written: Is a directory"

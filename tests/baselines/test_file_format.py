"""The file of a baseline: small, deterministic, what was measured, nothing about who measured it; damage is reported by field."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lighteval.baselines.file_format import parse_baseline, render_baseline
from pytest_lighteval.baselines.model import Baseline, BaselineMetric, BaselineTask, HistoryEntry, Provenance
from pytest_lighteval.baselines.save import baseline_of
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.metrics.soft_scores import on_grid
from pytest_lighteval.types import TaskKey
from tests.baselines.samples import coins, digest, report, result, shuffled_ids

MMLU_SIZES = (
    *(100, 135, 152, 100, 265, 144, 100, 100, 100, 173, 102, 100, 235, 114, 145, 378, 126, 100, 310, 203, 100, 165, 198, 193, 390),
    *(270, 238, 151, 545, 216, 204, 237, 223, 131, 121, 108, 163, 112, 103, 234, 100, 783, 346, 895, 306, 311, 324, 282, 1534, 272),
    *(612, 110, 245, 201, 100, 166, 171),
)

words = st.text("abcdefgh.+ -", min_size=1, max_size=8)
names = st.text("abcdefghijklmnop_:@=é", min_size=1, max_size=8)
finite = st.floats(allow_nan=False)
sources = st.builds(
    Provenance,
    backend=st.none() | words,
    model_fingerprint=st.none() | words,
    dtype=st.none() | words,
    python=st.none() | words,
    packages=st.dictionaries(words, words, max_size=2),
    hardware=st.dictionaries(words, words | st.integers(0, 99), max_size=2),
    settings=st.dictionaries(words, words | st.integers(0, 99) | st.none(), max_size=2),
)


@st.composite
def tasks(draw: st.DrawFn) -> BaselineTask:
    count, repeats = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    reported = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    value = st.none() | finite | st.tuples(st.integers(0, 9), finite) | st.tuples(words)
    key = draw(st.builds(TaskKey, suite=names, task=names, few_shots=st.integers(0, 99), truncate=st.booleans()))
    imported = draw(st.booleans())
    return BaselineTask(
        key=key,
        version=draw(st.none() | st.integers(0, 9)) if imported else draw(st.integers(0, 9)),
        metrics={
            name: BaselineMetric(
                value=draw(finite), stderr=draw(st.none() | finite), n=draw(st.integers(0, 99)), higher_is_better=draw(st.booleans())
            )
            for name in reported
        },
        ids=tuple(draw(st.lists(names | st.builds("test:{}".format, st.integers(0, 999)), min_size=count, max_size=count))),
        few_shot_seeds=tuple(draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))),
        prompt_digests=None
        if imported
        else draw(st.lists(st.binary(min_size=6, max_size=6).map(bytes.hex), min_size=count, max_size=count).map(tuple)),
        scores={name: tuple(draw(st.tuples(*[value] * repeats)) for _ in range(count)) for name in reported},
        soft={
            name: tuple(draw(st.tuples(*[st.floats(width=16, allow_nan=False, allow_infinity=False)] * repeats)) for _ in range(count))
            for name in draw(st.lists(st.sampled_from(reported), max_size=2, unique=True))
        },
        repeats=repeats,
        dataset_fingerprint=draw(st.none() | words) if imported else draw(words),
        data_revision=draw(st.none() | words),
        effective_few_shots=draw(st.none() | st.floats(0, 9)),
        num_truncated=draw(st.integers(0, count)),
        cut_share=draw(st.none() | st.floats(0, 1)),
        max_samples=draw(st.none() | st.integers(1, 99)),
        provenance=tuple(draw(st.lists(sources, max_size=2, unique_by=repr))),
    )


history = st.builds(
    HistoryEntry,
    reason=st.text(),
    date=st.none() | st.dates().map(str),
    changed=st.dictionaries(names, st.dictionaries(names, st.tuples(finite, finite), max_size=2), max_size=2),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(tasks(), max_size=3), st.lists(history, max_size=2))
def test_any_baseline_comes_back_from_its_text(entries: list[BaselineTask], reasons: list[HistoryEntry]) -> None:
    baseline = Baseline(tasks={task.key: task for task in entries}, history=tuple(reasons))
    text = render_baseline(baseline)

    assert parse_baseline(text, "b.json") == baseline
    assert render_baseline(parse_baseline(text, "b.json")) == text


def mmlu(*, repeats: int = 1, is_soft: bool = False) -> Baseline:
    """MMLU's 57 tasks and 14,042 documents, with prompts and scores as random as can be."""
    results = []
    noise = random.Random(1)
    for number, size in enumerate(MMLU_SIZES):
        key = TaskKey(suite="leaderboard", task=f"mmlu:high_school_subject_of_a_long_name_{number}", few_shots=5)
        soft = {"acc": [on_grid(noise.gauss(0, 3)) for _ in range(size)]} if is_soft else None
        fingerprint = hashlib.sha256(str(key).encode()).hexdigest()
        results.append(result({"acc": coins(size, 0.5, seed=number)}, key=key, fingerprint=fingerprint, soft=soft))
    once = baseline_of(report(*results))
    if repeats == 1:
        return once
    rng = random.Random(0)
    many = {
        key: BaselineTask(
            **{name: getattr(task, name) for name in BaselineTask.__slots__ if name not in ("scores", "soft", "repeats")},
            soft={name: tuple(row * repeats for row in rows) for name, rows in task.soft.items()},
            scores={"acc": tuple(tuple(float(rng.random() < 0.5) for _ in range(repeats)) for _ in task.ids)},
            repeats=repeats,
        )
        for key, task in once.tasks.items()
    }
    return Baseline(tasks=many)


def test_mmlu_fits_into_300_kb() -> None:
    text = render_baseline(mmlu())

    assert sum(MMLU_SIZES) == 14_042
    assert len(MMLU_SIZES) == 57
    assert len(text.encode()) < 230_000
    assert parse_baseline(text, "b.json") == mmlu()


def test_mmlu_with_eight_repeats_fits_into_300_kb_too() -> None:
    assert len(render_baseline(mmlu(repeats=8)).encode()) < 250_000


@pytest.mark.parametrize("repeats", [1, 8])
def test_the_soft_scores_of_mmlu_take_two_bytes_each(repeats: int) -> None:
    hard, soft = (len(render_baseline(mmlu(repeats=repeats, is_soft=is_soft)).encode()) for is_soft in (False, True))

    assert soft - hard < 14_042 * repeats * 2 * 4 / 3 + 57 * 60  # base64, and a name for each task
    assert repeats > 1 or soft - hard < 45_000
    assert parse_baseline(render_baseline(mmlu(is_soft=True)), "b.json") == mmlu(is_soft=True)


def test_a_task_is_a_block_that_people_can_read() -> None:
    measured = result({"qem": [1.0, 0.0, 1.0, 1.0]}, max_samples=4, num_truncated=1)
    prompts = "".join(document.prompt_digest for document in measured.documents)

    assert render_baseline(baseline_of(report(measured))).splitlines() == [
        "{",
        '  "format": "pytest-lighteval baseline",',
        '  "history": [],',
        '  "measured_by": {',
        '    "68d74a916821": {',
        '      "backend": "accelerate",',
        '      "dtype": "bfloat16",',
        '      "hardware": {"device": "cuda", "platform": "Linux x86_64", "processors": 16, "threads": 8},',
        f'      "model_fingerprint": "{"f" * 64}",',
        '      "packages": {"numpy": "2.3.1", "pytest-lighteval": "0.1.0", "torch": "2.13.0"},',
        '      "python": "3.11.7",',
        '      "settings": {"few_shot_seeds": 1, "system_prompt": null, "use_chat_template": 0}',
        "    }",
        "  },",
        '  "tasks": {',
        '    "leaderboard|gsm8k|5": {',
        '      "data_revision": null,',
        f'      "dataset_fingerprint": "{"d" * 64}",',
        '      "documents": 4,',
        '      "effective_few_shots": 5.0,',
        '      "max_samples": 4,',
        '      "means": ["qem"],',
        '      "measured_by": ["68d74a916821"],',
        '      "metrics": {',
        '        "qem": {"higher_is_better": true, "n": 4, "stderr": 0.01, "value": 0.75}',
        "      },",
        '      "packed": {',
        '        "few_shot_seeds": {"packed": "", "values": [0]},',
        '        "ids": {',
        '          "part": {"packed": "", "values": [null]},',
        '          "row": {"bits": 2, "least": 0, "packed": "nA=="},',
        '          "split": {"packed": "", "values": ["test"]}',
        "        },",
        f'        "prompts": "{base64.b64encode(bytes.fromhex(prompts)).decode()}",',
        '        "scores": {',
        '          "qem": {"packed": "sA==", "values": [0.0, 1.0]}',
        "        }",
        "      },",
        f'      "prompt_digest": "{measured.prompt_digest}",',
        '      "repeats": 1,',
        '      "rows": 4,',
        '      "score_digest": "cbda03b88df019814b173704329b42629691e16a83783b36dcc2ab58d6334412",',
        '      "truncated": 1,',
        '      "version": 0',
        "    }",
        "  },",
        '  "version": 2',
        "}",
    ]


def test_nothing_says_who_measured_it_where_and_when() -> None:
    text = render_baseline(baseline_of(report(result({"qem": [1.0, 0.0]}), device_name="/dev/nvidia0", gpu="NVIDIA H200")))

    assert not [word for word in ("someone", "secret", "/home", "/dev", "2026", "12.5", "cuda:0") if word in text]
    assert '"gpu": "NVIDIA H200"' in text


def test_a_system_prompt_is_kept_as_a_digest_alone() -> None:
    options = {"system_prompt": "You are Confidential.", "use_chat_template": True, "few_shot_seeds": 3}
    (task,) = baseline_of(report(result({"qem": [1.0, 0.0]}), settings=options)).tasks.values()

    assert task.provenance[0].settings == {
        "system_prompt": digest("You are Confidential."),
        "use_chat_template": 1,
        "few_shot_seeds": 3,
    }


def test_scores_that_are_whole_numbers_or_booleans_are_kept_as_floats() -> None:
    """So that the file does not depend on whether the result came from another process."""
    (task,) = baseline_of(report(result({"qem": [1, True, 0.0, None]}))).tasks.values()

    assert [type(value) for (value,) in task.scores["qem"]] == [float, float, float, type(None)]


def plain(*, count: int = 4) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(render_baseline(baseline_of(report(result({"qem": coins(count, 0.5, seed=1)})))))
    return content


def changed(*path: str, to: Any) -> str:
    """A baseline's text in which one field has another value; `...` takes it out."""
    content = plain()
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return json.dumps(content)


TASK = ("tasks", "leaderboard|gsm8k|5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD\n{}", "b.json:1: not JSON: Expecting value"),
        ("[]", "b.json: format: is not 'pytest-lighteval baseline': no file that --save-baseline wrote"),
        ('{"results": {}}', "b.json: format: is not 'pytest-lighteval baseline': no file that --save-baseline wrote"),
        ('{"a": 1, "a": 2}', "b.json: a: is given twice"),
        (changed("version", to=3), "b.json: version: 3 is of a newer pytest-lighteval; this one reads up to 2"),
        (changed("version", to="1"), "b.json: version: a number from 1 to 2 is needed"),
        (changed("tasks", to=...), "b.json: object missing required field `tasks`"),
        (changed("history", to=[{"date": "x"}]), "b.json: history[0]: object missing required field `reason`"),
        (changed("tasks", "gsm8k", to={}), "b.json: tasks.gsm8k: a task is written suite|task|few_shots"),
    ],
    ids=["conflict", "list", "other program", "twins", "newer", "version as text", "no tasks", "history", "key"],
)
def test_a_damaged_file_is_an_error_that_names_the_field(text: str, message: str) -> None:
    with pytest.raises(UserInputError) as raised:
        parse_baseline(text, "b.json")

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("tasks", "leaderboard|gsm8k|5|0", to=plain()["tasks"][TASK[1]]), "|0: leaderboard|gsm8k|5 is given twice"),
        (changed(*TASK, "repeats", to="many"), ".repeats: expected `int`, got `str`"),
        (changed(*TASK, "repeats", to=...), ": object missing required field `repeats`"),
        (changed(*TASK, "rows", to=0), ": rows and repeats are 1 at least"),
        (changed(*TASK, "rows", to=5), ".packed.ids: holds 1 bytes where 2 are needed"),
        (changed(*TASK, "measured_by", to=["abc"]), ".measured_by: 'abc' is not described under measured_by"),
        (changed(*TASK, "metrics", "acc", to={}), ".metrics.acc: object missing required field `higher_is_better`"),
        (changed(*TASK, "metrics", to={}), ".packed.scores: are not of the metrics that are named above"),
        (changed(*TASK, "metrics", "qem", "value", to="high"), ".metrics.qem.value: 'high' is no number"),
        (changed(*TASK, "packed", "prompts", to="AAAA"), ".packed.prompts: holds 3 bytes where 24 are needed"),
        (
            changed(*TASK, "packed", "prompts", to="A" * 32),
            ".prompt_digest: is not that of packed.prompts; the file was changed by hand or merged",
        ),
        (
            changed(*TASK, "packed", "scores", "qem", to={}),
            ".packed.scores.qem: is no packed column: values and packed; least, bits and packed; float64; or columns",
        ),
        (
            changed(*TASK, "packed", "few_shot_seeds", to={"values": ["a"], "packed": ""}),
            ".packed.few_shot_seeds: a seed is a whole number",
        ),
    ],
    ids=[
        "twice",
        "type",
        "missing",
        "no rows",
        "more rows",
        "source",
        "metric",
        "no metrics",
        "number",
        "short",
        "other prompts",
        "column",
        "seed",
    ],
)
def test_a_damaged_task_is_an_error_that_names_the_field(text: str, message: str) -> None:
    with pytest.raises(UserInputError) as raised:
        parse_baseline(text, "b.json")

    assert str(raised.value) == f"b.json: tasks.leaderboard|gsm8k|5{message}"


def test_a_field_that_is_not_known_yet_is_ignored() -> None:
    assert parse_baseline(changed(*TASK, "mood", to="good"), "b.json") == parse_baseline(json.dumps(plain()), "b.json")


@pytest.mark.parametrize("text", ["leaderboard|mmlu:anatomy|5", "leaderboard|mmlu:anatomy|5|1"])
def test_a_key_comes_back_from_its_text(text: str) -> None:
    key = TaskKey.parse(text)

    assert str(key) == text


@pytest.mark.parametrize("text", ["gsm8k", "leaderboard|gsm8k", "leaderboard|gsm8k|five", "a|b|5|2", "a b|c|5", "all"])
def test_what_is_no_key_gives_none(text: str) -> None:
    assert TaskKey.parse(text) is None


def test_a_score_that_json_cannot_hold_is_refused_with_its_task() -> None:
    baseline = baseline_of(report(result({"qem": [({"a": 1},), (2,)]}, values={"qem": 0.5})))

    with pytest.raises(UserInputError, match=r"leaderboard\|gsm8k\|5: cannot be kept in a baseline: a dict cannot be kept"):
        render_baseline(baseline)


def test_the_order_of_the_documents_is_kept() -> None:
    ids = shuffled_ids(50)
    (task,) = parse_baseline(render_baseline(baseline_of(report(result({"qem": coins(50, 0.5, seed=3)}, ids=ids)))), "b").tasks.values()

    assert list(task.ids) == ids
    assert [value for (value,) in task.scores["qem"]] == coins(50, 0.5, seed=3)

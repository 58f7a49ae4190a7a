"""The table of lm-evaluation-harness's names for our tasks and metrics. Prompts, and so scores, may still differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LOWER_IS_BETTER = frozenset({"ppl", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score"})
"""Of the metrics that the table names, and of the harness's own."""
HARNESS = "lm_eval"
"""The suite of the harness's own tasks, which run here unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of our numbers."""

    task: str
    """`suite|task`."""
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalTask:
    """One of the harness's tasks."""

    metrics: Mapping[str, Target]
    """`metric,filter` -> what it is here."""
    few_shots: int = 0
    """Its own default."""
    split: str | None = None
    """Its document i is our `<split>:i`. None: its documents cannot be matched with ours."""


def _task(task: str, *same: str, split: str | None = None, few_shots: int = 0, renamed: Mapping[str, str] | None = None) -> LmEvalTask:
    """`same`: metrics with the same name here (under the filter `none`); `renamed`: the others."""
    metrics = {f"{name},none": Target(task=task, metric=name) for name in same}
    for theirs, ours in (renamed or {}).items():
        metrics[theirs if "," in theirs else f"{theirs},none"] = Target(task=task, metric=ours)
    return LmEvalTask(metrics=metrics, few_shots=few_shots, split=split)


_SUBJECTS = (
    "abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry "
    "college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics "
    "econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology "
    "high_school_chemistry high_school_computer_science high_school_european_history high_school_geography "
    "high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics "
    "high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history "
    "human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing "
    "medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting "
    "professional_law professional_medicine professional_psychology public_relations security_studies sociology us_foreign_policy "
    "virology world_religions"
)
"""MMLU's."""

_MATH = {
    "algebra": "algebra",
    "counting_and_prob": "counting_and_probability",
    "geometry": "geometry",
    "intermediate_algebra": "intermediate_algebra",
    "num_theory": "number_theory",
    "prealgebra": "prealgebra",
    "precalc": "precalculus",
}
_ETHICS = {"cm": "commonsense", **{name: name for name in ("deontology", "justice", "utilitarianism", "virtue")}}
_CHOICES = ("acc", "acc_norm")

TASKS: dict[str, LmEvalTask] = {
    # the Open LLM Leaderboard's, with its suite's own few-shot examples
    "arc_challenge": _task("leaderboard|arc:challenge", *_CHOICES, split="test"),
    "hellaswag": _task("leaderboard|hellaswag", *_CHOICES, split="validation"),
    "truthfulqa_mc1": _task("leaderboard|truthfulqa:mc", renamed={"acc": "mc1"}, split="validation"),
    "truthfulqa_mc2": _task("leaderboard|truthfulqa:mc", renamed={"acc": "mc2"}, split="validation"),
    "winogrande": _task("leaderboard|winogrande", "acc", split="validation"),
    "gsm8k": LmEvalTask(
        metrics={
            # `#### <number>` as the examples have it, or the last number of the answer
            "exact_match,strict-match": Target(task="leaderboard|gsm8k", metric="qem"),
            "exact_match,flexible-extract": Target(task="lighteval|gsm8k", metric="extractive_match"),
        },
        few_shots=5,
        split="test",
    ),
    # the harness averages over documents, the superset here over subjects
    "mmlu": _task("leaderboard|mmlu:_average", "acc"),
    **{f"mmlu_{subject}": _task(f"leaderboard|mmlu:{subject}", "acc", split="test") for subject in _SUBJECTS.split()},
    # multiple choice
    "arc_easy": _task("lighteval|arc:easy", *_CHOICES, split="test"),
    **{f"headqa_{language}": _task(f"lighteval|headqa:{language}", *_CHOICES, split="test") for language in ("en", "es")},
    **{
        name: _task(f"lighteval|{name}", *_CHOICES, split="test") for name in ("logiqa", "mathqa", "openbookqa", "prost", "sciq", "toxigen")
    },
    **{name: _task(f"lighteval|{name}", *_CHOICES, split="validation") for name in ("piqa", "swag")},
    **{f"qa4mre_{year}": _task(f"lighteval|qa4mre:{year}", *_CHOICES, split="train") for year in (2011, 2012, 2013)},
    **{f"anli_r{number}": _task(f"lighteval|anli:r{number}", "acc", split=f"test_r{number}") for number in (1, 2, 3)},
    **{f"ethics_{theirs}": _task(f"lighteval|ethics:{ours}", "acc", split="test") for theirs, ours in _ETHICS.items()},
    "gpqa_main_zeroshot": _task("lighteval|gpqa", "acc", split="train"),
    **{
        name: _task(f"lighteval|{name}", "mrr", renamed={"r@1": "acc", "r@2": "recall@2"}, split="validation")
        for name in ("mutual", "mutual_plus")
    },
    "pubmedqa": _task("lighteval|pubmedqa", "acc"),
    "race": _task("lighteval|race:high", "acc", split="test"),
    "wsc273": _task("lighteval|wsc273", "acc", split="test"),
    # GLUE and SuperGLUE
    **{name: _task(f"lighteval|super_glue:{name}", "acc", split="validation") for name in ("boolq", "copa", "multirc", "wic", "wsc")},
    "cb": _task("lighteval|super_glue:cb", "acc", renamed={"f1": "mf1"}, split="validation"),
    "sglue_rte": _task("lighteval|super_glue:rte", "acc", split="validation"),
    **{name: _task(f"lighteval|glue:{name}", "acc", split="validation") for name in ("qnli", "rte", "sst2", "wnli")},
    **{name: _task(f"lighteval|glue:{name}", "acc", renamed={"f1": "loglikelihood_f1"}, split="validation") for name in ("mrpc", "qqp")},
    "cola": _task("lighteval|glue:cola", "mcc", split="validation"),
    "mnli": _task("lighteval|glue:mnli", "acc", split="validation_matched"),
    "mnli_mismatch": _task("lighteval|glue:mnli_mismatched", "acc", split="validation_mismatched"),
    # perplexity and greedy match
    "lambada_openai": _task("lighteval|lambada:openai", renamed={"perplexity": "ppl"}),
    "lambada_standard": _task("lighteval|lambada:standard", renamed={"perplexity": "ppl"}),
    "asdiv": _task("lighteval|asdiv", "acc", split="validation"),
    "webqs": _task("lighteval|webqs", renamed={"exact_match": "acc"}, split="test"),
    **{
        f"arithmetic_{name}": _task(f"lighteval|arithmetic:{name}", "acc", split="validation")
        for name in ("1dc", "2da", "2dm", "2ds", "3da", "3ds", "4da", "4ds", "5da", "5ds")
    },
    # generation
    "triviaqa": _task("lighteval|triviaqa", renamed={"exact_match,remove_whitespace": "qem"}, split="validation"),
    "drop": _task("lighteval|drop", "f1", renamed={"em": "qem"}),
    "ifeval": _task(
        "extended|ifeval",
        *("prompt_level_strict_acc", "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc"),
        split="train",
    ),
    "gpqa_diamond_cot_zeroshot": _task("lighteval|gpqa:diamond", renamed={"exact_match,flexible-extract": "gpqa_pass@1:1_samples"}),
    **{name: _task(f"lighteval|{name}", renamed={"exact_match": "math_pass@1:1_samples"}) for name in ("aime24", "aime25")},
    **{
        f"hendrycks_math_{theirs}": _task(f"lighteval|math:{ours}", renamed={"exact_match": "qem"}, split="test")
        for theirs, ours in _MATH.items()
    },
    **{
        f"mgsm_direct_{language}": _task(f"lighteval|mgsm:{language}", renamed={"exact_match,flexible-extract": "qem"}, split="test")
        for language in ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
    },
}
"""By the harness's name of the task."""

_FAMILIES = {"blimp": "train", "xcopa": "test", "xwinograd": "test"}
"""`family_member` is `lighteval|family:member`, with one accuracy."""


def harness_metric(name: str) -> str:
    """What the harness's own tasks report here for its `metric,filter`: the metric alone for the filter `none`."""
    return name.removesuffix(",none")


def find_task(name: str) -> LmEvalTask | None:
    """The counterpart of one of the harness's tasks. None: there is none."""
    if name in TASKS:
        return TASKS[name]
    family, _, member = name.partition("_")
    if family in _FAMILIES and member:
        return _task(f"lighteval|{family}:{member}", "acc", split=_FAMILIES[family])
    return None

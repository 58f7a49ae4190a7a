"""Modules as Lighteval's users write them, in both dialects. They are texts: loading one runs it."""

from __future__ import annotations

from pathlib import Path

from pytest_lighteval.guests.lighteval.module import LoadedModule, load_module

OLDER = """
import random

import numpy as np
from aenum import extend_enum

from lighteval.metrics.metrics import Metrics, SampleLevelMetric
from lighteval.metrics.utils.metric_utils import MetricCategory, MetricUseCase
from lighteval.tasks.default_prompts import LETTER_INDICES
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
from lighteval.utils.utils import as_list


def quiz(line, task_name: str = None):
    if line["question"] == "dropped":
        return None
    instruction = "Pick one.\\n"
    options = "".join(f"{letter}. {text}\\n" for letter, text in zip(LETTER_INDICES, line["choices"]))
    shown = "Example" if line["__few_shots"] else "Question"
    return Doc(
        task_name=task_name,
        query=f"{instruction}{shown} of {task_name}: {line['question']}\\n{options}Answer:",
        choices=[f" {letter}" for letter in LETTER_INDICES[: len(line["choices"])]],
        gold_index=as_list(line["answer"]),
        instruction=instruction,
        specific={"level": line["level"]},
    )


def shuffled(line, task_name: str = None):
    order = list(range(4))
    random.shuffle(order)
    return Doc(task_name=task_name, query=str(order + [int(np.random.randint(1000))]), choices=[" a", " b"], gold_index=0)


def lead(choices_logprob, gold_ixs, formatted_doc, **kwargs):
    return np.float64(choices_logprob[gold_ixs[0]] - max(choices_logprob)) * formatted_doc.specific["level"]


lead_metric = SampleLevelMetric(
    metric_name="lead",
    higher_is_better=True,
    category=MetricCategory.MULTICHOICE,
    use_case=MetricUseCase.ACCURACY,
    sample_level_fn=lead,
    corpus_level_fn=np.mean,
)
extend_enum(Metrics, "lead_metric", lead_metric)


class QuizTask(LightevalTaskConfig):
    def __init__(self, name, hf_subset):
        super().__init__(
            name=name,
            hf_subset=hf_subset,
            prompt_function=quiz,
            hf_repo="owner/quiz",
            metric=[Metrics.loglikelihood_acc_norm, Metrics.lead_metric],
            hf_avail_splits=["test", "dev"],
            evaluation_splits=["test"],
            few_shots_split=["dev"],
            few_shots_select="sequential",
            suite=["community"],
            generation_size=-1,
            stop_sequence=None,
            trust_dataset=True,
            hf_filter=lambda line: line["level"] > 0,
            version="0.1",
        )


TASKS_TABLE = [QuizTask(f"quiz:{subset}", subset) for subset in ("easy", "hard mode")] + [
    LightevalTaskConfig(
        name="shuffled",
        prompt_function=shuffled,
        hf_repo="owner/quiz",
        hf_subset="easy",
        metric=[Metrics.loglikelihood_acc],
        evaluation_splits=["test"],
    )
]
TASKS_GROUPS = {"both": "community|quiz:easy|0|0, community|quiz|1|0", "one": ["custom|shuffled|0|0"]}
"""

NEWER = """
import numpy as np
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Target, accuracy, scorer
from inspect_ai.solver import generate, prompt_template

from lighteval.metrics.metrics import Metrics, math_scorer
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping, SamplingMethod
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


@scorer(metrics=[accuracy()])
def graded():
    async def score(state, target: Target):
        return Score(value="C")

    return score


class Lengths(SampleLevelComputation):
    def compute(self, doc: Doc, model_response: ModelResponse, **kwargs):
        text = model_response.final_text[0]
        return {"words": len(text.split()), "right": text.strip() == doc.choices[doc.gold_index].strip()}


lengths = SampleLevelMetricGrouping(
    metric_name=["words", "right"],
    higher_is_better={"words": False, "right": True},
    category=SamplingMethod.GENERATIVE,
    sample_level_fn=Lengths(),
    corpus_level_fn={"words": np.median, "right": np.mean},
)


def ask(line, task_name: str = None):
    return Doc(
        task_name=task_name,
        query=f"{line['question']}\\nAnswer ({task_name}):",
        choices=[f" {line['answer']}"],
        gold_index=0,
        instruction="Answer in one word.",
    )


capitals = LightevalTaskConfig(
    name="capitals",
    prompt_function=ask,
    sample_fields=lambda record: Sample(input=record["question"], target=record["answer"]),
    solver=[prompt_template("{prompt}"), generate(cache=True)],
    scorer=[graded(), math_scorer()],
    hf_repo="json",
    hf_subset="default",
    hf_data_files="capitals.jsonl",
    evaluation_splits=["train"],
    few_shots_split="train",
    metrics=[Metrics.exact_match, Metrics.pass_at_k(sample_params={"k": 1, "n": 2}), lengths],
    generation_size=5,
    stop_sequence=["\\n"],
    num_fewshots=1,
)

TASKS_TABLE = [capitals]
"""


def load(folder: Path, text: str, name: str = "my_tasks.py") -> LoadedModule:
    """Write a module and load it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_module(path.resolve(), written=name)

"""A small folder of tasks as lm-evaluation-harness has them."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "arc/arc_easy.yaml": """\
tag: [ai2_arc]
task: arc_easy
dataset_path: allenai/ai2_arc
dataset_name: ARC-Easy
output_type: multiple_choice
training_split: train
validation_split: validation
test_split: test
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
""",
    "arc/arc_challenge.yaml": "include: arc_easy.yaml\ntask: arc_challenge\ndataset_name: ARC-Challenge\nnum_fewshot: 25\n",
    "gsm/gsm8k.yaml": """\
task: gsm8k
dataset_path: openai/gsm8k
output_type: generate_until
test_split: test
num_fewshot: 5
generation_kwargs: {until: ["Question:", "</s>"], do_sample: false, temperature: 0.0}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: strict-match, filter: [{function: regex}]}
  - {name: flexible-extract, filter: [{function: regex}]}
metadata: {version: 3.0}
""",
    "fixed/truth.yaml": "task: truth\noutput_type: multiple_choice\nvalidation_split: validation\nnum_fewshot: 0\n",
    "sums/_base_yaml": "output_type: multiple_choice\ntest_split: test\nprocess_docs: !function utils.clean\n",
    "sums/easy.yaml": "include: _base_yaml\ntask: sums_easy\ntag: sums_tasks\n",
    "sums/hard.yaml": "include: _base_yaml\ntask: sums_hard\ntag: sums_tasks\n",
    "sums/group.yaml": """\
group: sums
task: [sums_tasks]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
""",
    "mixed/plain.yaml": """\
group: mixed
task: [arc_easy, {task: gsm8k, num_fewshot: 8}, {task: own, output_type: multiple_choice, test_split: test}]
""",
    "code/human.yaml": "task: human\nunsafe_code: true\noutput_type: generate_until\n",
    "odd/name.yaml": "task: odd name/with slash\noutput_type: loglikelihood\nvalidation_split: dev\n",
    "broken/broken.yaml": "task: [\n",
}
"""Path -> text."""


def write_folder(folder: Path) -> Path:
    """The files above, below a folder."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder

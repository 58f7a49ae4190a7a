"""The other side of `benchmarks.harness_check`: a script for an environment with lm-evaluation-harness and nothing of ours.

`python harness_side.py JOB RESULT` reads what to run from one JSON file and writes what came of it into another. The tasks are the
harness's own, with their prompts and metrics; only where their rows come from is replaced.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the job."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    shipped = Path(lm_eval.__file__).parent / "tasks"
    found = {}
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        for task in job["tasks"]:
            (Path(folder) / f"{task['name']}.yaml").write_text(json.dumps(_declaration(task, shipped)), "utf-8")
        manager = TaskManager(include_path=folder, include_defaults=False)
        model = lm_eval.api.registry.get_model("hf")(**job["model"])
        for task in job["tasks"]:
            try:
                found[task["name"]] = json.loads(to_json(_evaluate(lm_eval, model, manager, task)))
            except Exception as error:  # of the harness, whatever it is: the other tasks' answers are not lost for it
                found[task["name"]] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")


def to_json(value: Any) -> str:
    """As `json.dumps`; numbers and arrays of numpy, which some tasks of the harness have, are plain numbers and lists."""
    return json.dumps(value, default=lambda one: one.tolist())


def _declaration(task: dict[str, Any], shipped: Path) -> dict[str, Any]:
    """The harness's own declaration with our rows in it; JSON is YAML."""
    splits = {f"{name}_split": None for name in ("training", "validation", "test", "fewshot")}
    splits[f"{task['split'] if task['split'] in ('validation', 'test') else 'validation'}_split"] = task["split"]
    if task["few_shots"]:
        splits["fewshot_split"] = task["few_shots_split"]
    return {
        "include": str(shipped / task["file"]),
        "task": task["name"],
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": task["data_files"]},
        **splits,
        **task["changed"],
    }


def _evaluate(lm_eval: Any, model: Any, manager: Any, task: dict[str, Any]) -> dict[str, Any]:
    found = lm_eval.simple_evaluate(
        model=model, tasks=[task["name"]], num_fewshot=task["few_shots"], task_manager=manager, bootstrap_iters=0
    )
    documents = {}
    for sample in found["samples"][task["name"]]:
        # a text measured as a whole has one argument and one number, a continuation two of each
        asked = [list(arguments) if isinstance(arguments, (list, tuple)) else [arguments] for arguments in sample["arguments"]]
        answers = [response[0] for response in sample["resps"]]
        documents[int(sample["doc_id"])] = {
            "texts": ["".join(arguments) for arguments in asked],
            "continuations": [arguments[-1] for arguments in asked],
            "logprobs": [answer[0] if isinstance(answer, (list, tuple)) else answer for answer in answers],
            "values": {name: sample[name] for name in sample["metrics"]},
        }
    scores = {name.partition(",")[0]: value for name, value in found["results"][task["name"]].items() if "stderr" not in name}
    return {"documents": documents, "scores": {name: value for name, value in scores.items() if isinstance(value, (int, float))}}


if __name__ == "__main__":
    main()

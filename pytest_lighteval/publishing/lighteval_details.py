"""`hub:ORG`: Lighteval's data set of results and details (its `logging/evaluation_tracker.py`), as leaderboards read it.

`results_<date>.json` and `.parquet`, `<date>/details_<suite|task|n>_<date>.parquet`, and a card with one configuration for each task,
whose splits are the dates of the runs and `latest`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_lighteval.errors import MissingExtraError
from pytest_lighteval.publishing.finished_run import FinishedRun, slug
from pytest_lighteval.publishing.publication import Publication
from pytest_lighteval.types import TaskResult

_DETAILS = re.compile(r"(?P<folder>[^/]+)/details_(?P<task>.+)_(?P=folder)\.parquet")
_RESULTS = re.compile(r"results_(?P<date>.+)\.parquet")


def repository(run: FinishedRun, owner: str, *, public: bool) -> str:
    """`owner/details_<model>`, with `_private` at the end unless it is public."""
    return f"{owner}/details_{slug(run.model.replace('/', '__'))}{'' if public else '_private'}"


def lighteval_details(run: FinishedRun, owner: str, *, public: bool, with_texts: bool, present: Iterable[str] = ()) -> Publication:
    """The files of a run, and the card of the repository with them.

    Args:
        run: what is published.
        owner: of the repository.
        public: whether everybody may read the repository.
        with_texts: whether prompts and answers are in the details; otherwise they have ids, digests and scores.
        present: paths of the files that the repository has already.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: the details cannot be read.
    """
    date = run.date
    results = dict(run.results)
    files = {
        f"results_{date}.json": (json.dumps(results, indent=2, sort_keys=True) + "\n").encode(),
        f"results_{date}.parquet": _parquet([{key: json.dumps(value, sort_keys=True) for key, value in results.items()}]),
    }
    notes = []
    for result in run.report.results:
        texts = with_texts and run.may_publish_texts(result.key)
        if with_texts and not texts:
            notes.append(f"{result.key}: no texts: its publisher asks not to spread them")
        rows = list(_rows(run, result) if texts else _rows_without_texts(result))
        files[f"{date}/details_{result.key}_{date}.parquet"] = _parquet(rows)
    files["README.md"] = _card(run, {*present, *files}).encode()
    return Publication(target=repository(run, owner, public=public), files=files, notes=tuple(notes))


def _rows_without_texts(result: TaskResult) -> Iterator[dict[str, Any]]:
    for document in result.documents:
        yield {
            "id": document.id,
            "few_shot_seed": document.few_shot_seed,
            "prompt_digest": document.prompt_digest,
            "truncated": int(document.truncated),
            "metrics": {name: _number(value) for name, value in document.values.items()},
        }


def _rows(run: FinishedRun, result: TaskResult) -> Iterator[dict[str, Any]]:
    for line in run.details(result.key):
        doc, answers = line["doc"], line["answers"]
        responses = [answer["response"] for answer in answers.values() if answer["response"]]
        scored = [
            text for answer in answers.values() for text in answer.get("scored_texts") or (answer["response"] or {}).get("texts") or ()
        ]
        ranked: Mapping[str, Any] = next((response for response in responses if response.get("logprobs")), {})
        yield {
            "id": line["id"],
            "few_shot_seed": line["few_shot_seed"],
            "prompt_digest": line["prompt_digest"],
            "example": doc["query"],
            "instruction": doc["instruction"],
            "full_prompt": line["prompt"] if isinstance(line["prompt"], str) else json.dumps(line["prompt"], ensure_ascii=False),
            "num_asked_few_shots": result.key.few_shots,
            "num_effective_few_shots": len(line["few_shot_ids"]),
            "predictions": scored,
            "pred_logits": ranked.get("logprobs") or [],
            "input_tokens": next((list(response["prompt_token_ids"]) for response in responses if response.get("prompt_token_ids")), []),
            "cont_tokens": [list(ids) for ids in ranked.get("choice_token_ids") or ()],
            "truncated": int(line["truncated"]),
            "padded": 0,
            "choices": doc["choices"],
            "gold_index": doc["gold"],
            "gold": [doc["choices"][index] for index in doc["gold"]],
            "metrics": {name: _number(value) for name, value in line["scores"].items()},
            "specifics": json.dumps(doc["specific"], ensure_ascii=False, sort_keys=True),
        }


def _number(value: Any) -> float | None:
    """A document's value where it is a number; of a corpus metric it is what the aggregate needs."""
    return float(value) if isinstance(value, int | float) else None


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "hub") from error
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def _card(run: FinishedRun, paths: set[str]) -> str:
    """The card of the whole repository: all of its runs, so that it is right whichever was published last."""
    by_task: dict[str, dict[str, str]] = {}
    for path in paths:
        if found := _DETAILS.fullmatch(path):
            by_task.setdefault(found["task"], {})[found["folder"]] = path
        elif found := _RESULTS.fullmatch(path):
            by_task.setdefault("results", {})[found["date"]] = path
    configs = [_config(name, by_task[name]) for name in sorted(by_task, key=lambda name: (name == "results", name))]
    header = {"pretty_name": f"Evaluation of {run.model}", "configs": configs}
    lines = [
        f"# Evaluation of {run.model}",
        "",
        f"Results of {len(by_task) - 1} tasks, measured with pytest-lighteval.",
        "Each configuration is a task. Its splits are the runs by date, and `latest` is the newest of them.",
        "`results` has the scores of all tasks.",
        "",
    ]
    return f"---\n{_yaml(header)}---\n\n" + "\n".join(lines)


def _config(name: str, by_date: Mapping[str, str]) -> dict[str, Any]:
    dates = sorted(by_date)
    splits = [{"split": re.sub(r"[^\w.]", "_", date), "path": [f"**/{by_date[date].rpartition('/')[2]}"]} for date in dates]
    splits.append({"split": "latest", "path": [f"**/{by_date[dates[-1]].rpartition('/')[2]}"]})
    return {"config_name": re.sub(r"[^\w.-]", "_", name), "data_files": splits}


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))

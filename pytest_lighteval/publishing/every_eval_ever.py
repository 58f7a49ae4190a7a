"""`eee:DIR`: records of Every Eval Ever (https://github.com/evaleval/every_eval_ever), schema 0.3.0.

`data/<benchmark>/<developer>/<model>/<uuid>.json` has the numbers of a benchmark, with their standard errors and intervals. With texts,
`<uuid>_samples.jsonl` beside it has a line for each document. The same run gives the same files.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pytest_lighteval.publishing.finished_run import FinishedRun, interval, slug
from pytest_lighteval.publishing.publication import Publication
from pytest_lighteval.types import CorpusMetric, MetricResult, TaskResult

SCHEMA = "0.3.0"
_SINGLE_KINDS = {"accelerate": "transformers", "vllm": "vllm", "nanotron": "nanotron", "openai": "openai"}
"""Backend -> the engine's name in these records."""


def every_eval_ever(run: FinishedRun, folder: str, *, organization: str, relationship: str, with_texts: bool) -> Publication:
    """A record for each superset, and for each task that is in none.

    Args:
        run: what is published.
        folder: where the records go.
        organization: who ran the evaluation.
        relationship: the evaluator's to the model: first_party, third_party, collaborative, other.
        with_texts: whether prompts and answers are published, too.

    Raises:
        DataError: the details cannot be read.
    """
    benchmarks: dict[str, list[TaskResult]] = {}
    for result in run.report.results:
        benchmarks.setdefault(result.key.task.partition(":")[0], []).append(result)
    files: dict[str, bytes] = {}
    notes: list[str] = []
    for benchmark, results in sorted(benchmarks.items()):
        stem = f"data/{slug(benchmark)}/{slug(_developer(run))}/{slug(run.model.rpartition('/')[2])}/{_uuid(run, benchmark)}"
        record = _record(run, benchmark, results, organization, relationship)
        shown = [result for result in results if with_texts and run.may_publish_texts(result.key)]
        if with_texts and len(shown) < len(results):
            notes.append(f"{benchmark}: {len(results) - len(shown)} tasks without texts: their publishers ask not to spread them")
        lines = [line for result in shown for line in _samples(run, result, record["evaluation_id"])]
        if lines:
            content = "".join(_json(line) + "\n" for line in lines).encode()
            files[f"{stem}_samples.jsonl"] = content
            record["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": f"{stem}_samples.jsonl",
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(content).hexdigest(),
                "total_rows": len(lines),
            }
        files[f"{stem}.json"] = (json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    return Publication(target=folder, files=files, notes=tuple(notes))


def _record(run: FinishedRun, benchmark: str, results: Sequence[TaskResult], organization: str, relationship: str) -> dict[str, Any]:
    created = str(run.started.timestamp() + run.report.seconds)
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{benchmark}/{_model_id(run)}/{created}",
        "evaluation_timestamp": str(run.started.timestamp()),
        "retrieved_timestamp": created,
        "source_metadata": {
            "source_name": "pytest-lighteval",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {
            "name": "pytest-lighteval",
            "version": version("pytest-lighteval"),
            "additional_details": _texts({"run": run.report.run_id, "python": run.report.environment.get("python")}),
        },
        "model_info": _model_info(run),
        "evaluation_results": [
            _result(run, result, name, number) for result in results for name, number in result.metrics.items() if _is_finite(number.value)
        ],
    }


def _model_info(run: FinishedRun) -> dict[str, Any]:
    backend = run.report.backend
    name = str(backend.get("name", "unknown"))
    details = {
        "deployment_type": "externally_managed" if name == "openai" else "self_deployed",
        "model_availability": "unknown" if name == "openai" else "open_weights",
        **{key: backend.get(key) for key in ("fingerprint", "dtype", "device")},
        **{f"model_args.{key}": value for key, value in run.report.model_args.items()},
    }
    info: dict[str, Any] = {
        "name": run.model,
        "id": _model_id(run),
        "developer": _developer(run),
        "additional_details": _texts(details),
    }
    if name in _SINGLE_KINDS:
        engine = _SINGLE_KINDS[name]
        info["inference_engine"] = {"name": engine, "version": str(backend.get("versions", {}).get(engine, "unknown"))}
    return info


def _result(run: FinishedRun, result: TaskResult, name: str, number: MetricResult) -> dict[str, Any]:
    corpus = run.corpus(result).get(name)
    bounds = (None, None) if corpus is None or corpus.range is None else corpus.range
    uncertainty: dict[str, Any] = {"num_samples": number.n}
    if (around := interval(number.value, number.stderr)) is not None and number.stderr is not None and _is_finite(number.stderr):
        method = "analytic" if corpus is None or corpus.is_mean else "bootstrap"
        uncertainty["standard_error"] = {"value": number.stderr, "method": method}
        least, most = (corpus and corpus.range) or (-math.inf, math.inf)
        lower, upper = max(least, around[0]), min(most, around[1])
        uncertainty["confidence_interval"] = {"lower": lower, "upper": upper, "confidence_level": 0.95, "method": "normal"}
    return {
        "evaluation_result_id": f"{result.key}|{name}",
        "evaluation_name": str(result.key),
        "source_data": _source(run, result),
        "evaluation_timestamp": str(run.started.timestamp()),
        "metric_config": {
            "evaluation_description": f"{name} of {result.key.task}, {result.key.few_shots}-shot",
            "metric_id": name,
            "metric_name": name,
            "lower_is_better": not number.higher_is_better,
            "score_type": "continuous",
            "min_score": _bound(bounds[0], "-Infinity", corpus),
            "max_score": _bound(bounds[1], "Infinity", corpus),
        },
        "score_details": {"score": number.value, "uncertainty": uncertainty},
        "generation_config": _generation(run),
    }


def _bound(value: float | None, unbounded: str, corpus: CorpusMetric | None) -> float | str | None:
    if value is None:
        return None
    return value if _is_finite(value) else unbounded


def _generation(run: FinishedRun) -> dict[str, Any]:
    given = run.results["config_general"]["generation_parameters"] or {}
    known = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_new_tokens": "max_tokens"}
    arguments = {theirs: given[ours] for ours, theirs in known.items() if given.get(ours) is not None}
    settings = {name: value for name, value in run.report.settings.items() if value not in (None, False, ())}
    config: dict[str, Any] = {"generation_args": arguments, "additional_details": _texts(settings)}
    if run.report.command is not None:
        config["generation_args"]["execution_command"] = run.report.command
    return config


def _source(run: FinishedRun, result: TaskResult) -> dict[str, Any]:
    task = run.tasks.get(result.key)
    if task is None or task.hf_repo is None:
        return {"dataset_name": result.key.task, "source_type": "other", "additional_details": {"fingerprint": result.dataset_fingerprint}}
    return {
        "dataset_name": result.key.task,
        "source_type": "hf_dataset",
        "hf_repo": task.hf_repo,
        "hf_split": "+".join(task.evaluation_splits),
        "samples_number": len({document.id for document in result.documents}),
        "additional_details": _texts(
            {"subset": task.hf_subset, "revision": task.hf_revision, "fingerprint": result.dataset_fingerprint, "version": task.version}
        ),
    }


def _samples(run: FinishedRun, result: TaskResult, evaluation: str) -> list[dict[str, Any]]:
    name = next(iter(result.metrics))
    lines = []
    for line in run.details(result.key):
        doc, value = line["doc"], line["scores"].get(name)
        if not isinstance(value, int | float):
            continue
        texts = [
            text
            for answer in line["answers"].values()
            for text in answer.get("scored_texts") or (answer["response"] or {}).get("texts") or ()
        ]
        chosen = texts or [_likeliest(line, doc["choices"])]
        golds = [doc["choices"][index] for index in doc["gold"]]
        prompt = line["prompt"] if isinstance(line["prompt"], str) else _json(line["prompt"])
        lines.append(
            {
                "schema_version": SCHEMA,
                "evaluation_id": evaluation,
                "model_id": _model_id(run),
                "evaluation_name": str(result.key),
                "evaluation_result_id": f"{result.key}|{name}",
                "sample_id": line["id"] if not line["few_shot_seed"] else f"{line['id']} seed {line['few_shot_seed']}",
                "sample_hash": hashlib.sha256((doc["query"] + "".join(golds)).encode("utf-8", "surrogatepass")).hexdigest(),
                "interaction_type": "single_turn",
                "input": {"raw": doc["query"], "formatted": prompt, "reference": golds, "choices": doc["choices"] or None},
                "output": {"raw": chosen},
                "messages": None,
                "answer_attribution": [
                    {
                        "turn_idx": 0,
                        "source": "output.raw",
                        "extracted_value": chosen[0],
                        "extraction_method": name,
                        "is_terminal": True,
                    }
                ],
                "evaluation": {"score": float(value), "is_correct": float(value) >= 1.0},
            }
        )
    return lines


def _likeliest(line: Mapping[str, Any], choices: Sequence[str]) -> str:
    for answer in line["answers"].values():
        logprobs = (answer["response"] or {}).get("logprobs")
        if logprobs and len(logprobs) == len(choices):
            return choices[max(range(len(logprobs)), key=logprobs.__getitem__)]
    return ""


def _developer(run: FinishedRun) -> str:
    owner, slash, _ = run.model.partition("/")
    return owner if slash and owner else "unknown"


def _model_id(run: FinishedRun) -> str:
    return run.model if "/" in run.model.strip("/") else f"unknown/{run.model}"


def _uuid(run: FinishedRun, benchmark: str) -> str:
    """A version 4 UUID that the run and the benchmark decide."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{run.report.run_id}|{benchmark}".encode()).digest()[:16], version=4))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else _json(value) for name, value in values.items() if value is not None}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _is_finite(value: float) -> bool:
    return value == value and value not in (float("inf"), float("-inf"))

"""results.json: everything that a run measured and decided, in a layout that readers of Lighteval's results understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_lighteval.errors import DataError
from pytest_lighteval.reports.rows import model_name
from pytest_lighteval.reports.serialize import to_json
from pytest_lighteval.types import Attempt, MetricResult, RunReport, TaskResult

SCHEMA = 1
"""Version of the layout; to be raised when a key moves, is removed or changes its meaning."""


LIGHTEVAL_NAMES = {"mc1": "truthfulqa_mc1", "mc2": "truthfulqa_mc2", "f1_macro": "f1", "f1_micro": "f1"}
"""Our name of a number -> that of Lighteval v0.9.2, where it is another. Of a task's two `f1` it reports the last one."""


def results_json(report: RunReport) -> str:
    """The text of results.json: keys sorted, numbers as Python prints them, always the same for the same report.

    Times, resources and the run's name are under `run` alone: two runs that measured the same differ only there. Numbers that are not
    finite are the texts "nan", "inf" and "-inf", as JSON has none. docs/reports.md lists the keys.
    """
    numbers: dict[str, Mapping[str, MetricResult]] = {str(result.key): result.metrics for result in report.results}
    numbers |= report.groups
    content = {
        "schema": SCHEMA,
        "run": {
            "id": report.run_id,
            "started": report.started,
            "seconds": report.seconds,
            "exit_status": report.exit_status,
            "command": report.command,
            "cache": report.cache,
            "use": report.backend.get("use", {}),
            **({"graders_use": _uses(report.graders)} if report.graders else {}),
            **({"reference_use": use} if (use := report.reference_backend.get("use")) else {}),
            "task_seconds": {str(result.key): result.seconds for result in report.results},
        },
        "config_general": _config_general(report),
        "results": {key: _lighteval_row(metrics) for key, metrics in numbers.items()},
        "versions": {str(result.key): result.version for result in report.results},
        "config_tasks": {str(result.key): _config_task(result) for result in report.results},
        "summary_tasks": {str(result.key): _summary_task(result) for result in report.results},
        "summary_general": {
            "truncated": sum(result.num_truncated for result in report.results),
            "non_truncated": sum(len(result.documents) - result.num_truncated for result in report.results),
            "saved_documents": sum(result.num_saved for result in report.results),
        },
        "metrics": {key: dict(metrics) for key, metrics in numbers.items()},
        "verdicts": {key: list(verdicts) for key, verdicts in report.verdicts.items()},
        "attempts": {key: [_attempt(attempt) for attempt in attempts] for key, attempts in report.attempts.items()},
        "errors": report.errors,
        "skipped": report.skipped,
        "own_runs": {
            node: [{"task": str(result.key), "max_samples": result.max_samples, "metrics": dict(result.metrics)} for result in results]
            for node, results in report.own_runs.items()
        },
        "settings": report.settings,
        "backend": _apart_from_use(report.backend),
        **({"graders": _without_use(report.graders)} if report.graders else {}),
        "environment": report.environment,
        "baselines": list(report.baselines),
        "model_args": report.model_args,
    }
    if report.reference_backend or report.references:
        content["reference"] = {
            "backend": _apart_from_use(report.reference_backend),
            "results": {str(result.key): _lighteval_row(result.metrics) for result in report.references},
            "metrics": {str(result.key): dict(result.metrics) for result in report.references},
        }
    if report.calibration:
        content["calibration"] = report.calibration
    return to_json(content, indent=2, sort_keys=True) + "\n"


def _apart_from_use(backend: Mapping[str, Any]) -> dict[str, Any]:
    """A model's facts; what it took differs between runs that measure the same."""
    return {name: fact for name, fact in backend.items() if name != "use"}


def _uses(graders: Mapping[str, Any]) -> dict[str, Any]:
    """What each grader took: calls, tokens, cost, which differ between runs that measure the same."""
    judges = {name: judge.get("use", {}) for name, judge in graders.get("judge", {}).get("judges", {}).items()}
    return judges | {kind: facts["use"] for kind, facts in graders.items() if "use" in facts}


def _without_use(facts: Any) -> Any:
    if isinstance(facts, Mapping):
        return {name: _without_use(fact) for name, fact in facts.items() if name != "use"}
    return facts


def _config_general(report: RunReport) -> dict[str, Any]:
    """Lighteval's keys, except for its times. None: the backend does not say."""
    arguments = report.backend.get("arguments")
    facts = {**(arguments if isinstance(arguments, Mapping) else {}), **report.backend}
    return {
        # Lighteval's own word for "not a git checkout of Lighteval"
        "lighteval_sha": "?",
        "model_name": model_name(report) or facts.get("pretrained"),
        "model_sha": facts.get("model_sha") or facts.get("revision"),
        "model_dtype": facts.get("dtype"),
        "model_size": facts.get("model_size"),
        "generation_parameters": facts.get("generation_parameters"),
        "num_fewshot_seeds": report.settings.get("few_shot_seeds"),
        "max_samples": report.settings.get("max_samples"),
    }


def _lighteval_row(metrics: Mapping[str, MetricResult]) -> dict[str, float]:
    """`{metric, metric_stderr}`; an unknown error is left out, as in Lighteval. A number has Lighteval's name too where ours is another."""
    theirs = {LIGHTEVAL_NAMES[name]: number for name, number in metrics.items() if name in LIGHTEVAL_NAMES}
    named = {**theirs, **metrics}
    row = {name: number.value for name, number in named.items()}
    return row | {f"{name}_stderr": number.stderr for name, number in named.items() if number.stderr is not None}


def _config_task(result: TaskResult) -> dict[str, Any]:
    """The part of Lighteval's task configuration that a result has."""
    return {
        "suite": result.key.suite,
        "name": result.key.task,
        "num_fewshots": result.key.few_shots,
        "truncate_fewshots": result.key.truncate,
        "version": result.version,
        "metrics": list(result.metrics),
        "effective_num_docs": len({document.id for document in result.documents}),
        "max_samples": result.max_samples,
        "dataset_fingerprint": result.dataset_fingerprint,
        "row_sources": dict(result.row_sources),
        **({} if result.language is None else {"language": result.language}),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    metrics = None if attempt.result is None else dict(attempt.result.metrics)
    return {"metrics": metrics, "verdicts": list(attempt.verdicts), "error": attempt.error}


def _summary_task(result: TaskResult) -> dict[str, Any]:
    """Here documents are counted once for each few-shot seed. The digests are SHA-256, unlike Lighteval's."""
    return {
        "hashes": {"hash_examples": result.dataset_fingerprint, "hash_full_prompts": result.prompt_digest},
        "truncated": result.num_truncated,
        "non_truncated": len(result.documents) - result.num_truncated,
        **({"cut_texts": result.num_cut, "texts": result.num_texts} if result.num_texts else {}),
        "saved_documents": result.num_saved,
        "effective_few_shots": result.effective_few_shots,
        **({"grader": dict(result.grader), "outcomes": dict(result.outcomes)} if result.grader else {}),
        "notes": list(result.notes),
    }


def read_results(path: Path) -> dict[str, Any]:
    """A results.json as it was written. Raises DataError if it is none, or of another version."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the results cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a results.json: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: its schema is {schema!r}, and {SCHEMA} can be read")
    return dict(content)

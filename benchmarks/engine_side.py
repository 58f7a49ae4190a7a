"""One side of `benchmarks.engine`: a script that answers requests with one system's model class, in that system's own environment.

`python engine_side.py SYSTEM MODEL THREADS REPLIES` loads the model once, then reads the name of a JSON file of requests from each line of
its input, answers them, and writes one line of JSON to the file descriptor REPLIES. It imports nothing of this project unless it is our
side.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCH_SIZE = 8
"""Rows of a batch for the peers, whose own search for one starts at sizes that exhaust a CPU's memory."""

WARM_UP = [{"prompt": "One, two,", "choices": [" three", " four and five"]}]

Requests = Sequence[dict[str, Any]]
Answer = Callable[[Requests], Any]


def main() -> None:
    """Load, then serve."""
    system, model, threads, replies = sys.argv[1:]
    import torch

    torch.set_num_threads(int(threads))
    scores, texts, module, versions = {"ours": ours, "lighteval": lighteval, "lm-eval": lm_eval}[system](model)
    computed = {"tokens": 0}
    # all positions that the model computes, with padding and the tokens of every decoding step
    module.register_forward_pre_hook(lambda _, arguments, named: _count(computed, arguments, named), with_kwargs=True)
    # weights that are mapped from a file are in memory once they were used
    scores(WARM_UP)
    loaded = _resident()
    with os.fdopen(int(replies), "w") as out:
        print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), file=out, flush=True)
        for line in sys.stdin:
            requests = json.loads(Path(line.strip()).read_text("utf-8"))
            computed["tokens"] = 0
            # the peak is counted from here on
            Path("/proc/self/clear_refs").write_text("5")
            started = time.perf_counter()
            answers = (scores if "choices" in requests[0] else texts)(requests)
            seconds = time.perf_counter() - started
            reply = {"seconds": seconds, "tokens": computed["tokens"], "peak_bytes": _peak() - loaded, "answers": answers}
            print(json.dumps(reply), file=out, flush=True)


def _count(computed: dict[str, int], arguments: Any, named: dict[str, Any]) -> None:
    inputs = named.get("input_ids")
    computed["tokens"] += (arguments[0] if inputs is None else inputs).numel()


def _resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def ours(folder: str) -> tuple[Answer, Answer, Any, dict[str, str]]:
    """The accelerate backend."""
    from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
    from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest

    backend = AccelerateBackend(AccelerateArguments(pretrained=folder, dtype="float32", device="cpu"))

    def scores(requests: Requests) -> Any:
        asked = [LoglikelihoodRequest(prompt=request["prompt"], choices=tuple(request["choices"])) for request in requests]
        answers = dict(backend.loglikelihood(asked))
        return [list(answers[index].logprobs) for index in range(len(asked))]

    def texts(requests: Requests) -> Any:
        asked = [
            GenerateRequest(prompt=one["prompt"], stop_sequence=tuple(one["stop_sequence"]), max_new_tokens=one["max_new_tokens"])
            for one in requests
        ]
        answers = dict(backend.generate(asked))
        return [answers[index].texts[0] for index in range(len(asked))]

    scores(WARM_UP)  # the engine loads at the first request
    return scores, texts, backend._engine._loaded.model, _versions("pytest-lighteval")


def lighteval(folder: str) -> tuple[Answer, Answer, Any, dict[str, str]]:
    """Lighteval's transformers model."""
    from lighteval.models.transformers.transformers_model import TransformersModel, TransformersModelConfig
    from lighteval.tasks.requests import GreedyUntilRequest, LoglikelihoodRequest

    model = TransformersModel(TransformersModelConfig(model_name=folder, device="cpu", dtype="float32", batch_size=BATCH_SIZE))

    def common(index: int, number: int, prompt: str) -> dict[str, Any]:
        return {"task_name": "x", "sample_index": index, "request_index": number, "context": prompt, "metric_categories": []}

    def scores(requests: Requests) -> Any:
        asked = [
            LoglikelihoodRequest(**common(index, number, request["prompt"]), choice=choice)
            for index, request in enumerate(requests)
            for number, choice in enumerate(request["choices"])
        ]
        answers = iter(model.loglikelihood(asked))
        return [[next(answers).result[0] for _ in request["choices"]] for request in requests]

    def texts(requests: Requests) -> Any:
        asked = [
            GreedyUntilRequest(
                **common(index, 0, one["prompt"]),
                stop_sequence=list(one["stop_sequence"]),
                generation_size=one["max_new_tokens"],
                num_samples=1,
            )
            for index, one in enumerate(requests)
        ]
        return [answer.result[0] for answer in model.greedy_until(asked)]

    return scores, texts, model.model, _versions("lighteval")


def lm_eval(folder: str) -> tuple[Answer, Answer, Any, dict[str, str]]:
    """The harness's hf model."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    # an empty context is the end token, as in Lighteval
    model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=BATCH_SIZE)

    def ask(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [
            Instance(request_type=kind, doc={}, arguments=one, idx=index, metadata=("x", index, 1)) for index, one in enumerate(arguments)
        ]

    def scores(requests: Requests) -> Any:
        pairs = [(request["prompt"], choice) for request in requests for choice in request["choices"]]
        answers = iter(model.loglikelihood(ask("loglikelihood", pairs), disable_tqdm=True))
        return [[next(answers)[0] for _ in request["choices"]] for request in requests]

    def texts(requests: Requests) -> Any:
        prompts = [
            (one["prompt"], {"until": list(one["stop_sequence"]), "max_gen_toks": one["max_new_tokens"], "do_sample": False})
            for one in requests
        ]
        return list(model.generate_until(ask("generate_until", prompts), disable_tqdm=True))

    return scores, texts, model.model, _versions("lm_eval")


def _versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in (*packages, "torch", "transformers")}


if __name__ == "__main__":
    main()

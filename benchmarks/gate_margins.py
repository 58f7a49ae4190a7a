"""What a real model computed for the documents of a few tasks, before and after its weights were rounded: the table of `gate_soft`.

python -m benchmarks.gate_margins            some minutes for each variant on one core; writes benchmarks/gate_margins.json
python -m benchmarks.gate_margins --documents 20 --output /dev/stdout

The model is SmolLM2-135M-Instruct in fp32. `8 bits` and `4 bits` are the same model after the weights of its linear layers (not its
head) went through that many bits and back: symmetric, to the nearest, one scale a row for 8 bits, and one for 64 weights for 4.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.model import MODEL
from benchmarks.recordings import SHARED, declared_task
from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.data.data_sets import DataSets
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.types import Ask, Detail, LoglikelihoodResponse

TASKS = (("lighteval", "arc:easy"), ("lighteval", "piqa"), ("leaderboard", "mmlu:miscellaneous"))
"""Texts as choices, two texts, and letters."""
VARIANTS = {"original": None, "8 bits": 8, "4 bits": 4}
GROUP = 64
OUTPUT = Path(__file__).with_name("gate_margins.json")


class RoundedBackend(AccelerateBackend):
    """The accelerate backend, whose linear layers went through a few bits and back."""

    bits: int | None = None
    """None: they did not."""

    def _load_model(self) -> Any:
        loaded = super()._load_model()
        if self.bits is not None:
            round_trip(loaded.model, self.bits)
        return loaded


def round_trip(model: Any, bits: int) -> None:
    """Round the weights of all linear layers but the head, in place."""
    import torch

    largest = 2 ** (bits - 1) - 1
    head = model.get_output_embeddings()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear) and layer is not head:
                rows = layer.weight if bits >= 8 else layer.weight.view(layer.weight.shape[0], -1, GROUP)
                scale = (rows.abs().amax(dim=-1, keepdim=True) / largest).clamp(min=1e-12)
                layer.weight.copy_(((rows / scale).round() * scale).view_as(layer.weight))


def record(documents: int) -> dict[str, Any]:
    """The whole table."""
    tasks: dict[str, dict[str, Any]] = {}
    for variant, bits in VARIANTS.items():
        backend = RoundedBackend(AccelerateArguments(pretrained=MODEL, dtype="float32", device="cpu", batch_size=16))
        backend.bits = bits
        for suite, name in TASKS:
            found: list[Detail] = []
            evaluate(
                declared_task(suite, name),
                backend,
                few_shots=0,
                settings=EvaluationSettings(max_samples=documents),
                data_sets=DataSets(data_home=SHARED / "data" / "hub"),
                on_detail=found.append,
            )
            found.sort(key=lambda detail: detail.doc.id)
            task = tasks.setdefault(f"{suite}|{name}", {"gold": [next(iter(detail.doc.gold)) for detail in found]})
            task[variant] = [_logprobs(detail) for detail in found]
            print(f"{variant}: {suite}|{name}: {len(found)} documents", file=sys.stderr)
        backend.close()
    return tasks


def _logprobs(detail: Detail) -> list[float]:
    response = detail.responses[Ask.CHOICES]
    assert isinstance(response, LoglikelihoodResponse)
    return [round(logprob, 3) for logprob in response.logprobs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate_margins", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=400, help="documents of each task, the first of the seeded shuffle (default 400)")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    content = {
        "model": "SmolLM2-135M-Instruct, fp32",
        "unit": "log-likelihood of every choice in nats, one list a document; gold is the place of the right one",
        "tasks": record(options.documents),
    }
    options.output.write_text(_text(content), "utf-8")
    return 0


def _text(content: dict[str, Any]) -> str:
    """JSON with one line for each column."""
    lines = [f'  "{name}": {json.dumps(content[name])}' for name in ("model", "unit")]
    tasks = [f"    {json.dumps(key)}: {{\n{_columns(task)}\n    }}" for key, task in content["tasks"].items()]
    return "{\n" + ",\n".join([*lines, '  "tasks": {\n' + ",\n".join(tasks) + "\n  }"]) + "\n}\n"


def _columns(task: dict[str, Any]) -> str:
    return ",\n".join(f"      {json.dumps(name)}: {json.dumps(column)}" for name, column in task.items())


if __name__ == "__main__":
    sys.exit(main())

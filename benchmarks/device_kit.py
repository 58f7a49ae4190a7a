"""What the steps of `benchmarks.device` share: models of random weights, prompts, and the same requests answered in the plainest way."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.engine_workloads import WORKLOADS, requests_of
from pytest_lighteval.errors import LightevalError
from pytest_lighteval.types import GenerateRequest, LoglikelihoodRequest

_LLAMA = {"rope_theta": 500_000.0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 8192, "num_key_value_heads": 8}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama-3.1-8B": (
        "LlamaConfig",
        _LLAMA
        | {"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32},
    ),
    "Qwen3-0.6B": (
        "Qwen3Config",
        _LLAMA
        | {"vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
        | {"head_dim": 128, "tie_word_embeddings": True},
    ),
}
"""Name -> transformers' configuration class, and the sizes that the published model has."""
_SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
"""In place of the published sizes, where a CPU is to be done within seconds."""
PLAIN_TOKENS = 8192
"""Of a padded batch of plain rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    step: str
    what: str
    measured: str


@dataclass(slots=True, kw_only=True)
class Settings:
    """What a process of the benchmark is told."""

    device: str
    small: bool
    """Models of a few thousand parameters and a handful of requests."""
    data_home: str | None
    deadline: float
    """Of `time.time()`; what is not done by then is left out."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.time()


@dataclass
class Kit:
    """A model, its tokenizer and the requests that it is asked."""

    name: str
    settings: Settings
    dtype: str
    figures: dict[str, Any] = field(default_factory=dict)
    """What goes into the JSON beside the rows."""

    @cached_property
    def requests(self) -> dict[str, list[Any]]:
        """Workload -> its requests: of real rows where they are there, made up otherwise."""
        counts = {"mmlu": 100, "hellaswag-10": 60, "gsm8k": 64}
        if self.settings.small:
            counts = dict.fromkeys(counts, 3)
        return {name: self._requests(name, count) for name, count in counts.items()}

    def _requests(self, name: str, count: int) -> list[Any]:
        workload = next(one for one in WORKLOADS if one.name == name)
        if self.settings.data_home is not None:
            try:
                plain = requests_of(replace(workload, documents=count), data_home=Path(self.settings.data_home))
                return [_request(one) for one in plain]
            except LightevalError as error:
                self.figures.setdefault("missing_data", {})[name] = str(error)
        return made_up(name, count, small=self.settings.small)

    @cached_property
    def tokenizer(self) -> Any:
        """A byte-level BPE trained on the prompts, so that no file is needed."""
        texts = [request.prompt for requests in self.requests.values() for request in requests]
        return trained_tokenizer(texts, vocabulary=300 if self.settings.small else 16_000)

    @cached_property
    def model(self) -> Any:
        """Random weights on the device. Raises whatever transformers raises."""
        return random_model(self.name, device=self.settings.device, dtype=self.dtype, small=self.settings.small)

    def backend(self, **arguments: Any) -> Any:
        """The accelerate backend around the model."""
        from pytest_lighteval.backends.accelerate import AccelerateBackend

        return AccelerateBackend.from_model(self.model, self.tokenizer, **arguments)

    @property
    def parameters(self) -> int:
        """Of the model, without its embeddings and its head."""
        inner = self.model.base_model
        embedded = sum(one.numel() for one in inner.get_input_embeddings().parameters())
        return int(sum(one.numel() for one in inner.parameters()) - embedded)


def random_model(name: str, *, device: str, dtype: str, small: bool = False) -> Any:
    """A model of a published shape whose weights are drawn, in eval mode."""
    import torch
    import transformers

    kind, sizes = SHAPES[name]
    if small:
        sizes = {**sizes, **_SMALL, "num_key_value_heads": 2, **({"head_dim": 16} if "head_dim" in sizes else {})}
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**sizes), dtype=getattr(torch, dtype))
    generator = torch.Generator(device=device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # wide enough that a model prefers some tokens clearly
                parameter.normal_(0.0, 0.3 if small else 0.04, generator=generator)
    return model.eval()


def trained_tokenizer(texts: Sequence[str], *, vocabulary: int) -> Any:
    """A tokenizer whose `<s>` is 1 and `</s>` is 2; it adds none of them to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def made_up(name: str, count: int, *, small: bool) -> list[Any]:
    """Prompts with few-shot examples in front: five of 90 words (mmlu, gsm8k) or ten of 60 (hellaswag-10), and a question of their own."""
    draw = random.Random(name)
    words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randrange(2, 9))) for _ in range(2000)]

    def text(length: int) -> str:
        return " ".join(draw.choice(words) for _ in range(3 if small else length))

    examples, length = (10, 60) if name == "hellaswag-10" else (5, 90)
    head = "".join(f"Question: {text(length)}\nAnswer: {text(10)}\n\n" for _ in range(examples))
    prompts = [f"{head}Question: {text(length)}\nAnswer:" for _ in range(count)]
    if name == "gsm8k":
        return [GenerateRequest(prompt=prompt, stop_sequence=("Question:",), max_new_tokens=8 if small else 128) for prompt in prompts]
    choices = (" A", " B", " C", " D")
    return [
        LoglikelihoodRequest(prompt=prompt, choices=choices if name == "mmlu" else tuple(f" {text(20)}" for _ in choices))
        for prompt in prompts
    ]


def _request(plain: dict[str, Any]) -> Any:
    if "choices" in plain:
        return LoglikelihoodRequest(prompt=plain["prompt"], choices=tuple(plain["choices"]))
    stops = tuple(plain["stop_sequence"])
    return GenerateRequest(prompt=plain["prompt"], stop_sequence=stops, max_new_tokens=plain["max_new_tokens"])


# ------------------------------------------------------------------------------------------------ the plainest way


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """What plain rows answered within the time."""

    logprobs: list[tuple[float, ...]]
    """Of the first requests."""
    seconds: float
    tokens: int
    """Computed, padding included."""


def plain_logprobs(kit: Kit, requests: Sequence[LoglikelihoodRequest], *, tokens: int = PLAIN_TOKENS, seconds: float = 1e9) -> Plain:
    """Each choice is a row with its whole prompt; rows are sorted by length and padded to the longest of their batch.

    Args:
        kit: Of which the model is asked.
        requests: In this order; whole requests are answered.
        tokens: Of a batch. 0: one row at a time, unpadded.
        seconds: No batch begins after them, so that the last requests may have no answer.
    """
    import torch

    rows = []
    for number, request in enumerate(requests):
        context = kit.tokenizer(request.prompt).input_ids
        rows += [(number, place, context, kit.tokenizer(choice).input_ids) for place, choice in enumerate(request.choices)]
    found: dict[tuple[int, int], float] = {}
    computed, started = 0, time.perf_counter()
    for batch in _batches(sorted(rows, key=lambda row: len(row[2]) + len(row[3])), tokens):
        if time.perf_counter() - started > seconds:
            break
        width = max(len(context) + len(choice) - 1 for *_, context, choice in batch)
        ids = torch.zeros((len(batch), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, (*_, context, choice) in enumerate(batch):
            ids[line, : len(context) + len(choice) - 1] = torch.tensor([*context, *choice[:-1]])
            mask[line, : len(context) + len(choice) - 1] = 1
        with torch.inference_mode():
            logits = kit.model(input_ids=ids.to(kit.model.device), attention_mask=mask.to(kit.model.device)).logits
        computed += ids.numel()
        for line, (number, place, context, choice) in enumerate(batch):
            own = logits[line, len(context) - 1 : len(context) + len(choice) - 1].float().log_softmax(-1)
            found[number, place] = float(own[range(len(choice)), choice].double().sum())
    _wait(kit)
    taken = time.perf_counter() - started
    answered = [
        tuple(found[number, place] for place in range(len(request.choices)))
        for number, request in enumerate(requests)
        if all((number, place) in found for place in range(len(request.choices)))
    ]
    return Plain(logprobs=answered, seconds=taken, tokens=computed)


def _batches(rows: Sequence[Any], tokens: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        width = len(row[2]) + len(row[3])
        if batch and (len(batch) + 1) * width > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def generated(kit: Kit, prompts: Sequence[str], *, new_tokens: int, rows: int) -> list[list[int]]:
    """What `generate` of transformers answers greedily, in batches of that many rows, padded on the left: ids up to `</s>`."""
    import torch

    answers: list[list[int]] = []
    for start in range(0, len(prompts), rows):
        ids = [kit.tokenizer(prompt).input_ids for prompt in prompts[start : start + rows]]
        width = max(map(len, ids))
        inputs = torch.tensor([[0] * (width - len(row)) + row for row in ids], device=kit.model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=kit.model.device)
        with torch.inference_mode():
            whole = kit.model.generate(inputs, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)
        answers += [row[: row.index(2)] if 2 in row else row for row in whole[:, width:].tolist()]
    _wait(kit)
    return answers


def timed(kit: Kit, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the device is done with it, and what it returned."""
    _wait(kit)
    started = time.perf_counter()
    result = work()
    _wait(kit)
    return time.perf_counter() - started, result


def _wait(kit: Kit) -> None:
    import torch

    if kit.settings.device.startswith("cuda"):
        torch.cuda.synchronize()


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def dump(path: Path, rows: Sequence[Row], figures: dict[str, Any]) -> None:
    """Write what is known so far, so that a process that is ended loses only its last step."""
    content = {"rows": [[row.step, row.what, row.measured] for row in rows], "figures": figures}
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content), "utf-8")
    aside.replace(path)

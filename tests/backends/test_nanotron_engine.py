"""What surrounds nanotron's own engine, with a stand-in for the engine: a plain function from ids to logits, also over two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.nanotron import NanotronArguments, NanotronBackend, engine
from pytest_lighteval.backends.nanotron.engine import ForwardModel, SplitForward
from pytest_lighteval.errors import BackendError
from pytest_lighteval.testing import BackendConformance
from tests.backends.nanotron_layout import write_checkpoint
from tests.backends.tiny import tiny_model, tiny_tokenizer


def forward_of(model: Any) -> engine.Forward:
    """Plain rows, padded on the right, without a mask: what nanotron's engine is asked for."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(ids, use_cache=False).logits.float()
        return logits

    return forward


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return write_checkpoint(tmp_path / "run", tiny_model(), tokenizer=str(tmp_path / "tokenizer"))


class TestConformance(BackendConformance):
    """The accelerate backend over a function in the shape of a model."""

    @pytest.fixture(scope="class")
    def backend(self) -> Iterator[AccelerateBackend]:
        model = tiny_model()
        wrapped = ForwardModel(model.config, forward_of(model), device=torch.device("cpu"), dtype=torch.float32)
        backend = AccelerateBackend.from_model(wrapped, tiny_tokenizer())
        yield backend
        backend.close()


def test_padding_on_the_left_is_asked_as_padding_on_the_right() -> None:
    model = tiny_model()
    asked = []

    def forward(ids: torch.Tensor) -> torch.Tensor:
        asked.append(ids.clone())
        return forward_of(model)(ids)

    wrapped = ForwardModel(model.config, forward, device=torch.device("cpu"), dtype=torch.float32)
    padded, mask = torch.tensor([[2, 2, 7, 8, 9], [4, 5, 6, 7, 8]]), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])

    with torch.no_grad():
        found = wrapped(input_ids=padded, attention_mask=mask, logits_to_keep=1).logits
        alone = [model(torch.tensor([row])).logits[:, -1:] for row in ([7, 8, 9], [4, 5, 6, 7, 8])]

    assert asked[0].tolist() == [[7, 8, 9, 2, 2], [4, 5, 6, 7, 8]]
    assert torch.allclose(found, torch.cat(alone), atol=1e-5)
    with pytest.raises(ValueError, match="plain rows alone"):
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

    wrapped = ForwardModel(tiny_model().config, forward, device=torch.device("cpu"), dtype=torch.float32)

    wrapped(input_ids=torch.tensor([[1, 2]]))
    with pytest.raises(BackendError, match="nanotron failed on 1 rows of 3 tokens: CUDA out of memory"):
        wrapped(input_ids=torch.tensor([[1, 2, 3]]))


def test_the_backend_asks_the_engine_and_says_so(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_lighteval.types import LoglikelihoodRequest

    asked = {}

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


def test_what_nanotron_raises_while_it_loads_is_one_line(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_forward(*arguments: Any) -> None:
        raise AssertionError("nccl backend is needed\nand more")

    monkeypatch.setattr(engine, "load_forward", load_forward)
    backend = NanotronBackend(NanotronArguments(checkpoint_config_path=str(written), engine="nanotron"))

    with pytest.raises(BackendError, match=r"config.yaml: nanotron cannot load it: AssertionError: nccl backend is needed$"):
        backend.count_tokens("One")


SPLIT_IN_TWO = """
import sys, torch
from pytest_lighteval.backends.nanotron.engine import SplitForward
from tests.backends.tiny import tiny_model

torch.distributed.init_process_group("gloo")
rank, kind = torch.distributed.get_rank(), sys.argv[1]
everyone, alone = torch.distributed.group.WORLD, [torch.distributed.new_group([one]) for one in range(2)][rank]
model, seen = tiny_model(), []


class Part(torch.nn.Module):
    def forward(self, input_ids, input_mask):
        seen.append(input_ids.tolist())
        logits = model(input_ids).logits.transpose(0, 1)
        return logits.chunk(2, dim=-1)[rank] if kind == "tensor" else logits


groups = {"tensor_group": everyone, "data_group": alone} if kind == "tensor" else {"tensor_group": alone, "data_group": everyone}
ids = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
with torch.no_grad():
    found, expected = SplitForward(Part(), **groups)(ids), model(ids).logits
    assert torch.allclose(found, expected, atol=1e-5), rank
assert len(seen[0]) == (3 if kind == "tensor" else 2)
torch.distributed.destroy_process_group()
print("same", flush=True)
"""


@pytest.mark.parametrize("kind", ["tensor", "data"])
def test_two_processes_put_vocabulary_and_rows_together(tmp_path: Path, kind: str) -> None:
    (tmp_path / "split.py").write_text(SPLIT_IN_TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(tmp_path / "split.py"), kind]

    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=_environment())

    assert done.stdout.split() == ["same", "same"], done.stderr[-2000:]


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

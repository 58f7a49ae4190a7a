"""Experimental: nanotron's own engine on the processes of torchrun, as one function from token ids to logits.

This is the only module that imports nanotron (main branch, commit 2411b022). It was never run with nanotron itself. `ForwardModel` makes
the function a model for the accelerate backend; it needs no nanotron, and has tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.modeling_outputs import CausalLMOutput

from pytest_lighteval.backends.common.dtypes import DTYPES
from pytest_lighteval.backends.nanotron.architecture import Architecture
from pytest_lighteval.backends.nanotron.checkpoint import Checkpoint, Parallelism, read_mapping
from pytest_lighteval.errors import BackendError, BackendLostError, first_line

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Token ids [rows, length], padded on the right -> logits [rows, length, vocabulary] in float32."""


def load_checkpoint(checkpoint: Checkpoint, architecture: Architecture, parallelism: Parallelism, dtype: str | None) -> ForwardModel:
    """The checkpoint in nanotron's engine, as a transformers model. Every process of torchrun has to call it. Raises BackendError."""
    computed = torch.bfloat16 if dtype in (None, "auto") else getattr(torch, DTYPES[dtype])
    try:
        forward = load_forward(checkpoint, parallelism, computed)
    except Exception as error:
        # nanotron raises AssertionError and other errors, and those of CUDA and NCCL
        raise BackendError(f"{checkpoint.config}: nanotron cannot load it: {type(error).__name__}: {first_line(error)}") from error
    config = transformers.AutoConfig.for_model(architecture.model_type, **architecture.settings)
    return ForwardModel(config, forward, device=_device(), dtype=computed)


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def load_forward(checkpoint: Checkpoint, parallelism: Parallelism, dtype: torch.dtype) -> Forward:
    """The function over nanotron's model. Needs CUDA, NCCL and flash-attn."""
    from nanotron.config import ModelArgs, get_config_from_dict
    from nanotron.config.parallelism_config import ParallelismArgs
    from nanotron.models import build_model
    from nanotron.parallel import ParallelContext
    from nanotron.parallel.parameters import sanity_check
    from nanotron.parallel.tensor_parallel.enum import TensorParallelLinearMode
    from nanotron.random import RandomStates, get_current_random_state, get_synced_random_state, set_random_seed
    from nanotron.serialize import load_weights
    from nanotron.trainer import CONFIG_TO_MODEL_CLASS, mark_tied_parameters

    described = read_mapping(checkpoint.config)["model"] | {"model_config": dict(checkpoint.model)}
    config = get_config_from_dict(described, config_class=ModelArgs, skip_unused_config_keys=True, skip_null_keys=True).model_config
    sizes = ParallelismArgs(
        dp=parallelism.data, pp=parallelism.pipeline, tp=parallelism.tensor, tp_mode=TensorParallelLinearMode.ALL_REDUCE
    )
    context = ParallelContext(data_parallel_size=sizes.dp, pipeline_parallel_size=sizes.pp, tensor_parallel_size=sizes.tp)
    set_random_seed(42)
    synced = get_synced_random_state(random_state=get_current_random_state(), pg=context.tp_pg)
    model = build_model(
        model_builder=lambda: CONFIG_TO_MODEL_CLASS[type(config).__name__](
            config=config, parallel_context=context, parallel_config=sizes, random_states=RandomStates({"tp_synced": synced})
        ),
        dtype=dtype,
        parallel_context=context,
    )
    mark_tied_parameters(model=model, parallel_context=context, parallel_config=sizes)
    sanity_check(root_module=model)
    load_weights(model=model, parallel_context=context, root_folder=checkpoint.folder)
    model.eval()
    return SplitForward(model.model, tensor_group=context.tp_pg, data_group=context.dp_pg)


@dataclass(frozen=True, slots=True)
class SplitForward:
    """A model as one function: its vocabulary is split over one group of processes, the rows over another."""

    model: Any
    tensor_group: Any
    data_group: Any

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Every process gives the same ids, and gets the logits of all rows."""
        share, rows = self.data_group.size(), ids.shape[0]
        # all processes take part with the same number of rows, however few there are
        padded = torch.cat([ids, ids[:1].expand(-rows % share, -1)])
        own = padded.chunk(share)[self.data_group.rank()]
        logits = self._gather(self._ask(own), self.tensor_group, dim=-1)
        return self._gather(logits, self.data_group, dim=0)[:rows]

    def _ask(self, ids: torch.Tensor) -> torch.Tensor:
        """This process's part of the vocabulary, [rows, length, part]. Llama and Starcoder2 take a mask and return the length first."""
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            positions = torch.arange(ids.shape[1], device=ids.device, dtype=torch.int32).expand(ids.shape)
            logits: torch.Tensor = self.model(input_ids=ids, position_ids=positions.contiguous())
            return logits.view(*ids.shape, -1).float()
        # padding is on the right, where no token of the row attends to it
        logits = self.model(input_ids=ids, input_mask=torch.ones_like(ids, dtype=torch.bool))
        return logits.transpose(0, 1).float()

    def _gather(self, part: torch.Tensor, group: Any, *, dim: int) -> torch.Tensor:
        if group.size() == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(group.size())]
        torch.distributed.all_gather(parts, part.contiguous(), group=group)
        return torch.cat(parts, dim=dim)


class ForwardModel(transformers.PreTrainedModel, transformers.GenerationMixin):  # type: ignore[misc]  # classes without types
    """A function from ids to logits as a transformers model. It has no KV cache: every call computes every token."""

    answers_with_others = True
    """Other processes take part in every call. After a failure they would take the next call for this one."""

    def __init__(self, config: Any, forward: Forward, *, device: torch.device, dtype: torch.dtype) -> None:
        # a copy without the choice of an attention implementation
        super().__init__(type(config).from_dict(config.to_dict()))
        self._ids_to_logits = forward
        # transformers reads the device and dtype of a model from its parameters
        self.anchor = torch.nn.Parameter(torch.empty(0, device=device, dtype=dtype), requires_grad=False)
        self.generation_config.use_cache = False
        self.eval()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **ignored: Any,
    ) -> CausalLMOutput:
        """Rows with a mask may be padded on the left. They are computed with padding on the right, which changes no real position."""
        shifts = None
        if attention_mask is not None:
            if attention_mask.dim() != 2:
                raise ValueError("nanotron's models take only plain rows, no mask between tokens")
            # how many padding tokens each row has on the left
            shifts = attention_mask.long().argmax(-1, keepdim=True)
            input_ids = self._shifted(input_ids, shifts)
        try:
            logits = self._ids_to_logits(input_ids)
        except RuntimeError as error:
            # no further try: the other processes wait for this one inside this call, and would take its next call for it
            raise BackendLostError(
                f"nanotron failed on {input_ids.shape[0]} rows of {input_ids.shape[1]} tokens: {first_line(error)}"
            ) from error
        if shifts is not None:
            logits = self._shifted(logits, -shifts)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutput(logits=logits[:, keep])

    @staticmethod
    def _shifted(rows: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        """Each row rolled to the left by its own number of positions."""
        places = (torch.arange(rows.shape[1], device=rows.device) + by) % rows.shape[1]
        return rows.gather(1, places) if rows.dim() == 2 else rows.gather(1, places.unsqueeze(-1).expand_as(rows))

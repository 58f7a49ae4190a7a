"""The model arguments of `--backend nanotron`: the checkpoint, Lighteval's YAML, the engine, and those of the accelerate backend."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pytest_lighteval.backends.accelerate.arguments import QUANTIZED, AccelerateArguments, EngineArguments
from pytest_lighteval.errors import UserInputError

_TRANSFORMERS_ALONE = ("compile", "attn_implementation", "quantization_config", "model_parallel", "device")
"""Arguments for loading a model with transformers."""


class NanotronArguments(EngineArguments, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `--backend nanotron`. Making one raises UserInputError for values that contradict one another."""

    checkpoint_config_path: Annotated[
        str | None, Meta(description="the config.yaml that nanotron saved with the weights, or its folder")
    ] = None
    lighteval_config_path: Annotated[
        str | None, Meta(description="Lighteval's YAML: tasks, batch size, generation, ... unless the command line sets them")
    ] = None
    engine: Annotated[
        Literal["transformers", "nanotron"],
        Meta(description="transformers: load the checkpoint here; nanotron (experimental): its own engine, under torchrun on GPUs"),
    ] = "transformers"
    tokenizer: Annotated[str | None, Meta(description="hub id or folder of the tokenizer; default: the one that the checkpoint names")] = (
        None
    )
    add_special_tokens: Annotated[
        bool, Meta(description="let the tokenizer add its special tokens to plain prompts; off, as in Lighteval's nanotron backend")
    ] = False

    def __post_init__(self) -> None:
        if not self.checkpoint_config_path:
            raise UserInputError("checkpoint_config_path is missing: name the config.yaml that nanotron saved with the weights")
        self.check_engine()
        if self.engine == "transformers":
            return
        for name in _TRANSFORMERS_ALONE:
            if getattr(self, name) not in (None, False):
                raise UserInputError(f"{name}: it belongs to engine=transformers; engine=nanotron has none")
        if self.dtype in QUANTIZED:
            raise UserInputError(
                f"dtype: {self.dtype} belongs to engine=transformers; engine=nanotron computes in float32, bfloat16 or float16"
            )

    @property
    def model(self) -> str:
        """The folder of the checkpoint's config, as the user wrote it."""
        return (self.checkpoint_config_path or "").removesuffix("/config.yaml")

    def for_accelerate(self, *, max_length: int) -> AccelerateArguments:
        """The same arguments for the accelerate backend."""
        shared = {name: getattr(self, name) for name in EngineArguments.__struct_fields__}
        return AccelerateArguments(**shared | {"max_length": max_length}, pretrained=self.model)

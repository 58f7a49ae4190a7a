"""Model arguments that several backends have: what names a model, and how its prompts are tokenized and continued.

Each is described once, here. A msgspec struct can have only one base, so the arguments that name a model are types for its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
from msgspec import Meta

from pytest_lighteval.backends.common.generation_parameters import GenerationParameters, read_parameters
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import Tokenization

Pretrained = Annotated[
    str | None,
    Meta(description="the model: hub id, local folder, .gguf file, or package:NAME for a .gguf file in an installed package"),
]
ModelName = Annotated[str | None, Meta(description="another name of `pretrained`")]
TokenizerName = Annotated[str | None, Meta(description="hub id or folder of the tokenizer; default: the model's own")]
Revision = Annotated[str, Meta(description="branch, tag or commit of a hub id")]
Subfolder = Annotated[str | None, Meta(description="folder inside the repository or folder")]
TrustRemoteCode = Annotated[bool, Meta(description="let the model's repository run its own Python code")]
MaxLength = Annotated[int | None, Meta(description="longest sequence in tokens; default: the model's own limit")]


class ModelNaming(Protocol):
    """Arguments that name a model and its tokenizer; the types above describe each."""

    @property
    def model(self) -> str:
        """What `pretrained` or `model_name` says."""

    @property
    def tokenizer(self) -> str | None: ...

    @property
    def revision(self) -> str: ...

    @property
    def subfolder(self) -> str | None: ...

    @property
    def trust_remote_code(self) -> bool: ...


def check_naming(pretrained: str | None, model_name: str | None) -> None:
    """Raise UserInputError unless one of the two names a model."""
    if pretrained and model_name:
        raise UserInputError("pretrained and model_name are two names of one argument: give one")
    if not pretrained and not model_name:
        raise UserInputError("pretrained is missing: name a hub id, a folder, a .gguf file, or package:NAME")


class PromptRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How prompts are written and continued, whatever answers them."""

    generation_parameters: Annotated[
        dict[str, Any], Meta(description="mapping: temperature, top_p, max_new_tokens, seed, ...; see docs/backends.md")
    ] = {}
    add_special_tokens: Annotated[bool, Meta(description="let the tokenizer add its special tokens to plain prompts")] = True
    use_chat_template: Annotated[bool, Meta(description="ask in the model's chat format, as --use-chat-template")] = False
    multichoice_continuations_start_space: Annotated[
        bool | None, Meta(description="true: choices get a leading space; false: they lose it; default: as the task writes them")
    ] = None


class TokenRules(PromptRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same for an engine that takes token ids and samples by `GenerationParameters`."""

    pairwise_tokenization: Annotated[bool, Meta(description="encode context and continuation apart")] = False
    tokenization: Annotated[
        Tokenization | None,
        Meta(description="lighteval or lm_eval: whose rule splits context and continuation; default: that of the task's harness"),
    ] = None

    nested: ClassVar[Mapping[str, type[msgspec.Struct]]] = {"generation_parameters": GenerationParameters}

    def generation(self) -> GenerationParameters:
        """`generation_parameters`, checked. Raises UserInputError that names the parameter."""
        return read_parameters(GenerationParameters, self.generation_parameters)

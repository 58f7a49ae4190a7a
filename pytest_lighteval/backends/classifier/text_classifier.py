"""A text classifier of transformers: how likely a label is for each text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pytest_lighteval.backends.common.fingerprints import digest_content, folder_digests
from pytest_lighteval.backends.common.model_reference import download_snapshot, resolve_reference
from pytest_lighteval.backends.common.third_party import quiet_transformers
from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.errors import BackendError, first_line


class ClassifierArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, which of its labels, where it runs."""

    model: Annotated[str, Meta(description="a folder, or a model on the hub")]
    label: Annotated[str | None, Meta(description="default: the only one whose name contains 'toxic'")] = None
    device: Annotated[str, Meta(description="cpu, cuda, cuda:1, ...")] = "cpu"


class TextClassifier:
    """A model that was fine-tuned for sequence classification, loaded at the first text."""

    def __init__(self, arguments: ClassifierArguments) -> None:
        """Raises UserInputError for a folder that is not there."""
        self.model, self._asked, self._device = arguments.model, arguments.label, arguments.device
        self._reference = resolve_reference(arguments.model, argument="model")

    @cached_property
    def _folder(self) -> Path:
        reference = self._reference
        return download_snapshot(reference.name, "main", None, code=False) if reference.path is None else reference.path

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """All that may change a probability. Raises BackendError."""
        files = folder_digests(self._folder, self._folder, self.model)
        versions = installed_versions(("torch", "transformers", "tokenizers"))
        return {"classifier": digest_content({"files": files, "versions": dict(versions), "label": self._asked}), "model": self.model}

    @cached_property
    def label(self) -> str:
        """The name of the label. Raises BackendError if it is not one of the model's."""
        names = [str(name) for name in self._loaded[0].config.id2label.values()]
        wanted = [name for name in names if (name == self._asked if self._asked else "toxic" in name.lower())]
        if len(wanted) != 1:
            asked = f"no label {self._asked!r}" if self._asked else f"{len(wanted)} labels with 'toxic' in their names"
            raise BackendError(f"{self.model}: it has {asked}; name one as label=...: {', '.join(names)}")
        return wanted[0]

    def probability(self, text: str) -> float:
        """Of the label. A text is cut at the model's length. One text at a time, so that none depends on its neighbours."""
        import torch

        model, tokenizer, most = self._loaded
        inputs = tokenizer(text, truncation=True, max_length=most, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            logits = model(**inputs).logits[0].float()
        several = model.config.problem_type == "multi_label_classification" or len(logits) == 1
        index = list(model.config.id2label.values()).index(self.label)
        return float((logits.sigmoid() if several else logits.softmax(-1))[index])

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """The model, its tokenizer, and the longest input in tokens."""
        import transformers

        with quiet_transformers():
            try:
                config = transformers.AutoConfig.from_pretrained(self._folder)
                if not any("SequenceClassification" in name for name in config.architectures or ()):
                    raise BackendError(f"{self.model}: it is a {', '.join(config.architectures or ['model'])}, and no text classifier")
                model = (
                    transformers.AutoModelForSequenceClassification.from_pretrained(self._folder, dtype="float32").to(self._device).eval()
                )
                tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise BackendError(f"{self.model}: cannot load it as a text classifier: {first_line(error)}") from error
        declared = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
        return model, tokenizer, min(length for length in declared if length)

    def close(self) -> None:
        """Let the model go."""
        self.__dict__.pop("_loaded", None)

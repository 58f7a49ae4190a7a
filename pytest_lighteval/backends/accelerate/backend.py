"""The accelerate backend. Fingerprint and length come from files and arguments; the model loads when it is first needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_lighteval.backends.accelerate.arguments import LOADING_ARGUMENTS, QUANTIZED, AccelerateArguments
from pytest_lighteval.backends.accelerate.fingerprint import RULES, fingerprint_loaded
from pytest_lighteval.backends.common.lazy_engine import LazyEngineBackend
from pytest_lighteval.backends.common.model_folder import Folders, NamedFolders, declared_length, read_max_length
from pytest_lighteval.backends.common.spellings import with_own_names, without_nones
from pytest_lighteval.common.versions import require
from pytest_lighteval.errors import UserInputError

if TYPE_CHECKING:  # torch and transformers, which importing a backend must not cost
    from pytest_lighteval.backends.accelerate.engine import TransformersEngine
    from pytest_lighteval.backends.accelerate.loading import LoadedModel
    from pytest_lighteval.backends.common.prompt_tokenizer import PromptTokenizer


class AccelerateBackend(LazyEngineBackend["TransformersEngine"]):
    """A transformers model in this process, as a `Backend`. One process, one model; docs/backends/accelerate.md explains its arguments."""

    Arguments: type[msgspec.Struct] = AccelerateArguments
    arguments: AccelerateArguments
    cacheable = True
    cached_apart = ("batch_size",)
    computes_on_cpu = True
    name = "accelerate"
    packages = ("torch", "transformers")

    def __init__(self, arguments: AccelerateArguments, *, given: tuple[Any, Any] | None = None, folders: Folders | None = None) -> None:
        """`folders` hold a model that the arguments do not name; `pretrained` is then its name in messages."""
        super().__init__(arguments, None if given is not None else folders or NamedFolders(arguments))
        self._given = given
        """A model and a tokenizer in memory. None: the arguments name them."""

    @classmethod
    def from_model(cls, model: Any, tokenizer: Any, **arguments: Any) -> AccelerateBackend:
        """A backend around a transformers model in memory, on its device and in its dtype.

        Takes the arguments for running and tokenizing (`batch_size`, `max_length`, ...); those for loading raise UserInputError. The
        fingerprint digests the weights once, when it is first read, so make a new backend after more training. `close` drops the model
        and leaves it to its owner.
        """
        running = without_nones(with_own_names(arguments, AccelerateArguments), AccelerateArguments)
        for name in running:
            if name in LOADING_ARGUMENTS:
                raise UserInputError(f"{name}: the model is loaded already")
        name = getattr(model.config, "name_or_path", "") or type(model).__name__
        try:
            return cls(msgspec.convert({"pretrained": name, **running}, AccelerateArguments), given=(model, tokenizer))
        except msgspec.ValidationError as error:
            raise UserInputError(str(error)) from error

    @cached_property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`. `batch_size` is no part of it: it only changes rounding."""
        if self._given is not None:
            return fingerprint_loaded(*self._given, self.arguments)
        return RULES.of_folder(self._folders.model, self._folders.tokenizer, self.arguments)

    @cached_property
    def max_length(self) -> int:
        """The `max_length` argument, else what the model's configuration declares, else 2048 (Lighteval's rule)."""
        if self.arguments.max_length is not None:
            return self.arguments.max_length
        if self._given is not None:
            return declared_length(self._given[0].config)
        return read_max_length(self._folders.model, self.arguments.model, trust_remote_code=self.arguments.trust_remote_code)

    def _check_devices(self) -> None:
        arguments = self.arguments
        if arguments.dtype in QUANTIZED or arguments.quantization_config:
            require("bitsandbytes", extra="quantized")
        if arguments.device is not None and str(arguments.device) != "cpu":
            from pytest_lighteval.backends.accelerate.devices import choose_device

            choose_device(str(arguments.device))

    def close(self) -> None:
        """See `Backend.close`."""
        was_loaded = "_engine" in self.__dict__
        self._given = None
        super().close()
        if was_loaded:
            from pytest_lighteval.backends.accelerate.memory import free_memory

            free_memory()

    def _known(self) -> dict[str, Any]:
        arguments = self.arguments
        facts: dict[str, Any] = {
            "model": arguments.model,
            "dtype": arguments.dtype or "auto",
            "device": arguments.device or "auto",
            "batch_size": arguments.batch_size,
            "versions": RULES.versions(),
        }
        if arguments.dtype in QUANTIZED or arguments.quantization_config:
            facts["quantization"] = arguments.quantization_config or arguments.dtype
        return facts

    def _given_tokenizer(self) -> Any | None:
        return None if self._given is None else self._given[1]

    def _load_model(self) -> LoadedModel:
        from pytest_lighteval.backends.accelerate.loading import adopt_model, load_model

        if self._given is not None:
            return adopt_model(self._given[0])
        self._check_devices()  # `check` is the plugin's: other callers may ask at once
        return load_model(self._folders.model, self.arguments)

    def _make_engine(self, tokenizer: PromptTokenizer) -> TransformersEngine:
        from pytest_lighteval.backends.accelerate.engine import TransformersEngine

        return TransformersEngine(tokenizer, self._load_model(), self.arguments, self.max_length)

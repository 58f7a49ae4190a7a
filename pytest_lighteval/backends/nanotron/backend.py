"""The nanotron backend: a checkpoint that runs as a transformers model or, experimentally, in nanotron's own engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.accelerate.fingerprint import RULES
from pytest_lighteval.backends.common.fingerprints import small_file_digests
from pytest_lighteval.backends.common.model_reference import ModelReference, download_snapshot, resolve_reference
from pytest_lighteval.backends.nanotron.architecture import Architecture, read_architecture
from pytest_lighteval.backends.nanotron.arguments import NanotronArguments
from pytest_lighteval.backends.nanotron.checkpoint import Checkpoint, Parallelism, read_checkpoint
from pytest_lighteval.backends.nanotron.conversion import CONVERTER, converted_folder, digest_checkpoint
from pytest_lighteval.backends.nanotron.lighteval_config import read_lighteval_config, read_lighteval_parallelism
from pytest_lighteval.backends.nanotron.ranks import check_nanotron, check_processes
from pytest_lighteval.backends.protocol import SessionDefaults
from pytest_lighteval.common.versions import installed_versions
from pytest_lighteval.errors import BackendError, UserInputError

if TYPE_CHECKING:  # torch, which importing a backend must not cost
    from pytest_lighteval.backends.accelerate.loading import LoadedModel


class NanotronBackend(AccelerateBackend):
    """A nanotron checkpoint as a `Backend`; docs/backends/nanotron.md explains its arguments. The accelerate backend answers."""

    Arguments = NanotronArguments
    name = "nanotron"

    def __init__(self, arguments: NanotronArguments) -> None:
        """Reads only the checkpoint's small files. Raises UserInputError for a checkpoint that is missing or that it cannot load."""
        self._checkpoint = read_checkpoint(arguments.checkpoint_config_path or "")
        self._architecture = read_architecture(self._checkpoint)
        folders = CheckpointFolders(self._checkpoint, self._architecture, arguments.tokenizer)
        super().__init__(arguments.for_accelerate(max_length=arguments.max_length or self._architecture.max_length), folders=folders)
        self._nanotron = arguments
        # with several processes, one must not find in the cache what the others compute: they would wait for it
        self.cacheable = arguments.engine == "transformers"

    @staticmethod
    def session_defaults(written: Mapping[str, Any]) -> SessionDefaults:
        """What Lighteval's YAML says about the session. Checks the processes and the nanotron of `engine=nanotron`.

        Raises UserInputError, and BackendError for a nanotron that cannot be imported.
        """
        runs_nanotron = written.get("engine") == "nanotron"
        path = written.get("lighteval_config_path")
        defaults = SessionDefaults() if path is None else read_lighteval_config(str(path), uses_parallelism=runs_nanotron)
        if not runs_nanotron:
            return defaults
        checkpoint = read_checkpoint(str(written.get("checkpoint_config_path", "")))
        parallelism = check_processes(_read_parallelism(path, checkpoint), str(path or checkpoint.config))
        check_nanotron()
        return dataclasses.replace(defaults, processes=parallelism.processes)

    @cached_property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`. It covers the content of every shard, not its path."""
        try:
            tokenizer = small_file_digests(self._folders.tokenizer)
        except OSError as error:
            raise BackendError(f"{self.arguments.model}: cannot read {error.filename}: {error.strerror}") from error
        checkpoint = digest_checkpoint(self._checkpoint, self._architecture)
        content: dict[str, Any] = {"checkpoint": checkpoint, "converter": CONVERTER, "tokenizer": tokenizer}
        if self._parallelism is not None:
            content["nanotron"] = [installed_versions(("nanotron",)).get("nanotron"), self._parallelism.data, self._parallelism.tensor]
        return RULES.of_content(content, self.arguments)

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`. Loads nothing."""
        facts = {**super().describe(), "max_length": self.max_length, "runs_on": self._nanotron.engine}
        facts["checkpoint_format"] = self._checkpoint.version
        if self._parallelism is not None:
            facts |= {"processes": self._parallelism.processes, "nanotron": installed_versions(("nanotron",)).get("nanotron")}
        return facts

    @cached_property
    def _parallelism(self) -> Parallelism | None:
        """None: one process runs it with transformers."""
        if self._nanotron.engine == "transformers":
            return None
        return _read_parallelism(self._nanotron.lighteval_config_path, self._checkpoint)

    def _load_model(self) -> LoadedModel:
        """See `AccelerateBackend`. With nanotron's engine, all processes take part."""
        if self._nanotron.engine == "transformers":
            return super()._load_model()
        from pytest_lighteval.backends.accelerate.loading import adopt_model
        from pytest_lighteval.backends.nanotron.engine import load_checkpoint

        if self._parallelism is None:
            raise BackendError(f"{self.arguments.model}: engine=nanotron needs a parallelism with dp, tp and pp, and its config has none")
        return adopt_model(load_checkpoint(self._checkpoint, self._architecture, self._parallelism, self.arguments.dtype))


class CheckpointFolders:
    """The folders of the converted checkpoint and of its tokenizer."""

    revision = None

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, tokenizer: str | None) -> None:
        """`tokenizer` is the user's choice. Raises UserInputError for one that is missing."""
        self._checkpoint, self._architecture = checkpoint, architecture
        self._reference, self._tokenizer_revision = _find_tokenizer(checkpoint, tokenizer)

    @cached_property
    def model(self) -> Path:
        """Converted if it never was. Raises BackendError."""
        return converted_folder(self._checkpoint, self._architecture)

    @cached_property
    def tokenizer(self) -> Path:
        """Downloaded if it never was. Raises BackendError."""
        if self._reference.path is not None:
            return self._reference.path
        return download_snapshot(self._reference.name, self._tokenizer_revision, None, weights=False)


def _find_tokenizer(checkpoint: Checkpoint, chosen: str | None) -> tuple[ModelReference, str]:
    """The tokenizer and its revision: the user's choice, else what the checkpoint names."""
    if chosen is None and checkpoint.tokenizer is None:
        raise UserInputError(f"{checkpoint.config}: tokenizer.tokenizer_name_or_path: missing; name one: tokenizer=<hub id or folder>")
    if chosen is not None:
        reference, revision = resolve_reference(chosen, argument="tokenizer"), "main"
    else:
        argument = f"{checkpoint.config}: tokenizer.tokenizer_name_or_path"
        try:
            reference, revision = resolve_reference(str(checkpoint.tokenizer), argument=argument), checkpoint.tokenizer_revision
        except UserInputError as error:
            # a path on the machine where it was trained
            raise UserInputError(f"{error}; name another: tokenizer=<hub id or folder>") from error
    if reference.kind == "gguf":
        raise UserInputError("tokenizer: name a hub id or a folder, not a .gguf file")
    return reference, revision


def _read_parallelism(lighteval_config: str | None, checkpoint: Checkpoint) -> Parallelism | None:
    """The parallelism in Lighteval's YAML, else that of the training."""
    evaluation = None if lighteval_config is None else read_lighteval_parallelism(lighteval_config)
    return evaluation or checkpoint.parallelism

"""`--backend accelerate`: a transformers model in this process. Importing it imports neither torch nor transformers."""

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments
from pytest_lighteval.backends.accelerate.backend import AccelerateBackend
from pytest_lighteval.backends.common.generation_parameters import GenerationParameters

__all__ = ["AccelerateArguments", "AccelerateBackend", "GenerationParameters"]

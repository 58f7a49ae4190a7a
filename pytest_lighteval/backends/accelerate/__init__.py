"""`--backend accelerate`: a transformers model in this process. Importing it imports neither torch nor transformers."""

from pytest_lighteval.backends.accelerate.arguments import AccelerateArguments, GenerationParameters
from pytest_lighteval.backends.accelerate.backend import AccelerateBackend

__all__ = ["AccelerateArguments", "AccelerateBackend", "GenerationParameters"]

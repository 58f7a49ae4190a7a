"""`--backend nanotron`: a nanotron checkpoint. Importing it imports neither torch nor nanotron."""

from pytest_lighteval.backends.nanotron.arguments import NanotronArguments
from pytest_lighteval.backends.nanotron.backend import NanotronBackend

__all__ = ["NanotronArguments", "NanotronBackend"]

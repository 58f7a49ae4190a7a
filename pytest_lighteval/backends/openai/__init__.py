"""`--backend openai`: a server that speaks the OpenAI protocol, asked over HTTP. Importing it imports no HTTP client."""

from pytest_lighteval.backends.openai.arguments import OpenAIArguments
from pytest_lighteval.backends.openai.backend import OpenAIBackend

__all__ = ["OpenAIArguments", "OpenAIBackend"]

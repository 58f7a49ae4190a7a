"""`--backend vllm`: a model in vLLM's engine. Importing it imports neither torch nor vllm."""

from pytest_lighteval.backends.vllm.arguments import VllmArguments
from pytest_lighteval.backends.vllm.backend import VllmBackend

__all__ = ["VllmArguments", "VllmBackend"]

"""What teams bring along from other harnesses: thresholds become gates, recorded runs become baselines."""

from pytest_lighteval.baselines.importers.gates import ImportedGates, render_gates, tensorrt_gates, vllm_gates
from pytest_lighteval.baselines.importers.lm_eval import ImportedBaseline, lm_eval_baseline

__all__ = ["ImportedBaseline", "ImportedGates", "lm_eval_baseline", "render_gates", "tensorrt_gates", "vllm_gates"]

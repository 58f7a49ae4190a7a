"""What task modules import of Lighteval, served without it, and only while such a module is loaded."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from pytest_lighteval.errors import did_you_mean
from pytest_lighteval.guests.lighteval import corpus_metrics as corpus
from pytest_lighteval.guests.lighteval import dynamic_metrics as dynamic
from pytest_lighteval.guests.lighteval import metric_objects as objects
from pytest_lighteval.guests.lighteval import sample_metrics as samples
from pytest_lighteval.guests.lighteval import templates
from pytest_lighteval.guests.lighteval.config import LightevalTaskConfig
from pytest_lighteval.guests.lighteval.default_prompts import default_prompt
from pytest_lighteval.guests.lighteval.documents import LightevalDoc, as_list
from pytest_lighteval.guests.lighteval.judges import JudgeLLM, JudgeLM
from pytest_lighteval.guests.lighteval.known_metrics import known_metric
from pytest_lighteval.guests.lighteval.languages import make_language
from pytest_lighteval.guests.lighteval.metric_names import extend_enum, make_names
from pytest_lighteval.metrics import normalizers

PACKAGES = ("lighteval", "aenum", "inspect_ai")
"""Packages that are served. What is installed of them is not used meanwhile, and is there again afterwards."""

Names = Mapping[str, Any] | Callable[[str], Any]
"""What a module has: values by name, or what looks a name up and raises AttributeError."""


def served() -> dict[str, Names]:
    """Module -> what it has. New for each module that is loaded, as modules may add to it."""
    metrics = _metrics()
    judges: dict[str, Any] = {"JudgeLM": JudgeLM, "JudgeLLM": JudgeLLM}
    return {
        "lighteval": {},
        "lighteval.metrics": metrics,
        "lighteval.metrics.dynamic_metrics": _DYNAMIC,
        "lighteval.metrics.llm_as_judge": judges,
        "lighteval.metrics.metrics": metrics,
        "lighteval.metrics.metrics_corpus": _CORPUS,
        "lighteval.metrics.metrics_sample": {**_SAMPLES, **judges},
        "lighteval.metrics.normalizations": _NORMALIZATIONS,
        "lighteval.metrics.sample_preparator": _PREPARATORS,
        "lighteval.metrics.utils": {},
        "lighteval.metrics.utils.extractive_match_utils": _TARGETS,
        "lighteval.metrics.utils.llm_as_judge": judges,
        "lighteval.metrics.utils.metric_utils": metrics,
        "lighteval.models": {},
        "lighteval.models.model_output": {"ModelResponse": objects.ModelResponse},
        "lighteval.tasks": {},
        "lighteval.tasks.default_prompts": default_prompt,
        "lighteval.tasks.extended": {},
        "lighteval.tasks.extended.ifeval": {},
        "lighteval.tasks.extended.ifeval.instructions_registry": {},
        "lighteval.tasks.extended.ifeval.main": {"ifeval_metrics": known_metric("ifeval_metric")},
        "lighteval.tasks.lighteval_task": {
            "LightevalTaskConfig": LightevalTaskConfig,
            "Doc": LightevalDoc,
            "TextGenerationInputGrammarType": _Anything,
        },
        "lighteval.tasks.requests": {"Doc": LightevalDoc, "SamplingMethod": objects.SamplingMethod},
        "lighteval.tasks.multilingual": {},
        "lighteval.tasks.multilingual.utils": {},
        "lighteval.tasks.multilingual.utils.task_utils": _public(templates, "get_metrics_for_formulation", "normalize_subset"),
        "lighteval.tasks.templates": {},
        "lighteval.tasks.templates.utils": {},
        "lighteval.tasks.templates.utils.formulation": {
            **_public(templates, "CFFormulation", "HybridFormulation", "MCFFormulation"),
            "Formulation": templates.AnyFormulation,
        },
        **{f"lighteval.tasks.templates.{name}": _public(templates, function) for name, function in _TEMPLATES.items()},
        "lighteval.utils": {},
        "lighteval.utils.imports": {"requires": _requires, "is_package_available": _is_installed},
        "lighteval.utils.language": {"Language": make_language()},
        "lighteval.utils.utils": {"as_list": as_list, "ListLike": Sequence},
        "aenum": {"extend_enum": extend_enum},
    }


_TEMPLATES = {
    "multichoice": "get_mcq_prompt_function",
    **{name: f"get_{name}_prompt_function" for name in ("boolq", "continuation", "copa", "hellaswag", "nli", "qa", "translation")},
}


def _public(module: ModuleType, *names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names}


def _metrics() -> dict[str, Any]:
    return {
        **_public(objects, "MetricCategory", "MetricUseCase", "SamplingMethod", "SampleLevelMetric", "CorpusLevelMetric"),
        **_public(objects, "SampleLevelMetricGrouping", "CorpusLevelMetricGrouping"),
        **_public(objects, "SampleLevelComputation", "CorpusLevelComputation", "Preparator"),
        "Metric": objects.MetricObject,
        "MetricGrouping": objects.MetricObject,
        "Metrics": make_names(),
        # of newer Lighteval's second way to run a task
        "math_scorer": _unused,
        "multichoice_scorer": _unused,
    }


_TARGETS = _public(dynamic, "ExprExtractionConfig", "IndicesExtractionConfig", "LatexExtractionConfig")
_LOGPROBS = _public(samples, "LogProbCharNorm", "LogProbPMINorm", "LogProbTokenNorm", "normalize_log_probs")
_DYNAMIC = {
    **_TARGETS,
    **_public(dynamic, "loglikelihood_acc_metric", "normalized_multi_choice_prob_metric", "probability_metric"),
    **_public(dynamic, "multilingual_quasi_f1_score_metric", "multilingual_quasi_exact_match_metric"),
    "multilingual_extractive_match_metric": dynamic.multilingual_extractive_match_metric,
    # the same, as newer Lighteval spells them
    "LogLikelihoodAccMetric": dynamic.loglikelihood_acc_metric,
    "NormalizedMultiChoiceProbMetric": dynamic.normalized_multi_choice_prob_metric,
    "ProbabilityMetric": dynamic.probability_metric,
    "MultilingualQuasiF1ScoreMetric": dynamic.multilingual_quasi_f1_score_metric,
    "MultilingualQuasiExactMatchMetric": dynamic.multilingual_quasi_exact_match_metric,
    "MultilingualExtractiveMatchMetric": dynamic.MultilingualExtractiveMatch,
}
_SAMPLES = {
    **_public(samples, "ExactMatches", "F1_score", "LoglikelihoodAcc", "NormalizedMultiChoiceProbability", "Probability", "Recall", "MRR"),
    **_public(samples, "AccGoldLikelihood", "acc_golds_likelihood", "AvgAtN", "MajAtN", "PassAtK", "GPassAtK"),
    "MajAtK": samples.MajAtN,
    "SampleLevelComputation": objects.SampleLevelComputation,
}
_PREPARATORS = {
    **_public(corpus, "GenerativeCorpusMetricInput", "LogprobCorpusMetricInput", "PerplexityCorpusMetricInput"),
    **_public(corpus, "GenerativePreparator", "LoglikelihoodPreparator", "PerplexityPreparator", "TargetPerplexityPreparator"),
    "Preparator": objects.Preparator,
}
_CORPUS = {
    **_public(corpus, "CorpusLevelF1Score", "CorpusLevelPerplexityMetric", "CorpusLevelTranslationMetric", "MatthewsCorrCoef"),
    "matthews_corrcoef": corpus.matthews_corrcoef,
    "CorpusLevelComputation": objects.CorpusLevelComputation,
}
_NORMALIZATIONS = {
    **_LOGPROBS,
    "helm_normalizer": normalizers.helm,
    "harness_triviaqa_normalizer": normalizers.triviaqa,
    "bigbench_normalizer": normalizers.bigbench,
    "remove_braces": normalizers.remove_braces,
    "remove_braces_and_strip": normalizers.remove_braces_and_strip,
    # a text without an answer is no answer here, and these two texts there
    "math_normalizer": lambda text: normalizers.math(text) or "",
    "gsm8k_normalizer": lambda text: normalizers.gsm8k(text) or "[invalid]",
}


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _requires(*_: str) -> Callable[[Any], Any]:
    """Marks what needs a package; a package that is missing is told by whoever uses it."""
    return lambda wrapped: wrapped


def _unused(*_: Any, **__: Any) -> None:
    """Takes the place of what only newer Lighteval's second way to run a task would use."""


class _Served(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of `served`, and no other of these packages."""

    def __init__(self, modules: Mapping[str, Names]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package not in PACKAGES:
            return None
        if package != "inspect_ai" and fullname not in self._modules:
            raise ModuleNotFoundError(f"{fullname} is not served without Lighteval{did_you_mean(fullname, self._modules)}", name=fullname)
        return importlib.util.spec_from_loader(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        names = self._modules.get(module.__name__, _anything)
        if isinstance(names, Mapping):
            vars(module).update(names)
        else:
            module.__getattr__ = names  # type: ignore[method-assign] # PEP 562


class _Anything:
    """Can be called, derived from and asked for members, and does nothing: what inspect-ai's names are here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        # as a decorator it leaves what it decorates
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def _anything(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (_Anything,), {}) if name[:1].isupper() else _Anything()


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Serve the stand-ins inside of this context. What was imported of these packages before is hidden there, and back afterwards."""
    finder = _Served(served())
    hidden = _take_out()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _take_out()
        sys.modules.update(hidden)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}

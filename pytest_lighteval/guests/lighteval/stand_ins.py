"""What task modules import of Lighteval, served without it, and only while such a module is loaded."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from pytest_lighteval.guests.lighteval import metric_objects as objects
from pytest_lighteval.guests.lighteval.config import LightevalTaskConfig
from pytest_lighteval.guests.lighteval.documents import LightevalDoc, as_list
from pytest_lighteval.guests.lighteval.known_metrics import extend_enum, make_names
from pytest_lighteval.guests.lighteval.own_metrics import ModelResponse
from pytest_lighteval.metrics import normalizers

PACKAGES = ("lighteval", "aenum")
"""Packages that are served. What is installed of them is not used, and is there again afterwards."""

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_METRIC_CLASSES = {
    name: getattr(objects, name)
    for name in (
        *("MetricCategory", "MetricUseCase", "SamplingMethod", "SampleLevelMetric", "CorpusLevelMetric"),
        *("SampleLevelMetricGrouping", "CorpusLevelMetricGrouping", "SampleLevelComputation", "CorpusLevelComputation", "Preparator"),
    )
} | {"Metric": objects.MetricObject, "MetricGrouping": objects.MetricObject}


def served() -> dict[str, dict[str, Any]]:
    """Module -> what it has, by name. New for each module that is loaded, as modules may add to it."""
    names = make_names()
    metrics = {**_METRIC_CLASSES, "Metrics": names}
    documents = {"Doc": LightevalDoc, "SamplingMethod": objects.SamplingMethod}
    configs = {"LightevalTaskConfig": LightevalTaskConfig, "Doc": LightevalDoc}
    utils = {"as_list": as_list}
    return {
        "lighteval": {},
        "lighteval.metrics": metrics,
        "lighteval.metrics.metrics": metrics,
        "lighteval.metrics.utils": {},
        "lighteval.metrics.utils.metric_utils": metrics,
        "lighteval.metrics.normalizations": _normalizations(),
        "lighteval.models": {},
        "lighteval.models.model_output": {"ModelResponse": ModelResponse},
        "lighteval.tasks": {},
        "lighteval.tasks.lighteval_task": configs,
        "lighteval.tasks.requests": documents,
        "lighteval.tasks.default_prompts": {"LETTER_INDICES": list(LETTERS)},
        "lighteval.utils": {},
        "lighteval.utils.utils": utils,
        "aenum": {"extend_enum": extend_enum},
    }


def _normalizations() -> dict[str, Any]:
    return {
        "helm_normalizer": normalizers.helm,
        "harness_triviaqa_normalizer": normalizers.triviaqa,
        "bigbench_normalizer": normalizers.bigbench,
        "remove_braces": normalizers.remove_braces,
        "remove_braces_and_strip": normalizers.remove_braces_and_strip,
        "math_normalizer": lambda text: normalizers.math(text) or "",
        "gsm8k_normalizer": lambda text: normalizers.gsm8k(text) or "[invalid]",
    }


class _Served(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of `served`, and no other of these packages."""

    def __init__(self, modules: Mapping[str, Mapping[str, Any]]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        if fullname not in self._modules:
            raise ModuleNotFoundError(f"{fullname} is not served without Lighteval", name=fullname)
        return importlib.util.spec_from_loader(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self._modules[module.__name__])


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

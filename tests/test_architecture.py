"""The claims of docs/ARCHITECTURE.md about who imports whom, held against the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import ROOT

PACKAGE = ROOT / "pytest_lighteval"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

LOWEST = {"types", "errors", "statistics", "templates", "files", "threads", "devices", "versions", "yamlnodes"}
"""Anyone may import these; they import only one another."""
EDGE = ("plugin/", "testing.py")
HEAVY = {
    "torch",
    "transformers",
    "accelerate",
    "vllm",
    "nanotron",
    "ray",
    "gguf",
    "safetensors",
    "tokenizers",
    "bitsandbytes",
    "openai",
}
ON_TOP = {
    "evaluate.py",
    "judging/plan.py",
    "judging/comparing.py",
    "judging/verdicts.py",
    "judging/session.py",
    "judging/looks.py",
    "judging/foresight.py",
    "judging/calibration.py",
}
"""Modules that bring the independent ones together."""


def imports(path: Path, *, at_the_top: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """`metrics` for `metrics/generative.py`, `gate` for `gate.py`."""
    return module.partition("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith(EDGE)])
def test_only_the_plugin_edge_imports_pytest(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(PACKAGE / module)} & {"pytest", "_pytest", "xdist", "pluggy"}


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("backends/")])
def test_only_backends_import_an_engine(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(PACKAGE / module)} & HEAVY


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ON_TOP and not module.startswith((*EDGE, "__init__.py"))])
def test_independent_parts_share_only_the_lowest_layer(module: str) -> None:
    own = part(module)
    known = {part(other) for other in MODULES} | {"suiteschema", "suitelines"}
    others = {
        name.split(".")[1] for name in imports(PACKAGE / module) if name.startswith("pytest_lighteval.") and name.split(".")[1] in known
    }

    allowed = LOWEST | {own} | FAMILIES.get(own, set())
    assert others <= (LOWEST if own in LOWEST else allowed)


FAMILIES = {"data": {"prepared", "revisions"}, "suitefile": {"suitelines", "suiteschema"}, "suiteschema": {"suitefile", "suitelines"}}
"""Parts of one story in several files."""


def test_no_module_uses_a_private_name_of_pytest() -> None:
    assert not [name for module in MODULES for name in imports(PACKAGE / module) if name.startswith("_pytest")]

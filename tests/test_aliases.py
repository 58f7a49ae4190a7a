"""Names that moved are found at their old places until 0.2, and say where they are now."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pytest

from pytest_lighteval.prompts.documents import RenderedDocs, render_docs
from pytest_lighteval.types import PromptTemplate, Task
from tests.shared import ROOT

MOVED = {
    "pytest_lighteval.reasoning": "pytest_lighteval.prompts.reasoning",
    "pytest_lighteval.backends.answer_store": "pytest_lighteval.backends.cache.answer_store",
    "pytest_lighteval.adapters.coqa": "pytest_lighteval.prompts.adapters.coqa",
}
WARNED = {**MOVED, "pytest_lighteval.adapters.coqa": "pytest_lighteval.prompts.adapters"}


@pytest.fixture(autouse=True)
def _imported_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith((*MOVED, "pytest_lighteval.adapters")):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_gives_the_very_same_objects_and_a_warning_that_says_the_new_one(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"moved to {WARNED[old]}, the old name goes with 0.2"):
        before = importlib.import_module(old)

    now = importlib.import_module(MOVED[old])
    # what is new since the move is at its place alone
    defined = [name for name, value in vars(now).items() if getattr(value, "__module__", None) == MOVED[old] and name[0] != "_"]
    public = getattr(before, "__all__", defined)
    assert set(public) & set(defined)
    assert {name: id(getattr(before, name)) for name in public} == {name: id(getattr(now, name)) for name in public}


def test_a_suite_with_the_old_name_of_an_adapter_has_the_same_documents() -> None:
    def documents(package: str) -> RenderedDocs:
        prompt = PromptTemplate(query="{{ text }}", adapter=f"{package}.wikitext:detokenize")
        task = Task(suite="s", name="t", prompt=prompt, metrics=(), path=Path("s.yaml"), line=7)
        return render_docs(task, [(0, {"page": "one @-@ third , or 1 @.@ 3"})], "test")

    with pytest.warns(DeprecationWarning, match="s|t: prompt.adapter: .* moved to pytest_lighteval.prompts.adapters") as warned:
        renamed = documents("pytest_lighteval.adapters")

    assert [(warning.filename, warning.lineno) for warning in warned] == [("s.yaml", 7)]
    assert renamed == documents("pytest_lighteval.prompts.adapters")
    assert renamed.docs[0].query == "one-third, or 1.3"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert documents("pytest_lighteval.adapters") == renamed


@pytest.mark.parametrize("old", ["pytest_lighteval.reasoning", "pytest_lighteval.backends.answer_store", "pytest_lighteval.adapters"])
def test_neither_the_package_nor_a_shipped_suite_names_an_old_place(old: str) -> None:
    files = [path for folder in ("pytest_lighteval", "suites", "benchmarks") for path in (ROOT / folder).rglob("*")]
    places = {path.relative_to(ROOT) for path in files if path.suffix in (".py", ".yaml") and old in path.read_text("utf-8")}

    assert places <= {Path(f"{old.replace('.', '/')}{suffix}") for suffix in (".py", "/__init__.py")}

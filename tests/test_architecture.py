"""The claims of docs/ARCHITECTURE.md about who imports whom, compared with the source itself."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pytest_lighteval
from tests.shared import ROOT

PACKAGE = ROOT / "pytest_lighteval"
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
ENGINES = {"accelerate": {"accelerate"}, "vllm": {"vllm"}, "openai": {"openai", "httpx"}, "nanotron": {"nanotron"}}
"""Packages that belong to one backend."""
SHARED_ENGINES = {"torch", "transformers", "tokenizers", "safetensors", "gguf", "bitsandbytes", "ray", "llama_cpp"}
"""Packages that several backends run models with."""
FACES = {"__init__.py", "testing.py", "reasoning.py", "backends/answer_store.py"}
"""Files beside packages' own `__init__.py` whose names users import; the last two are old places, until 0.2."""
EVERY_RUN = {"plugin/__init__.py", "plugin/options.py", "plugin/torchrun.py", "plugin/workers.py"}
"""Imported by every pytest run on the machine, so that they import their own heavy modules late."""


def module_of(path: Path) -> str:
    """`pytest_lighteval.types` for its `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for folder in ("pytest_lighteval", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))}
OURS = {name: path.relative_to(PACKAGE).as_posix() for name, path in FILES.items() if path.is_relative_to(PACKAGE)}


@cache
def statements(path: Path) -> tuple[tuple[ast.Import | ast.ImportFrom, bool], ...]:
    """Every import of a file, and whether it is at the top (not in a function, nor for type checkers alone)."""
    tree = ast.parse(path.read_text("utf-8"))
    top = {id(node) for node in tree.body}
    return tuple((node, id(node) in top) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def imported(path: Path, *, at_the_top: bool | None = None) -> Iterator[str]:
    """Full names of what a file imports: of modules of ours the module, of others the name as it is written."""
    for node, is_top in statements(path):
        if at_the_top is not None and is_top != at_the_top:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else node.module


def packages_of(path: Path) -> set[str]:
    """The top names of all that a file imports."""
    return {name.partition(".")[0] for name in imported(path)}


def room_of(module: str) -> str:
    """The row of the table that a module belongs to: `backends/common`, `metrics`, `errors`."""
    parts = OURS[module].removesuffix(".py").split("/")
    if parts[0] == "backends" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0] if len(parts) > 1 or parts[0] != "__init__" else ""


def table() -> dict[str, set[str]]:
    """The rows of "Who may import whom": package -> packages, in the page's order."""
    section = PAGE.read_text("utf-8").partition("## Who may import whom")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    return {name: set(re.findall(r"`([^`]+)`", allowed)) for names, _, allowed in rows for name in re.findall(r"`([^`]+)`", names)}


def test_no_file_imports_itself_in_a_circle() -> None:
    """All imports count, those in functions and for type checkers too."""
    graph = {name: {other for other in imported(path) if other in FILES and other != name} for name, path in FILES.items()}

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_table_names_every_package_and_each_row_imports_lower_ones_alone() -> None:
    rows = list(table())

    assert set(rows) == {room_of(module) for module in OURS if room_of(module)} - {"adapters", "reasoning"}
    for place, name in enumerate(rows):
        assert table()[name] <= set(rows[place + 1 :]), name


@pytest.mark.parametrize("module", [module for module in OURS if room_of(module) not in ("", "adapters", "reasoning")])
def test_a_module_imports_what_its_row_allows(module: str) -> None:
    room = room_of(module)
    others = {room_of(name) for name in imported(FILES[module]) if name in OURS} - {room, ""}
    if FILES[module].name == "answer_store.py" and room == "backends":  # the old place of a module, until 0.2
        others -= {"backends/cache"}

    assert others <= table()[room]


@pytest.mark.parametrize("module", [module for module in OURS if room_of(module) not in ("plugin", "testing")])
def test_only_the_plugin_imports_pytest(module: str) -> None:
    assert not packages_of(FILES[module]) & {"pytest", "_pytest", "xdist", "pluggy"}


@pytest.mark.parametrize("module", sorted(OURS))
def test_only_a_backend_imports_its_engine(module: str) -> None:
    room = room_of(module)
    theirs = {name for backend, names in ENGINES.items() if room != f"backends/{backend}" for name in names}
    if not room.startswith("backends"):
        theirs |= SHARED_ENGINES

    assert not packages_of(FILES[module]) & theirs


def test_no_module_uses_a_private_name_of_pytest() -> None:
    assert not [module for module, path in FILES.items() for name in imported(path) if name.startswith("_pytest")]


@pytest.mark.parametrize("module", sorted(OURS))
def test_only_public_faces_list_their_names(module: str) -> None:
    path = FILES[module]
    lists = any(
        isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
        for node in ast.parse(path.read_text("utf-8")).body
    )

    assert not lists or path.name == "__init__.py" or OURS[module] in FACES


@cache
def third_party(module: str) -> frozenset[str]:
    """Packages of others that importing a module of ours imports, through whatever it imports at the top."""
    seen, waiting, found = set(), [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in FILES:
            continue
        seen.add(name)
        for other in imported(FILES[name], at_the_top=True):
            waiting.append(other)
            found.add(other.partition(".")[0])
    return frozenset(found - set(sys.stdlib_module_names) - {"pytest_lighteval", "benchmarks"})


def test_an_import_in_a_function_spares_the_import_of_something_heavy() -> None:
    """It hides no circle, and a module that costs nothing is imported at the top."""
    needless = []
    for module, short in OURS.items():
        for node, is_top in statements(FILES[module]):
            if is_top or short in EVERY_RUN or node in for_type_checkers(FILES[module]):
                continue
            name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            targets = [name, *(f"{name}.{alias.name}" for alias in node.names)]
            ours = [target for target in targets if target in OURS]
            if ours and not any(third_party(target) - third_party(module) for target in ours):
                needless.append(f"{short}:{node.lineno}: {ours[-1]}")

    assert needless == []


def for_type_checkers(path: Path) -> list[ast.stmt]:
    """The statements below `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text("utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"]
    lines = {statement.lineno for node in found for statement in node.body}
    return [node for node, _ in statements(path) if node.lineno in lines]


def test_no_import_is_relative() -> None:
    """The checks above read absolute names."""
    assert not [name for name, path in FILES.items() for node, _ in statements(path) if isinstance(node, ast.ImportFrom) and node.level]


# -------------------------------------------------------------------------------------------------------- what pages say


def test_the_page_names_every_module_and_no_other() -> None:
    """Families of many modules of one kind (metrics, adapters, importers, reports) are named as a whole."""
    section = PAGE.read_text("utf-8").partition("## The modules")[2].partition("\n## ")[0]
    named: set[str] = set()
    for line in section.splitlines()[4:]:
        folder = ""
        for name in re.findall(r"`([a-z_/]+)`", line.strip("|").split(" | ")[0]):
            if name.endswith("/"):
                folder = folder if (PACKAGE / folder / name).is_dir() and folder else ""
                named.add(folder + name)
                folder += name
            else:
                folder = folder if "/" not in name else name.rpartition("/")[0] + "/"
                named.add(name if "/" in name else folder + name)
    modules = {short.removesuffix(".py") for short in OURS.values() if not short.endswith("__init__.py")} | {"plugin/__init__"}
    families = ("metrics/", "prompts/adapters/", "baselines/importers/", "reports/")
    old_places = {"reasoning", "backends/answer_store"}

    assert {name for name in named if not name.endswith("/")} <= modules
    assert {module for module in modules - named - old_places if not module.startswith(families)} == set()
    assert {name for name in named if name.endswith("/")} >= {"metrics/", "reports/"}


def test_the_map_in_the_package_names_what_exists() -> None:
    named = re.findall(r"`([a-z_/]+)`", pytest_lighteval.__doc__ or "")

    assert named
    assert [name for name in named if not ((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file())] == []


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link into a page may name: its headings as GitHub spells them, and explicit anchors."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    seen: dict[str, int] = {}
    found = set(re.findall(r'<a (?:name|id)="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_no_link_of_a_page_leads_nowhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)

    assert broken == []

"""The import table of the package: arrows point downward, and each library has its one place."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "simclr_tut"

LAYER_0 = {"config", "shapes", "views", "models", "losses", "plots"}
LAYER_1 = {"data", "training", "methods", "evaluation"}
ALLOWED = {
    **{name: set() for name in LAYER_0},
    "data": {"config", "shapes"},
    "training": {"config", "losses"},
    "methods": {"models", "losses"},
    "evaluation": {"data", "config"},
    "widgets": {"views", "losses", "plots"},
    "checks": LAYER_0 | LAYER_1,
    "__main__": LAYER_0 | LAYER_1 | {"widgets", "checks"},
    "__init__": set(),
}
# Libraries that may be imported in these modules only.
HOMES = {
    "sklearn": {"evaluation", "shapes"},
    "ipywidgets": {"widgets"},
    "matplotlib": {"plots"},
    "IPython": {"plots", "widgets"},
}
# Private files that are parts of a module: its rules are theirs.
PARTS = {"_checkpoint": "training", "_parallel": "training", "_folder": "data",
         "_fetch": "data", "_families": "methods", "_mapped": "config",
         "_widget_pixels": "widgets", "_widget_training": "widgets"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The first part of the module's name below the package: checks/losses.py -> checks."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return PARTS.get(name, name)


def imports_of(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports, inside functions too; relative ones made full."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = f"simclr_tut.{base}".rstrip(".")
            names.add(base)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """Modules of the package that this file imports, its own left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = [name.split(".") for name in imports_of(tree)]
    known = {module_of(file) for file in FILES}
    found = {PARTS.get(part[1], part[1]) for part in parts
             if part[0] == "simclr_tut" and len(part) > 1}
    return (found & known) - {module_of(path), "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path):
    module = module_of(path)
    assert module in ALLOWED, f"{module}: not in the table of this test; give it a layer"
    assert ours(path) <= ALLOWED[module], f"{module} may import {sorted(ALLOWED[module])} only"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_at_home(path):
    names = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text(encoding="utf-8")))}
    for library, homes in HOMES.items():
        if library in names:
            assert module_of(path) in homes, f"{library} belongs in {sorted(homes)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_environment_reads_outside_config(path):
    if module_of(path) in {"config", "__main__"}:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        attribute = isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
        assert not attribute, f"line {node.lineno}: only config reads environment variables"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_package_prints_nothing_and_opens_no_window(path):
    if module_of(path) in {"checks", "__main__"}:  # the two that talk to a person
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        printing = isinstance(node.func, ast.Name) and node.func.id == "print"
        showing = ast.unparse(node.func) in {"plt.show", "pyplot.show"}
        assert not printing and not showing, f"line {node.lineno}: {ast.unparse(node)}"


def test_the_reader_of_imports_sees_every_form():
    source = "import simclr_tut.a\nfrom simclr_tut import b\nfrom .c import x\nfrom . import d\n"
    names = imports_of(ast.parse(source))
    assert {f"simclr_tut.{letter}" for letter in "abcd"} <= names

"""What a notebook shows is what the package runs: compared as syntax trees."""

import ast

import pytest
from notebook_files import NOTEBOOKS, ROOT, code_cells, tags

SHOWN = [
    pytest.param(cell["source"], tag.removeprefix("shows:"), id=f"{path.stem}-{tag[6:]}")
    for path in NOTEBOOKS
    for cell in code_cells(path)
    for tag in tags(cell)
    if tag.startswith("shows:")
]


class Bare(ast.NodeTransformer):
    """Drop docstrings and annotations, and in each function its one validation call and the
    decorator that keeps autocast out.
    """

    def _body(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return node

    def _function(self, node):
        self._body(node)
        node.returns = None
        node.decorator_list = [d for d in node.decorator_list if ast.unparse(d) != "_in_float32"]
        for index, statement in enumerate(node.body):
            if is_validation(statement):
                del node.body[index]
                break
        return node

    visit_ClassDef = _body
    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)


def is_validation(statement: ast.stmt) -> bool:
    """True for a bare call of _check...() or check_...()."""
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    name = ast.unparse(statement.value.func).split(".")[-1]
    return name.startswith(("_check", "check_"))


def definition(source: str, name: str) -> ast.AST:
    """The definition of a function, class or Class.method in a source text."""
    node = ast.parse(source)
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        matches = [child for child in node.body if isinstance(child, kinds) and child.name == part]
        assert matches, f"expected a definition of {name}; found none"
        node = matches[-1]
    return node


def bare(source: str, name: str) -> str:
    """The definition as readable code, with everything that may differ taken out."""
    return ast.unparse(ast.fix_missing_locations(Bare().visit(definition(source, name))))


@pytest.mark.parametrize(("source", "name"), SHOWN)
def test_shown_code_is_the_package_code(source, name):
    module, _, inner = name.partition(".")
    package = (ROOT / "simclr_tut" / f"{module}.py").read_text(encoding="utf-8")
    assert bare(source, inner.split(".")[-1]) == bare(package, inner), name


def test_no_function_is_defined_in_two_notebooks():
    homes: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            for node in ast.parse(cell["source"]).body if "%" not in cell["source"][:1] else []:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    homes.setdefault(node.name, set()).add(path.stem)
    twice = {name: sorted(stems) for name, stems in homes.items() if len(stems) > 1}
    assert not twice, f"move to the package: {twice}"


def test_the_comparison_strips_what_it_should_and_nothing_else():
    package = (
        'def f(x: int, y: float = 1.0) -> int:\n    """Doc."""\n    _check_f(x)\n'
        "    z: int = x + 1\n    return z * y\n"
    )
    assert bare(package, "f") == bare("def f(x, y=1.0):\n    z = x + 1\n    return z * y\n", "f")
    assert bare(package, "f") != bare("def f(x, y=2.0):\n    z = x + 1\n    return z * y\n", "f")
    assert bare(package, "f") != bare("def f(x, y=1.0):\n    z = x - 1\n    return z * y\n", "f")

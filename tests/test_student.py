"""Student versions hold no solution and no output; graded ones hold nbgrader's marks."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from simclr_tut import checks

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("make_student", ROOT / "tools" / "make_student.py")
make_student = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_student)
PATHS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_no_solution_and_no_output_is_left(path):
    notebook = nbformat.read(path, 4)
    solutions = [c.source for c in notebook.cells if "solution" in make_student.tags(c)]
    made = make_student.student(notebook)
    text = json.dumps(made)
    assert len(solutions) >= 3 and "solution_" not in text
    assert not any(c.outputs for c in made.cells if c.cell_type == "code")
    for solution in solutions:
        for line in solution.splitlines():
            if len(line.strip()) > 25 and "checks." not in line:
                assert line.strip() not in [x.strip() for c in made.cells if c.cell_type == "code"
                                            and "exercise" in make_student.tags(c)
                                            for x in c.source.splitlines()]
    assert [c.source for c in nbformat.read(path, 4).cells] == [c.source for c in notebook.cells]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_untouched_exercises_say_so_and_raise_nothing(path):
    """The stub and check cells of a student version run as they are, after the imports."""
    made = make_student.student(nbformat.read(path, 4))
    cells = [c.source for c in made.cells if {"exercise", "check"} & set(make_student.tags(c))]
    script = "from simclr_tut import checks\n" + "\n".join(cells)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.count("not attempted") == len(cells) // 2


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_graded_versions_have_points_and_their_solutions_earn_them(path):
    notebook = nbformat.read(path, 4)
    made = make_student.graded(notebook, path.stem[:2])
    marked = [c for c in made.cells if "nbgrader" in c.metadata]
    checks = [c for c in marked if c.metadata.nbgrader.grade]
    stated = sum(int(p) for c in notebook.cells if c.source.startswith("### Exercise")
                 for p in re.findall(r"(\d+) points?\*", c.source))
    assert sum(c.metadata.nbgrader.points for c in checks) == stated
    identities = [c.metadata.nbgrader.grade_id for c in marked]
    assert len(identities) == len(set(identities)) == 2 * len(checks)
    setup = ("import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
             "from simclr_tut import checks, losses\n")
    lines = [setup]
    for cell in marked:
        source = cell.source
        if cell.metadata.nbgrader.grade:
            before, _, last = source.rpartition("\n")
            source = f"{before}\nassert {last} == {cell.metadata.nbgrader.points}"
        lines.append(source)
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True,
                          env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-800:]


def test_every_checker_is_used_by_a_notebook_whose_solution_passes():
    """A committed solution cell shows its pass line; every public checker has one."""
    passed = set()
    for path in PATHS:
        for cell in json.loads(path.read_text())["cells"]:
            if "solution" in cell["metadata"].get("tags", []):
                out = "".join("".join(o.get("text", [])) for o in cell["outputs"])
                assert out.startswith("✓") or "\n✓" in out, f"{path.name}: {out or 'no output'}"
                passed |= {line[2:].split(":")[0] for line in out.splitlines() if line[:1] == "✓"}
    public = set(checks.__all__) - {"Mistake", "Result", "checker"}
    assert public == passed

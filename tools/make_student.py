"""Build the student versions: notebooks without solutions, in build/student/.

    python tools/make_student.py                 all notebooks
    NBGRADER=1 python tools/make_student.py      with nbgrader's metadata, for a graded course

Solution cells go; outputs go, since some show answers; a cell that shows the very function an
exercise asks for would be blanked too (no exercise does at present: all are variants).
With NBGRADER=1 solutions stay, between nbgrader's marks, in build/source/: `nbgrader
generate_assignment` strips them, and each check cell earns its points.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
POINTS = re.compile(r"(\d+) points?\*")


def tags(cell) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def student(notebook):
    """Return a copy without solutions and without outputs."""
    made = nbformat.from_dict(notebook)
    made.cells = [cell for cell in made.cells if "solution" not in tags(cell)]
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def graded(notebook, name: str):
    """Return a source notebook for nbgrader: the solution moves into the stub, checks get points.

    A check asserts the score, so that nbgrader's autograder gives full, part or no points.
    """
    made = nbformat.from_dict(notebook)
    cells, points, stub = [], 1, None
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.cell_type == "markdown" and cell.source.startswith("### Exercise"):
            points = int(POINTS.search(cell.source).group(1))
        if "exercise" in tags(cell):
            stub = cell
            mark(cell, f"{name}-answer-{len(cells)}", solution=True)
        elif "check" in tags(cell):
            mark(cell, f"{name}-check-{len(cells)}", points=points, grade=True)
            before, _, call = cell.source.rpartition("\n")
            # nbgrader takes the value of a cell's last line as partial credit
            cell.source = f"{before}\n{points} * {call}.score".strip()
        elif "solution" in tags(cell):
            fill(stub, cell)
            continue
        cells.append(cell)
    made.cells = cells
    return made


def mark(cell, identity: str, **wanted) -> None:
    """Write nbgrader's metadata, schema 3."""
    cell.metadata["nbgrader"] = {
        "grade": False, "solution": False, "locked": bool(wanted.get("grade")), "task": False,
        "grade_id": identity, "schema_version": 3, **wanted}


def fill(stub, solution) -> None:
    """Put a solution between nbgrader's marks, under the name that the stub sets."""
    body = [line for line in solution.source.splitlines()
            if not line.startswith(("#@title", "checks.", "print("))]
    code = "\n".join(body).strip()
    target = re.findall(r"^(\w+) = None", stub.source, re.M)[-1]
    found = re.findall(r"^(?:def )?(solution_\w+)", code, re.M)[-1]
    stub.source = (f"{stub.source}\n### BEGIN SOLUTION\n{code}\n\n{target} = {found}\n"
                   "### END SOLUTION")


def main() -> None:
    """Write every notebook."""
    grading = os.environ.get("NBGRADER") == "1"
    folder = ROOT / "build" / ("source" if grading else "student")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, 4)
        made = graded(notebook, path.stem[:2]) if grading else student(notebook)
        target = folder / path.name
        if grading:
            target = folder / path.stem / path.name
            target.parent.mkdir(exist_ok=True)
        nbformat.write(made, target)
        count = sum("check" in tags(cell) for cell in made.cells)
        print(f"{target.relative_to(ROOT)}: {count} exercises")


if __name__ == "__main__":
    sys.exit(main())

"""Build the student edition: the notebooks without solutions, into build/student/.

    python tools/make_student.py [--to DIR] [--nbgrader] [NOTEBOOK ...]

Solutions and their outputs are taken out, and so are the outputs of the checks. A cell tagged
``blank`` is emptied too: it shows what an exercise asks for. With --nbgrader (or
``NBGRADER=1 make student``) stubs become nbgrader's solution cells and checks its test cells, and
the folder becomes a course: nbgrader_config.py, and source/NAME/NAME.ipynb for each notebook.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = "solution"
# nbgrader replaces what stands between these by its code_stub, and leaves the rest of the stub.
REGION = "### BEGIN SOLUTION\n### END SOLUTION"
COURSE = '''"""nbgrader's settings for this course."""

import os

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "simclr_tut"
# The stub sets its name to None, so that an untouched notebook runs to its end.
c.ClearSolutions.code_stub = {"python": "# your answer goes into this cell"}
c.IncludeHeaderFooter.header = ""
# A notebook is run once for each student. Training is not what is graded: smoke scale takes
# seconds. Set another scale before you call nbgrader if you want it.
os.environ.setdefault("SIMCLR_TUT_SCALE", "smoke")
c.ExecutePreprocessor.timeout = 600  # seconds a cell; a checker stops an answer after ten
c.ExecutePreprocessor.startup_timeout = 600  # a kernel imports torch, which a busy machine delays
c.ExecutePreprocessor.allow_errors = True
'''


def tags(cell) -> set[str]:
    """The cell's tags."""
    return set(cell.metadata.get("tags", []))


def points_of(source: str) -> int:
    """The points of the checker that a check cell calls."""
    from simclr_tut import checks

    names = re.findall(r"checks\.(\w+)\(", source)
    return sum(getattr(checks, name).points for name in names)


def blank(source: str) -> str:
    """What stands in place of a cell that shows the answer: names kept, bodies gone.

    A function called ``vicreg_by_hand`` becomes the package's ``vicreg`` under that name.
    """
    from simclr_tut import evaluation, losses, models, training, views

    names = re.findall(r"(?m)^(?:def|class) (\w+)", source)
    lines = ["# This cell shows what an exercise at the end asks you to write."]
    for name in names:
        for module in (losses, training, models, views, evaluation):
            original = name.removesuffix("_by_hand")
            if hasattr(module, original):
                short = module.__name__.split(".")[-1]
                renamed = "" if original == name else f" as {name}"
                lines.append(f"from simclr_tut.{short} import {original}{renamed}")
                break
    return "\n".join(lines)


def student(notebook, nbgrader: bool = False):
    """The student's notebook made from the full one; the full one is left alone."""
    result = copy.deepcopy(notebook)
    cells = []
    for cell in result.cells:
        marks = tags(cell)
        if SOLUTION in marks:
            continue
        if cell.cell_type == "code" and "blank" in marks:
            cell.source, cell.outputs, cell.execution_count = blank(cell.source), [], None
        if marks & {"exercise", "check"}:
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
    result.cells = cells
    if nbgrader:
        add_nbgrader(result)
    return result


def add_nbgrader(notebook) -> None:
    """Give stubs and checks nbgrader's metadata: solution cells, and test cells with points.

    A test cell is locked, hands the score to nbgrader as the cell's value (a number between 0
    and its points), and fails only where no point at all was earned.
    """
    for cell in notebook.cells:
        marks = tags(cell)
        if "exercise" in marks:
            name = re.search(r"(?m)^(\w+) = None", cell.source).group(1)
            cell.source += f"\n{REGION}"
            cell.metadata["nbgrader"] = {
                "grade": False, "grade_id": f"answer-{name}", "locked": False,
                "schema_version": 3, "solution": True, "task": False}
        elif "check" in marks:
            name = re.search(r"checks\.(\w+)\(", cell.source).group(1)
            points = points_of(cell.source)
            # nbgrader reads partial credit from a number that the test cell ends with.
            cell.source = re.sub(r"(?m)^(checks\.\w+\(.*\))$",
                                 r"result = \1\nresult.score * result.points", cell.source)
            cell.metadata["nbgrader"] = {
                "grade": True, "grade_id": f"check-{name}", "locked": True, "points": points,
                "schema_version": 3, "solution": False, "task": False}


def main() -> int:
    """Read the arguments and write the student notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="numbers or paths; default: all")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "student", metavar="DIR")
    parser.add_argument("--nbgrader", action="store_true", help="write nbgrader's metadata")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))

    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    chosen = [Path(name) if name.endswith(".ipynb") else path
              for name in arguments.notebooks
              for path in (every if not name.endswith(".ipynb") else [Path(name)])
              if name.endswith(".ipynb") or path.name.startswith(name)] or every
    arguments.to.mkdir(parents=True, exist_ok=True)
    for path in chosen:
        notebook = student(nbformat.read(path, as_version=4), arguments.nbgrader)
        target = arguments.to / path.name
        if arguments.nbgrader:
            target = arguments.to / "source" / path.stem / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
        exercises = sum("exercise" in tags(cell) for cell in notebook.cells)
        print(f"{path.stem}: {exercises} exercises")
    if arguments.nbgrader:
        (arguments.to / "nbgrader_config.py").write_text(COURSE, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The student edition holds no solution, runs untouched, and nbgrader grades it."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import nbformat
import nbformat.v4 as v4
import pytest
from nbclient import NotebookClient
from notebook_files import NOTEBOOKS, ROOT

from simclr_tut import checks

sys.path.insert(0, str(ROOT / "tools"))
import make_student  # noqa: E402


def small():
    """A notebook with two exercises in the course's form, and its solutions."""
    def code(source, *tags):
        return v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=[
            v4.new_output("stream", text="printed before")], execution_count=1)

    return v4.new_notebook(cells=[
        v4.new_markdown_cell("# 03 Small"),
        code("def nt_xent(z1, z2):\n    return 'SECRET-SHOWN'", "shows:losses.nt_xent", "blank"),
        code("kinds = None  # your answer here", "exercise"),
        code("from simclr_tut import checks\n\nchecks.kinds_of_learning(kinds)", "check"),
        code("solution_kinds = 'SECRET-ONE'", "solution"),
        code("parameters = None  # your answer here", "exercise"),
        code("checks.head_parameters(parameters)", "check"),
        code("solution_parameters = 'SECRET-TWO'", "solution"),
    ], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3",
                                "language": "python"}})


def test_no_solution_and_no_output_of_one_is_left():
    full = small()
    made = make_student.student(full)
    text = nbformat.writes(made)
    assert "SECRET" not in text and "solution" not in text.lower()
    assert sum(not cell.outputs for cell in made.cells if cell.cell_type == "code") == 5
    assert "SECRET-ONE" in nbformat.writes(full), "the full notebook must be left alone"
    assert "from simclr_tut.losses import nt_xent" in made.cells[1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_course_notebooks_lose_every_solution(path):
    made = make_student.student(nbformat.read(path, as_version=4))
    text = nbformat.writes(made)
    assert "#@title Solution" not in text
    assert not re.findall(r"solution_\w+", text)


def test_untouched_it_runs_to_the_end():
    made = make_student.student(small())
    NotebookClient(made, timeout=120, kernel_name="python3").execute()
    printed = "".join(o.get("text", "") for c in made.cells if c.cell_type == "code"
                      for o in c.outputs)
    assert printed.count("not attempted") == 2


def test_nbgrader_metadata():
    made = make_student.student(small(), nbgrader=True)
    marks = [cell.metadata["nbgrader"] for cell in made.cells if "nbgrader" in cell.metadata]
    assert [m["grade"] for m in marks] == [False, True, False, True]
    assert [m.get("points") for m in marks] == [None, 1, None, 2]
    assert len({m["grade_id"] for m in marks}) == 4


def grader() -> list[str] | None:
    """How to call nbgrader, if there is one: of this interpreter, or the one NBGRADER names."""
    if importlib.util.find_spec("nbgrader"):
        return [sys.executable, "-m", "nbgrader"]
    named = os.environ.get("NBGRADER_PYTHON")
    return [named, "-m", "nbgrader"] if named else None


def test_nbgrader_really_grades(tmp_path):
    """generate_assignment, autograde and generate_feedback on full, half and empty answers."""
    if grader() is None:
        pytest.skip("nbgrader is not installed (pip install simclr_tut[course])")
    course = tmp_path / "course"
    (course / "source" / "lab").mkdir(parents=True)
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)  # the kernel is this interpreter, whoever runs nbgrader
    (kernels / "kernel.json").write_text(
        f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", '
        '"{connection_file}"], "display_name": "Python 3", "language": "python"}')
    (course / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'course'\n"
        "c.ExecutePreprocessor.timeout = 120\nc.IncludeHeaderFooter.header = ''\n"
        "c.ClearSolutions.code_stub = {'python': 'my_unused = None'}\n")
    made = make_student.student(small(), nbgrader=True)
    nbformat.write(made, course / "source" / "lab" / "lab.ipynb")
    environment = {**os.environ, "JUPYTER_PATH": str(tmp_path / "jupyter"),
                   "PATH": os.pathsep.join([os.path.dirname(grader()[0]), os.environ["PATH"]]),
                   "HOME": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "0"}

    def run(*words):
        done = subprocess.run([*grader(), *words], cwd=course, env=environment, timeout=300,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    run("generate_assignment", "lab", "--create", "--force")
    released = course / "release" / "lab" / "lab.ipynb"
    answers = {"full": ("'USFF'", "328832"), "half": ("'USUU'", "512 * 512 + 512 * 128"),
               "empty": ("None", "None")}
    for name, given in answers.items():
        notebook = nbformat.read(released, as_version=4)
        for exercise, answer in zip(("kinds", "parameters"), given, strict=True):
            cell = next(c for c in notebook.cells if c.source.startswith(f"{exercise} = None"))
            cell.source = f"{exercise} = {answer}"
        target = course / "submitted" / name / "lab" / "lab.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(notebook, target)
    run("autograde", "lab", "--create", "--force")
    run("generate_feedback", "lab", "--force")
    for name, expected in (("full", 3.0), ("half", 1.5), ("empty", 0.0)):
        page = course / "feedback" / name / "lab" / "lab.html"
        found = re.search(r"\(Score: ([\d.]+) / ([\d.]+)\)", page.read_text())
        assert found and (float(found[1]), float(found[2])) == (expected, 3.0), name


def test_make_student_writes_every_notebook(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "make_student.py"), "--to",
                           str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in NOTEBOOKS}


def test_every_checker_is_used_by_a_notebook_whose_solution_passes():
    """A committed solution cell shows its pass line; every public checker has one."""
    passed = set()
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            if "solution" in cell["metadata"].get("tags", []):
                out = "".join("".join(o.get("text", [])) for o in cell["outputs"])
                assert out.startswith("✓") or "\n✓" in out, f"{path.name}: {out or 'no output'}"
                passed |= {line[2:].split(":")[0] for line in out.splitlines() if line[:1] == "✓"}
    public = set(checks.__all__) - {"Mistake", "Result", "checker"}
    assert public == passed

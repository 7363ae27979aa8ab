"""The student edition holds no solution, runs untouched, and nbgrader grades it."""

import ast
import importlib.metadata
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


BLANKED = [path for path in NOTEBOOKS if '"blank"' in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", BLANKED, ids=lambda path: path.stem)
def test_a_version_with_blanked_cells_runs_untouched(path, tmp_path):
    """No error, and every check says "not attempted".

    The others differ from the full notebooks, which nbval runs, by absent solutions only: below.
    """
    made = make_student.student(nbformat.read(path, as_version=4))
    NotebookClient(made, timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(tmp_path)}}).execute()
    checks_of = [cell for cell in made.cells if "check" in make_student.tags(cell)]
    for cell in checks_of:
        assert "not attempted" in "".join(o.get("text", "") for o in cell.outputs), cell.source
    assert len(checks_of) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_that_stays_needs_a_solution(path):
    """No cell reads a name that only a solution before it has set."""
    def names(source, kind):
        tree = ast.parse("\n".join(line for line in source.splitlines() if line[:1] not in "%!"))
        found = {n.id for n in ast.walk(tree)
                 if isinstance(n, ast.Name) and isinstance(n.ctx, kind)}
        if kind is ast.Store:
            found |= {n.name for n in ast.walk(tree)
                      if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            found |= {(a.asname or a.name).split(".")[0] for n in ast.walk(tree)
                      if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
        return found

    lesson, solved = set(), set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and make_student.SOLUTION in make_student.tags(cell):
            solved |= names(cell.source, ast.Store)
        elif cell.cell_type == "code":
            needed = names(cell.source, ast.Load) & solved
            assert needed <= lesson | names(cell.source, ast.Store), needed - lesson
            lesson |= names(cell.source, ast.Store)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_lesson_cell_of_a_student_version_holds_the_body_of_a_solution(path):
    def body(source):
        lines = [re.sub(r"\s", "", line) for line in source.splitlines()]
        return [line.removeprefix("return") for line in lines
                if line and not line.startswith(("#", "def", "checks."))]

    function = r"(?m)^def solution_\w+\(.*\n((?:(?: .*)?\n)+)"
    full = nbformat.read(path, as_version=4)
    shown = "\n".join("\n".join(body(cell.source)) for cell in make_student.student(full).cells
                      if cell.cell_type == "code")
    for cell in full.cells:
        if make_student.SOLUTION in make_student.tags(cell):
            for found in re.findall(function, cell.source):
                text = "\n".join(body(found))
                assert text and text not in shown, f"{path.stem} shows {text}"


def test_a_blanked_cell_keeps_its_names():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if "blank" in make_student.tags(cell):
                names = re.findall(r"(?m)^def (\w+)", cell.source)
                space: dict[str, object] = {}
                exec(make_student.blank(cell.source), space)
                assert names and all(callable(space[name]) for name in names), names


def test_nbgrader_metadata():
    made = make_student.student(small(), nbgrader=True)
    marks = [cell.metadata["nbgrader"] for cell in made.cells if "nbgrader" in cell.metadata]
    assert [m["grade"] for m in marks] == [False, True, False, True]
    assert [m.get("points") for m in marks] == [None, 1, None, 2]
    assert len({m["grade_id"] for m in marks}) == 4
    stubs = [cell.source for cell in made.cells if "exercise" in make_student.tags(cell)]
    assert all(source.endswith(make_student.REGION) for source in stubs)


def grader() -> list[str] | None:
    """How to call nbgrader, if there is one: of this interpreter, or the one NBGRADER names."""
    if importlib.util.find_spec("nbgrader"):
        return [sys.executable, "-m", "nbgrader"]
    named = os.environ.get("NBGRADER_PYTHON")
    return [named, "-m", "nbgrader"] if named else None


def answered(released, given: dict[str, str]):
    """The released notebook with answers written into its stubs, as a student does."""
    notebook = nbformat.read(released, as_version=4)
    stubs = {re.search(r"(?m)^(\w+) = None", cell.source)[1]: cell for cell in notebook.cells
             if "exercise" in make_student.tags(cell)}
    for name, answer in given.items():
        stubs[name].source += f"\n{answer}"
    return notebook


def model_answers(full) -> dict[str, str]:
    """Stub's name -> the model solution's lines and an assignment, from the full notebook."""
    given, name = {}, None
    for cell in full.cells:
        if "exercise" in make_student.tags(cell):
            name = re.search(r"(?m)^(\w+) = None", cell.source)[1]
        if "solution" in make_student.tags(cell):
            lines, value = re.search(r"(?s)^(.*)^checks\.\w+\(([^\n]*)\)$", cell.source,
                                     re.MULTILINE).groups()
            given[name] = f"{lines}\n{name} = {value}"
    return given


HALF = {  # notebook 03: one right, one half right, one wrong, three left alone
    "gradient": "def gradient(logits, positive):\n"
                "    wanted = F.one_hot(positive, logits.shape[1])\n"
                "    return (logits.softmax(1) - wanted) / len(logits)",
    "room_of": "def room_of(n, temperature):\n    return losses.chance_loss(n)",
    "halved": "halved = 'AA'",
    "across": "import time\ndef across(*_):\n    raise SystemExit",
}
HALF_POINTS = 3 + 0.4 * 2 + 0.5 * 1


def test_nbgrader_really_grades(tmp_path):
    """Notebook 03 from `NBGRADER=1 make student` through all of nbgrader's commands.

    No time limit but pytest's own patience: three runs of a notebook and five starts of nbgrader
    take a minute on a quiet machine and many on a loaded one.
    """
    if grader() is None:
        assert "course" not in os.environ.get("TEST_EXTRAS", ""), "nbgrader should be here"
        pytest.skip("nbgrader is not installed (pip install simclr_tut[course])")
    if int(importlib.metadata.version("ipython").split(".")[0]) < 8:
        pytest.skip("nbgrader needs IPython 8.10; Colab has 7.34")
    course, stem = tmp_path / "course", "03_contrastive_loss"
    tool = [sys.executable, str(ROOT / "tools" / "make_student.py"), "--nbgrader", "--to"]
    subprocess.run([*tool, str(course), "03"], check=True, capture_output=True)
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)  # the kernel is this interpreter, whoever runs nbgrader
    (kernels / "kernel.json").write_text(json.dumps({
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3", "language": "python"}))
    environment = {**os.environ, "JUPYTER_PATH": str(tmp_path / "jupyter"),
                   "JUPYTER_PREFER_ENV_PATH": "0", "HOME": str(tmp_path),
                   "PATH": os.pathsep.join([os.path.dirname(grader()[0]), os.environ["PATH"]])}

    def run(*words):
        done = subprocess.run([*grader(), *words], cwd=course, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    run("generate_assignment", stem, "--create", "--force")
    released = course / "release" / stem / f"{stem}.ipynb"
    text = released.read_text(encoding="utf-8")
    assert "NotImplementedError" not in text and "BEGIN SOLUTION" not in text
    full = model_answers(nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4))
    for name, given in {"full": full, "half": HALF, "empty": {}}.items():
        target = course / "submitted" / name / stem / released.name
        target.parent.mkdir(parents=True)
        nbformat.write(answered(released, given), target)
    run("autograde", stem, "--create", "--force")
    run("generate_feedback", stem, "--force")
    most = sum(getattr(checks, name).points for name in re.findall(r"checks\.(\w+)\(", text))
    for name, expected in (("full", most), ("half", HALF_POINTS), ("empty", 0)):
        page = (course / "feedback" / name / stem / f"{stem}.html").read_text(encoding="utf-8")
        found = re.search(r"\(Score: ([\d.]+) / ([\d.]+)\)", page)
        assert found, name
        assert (float(found[1]), float(found[2])) == pytest.approx((expected, most)), name
        assert ("the floor is not zero" in page) == (name == "half"), "the checker's line is shown"


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

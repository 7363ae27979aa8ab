"""What a reader would notice in a committed notebook, without running it."""

import re
import sys
import tomllib

import pytest
from notebook_files import NOTEBOOKS, ROOT, code_cells, read, tags

sys.path.insert(0, str(ROOT / "tools"))
import build_notebooks  # noqa: E402

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
SLUG = ADDRESS.removeprefix("https://github.com/")
EDITOR_METADATA = {"kernelspec", "language_info"}


def outputs(path):
    """Every output of the notebook."""
    return [output for cell in code_cells(path) for output in cell.get("outputs", [])]


def test_there_are_notebooks():
    assert NOTEBOOKS, "expected notebooks/NN_name.ipynb; found none"


@each_notebook
def test_executed_in_order(path):
    counts = [cell["execution_count"] for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "run tools/build_notebooks.py"


@each_notebook
def test_no_errors_and_no_stderr(path):
    for cell in code_cells(path):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                assert "raises-exception" in tags(cell), output.get("evalue")
            assert output.get("name") != "stderr", output.get("text")


@each_notebook
def test_size(path):
    assert path.stat().st_size < 3e6


@each_notebook
def test_figures_have_alt_text(path):
    figures = [output for output in outputs(path) if "image/png" in output.get("data", {})]
    assert len(figures) >= 3
    for figure in figures:
        alt = figure.get("metadata", {}).get("image/png", {}).get("alt", "")
        assert len(alt) >= 40, f"expected a sentence that describes the figure; got {alt!r}"
    prose = "\n".join(c["source"] for c in read(path)["cells"] if c["cell_type"] == "markdown")
    assert not re.findall(r"!\[\s*\]\(|<img(?![^>]*alt=)", prose), "an image without alt text"


@each_notebook
def test_widgets_leave_a_picture(path):
    """Saved pages hold the still picture alone: a widget without its kernel is an error text."""
    for cell in code_cells(path):
        kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        assert build_notebooks.WIDGET_VIEW not in kinds, "run tools/build_notebooks.py"
        if "= widgets." in cell["source"]:
            assert "image/png" in kinds


@each_notebook
def test_cells_are_short(path):
    for cell in code_cells(path):
        lines = len(cell["source"].splitlines())
        assert lines <= 30, f"{lines} lines: {cell['source'].splitlines()[0]}"
    long = [cell for cell in code_cells(path) if len(cell["source"].splitlines()) > 20]
    assert len(long) <= 0.1 * len(code_cells(path)), f"{len(long)} cells over 20 lines"


@each_notebook
def test_at_most_two_code_cells_in_a_row(path):
    kinds = "".join(cell["cell_type"][0] for cell in read(path)["cells"])
    # The set-up cell and the imports open every notebook; they need no prose between them.
    assert "ccc" not in kinds[4:], f"cell {kinds.index('ccc', 4)}: prose before each idea"


@each_notebook
def test_no_machine_paths(path):
    # Pictures are random letters, in which a path can turn up by chance.
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not re.findall(r"/(?:work|root|tmp|home|Users)/\w+", text)


@each_notebook
def test_form(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook["metadata"]) <= EDITOR_METADATA
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


@each_notebook
def test_set_up_cell_is_the_common_one(path):
    cells = [cell["source"] for cell in code_cells(path) if "setup" in tags(cell)]
    common = (ROOT / "tools" / "setup_cell.py").read_text(encoding="utf-8").strip()
    assert cells == [common], "expected the cell of tools/setup_cell.py, once, tagged setup"
    assert code_cells(path)[0]["source"] == common, "the set-up cell comes first"


@each_notebook
def test_frame(path):
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert re.match(rf"# {path.stem[:2]}\b", first["source"]), "expected '# NN Title'"
    badges = re.findall(r"colab\.research\.google\.com/github/([^)\s]+)", first["source"])
    assert badges == [f"{SLUG}/blob/main/notebooks/{path.name}"]


@each_notebook
def test_asks_for_predictions(path):
    prose = [c["source"] for c in read(path)["cells"] if c["cell_type"] == "markdown"]
    assert sum("> **Predict" in text for text in prose) >= 3


@each_notebook
def test_committed_scale_is_laptop(path):
    printed = "".join(output.get("text", "") for output in outputs(path))
    scales = set(re.findall(r"scale: (\w+)", printed))
    assert scales == {"laptop"}, f"expected outputs of scale laptop; found {scales or 'none'}"


def test_addresses_agree():
    """One repository address, in pyproject.toml; tools/set_repository.py changes it everywhere."""
    files = [*NOTEBOOKS, ROOT / "README.md", ROOT / "CITATION.cff", ROOT / "CONTRIBUTING.md"]
    assert f'REPOSITORY = "{ADDRESS}"' in (ROOT / "tools" / "setup_cell.py").read_text()
    for path in files:
        text = path.read_text(encoding="utf-8")
        for slug in re.findall(r"colab\.research\.google\.com/github/([^/\s]+/[^/\s]+)/", text):
            assert slug == SLUG, f"{path.name}: {slug}"
    assert ADDRESS in (ROOT / "CITATION.cff").read_text()


@each_notebook
def test_local_links_lead_somewhere(path):
    prose = "\n".join(c["source"] for c in read(path)["cells"] if c["cell_type"] == "markdown")
    for target in re.findall(r"\]\((?!https?:|#|mailto:|attachment:)([^)#\s]+)", prose):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_building_is_repeatable():
    """Equal content gives an equal file: streams joined, no editor metadata, ids from text."""
    import nbformat.v4 as v4

    def make(cut):
        streams = [v4.new_output("stream", name="stdout", text=part) for part in cut]
        cell = v4.new_code_cell("print(1)", outputs=streams, metadata={"vscode": {}, "tags": ["a"]})
        return v4.new_notebook(cells=[cell], metadata={"colab": {"gpuType": "A100"}})

    first, second = make(["a\n", "b\n"]), make(["a\nb\n"])
    for notebook in (first, second):
        build_notebooks.normalise(notebook, "00_x")
    assert first == second
    assert first.cells[0].metadata == {"tags": ["a"]}


def test_building_refuses_machine_paths():
    import nbformat.v4 as v4

    cell = v4.new_code_cell("x", outputs=[v4.new_output("stream", text="read /home/someone/a.zip")])
    assert build_notebooks.machine_paths(v4.new_notebook(cells=[cell])) == ["cell 0: /home/someone"]


def test_readme_names_every_notebook_and_its_links_hold():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)\)", text):
        assert (ROOT / target).exists(), f"README.md links to {target}"
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in text, f"README.md leaves out {path.name}"
    assert len(text.splitlines()) <= 200


def test_the_headline_is_the_first_finding():
    import nbformat.v4 as v4

    def printed(text):
        return v4.new_code_cell("x", outputs=[v4.new_output("stream", text=text)])

    cells = [printed("1. too early\n"), v4.new_markdown_cell("so\n\n## What we found"),
             printed("1. kNN 61.4 %\n2. rank 38\n"), printed("1. too late\n")]
    assert build_notebooks.headline(v4.new_notebook(cells=cells)) == "kNN 61.4 %"
    assert build_notebooks.headline(v4.new_notebook(cells=cells[:1])) == ""
    cells[2].outputs = []  # it failed: an exercise's line further down is no finding
    assert build_notebooks.headline(v4.new_notebook(cells=cells)) == ""


def test_a_build_shows_where_it_is_and_ends_with_the_findings(tmp_path, monkeypatch, capsys):
    import nbformat
    import nbformat.v4 as v4

    cells = [v4.new_markdown_cell("## What we found"), v4.new_code_cell("print('1. four:', 2 + 2)")]
    source = tmp_path / "00_small.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), source)
    monkeypatch.setattr(sys, "argv", ["build", str(source), "--to", str(tmp_path / "run")])
    assert build_notebooks.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("00_small: 2 cells\n") and out.splitlines()[-2].endswith("four: 4")
    assert (tmp_path / "run" / "00_small.html").exists()
    assert nbformat.read(source, 4).cells[1].outputs == []


def test_to_take_the_hashes_away_is_enough_to_begin_an_exercise():
    """A line ``name = None`` below the function would put it out of sight again."""
    begun = 0
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            if "exercise" not in tags(cell) or "# def " not in cell["source"]:
                continue
            name = re.search(r"(?m)^# def (\w+)", cell["source"])[1]
            found = {}
            exec(re.sub(r"(?m)^# ?", "", cell["source"]), found)  # the bodies are only dots
            assert callable(found[name]), f"{path.stem}: {name}"
            assert f"{name} = None" in cell["source"], f"{path.stem}: {name}"
            begun += 1
    assert begun > 30

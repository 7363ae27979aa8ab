"""JupyterLab in a real browser: every notebook runs, every control moves its picture.

A screenshot of what failed lies in build/screenshots.
"""

import importlib.metadata
import importlib.util
import re
import shutil
import sys
from contextlib import contextmanager

import nbformat
import nbformat.v4 as v4
import pytest
from lab import FLAGS, Lab, Server, picture
from notebook_files import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import make_student  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
ABSENT = [name for name in ("playwright", "jupyterlab") if not importlib.util.find_spec(name)]
if not CHROMIUM or ABSENT:
    pytest.skip(f"no {'chromium' if not CHROMIUM else ABSENT[0]} here: the browser tests are left "
                "out", allow_module_level=True)
if importlib.metadata.version("ipywidgets").startswith("7."):  # JupyterLab 4 draws those of 8
    pytest.skip("Colab's ipywidgets 7 and this JupyterLab do not belong together",
                allow_module_level=True)

SCREENSHOTS = ROOT / "build" / "screenshots"
PLOT = "live = widgets.training_plot("
SECONDS = 280  # for all cells of a notebook; alone they take 3 to 30


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """One server, one browser and one page for all tests of this file."""
    from playwright.sync_api import sync_playwright

    folder, config = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("config")
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    server = Server(folder, config)
    try:
        assert server.wait(), server.log.read_text(encoding="utf-8")[-2000:]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                tab = browser.new_page(viewport={"width": 1300, "height": 1400})
                tab.set_default_timeout(60_000)
                yield Lab(tab, server.address, folder)
            finally:
                browser.close()
    finally:
        server.close()


@contextmanager
def photographed(page, name):
    """Keep a screenshot where the block fails."""
    try:
        yield
    except BaseException:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.tab.screenshot(path=str(SCREENSHOTS / f"{name}.png"))
        raise


def errors(notebook):
    """Errors and warnings that cells left, but for those meant to fail."""
    found = []
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get(
                    "tags", []):
                found.append(f"cell {number}: {output.ename}: {output.evalue}")
    return found


def widget_cells(notebook):
    """The first lines of the cells that show a widget."""
    return [cell.source.splitlines()[0] for cell in notebook.cells
            if cell.cell_type == "code" and re.search(r"= widgets\.\w+\(", cell.source)]


def move(page, area, control):
    """Press keys on a control until the picture changes."""
    before, is_slider = picture(area), control.get_attribute("role") == "slider"
    control.focus()
    for press in range(24):
        top = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        page.tab.keyboard.press(("ArrowLeft" if top and press == 0 else
                                 "PageUp" if press > 4 and not top else "ArrowRight")
                                if is_slider else "ArrowDown")
        for _ in range(12):
            page.tab.wait_for_timeout(50)
            if picture(area) != before:
                return True
    return False


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_widgets_move(page, path):
    with photographed(page, path.stem):
        page.open(path.name)
        page.start()
        notebook = page.finish(SECONDS)
        assert not errors(notebook)
        assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
        for start in widget_cells(notebook):
            area = page.output(start)
            area.locator("img.widget-image").wait_for()
            assert len(area.locator("p[role=status]").inner_text()) > 20
            controls = area.locator(".noUi-handle")
            labels = area.locator(".widget-label")
            assert start.startswith(PLOT) or controls.count() >= 1, start
            for i in range(controls.count()):
                assert len(labels.nth(i).inner_text()) >= 4
                assert move(page, area, controls.nth(i)), f"{start} {labels.nth(i).inner_text()}"
        assert page.complaints == []
        page.close()


def test_every_widget_is_met():
    """The notebooks show all of them, so the test above moves all of them."""
    from simclr_tut import widgets

    text = "\n".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    for name in set(widgets.__all__) - {"Explorer", "TrainingPlot"}:
        assert f"= widgets.{name}(" in text, f"no notebook shows {name}"


def test_a_saved_notebook_shows_the_still_picture(page):
    with photographed(page, "saved"):
        page.open(NOTEBOOKS[3].name)
        area = page.output("circle = widgets.temperature_circle()")
        area.locator("img[src^='data:image/png']").wait_for()
        assert not re.search("Loading widget|Error displaying", area.inner_text())
        assert page.complaints == []
        page.close()


def test_play_moves_the_points_by_itself(page):
    with photographed(page, "play"):
        cells = [v4.new_code_cell("from simclr_tut import widgets\n"
                                  "points = widgets.points_on_circle(steps=60)")]
        page.write("play.ipynb", cells)
        page.open("play.ipynb")
        page.start()
        page.finish(SECONDS)
        area = page.output("from simclr_tut")
        area.locator("img.widget-image").wait_for()
        line, before = area.locator("p[role=status]"), picture(area)
        start = int(re.search(r"Step (\d+)", line.inner_text()).group(1))
        area.locator(".widget-play button").first.press("Enter")
        page.tab.wait_for_function(
            "start => [...document.querySelectorAll('p[role=status]')].some(line => "
            "Number((line.innerText.match(/Step (\\d+)/) || [0, 0])[1]) >= start + 3)", arg=start)
        assert picture(area) != before
        page.close()


def long_training():
    """Notebook 04 up to its run, with a budget that nobody waits for."""
    notebook = nbformat.read(next(p for p in NOTEBOOKS if p.stem.startswith("04")), as_version=4)
    last = next(i for i, c in enumerate(notebook.cells) if c.source.startswith(PLOT))
    cells = [v4.new_code_cell(c.source) for c in notebook.cells[:last + 1] if c.cell_type == "code"]
    for cell in cells:
        cell.source = cell.source.replace(
            'recipe = config.recipe("pretrain")',
            'recipe = replace(config.recipe("pretrain"), steps=100_000, eval_every=10_000)')
        cell.source = cell.source.replace('config.home() / "pretrain"', 'config.home() / "stopped"')
    assert any("100_000" in c.source for c in cells) and any('"stopped"' in c.source for c in cells)
    return [*cells, v4.new_code_cell(
        "print('kept', len(history.loss), len(history.lr), history.interrupted)")]


def kept(notebook):
    """What the last cell said: steps kept, and whether the run was interrupted."""
    said = re.search(r"kept (\d+) (\d+) (\w+)", notebook.cells[-1].outputs[0].text)
    assert said.group(1) == said.group(2)
    return int(said.group(1)), said.group(3)


def test_training_stops_by_button_and_by_interrupt_and_keeps_its_history(page):
    with photographed(page, "stop"):
        page.write("long.ipynb", long_training())
        page.open("long.ipynb")
        page.start()
        button = page.output(PLOT).locator("button", has_text="stop training")
        button.wait_for(timeout=1000 * SECONDS)
        page.wait_for_steps(3)
        button.click()
        notebook = page.finish(60)
        assert not errors(notebook)
        steps, interrupted = kept(notebook)
        assert 3 <= steps < 100_000 and interrupted == "True"
        area = page.output(PLOT)
        assert f"Stopped after {steps} of 100000 steps" in area.locator(
            "p[role=status]").inner_text()
        assert area.locator("button").is_disabled()

        # The same cell again goes on where the button stopped it; now the kernel's interrupt.
        page.run_cells([PLOT, "print('kept'"])
        button = page.output(PLOT).locator("button", has_text="stop training")
        button.wait_for()
        page.wait_for_steps(steps + 3)
        page.interrupt()
        notebook = page.finish(60)
        assert not errors(notebook)
        more, interrupted = kept(notebook)
        assert steps + 3 <= more < 100_000 and interrupted == "True"
        page.close()


RIGHT = '''def contrast(images, factors):
    grey = torch.einsum("c,nchw->nhw", torch.tensor([0.2989, 0.587, 0.114]), images)
    f = factors[:, None, None, None]
    return (f * images + (1 - f) * grey.mean((1, 2))[:, None, None, None]).clamp(0, 1)'''


def test_a_student_reads_the_checkers_line(page):
    path = next(p for p in NOTEBOOKS if p.stem.startswith("01"))
    student = make_student.student(nbformat.read(path, as_version=4))
    with photographed(page, "student"):
        page.write("student.ipynb", student.cells)
        page.open("student.ipynb")
        page.start()
        assert not errors(page.finish(SECONDS))
        check, stub = "from simclr_tut import checks\n\nchecks.contrast", "contrast = None"
        said = page.output(check).locator("pre").first
        assert "contrast" in said.inner_text() and "not attempted" in said.inner_text()

        wrong = RIGHT.replace("grey.mean((1, 2))[:, None, None, None]", "grey.mean()")
        for answer, sign, words in ((wrong, "✗", "mean of the whole batch"),
                                    (RIGHT, "✓", "equal to torchvision's")):
            page.set_source(stub, answer)
            stub = answer
            page.run_cells([answer, check])
            assert not errors(page.finish(60))
            line = page.output(check).locator("pre").first.inner_text()
            assert f"{sign} contrast" in line and words in line
        page.close()

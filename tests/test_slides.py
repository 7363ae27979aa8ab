"""`make slides`: one file, whole without a network, readable from the last row."""

import re
import sys

import nbformat
import nbformat.v4 as v4
import pytest
from notebook_files import ROOT

pytest.importorskip("latex2mathml", reason="pip install '.[test]' brings latex2mathml")
sys.path.insert(0, str(ROOT / "tools"))
import make_slides  # noqa: E402


@pytest.fixture(scope="module")
def notebooks():
    return [nbformat.read(next((ROOT / "notebooks").glob(f"{number}_*.ipynb")), as_version=4)
            for number in make_slides.NOTEBOOKS]


@pytest.fixture(scope="module")
def page(notebooks, tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "simclr.html"
    path.write_text(make_slides.build(notebooks), encoding="utf-8")
    return path


def test_every_notebook_has_slides_with_a_title_and_figures(notebooks):
    for notebook in notebooks:
        cells = make_slides.marked(notebook)
        assert cells[0].source.startswith("# ")
        assert cells[0].metadata.slideshow.slide_type == "slide"
        pictures = sum("data" in o for c in cells if c.cell_type == "code" for o in c.outputs)
        assert pictures >= 4 and len(cells) >= 10


def test_nothing_is_fetched(page):
    whole = page.read_text(encoding="utf-8")
    text = re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)  # its text asks for nothing
    assert len(whole) < 6e6 and "<script src" not in whole
    fetched = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', text)
    assert not [url for url in fetched if not url.startswith("https://arxiv.org")], fetched
    assert "@import" not in text and not re.findall(r"url\((?!['\"]?data:)", text)
    assert "MathJax" not in whole and "unpkg.com" not in whole and "cdnjs" not in whole


def test_figures_keep_their_alt_text(page):
    images = re.findall(r"<img[^>]*>", page.read_text(encoding="utf-8"))
    assert len(images) >= 12
    for image in images:
        assert re.search(r'alt="[^"]{40,}"', image), image[-300:]


def test_no_formula_is_left_as_latex(page):
    text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"),
                  flags=re.DOTALL)
    assert text.count("<math") >= 5
    assert not re.findall(r"\$[^$<]{1,80}\$|\\frac", re.sub(r"data:image[^\"]*", "", text))


def test_code_is_shown_where_a_cell_teaches_a_function_only():
    def cell(source, *tags):
        return v4.new_code_cell(source, metadata={"tags": list(tags),
                                                  "slideshow": {"slide_type": "slide"}})

    html = make_slides.build([v4.new_notebook(cells=[
        cell("SHOWN_ONE = 1", "shows:losses.nt_xent"), cell("HIDDEN_TWO = 2"),
        v4.new_code_cell("UNMARKED = 3")])])
    assert "SHOWN_ONE" in html and "HIDDEN_TWO" not in html and "UNMARKED" not in html


def test_it_opens_in_a_browser_without_a_network(page):
    """Chromium, offline: all slides are there, nothing is asked for, nothing leaves the screen."""
    import os
    import shutil

    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
        tab = context.new_page()
        asked, errors = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        tab.wait_for_function("window.Reveal && Reveal.isReady()")
        count = tab.evaluate("Reveal.getTotalSlides()")
        below, empty = [], []
        for number in range(count):
            tab.evaluate(f"Reveal.slide({number})")
            tab.evaluate("while (Reveal.availableFragments().next) Reveal.nextFragment()")
            bottom, text, shown = tab.evaluate("""() => {
                const slide = Reveal.getCurrentSlide();
                const seen = [...slide.querySelectorAll('p, li, pre, img, td, math, h1, h2, h3')]
                    .map(e => e.getBoundingClientRect()).filter(r => r.width && r.height);
                return [Math.max(0, ...seen.map(r => r.bottom)), slide.innerText.trim().length,
                        slide.querySelectorAll('img').length];
            }""")
            below += [(number, bottom)] if bottom > 722 else []
            empty += [number] if not (text or shown) or not bottom else []
        browser.close()
    assert count >= 30 and not below and not empty, (count, below, empty)
    assert len([url for url in asked if not url.startswith("data:")]) == 1, asked
    assert not errors

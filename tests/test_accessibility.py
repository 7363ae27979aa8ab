"""Readers who see colours otherwise, who hear the page, or who sit in the last row."""

import itertools
import re
from collections.abc import Mapping

import numpy as np
import pytest
from matplotlib.text import Text
from notebook_files import NOTEBOOKS, ROOT, read

from simclr_tut import plots

# Machado, Oliveira and Fernandes (2009), severity 1: what reaches the eye, in linear RGB.
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}
APART = 15  # CIE 1976 difference; about 2.3 can just be told apart side by side


def lab(color: str, seen: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as an eye sees it, white point D65."""
    rgb = np.array([int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (seen @ linear).clip(0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                    [0.0193, 0.1192, 0.9505]]) @ linear / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(first: str, second: str, eye: str) -> float:
    return float(np.linalg.norm(lab(first, SEEN[eye]) - lab(second, SEEN[eye])))


@pytest.mark.parametrize("eye", SEEN)
def test_palette_stays_apart(eye):
    closest = min((difference(a, b, eye), a, b) for a, b in itertools.combinations(plots.COLORS, 2))
    assert closest[0] > APART, closest
    assert len(set(plots.COLORS)) >= 10, "CIFAR-10 has ten classes"


def test_the_simulation_finds_a_bad_palette():
    """A red and a green of equal lightness meet for deuteranopes; blue and orange do not."""
    assert difference("#cc3311", "#668800", "normal") > 80
    assert difference("#cc3311", "#668800", "deuteranopia") < APART / 2
    assert difference("#1f77b4", "#ff7f0e", "deuteranopia") > APART
    white = [np.abs(lab("#ffffff", seen)[1:]).max() for seen in SEEN.values()]
    assert max(white) < 1.5, "grey must stay grey"


def test_heat_maps_rise_in_lightness():
    """A scale that is told by lightness can be read without seeing hue."""
    import matplotlib

    for eye in SEEN.values():
        light = [lab(matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](x)), eye)[0]
                 for x in np.linspace(0, 1, 20)]
        assert (np.diff(light) > 0).all()
    figure = plots.heat_map([[1, 2], [3, 4]], "ab", "cd", "t")
    assert figure.axes[0].images[0].get_cmap().name == "cividis"


# ------------------------------------------------------------------- one figure of every kind
def numbers(*shape):
    return np.random.default_rng(0).random(shape)


FIGURES: Mapping[str, object] = {
    "image_grid": plots.image_grid(numbers(8, 3, 8, 8), titles=list("abcdefgh"), columns=4,
                                   title="t", row_labels=["one", "two"]),
    "curves": plots.curves(range(10), {n: numbers(10) for n in "abcd"}, "t", "x", "y", {"l": 0.5}),
    "long curves": plots.curves(range(500), {n: numbers(500) for n in "abcd"}, "t", "x", "y"),
    "panels": plots.panels([{"x": range(90), "series": {"a": numbers(90), "b": numbers(90)},
                             "title": "p", "xlabel": "x", "ylabel": "y"}] * 3, "t"),
    "lines_with_intervals": plots.lines_with_intervals(
        [1, 10, 100], {n: numbers(3, 3) for n in "abcdef"}, "t", "x", "y"),
    "bars": plots.bars("abc", numbers(3), title="t", ylabel="y", baseline={"chance": 0.1}),
    "histogram": plots.histogram({"a": numbers(50), "b": numbers(50)}, "t", "x", {"m": 0.5}),
    "heat_map": plots.heat_map(numbers(3, 4), "abc", "defg", "t"),
    "points_map": plots.points_map([numbers(40, 2)] * 2, np.arange(40) % 10,
                                   [f"class {i}" for i in range(10)], "t", ["a", "b"]),
    "circle_arrows": plots.circle_arrows(numbers(4, 2), numbers(4, 2), "abcd", "t"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_in_figures_is_legible(name):
    """At 7 inches 8 points are 1.6 % of the width: 20 pixels on a projector with 1,280."""
    figure = FIGURES[name]
    figure.canvas.draw()
    assert figure.get_figwidth() <= 7
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    assert texts and min(t.get_fontsize() for t in texts) >= 8


@pytest.mark.parametrize("name", [name for name in FIGURES if FIGURES[name].axes[0].get_lines()])
def test_lines_differ_without_colour(name):
    """Drawn in grey, each of several named lines would still be told from the others."""
    for ax in FIGURES[name].axes:
        named = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
        looks = [(line.get_marker(), line.get_linestyle()) for line in named]
        assert len(set(looks)) == len(looks)
        for line in named if len(named) > 1 else []:
            assert line.get_linestyle() != "-" or line.get_marker() not in ("", "None", None)


@pytest.mark.parametrize("name", ["histogram", "points_map", "circle_arrows"])
def test_groups_differ_without_colour(name):
    ax = FIGURES[name].axes[0]
    if name == "histogram":
        looks = [str(patch.get_linestyle()) for patch in ax.patches if patch.get_label()[:1] != "_"]
    else:
        looks = [c.get_paths()[0].vertices.tobytes() for c in ax.collections]
    assert len(looks) > 1 and len(set(looks)) == len(looks)


# ---------------------------------------------------------------------------------- the pages
def headings(markdown: str) -> list[int]:
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"(?m)^(#{1,6}) ", prose)]


DOCUMENTS = {path.stem: "\n".join(c["source"] for c in read(path)["cells"]
                                  if c["cell_type"] == "markdown") for path in NOTEBOOKS}
DOCUMENTS |= {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.md"))}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_headings_are_in_order(name):
    """One first-level heading, at the start, and no level left out on the way down."""
    levels = headings(DOCUMENTS[name])
    assert levels[0] == 1 and levels.count(1) == 1, levels
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), levels


@pytest.mark.parametrize("name", DOCUMENTS)
def test_images_in_prose_have_alt_text(name):
    for alt in re.findall(r"!\[([^\]]*)\]\(", DOCUMENTS[name]):
        assert len(alt) >= 10, alt
    for tag in re.findall(r"<img[^>]*>", DOCUMENTS[name]):
        assert re.search(r'alt="[^"]{10,}"', tag), tag


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_prose_does_not_point_by_colour(path):
    """A sentence that names a line by its colour is lost on a reader who cannot see it."""
    words = (r"\b(?:blue|orange|green|red|yellow|pink|purple)\s+"
             r"(?:line|curve|bar|point|dot|arrow|area)s?")
    for cell in read(path)["cells"]:
        text = cell["source"] if cell["cell_type"] == "markdown" else "\n".join(
            re.findall(r'alt="([^"]*)', cell["source"]))
        assert not re.findall(words, text, re.IGNORECASE), text[:200]

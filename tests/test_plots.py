"""Figures: titles, labels, alt text."""

import base64

import numpy as np
import pytest
import torch

from simclr_tut import plots

X = [1, 2, 3]


@pytest.mark.parametrize("made", [
    lambda: plots.curves(X, {"a": X, "b": X}, "A finding", "x", "y", lines={"chance": 2}),
    lambda: plots.lines_with_intervals(X, {"a": (X, X, X)}, "A finding", "x", "y"),
    lambda: plots.bars(["a", "b"], [1, 2], [0.1, 0.2], "A finding", "x", "y", {"chance": 1}),
    lambda: plots.histogram({"a": np.random.rand(50)}, "A finding", "x", {"mean": 0.5}),
    lambda: plots.heat_map(np.eye(2), ["a", "b"], ["c", "d"], "A finding", "x", "y"),
    lambda: plots.points_map([np.random.rand(9, 2)] * 2, np.arange(9) % 3, list("abc"), "A finding",
                             ["left", "right"]),
    lambda: plots.circle_arrows(np.eye(2), np.eye(2), ["a", "b"], "A finding"),
])
def test_every_figure_has_its_finding_and_labelled_axes(made):
    figure = made()
    assert figure._suptitle.get_text() == "A finding"
    assert all(axes.get_ylabel() for axes in figure.axes[:1])
    assert all(axes.get_xlabel() for axes in figure.axes[:1])
    assert figure.get_figwidth() <= 7


def test_grids_take_bytes_and_floats_and_panels_hold_their_titles():
    plots.image_grid(torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8), list("abcde"), 4, "t")
    plots.image_grid(torch.rand(4, 1, 8, 8), columns=2, row_labels=["a", "b"])
    part = {"x": X, "series": {"a": X}, "title": "left", "xlabel": "x", "ylabel": "y"}
    figure = plots.panels([part, {**part, "title": "right"}, part])
    assert [a.get_title() for a in figure.axes][:2] == ["left", "right"]


def test_ours_and_the_paper_s_stand_side_by_side_each_on_its_own_axes():
    ours = {"x": [0.1, 1, 10], "series": {"a": (X, [0, 1, 2], [2, 3, 4])}, "intervals": True,
            "logx": True, "title": "ours", "xlabel": "x", "ylabel": "y"}
    paper = {"x": ["none", "linear", "MLP"], "series": {"b": X}, "title": "paper", "xlabel": "head",
             "ylabel": "points"}
    left, right = plots.panels([ours, paper]).axes
    assert left.get_xscale() == "log" and right.get_xscale() == "linear"
    assert [t.get_text() for t in left.get_xticklabels()] == ["0.1", "1", "10"]
    assert len(left.collections) == 1 and not right.collections  # the band
    assert [t.get_text() for t in right.get_xticklabels()] == ["none", "linear", "MLP"]


def test_dots_share_their_rows_and_leave_out_what_is_not_known():
    part = {"title": "left", "xlabel": "kNN %", "lines": {"chance": 1},
            "series": {"ours": [(2, 1, 4), 3, None], "theirs": [4, None, 5]}}
    figure = plots.dots(["a", "b", "c"], [part, {**part, "title": "right"}], "A finding")
    first, second = figure.axes
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["a", "b", "c"]
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[0] > first.get_ylim()[1]
    drawn = first.containers[0]
    assert np.isnan(drawn[0].get_xdata()).tolist() == [False, False, True]
    ends = drawn[2][0].get_segments()[0]
    assert ends[:, 0].tolist() == [1, 4]


def test_shown_figures_carry_png_and_alt_text(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display",
                        lambda data, **named: shown.append((data, named)))
    alt = "a line that rises from one to three over three steps"
    plots.show(plots.curves(X, {"a": X}, "t", "x", "y"), alt=alt)
    data, named = shown[0]
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert named["metadata"]["image/png"]["alt"] == alt and set(data) == {"image/png"}
    with pytest.raises(ValueError, match="at least 40 characters"):
        plots.show(plots.curves(X, {"a": X}, "t", "x", "y"), alt="a line")


def test_a_live_figure_is_replaced_in_place(monkeypatch):
    import IPython.display

    updates = []

    class Handle:
        def update(self, data, **named):
            updates.append(named["metadata"])

    monkeypatch.setattr(IPython.display, "display", lambda data, **named: Handle())
    live = plots.LiveFigure("the loss of a run, falling while it is watched, step by step")
    for _ in range(3):
        live.update(plots.curves(X, {"a": X}, "t", "x", "y"))
    assert len(updates) == 2 and updates[0]["image/png"]["alt"].startswith("the loss")


def test_the_palette_is_okabe_and_ito_s_and_two_more():
    assert set(plots.COLORS[:8]) == {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442",
                                     "#0072B2", "#D55E00", "#CC79A7"}
    assert plots.COLORS[8:] == ("#7818D8", "#603000")


@pytest.mark.parametrize("intervals", [False, True])
def test_no_line_runs_between_names(intervals):
    y = [0.2, 0.5, 0.3]
    series = {"h": (y, y, y) if intervals else y, "z": (y, y, y) if intervals else y}
    part = {"x": ["shape", "hue", "place"], "series": series, "intervals": intervals,
            "title": "A finding", "xlabel": "factor", "ylabel": "y", "lines": {"chance": 0.1}}
    ax = plots.panels([part]).axes[0]
    curves = [line for line in ax.lines if line.get_label() in series]
    assert [line.get_linestyle() for line in curves] == ["None", "None"]
    assert not set(curves[0].get_xdata()) & set(curves[1].get_xdata()), "one covers the other"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["shape", "hue", "place"]
    assert len(ax.collections) == (2 if intervals else 0), "an interval is a line of its own"


def test_many_series_stay_beside_their_own_names():
    series = {f"s{i}": [0.1, 0.2] for i in range(12)}
    ax = plots.panels([{"x": ["a", "b"], "series": series, "title": "t", "xlabel": "x",
                        "ylabel": "y"}]).axes[0]
    for line in ax.lines:
        assert np.abs(np.asarray(line.get_xdata()) - [0, 1]).max() < 0.5


def test_a_short_logarithmic_axis_names_its_own_values():
    ax = plots.curves([256, 512, 8192], {"a": [1, 2, 3]}, "t", "x", "y", logx=True).axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["256", "512", "8192"]
    assert len(ax.get_xticks(minor=True)) == 0
    long = plots.curves(range(1, 100), {"a": range(1, 100)}, "t", "x", "y", logx=True).axes[0]
    assert long.get_xscale() == "log" and len(long.get_xticks()) < 10


def test_a_coloured_picture_one_pixel_high_stays_coloured():
    shown = plots.image_grid(torch.rand(2, 3, 1, 5)).axes[0].images[0].get_array()
    assert shown.shape == (1, 5, 3)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: plots.image_grid(torch.rand(0, 3, 4, 4)), "images must hold"),
    (lambda: plots.image_grid(torch.rand(2, 3, 4, 4), columns=0), "columns must hold"),
    (lambda: plots.panels([]), "parts must hold"),
    (lambda: plots.bars(["a", "a"], [1, 2]), "names must be one for each value, all different"),
    (lambda: plots.bars(["a"], [1, 2]), "names must be one for each value"),
    (lambda: plots.points_map(np.zeros((2, 2)), [0, 3], ["a", "b"], "t"), "labels must be below 2"),
])
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

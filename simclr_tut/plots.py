"""Figures of the course: arrays in, Figure out; shown with alt text. Explained where they are used.

Colours are Okabe and Ito's and two more, which stay apart for colour-blind readers; markers say the
same again.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # half a second to load: it comes with the first figure
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
PURPLE, BROWN = "#7818D8", "#603000"  # ours, so that ten classes differ
COLORS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK, YELLOW, PURPLE, BROWN)
MARKERS = "osD^vPX*<>"
METHOD_COLORS = {"SimCLR": BLUE, "frozen SimCLR": BLUE, "supervised": RED,
                 "supervised, SimCLR's seconds": PURPLE, "fine-tuned": GREEN,
                 "random encoder": ORANGE, "raw pixels": "0.6", "colour histogram": SKY,
                 "predictive": YELLOW, "generative": PINK, "contrastive": BLUE, "chance": BLACK}
_DPI, _WIDTH = 110, 7.0


def figure(rows: int = 1, columns: int = 1, height: float = 3.4, title: str = "",
           width: float = _WIDTH) -> tuple[Figure, np.ndarray]:
    """Return an empty figure in the course's style and its axes, ``(rows, columns)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    if title:
        fig.suptitle(textwrap.fill(title, 78), fontsize=11)
    return fig, axes


def font_file() -> str:
    """Return the file of the figures' font, for pictures that are drawn without matplotlib."""
    from matplotlib import font_manager

    return font_manager.findfont("DejaVu Sans")


def image_grid(images, titles: Sequence[str] | None = None, columns: int = 8, title: str = "",
               row_labels: Sequence[str] | None = None) -> Figure:
    """Draw pictures, ``(N, C, H, W)`` uint8 or float in [0, 1], in rows."""
    _check_some(images=images, columns=range(columns))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cell = min(1.3, (_WIDTH - (0.9 if row_labels else 0)) / columns)
    fig, axes = figure(rows, columns, rows * (cell + (0.22 if titles else 0.05)) + 0.5, title)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        pixels = np.moveaxis(np.asarray(image), 0, -1)
        pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(float).clip(0, 1)
        grey = pixels.shape[-1] == 1
        ax.imshow(pixels[..., 0] if grey else pixels, cmap="gray" if grey else None,
                  interpolation="nearest")
        if titles:
            ax.set_title(titles[i], fontsize=8, pad=2)
        if row_labels and i % columns == 0:
            ax.set_ylabel(textwrap.fill(row_labels[i // columns], 14), fontsize=8, rotation=0,
                          ha="right", va="center")
    return fig


def look(i: int) -> tuple[str, str]:
    """Return the colour and the marker of series, class or group ``i``."""
    return COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]


def _draw_curves(ax: Axes, x, series: Mapping, lines: Mapping | None, intervals: bool = False,
                 legend: bool = True) -> None:
    named = len(x) > 0 and isinstance(x[0], str)  # kinds, not numbers: no line runs between them
    for i, (name, y) in enumerate(series.items()):
        color, shape = look(i)
        color = METHOD_COLORS.get(name, color)
        mean, *band = y if intervals else (y,)
        marker = {"color": color, "marker": shape, "label": name}
        if named:
            apart = min(0.14, 0.8 / len(series))  # side by side, each beside its own name
            places = np.arange(len(x)) + apart * (i - (len(series) - 1) / 2)
            ax.plot(places, mean, markersize=6, linestyle="none", **marker)
            if intervals:
                ax.vlines(places, *band, color=color, linewidth=1.5)
            continue
        # A long curve has few markers, at places of its own, so that colour is not needed.
        every = max(1, len(mean) // 12)
        ax.plot(x, mean, markersize=4, linewidth=1.5,
                markevery=(i * every // max(1, len(series)), every), **marker)
        if intervals:
            ax.fill_between(x, *band, color=color, alpha=0.2, linewidth=0)
    if named:
        ax.set_xticks(range(len(x)), [textwrap.fill(name, 11) for name in x])
        ax.set_xlim(-0.5, len(x) - 0.5 + (0.4 if lines else 0))  # room for the lines' names
    for i, (name, value) in enumerate((lines or {}).items()):
        ax.axhline(value, color="0.35", linestyle=("--", ":", "-.")[i % 3], linewidth=1)
        ax.annotate(name, (0.99, value), xycoords=("axes fraction", "data"), ha="right",
                    va="bottom", fontsize=8, color="0.25")
    if legend and len(series) > 1:
        ax.legend(fontsize=8, frameon=False)


def curves(x, series: Mapping[str, Sequence[float]], title: str, xlabel: str, ylabel: str,
           lines: Mapping[str, float] | None = None, logx: bool = False) -> Figure:
    """Draw named curves over x, with named horizontal lines for chance, floor or baselines."""
    fig, axes = figure(title=title)
    ax = axes[0, 0]
    _draw_curves(ax, x, series, lines)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        _logarithmic(ax, x)
    return fig


def panels(parts: Sequence[dict], title: str = "") -> Figure:
    """Draw small curve plots side by side, as ours beside the paper's.

    Args: parts: dicts with x (numbers or names), series, title, xlabel, ylabel; where wanted lines,
        logx, legend (false: none), and intervals: true when each series is (mean, low, high).
    """
    _check_some(parts=parts)
    columns = min(len(parts), 2)
    rows = -(-len(parts) // columns)
    fig, axes = figure(rows, columns, 2.7 * rows + 0.3, title)
    for ax, part in zip(axes.flat, parts, strict=False):
        _draw_curves(ax, part["x"], part["series"], part.get("lines"),
                     part.get("intervals", False), part.get("legend", True))
        ax.set(xlabel=part["xlabel"], ylabel=part["ylabel"])
        if part.get("logx"):
            _logarithmic(ax, part["x"])
        ax.set_title(textwrap.fill(part["title"], 40), fontsize=10)
    for ax in axes.flat[len(parts):]:
        ax.set_visible(False)
    return fig


def lines_with_intervals(x, series: Mapping, title: str, xlabel: str, ylabel: str,
                         logx: bool = True, lines: Mapping[str, float] | None = None) -> Figure:
    """Draw curves with bands: ``{name: (mean, low, high)}``."""
    fig, axes = figure(height=4.0, title=title)
    ax = axes[0, 0]
    _draw_curves(ax, x, series, lines, intervals=True)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        _logarithmic(ax, x)
    return fig


def _logarithmic(ax: Axes, x: Sequence[float]) -> None:
    """Put x on a logarithmic axis and, where they are few, name its own values there."""
    ax.set_xscale("log")
    if len(x) <= 8:
        ax.set_xticks(list(x), [f"{v:g}" for v in x])
        ax.minorticks_off()


def bars(names: Sequence[str], values: Sequence[float], errors=None, title: str = "",
         xlabel: str = "", ylabel: str = "", baseline: Mapping[str, float] | None = None,
         digits: int = 2) -> Figure:
    """Draw one labelled bar a name; ``baseline`` draws named horizontal lines."""
    if len(names) != len(values) or len(set(names)) != len(names):
        raise ValueError("names must be one for each value, all different; got "
                         f"{list(names)} for {len(values)} values.")
    fig, axes = figure(title=title)
    ax = axes[0, 0]
    colors = [METHOD_COLORS.get(n.removesuffix(", whitened"), BLUE) for n in names]
    drawn = ax.bar([textwrap.fill(n, 14) for n in names], values, yerr=errors, color=colors,
                   edgecolor="black", linewidth=0.6, capsize=3,
                   hatch=["///" if n.endswith("whitened") else "" for n in names])
    ax.bar_label(drawn, fmt=f"%.{digits}f", fontsize=9, padding=2)
    if baseline:
        ax.set_xlim(-0.6, len(names) + 0.1)  # room for the lines' names beside the last bar
    _draw_curves(ax, [], {}, baseline)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(y=0.15)
    return fig


def histogram(series: Mapping[str, Sequence[float]], title: str, xlabel: str,
              lines: Mapping[str, float] | None = None, bins: int = 40) -> Figure:
    """Draw how named values are distributed; ``lines`` draws named vertical lines."""
    fig, axes = figure(title=title)
    ax = axes[0, 0]
    for i, (name, values) in enumerate(series.items()):
        ax.hist(np.asarray(values), bins=bins, histtype="step", linewidth=1.6, density=True,
                color=look(i)[0], linestyle=("-", "--", ":")[i % 3], label=name)
    for name, value in (lines or {}).items():
        ax.axvline(value, color="0.35", linestyle="--", linewidth=1)
        ax.annotate(name, (value, 0.98), xycoords=("data", "axes fraction"), fontsize=8, va="top")
    ax.legend(fontsize=8, frameon=False)
    ax.set(xlabel=xlabel, ylabel="density")
    return fig


def heat_map(matrix, rows: Sequence[str], columns: Sequence[str], title: str, xlabel: str = "",
             ylabel: str = "", digits: int = 0, by_column: bool = False) -> Figure:
    """Draw a matrix with its values written in the cells.

    Args: by_column: colour each column on a scale of its own, for columns of different units.
    """
    matrix = np.asarray(matrix, dtype=float)
    colors = matrix
    if by_column:
        low = np.nanmin(matrix, axis=0)
        colors = (matrix - low) / np.maximum(np.nanmax(matrix, axis=0) - low, 1e-12)
    fig, axes = figure(height=min(6.5, 1.4 + 0.5 * len(rows)), title=title)
    ax = axes[0, 0]
    shown = ax.imshow(colors, cmap="cividis", aspect="auto")
    middle = (np.nanmin(colors) + np.nanmax(colors)) / 2
    for (i, j), value in np.ndenumerate(matrix):
        written = "–" if np.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"
        dark = np.isnan(value) or colors[i, j] > middle
        ax.text(j, i, written, ha="center", va="center", fontsize=8,
                color="black" if dark else "white")
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    if by_column and not xlabel:
        xlabel = "bright: largest of its column, which is not always best"
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if not by_column:
        fig.colorbar(shown, ax=ax)
    return fig


def dots(names: Sequence[str], parts: Sequence[dict], title: str) -> Figure:
    """Draw one row a name and panels side by side that share the rows.

    Args: parts: each with title, xlabel, lines (named vertical ones, optional) and series:
        ``{label: one entry a name}``, an entry being (mean, low, high), a number, or None. A
        series that has its panel's title is not named again.
    """
    fig, axes = figure(1, len(parts), 1.9 + 0.3 * len(names), title)
    style = 0  # a colour and marker of its own for each series of all panels
    for ax, part in zip(axes.flat, parts, strict=True):
        count = len(part["series"])
        for i, (label, entries) in enumerate(part["series"].items()):
            values = np.array([e if isinstance(e, tuple) else (np.nan if e is None else e,) * 3
                               for e in entries], dtype=float)
            mean, low, high = values.T
            color, marker = look(style)
            ax.errorbar(mean, np.arange(len(names)) + 0.2 * (i - (count - 1) / 2),
                        xerr=(mean - low, high - mean), fmt=marker, color=color, markersize=5,
                        capsize=2, linewidth=1.2, label=None if label == part["title"] else label)
            style += 1
        for i, (label, value) in enumerate(part.get("lines", {}).items()):
            ax.axvline(value, color="0.35", linestyle=("--", ":", "-.")[i % 3], label=label)
        ax.set_yticks(range(len(names)), names if ax is axes[0, 0] else [""] * len(names))
        ax.set(xlabel=part["xlabel"], ylim=(len(names) - 0.5, -0.5))
        ax.set_title(textwrap.fill(part["title"], 40), fontsize=10)
        ax.grid(axis="y", color="0.9", linewidth=0.6)
        below = 0.45 / (0.6 + 0.3 * len(names))  # half an inch, in heights of the axes
        if ax.get_legend_handles_labels()[1]:
            ax.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -below))
    return fig


def points_map(xy, labels, classes: Sequence[str], title: str, panels_titles=None) -> Figure:
    """Draw maps of points, one ``(N, 2)`` array or a list of them, coloured by class."""
    maps = list(xy) if isinstance(xy, (list, tuple)) else [xy]
    labels = np.asarray(labels)
    if not np.isin(labels, np.arange(len(classes))).all():
        raise ValueError(f"labels must be below {len(classes)}, the number of classes, and not "
                         f"negative; got {labels.min()} to {labels.max()}. Leave points without a "
                         "label out.")
    columns = min(len(maps), 2)
    rows = -(-len(maps) // columns)
    fig, axes = figure(rows, columns, (3.3 if columns > 1 else 5) * rows + 0.9, title)
    for index, (ax, points) in enumerate(zip(axes.flat, maps, strict=False)):
        for k, name in enumerate(classes):
            chosen, (color, marker) = np.asarray(points)[labels == k], look(k)
            ax.scatter(chosen[:, 0], chosen[:, 1], s=9, color=color, alpha=0.7, marker=marker,
                       linewidths=0, label=name if index == 0 else None)
        ax.set(xticks=[], yticks=[], xlabel="map axis 1", ylabel="map axis 2")
        if panels_titles:
            ax.set_title(panels_titles[index], fontsize=9)
    fig.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False, markerscale=2)
    return fig


def circle_arrows(points, arrows, names: Sequence[str], title: str,
                  panel_titles: Sequence[str] | None = None,
                  groups: Sequence[int] | None = None) -> Figure:
    """Draw points on the unit circle with arrows; a list of ``(N, 2)`` arrays draws panels.

    ``groups``, one number a point, gives points that belong together one colour and marker.
    """
    many = panel_titles is not None
    parts = list(zip(points, arrows, strict=True)) if many else [(points, arrows)]
    fig, axes = figure(1, len(parts), 2.9 if many else 4.5, title)
    around = np.linspace(0, 2 * np.pi, 200)
    for index, (ax, (place, arrow)) in enumerate(zip(axes.flat, parts, strict=True)):
        place, arrow = np.asarray(place), np.asarray(arrow)
        ax.plot(np.cos(around), np.sin(around), color="0.8", linewidth=1)
        for i, (p, a) in enumerate(zip(place, arrow, strict=True)):
            color, marker = look(groups[i] if groups is not None else i)
            ax.scatter(*p, color=color, marker=marker, s=36, zorder=3,
                       label=names[i] if index == 0 else None)
            if np.abs(a).max() > 0.01:
                ax.annotate("", p + a, p, arrowprops={"arrowstyle": "->", "color": color})
        ax.set(aspect="equal", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), xlabel="dimension 1",
               ylabel="dimension 2")
        if panel_titles:
            ax.set_title(panel_titles[index], fontsize=9)
    fig.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return fig


def _bundle(fig: Figure, alt: str) -> tuple[dict, dict]:
    if len(alt) < 40:
        raise ValueError(f"alt must tell in at least 40 characters what is drawn; got {alt!r}.")
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=_DPI)
    data = {"image/png": base64.b64encode(file.getvalue()).decode()}
    return data, {"image/png": {"alt": alt}}


def show(fig: Figure, alt: str) -> None:
    """Show a figure as PNG with its alt text in the output's metadata."""
    from IPython.display import display

    data, metadata = _bundle(fig, alt)
    display(data, metadata=metadata, raw=True)


class LiveFigure:
    """One place in a notebook whose picture is replaced while something runs."""

    def __init__(self, alt: str) -> None:
        self.alt, self._handle = alt, None

    def update(self, fig: Figure) -> None:
        """Show ``fig`` in place of the figure before it."""
        from IPython.display import display

        data, metadata = _bundle(fig, self.alt)
        if self._handle is None:
            self._handle = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._handle.update(data, metadata=metadata, raw=True)


def _check_some(**given: Sequence) -> None:
    for name, values in given.items():
        if not len(values):
            raise ValueError(f"{name} must hold at least one; got none.")

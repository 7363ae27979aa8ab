"""Pictures of the widgets, drawn pixel by pixel: a figure would take ten times as long.

Part of ``widgets``. Tensors in, PNG bytes out; text is in the font of the figures.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from PIL import Image, ImageDraw, ImageFont

from simclr_tut import plots

_TILE, _COLUMN, _ROW = 64, 92, 92  # pixels of a small picture, and of its place with its name


@lru_cache(maxsize=8)
def _font(size: int):
    return ImageFont.truetype(plots.font_file(), size)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="png", compress_level=1)  # quick; the still picture packs better
    return file.getvalue()


def _pillow(image: torch.Tensor) -> Image.Image:
    """A ``(C, H, W)`` tensor, uint8 or float in [0, 1], as a picture of Pillow."""
    if image.dtype != torch.uint8:
        image = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def _fit(image: torch.Tensor, side: int) -> Image.Image:
    return _pillow(image).resize((side, side), Image.Resampling.NEAREST)


def rows(batches: Mapping[str, torch.Tensor], scale: int = 3, gap: int = 2) -> bytes:
    """Batches of ``(N, C, H, W)`` pictures, a row each, with its name on the left."""
    n, _, height, width = next(iter(batches.values())).shape
    high, wide, left = (height + gap) * scale, (width + gap) * scale, 76
    picture = Image.new("RGB", (left + n * wide, len(batches) * high), "white")
    pen = ImageDraw.Draw(picture)
    for row, (name, batch) in enumerate(batches.items()):
        pen.text((0, (row + 0.5) * high), name, fill="black", font=_font(15), anchor="lm")
        for column, image in enumerate(batch):
            large = _pillow(image).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            picture.paste(large, (left + column * wide, row * high))
    return _png(picture)


def circle(points: torch.Tensor, arrows: torch.Tensor, names: Sequence[str],
           groups: Sequence[int]) -> bytes:
    """Points ``(N, 2)`` on the unit circle, each with its name, and arrows ``(N, 2)``."""
    width, height, radius = 560, 430, 150
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse([width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius],
                outline="#bbbbbb", width=2)
    middle, flip = torch.tensor([width / 2, height / 2]), torch.tensor([1.0, -1.0])
    for point, arrow, name, group in zip(points, arrows, names, groups, strict=True):
        x, y = (radius * flip * point + middle).tolist()
        color = plots.look(group)[0]
        if radius * float(arrow.norm()) > 4:
            _arrow(pen, x, y, radius * float(arrow[0]), -radius * float(arrow[1]), color)
        if len(name) <= 2:  # it fits into the point
            pen.ellipse([x - 12, y - 12, x + 12, y + 12], fill="white", outline=color, width=4)
            pen.text((x, y), name, fill="black", font=_font(14), anchor="mm")
        else:
            pen.ellipse([x - 7, y - 7, x + 7, y + 7], fill=color, outline="black")
            side = "l" if float(point[0]) > 0.3 else "r" if float(point[0]) < -0.3 else "m"
            pen.text(((radius + 22) * flip * point + middle).tolist(), name, fill="black",
                     font=_font(15), anchor=f"{side}m")
    return _png(picture)


def _arrow(pen: ImageDraw.ImageDraw, x: float, y: float, dx: float, dy: float, color: str) -> None:
    turn = math.atan2(dy, dx)
    tip = (x + dx, y + dy)
    pen.line([(x, y), tip], fill=color, width=4)
    pen.polygon([tip, *((tip[0] - 13 * math.cos(turn + side), tip[1] - 13 * math.sin(turn + side))
                        for side in (0.5, -0.5))], fill=color)


def bars(values: Mapping[str, float], title: str, top: float, digits: int = 3,
         intervals: Mapping[str, tuple[float, float]] | None = None) -> bytes:
    """Horizontal bars from 0 to ``top``, with names, values, and intervals as whiskers."""
    widest = max((_font(15).getlength(name) for name in values), default=0)
    left = min(330, max(170, math.ceil(widest) + 20))
    full = 500 - left
    picture = Image.new("RGB", (640, 50 + 44 * len(values)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((10, 10), title, fill="black", font=_font(16))

    def across(value: float) -> float:
        return left + full * max(0.0, min(1.0, value / top))

    for row, (name, value) in enumerate(values.items()):
        y, end = 46 + 44 * row, across(value)
        color = plots.METHOD_COLORS.get(name, plots.look(row)[0])
        pen.text((10, y + 14), name, fill="black", font=_font(15), anchor="lm")
        pen.rectangle([left, y, end, y + 28], fill=color, outline="black")
        if intervals and name in intervals:
            low, high = map(across, intervals[name])
            pen.line([(low, y + 14), (high, y + 14)], fill="black", width=2)
            for x in (low, high):
                pen.line([(x, y + 8), (x, y + 20)], fill="black", width=2)
            end = max(end, high)
        pen.text((end + 10, y + 14), f"{value:.{digits}f}", fill="black", font=_font(15),
                 anchor="lm")
    return _png(picture)


def _tiles(picture: Image.Image, left: int, top: int, columns: int, images: Sequence[torch.Tensor],
           names: Sequence[str], same: Sequence[bool]) -> None:
    """Paste small pictures with their names; the frame and a sign say who shares the class."""
    pen = ImageDraw.Draw(picture)
    for i, (image, name, equal) in enumerate(zip(images, names, same, strict=True)):
        x, y = left + i % columns * _COLUMN, top + i // columns * _ROW
        picture.paste(_fit(image, _TILE), (x + 4, y + 4))
        pen.rectangle([x, y, x + _TILE + 7, y + _TILE + 7], width=4,
                      outline=plots.BLUE if equal else "#dddddd")
        pen.text((x + 2, y + _TILE + 10), f"{'✓' if equal else '✗'} {name[:10]}", fill="black",
                 font=_font(12))


def neighbours(query: torch.Tensor, name: str, images: Sequence[torch.Tensor],
               names: Sequence[str], same: Sequence[bool]) -> bytes:
    """A large picture and up to sixteen small ones beside it, with names."""
    picture = Image.new("RGB", (160 + 8 * _COLUMN, 2 * _ROW), "white")
    picture.paste(_fit(query, 132), (0, 4))
    ImageDraw.Draw(picture).text((0, 142), f"query: {name}", fill="black", font=_font(15))
    _tiles(picture, 160, 0, 8, images, names, same)
    return _png(picture)


class PointMap:
    """A map of points; one is marked, its class stands out, and its picture lies beside."""

    side = 420

    def __init__(self, place: torch.Tensor, labels: torch.Tensor) -> None:
        """Args: place: ``(N, 2)`` in [0, 1], x to the right and y up.  labels: ``(N,)``."""
        self.place, self.labels = place, labels
        self.pixels = (12 + place * torch.tensor([1.0, -1.0]) * (self.side - 24)
                       + torch.tensor([0.0, self.side - 24])).round().int()
        self._by_class = lru_cache(maxsize=32)(self._draw_class)

    def _draw_class(self, label: int) -> Image.Image:
        picture = Image.new("RGB", (self.side, self.side), "white")
        pen = ImageDraw.Draw(picture)
        pen.rectangle([0, 0, self.side - 1, self.side - 1], outline="#bbbbbb")
        mine = (self.labels == label).tolist()
        for x, y in (xy for xy, is_mine in zip(self.pixels.tolist(), mine) if not is_mine):
            pen.rectangle([x - 1, y - 1, x + 1, y + 1], fill="#c4c4c4")
        for x, y in (xy for xy, is_mine in zip(self.pixels.tolist(), mine) if is_mine):
            pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=plots.BLUE, outline="white")
        return picture

    def draw(self, point: int, near: Sequence[int], images: torch.Tensor,
             names: Sequence[str]) -> bytes:
        """PNG of the map with ``point`` marked, its picture, and those of ``near``."""
        left = self.side + 20
        picture = Image.new("RGB", (left + 4 * _COLUMN, self.side), "white")
        picture.paste(self._by_class(int(self.labels[point])), (0, 0))
        pen = ImageDraw.Draw(picture)
        for i in near:
            x, y = self.pixels[i].tolist()
            pen.ellipse([x - 6, y - 6, x + 6, y + 6], outline=plots.BLACK, width=2)
        x, y = self.pixels[point].tolist()
        pen.rectangle([x - 9, y - 9, x + 9, y + 9], outline=plots.RED, width=4)
        pen.line([(x + 9, y), (left, 70)], fill=plots.RED, width=2)
        pen.rectangle([left - 2, 0, left + 133, 135], fill=plots.RED)
        picture.paste(_fit(images[point], 128), (left + 2, 4))
        pen.text((left + 144, 4), f"at the square:\n{names[point]}\n\nlarge dots: its class\n"
                                  "rings: beside it", fill="black", font=_font(15))
        pen.text((left, 150), "The ringed points, nearest first:", fill="black", font=_font(15))
        _tiles(picture, left, 176, 4, [images[i] for i in near], [names[i] for i in near],
               [bool(self.labels[i] == self.labels[point]) for i in near])
        return _png(picture)


def still(png: bytes, text: str) -> bytes:
    """The picture with ``text`` written under it: what a saved page shows."""
    above = Image.open(io.BytesIO(png))
    width = max(above.width, 480)
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, width // 8)]
    picture = Image.new("RGB", (width, above.height + 22 * len(lines) + 14), "white")
    picture.paste(above, (0, 0))
    ImageDraw.Draw(picture).multiline_text((4, above.height + 8), "\n".join(lines), fill="black",
                                           font=_font(14), spacing=6)
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()

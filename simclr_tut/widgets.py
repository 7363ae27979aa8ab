"""Things to move: sliders and buttons beside the pictures of the notebooks.

Each function shows its controls and one picture, returns the widget, and leaves a PNG with alt
text in the saved notebook. It uses what ipywidgets 7.7 and 8 share. Controls are labelled and
move by keyboard: Tab to reach one, arrow keys to change it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import ipywidgets as w
import torch
from torch.nn import functional as F

from simclr_tut import losses, plots, views

_DESCRIPTION = {"description_width": "190px"}


@dataclass
class Explorer:
    """A widget whose parts can be reached.

    Attributes: controls, by name.  image: the picture, PNG.  text: a line under it.  box: all.
    draw: makes PNG and sentence from the controls' values.  facts: the last ``sentence``.
    """

    controls: dict[str, w.Widget]
    image: w.Image
    text: w.HTML
    box: w.VBox
    draw: Callable
    facts: dict = field(default_factory=dict)

    def value(self, name: str):
        """The value of a control."""
        return self.controls[name].value


def _slider(kind: type, label: str, **settings) -> w.Widget:
    return kind(description=label, style=_DESCRIPTION, layout=w.Layout(width="480px"),
                continuous_update=True, **settings)


def _explorer(controls: Mapping[str, w.Widget], draw: Callable[..., tuple], alt: str,
              show: bool, extra: Sequence[w.Widget] = ()) -> Explorer:
    """Join controls and ``draw(**values) -> (PNG bytes, sentence)`` to one widget."""
    image, text = w.Image(format="png"), w.HTML()
    box = w.VBox([*controls.values(), *extra, image, text])
    made = Explorer(dict(controls), image, text, box, draw)

    def refresh(_=None) -> None:
        image.value, sentence = draw(**{name: c.value for name, c in controls.items()})
        text.value = f"<p role='status'>{sentence}</p>"
        made.facts["sentence"] = sentence

    for control in controls.values():
        control.observe(refresh, names="value")
    refresh()
    if show:
        _show(made, alt)
    return made


def _show(made: Explorer, alt: str) -> None:
    """One output: the live widget, and its PNG for readers without a kernel."""
    import base64

    from IPython.display import display

    if len(alt) < 40:
        raise ValueError(f"alt must tell in at least 40 characters what is drawn; got {alt!r}.")
    data = {"image/png": base64.b64encode(made.image.value).decode(),
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": made.box.model_id}}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def augmentation_strengths(images: torch.Tensor, seed: int = 0, show: bool = True) -> Explorer:
    """Set crop, colour, grey and blur, and see two views of eight pictures. Notebook 01."""
    images = images[:8]

    def draw(crop: float, color: float, gray: float, blur: float, draw_number: int) -> tuple:
        policy = views.Views(images.shape[-1], crop=(crop, 1.0), color=color, gray=gray, blur=blur)
        pair = policy(images, generator=torch.Generator().manual_seed(seed + draw_number))
        whole = images.float() / 255 if images.dtype == torch.uint8 else images
        change = float(torch.cat([(v - whole).abs().mean((1, 2, 3)) for v in pair]).mean())
        # Put together as one array: eight axes a row would take ten times as long to draw.
        side = images.shape[-1]
        sheet = torch.ones(3, 3 * (side + 2), 8 * (side + 2))
        for row, batch in enumerate((whole, *pair)):
            for column, picture in enumerate(batch):
                top, left = row * (side + 2), column * (side + 2)
                sheet[:, top:top + side, left:left + side] = picture
        return _picture(sheet, 3), (
            f"Rows: picture, view 1, view 2. Mean change of a pixel: {255 * change:.0f} of 255.")

    return _explorer({
        "crop": _slider(w.FloatSlider, "smallest crop (share)", value=0.2, min=0.05, max=1.0,
                        step=0.05),
        "color": _slider(w.FloatSlider, "colour strength s", value=0.5, min=0.0, max=1.25,
                         step=0.05),
        "gray": _slider(w.FloatSlider, "probability of grey", value=0.2, min=0.0, max=1.0,
                        step=0.05),
        "blur": _slider(w.FloatSlider, "probability of blur", value=0.0, min=0.0, max=1.0,
                        step=0.05),
        "draw_number": _slider(w.IntSlider, "draw again", value=0, min=0, max=50),
    }, draw, "Eight pictures in the first row and two random views of each below, drawn with the "
             "strengths that the sliders are set to.", show)


def _picture(sheet: torch.Tensor, scale: int) -> bytes:
    """PNG of a ``(3, H, W)`` tensor in [0, 1], enlarged without smoothing."""
    from PIL import Image

    pixels = (sheet.clamp(0, 1) * 255).round().to(torch.uint8)
    if len(pixels) == 1:
        pixels = pixels.expand(3, *pixels.shape[1:])
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return _bytes(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))


def temperature_circle(show: bool = True) -> Explorer:
    """Move the temperature and the near negative, and see who is pulled and pushed. Notebook 03."""
    def draw(temperature: float, near: int) -> tuple:
        angle = torch.tensor([0.0, 40.0, -float(near), 180.0]).deg2rad()
        points = torch.stack([angle.cos(), angle.sin()], 1)
        p = (points[1:] @ points[0] / temperature).softmax(0)
        force = torch.stack([1 - p[0], -p[1], -p[2]])[:, None] * points[0]
        arrows = torch.cat([0 * points[:1], 0.7 * force / force.abs().max().clamp_min(1e-9)])
        share = float(p[1] / (p[1] + p[2]))
        sentence = (f"Temperature {temperature:.2f}: the near negative gets {100 * share:.0f} % of "
                    f"the push; the positive's share is {100 * float(p[0]):.0f} %.")
        names = ["anchor", "positive", "near negative", "far negative"]
        return _circle(points, arrows, names, range(4)), sentence

    return _explorer({
        "temperature": _slider(w.FloatLogSlider, "temperature", value=0.1, base=10, min=-1.5,
                               max=0.3, step=0.05),
        "near": _slider(w.IntSlider, "near negative at (degrees)", value=60, min=5, max=175,
                        step=5),
    }, draw, "A unit circle with an anchor, its positive, a near and a far negative, and arrows "
             "that show the force of the loss on each.", show)


def points_on_circle(pairs: int = 6, steps: int = 150, show: bool = True) -> Explorer:
    """Play the loss on points of a circle, step by step, at a temperature. Notebook 03.

    Every temperature's path is computed when it is first chosen, a fraction of a second.
    """
    paths: dict[float, list] = {}

    def path(temperature: float) -> list:
        if temperature not in paths:
            free = 0.6 * torch.randn(2 * pairs, generator=torch.Generator().manual_seed(4))
            free.requires_grad_()
            optimizer, seen = torch.optim.Adam([free], lr=0.05), []
            for _ in range(steps + 1):
                circle = torch.stack([free.cos(), free.sin()], 1)
                loss = losses.nt_xent(circle[:pairs], circle[pairs:], temperature)
                seen.append((float(loss.detach()), circle.detach().clone()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            paths[temperature] = seen
        return paths[temperature]

    temperatures = (0.1, 0.3, 1.0, 2.0)
    for value in temperatures:
        path(value)
    names = [str(i + 1) for i in range(pairs)] * 2  # both views carry their picture's number

    def draw(step: int, temperature: float) -> tuple:
        loss, points = path(temperature)[step]
        gap = float((points[:pairs] - points[pairs:]).norm(dim=1).mean())
        sentence = (f"Step {step}: loss {loss:.2f}; two views of a picture lie {gap:.2f} apart on "
                    "average.")
        return _circle(points, torch.zeros_like(points), names, [*range(pairs)] * 2), sentence

    step = _slider(w.IntSlider, "step", value=20, min=0, max=steps)
    play = w.Play(value=20, min=0, max=steps, interval=150, description="play")
    link = w.jslink((play, "value"), (step, "value"))
    made = _explorer({
        "step": step,
        "temperature": w.SelectionSlider(description="temperature", options=temperatures, value=0.3,
                                         style=_DESCRIPTION, layout=w.Layout(width="480px")),
    }, draw, "Twelve points on a circle, two for each of six pictures, moved by the loss alone to "
             "the step that the slider is set to.", show, [play])
    made.facts["link"] = link
    return made


def loss_calculator(show: bool = True) -> Explorer:
    """Chance, floor and progress of your own N, temperature and loss. Notebook 03."""
    def draw(log2_n: int, temperature: float, loss: float) -> tuple:
        n = 2**log2_n
        chance, floor = losses.chance_loss(n), losses.loss_floor(n, temperature)
        done = (chance - loss) / (chance - floor)
        state = ("below the floor: impossible, is the diagonal left in or the mean a sum?"
                 if loss < floor - 1e-3 else "above chance: worse than guessing"
                 if loss > chance else f"{100 * done:.0f} % of the way")
        picture = _bars({"chance": chance, "your loss": loss, "floor": floor},
                        f"NT-Xent in nats, N = {n}, temperature {temperature:.2f}", 10.0)
        return picture, (f"N = {n}: chance {chance:.3f}, floor {floor:.3f}, progress {done:.2f}: "
                        f"{state}.")

    return _explorer({
        "log2_n": _slider(w.IntSlider, "log2 of N, pictures a batch", value=9, min=2, max=13),
        "temperature": _slider(w.FloatSlider, "temperature", value=0.5, min=0.05, max=2.0,
                               step=0.05),
        "loss": _slider(w.FloatSlider, "your loss (nats)", value=4.95, min=0.0, max=10.0,
                        step=0.05),
    }, draw, "Three bars: the chance level, a loss, and the floor, for the batch size and the "
             "temperature that the sliders are set to.", show)


def _font(size: int):
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def _circle(points: torch.Tensor, arrows: torch.Tensor, labels: Sequence[str],
            groups: Sequence[int]) -> bytes:
    """PNG of points on the unit circle, each with a label, and arrows; a few milliseconds."""
    from PIL import Image, ImageDraw

    side, middle, radius = 460, 230, 150
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse([middle - radius] * 2 + [middle + radius] * 2, outline="#bbbbbb", width=2)
    place = (points * torch.tensor([radius, -radius]) + middle).tolist()
    for (x, y), arrow, label, group, (a, b) in zip(place, arrows.tolist(), labels, groups,
                                                  points.tolist(), strict=True):
        color = plots.COLORS[group % 8]
        if max(map(abs, arrow)) > 0.01:
            tip = (x + radius * arrow[0], y - radius * arrow[1])
            pen.line([(x, y), tip], fill=color, width=4)
            back = -1 if arrow[0] > 0 else 1  # all forces lie along the anchor: left or right
            pen.polygon([tip, (tip[0] + 12 * back, tip[1] - 7), (tip[0] + 12 * back, tip[1] + 7)],
                        fill=color)
        pen.ellipse([x - 7, y - 7, x + 7, y + 7], fill=color, outline="black")
        pen.text((middle + (radius + 34) * a, middle - (radius + 34) * b), label, fill="black",
                 font=_font(15), anchor="mm")
    return _bytes(picture)


def _bars(values: Mapping[str, float], title: str, top: float) -> bytes:
    """PNG of horizontal bars with their names and values written beside them."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (560, 50 + 44 * len(values)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((10, 10), title, fill="black", font=_font(16))
    for row, (name, value) in enumerate(values.items()):
        y, length = 46 + 44 * row, 300 * max(0.0, min(1.0, value / top))
        pen.text((10, y + 6), name, fill="black", font=_font(15))
        pen.rectangle([160, y, 160 + length, y + 28], fill=plots.COLORS[row % 8], outline="black")
        pen.text((170 + length, y + 6), f"{value:.3f}", fill="black", font=_font(15))
    return _bytes(picture)


def _bytes(picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="png")
    return file.getvalue()


def _sheet(images: torch.Tensor, chosen: Sequence[int], gap: int = 2) -> torch.Tensor:
    pictures = images[list(chosen)]
    pictures = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
    return torch.cat([F.pad(p.expand(3, -1, -1), (gap,) * 4, value=1.0) for p in pictures], 2)


def knn_explorer(images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str],
                 features: Mapping[str, torch.Tensor], show: bool = True) -> Explorer:
    """Choose a picture, k and the layer, and see its neighbours and their vote. Notebook 05.

    Args:
        images, labels: the set that is searched within itself.
        features: ``(N, F)`` for each layer, such as {"h": ..., "z": ...}.
    """
    nearest = {}
    for name, value in features.items():
        unit = F.normalize(value.float(), dim=1)
        similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
        nearest[name] = similarity.topk(min(20, len(images) - 1), dim=1)

    def draw(query: int, k: int, layer: str) -> tuple:
        near = nearest[layer].indices[query, :k]
        right = int((labels[near] == labels[query]).sum())
        names = ", ".join(classes[int(i)] for i in labels[near])
        votes = torch.bincount(labels[near], minlength=len(classes))
        return _picture(_sheet(images, [query, *near.tolist()]), 2), (
            f"Picture {query} ({classes[int(labels[query])]}), layer {layer}: the vote says "
            f"{classes[int(votes.argmax())]}; {right} of {k} neighbours share its class: {names}.")

    return _explorer({
        "query": _slider(w.IntSlider, "picture", value=0, min=0, max=len(images) - 1),
        "k": _slider(w.IntSlider, "k, neighbours", value=min(8, len(images) - 1), min=1,
                     max=min(20, len(images) - 1)),
        "layer": w.Dropdown(description="layer", options=list(features), style=_DESCRIPTION),
    }, draw, "A query picture followed by its nearest neighbours, with the classes of the "
             "neighbours and their vote in the line below.", show)


def tsne_explorer(xy, images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str],
                  show: bool = True) -> Explorer:
    """Walk over a map and see the picture under the point and those beside it. Notebook 05."""
    points = torch.as_tensor(xy, dtype=torch.float32)
    order = torch.argsort(points[:, 0])  # the slider walks from left to right
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
    near = distance.topk(min(7, len(points) - 1), largest=False).indices
    low, size, side = points.amin(0), (points.amax(0) - points.amin(0)).clamp_min(1e-6), 300
    place = (8 + (points - low) / size * (side - 17)).long()
    colors = torch.tensor([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in plots.COLORS])
    base = torch.ones(3, side, side)
    for (x, y), label in zip(place.tolist(), labels.tolist(), strict=True):
        base[:, side - y - 1:side - y + 2, x - 1:x + 2] = colors[label % 8][:, None, None]

    def draw(position: int) -> tuple:
        point = int(order[position])
        sheet = base.clone()
        x, y = place[point].tolist()
        top, left = max(0, side - y - 7), max(0, x - 7)
        for a in (0, 1, 12, 13):
            sheet[:, min(side - 1, top + a), left:left + 14] = 0
            sheet[:, top:top + 14, min(side - 1, left + a)] = 0
        strip = _sheet(images, [point, *near[point].tolist()])
        width = max(side, strip.shape[2])
        parts = [F.pad(part, (0, width - part.shape[2], 0, 0), value=1.0) for part in
                 (sheet, strip)]
        same = int((labels[near[point]] == labels[point]).sum())
        return _picture(torch.cat(parts, 1), 1), (
            f"Point {point}: {classes[int(labels[point])]}. {same} of {near.shape[1]} points "
            "beside it on the map share its class. Below the map: the picture, then those beside.")

    return _explorer({"position": _slider(w.IntSlider, "point, from left to right",
                                          value=len(points) // 2, min=0, max=len(points) - 1)},
                     draw, "A map of pictures as coloured points, a square round the chosen one, "
                           "and below it that picture and its neighbours on the map.", show)


def label_efficiency_slider(curves: Mapping[str, Mapping[int, float]], show: bool = True
                            ) -> Explorer:
    """Choose the labels a class, and compare the ways of training at that size. Notebook 05.

    Args: curves: for each way, its accuracy at each number of labels per class.
    """
    sizes = sorted({n for curve in curves.values() for n in curve})

    def draw(labels_per_class: int) -> tuple:
        found = {name: curve[labels_per_class] for name, curve in curves.items()
                 if labels_per_class in curve}
        best = max(found, key=found.get)
        picture = _bars(found, f"Accuracy at {labels_per_class} labels a class: {best} is highest",
                        1.0)
        return picture, f"{labels_per_class} labels a class: " + ", ".join(
            f"{name} {100 * value:.1f} %" for name, value in found.items()) + "."

    return _explorer({"labels_per_class": w.SelectionSlider(
        description="labels per class", options=sizes, value=sizes[0], style=_DESCRIPTION,
        layout=w.Layout(width="480px"))}, draw,
        "Bars of accuracy for each way of training at the number of labels per class that the "
        "slider is set to.", show)


class StopButton:
    """A button that asks a running loop to stop; the kernel's interrupt does the same.

    A kernel reads clicks only between cells, unless the front end delivers them on another
    channel: so the loop must ask, ``if stop.pressed: break``, and interrupt always works.
    """

    def __init__(self, show: bool = True) -> None:
        self.pressed = False
        self.button = w.Button(description="stop training", button_style="", icon="stop")
        self.button.on_click(self._press)
        if show:
            from IPython.display import display

            display(self.button)

    def _press(self, _: object) -> None:
        self.pressed = True
        self.button.description = "stopping after this step"

    def check(self, epoch: int = 0, history: object = None) -> None:
        """Raise KeyboardInterrupt once pressed; ``training.pretrain`` keeps what it has."""
        if self.pressed:
            raise KeyboardInterrupt


def training_plot(alt: str, lines: Mapping[str, float] | None = None,
                  measure: str | None = None) -> Callable:
    """Return ``on_epoch(epoch, history)`` that redraws the loss, and a measure, in one place."""
    live = plots.LiveFigure(alt)

    def on_epoch(epoch: int, history) -> dict:
        step = max(1, len(history.loss) // 100)
        means = [sum(part) / len(part) for part in
                 (history.loss[i:i + step] for i in range(0, len(history.loss), step))]
        panels = [{"x": [i * step for i in range(len(means))], "series": {"loss": means},
                   "title": f"Loss {means[-1]:.2f} after {len(history.loss)} steps",
                   "xlabel": "step", "ylabel": "NT-Xent (nats)", "lines": dict(lines or {})}]
        seen = [e for e in history.epochs if measure in e] if measure else []
        if seen:
            panels.append({"x": [e["step"] for e in seen],
                           "series": {measure: [e[measure] for e in seen]},
                           "title": f"{measure} {seen[-1][measure]:.2f}", "xlabel": "step",
                           "ylabel": measure})
        live.update(plots.panels(panels))
        return {}

    return on_epoch

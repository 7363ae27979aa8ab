"""Things to move: sliders and buttons beside the pictures of the notebooks.

Each function shows its controls and one picture, returns the widget, and leaves a PNG with alt
text in the saved notebook. It uses what ipywidgets 7.7 and 8 share. Controls are labelled and
move by keyboard: Tab to reach one, arrow keys to change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import ipywidgets as w
import torch
from torch.nn import functional as F

from simclr_tut import _widget_pixels as pixels
from simclr_tut import losses, views
from simclr_tut._widget_training import TrainingPlot, bundle, column

__all__ = [
    "Explorer", "TrainingPlot", "augmentation_strengths", "knn_explorer",
    "label_efficiency_slider", "loss_calculator", "points_on_circle", "temperature_circle",
    "training_plot", "tsne_explorer",
]
_DESCRIPTION = {"description_width": "190px"}
_WIDE = "480px"


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
    return kind(description=label, style=_DESCRIPTION, layout=w.Layout(width=_WIDE),
                continuous_update=True, **settings)


def _choice(label: str, options: Sequence, **settings) -> w.SelectionSlider:
    return w.SelectionSlider(description=label, options=options, style=_DESCRIPTION,
                             layout=w.Layout(width=_WIDE), **settings)


def _explorer(controls: Mapping[str, w.Widget], draw: Callable[..., tuple], alt: str,
              show: bool, extra: Sequence[w.Widget] = ()) -> Explorer:
    """Join controls and ``draw(**values) -> (PNG bytes, sentence)`` to one widget."""
    image, text = w.Image(format="png"), w.HTML()
    box = column([*controls.values(), *extra, image, text])
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
    """One output: the live widget, and for readers without a kernel a PNG that says the same."""
    from IPython.display import display

    settings = "; ".join(f"{c.description} {c.value:.3g}" if isinstance(c.value, float)
                         else f"{c.description} {c.value}" for c in made.controls.values())
    text = f"{made.facts['sentence']}\nStill picture of a widget, set to: {settings}."
    data, metadata = bundle(made.box, pixels.still(bytes(made.image.value), text), alt)
    display(data, metadata=metadata, raw=True)


def augmentation_strengths(images: torch.Tensor, seed: int = 0, show: bool = True) -> Explorer:
    """Set crop, colour, grey and blur, and see two views of eight pictures. Notebook 01."""
    images = images[:8]
    whole = images.float() / 255 if images.dtype == torch.uint8 else images

    def draw(crop: float, color: float, gray: float, blur: float, draw_number: int) -> tuple:
        policy = views.Views(images.shape[-1], crop=(crop, 1.0), color=color, gray=gray, blur=blur)
        pair = policy(images, generator=torch.Generator().manual_seed(seed + draw_number))
        apart = 255 * float((pair[0] - pair[1]).abs().mean())
        return pixels.rows({"picture": whole, "view 1": pair[0], "view 2": pair[1]}), (
            f"Each column is one picture and its two views. Pixel by pixel the two views differ by "
            f"{apart:.0f} of 255 levels on average.")

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


def temperature_circle(show: bool = True) -> Explorer:
    """Move the temperature and the near negative, and see who is pulled and pushed. Notebook 03."""
    def draw(temperature: float, near: int) -> tuple:
        angle = torch.tensor([0.0, 40.0, -float(near), 120.0]).deg2rad()
        points = torch.stack([angle.cos(), angle.sin()], 1)
        p = (points[1:] @ points[0] / temperature).softmax(0)
        force = torch.stack([1 - p[0], -p[1], -p[2]])[:, None] * points[0]
        force = force - (force * points[1:]).sum(1, keepdim=True) * points[1:]  # along the circle
        arrows = torch.cat([0 * points[:1], 0.7 * force / force.abs().max().clamp_min(1e-9)])
        _, near_push, far_push = force.norm(dim=1)
        share = float(near_push / (near_push + far_push).clamp_min(1e-30))
        sentence = (f"Temperature {temperature:.2f}: the near negative gets {100 * share:.0f} % of "
                    f"the push; the positive's share is {100 * float(p[0]):.0f} %.")
        names = ["anchor", "positive", "near negative", "far negative"]
        return pixels.circle(points, arrows, names, range(4)), sentence

    return _explorer({
        "temperature": _slider(w.FloatLogSlider, "temperature", value=0.1, base=10, min=-1.5,
                               max=0.3, step=0.05),
        "near": _slider(w.IntSlider, "near negative at (degrees)", value=60, min=5, max=175,
                        step=5),
    }, draw, "A unit circle with an anchor, its positive, a near and a far negative, and arrows "
             "that show the force of the loss on each.", show)


def _circle_paths(starts: Sequence[int], temperatures: Sequence[float], pairs: int,
                  steps: int) -> dict:
    """What NT-Xent alone does to points on a circle: {(start, temperature): [a step's state]}.

    A state is the loss, the points, and the direction in which the loss pulls each of them. All
    paths are one batch, which takes a tenth of the time of one ``losses.nt_xent`` for each.
    """
    keys = [(s, t) for s in starts for t in temperatures]
    free = torch.stack([0.6 * torch.randn(2 * pairs, generator=torch.Generator().manual_seed(3 + s))
                        for s, _ in keys]).requires_grad_()  # (paths, 2 pairs) angles
    scale = torch.tensor([t for _, t in keys])[:, None, None]
    positive = torch.arange(2 * pairs).roll(pairs).repeat(len(keys))
    optimizer = torch.optim.Adam([free], lr=0.05)  # works elementwise, so paths stay apart
    paths = {key: [] for key in keys}
    for _ in range(steps + 1):
        circles = torch.stack([free.cos(), free.sin()], 2)
        similarity = (circles @ circles.mT / scale).masked_fill(
            torch.eye(2 * pairs, dtype=torch.bool), -torch.inf)
        values = F.cross_entropy(similarity.flatten(0, 1), positive, reduction="none")
        values = values.view(len(keys), -1).mean(1)  # (paths,)
        optimizer.zero_grad()
        values.sum().backward()
        pulls = -free.grad[:, :, None] * torch.stack([-free.sin(), free.cos()], 2).detach()
        for key, value, points, pull in zip(keys, values.tolist(), circles.detach(), pulls,
                                            strict=True):
            paths[key].append((value, points, pull))
        optimizer.step()
    return paths


def points_on_circle(pairs: int = 6, steps: int = 150, show: bool = True) -> Explorer:
    """Play the loss on points of a circle: who attracts and repels whom, step by step. Notebook 03.

    All paths are computed here, so that moving a control only draws.
    """
    temperatures, starts = (0.1, 0.3, 1.0), (1, 2, 3)
    paths = _circle_paths(starts, temperatures, pairs, steps)
    usual = {key: float(torch.stack([pull for *_, pull in path]).norm(dim=2).quantile(0.95))
             for key, path in paths.items()}
    names = [str(i + 1) for i in range(pairs)] * 2  # both views carry their picture's number

    def draw(step: int, temperature: float, start: int) -> tuple:
        loss, points, pulls = paths[start, temperature][step]
        gap = float((points[:pairs] - points[pairs:]).norm(dim=1).mean())
        middle = F.normalize(points[:pairs] + points[pairs:], dim=1)
        others = torch.cdist(middle, middle).fill_diagonal_(torch.inf).amin(1)
        sentence = (f"Step {step}: loss {loss:.2f}. On average the two views of a picture lie "
                    f"{gap:.2f} apart, and the nearest other picture {float(others.mean()):.2f}.")
        length = pulls.norm(dim=1, keepdim=True).clamp_min(1e-9)  # the first ones are very long
        arrows = pulls / length * (0.4 * length / usual[start, temperature]).clamp_max(0.7)
        return pixels.circle(points, arrows, names, [*range(pairs)] * 2), sentence

    step = _slider(w.IntSlider, "step", value=min(6, steps), min=0, max=steps)
    play = w.Play(value=step.value, min=0, max=steps, interval=150, description="play")
    link = w.jslink((play, "value"), (step, "value"))
    made = _explorer({
        "step": step,
        "temperature": _choice("temperature", temperatures, value=0.3),
        "start": _choice("other starting points", starts, value=1),
    }, draw, "Twelve points on a circle, two for each of six pictures, and arrows that show where "
             "the loss pulls each of them at the step that the slider is set to.", show, [play])
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
                 if loss > chance else f"{100 * done:.0f} % of the way from chance to floor")
        picture = pixels.bars({"chance": chance, "your loss": loss, "floor": floor},
                              f"NT-Xent in nats, N = {n}, temperature {temperature:.2f}", 10.0)
        return picture, (f"N = {n}: chance {chance:.3f}, floor {floor:.3f}, progress {done:.2f}: "
                         f"{state}.")

    return _explorer({
        "log2_n": _slider(w.IntSlider, "N is 2 to the power", value=9, min=2, max=13),
        "temperature": _slider(w.FloatSlider, "temperature", value=0.5, min=0.05, max=2.0,
                               step=0.05),
        "loss": _slider(w.FloatSlider, "your loss (nats)", value=4.95, min=0.0, max=10.0,
                        step=0.05),
    }, draw, "Three bars: the chance level, a loss, and the floor, for the batch size and the "
             "temperature that the sliders are set to.", show)


def knn_explorer(images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str],
                 features: Mapping[str, torch.Tensor], show: bool = True) -> Explorer:
    """Choose a picture, k and the layer, and see its neighbours and their vote. Notebook 05.

    It starts at the picture whose neighbours differ most between the first layer and the last.

    Args:
        images, labels: the set that is searched within itself.
        features: ``(N, F)`` for each layer, such as {"h": ..., "z": ...}.
    """
    most, usual = min(16, len(images) - 1), min(8, len(images) - 1)
    nearest = {}
    for name, value in features.items():
        unit = F.normalize(value.float(), dim=1)
        nearest[name] = (unit @ unit.T).fill_diagonal_(-torch.inf).topk(most, dim=1).indices
    first, last = ((labels[nearest[name][:, :usual]] == labels[:, None]).sum(1)
                   for name in (list(features)[0], list(features)[-1]))

    def draw(query: int, k: int, layer: str) -> tuple:
        near = nearest[layer][query, :k]
        same, own = labels[near] == labels[query], classes[int(labels[query])]
        votes = torch.bincount(labels[near], minlength=len(classes))
        vote = classes[int(votes.argmax())]
        picture = pixels.neighbours(images[query], own, images[near],
                                    [classes[int(i)] for i in labels[near]], same.tolist())
        return picture, (
            f"Layer {layer}: {int(same.sum())} of {k} neighbours of this {own} share its class. "
            f"The largest vote, {int(votes.max())} of {k}, is for {vote}: "
            f"{'right' if vote == own else 'wrong'}.")

    return _explorer({
        "query": _slider(w.IntSlider, "picture", value=int((first - last).argmax()), min=0,
                         max=len(images) - 1),
        "k": _slider(w.IntSlider, "k, neighbours", value=usual, min=1, max=most),
        # not a drop-down list: JupyterLab takes the arrow keys of one for itself
        "layer": _choice("layer", list(features)),
    }, draw, "A query picture on the left and its nearest neighbours beside it, each with its "
             "class and a sign for those that share the query's class.", show)


def tsne_explorer(xy, images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str],
                  show: bool = True) -> Explorer:
    """Walk over a map and see the picture under the point and those beside it. Notebook 05.

    It starts at a point whose neighbours on the map carry other names.

    Args: xy: ``(N, 2)``.  images, labels: of the points.
    """
    points = torch.as_tensor(xy, dtype=torch.float32)
    low, high = points.amin(0), points.amax(0)
    side = (high - low).max().clamp_min(1e-6)
    place = 0.5 + (points - (low + high) / 2) / side  # one scale for both axes, in the middle
    near = torch.cdist(points, points).fill_diagonal_(torch.inf).topk(
        min(8, len(points) - 1), largest=False).indices
    same = (labels[near] == labels[:, None]).sum(1)
    names = [classes[int(i)] for i in labels]
    drawn = pixels.PointMap(place, labels)
    steps = 200

    def draw(across: int, up: int) -> tuple:
        here = torch.tensor([across, up]) / steps
        point = int((place - here).square().sum(1).argmin())
        return drawn.draw(point, near[point].tolist(), images, names), (
            f"Under the point: picture {point}, {names[point]}. {int(same[point])} of the "
            f"{near.shape[1]} points beside it on the map share its class.")

    start = (place[int(same.argmin())] * steps).round().int().tolist()
    return _explorer({
        "across": _slider(w.IntSlider, "across the map", value=start[0], min=0, max=steps),
        "up": _slider(w.IntSlider, "up the map", value=start[1], min=0, max=steps),
    }, draw, "A map of pictures as points, those of one class large and the others small, a square "
             "round the chosen point, and its picture and those of its neighbours beside.", show)


def label_efficiency_slider(curves: Mapping[str, Mapping[int, float | Sequence[float]]],
                            show: bool = True) -> Explorer:
    """Choose the labels a class, and compare the ways of training at that size. Notebook 05.

    Args: curves: for each way, its accuracy at each number of labels per class: a number, or
        (mean, low, high).
    """
    sizes = sorted({n for curve in curves.values() for n in curve})

    def draw(labels_per_class: int) -> tuple:
        found = {name: curve[labels_per_class] for name, curve in curves.items()
                 if labels_per_class in curve}
        means = {name: float(v[0] if isinstance(v, Sequence) else v) for name, v in found.items()}
        between = {name: (v[1], v[2]) for name, v in found.items() if isinstance(v, Sequence)}
        order = sorted(means, key=means.get, reverse=True)
        ahead = ""
        if len(order) > 1:
            one, two = order[:2]
            ahead = f"; {one} leads {two} by {100 * (means[one] - means[two]):.1f} points"
            if one in between and two in between:
                overlap = between[one][0] <= between[two][1]
                ahead += ", their intervals overlap" if overlap else ", their intervals are apart"
        size = f"{labels_per_class} label{'s' if labels_per_class > 1 else ''} a class"
        picture = pixels.bars(means, f"Accuracy with {size}", 1.0, 3, between)
        return picture, f"{size}: " + ", ".join(
            f"{name} {100 * value:.1f} %" for name, value in means.items()) + f"{ahead}."

    return _explorer({"labels_per_class": _choice(
        "labels per class", sizes, value=sizes[(len(sizes) - 1) // 2])}, draw,
                     "Bars of accuracy for each way of training at the number of labels per class "
                     "that the slider is set to, with intervals where there are several draws.",
                     show)


def training_plot(alt: str, look: Callable[[], dict] | None = None, measure: str | None = None,
                  before: float | None = None, lines: Mapping[str, float] | None = None,
                  show: bool = True) -> TrainingPlot:
    """Watch a run while it trains, and stop it by a button. Notebook 04.

    Hand ``on_epoch`` and ``on_step`` of the result to ``training.pretrain``, and call ``update``
    with the history that it returns.

    Args:
        look: measures the model at each look; its facts join the history.
        measure: the fact that is drawn beside the loss.  before: its value before training.
        lines: named levels of the loss, such as chance and floor.
    """
    return TrainingPlot(alt, look, measure, before, lines or {}, show)

"""Widgets answer without a front end: move a control, see another picture."""

import pytest
import torch

from simclr_tut import losses, plots, widgets
from simclr_tut.shapes import make_shapes
from simclr_tut.training import History

SHAPES = make_shapes(24, seed=0)
LABELS = torch.arange(24) % 3
CLASSES = ("one", "two", "three")
FEATURES = {"h": torch.randn(24, 8, generator=torch.Generator().manual_seed(0)),
            "z": torch.randn(24, 4, generator=torch.Generator().manual_seed(1))}
MADE = {
    "augmentation_strengths": (lambda s: widgets.augmentation_strengths(SHAPES.images, show=s),
                               {"crop": 0.8, "color": 0.0, "gray": 1.0, "blur": 1.0,
                                "draw_number": 3}),
    "temperature_circle": (lambda s: widgets.temperature_circle(show=s),
                           {"temperature": 1.0, "near": 120}),
    "points_on_circle": (lambda s: widgets.points_on_circle(steps=30, show=s),
                         {"step": 3, "temperature": 1.0}),
    "loss_calculator": (lambda s: widgets.loss_calculator(show=s),
                        {"log2_n": 7, "temperature": 0.1, "loss": 3.0}),
    "knn_explorer": (lambda s: widgets.knn_explorer(SHAPES.images, LABELS, CLASSES, FEATURES,
                                                    show=s), {"query": 5, "k": 3, "layer": "z"}),
    "tsne_explorer": (lambda s: widgets.tsne_explorer(FEATURES["h"][:, :2], SHAPES.images, LABELS,
                                                      CLASSES, show=s), {"position": 2}),
    "label_efficiency_slider": (lambda s: widgets.label_efficiency_slider(
        {"frozen": {1: 0.2, 10: 0.4}, "scratch": {1: 0.1, 10: 0.5}}, show=s),
        {"labels_per_class": 10}),
}
each = pytest.mark.parametrize("name", MADE)


@each
def test_every_control_changes_picture_and_line(name):
    make, moves = MADE[name]
    made = make(False)
    assert set(moves) == set(made.controls)
    for control, value in moves.items():
        picture, line = bytes(made.image.value), made.text.value
        assert made.controls[control].value != value
        made.controls[control].value = value
        assert bytes(made.image.value) != picture or made.text.value != line, control
        assert bytes(made.image.value).startswith(b"\x89PNG")


@each
def test_controls_are_labelled_and_the_line_is_announced(name):
    made = MADE[name][0](False)
    for control in made.controls.values():
        assert len(control.description) >= 4
    assert "role='status'" in made.text.value and len(made.facts["sentence"]) > 20


@each
def test_one_output_holds_widget_and_picture(name, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    MADE[name][0](True)
    (data,), settings = shown[0]
    assert len(shown) == 1 and settings["raw"]
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} == set(data)
    assert len(settings["metadata"]["image/png"]["alt"]) >= 40


def test_numbers_are_those_of_the_package():
    made = widgets.loss_calculator(show=False)
    made.controls["log2_n"].value = 8
    assert f"chance {losses.chance_loss(256):.3f}" in made.facts["sentence"]
    made.controls["loss"].value = 0.5
    assert "impossible" in made.facts["sentence"]
    circle = widgets.temperature_circle(show=False)
    circle.controls["temperature"].value = 10**0.3
    warm = circle.facts["sentence"]
    circle.controls["temperature"].value = 10**-1.5
    assert warm != circle.facts["sentence"] and "100 % of the push" in circle.facts["sentence"]


def test_neighbours_never_hold_the_query():
    doubled = torch.cat([SHAPES.images[:4]] * 2)
    features = {"h": torch.cat([FEATURES["h"][:4]] * 2)}
    made = widgets.knn_explorer(doubled, LABELS[:8], CLASSES, features, show=False)
    made.controls["k"].value = 1
    assert "layer h" in made.facts["sentence"]


def test_the_stop_button_stops_and_says_so():
    stop = widgets.StopButton(show=False)
    stop.check()
    stop.button.click()
    assert stop.pressed and "stopping" in stop.button.description
    with pytest.raises(KeyboardInterrupt):
        stop.check()


def test_training_plot_draws_what_the_history_holds(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots.LiveFigure, "update", lambda self, figure: drawn.append(figure))
    on_epoch = widgets.training_plot("The loss of a run between its chance level and its floor.",
                                     {"chance": 4.1}, "kNN")
    history = History(loss=[4.0, 3.0], epochs=[{"kNN": 0.3, "step": 2}])
    assert on_epoch(0, history) == {}
    assert [ax.get_title() for ax in drawn[0].axes] == ["Loss 3.00 after 2 steps", "kNN 0.30"]

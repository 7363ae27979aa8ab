"""Widgets answer without a front end: move a control, see another picture."""

import base64
import io

import pytest
import torch
from PIL import Image

from simclr_tut import _widget_pixels, _widget_training, evaluation, losses, widgets
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
                         {"step": 3, "temperature": 1.0, "start": 2}),
    "loss_calculator": (lambda s: widgets.loss_calculator(show=s),
                        {"log2_n": 7, "temperature": 0.1, "loss": 3.0}),
    "knn_explorer": (lambda s: widgets.knn_explorer(SHAPES.images, LABELS, CLASSES, FEATURES,
                                                    show=s), {"query": 5, "k": 3, "layer": "z"}),
    "tsne_explorer": (lambda s: widgets.tsne_explorer(FEATURES["h"][:, :2], SHAPES.images, LABELS,
                                                      CLASSES, show=s), {"across": 20, "up": 180}),
    "label_efficiency_slider": (lambda s: widgets.label_efficiency_slider(
        {"frozen": {1: (0.2, 0.1, 0.3), 10: 0.4}, "scratch": {1: 0.1, 10: 0.5}}, show=s),
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


@each
def test_the_still_picture_holds_the_picture_and_more_below(name, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append(a[0]))
    made = MADE[name][0](True)
    live = Image.open(io.BytesIO(bytes(made.image.value)))
    still = Image.open(io.BytesIO(base64.b64decode(shown[0]["image/png"])))
    top = still.crop((0, 0, live.width, live.height))
    assert top.tobytes() == live.tobytes()
    below = still.crop((0, live.height, still.width, still.height)).convert("L")
    assert below.getextrema()[0] < 50, "the sentence and the settings are written below"


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


def test_neighbours_are_those_of_the_retrieval():
    made = widgets.knn_explorer(SHAPES.images, LABELS, CLASSES, FEATURES, show=False)
    found = {layer: LABELS[evaluation.retrieval(value, 3)] for layer, value in FEATURES.items()}
    made.controls["k"].value = 3
    for query in (0, 7, 23):
        made.controls["query"].value = query
        for layer in ("h", "z"):
            made.controls["layer"].value = layer
            same = int((found[layer][query] == LABELS[query]).sum())
            assert f"Layer {layer}: {same} of 3 neighbours" in made.facts["sentence"]


def test_neighbours_never_hold_the_query():
    twins = torch.cat([FEATURES["h"][:4]] * 2)  # each picture has a double under another name
    made = widgets.knn_explorer(SHAPES.images[:8], torch.arange(8), [*"abcdefgh"], {"h": twins},
                                show=False)
    made.controls["k"].value = 1
    for query in range(8):
        made.controls["query"].value = query
        assert f"is for {'abcdefgh'[(query + 4) % 8]}: wrong" in made.facts["sentence"]


def test_knn_explorer_starts_where_the_layers_differ_most():
    made = widgets.knn_explorer(SHAPES.images, LABELS, CLASSES, FEATURES, show=False)
    shared = {layer: (LABELS[evaluation.retrieval(value, 8)] == LABELS[:, None]).sum(1)
              for layer, value in FEATURES.items()}
    gap = shared["h"] - shared["z"]
    assert gap[made.value("query")] == gap.max()


def test_the_map_shows_the_nearest_point():
    xy = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 5.0], [10.0, 5.0]])
    made = widgets.tsne_explorer(xy, SHAPES.images[:4], torch.arange(4), [*"abcd"], show=False)
    for across, up, point in ((0, 0, 0), (190, 40, 1), (5, 120, 2), (200, 160, 3)):
        made.controls["across"].value, made.controls["up"].value = across, up
        assert f"picture {point}, {'abcd'[point]}" in made.facts["sentence"]


def test_points_move_as_the_package_loss_says():
    paths = widgets._circle_paths((1, 2), (0.1, 1.0), pairs=4, steps=3)
    assert len(paths) == 4 and all(len(path) == 4 for path in paths.values())
    for (_, temperature), path in paths.items():
        for value, points, pull in path:
            angle = torch.atan2(points[:, 1], points[:, 0]).double().requires_grad_()
            circle = torch.stack([angle.cos(), angle.sin()], 1)
            loss = losses.nt_xent(circle[:4], circle[4:], temperature)
            loss.backward()
            assert value == pytest.approx(float(loss.detach()), abs=1e-5)
            tangent = torch.stack([-angle.sin(), angle.cos()], 1).detach()
            torch.testing.assert_close(pull.double(), -angle.grad[:, None] * tangent, atol=1e-4,
                                       rtol=1e-3)


def test_the_label_slider_names_who_leads():
    made = MADE["label_efficiency_slider"][0](False)
    assert made.facts["sentence"].startswith("1 label a class")
    assert "frozen leads scratch by 10.0 points" in made.facts["sentence"]
    made.controls["labels_per_class"].value = 10
    assert "scratch leads frozen by 10.0 points." in made.facts["sentence"]
    for low, said in ((0.35, "overlap"), (0.47, "are apart")):
        curves = {"a": {1: (0.5, low, 0.6)}, "b": {1: (0.4, 0.3, 0.46)}}
        made = widgets.label_efficiency_slider(curves, show=False)
        assert f"a leads b by 10.0 points, their intervals {said}" in made.facts["sentence"]


ALT = "The loss of a run between its chance level and its floor, and kNN beside it."


def test_the_stop_button_asks_the_next_step_to_stop():
    plot = widgets.training_plot(ALT, show=False)
    history = History(loss=[4.0, 3.0], steps=9)
    assert not plot.on_step(history)
    plot.button.click()
    assert plot.on_step(history) and plot.button.disabled
    history.interrupted = True
    plot.update(history)
    assert "Stopped after 2 of 9 steps" in plot.text.value
    assert plot.button.description == "stopped"


def test_a_click_that_comes_after_the_run_changes_nothing():
    plot = widgets.training_plot(ALT, show=False)
    plot.update(History(loss=[4.0], steps=1))
    plot.button.click()
    assert not plot.pressed and plot.button.description == "finished"


def test_a_click_is_not_held_back_for_the_busy_cell():
    """ipykernel 7.4 keeps on the comm which loop wrote last; every step has to forget it."""
    plot = widgets.training_plot(ALT, show=False)
    comm = plot.button.comm  # without a kernel a real comm that leads nowhere
    vars(comm)["_reply_subshell_id"] = None
    assert not plot.on_step(History(loss=[4.0], steps=9))
    assert "_reply_subshell_id" not in vars(comm)


def test_a_button_only_where_a_click_can_arrive(monkeypatch):
    for arrives in (True, False):
        monkeypatch.setattr(_widget_training, "clicks_arrive", lambda arrives=arrives: arrives)
        plot = widgets.training_plot(ALT, show=False)
        assert (plot.button in plot.box.children) is arrives
        assert "interrupt" in plot.text.value


def test_training_plot_draws_what_the_history_holds(monkeypatch):
    drawn = []
    panels = _widget_training.plots.panels
    monkeypatch.setattr(_widget_training.plots, "panels",
                        lambda parts: drawn.append(parts) or panels(parts))
    plot = widgets.training_plot(ALT, lambda: {"kNN": 0.4}, "kNN", 0.25, {"chance": 4.1}, False)
    history = History(loss=[4.0, 3.0], epochs=[{"kNN": 0.3, "step": 1}], steps=8)
    picture = bytes(plot.image.value)
    assert plot.on_epoch(0, history) == {"kNN": 0.4}
    loss, measure = drawn[-1]
    assert loss["series"] == {"loss": [4.0, 3.0]} and loss["lines"] == {"chance": 4.1}
    assert "3.00 at step 2 of 8" in loss["title"]
    assert "Step 2 of 8, loss 3.00." in plot.text.value and "interrupt" in plot.text.value
    assert measure["x"] == [0, 1, 2] and measure["series"] == {"kNN": [0.25, 0.3, 0.4]}
    assert bytes(plot.image.value) != picture


def test_the_saved_picture_of_a_run_is_its_last(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, **settings):
            shown.append((data, settings))

    monkeypatch.setattr("IPython.display.display", lambda *a, **k: Handle())
    plot = widgets.training_plot(ALT, show=True)
    plot.update(History(loss=[4.0, 3.0, 2.0], steps=3))
    (data, settings), = shown
    assert base64.b64decode(data["image/png"]) == bytes(plot.image.value)
    assert settings["metadata"]["image/png"]["alt"] == ALT
    assert "Finished after 3 of 3 steps" in plot.text.value


def test_bars_leave_room_for_the_longest_name():
    first, second = (_widget_pixels.bars({f"supervised, for as long as {end}": 0.5, "b": 0.9},
                                         "title", 1.0) for end in "AB")
    assert first != second  # they differ in the last letter alone

"""Equal time is equal: what is not training takes no part in the seconds of a run."""

import sys

import pytest
import torch

from benchmarks import label_efficiency
from benchmarks.common import append_record, read_records
from simclr_tut import data, models, shapes, training


@pytest.fixture
def pictures():
    drawn = shapes.make_shapes(60, seed=0)
    return data.ImageData(drawn.images, drawn.factors["shape"], tuple("abcdefghij"), name="cifar10")


def test_seconds_become_steps_without_looks(monkeypatch, pictures):
    """A step takes 0.1 s here, or more, a run 3 s beside its steps, a look at validation 7 s."""
    clock, runs = [0.0], []

    def train(model, images, labels, augment, recipe, on_epoch=None):
        runs.append(recipe.steps)
        for _ in range(recipe.steps):
            clock[0] += 0.1 if len(runs) in (3, 4) else 0.2  # other work disturbs two of three
            if on_epoch:
                on_epoch(1, training.History())
        clock[0] += 3

    def look(*_):
        clock[0] += 7
        return 0.5

    monkeypatch.setattr(label_efficiency, "now", lambda: clock[0])
    monkeypatch.setattr(label_efficiency, "score", look)
    monkeypatch.setattr(training, "train_supervised", train)
    assert label_efficiency.steps_in(60, pictures, "tiny") == 600


def test_the_best_look_is_kept(monkeypatch, pictures):
    """Five looks; the weights of the second one, which scored best, are what is left."""
    seen = []
    model = torch.nn.Sequential(body := models.build_encoder("tiny"),
                                torch.nn.Linear(body.feature_dim, 10))

    def look(network, _):
        seen.append(network[1].weight.detach().clone())
        return [0.1, 0.6, 0.2, 0.6, 0.3][len(seen) - 1]

    monkeypatch.setattr(label_efficiency, "score", look)
    best = label_efficiency.train(model, pictures, pictures, 5, 0.1, 0)
    assert len(seen) == label_efficiency.LOOKS and best == 0.6
    assert torch.equal(model[1].weight, seen[1]) and not torch.equal(seen[1], seen[4])


def test_longer_runs_take_one_number_of_steps_a_size(monkeypatch, tmp_path, pictures):
    file = tmp_path / "label_efficiency.jsonl"
    monkeypatch.setattr(label_efficiency, "FILE", file)
    monkeypatch.setattr(data, "load_dataset", lambda *_: pictures)
    monkeypatch.setattr(data, "split_labels", lambda part, _: (part, part))
    monkeypatch.setattr(data, "subset_per_class", lambda part, size, seed: part)
    monkeypatch.setattr(label_efficiency, "steps_in", lambda *_: 3)
    weights = tmp_path / "run.safetensors"
    models.save_weights(models.build_model("tiny", 16, 8, 2), weights, {
        "encoder": "tiny", "head_hidden": 16, "head_dim": 8, "head_layers": 2, "seconds": 2.0})
    command = ["x", "--weights", str(weights), "--longer", "--sizes", "1", "--draws", "0", "1"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="without --longer"):
        label_efficiency.main()  # nothing to compare with yet
    for draw in (0, 1):
        append_record(file, {"kind": "result", "size": 1, "method": "supervised", "draw": draw,
                             "lr": 0.1, "weights": label_efficiency.fingerprint(weights)})
    label_efficiency.main()
    label_efficiency.main()  # nothing is repeated
    longer = [r for r in read_records(file) if r["kind"] == "longer"]
    assert [(r["draw"], r["steps"], r["budget_seconds"]) for r in longer] == [(0, 3, 2.0),
                                                                              (1, 3, 2.0)]
    assert all(0 <= r["accuracy"] <= 1 for r in longer)

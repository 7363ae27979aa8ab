"""The comparison of methods: every one runs, measures what it says, and resumes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import methods
from benchmarks.common import read_records
from simclr_tut import data, models, shapes


@pytest.fixture
def small(monkeypatch):
    parts = []
    for n, seed in ((48, 1), (24, 2)):
        made = shapes.make_shapes(n, seed=seed)
        names = [str(i) for i in range(int(made.factors["shape"].max()) + 1)]
        parts.append(data.ImageData(made.images, made.factors["shape"], tuple(names),
                                    name="cifar10"))
    monkeypatch.setattr(methods, "pictures", lambda: tuple(parts))
    monkeypatch.setattr(methods, "BASE", replace(methods.BASE, batch_size=16, steps=3))
    monkeypatch.setattr(methods, "WATCHED", 16)


@pytest.mark.parametrize("name", methods.builders())
def test_every_method_is_trained_and_measured(name, small):
    result = methods.run(name, 0, 3)
    last = result["looks"][-1]
    assert 0 <= last["knn"] <= 1 and 0 <= last["probe"] <= 1 and last["rank_h"] >= 1
    assert ("rank_z" in last) == (name not in ("patches (CPC)", "autoencoder (VAE)",
                                               "adversarial (GAN)"))
    if name != "random encoder":
        assert last["step"] == 3 and last["processor_seconds"] > 0


def test_a_run_with_a_record_is_not_run_again_and_a_changed_record_is_refused(small, tmp_path):
    path = tmp_path / "methods.jsonl"
    wanted = ["random encoder", "VICReg"]
    methods.perform("random encoder", 0, 3, path)
    assert list(methods.missing(wanted, [0], 3, path)) == [("VICReg", 0)]
    assert len(list(methods.missing(wanted, [0], 6, path))) == 2
    assert {"command", "commit", "machine"} <= read_records(path)[0].keys()
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5'))
    with pytest.raises(ValueError, match="changed by hand"):
        list(methods.missing(wanted, [0], 3, path))


def test_a_run_that_was_stopped_leaves_no_record(small, tmp_path, monkeypatch):
    path = tmp_path / "methods.jsonl"
    whole = methods.training.pretrain

    def stopped(*args, **kwargs):
        return replace(whole(*args, **kwargs), interrupted=True)

    monkeypatch.setattr(methods.training, "pretrain", stopped)
    with pytest.raises(SystemExit, match="nothing is recorded"):
        methods.perform("VICReg", 0, 3, path)
    assert not path.exists()


def test_the_records_of_the_course_are_of_whole_runs():
    for record in read_records(methods.FILE):
        steps = 0 if record["method"] == "random encoder" else record["base"]["steps"]
        assert record["looks"][-1]["step"] == steps, (record["method"], record["seed"])


def test_a_run_replaces_its_methods_records_of_other_settings_alone(small, tmp_path, monkeypatch):
    path = tmp_path / "methods.jsonl"
    monkeypatch.setattr(methods, "run", lambda *_: {"looks": []})
    for name, seed, steps in (("VICReg", 0, 3), ("MoCo", 0, 3), ("MoCo", 1, 3), ("MoCo", 0, 6)):
        methods.perform(name, seed, steps, path)
    monkeypatch.setattr(methods, "ALSO", {"MoCo": {"lr": 0.03}})
    methods.perform("MoCo", 1, 3, path)
    methods.perform("MoCo", 2, 3, path)
    left = [(r["method"], r["seed"], r["base"]["steps"], r["base"].get("own"))
            for r in read_records(path)]
    new = {"lr": 0.03}
    assert left == [("VICReg", 0, 3, None), ("MoCo", 0, 6, None), ("MoCo", 1, 3, new),
                    ("MoCo", 2, 3, new)]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the memory")
def test_memory_counts_what_training_needs(monkeypatch):
    class Hungry(models.SimCLR):
        def __init__(self, encoder, head):
            super().__init__(encoder, head)
            self.register_buffer("ballast", torch.ones(25_000_000))  # 100 MB

        def loss(self, view1, view2):
            return self(torch.cat([view1, view2])).square().mean()

    class Modest(Hungry):
        def __init__(self, encoder, head):
            models.SimCLR.__init__(self, encoder, head)

    def make(kind):
        whole = models.build_model("tiny")
        return kind(whole.encoder, whole.head)

    monkeypatch.setattr(methods, "builders", lambda: {"hungry": lambda: make(Hungry),
                                                      "modest": lambda: make(Modest)})
    modest, hungry = (methods.memory(name, 8) for name in ("modest", "hungry"))
    assert hungry["weights_mb"] == pytest.approx(modest["weights_mb"] + 100)
    assert hungry["growth_mb"] > modest["growth_mb"] + 50


def test_both_runs_of_one_seed_agree(small):
    first, again = (methods.run("MoCo", 1, 3) for _ in range(2))
    assert first["loss_last"] == again["loss_last"]
    assert first["looks"][-1]["knn"] == again["looks"][-1]["knn"]

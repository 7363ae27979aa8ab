"""The ablations: settings mean what they say, and a run that was killed costs only itself."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import ablations
from simclr_tut import evaluation


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(ablations, "TRAIN", 150)
    monkeypatch.setattr(ablations, "TEST", 140)
    monkeypatch.setattr(ablations, "BASE", replace(ablations.BASE, steps=2, batch_size=32))
    ablations.pictures.cache_clear()
    yield
    ablations.pictures.cache_clear()


def test_settings_are_all_different_and_json():
    for name, settings in ablations.experiments().items():
        texts = [json.dumps(s, sort_keys=True) for s in settings]
        assert len(set(texts)) == len(texts), name


def test_a_policy_holds_nothing_but_what_it_names():
    views = ablations.views_of({"first": "crop", "second": "crop", "branches": "both"})
    assert views.crop and not (views.color or views.gray or views.blur or views.flip)
    views = ablations.views_of({"first": "colour", "second": "grey", "branches": "both"})
    assert views.crop is None and views.color == 1 and views.hue == 0.5 and views.gray == 0.5


def test_one_branch_leaves_the_second_view_alone():
    images = ablations.pictures(0)[1].images[:20]
    views = ablations.views_of({"first": "colour", "second": "blur", "branches": "one"})
    changed, plain = views(images)
    torch.testing.assert_close(plain, images.float() / 255, atol=1e-5, rtol=0)
    assert (changed - plain).abs().mean() > 0.05


def test_colour_in_hsv_turns_every_hue_and_keeps_value_where_nothing_else_changes():
    views = ablations.views_of({"policy": "crop + colour in HSV", "steps": 1})
    assert (views.hsv, views.hue, views.color_p, views.gray) == (True, 0.5, 1.0, 0.0)
    assert views.crop == ablations.views_of({"policy": "crop"}).crop
    flat = torch.tensor([1.0, 0.25, 0.25])[:, None, None].expand(200, 3, 24, 24)
    drawn = views.draw(200, 24, 24)
    drawn |= {n: torch.ones(200) for n in ("brightness", "contrast", "saturation")}
    pixels = views.apply(flat, drawn)[:, :, 12, 12]
    torch.testing.assert_close(pixels.amax(1), torch.ones(200))  # a matrix turn would change it
    assert set(pixels.argmax(1).tolist()) == {0, 1, 2}  # red became green and blue as well


def test_strength_0_is_crop_alone():
    views = ablations.views_of({"strength": 0.0})
    assert not views.color and not views.gray and views.crop == ablations.STRONG["crop"]


@pytest.mark.parametrize(("scaling", "equal", "lr", "steps"), [
    ("linear", "steps", 4, 1), ("root", "steps", 2, 1), ("linear", "epochs", 4, 1 / 4),
])
def test_batch_sizes_scale_the_rate_and_the_steps(scaling, equal, lr, steps):
    base = ablations.BASE
    recipe = ablations.recipe_of({"batch_size": 4 * base.batch_size, "scaling": scaling,
                                  "equal": equal}, seed=1)
    assert recipe.lr == pytest.approx(lr * base.lr)
    assert recipe.steps == round(steps * base.steps)


def test_perfect_features_know_everything_and_noise_knows_nothing():
    factors = ablations.pictures(0)[1].factors
    one_hot = torch.nn.functional.one_hot
    hues = [one_hot((factors[n] * 10).long(), 10) for n in ("hue", "background_hue")]
    numbers = torch.stack([factors["scale"], factors["rotation"].sin(), factors["x"],
                           factors["y"]], 1)
    perfect = torch.cat([one_hot(factors["shape"], 10), *hues, numbers], 1).float() + 1e-3
    known = ablations.what_it_knows(perfect, factors, perfect, factors)
    assert min(known.values()) > 0.9
    noise = torch.randn(len(perfect), 8, generator=torch.Generator().manual_seed(0))
    known = ablations.what_it_knows(noise[:1000], {k: v[:1000] for k, v in factors.items()},
                                    noise[1000:], {k: v[1000:] for k, v in factors.items()})
    assert max(known.values()) < 0.2


def test_a_grid_goes_on_where_it_stopped(small, tmp_path):
    file = tmp_path / "ablations.jsonl"
    jobs = ablations.plan(["baseline", "encoder"], [0])
    assert len(list(ablations.missing(jobs, file))) == 5
    ablations.perform(*jobs[0], file)
    ablations.perform(*jobs[2], file)
    assert list(ablations.missing(jobs, file)) == [jobs[1], *jobs[3:]]
    first, second = evaluation.read_benchmark("ablations", file)
    assert set(first["h"]) == {*ablations.CLASSES, *ablations.CONTINUOUS}
    assert second["setting"] == {"width": 8} and second["steps"] == 2
    with open(file, "a") as half:
        half.write('{"experiment": "enc')  # killed while it wrote
    assert list(ablations.missing(jobs, file)) == [jobs[1], *jobs[3:]]


def test_records_of_another_base_do_not_count(small, tmp_path, monkeypatch):
    file = tmp_path / "ablations.jsonl"
    jobs = ablations.plan(["baseline"], [0])
    ablations.perform(*jobs[0], file)
    monkeypatch.setattr(ablations, "BASE", replace(ablations.BASE, steps=3))
    assert list(ablations.missing(jobs, file)) == jobs


def test_a_changed_number_is_refused(small, tmp_path):
    file = tmp_path / "ablations.jsonl"
    ablations.perform("baseline", {"features": "raw pixels"}, 0, file)
    record = json.loads(file.read_text())
    record["h"]["shape"] = 0.99
    file.write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="changed by hand.*python -m benchmarks.ablations"):
        list(ablations.missing(ablations.plan(["baseline"], [0]), file))


def test_an_interrupted_run_leaves_no_record(small, tmp_path, monkeypatch):
    file = tmp_path / "ablations.jsonl"
    real = ablations.training.pretrain

    def interrupted(*arguments):
        history = real(*arguments)
        history.interrupted = True
        return history

    monkeypatch.setattr(ablations.training, "pretrain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablations.perform("encoder", {"width": 8}, 0, file)
    assert not file.exists()

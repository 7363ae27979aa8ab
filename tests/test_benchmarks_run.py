"""Each benchmark measures what it says, at sizes that take a moment."""

import queue

import pytest
import torch

from benchmarks import folder, knn, loss, processes, recipe_search, speedrun, step, views
from simclr_tut import config, data, losses, models


@pytest.mark.parametrize("side", ["ours", "scikit-learn"])
def test_knn_sides_give_the_same_answers(side):
    answers, reference = queue.Queue(), queue.Queue()
    knn.measure(side, 2000, 50, torch.get_num_threads(), answers)
    knn.measure("ours", 2000, 50, torch.get_num_threads(), reference)
    seconds, memory, asked, first = answers.get()
    assert seconds > 0 and memory >= 0 and asked == 50
    assert first == reference.get()[3]


@pytest.mark.parametrize("side", ["ours", "pytorch-metric-learning"])
def test_loss_sides_have_the_same_value(side):
    if side != "ours":
        pytest.importorskip(loss.SIDES[side])
    answers = queue.Queue()
    loss.measure(side, 16, torch.get_num_threads(), answers)
    value, seconds, memory = answers.get()
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(16, 128, generator=generator) for _ in range(2))
    expected = float(losses.nt_xent_naive(z1, z2, loss.TEMPERATURE))
    assert value == pytest.approx(expected, abs=1e-4) and seconds > 0 and memory >= 0


def test_a_step_is_split_into_its_parts():
    recipe = config.Recipe(batch_size=8, optimizer="muon")
    parts = step.split("tiny", 16, recipe, repeats=1)
    assert tuple(parts) == step.PARTS and min(parts.values()) > 0


def test_views_are_counted_by_the_second():
    calls = []
    rate = views.batched(lambda: calls.append(0), 4, 0.01)
    assert rate > 0 and len(calls) > 3
    picture = views.pictures(96, 2)
    assert picture.shape == (2, 3, 96, 96) and picture.dtype == torch.uint8


def test_a_folder_is_built_and_trained_on_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    folder.make_folder(tmp_path / "pictures", 40)
    files = list((tmp_path / "pictures").rglob("*.*"))
    assert len(files) == 40 and {p.suffix for p in files} == {".jpeg", ".png"}
    for phase in ("build", "train"):
        found = folder.apart(phase, tmp_path / "pictures", tmp_path / "cache", 16, 2)
        assert found["pictures"] == 40 and 0 < found["before"] <= found["peak"] < 4000
    assert found["steps"] == 2


@pytest.mark.parametrize("name", processes.ARRANGEMENTS)
def test_both_arrangements_of_processes_report_a_rate(name):
    count, threads = processes.ARRANGEMENTS[name]
    assert processes.pictures_per_second(count, threads, 2, 16) > 0


def test_a_speedrun_needs_a_rate_and_runs_as_many_steps_as_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(speedrun, "FILE", tmp_path / "speedrun.jsonl")
    bank, test = (data.load_dataset("shapes", part, 300) for part in ("train", "test"))
    with pytest.raises(SystemExit, match="speedrun rate"):
        speedrun.train_and_record("ours", 1, 0, bank, test)
    speedrun.measure_rates(["ours", "UvA 17"], bank.images, blocks=1)
    rates = {r["side"]: r["steps_per_minute"] for r in speedrun.read_records(speedrun.FILE)}
    assert rates["ours"] > 5 * rates["UvA 17"] > 0
    minutes = 3 / rates["ours"]
    for _ in range(2):  # a run that has its record is not repeated
        speedrun.train_and_record("ours", minutes, 0, bank, test)
    run = speedrun.read_records(speedrun.FILE)[2:]
    assert len(run) == 1 and run[0]["steps"] == 3
    assert 0 <= run[0]["knn_test"] <= 1 and 0 <= run[0]["white_knn_test"] <= 1


def test_a_side_with_a_loader_takes_the_steps_it_is_given():
    images = data.load_dataset("shapes", "train", 300).images
    model, done = speedrun.train("UvA 17", images, 2, 0)
    assert len(done) == 2 and done[1] > done[0] and not model.training


def test_every_variant_of_the_search_builds_and_is_a_recipe():
    for name, changes in recipe_search.VARIANTS.items():
        options = {k: v for k, v in changes.items() if k not in ("net", "gray", "color_p", "flip")}
        recipe = config.Recipe(**options)
        model = recipe_search.build(changes.get("net", recipe_search.BASE), recipe)
        assert models.count_parameters(model) > 0, name

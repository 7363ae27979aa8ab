"""Each benchmark measures what it says, at sizes that take a moment."""

import queue
from pathlib import Path

import pytest
import torch

from benchmarks import folder, knn, loss, processes, recipe_search, step, views
from simclr_tut import config, evaluation, losses, models


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


def test_every_variant_of_the_search_builds_and_is_a_recipe():
    for name, changes in recipe_search.VARIANTS.items():
        options = {k: v for k, v in changes.items() if k not in ("net", "gray", "color_p", "flip")}
        recipe = config.Recipe(**options)
        model = recipe_search.build(changes.get("net", recipe_search.BASE), recipe)
        assert models.count_parameters(model) > 0, name


def test_the_rates_of_processes_are_recorded_in_turns(tmp_path, monkeypatch, capsys):
    rates, busy = iter([100, 90, 200, 150, 300, 330]), iter([0.0, 0.1, 0.9, None, 0.0, 0.0])
    asked = []

    def measure(count, threads, steps, batch_size):
        asked.append((count, threads))
        return next(rates)

    monkeypatch.setattr(processes, "FILE", tmp_path / "processes.jsonl")
    monkeypatch.setattr(processes, "pictures_per_second", measure)
    monkeypatch.setattr(processes, "busy_cores", lambda: next(busy))
    monkeypatch.setattr(processes.config, "cores", lambda: 2)
    monkeypatch.setattr("sys.argv", ["processes"])
    processes.main()
    assert asked == [(1, 2), (2, 1)] * 3
    [record] = evaluation.read_benchmark("processes", tmp_path / "processes.jsonl")
    assert record["ratio"] == 150 / 200
    assert record["busy_cores_before"] == [0.0, 0.1, 0.9, None, 0.0, 0.0]
    assert capsys.readouterr().out.count("will mislead") == 1


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads /proc/stat")
def test_a_busy_core_is_seen(monkeypatch):
    said = iter(["cpu  100 0 0 100 0 0 0 0 0 0\n", "cpu  150 0 0 125 25 0 0 0 50 0\n"])
    monkeypatch.setattr(processes.Path, "read_text", lambda self: next(said))
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 2)
    assert processes.busy_cores(0) == 1

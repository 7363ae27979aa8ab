"""Each benchmark measures what it says, at sizes that take a moment."""

import multiprocessing
import queue
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from notebook_files import ROOT
from PIL import Image

from benchmarks import folder, knn, loss, processes, recipe_search, rivals, speedrun, step, views
from benchmarks.common import append_record, extra_mb, machine_class, read_records
from simclr_tut import config, data, evaluation, losses, models, training
from simclr_tut.views import Views

sys.path.insert(0, str(ROOT / "tools"))

import speedrun_figure  # noqa: E402

LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(),
                           reason="Linux counts the memory")


@pytest.fixture
def one_thread():
    """A benchmark sets the threads of its process; here it is the tests' process."""
    before = torch.get_num_threads()
    yield ["--threads", "1"]
    torch.set_num_threads(before)


def in_a_fresh_process(function, *arguments):
    """What ``function`` puts into the queue it is given last: no earlier test lent it memory."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=function, args=(*arguments, answers))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return answers.get()


def put_extra_memory(answers):
    torch.ones(50_000_000).sum()  # 200 MB, freed at once
    answers.put(extra_mb(lambda: torch.ones(10_000_000).sum()))


@LINUX
def test_extra_memory_is_that_of_the_work_and_not_of_what_was_freed_before():
    assert 35 < in_a_fresh_process(put_extra_memory) < 120


@pytest.mark.parametrize("side", ["ours", "scikit-learn"])
def test_knn_sides_give_the_same_answers(side):
    answers, reference = queue.Queue(), queue.Queue()
    knn.measure(side, 2000, 50, torch.get_num_threads(), answers)
    knn.measure("ours", 2000, 50, torch.get_num_threads(), reference)
    seconds, _, asked, first = answers.get()
    assert seconds > 0 and asked == 50
    assert first == reference.get()[3]


def test_knn_leaves_a_record_of_both_sides(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(knn, "FILE", tmp_path / "knn.jsonl")
    knn.main(["--banks", "500", "--queries", "20", "--turns", "1", *one_thread])
    (found,) = read_records(knn.FILE)
    assert found["same_answers"] == 1 and found["sides"].keys() == set(knn.SIDES)
    assert {(s["turns"], s["queries_timed"]) for s in found["sides"].values()} == {(1, 20)}


def test_loss_sides_have_the_value_of_the_loop(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(loss, "FILE", tmp_path / "loss.jsonl")
    monkeypatch.setattr(loss, "SIDES", {s: m for s, m in loss.SIDES.items() if s != "lightly"})
    loss.main(["--pairs", "16", *one_thread])
    (found,) = read_records(loss.FILE)
    expected = losses.nt_xent_naive(*loss.embeddings(16), loss.TEMPERATURE).item()
    assert {"ours", "ours, any views"} <= found["sides"].keys()
    for side, part in found["sides"].items():
        assert part["value"] == pytest.approx(expected, abs=1e-4), side
        assert part["ms"] > 0 and "peak_mb" in part


@LINUX
def test_the_loss_of_a_large_batch_needs_the_memory_of_its_matrix():
    grown = in_a_fresh_process(loss.measure_memory, "ours", 1024, torch.get_num_threads())
    assert grown > 2048**2 * 4 / 1e6  # one float32 matrix at least


def test_a_step_is_split_into_its_parts_with_all_views(monkeypatch):
    seen = []
    real = step.multi_view_nt_xent
    monkeypatch.setattr(step, "multi_view_nt_xent",
                        lambda z, t: seen.append([part.shape for part in z]) or real(z, t))
    recipe = config.Recipe(batch_size=8, optimizer="muon", views=4)
    parts = step.split("tiny", 16, recipe, repeats=1)
    assert tuple(parts) == step.PARTS and min(parts.values()) > 0
    assert set(map(tuple, seen)) == {((8, 128),) * 4}


def test_views_of_all_sides_are_counted_by_the_second(tmp_path, monkeypatch, one_thread):
    calls = []
    rate = views.batched(lambda: calls.append(0), 4, 0.01)
    assert rate > 0 and len(calls) > 3
    picture = views.pictures(96, 2)
    assert picture.shape == (2, 3, 96, 96) and picture.dtype == torch.uint8
    monkeypatch.setattr(views, "FILE", tmp_path / "views.jsonl")
    monkeypatch.setitem(views.BATCH, 32, 8)
    views.main(["--sizes", "32", "--seconds", "0.1", *one_thread])
    (found,) = read_records(views.FILE)
    assert {"ours", "ours, four views", "ours, hue in HSV", "torchvision, PIL",
            "torchvision v2, tensors"} <= found["views_per_second"].keys()
    assert all(len(turns) == 3 and min(turns) > 0 for turns in found["turns"].values())


def test_torchvision_makes_the_same_of_a_tensor_and_of_a_pil_picture():
    tensor = views.pictures(32, 1)[0]
    pil = Image.fromarray(tensor.permute(1, 2, 0).numpy())
    made = []
    for tensors, picture in ((True, tensor), (False, pil)):
        torch.manual_seed(3)
        made.append(views.torchvision_policy(32, tensors)(picture))
    assert made[0].shape == made[1].shape == (3, 32, 32)
    assert (made[0] - made[1]).abs().mean() < 0.02


def fake_rival(recipe):
    """UvA's views and loss with our small network, so that a step takes a moment."""
    config.seed_everything(recipe.seed)
    model = models.build_model("tiny")
    return rivals.Rival("fake", model, torch.optim.AdamW(model.parameters(), lr=5e-4),
                        rivals.uva_views, lambda z1, z2: losses.nt_xent(z1, z2, 0.07), batch=16)


def test_a_rival_stopped_and_resumed_has_the_weights_of_the_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(rivals, "SAVE_SECONDS", 0)
    images = data.load_dataset("shapes", n=40).images
    recipe = config.Recipe(seed=3)
    whole = fake_rival(recipe)
    history = rivals.train(whole, images, 5, 3, workers=1)
    first = rivals.train(fake_rival(recipe), images, 5, 3, workers=0, folder=tmp_path,
                         on_step=lambda h: len(h.loss) == 4)
    assert first.interrupted and not history.interrupted
    again = fake_rival(recipe)
    resumed = rivals.train(again, images, 5, 3, workers=0, folder=tmp_path)
    assert resumed.loss == history.loss and len(resumed.loss) == 5
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_epoch_of_a_rival_shows_each_picture_once():
    images = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 2, 2)
    batches = rivals.Batches(images, lambda picture: [torch.tensor(picture.getpixel((0, 0)))] * 2,
                             batch=4, seed=0)
    seen = [int(x) for i in range(3) for x in batches[i][0][:, 0]]
    assert sorted(seen) == list(range(12))
    assert [int(x) for i in range(3, 6) for x in batches[i][0][:, 0]] != seen


def test_published_settings_of_the_rivals():
    recipe = config.recipe("pretrain")
    uva = rivals.build("UvA 17", recipe)
    assert uva.model.encoder(torch.rand(2, 3, 32, 32)).shape == (2, 512) and uva.batch == 256
    assert uva.optimizer.param_groups[0]["lr"] == 5e-4
    pytest.importorskip("lightly")
    lightly, pipeline = (rivals.build(name, recipe) for name in ("lightly", "lightly, our encoder"))
    assert lightly.batch == 128 and lightly.optimizer.param_groups[0]["lr"] == 0.06
    stem = next(m for m in lightly.model.modules() if isinstance(m, torch.nn.Conv2d))
    assert stem.kernel_size == (3, 3) and stem.stride == (1, 1)
    assert pipeline.batch == 256 and pipeline.loss_of.temperature == recipe.temperature
    ours = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim)
    assert models.count_parameters(pipeline.model) == models.count_parameters(ours)


def test_a_stopwatch_leaves_out_the_first_steps(monkeypatch):
    clock = iter([100.0, 103.0, 110.0, 110.0, 111.0, 112.5])
    monkeypatch.setattr(speedrun.time, "perf_counter", lambda: next(clock))
    watch = speedrun.Stopwatch(seconds=2, skip=3)
    assert [watch(None) for _ in range(5)] == [False, False, False, False, True]
    assert watch.steps == 2 and watch.spent / watch.steps == 1.25


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """The speed run on 300 shapes that pass as CIFAR-10, with the quick rival alone."""
    parts = {split: replace(data.load_dataset("shapes", split, n=300), name="cifar10")
             for split in ("train", "test")}

    monkeypatch.setattr(speedrun, "FILE", tmp_path / "speedrun.jsonl")
    monkeypatch.setattr(speedrun.config, "home", lambda: tmp_path)
    monkeypatch.setattr(speedrun.data, "load_dataset", lambda name, split: parts[split])
    monkeypatch.setattr(speedrun.data, "split_labels", lambda whole, n: (whole, None))
    monkeypatch.setattr(speedrun.rivals, "build", lambda name, recipe: fake_rival(recipe))
    return speedrun


def test_the_speed_run_trains_the_steps_of_its_rate(small_run, one_thread, monkeypatch):
    sides = ["--sides", "ours", "UvA 17", *one_thread]
    with pytest.raises(SystemExit, match="speedrun rate"):
        small_run.main(["train", *sides])
    small_run.main(["rate", *sides, "--seconds", "0.2", "--rounds", "2"])
    (rate,) = read_records(small_run.FILE)
    assert all(len(blocks) == 2 and min(blocks) > 0 for blocks in rate["blocks"].values())
    append_record(small_run.FILE, {"part": "rate", "machine": machine_class(), "steps_per_second":
                                   {"ours": 0.1, "UvA 17": 0.05}})  # the newest counts
    kept = []
    real = evaluation.whiten
    monkeypatch.setattr(evaluation, "whiten", lambda *x: kept.append(x) or real(*x))
    for _ in range(2):  # the second time there is nothing left to do
        small_run.main(["train", *sides, "--minutes", "1", "--seeds", "4"])
    found = [r for r in read_records(small_run.FILE) if r["part"] == "train"]
    assert [(r["side"], r["steps"], r["seed"]) for r in found] == [("ours", 6, 4), ("UvA 17", 3, 4)]
    assert all(0 <= r[name] <= 1 for r in found for name in ("knn_test", "knn_test_whitened"))
    assert len(kept) == 2 and found[0]["epochs"] == 6 * found[0]["batch_size"] / 300
    assert not any((small_run.config.home() / "speedrun").iterdir())


def test_the_whitening_layer_takes_its_steps_from_ours_and_trains(small_run, one_thread):
    append_record(small_run.FILE, {"part": "rate", "machine": machine_class(),
                                   "steps_per_second": {"ours": 0.1}})
    small_run.main(["train", "--sides", small_run.WHITENED, *one_thread, "--minutes", "1",
                    "--seeds", "4"])
    (found,) = [r for r in read_records(small_run.FILE) if r["part"] == "train"]
    assert found["side"] == small_run.WHITENED and found["steps"] == 6
    pictures = data.load_dataset("shapes", "train").images[:64]
    model, _ = small_run.train_ours(config.Recipe(steps=2), pictures, small_run.WHITENED)
    assert [type(m).__name__ for m in model.head.layers] == ["Linear"]
    assert isinstance(model.encoder[1][-1], recipe_search.RunningWhitening)


def test_a_measured_rate_of_the_whitening_layer_goes_before_an_assumed_one(small_run):
    white, machine = small_run.WHITENED, machine_class()
    with pytest.raises(SystemExit, match="no rates of these sides"):
        small_run.newest_rates([white])
    for rates in ({"ours": 10.0}, {"ours": 10.0, white: 9.0}, {"ours": 8.0}):
        append_record(small_run.FILE, {"part": "rate", "machine": machine,
                                       "steps_per_second": rates})
    assert small_run.newest_rates(["ours", white])[white] == 9.0  # one machine, one moment
    assert small_run.newest_rates([white])[white] == 9.0
    assert small_run.newest_rates(["ours"])["ours"] == 8.0
    append_record(small_run.FILE, {"part": "rate", "machine": machine,
                                   "steps_per_second": {"ours": 4.0, "UvA 17": 1.0}})
    assert small_run.newest_rates([white, "UvA 17"])[white] == 0.95 * 4.0


def test_a_run_is_repeated_on_another_machine_and_said_to_be_there_on_this(
        small_run, one_thread, monkeypatch, capsys):
    command = ["train", "--sides", "UvA 17", *one_thread, "--minutes", "1", "--seeds", "4"]
    for machine in ("one", "another"):
        monkeypatch.setattr(speedrun, "machine_class", lambda m=machine: m)
        monkeypatch.setattr(speedrun, "provenance", lambda _, m=machine: {"machine": m})
        append_record(small_run.FILE, {"part": "rate", "machine": machine,
                                       "steps_per_second": {"UvA 17": 0.05}})
        small_run.main(command)
    small_run.main(command)
    assert "has its record" in capsys.readouterr().out
    trained = [r["machine"] for r in read_records(small_run.FILE) if r["part"] == "train"]
    assert trained == ["one", "another"]


def test_a_run_whose_record_cannot_be_written_is_not_thrown_away(small_run, one_thread,
                                                                 monkeypatch):
    append_record(small_run.FILE, {"part": "rate", "machine": machine_class(),
                                   "steps_per_second": {"ours": 0.1}})

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(speedrun, "append_record", full_disk)
    with pytest.raises(OSError, match="no space"):
        small_run.main(["train", "--sides", "ours", *one_thread, "--minutes", "1", "--seeds", "4"])
    assert list((small_run.config.home() / "speedrun" / "ours-1-4").iterdir())


def test_the_speed_run_is_of_processor_cores(small_run, monkeypatch):
    monkeypatch.setattr(speedrun.config, "pick_device", lambda: torch.device("cuda"))
    with pytest.raises(SystemExit, match="CUDA_VISIBLE_DEVICES="):
        small_run.main(["train"])


def test_the_figure_of_the_speed_run_shows_its_records(tmp_path, monkeypatch):
    monkeypatch.setattr(speedrun, "FILE", tmp_path / "speedrun.jsonl")
    assert speedrun_figure.runs() == {}
    append_record(speedrun.FILE, {"part": "rate"})
    for side, minutes, knn_test in (("UvA 17", 1, 0.3), ("lightly, our encoder", 5, 0.5),
                                    ("ours", 1, 0.45), ("ours", 5, 0.6), ("ours", 5, 0.62)):
        append_record(speedrun.FILE, {"part": "train", "side": side, "minutes": minutes,
                                      "knn_test": knn_test, "knn_test_whitened": knn_test + 0.1})
    table = speedrun_figure.runs()
    assert list(table) == ["ours", "lightly, our encoder", "UvA 17"]
    assert table["ours"] == {1: [0.45], 5: [0.6, 0.62]}
    assert "after 5 minutes ours is 11.0 points ahead" in speedrun_figure.finding(table)
    table["lightly, our encoder"][5] = [0.4]
    assert "ours after 1 minute is ahead of lightly's views and loss after 5" == (
        speedrun_figure.finding(table))
    table["lightly, our encoder"][5] = [0.7]
    assert "9.0 points behind" in speedrun_figure.finding(table)
    both = speedrun_figure.both()
    speedrun_figure.draw(both, tmp_path / "docs" / "run.png")
    with Image.open(tmp_path / "docs" / "run.png") as picture:
        assert picture.text["Comment"] == speedrun_figure.mark(both)
    both["whitened h"]["ours"][1] = [0.1]
    assert picture.text["Comment"] != speedrun_figure.mark(both)


def test_the_figure_of_the_speed_run_that_ships_is_of_the_records_that_ship():
    with Image.open(speedrun_figure.TARGET) as picture:
        carried = picture.text["Comment"]
    assert carried == speedrun_figure.mark(speedrun_figure.both()), "tools/speedrun_figure.py"
    shown = str(speedrun_figure.TARGET.relative_to(speedrun_figure.ROOT))
    assert shown in (speedrun_figure.ROOT / "README.md").read_text(encoding="utf-8")


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


def test_the_whitening_layer_of_the_search_whitens_what_it_has_seen():
    torch.manual_seed(0)
    mixing, layer = torch.randn(8, 8), recipe_search.RunningWhitening(8)
    model = recipe_search.build("32s2 64s2 p8 w", config.Recipe(head_layers=1))
    assert isinstance(model.encoder[1][-1], recipe_search.RunningWhitening)
    for _ in range(200):
        layer(torch.randn(256, 8) @ mixing + 3)
    assert int(layer.state_dict()["seen"]) == 200, "a run that goes on must know"
    white = layer.eval()(torch.randn(5000, 8) @ mixing + 3)
    torch.testing.assert_close(white.mean(0), torch.zeros(8), atol=0.15, rtol=0)
    assert float((white.T.cov() - torch.eye(8)).abs().max()) < 0.25
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    h = torch.randn(64, 8) @ mixing + 3
    exact = (h - layer.mean) @ layer.matrix
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(h), exact)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    equal = recipe_search.RunningWhitening(8, every=1)
    assert torch.isfinite(equal(torch.ones(16, 8))).all(), "equal rows have no width"


def test_a_run_with_the_whitening_layer_goes_on_where_it_was_stopped(tmp_path):
    pictures = data.load_dataset("shapes", "train", 32).images
    recipe = config.Recipe(steps=14, batch_size=16, small_size=None, head_layers=1)
    ends = []
    for stops in ((None,), (12, None)):  # the matrix is found at the tenth step: it must be kept
        for stop in stops:
            config.seed_everything(3)
            model = recipe_search.build("32s2 64s2 w", recipe)
            training.pretrain(model, pictures, Views(16), recipe, folder=tmp_path / str(len(stops)),
                              on_step=lambda h, stop=stop: len(h.loss) == stop)
        ends.append(model.state_dict())
    assert [int(v) for k, v in ends[0].items() if k.endswith("seen")] == [14]
    assert all(torch.equal(a, b) for a, b in zip(*map(dict.values, ends), strict=True))


@pytest.mark.parametrize(("arguments", "said"), [
    (["--changes", '{"lr": 0.2}'], "one name before"), (["no such"], "no variant 'no such'")])
def test_the_search_says_what_it_needs(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recipe_search", *arguments])
    with pytest.raises(SystemExit):
        recipe_search.main()
    assert said in capsys.readouterr().err



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

"""A machine of faults: the course's main paths under what goes wrong on thirty laptops.

TESTING.md holds the table of faults and promises. Kills are in test_resume.py, fetching in
test_download.py, folders in test_folder.py, several processes in test_distributed.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import quick_processes
import torch
from PIL import Image
from safetensors import safe_open

from simclr_tut import config, data, evaluation, models, training
from simclr_tut.views import Views

PROCESSES = quick_processes.context("simclr_tut.training", "simclr_tut.views", "simclr_tut.models")
RECIPE = config.Recipe(steps=6, batch_size=8, small_size=None)


def pictures(n=16):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def command(*arguments, python=(), **environment):
    return subprocess.run([sys.executable, *python, "-m", "simclr_tut", *map(str, arguments)],
                          capture_output=True, text=True, timeout=200,
                          env={**os.environ, **environment})


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB: room for one checkpoint of the tiny model and half of another."""
    place = tmp_path / "small disk"
    place.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)],
                                 capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("only an administrator may mount a small disk; test_resume.py simulates one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


# A home that cannot be written


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write")
def test_a_read_only_home_is_named_and_another_folder_works(tmp_path):
    ran = command("pretrain", "--steps", 2, "--dataset", "shapes", SIMCLR_TUT_HOME="/proc/home")
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert "cannot write the folder for your runs" in ran.stderr
    assert "Set SIMCLR_TUT_HOME" in ran.stderr
    ran = command("pretrain", "--steps", 2, "--dataset", "shapes", "--folder", tmp_path,
                  SIMCLR_TUT_HOME="/proc/home")
    assert ran.returncode == 0, ran.stderr
    assert models.load_weights(tmp_path / "model.safetensors")
    assert "cannot write" in command("doctor", SIMCLR_TUT_HOME="/proc/home").stdout


def test_a_home_that_is_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("SIMCLR_TUT_HOME", str(tmp_path / "home"))
    with pytest.raises(OSError, match="Set SIMCLR_TUT_HOME"):
        config.home()
    with pytest.raises(OSError, match="Choose one you may write"):
        training.pretrain(models.build_model("tiny"), pictures(), Views(32), RECIPE,
                          folder=tmp_path / "home")


# A disk that is full: a real one


def test_a_full_disk_ends_the_command_with_a_message(small_disk):
    (small_disk / "ballast").write_bytes(bytes(3_500_000))
    ran = command("pretrain", "--steps", 2, "--dataset", "shapes", "--folder", small_disk)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert "could not be written" in ran.stderr and "Free some space" in ran.stderr
    (small_disk / "ballast").unlink()
    assert not list(small_disk.glob("*.half"))


def test_a_disk_that_fills_up_keeps_the_last_good_checkpoint(small_disk):
    def fill(epoch, history):
        if len(history.loss) == 4:
            (small_disk / "ballast").write_bytes(bytes(1_500_000))

    model = models.build_model("tiny")
    with pytest.raises(OSError, match="the one before it is whole"):
        training.pretrain(model, pictures(), Views(32), RECIPE, fill, small_disk)
    with safe_open(small_disk / "run.safetensors", "pt") as file:
        assert json.loads(file.metadata()["history"])["steps"] == 6
    (small_disk / "ballast").unlink()
    again = models.build_model("tiny")
    training.pretrain(again, pictures(), Views(32), RECIPE, folder=small_disk)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), "nothing was lost"


def test_a_cache_without_room_costs_only_time(small_disk, tmp_path, monkeypatch):
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(small_disk))
    (tmp_path / "mine").mkdir()
    for i in range(30):
        Image.new("L", (300, 300), i).save(tmp_path / "mine" / f"{i:02d}.png")
    found = data.load_dataset(tmp_path / "mine", size=256)  # 6 MB
    assert found.images[:, 0, 0, 0].tolist() == list(range(30))
    assert not [p for p in small_disk.rglob("*") if p.is_file()]


# No network: the command answers, and says what to do


def test_without_a_network_the_download_says_so():
    for name in ("cifar10", "stl10"):
        ran = command("download", "--dataset", name, SIMCLR_TUT_DATA="")
        assert ran.returncode == 1 and "Traceback" not in ran.stderr
        assert "simclr_tut:" in ran.stderr and ("network" in ran.stderr or "fetched" in ran.stderr)


# Two notebooks at once


def _one_of_two(folder, start, answers):
    torch.set_num_threads(1)
    training._SAVE_SECONDS = 0
    torch.manual_seed(0)
    model = models.build_model("tiny")
    start.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a save that lost the race is tried again later
        history = training.pretrain(model, pictures(), Views(32), RECIPE, folder=folder)
    answers.put((len(history.loss), history.loss[-1],
                 float(sum(p.detach().double().sum() for p in model.parameters()))))


def test_two_notebooks_in_one_folder_end_alike(tmp_path):
    start, answers = PROCESSES.Event(), PROCESSES.Queue()
    both = [PROCESSES.Process(target=_one_of_two, args=(tmp_path, start, answers))
            for _ in range(2)]
    for process in both:
        process.start()
    start.set()
    found = [answers.get(timeout=120) for _ in both]
    for process in both:
        process.join(60)
    assert found[0] == found[1] and found[0][0] == 6
    model = models.build_model("tiny")
    assert len(training.pretrain(model, pictures(), Views(32), RECIPE, folder=tmp_path).loss) == 6


def _record_many(folder, who, start):
    start.wait()
    for i in range(20):
        evaluation.record(folder, f"{who}-{i}", 0.5, dataset="shapes", measure="kNN", seed=0)


def test_two_notebooks_may_write_results_and_none_is_lost(tmp_path):
    start = PROCESSES.Event()
    both = [PROCESSES.Process(target=_record_many, args=(tmp_path, who, start)) for who in "ab"]
    for process in both:
        process.start()
    start.set()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {r["name"] for r in written} == {f"{who}-{i}" for who in "ab" for i in range(20)}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_two_kernels_build_one_cache_at_once(tmp_path):
    manager = pytest.importorskip("jupyter_client").manager
    for i in range(200):
        path = tmp_path / "mine" / "ab"[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), i).save(path)
    (tmp_path / "mine" / "a" / "half.png").write_bytes(b"no picture")
    cell = (  # each waits until the other is there, so that both find no cache
        "import os, time, warnings\nfrom pathlib import Path\nwarnings.simplefilter('ignore')\n"
        "from simclr_tut import _folder, data\n"
        f"os.environ['SIMCLR_TUT_CACHE'] = {str(tmp_path / 'cache')!r}\n"
        "os.environ.pop('SIMCLR_TUT_DATA', None)\nbuild = _folder._build\n"
        "def together(*arguments):\n"
        f"    here = Path({str(tmp_path)!r})\n"
        "    (here / f'{os.getpid()}.here').touch()\n"
        "    deadline = time.monotonic() + 60\n"
        "    while len(list(here.glob('*.here'))) < 2 and time.monotonic() < deadline:\n"
        "        time.sleep(0.01)\n"
        "    return build(*arguments)\n"
        f"_folder._build = together\nfound = data.load_dataset({str(tmp_path / 'mine')!r})\n"
        "assert len(found) == 200 and len(found.left_out) == 1 and found.classes == ('a', 'b')\n"
        "assert found.images[:, 0, 0, 0].sum() == sum(range(200))")
    both = [manager.start_new_kernel(kernel_name="python3") for _ in range(2)]
    try:
        asked = [client.execute(cell) for _, client in both]
        for (_, client), message in zip(both, asked, strict=True):
            reply = client.get_shell_msg(timeout=120)
            while reply["parent_header"].get("msg_id") != message:
                reply = client.get_shell_msg(timeout=120)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        for kernel, client in both:
            client.stop_channels()
            kernel.shutdown_kernel(now=True)
    assert len(list(tmp_path.glob("*.here"))) == 2, "both built"
    left = sorted(path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert left == [".json", ".pixels"]


# A kernel that is killed


def test_a_killed_kernel_loses_no_step_that_was_saved(tmp_path):
    manager = pytest.importorskip("jupyter_client").manager
    cell = (
        "import time, torch\nfrom simclr_tut import config, models, training\n"
        "from simclr_tut.views import Views\n"
        "training._SAVE_SECONDS = 0\ntorch.manual_seed(0)\nmodel = models.build_model('tiny')\n"
        "images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)\n"
        "views = lambda images, size=None: time.sleep(SLEEP) or Views(32)(images)\n"
        "recipe = config.Recipe(steps=6, batch_size=8, small_size=None)\n"
        f"history = training.pretrain(model, images, views, recipe, folder={str(tmp_path)!r})\n")

    def steps():
        try:
            with safe_open(tmp_path / "run.safetensors", "pt") as file:
                return len(json.loads(file.metadata()["history"])["loss"])
        except (OSError, RuntimeError):
            return -1

    kernel, client = manager.start_new_kernel(kernel_name="python3")
    client.execute(cell.replace("SLEEP", "0.5"))
    deadline = time.monotonic() + 100
    while steps() < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel.signal_kernel(signal.SIGKILL)
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    saved = steps()
    assert 2 <= saved < 6
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    try:
        reply = client.execute_interactive(
            cell.replace("SLEEP", "0") + "assert len(history.loss) == 6", timeout=100,
            output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert steps() == 6


# Paths that are long and not ASCII


def test_long_paths_with_letters_of_the_world(tmp_path):
    folder = tmp_path / "Übungen" / "写真 🍎" / ("lang " * 20).strip() / ("y" * 100)
    model = models.build_model("tiny")
    training.pretrain(model, pictures(), Views(32), RECIPE, folder=folder)
    recipe = {"encoder": "tiny", "head_hidden": 128, "head_dim": 128, "head_layers": 2}
    models.save_weights(model, folder / "mödel.safetensors", recipe)
    loaded = models.load_weights(folder / "mödel.safetensors")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(loaded.eval()(x), model.eval()(x), rtol=1e-3, atol=1e-3)
    evaluation.record(folder, "größe", 0.5, dataset="写真")
    assert evaluation.read_records(folder)[0]["name"] == "größe"


def test_the_command_line_takes_long_paths_with_letters_of_the_world(tmp_path):
    mine = tmp_path / "Ümläute 🍎" / ("sehr lang " * 20).strip() / "写真"
    for i in range(12):
        path = mine / ("train", "test")[i // 9] / "añб"[i % 3] / f"{'bild' * 20} {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i, 90, 200)).save(path)
    folder = tmp_path / "läufe" / ("y" * 150)
    place = {"SIMCLR_TUT_HOME": str(tmp_path / "höme"), "SIMCLR_TUT_CACHE": str(tmp_path / "çache")}
    ran = command("pretrain", "--steps", 2, "--dataset", mine, "--folder", folder, **place)
    assert ran.returncode == 0, ran.stderr[-2000:]
    ran = command("evaluate", folder / "model.safetensors", "--dataset", mine, **place)
    assert ran.returncode == 0 and "kNN" in ran.stdout, ran.stderr[-2000:]


# Warnings as errors


@pytest.mark.parametrize("world", [1, 2])
def test_the_main_paths_warn_of_nothing(tmp_path, world):
    def quietly(*arguments, launcher=()):
        ran = command(*arguments, python=("-W", "error", *launcher), **strict)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}")
    # torchrun hands its workers no -W; a variable reaches them
    strict = {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    for i in range(12):
        path = tmp_path / "mine" / ("train", "test")[i // 8] / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i, 90, 200)).save(path)
    run = ("pretrain", "--steps", 2, "--batch-size", 4, "--folder", tmp_path / "run",
           "--dataset", tmp_path / "mine")
    weights = tmp_path / "run" / "model.safetensors"
    for _ in range(2):  # the second finds the run finished
        assert "done" in quietly(*run, launcher=torchrun if world > 1 else ())
    assert "kNN" in quietly("evaluate", weights, "--dataset", tmp_path / "mine")
    if world == 1:
        assert "kNN" in quietly("evaluate", weights, "--dataset", "shapes")
        assert "torch" in quietly("doctor")

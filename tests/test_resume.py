"""Exact resume: runs that are really killed, at every kind of moment, end with the same bits."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import time
import warnings
from dataclasses import asdict, replace

import pytest
import quick_processes
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from simclr_tut import _checkpoint, config, methods, models, training
from simclr_tut.views import Views

RECIPE = config.Recipe(steps=8, batch_size=8, small_size=16, eval_every=1)
# A server that has imported torch once forks a fresh process for each run that is to be killed.
PROCESSES = quick_processes.context("simclr_tut.training", "simclr_tut.views", "simclr_tut.models")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that are killed: sums keep their order
    yield
    torch.set_num_threads(before)


def pictures(n=20):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def model(seed=0, width=32):
    torch.manual_seed(seed)
    return models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128, width, 16))


def train(folder, seed=0, recipe=RECIPE, on_epoch=None, views=None):
    network = model(seed)
    history = training.pretrain(network, pictures(), views or Views(32), recipe, on_epoch, folder)
    return {k: v.clone() for k, v in network.state_dict().items()}, history


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_step(folder, step, save_seconds):
    """Run in a process of its own: dies inside ``step``, before its gradient step."""
    torch.set_num_threads(1)
    training._SAVE_SECONDS = save_seconds
    ordinary, calls = Views(32), []

    def views(images, size=None):
        calls.append(1)
        if len(calls) == step:
            die()
        return ordinary(images, size=size)

    train(folder, views=views)


def killed_at_rename(folder, number):
    """Run in a process of its own: dies between writing a checkpoint and giving it its name."""
    torch.set_num_threads(1)
    training._SAVE_SECONDS = 0
    rename, calls = os.replace, []

    def replace_or_die(*names):
        calls.append(1)
        if len(calls) == number:
            die()
        rename(*names)

    _checkpoint.os.replace = replace_or_die
    train(folder)


def killed_while_writing(folder):
    """Run in a process of its own: dies with half of a checkpoint written."""
    torch.set_num_threads(1)
    training._SAVE_SECONDS = 0
    write, calls = _checkpoint._write, []

    def write_half(path, content):
        calls.append(1)
        if len(calls) == 4:
            path.write_bytes(content[: len(content) // 2])
            die()
        write(path, content)

    _checkpoint._write = write_half
    train(folder)


def slow_run(folder):
    """Run in a process of its own: steps that leave time for a signal from outside."""
    torch.set_num_threads(1)
    training._SAVE_SECONDS = 0
    ordinary = Views(32)

    def views(images, size=None):
        time.sleep(0.1)
        return ordinary(images, size=size)

    train(folder, views=views)


def in_a_process(target, *arguments):
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def unbroken():
    torch.set_num_threads(1)
    weights, history = train(None)
    return weights, history.loss


@pytest.mark.parametrize(("target", "arguments", "done"), [
    (killed_at_step, (1, 30), 0),
    (killed_at_step, (5, 30), 0),  # only the plan was written yet
    (killed_at_step, (2, 0), 1),
    (killed_at_step, (7, 0), 6),  # the views have just grown from 16 to 32 pixels
    (killed_at_rename, (4,), 0),  # the newest has given up its name, the next not taken it
    (killed_at_rename, (7,), 2),
    (killed_at_rename, (8,), 2),
    (killed_while_writing, (), 2),
])
def test_kill_9_at_any_moment_costs_no_bit(tmp_path, unbroken, target, arguments, done):
    process = in_a_process(target, tmp_path, *arguments)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    looked = []
    weights, history = train(tmp_path, seed=99,
                             on_epoch=lambda epoch, h: looked.append(len(h.loss)))
    assert history.loss == unbroken[1] and not history.interrupted
    assert same(weights, unbroken[0])
    assert min(looked) == 2 * (done // 2) + 2, "it went on from another step than the last saved"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_from_outside_at_a_random_moment(tmp_path, unbroken, number):
    process = in_a_process(slow_run, tmp_path)
    path, deadline = tmp_path / "run.safetensors", time.monotonic() + 120
    while time.monotonic() < deadline and not _steps(path) >= 2:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert 2 <= _steps(path) < RECIPE.steps
    weights, history = train(tmp_path, seed=99)
    assert history.loss == unbroken[1] and same(weights, unbroken[0])


def digest(weights):
    content = hashlib.sha256()
    for name, value in sorted(weights.items()):
        content.update(name.encode() + value.contiguous().numpy().tobytes())
    return content.hexdigest()


def test_kills_at_random_moments_one_after_the_other_cost_no_bit(tmp_path, unbroken):
    seed = random.SystemRandom().randrange(2**32)
    draw, moments, deaths = random.Random(seed), [], 0
    for _ in range(6):  # of one run in one folder, each process going on from what the last left
        target, *arguments = draw.choice([
            (killed_at_step, draw.randint(1, 4), 0), (killed_at_step, draw.randint(1, 4), 30),
            (killed_at_rename, draw.randint(1, 6)), (killed_while_writing,)])
        moments.append((target.__name__, *arguments))
        process = in_a_process(target, tmp_path, *arguments)
        process.join(120)
        deaths += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL), f"seed {seed}: {moments}"
    weights, history = train(tmp_path, seed=99)
    assert deaths and not history.interrupted
    assert digest(weights) == digest(unbroken[0]), f"seed {seed}: {moments}"
    assert history.loss == unbroken[1], f"seed {seed}: {moments}"


def _steps(path):
    try:
        with safe_open(path, "pt") as file:
            return len(json.loads(file.metadata()["history"])["loss"])
    except (OSError, RuntimeError):
        return -1


def test_a_budget_in_seconds_is_planned_once_and_kept(tmp_path, monkeypatch):
    plans = iter([6, 60])
    monkeypatch.setattr(training, "_plan_steps", lambda *arguments: next(plans))
    recipe = replace(RECIPE, steps=None, seconds=1.0)

    def stop(epoch, history):
        signal.raise_signal(signal.SIGINT)

    _, first = train(tmp_path, recipe=recipe, on_epoch=stop)
    assert first.interrupted and first.steps == 6
    weights, second = train(tmp_path, seed=5, recipe=recipe)
    assert second.steps == 6 and len(second.loss) == 6
    monkeypatch.undo()
    assert same(weights, train(None, recipe=replace(RECIPE, steps=6))[0])


def test_stopping_again_and_again_changes_nothing(tmp_path, unbroken):
    def stop(epoch, history):
        signal.raise_signal(signal.SIGINT)

    parts = []
    for attempt in range(10):
        weights, history = train(tmp_path, seed=attempt, on_epoch=stop)
        parts.append(len(history.loss))
        if not history.interrupted:
            break
    assert parts == [2, 4, 6, 8]
    assert same(weights, unbroken[0])
    assert [e["step"] for e in history.epochs] == [2, 4, 6, 8]
    again, history = train(tmp_path, seed=3)  # a finished run is loaded, not trained again
    assert same(again, unbroken[0]) and len(history.loss) == 8


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "gone", "noise"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, unbroken, monkeypatch,
                                                                 harm):
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    train(tmp_path)
    path = tmp_path / "run.safetensors"
    content = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        content[-50] ^= 1
        path.write_bytes({"cut": content[:-40], "flip": content, "empty": b"",
                          "noise": os.urandom(300)}[harm])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        weights, history = train(tmp_path, seed=99)
    assert same(weights, unbroken[0]) and history.loss == unbroken[1]
    assert harm == "gone" or any("going on from the one before it" in str(w.message) for w in said)


def test_nothing_whole_is_refused_and_left_alone(tmp_path):
    (tmp_path / "run.safetensors").write_bytes(b"\x80\x04K\x01.")  # a pickle is never loaded
    with pytest.raises(ValueError, match="no whole checkpoint.*Delete it"):
        train(tmp_path)
    assert (tmp_path / "run.safetensors").read_bytes() == b"\x80\x04K\x01."


def test_other_recipes_versions_and_architectures_are_refused_with_the_reason(tmp_path):
    train(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="lr: 0.3 then, 0.1 now"):
        train(tmp_path, recipe=replace(RECIPE, lr=0.1))
    with pytest.raises(ValueError, match=r"another architecture: head.*\(32, 128\).*\(48, 128\)"):
        training.pretrain(model(width=48), pictures(), Views(32), RECIPE, folder=tmp_path)
    with pytest.raises(ValueError, match="another architecture: head.bias is absent in the file"):
        network = models.SimCLR(models.build_encoder("tiny"), nn.Linear(128, 16))
        training.pretrain(network, pictures(), Views(32), RECIPE, folder=tmp_path)
    with pytest.raises(ValueError, match="images: 20 then, 16 now"):
        training.pretrain(model(), pictures(16), Views(32), RECIPE, folder=tmp_path)
    with pytest.raises(ValueError, match="views.color: 0.5 then, 1.0 now"):
        train(tmp_path, views=Views(32, color=1.0))
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    path = tmp_path / "run.safetensors"
    with safe_open(path, "pt") as file:
        header = file.metadata()
    for change, said in (({"version": "9.9.9"}, "another version.*9.9.9"),
                         ({"format": "99"}, "another version.*format 99")):
        changed = {**header, **change}
        changed["seal"] = _checkpoint._seal(changed)
        save_file(load_file(path), tmp_path / "other", metadata=changed)
        shutil.copy(tmp_path / "other", path)
        with pytest.raises(ValueError, match=said):
            train(tmp_path)


def test_other_pictures_of_the_same_number_are_noticed(tmp_path):
    images = pictures()
    train(tmp_path)
    changed = images.clone()
    changed[-1, 2, 31, 31] ^= 1  # the least of changes to a small set
    for other in (changed, images.flip(0), images.transpose(2, 3)):
        with pytest.raises(ValueError, match="pictures: '.*' then, '.*' now"):
            training.pretrain(model(), other, Views(32), RECIPE, folder=tmp_path)
    history = training.pretrain(model(), images.clone(), Views(32), RECIPE, folder=tmp_path)
    assert len(history.loss) == RECIPE.steps  # equal pictures in another place are the same


def test_other_labels_are_noticed(tmp_path):
    def run(labels):
        torch.manual_seed(0)
        network = methods.SupCon(models.build_encoder("tiny"), models.ProjectionHead(128, 32, 16))
        return training.pretrain(network, pictures(), Views(32), RECIPE, folder=tmp_path,
                                 labels=labels)

    run(torch.arange(20) % 2)
    with pytest.raises(ValueError, match="pictures: "):
        run(torch.arange(20) % 4)
    assert len(run(torch.arange(20) % 2).loss) == RECIPE.steps


def test_the_fingerprint_of_many_pictures_reads_few_of_them():
    """A folder larger than memory must not be read through at every start."""
    class Counting:
        def __init__(self, images):
            self.images, self.read = images, 0
            self.shape, self.dtype = images.shape, images.dtype

        def __len__(self):
            return len(self.images)

        def __getitem__(self, rows):
            self.read += len(self.images[rows])
            return self.images[rows]

    images = torch.randint(0, 256, (5000, 3, 8, 8), dtype=torch.uint8)
    few = Counting(images)
    assert training._fingerprint(few) == training._fingerprint(images) and few.read <= 1100
    changed = images.clone()
    changed[torch.randperm(5000)[:100]] = 0  # two in a hundred are missed once in 10^8
    assert training._fingerprint(changed) != training._fingerprint(images)


METHODS = {
    "moco": lambda e, h: methods.MoCo(e, h, queue=16),
    "byol": lambda e, h: methods.BYOL(e, h, nn.Linear(16, 16)),
    "generative": lambda e, h: methods.Generative(e, 8),
    "adversarial": lambda e, h: methods.Adversarial(e, 8),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_methods_with_queues_and_slow_copies_resume_to_the_same_bits(tmp_path, name, optimizer):
    recipe = replace(RECIPE, small_size=None, optimizer=optimizer, lr=0.02)
    views = methods.whole_pictures if name in ("generative", "adversarial") else Views(32)

    def run(folder, seed, on_epoch=None):
        torch.manual_seed(seed)
        network = METHODS[name](models.build_encoder("tiny"), models.ProjectionHead(128, 32, 16))
        history = training.pretrain(network, pictures(), views, recipe, on_epoch, folder)
        return dict(network.state_dict()), history.interrupted

    whole, _ = run(None, 0)
    assert run(tmp_path, 0, lambda *_: signal.raise_signal(signal.SIGINT))[1]
    resumed, interrupted = run(tmp_path, 99)
    assert not interrupted and same(resumed, whole)


def test_any_flipped_bit_is_noticed(tmp_path, unbroken):
    """Wherever the bit lies: in weights, momentum, history, recipe, or the file's own header."""
    train(tmp_path, on_epoch=lambda *_: signal.raise_signal(signal.SIGINT))
    path = tmp_path / "run.safetensors"
    (tmp_path / "run.previous.safetensors").unlink()
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    draws = torch.Generator().manual_seed(0)
    places = [int(torch.randint(8, 8 + header, (), generator=draws)) for _ in range(60)]
    places += [int(torch.randint(0, len(whole), (), generator=draws)) for _ in range(20)]
    history = whole.index(b'"history":')
    places += [3, whole.index(b'"sha256"') + 14, whole.index(b"F32"),
               *range(history, history + 400, 3)]
    for i, place in enumerate(places):
        harmed = bytearray(whole)
        harmed[place] ^= 1 << (0, 6)[i % 2]
        path.write_bytes(harmed)
        try:
            weights, history = train(tmp_path, seed=99)
        except ValueError:
            continue
        assert same(weights, unbroken[0]) and history.loss == unbroken[1], f"byte {place}"


def run_whose_newest_is_cut_short(folder):
    """Leave a killed run in ``folder``: the newest checkpoint damaged, the one before it whole."""
    process = in_a_process(killed_at_step, folder, 5, 0)
    process.join(120)
    path = folder / "run.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def test_the_last_good_checkpoint_outlives_the_save_after_a_damaged_one(tmp_path, unbroken,
                                                                        monkeypatch):
    """The newest is damaged and the one before it is used: then that one must not be replaced."""
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    run_whose_newest_is_cut_short(tmp_path)
    rename, calls = os.replace, []

    def replace_or_fail(*names):
        calls.append(names)
        if len(calls) == 2:  # a power cut here
            raise KeyboardInterrupt
        rename(*names)

    monkeypatch.setattr(_checkpoint.os, "replace", replace_or_fail)
    with pytest.warns(UserWarning, match="going on from the one before it"), \
            pytest.raises(KeyboardInterrupt):
        train(tmp_path, seed=99)
    monkeypatch.undo()
    torch.set_num_threads(1)
    weights, history = train(tmp_path, seed=98)
    assert same(weights, unbroken[0]) and history.loss == unbroken[1]


def test_a_full_disk_after_a_damaged_checkpoint_keeps_the_good_one(tmp_path, unbroken,
                                                                   monkeypatch):
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    run_whose_newest_is_cut_short(tmp_path)
    monkeypatch.setattr(_checkpoint, "_write", full)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OSError, match="could not be written"):
            train(tmp_path, seed=99)
    monkeypatch.undo()
    torch.set_num_threads(1)
    weights, _ = train(tmp_path, seed=98)
    assert same(weights, unbroken[0])


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_until_write(last, monkeypatch):
    """Save after every step, and fail from the fourth write to the one before ``last``."""
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    write, calls = _checkpoint._write, []

    def sometimes(path, content):
        calls.append(1)
        (full if 3 < len(calls) < last else write)(path, content)

    monkeypatch.setattr(_checkpoint, "_write", sometimes)


def test_a_disk_that_is_full_for_a_while_stops_nothing(tmp_path, unbroken, monkeypatch):
    full_until_write(10, monkeypatch)
    with pytest.warns(UserWarning, match="No space left.*training goes on"):
        weights, history = train(tmp_path)
    assert same(weights, unbroken[0]) and len(history.loss) == 8
    assert _steps(tmp_path / "run.safetensors") == 8


def test_a_full_disk_ends_no_run_where_warnings_are_errors(tmp_path, unbroken, monkeypatch,
                                                           capsys):
    full_until_write(6, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights, _ = train(tmp_path)
    assert same(weights, unbroken[0]) and "training goes on" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, lr=0.5)], ids=["same", "another"])
def test_a_run_that_began_in_the_folder_while_this_one_was_planned_is_kept(
        tmp_path, unbroken, monkeypatch, recipe):
    plan = training._plan_steps

    def slowly(*arguments):
        monkeypatch.setattr(training, "_plan_steps", plan)
        train(tmp_path)  # another notebook
        return 5

    monkeypatch.setattr(training, "_plan_steps", slowly)
    if recipe == RECIPE:
        weights, history = train(tmp_path, seed=99)
        assert same(weights, unbroken[0]) and history.steps == 8
    else:
        with pytest.raises(ValueError, match="belongs to a run with another recipe.*lr"):
            train(tmp_path, recipe=recipe)
        assert _steps(tmp_path / "run.safetensors") == 8


def _begin(folder, lr, start, answers):
    torch.set_num_threads(1)
    write = _checkpoint._write

    def slowly(path, content):
        time.sleep(0.5)
        write(path, content)

    _checkpoint._write = slowly
    start.wait()
    try:
        answers.put((lr, train(folder, recipe=replace(RECIPE, lr=lr))[1].steps))
    except ValueError as error:
        answers.put((lr, str(error)))


def test_of_two_recipes_that_begin_in_one_folder_at_once_one_is_refused(tmp_path):
    start, answers = PROCESSES.Event(), PROCESSES.Queue()
    both = [PROCESSES.Process(target=_begin, args=(tmp_path, lr, start, answers))
            for lr in (0.1, 0.2)]
    for process in both:
        process.start()
    start.set()
    found = dict(answers.get(timeout=120) for _ in both)
    for process in both:
        process.join(60)
    (winner,) = (lr for lr, said in found.items() if said == 8)
    assert "another recipe" in found[{0.1: 0.2, 0.2: 0.1}[winner]]
    assert train(tmp_path, recipe=replace(RECIPE, lr=winner))[1].steps == 8


def test_a_disk_that_stays_full_ends_with_an_error_and_the_last_good_one(tmp_path, unbroken,
                                                                         monkeypatch):
    network = model()

    def fill(epoch, history):
        if len(history.loss) == 4:
            monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
        if len(history.loss) == 6:
            monkeypatch.setattr(_checkpoint, "_write", full)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OSError, match="the one before it is whole. Free some space"):
            training.pretrain(network, pictures(), Views(32), RECIPE, fill, tmp_path)
    assert same(dict(network.state_dict()), unbroken[0]), "the model in memory is finished"
    assert _steps(tmp_path / "run.safetensors") == 5
    assert not list(tmp_path.glob("*.half"))
    monkeypatch.undo()
    torch.set_num_threads(1)
    weights, _ = train(tmp_path, seed=99)
    assert same(weights, unbroken[0])


def test_a_disk_full_from_the_start_is_named_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "_write", full)
    calls = []
    with pytest.raises(OSError, match="there is none before it"):
        train(tmp_path, on_epoch=lambda *_: calls.append(1))
    assert not calls


def test_when_space_is_short_the_older_checkpoint_gives_its_place(tmp_path, monkeypatch):
    network = model()
    optimizer = training.build_optimizer(network, RECIPE)
    keeper = _checkpoint.Checkpoint(tmp_path, network, optimizer, {**asdict(RECIPE), "images": 20})
    keeper.save(training.History())
    keeper.save(training.History())
    write = _checkpoint._write

    def two_fit(path, content):
        (full if len(list(tmp_path.glob("run*"))) >= 2 else write)(path, content)

    monkeypatch.setattr(_checkpoint, "_write", two_fit)
    keeper.save(training.History(steps=3))
    history = training.History()
    keeper.load(history)
    assert history.steps == 3


def test_stale_halves_are_swept_and_fresh_ones_left(tmp_path):
    old, fresh = tmp_path / "run.1.half", tmp_path / "run.2.half"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    train(tmp_path)
    assert not old.exists() and fresh.exists()


def test_the_weights_on_disk_are_those_in_memory(tmp_path):
    weights, _ = train(tmp_path)
    there = {k[6:]: v for k, v in load_file(tmp_path / "run.safetensors").items()
             if k.startswith("model.")}
    assert same(weights, there)


def test_the_step_on_disk_is_read_from_the_disk(tmp_path):
    """A process that writes no checkpoint names its step when another process is lost."""
    def there():
        return _checkpoint.Checkpoint(tmp_path, model(), None, {}).step()

    assert there() == 0
    train(tmp_path, recipe=replace(RECIPE, steps=3))
    assert there() == 3
    (tmp_path / "run.safetensors").write_bytes(b"cut")
    assert there() == 0  # the one before: the plan, saved at the start


@pytest.mark.parametrize("key", ["format", "version"])
def test_a_flipped_bit_in_the_version_costs_no_run(tmp_path, key, monkeypatch):
    expected, _ = train(tmp_path / "whole")
    monkeypatch.setattr(training, "_SAVE_SECONDS", 0)
    killed = PROCESSES.Process(target=killed_at_step, args=(tmp_path / "run", 6, 0))
    killed.start()
    killed.join()
    newest = tmp_path / "run" / "run.safetensors"
    with safe_open(newest, "pt") as file:
        header = file.metadata()
    save_file(load_file(newest), newest, {**header, key: "other"})
    with pytest.warns(UserWarning, match="version or checksum was changed"):
        resumed, _ = train(tmp_path / "run")
    assert same(expected, resumed)

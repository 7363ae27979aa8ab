"""Several processes train as one: loss, gradient, shards, stops, and a worker that is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import quick_processes
import torch
from safetensors import safe_open
from torch import nn

from simclr_tut import _parallel, config, models, training
from simclr_tut.losses import nt_xent

PROCESSES = quick_processes.context("simclr_tut.training", "simclr_tut.views", "simclr_tut.models")
RECIPE = config.Recipe(steps=6, batch_size=8, small_size=None, eval_every=1, bf16=False)


def pictures(n=16, size=16):
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def plain_model():
    """No batch norm: its statistics would be of one process's pictures only."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1),
                            nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return models.SimCLR(encoder, models.ProjectionHead(64, 16, 16, layers=1))


def two_fixed_views(images, size=None):
    """Views without chance, so that one process and many see the same."""
    x = images.float() / 255
    return x, (0.7 * x).flip(-1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _start(job, rank, world, port, folder, arguments):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank),
                      LOCAL_WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with training.joined_processes() as place:
        assert place == (rank, world)
        torch.save(job(rank, world, folder, *arguments), folder / f"{rank}.pt")


def together(world, job, folder, *arguments):
    """Run ``job(rank, world, folder, …)`` in ``world`` gloo processes; return what each gave."""
    port = free_port()
    workers = [PROCESSES.Process(target=_start, args=(job, r, world, port, folder, arguments))
               for r in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(180)
    assert [w.exitcode for w in workers] == [0] * world
    return [torch.load(folder / f"{r}.pt") for r in range(world)]


def gradient_job(rank, world, folder):
    model = plain_model()
    wrapped = _parallel.wrap(model, lambda m, v: training.gathered_objective(m, v, 0.2))
    mine = pictures().chunk(world)[rank]
    loss = wrapped(*two_fixed_views(mine))
    loss.backward()
    return {"loss": loss.detach(), **{k: p.grad for k, p in model.named_parameters()}}


@pytest.mark.parametrize("world", [2, 4])
def test_loss_and_gradient_are_those_of_one_process(tmp_path, world):
    model = plain_model()
    loss = training.simclr_objective(model, two_fixed_views(pictures()), 0.2)
    loss.backward()
    for found in together(world, gradient_job, tmp_path):
        torch.testing.assert_close(found["loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().max() > 1e-3  # there is something to agree about
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-5)


def gather_job(rank, world, folder):
    z = (torch.arange(6.0).view(3, 2) + 10 * rank).requires_grad_()
    everyone = training.gather(z)
    weights = torch.arange(everyone.numel()).view_as(everyone).float()
    (everyone * weights * (rank + 1)).sum().backward()  # each process has a loss of its own
    return {"everyone": everyone.detach(), "grad": z.grad}


def test_gather_keeps_the_order_and_adds_every_process_s_wish(tmp_path):
    for rank, found in enumerate(together(2, gather_job, tmp_path)):
        rows = torch.cat([torch.arange(6.0).view(3, 2), torch.arange(6.0).view(3, 2) + 10])
        assert torch.equal(found["everyone"], rows)
        weights = torch.arange(12.0).view(6, 2)
        assert torch.equal(found["grad"], (1 + 2) * weights[3 * rank:3 * rank + 3])


def test_alone_gather_is_the_identity():
    z = torch.randn(3, 2, requires_grad=True)
    assert training.gather(z) is z and training.processes() == (0, 1)
    views = two_fixed_views(pictures(4))
    torch.testing.assert_close(training.gathered_objective(plain_model(), views, 0.2),
                               training.simclr_objective(plain_model(), views, 0.2))


def pretrain_job(rank, world, folder, recipe=RECIPE, stop_at=None, keep=None):
    seen = []

    def views(images, size=None):
        seen.append(images[:, 0, 0, 0].clone())
        if rank == world - 1 and len(seen) == stop_at:
            signal.raise_signal(signal.SIGINT)  # one of the processes hears it first
        return two_fixed_views(images)

    images = pictures()
    images[:, 0, 0, 0] = torch.arange(16)
    looked = []
    model = plain_model()
    history = training.pretrain(model, images, views, recipe,
                                lambda epoch, h: looked.append(epoch), keep)
    return {"weights": dict(model.state_dict()), "loss": history.loss, "seen": torch.stack(seen),
            "interrupted": history.interrupted, "looks": len(looked)}


@pytest.mark.parametrize("world", [2, 4])
def test_a_whole_run_is_that_of_one_process(tmp_path, world):
    alone = pretrain_job(0, 1, tmp_path)
    found = together(world, pretrain_job, tmp_path)
    for one in found:
        torch.testing.assert_close(one["loss"], alone["loss"], atol=1e-5, rtol=1e-5)
        for name, value in alone["weights"].items():
            torch.testing.assert_close(one["weights"][name], value, atol=1e-5, rtol=1e-4)
            assert torch.equal(one["weights"][name], found[0]["weights"][name])
    assert [one["looks"] for one in found] == [3] + [0] * (world - 1)  # one writer, one looker
    for epoch in range(3):  # two steps each
        parts = [one["seen"][2 * epoch:2 * epoch + 2] for one in found]
        everything = torch.cat(parts, dim=1)
        assert everything.shape == (2, 8)
        assert sorted(everything.flatten().tolist()) == list(range(16)), "each picture once"


def test_processes_stop_together_and_resume_to_the_same_bits(tmp_path):
    (tmp_path / "run").mkdir()
    whole = together(2, pretrain_job, tmp_path)
    part = together(2, pretrain_job, tmp_path, RECIPE, 3, tmp_path / "run")
    assert [one["interrupted"] for one in part] == [True, True]
    assert [len(one["loss"]) for one in part] == [3, 3]
    rest = together(2, pretrain_job, tmp_path, RECIPE, None, tmp_path / "run")
    for one, other in zip(rest, whole, strict=True):
        assert one["loss"] == other["loss"]
        assert all(torch.equal(v, other["weights"][k]) for k, v in one["weights"].items())
    with pytest.raises(ValueError, match="processes: 2 then, 1 now"):
        pretrain_job(0, 1, tmp_path, RECIPE, None, tmp_path / "run")


def refusals_job(rank, world, folder):
    said = []
    for model, recipe in ((plain_model(), replace(RECIPE, batch_size=7)), (Own(), RECIPE)):
        try:
            training.pretrain(model, pictures(), two_fixed_views, recipe)
        except ValueError as error:
            said.append(str(error))
    return said


class Own(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def loss(self, *views):
        return self.weight.sum()


def test_what_cannot_be_shared_out_is_refused(tmp_path):
    for said in together(2, refusals_job, tmp_path):
        assert "multiple of the 2 processes" in said[0] and "in one process" in said[1]


def wrong_gathers_job(rank, world, folder):
    """Gathering without gradients: the right loss, and a gradient that is not."""
    model = plain_model()

    def detached(m, views):
        z1, z2 = m(torch.cat(views)).chunk(2)
        return nt_xent(training.gather(z1.detach()) + 0 * z1.sum(), training.gather(z2), 0.2)

    wrapped = _parallel.wrap(model, detached)
    loss = wrapped(*two_fixed_views(pictures().chunk(world)[rank]))
    loss.backward()
    return {"loss": loss.detach(), "grad": model.encoder[0].weight.grad}


def test_these_tests_see_a_gather_without_gradients(tmp_path):
    model = plain_model()
    loss = training.simclr_objective(model, two_fixed_views(pictures()), 0.2)
    loss.backward()
    found = together(2, wrong_gathers_job, tmp_path)[0]
    torch.testing.assert_close(found["loss"], loss.detach(), atol=1e-5, rtol=1e-5)
    assert (found["grad"] - model.encoder[0].weight.grad).abs().max() > 1e-3


def _torchrun(folder, steps):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
               f"--master-port={free_port()}", "-m", "simclr_tut", "pretrain", "--dataset",
               "shapes", "--steps", str(steps), "--batch-size", "16", "--folder", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def _children(pid):
    """Process ids of the children, oldest first."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines()
                         if ":\t" in line)
        except OSError:
            continue
        if lines.get("PPid") == str(pid):
            found.append(int(status.parent.name))
    return sorted(found)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_ends_the_run_with_a_message_and_a_checkpoint(tmp_path):
    run = _torchrun(tmp_path, 60)
    path, deadline = tmp_path / "run.safetensors", time.monotonic() + 120
    while not path.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # into the steps
    os.kill(_children(run.pid)[-1], signal.SIGKILL)
    out, err = run.communicate(timeout=120)
    assert run.returncode != 0, out
    assert "lost its connection" in err and "Start the same again" in err, err[-3000:]
    with safe_open(path, "pt") as file:
        assert file.metadata()["version"]
    again = _torchrun(tmp_path, 60)
    out, err = again.communicate(timeout=180)
    assert again.returncode == 0 and "step 60/60" in out and "done:" in out, err[-3000:]
    assert out.count("scale:") == 1, "one process talks"
    assert models.load_recipe(tmp_path / "model.safetensors")["processes"] == 2


def test_more_processes_than_gpus_is_an_error_that_says_what_to_do(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
                        "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (pytest.raises(ValueError, match="2 processes, but 1 GPU.*CUDA_VISIBLE_DEVICES="),
          training.joined_processes()):
        pass


@pytest.mark.parametrize("together", [False, True])
def test_a_mac_trains_on_its_gpu_alone_and_on_its_cores_in_several_processes(monkeypatch, together):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1") if together else monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert config.pick_device().type == ("cpu" if together else "mps")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert config.pick_device().type == "cpu"

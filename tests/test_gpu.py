"""The same results on a GPU: run by ``make test-gpu``, skipped where there is none."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import distributed, nn

from simclr_tut import _parallel, config, data, evaluation, losses, methods, models, training
from simclr_tut.views import Views

if not torch.cuda.is_available():
    pytest.skip("needs a GPU: make test-gpu", allow_module_level=True)

RECIPE = config.Recipe(steps=6, batch_size=16, small_size=None, eval_every=1, bf16=False)


@pytest.fixture(autouse=True)
def full_precision():
    """TF32 would hide small mistakes behind its rounding."""
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def pictures(n=32, size=32):
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def model():
    torch.manual_seed(0)
    return models.build_model("tiny")


@pytest.mark.parametrize("settings", [
    {}, {"crop": None}, {"color": 0}, {"blur": 1.0}, {"hsv": True}, {"gray": 1.0}, {"flip": 0.0}])
@pytest.mark.parametrize("size", [32, 100])
def test_views_of_one_draw_are_those_of_the_cpu(settings, size):
    views, images = Views(24, **settings), pictures(8, size)
    here = views(images, generator=torch.Generator().manual_seed(1))
    there = views(images.cuda(), generator=torch.Generator().manual_seed(1))
    for one, two in zip(here, there, strict=True):
        assert two.is_cuda
        torch.testing.assert_close(two.cpu(), one, atol=1e-5, rtol=0)
    drawn = views.draw(8, size, size, torch.Generator().manual_seed(2))
    torch.testing.assert_close(views.apply(images.cuda(), drawn).cpu(), views.apply(images, drawn),
                               atol=1e-5, rtol=0)


@pytest.mark.parametrize("function", [
    losses.nt_xent, lambda a, b: losses.multi_view_nt_xent([a, b, a + b]), losses.vicreg,
    losses.barlow_twins, losses.negative_cosine, losses.alignment,
    lambda a, b: losses.sup_con(a, b, torch.arange(8, device=a.device) % 3),
    lambda a, b: losses.info_nce(a, b, a.detach() + 1)])
def test_a_loss_and_its_gradient_are_those_of_the_cpu_also_under_autocast(function):
    torch.manual_seed(0)
    given = [torch.randn(8, 16).bfloat16().float() for _ in range(2)]
    wanted = [g.clone().requires_grad_() for g in given]
    expected = function(*wanted)
    expected.backward()
    for mixed in (False, True):
        moved = [g.cuda().requires_grad_() for g in given]
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            found = function(*moved)
        found.backward()
        torch.testing.assert_close(found.detach().cpu(), expected.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(moved[0].grad.cpu(), wanted[0].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adam"])
def test_training_begins_with_the_loss_of_the_cpu_and_lowers_it(optimizer, monkeypatch):
    recipe = replace(RECIPE, steps=40, optimizer=optimizer, views=4, temperature=0.5,
                     lr=0.003 if optimizer == "adam" else 0.05)
    trained = model()
    history = training.pretrain(trained, pictures(), Views(32, count=4), recipe)
    assert next(trained.parameters()).is_cuda and len(history.loss) == 40
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = training.pretrain(model(), pictures(), Views(32, count=4), recipe)
    assert history.loss[0] == pytest.approx(expected.loss[0], rel=1e-4)
    assert sum(history.loss[-5:]) < sum(history.loss[:5]) - 0.1


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    reference = model()
    whole = training.pretrain(reference, pictures(), Views(32), RECIPE)
    stop = replace(RECIPE, eval_every=100)
    part = training.pretrain(model(), pictures(), Views(32), stop, folder=tmp_path,
                             on_step=lambda history: len(history.lr) >= 3)
    assert part.interrupted and 3 <= len(part.loss) < 6
    rest = training.pretrain(model(), pictures(), Views(32), stop, folder=tmp_path)
    assert rest.loss == pytest.approx(whole.loss, rel=1e-2)  # sums in changing order, six steps


def test_pictures_that_do_not_fit_are_copied_batch_by_batch(monkeypatch):
    expected = training.pretrain(model(), pictures(), Views(32), RECIPE).loss
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100, 100))
    assert training._near(pictures()).device.type == "cpu"
    found = training.pretrain(model(), pictures(), Views(32), RECIPE).loss
    assert found == pytest.approx(expected, rel=1e-2)


def parts():
    whole = model()
    return whole.encoder, whole.head


@pytest.mark.parametrize("make", [
    lambda: methods.MoCo(*parts(), queue=64), lambda: methods.BYOL(*parts(), nn.Identity()),
    lambda: methods.SimSiam(*parts(), nn.Identity()), lambda: methods.BarlowTwins(*parts()),
    lambda: methods.VICReg(*parts()), lambda: methods.SupCon(*parts()),
    lambda: methods.PatchPrediction(parts()[0]), lambda: methods.Generative(parts()[0]),
    lambda: methods.Adversarial(parts()[0])])
@pytest.mark.parametrize("bf16", [False, True])
def test_every_method_trains(make, bf16):
    method = make()
    one_view = isinstance(method, methods.PatchPrediction | methods.Generative
                          | methods.Adversarial)
    views = methods.whole_pictures if one_view else Views(32)
    if isinstance(method, methods.PatchPrediction):
        views = Views(32, crop=None, flip=0.0)
    labels = torch.arange(32) % 4 if isinstance(method, methods.SupCon) else None
    before = [p.detach().clone() for p in method.encoder.parameters()]
    history = training.pretrain(method, pictures(), views, replace(RECIPE, bf16=bf16),
                                labels=labels)
    assert len(history.loss) == RECIPE.steps
    assert any(not torch.equal(old, new.cpu())
               for old, new in zip(before, method.encoder.parameters(), strict=True))
    assert evaluation.encode(method, pictures()).isfinite().all()


def test_features_votes_and_probe_are_those_of_the_cpu(monkeypatch):
    train, test = (data.load_dataset("shapes", split, 300) for split in ("train", "test"))
    there = [evaluation.encode(model().cuda(), part) for part in (train, test)]
    assert there[0].device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = [evaluation.encode(model(), part) for part in (train, test)]
    for one, two in zip(here, there, strict=True):
        torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-3)
    assert evaluation.knn_accuracy(there[0], train.labels, there[1], test.labels) == pytest.approx(
        evaluation.knn_accuracy(here[0], train.labels, here[1], test.labels), abs=0.02)


def test_a_model_on_the_cpu_encodes_on_the_gpu_and_comes_back():
    seen = []

    class Watched(nn.Linear):
        def forward(self, x):
            seen.append(x.device.type)
            return super().forward(x.flatten(1))

    network = Watched(3 * 32 * 32, 4)
    assert evaluation.encode(network, pictures()).device.type == "cpu"
    assert seen == ["cuda"] and not network.weight.is_cuda


def test_labels_train_with_augmented_pictures():
    train = data.load_dataset("shapes", "train", 64)
    policy = Views(32, crop=(0.5, 1.0))
    network = nn.Sequential(models.build_encoder("tiny"),
                            nn.Linear(models.build_encoder("tiny").feature_dim, 10))

    def augment(images):
        return policy.apply(images, policy.draw(len(images), *images.shape[2:]))

    history = training.train_supervised(network, train.images, train.labels, augment, RECIPE)
    assert len(history.loss) == RECIPE.steps


@pytest.fixture
def alone_with_nccl(monkeypatch):
    """A group of one process."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1,
                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29511}.items():
        monkeypatch.setenv(name, str(value))
    with training.joined_processes():
        yield


def test_gathering_by_nccl_and_joined_batch_norm_give_the_gradient_of_one_process(alone_with_nccl):
    views = [v.cuda() for v in Views(32)(pictures())]
    plain, joined = model().cuda(), model().cuda()
    loss = training.simclr_objective(plain, views, 0.2)
    loss.backward()

    def objective(module, inputs):
        z1, z2 = (_parallel._Gather.apply(z) for z in module(torch.cat(inputs)).chunk(2))
        return losses.nt_xent(z1, z2, 0.2)

    wrapped = _parallel.wrap(joined, objective)
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in joined.modules())
    found = wrapped(*views)
    found.backward()
    torch.testing.assert_close(found.detach(), loss.detach(), atol=1e-5, rtol=1e-5)
    for one, two in zip(plain.parameters(), joined.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-4, rtol=1e-3)
    largest = torch.tensor([2.5], dtype=torch.float64)  # as agree does: by gloo, beside NCCL
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    assert float(largest) == 2.5
    assert evaluation.encode(joined, pictures()).isfinite().all()  # also on the way back, alone


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_one_model_and_go_on(tmp_path):
    for _ in range(2):  # the second finds a run that has ended
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
             "-m", "simclr_tut", "pretrain", "--dataset", "shapes", "--steps", "4",
             "--folder", str(tmp_path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert models.load_recipe(tmp_path / "model.safetensors")["processes"] == 2


def test_more_processes_than_gpus_is_an_error_that_says_what_to_do(tmp_path):
    world = torch.cuda.device_count() + 1
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={world}", "-m", "simclr_tut", "pretrain", "--dataset", "shapes",
         "--steps", "4", "--folder", str(tmp_path)], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode and f"{world} processes, but {world - 1} GPU" in run.stderr
    assert "CUDA_VISIBLE_DEVICES= torchrun" in run.stderr

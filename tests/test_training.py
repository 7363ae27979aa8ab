"""The loop: what a step does, schedules, exact resume, interrupts, errors."""

import _thread
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from simclr_tut import config, models, training
from simclr_tut.views import Views

RECIPE = config.Recipe(steps=6, batch_size=8, small_size=16, eval_every=1)
VIEWS = Views(32)


def pictures(n=16):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def model(seed=0):
    torch.manual_seed(seed)
    return models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128, 32, 16))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(),
                                                 strict=True))


def test_train_step_is_one_step_of_plain_gradient_descent():
    line = nn.Linear(3, 1, bias=False).double()
    before = line.weight.detach().clone()
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    optimizer = torch.optim.SGD(line.parameters(), lr=0.1)
    loss = training.train_step(line, (x,), optimizer, lambda m, inputs: m(inputs[0]).square().sum())
    output = (before @ x.T).item()
    assert loss.item() == pytest.approx(output**2)
    torch.testing.assert_close(line.weight.detach(), before - 0.1 * 2 * output * x)


def test_train_step_forgets_the_gradient_of_the_step_before():
    line = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(line.parameters(), lr=0.0)
    for _ in range(3):
        training.train_step(line, (torch.ones(1, 1),), optimizer, lambda m, i: m(i[0]).sum())
    assert line.weight.grad.item() == 1.0


def test_schedule_agrees_with_torch_after_the_warm_up():
    steps, rising = 100, 10
    values = [training.warmup_cosine(s, steps, 0.1) for s in range(steps)]
    assert values[:rising] == pytest.approx([(i + 1) / rising for i in range(rising)])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - rising)
    for value in values[rising:]:
        assert value == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize(("steps", "warmup"), [(0, 0.1), (10, 1.0), (10, -0.1)])
def test_schedule_refuses_impossible_lengths(steps, warmup):
    with pytest.raises(ValueError, match="steps must be"):
        training.warmup_cosine(0, steps, warmup)


def test_the_same_seed_gives_the_same_weights_whatever_came_before():
    first = model()
    training.pretrain(first, pictures(), VIEWS, RECIPE)
    torch.rand(1000)
    second = model()
    training.pretrain(second, pictures(), VIEWS, RECIPE)
    assert same(first, second)
    third = model()
    training.pretrain(third, pictures(), VIEWS, replace(RECIPE, seed=5))
    assert not same(first, third)


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    trained = models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128))
    torch.manual_seed(3)
    training.pretrain(trained, pictures(), VIEWS, RECIPE)
    torch.testing.assert_close(torch.rand(3), expected)


def test_orthogonalize_keeps_the_directions_and_evens_the_singular_values():
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((16, 40), (40, 16), (1, 5), (16, 16)):
        matrix = torch.randn(rows, columns, generator=generator)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        s = torch.linspace(1, 0.2, len(s))
        result = training.orthogonalize(u @ s.diag() @ v)
        inside = u.T @ result @ v.T  # diagonal, as it shares the singular vectors
        torch.testing.assert_close(inside, inside.diagonal().diag(), atol=2e-4, rtol=0)
        assert 0.3 < inside.diagonal().min() and inside.diagonal().max() < 1.3
        spread = inside.diagonal().max() / inside.diagonal().min()
        assert spread < 0.8 * s.max() / s.min() or len(s) == 1
    assert training.orthogonalize(torch.zeros(3, 4)).abs().max() == 0


def test_muon_steps_are_orthogonal_for_matrices_and_plain_for_vectors():
    weight, bias = nn.Parameter(torch.randn(6, 3, 2, 2)), nn.Parameter(torch.randn(5))
    reference = nn.Parameter(bias.detach().clone())
    muon = training.Muon([weight, bias], lr=0.1, momentum=0.9)
    sgd = torch.optim.SGD([reference], lr=0.1, momentum=0.9, nesterov=True)
    average = torch.zeros_like(weight)
    for _ in range(3):
        weight.grad, bias.grad = torch.randn_like(weight), torch.randn_like(bias)
        reference.grad = bias.grad.clone()
        average = 0.9 * average + weight.grad
        before = weight.detach() * 6 ** 0.5 / weight.detach().norm()
        change = training.orthogonalize((weight.grad + 0.9 * average).flatten(1)).view_as(weight)
        muon.step(), sgd.step()
        torch.testing.assert_close(weight.detach(), before - 0.1 * change)
        torch.testing.assert_close(bias, reference)


def test_the_recipe_names_the_optimizer():
    assert isinstance(training.build_optimizer(model(), RECIPE), torch.optim.SGD)
    muon = training.build_optimizer(model(), replace(RECIPE, optimizer="muon"))
    assert isinstance(muon, training.Muon)
    assert sum(len(g["params"]) for g in muon.param_groups) == len(list(model().parameters()))
    adam = training.build_optimizer(model(), replace(RECIPE, optimizer="adam", momentum=0.5))
    assert isinstance(adam, torch.optim.AdamW) and adam.param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adam"])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_stopped_and_resumed_run_has_the_bits_of_an_unbroken_one(tmp_path, stop_after,
                                                                   optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)
    few = pictures(8)  # one batch an epoch, so on_epoch comes at every step
    whole = model()
    unbroken = training.pretrain(whole, few, VIEWS, recipe)

    def stop(epoch, history):
        if len(history.loss) == stop_after:
            _thread.interrupt_main()

    part = training.pretrain(model(), few, VIEWS, recipe, stop, tmp_path)
    assert part.interrupted and len(part.loss) == stop_after
    resumed = model(seed=99)
    history = training.pretrain(resumed, few, VIEWS, recipe, folder=tmp_path)
    assert not history.interrupted
    assert history.loss == unbroken.loss
    assert same(whole, resumed)


def test_a_checkpoint_of_another_recipe_or_a_torn_one_is_refused(tmp_path):
    training.pretrain(model(), pictures(), VIEWS, RECIPE, folder=tmp_path)
    with pytest.raises(ValueError, match="temperature: 0.1 then, 0.5 now"):
        training.pretrain(model(), pictures(), VIEWS, replace(RECIPE, temperature=0.5),
                          folder=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="no whole checkpoint"):
        training.pretrain(model(), pictures(), VIEWS, RECIPE, folder=tmp_path)


def test_a_budget_in_seconds_becomes_steps_and_leaves_the_start_untouched():
    trained, reference = model(), model()
    history = training.pretrain(trained, pictures(), VIEWS,
                                replace(RECIPE, steps=None, seconds=0.5))
    training.pretrain(reference, pictures(), VIEWS, replace(RECIPE, steps=history.steps))
    assert history.steps == len(history.loss) >= 2
    assert same(trained, reference)


def test_a_model_with_its_own_loss_is_trained_with_it():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.zeros(()))

        def loss(self, images):
            return (images.mean() - self.value).square()

    method = Mean()
    training.pretrain(method, pictures(), lambda images, size=None: (images.float() / 255,),
                      replace(RECIPE, steps=60, lr=0.1, momentum=0.0, small_size=None))
    assert method.value.item() == pytest.approx(0.5, abs=0.05)


def test_training_lowers_the_loss_on_pictures_that_can_be_told_apart():
    recipe = replace(RECIPE, steps=40, batch_size=16, small_size=None, lr=0.1)
    history = training.pretrain(model(), pictures(), VIEWS, recipe)
    assert sum(history.loss[-5:]) < sum(history.loss[:5])
    assert history.lr == pytest.approx([0.1 * training.warmup_cosine(s, 40, 0.05)
                                        for s in range(40)])


def test_supervised_training_separates_two_colours():
    images = torch.zeros(32, 3, 32, 32, dtype=torch.uint8)
    images[16:] = 255
    labels = torch.arange(32) // 16
    network = nn.Sequential(models.build_encoder("tiny"), nn.Linear(128, 2))
    training.train_supervised(network, images, labels, lambda x: x.float() / 255,
                              replace(RECIPE, steps=20, batch_size=16, lr=0.05))
    with torch.no_grad():
        assert (network(images.float() / 255).argmax(1) == labels).float().mean() == 1


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="at least 2 images"):
        training.pretrain(model(), pictures(1), VIEWS, RECIPE)
    with pytest.raises(ValueError, match="no budget"):
        training.pretrain(model(), pictures(), VIEWS, replace(RECIPE, steps=None))
    with pytest.raises(ValueError, match="each image needs a label"):
        training.train_supervised(model(), pictures(), torch.zeros(3).long(), None, RECIPE)

    class Broken(nn.Linear):
        def loss(self, images):
            return self.weight.sum() * math.nan

    with pytest.raises(FloatingPointError, match="Lower the learning rate"):
        training.pretrain(Broken(1, 1), pictures(), lambda x, size=None: (x,), RECIPE)


def test_on_step_sees_every_step_and_a_true_value_stops_the_run(tmp_path):
    seen = []

    def until_three(history):
        seen.append(len(history.loss))
        return len(history.loss) == 3

    torch.manual_seed(5)
    short = training.pretrain(model(), pictures(8), VIEWS, RECIPE, folder=tmp_path,
                              on_step=until_three)
    assert seen == [1, 2, 3] and short.interrupted and len(short.loss) == 3
    rest = training.pretrain(model(1), pictures(8), VIEWS, RECIPE, folder=tmp_path,
                             on_step=lambda history: None)
    assert rest.loss[:3] == short.loss and len(rest.loss) == 6 and not rest.interrupted


@pytest.mark.parametrize(("images", "labels", "message"), [
    (torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.full((6,), 9), "labels must be below 3"),
    (torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.ones(6), "labels must be an int64"),
    (torch.zeros(6, 3, 32, 32, dtype=torch.uint8), [0] * 6, "labels must be an int64.*list"),
    (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), torch.zeros(0).long(), "needs a label"),
    (torch.zeros(6, 3, 32, 32).numpy(), torch.zeros(6).long(), "images must be.*ndarray"),
])
def test_supervised_training_names_what_does_not_fit(images, labels, message):
    network = torch.nn.Sequential(models.build_encoder("tiny"), torch.nn.Linear(128, 3))
    recipe = config.Recipe(steps=1, batch_size=6, small_size=None)
    with pytest.raises((ValueError, TypeError), match=message):
        training.train_supervised(network, images, labels, lambda x: x.float() / 255, recipe)


@pytest.mark.parametrize(("optimizer", "views"), [("sgd", 2), ("muon", 4)])
def test_the_loop_on_an_accelerator_reads_nothing_back(monkeypatch, optimizer, views):
    """On torch's meta device tensors have no values: whatever looked at one would raise."""
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("meta"))
    monkeypatch.setattr(training, "_FETCH_STEPS", 4)
    fetched = []

    def fetch(pending):
        assert all(loss.is_meta for loss in pending)
        fetched.append(len(pending))
        return [1.0] * len(pending)

    monkeypatch.setattr(training, "_fetch", fetch)
    monkeypatch.setattr(training, "_check_weights", lambda *_: None)  # once, when all is done
    looks = []
    history = training.pretrain(
        model(), pictures(16), Views(32, blur=0.5, count=views),
        replace(RECIPE, steps=14, optimizer=optimizer, eval_every=3),
        lambda epoch, history: looks.append((epoch, len(history.loss))))
    assert fetched == [4, 2, 2, 4, 2]  # every fourth step, and before each look
    assert looks == [(3, 6), (6, 12), (7, 14)]
    assert len(history.loss) == len(history.lr) == 14 and history.seconds > 0
    with pytest.raises(RuntimeError, match="meta"):
        float(torch.ones((), device="meta"))


def test_losses_fetched_late_are_the_same_and_a_stop_or_a_save_waits_for_none(
        monkeypatch, tmp_path):
    reference, late = model(), model()
    expected = training.pretrain(reference, pictures(), VIEWS, RECIPE)
    monkeypatch.setattr(training, "_fetch_every", lambda device: 4)
    history = training.pretrain(late, pictures(), VIEWS, RECIPE)
    assert history.loss == expected.loss and same(reference, late)

    steps = []

    def stopped(images, size=None):
        steps.append(size)
        if len(steps) == 3:
            _thread.interrupt_main()
        return VIEWS(images, size=size)

    recipe = replace(RECIPE, eval_every=100)
    part = training.pretrain(model(), pictures(), stopped, recipe, folder=tmp_path)
    assert part.interrupted and part.loss == expected.loss[:len(part.loss)]
    assert len(part.loss) == len(part.lr) == len(steps) < 6
    resumed = model(seed=99)
    rest = training.pretrain(resumed, pictures(), VIEWS, recipe, folder=tmp_path)
    assert rest.loss == expected.loss and same(reference, resumed)


def test_a_loss_that_is_no_number_is_named_with_its_step_when_fetched_late(monkeypatch):
    class Breaks(nn.Linear):
        calls = 0

        def loss(self, images):
            Breaks.calls += 1
            return self.weight.sum() * (math.nan if Breaks.calls == 3 else 1)

    monkeypatch.setattr(training, "_fetch_every", lambda device: 5)
    with pytest.raises(FloatingPointError, match="at step 3"):
        training.pretrain(Breaks(1, 1), pictures(), lambda x, size=None: (x,),
                          replace(RECIPE, eval_every=100))
    assert Breaks.calls == 5


def test_muon_leaves_a_weight_that_starts_at_zero_finite():
    network = model()
    nn.init.zeros_(network.head.layers[-1].weight)
    recipe = replace(RECIPE, optimizer="muon", lr=0.1, steps=2)
    training.pretrain(network, pictures(), VIEWS, recipe)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert network.head.layers[-1].weight.abs().max() > 0


@pytest.mark.parametrize("steps", [1, 4])
def test_weights_that_grow_beyond_all_numbers_are_named(steps):
    with pytest.raises(FloatingPointError, match="Lower the learning rate"):
        training.pretrain(model(), pictures(), VIEWS, replace(RECIPE, lr=1e38, steps=steps))


def test_grey_pictures_are_refused_with_words():
    with pytest.raises(ValueError, match="views must have the channels"):
        training.pretrain(model(), pictures()[:, :1], VIEWS, RECIPE)


def test_an_interrupt_while_steps_are_planned_leaves_the_model_as_it_was():
    network, calls = model(), []
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def interrupting(images, size=None):
        calls.append(size)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return VIEWS(images, size=size)

    with pytest.raises(KeyboardInterrupt):
        training.pretrain(network, pictures(), interrupting, replace(RECIPE, steps=None, seconds=5))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_step_before_the_first_has_no_learning_rate():
    with pytest.raises(ValueError, match="step must be from 0 to 4"):
        training.warmup_cosine(-1, 5)


@pytest.mark.parametrize(("views", "message"), [
    (lambda images, size=None: images / 255, "a tuple of views"),
    (lambda images, size=None: (images, images), "floats in .0, 1.; got uint8"),
])
def test_views_that_are_none_are_named(views, message):
    with pytest.raises(TypeError, match=f"views must return {message}"):
        training.pretrain(model(), pictures(), views, RECIPE)

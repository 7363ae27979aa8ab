"""The families beside SimCLR: what each learns from, and that its gradient reaches the encoder."""

import math
from dataclasses import replace

import pytest
import torch

from simclr_tut import config, methods, models, shapes, training
from simclr_tut.views import Views


def family(name):
    torch.manual_seed(0)
    encoder = models.build_encoder("tiny")
    return (methods.Predictive if name == "predictive" else methods.Generative)(encoder)


@pytest.fixture(scope="module")
def frames():
    return shapes.make_sequences(16, 4, seed=0).images


def inputs(name, frames):
    frames = frames.float() / 255
    return {"predictive": (frames,), "generative": (frames[:, 0],)}[name]


@pytest.mark.parametrize("name", ["predictive", "generative"])
def test_gradients_reach_every_weight_of_the_encoder(name, frames):
    method = family(name)
    method.loss(*inputs(name, frames)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.encoder.parameters())
    assert method.encode(frames[:, 0].float() / 255).shape == (16, 128)


@pytest.mark.parametrize("name", ["predictive", "generative"])
def test_training_lowers_the_loss(name, frames):
    method = family(name)
    recipe = replace(config.Recipe(steps=40, batch_size=16, small_size=None), lr=0.1)
    pictures = frames if name == "predictive" else frames[:, 0]
    history = training.pretrain(method, pictures, methods.whole_pictures, recipe)
    assert sum(history.loss[-5:]) < 0.9 * sum(history.loss[:5])


def test_the_prediction_never_sees_the_frame_it_predicts(frames):
    method = family("predictive").eval()
    past = frames.float() / 255
    torch.manual_seed(0)
    error = method.loss(past)
    drawn = method.predict(past[:, :-1])
    expected = (drawn - past[:, -1]).square().mean() / 0.02
    torch.testing.assert_close(error, expected)
    with pytest.raises(ValueError, match="T >= 2"):
        method.loss(past[:, :1])


def test_samples_are_pictures_and_repeat_with_their_generator():
    method = family("generative").eval()
    first, again = (method.sample(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (5, 3, 32, 32) and torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    with pytest.raises(ValueError, match="multiple of 8"):
        methods.Decoder(4, size=30)


def joint(name, **options):
    torch.manual_seed(0)
    encoder, head = models.build_encoder("tiny"), models.ProjectionHead(128, 64, 32)
    predictor = models.ProjectionHead(32, 16, 32)
    extra = {"BYOL": (predictor,), "SimSiam": (predictor,)}.get(name, ())
    return getattr(methods, name)(encoder, head, *extra, **options)


JOINT = ("MoCo", "SupCon", "BYOL", "SimSiam", "BarlowTwins", "VICReg")


def two(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 32, 32, generator=generator), torch.rand(n, 3, 32, 32,
                                                                     generator=generator)


@pytest.mark.parametrize("name", JOINT)
def test_every_method_trains_in_the_same_loop(name):
    images = shapes.make_shapes(32, seed=0)
    labels = images.factors["shape"] if name == "SupCon" else None
    recipe = replace(config.Recipe(), steps=3, batch_size=16, small_size=None, lr=0.05)
    model = joint(name)
    before = [p.detach().clone() for p in model.encoder.parameters()]
    history = training.pretrain(model, images.images, Views(32), recipe, labels=labels)
    assert len(history.loss) == 3 and all(torch.isfinite(torch.tensor(history.loss)))
    assert all((a != b).any() for a, b in zip(before, model.encoder.parameters(), strict=True))
    assert model.encode(images.images[:2].float() / 255).shape == (2, 128)


@pytest.mark.parametrize("name", JOINT)
def test_both_views_pull_at_the_encoder_where_the_method_says_so(name):
    model, (view1, view2) = joint(name), two()
    inputs = [view1.requires_grad_(), view2.requires_grad_()]
    model.loss(*inputs, *([torch.arange(12) % 3] if name == "SupCon" else [])).backward()
    assert inputs[0].grad.abs().sum() > 0
    assert (inputs[1].grad is None) == (name == "MoCo")  # a key carries no gradient


def test_the_queue_keeps_the_newest_keys_in_order():
    model = joint("MoCo", queue=30)
    old = model.queue.clone()
    seen = []
    for seed in range(3):
        model.loss(*two(seed=seed))
        seen.append(model.newest.clone())
        model.after_step()
    assert torch.equal(model.queue[:6], seen[2][6:]) and torch.equal(model.queue[24:], seen[2][:6])
    assert torch.equal(model.queue[12:24], seen[1]) and int(model.cursor) == 6
    assert not torch.equal(model.queue[6:12], old[6:12])


@pytest.mark.parametrize("name", ["MoCo", "BYOL"])
def test_the_slow_copy_is_an_exponential_mean_and_has_no_gradient(name):
    model = joint(name, momentum=0.9)
    slow = [p.clone() for p in model.target.parameters()]
    model.loss(*two()).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1)
    model.after_step()
    first = next(iter(model.encoder.parameters()))
    torch.testing.assert_close(next(iter(model.target.parameters())), 0.9 * slow[0] + 0.1 * first)


def test_byol_without_momentum_equals_simsiam():
    byol, siam = joint("BYOL", momentum=0.0), joint("SimSiam")
    siam.load_state_dict({k: v for k, v in byol.state_dict().items() if k[:6] != "target"})
    torch.testing.assert_close(byol.loss(*two()), siam.loss(*two()))


COLOURS = Views(32, crop=None, flip=0.0)


def patches():
    torch.manual_seed(0)
    return methods.PatchPrediction(models.build_encoder("tiny"))


def test_predicting_patches_trains_and_beats_guessing_on_one_batch():
    pictures = shapes.make_shapes(24, seed=0).images
    recipe = replace(config.Recipe(), steps=60, batch_size=24, small_size=None, lr=0.03)
    history = training.pretrain(patches(), pictures, COLOURS, recipe)
    guessing = math.log(96)  # four columns of each of 24 pictures
    assert history.loss[0] > guessing - 0.1 and sum(history.loss[-5:]) / 5 < guessing - 0.4


def test_the_patches_read_share_no_pixel_with_those_predicted():
    model, (view1, view2) = patches().eval(), (v.requires_grad_() for v in two())
    model.loss(view1, view2).backward()
    read, predicted = ((v.grad.abs().sum((0, 1)) > 0) for v in (view1, view2))
    assert read.any() and predicted.any() and not (read & predicted).any()
    assert read.any(1).nonzero().max() < predicted.any(1).nonzero().min()


def test_a_patch_stands_where_the_grid_says():
    picture = torch.rand(2, 3, 32, 32)
    grid = patches().cut(picture)
    assert grid.shape == (2, 4, 4, 3, 12, 12)
    assert torch.equal(grid[1, 2, 3], picture[1, :, 18:30, 12:24])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: joint("MoCo", momentum=1.0), "momentum must lie"),
    (lambda: joint("BYOL", momentum=-0.1), "momentum must lie"),
    (lambda: joint("SupCon").loss(*two()), "labels=labels"),
    (lambda: joint("BarlowTwins").eval().loss(*two(1)), "at least 2"),
    (lambda: joint("VICReg").eval().loss(*two(1)), "at least 2"),
    (lambda: joint("MoCo", queue=8).loss(*two()), "queue holds 8 keys and the batch 12"),
    (lambda: joint("MoCo", queue=0), "at least 1; got 0"),
    (lambda: joint("MoCo", queue=2.5), "whole number of keys"),
    (lambda: joint("MoCo", momentum=float("nan")), "momentum must lie"),
    (lambda: joint("BYOL", momentum="0.9"), "momentum must lie"),
    (lambda: joint("MoCo", temperature=0).loss(*two()), "temperature must be above 0"),
    (lambda: joint("SimSiam").loss(*two(1)), "at least 2"),
    (lambda: joint("MoCo").loss(two()[0], two(6)[0]), "the same shape"),
    (lambda: joint("BYOL").loss(two()[0], two(6)[0]), "the same shape"),
    (lambda: joint("SupCon").loss(*two(), torch.arange(7)), "one a pair"),
    (lambda: family("generative").loss(torch.rand(4, 3, 24, 24)), r"shape \(3, 32, 32\)"),
    (lambda: adversarial().loss(torch.rand(4, 3, 24, 24)), r"shape \(3, 32, 32\)"),
    (lambda: family("predictive").loss(torch.rand(4, 3, 3, 24, 24)), r"shape \(3, 32, 32\)"),
    (lambda: adversarial().loss(shapes.make_shapes(4, seed=0).images), "make floats with"),
    (lambda: patches().loss(*two(1)), "N at least 2"),
    (lambda: patches().loss(two()[0], two()[1].to("meta")), "must be on one device"),
    (lambda: patches().loss(two()[0], two(6)[0]), "the same shape"),
    (lambda: patches().loss(torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)), "at least 16"),
    (lambda: methods.PatchPrediction(models.build_encoder("tiny"), 0), "temperature must be"),
    (lambda: methods.Generative(models.build_encoder("tiny"), noise=0.0), "noise must be above 0"),
    (lambda: methods.Generative(models.build_encoder("tiny"), code_dim=0), "at least 1"),
])
def test_wrong_use_ends_in_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", JOINT)
@pytest.mark.parametrize("far", ["model", "view1", "view2"])
def test_mixed_devices_are_named(name, far):
    model, (view1, view2) = joint(name), two()
    model = model.to("meta") if far == "model" else model
    view1, view2 = (v.to("meta") if far == which else v
                    for which, v in (("view1", view1), ("view2", view2)))
    with pytest.raises(ValueError, match="must be on one device; got a model on"):
        model.loss(view1, view2, *([torch.arange(12) % 3] if name == "SupCon" else []))


def test_views_and_labels_that_do_not_fit_the_method_are_named():
    images = shapes.make_shapes(32, seed=0)
    recipe = replace(config.Recipe(), steps=2, batch_size=16, small_size=None)
    labels = images.factors["shape"]
    with pytest.raises(TypeError, match="BYOL.loss takes view1, view2; the views and labels gave"):
        training.pretrain(joint("BYOL"), images.images, Views(32), recipe, labels=labels)
    with pytest.raises(TypeError, match="MoCo.loss takes view1, view2; .* gave 1 "):
        training.pretrain(joint("MoCo"), images.images, methods.whole_pictures, recipe)
    with pytest.raises(ValueError, match="SupCon; SimCLR learns without"):
        training.pretrain(models.build_model("tiny"), images.images, Views(32), recipe,
                          labels=labels)


def test_the_slow_copy_and_the_queue_need_no_colour_pictures():
    encoder = models.build_encoder("tiny", in_channels=1)
    model = methods.MoCo(encoder, models.ProjectionHead(128, 64, 24), queue=16)
    assert model.queue.shape == (16, 24) and model.training and model.target.training
    assert torch.isfinite(model.loss(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))


def test_a_new_method_takes_ten_lines():
    class Spread(models.SimCLR):
        def loss(self, view1, view2):
            z1, z2 = self(torch.cat([view1, view2])).chunk(2)
            return (z1 - z2).square().mean() + (1 - z1.std(0)).clamp_min(0).mean()

    model = Spread(models.build_encoder("tiny"), models.ProjectionHead(128, 64, 32))
    recipe = replace(config.Recipe(), steps=4, batch_size=16, small_size=None, lr=0.05)
    images = shapes.make_shapes(32, seed=0).images
    assert len(training.pretrain(model, images, Views(32), recipe).loss) == 4


def adversarial():
    torch.manual_seed(0)
    return methods.Adversarial(models.build_encoder("tiny"))


def test_each_half_of_the_gan_gets_its_own_gradient():
    model, images = adversarial(), two()[0]
    torch.manual_seed(1)
    model.loss(images).backward()
    reference = adversarial()
    torch.manual_seed(1)
    code = torch.randn(12, 32)
    drawn = reference.generator(code)
    judged = reference.judge(images), reference.judge(drawn.detach())
    own = torch.nn.functional.binary_cross_entropy_with_logits
    judge = own(judged[0], torch.ones(12, 1)) + own(judged[1], torch.zeros(12, 1))
    fooled = own(reference.judge(drawn), torch.ones(12, 1))
    for part, share in ((model.judge, judge), (model.generator, fooled)):
        twin = reference.judge if part is model.judge else reference.generator
        expected = torch.autograd.grad(share, list(twin.parameters()), retain_graph=True)
        for p, gradient in zip(part.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, gradient, atol=1e-5, rtol=1e-4)


def test_the_gan_trains_in_the_same_loop_and_draws_pictures():
    model = adversarial()
    before = [p.detach().clone() for p in model.parameters()]
    recipe = replace(config.Recipe(), steps=4, batch_size=16, small_size=None, lr=0.02)
    pictures = shapes.make_shapes(32, seed=0).images
    history = training.pretrain(model, pictures, methods.whole_pictures, recipe)
    assert len(history.loss) == 4
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    first, again = (model.eval().sample(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (5, 3, 32, 32) and torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1

"""The property suite of notebook 07: the package has every property, and mutants lose one.

The mutants here are not those of the notebook.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from simclr_tut import evaluation, losses, models
from simclr_tut.checks import properties
from simclr_tut.checks.properties import Pieces, check_all
from simclr_tut.views import Views

RIGHT = Pieces()


def similarities(z1, z2, temperature):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return z @ z.T / temperature


def mutant(change):
    """NT-Xent with ``change`` applied to its logits or its targets."""
    def loss(z1, z2, temperature=0.5):
        logits = similarities(z1, z2, temperature).fill_diagonal_(-torch.inf)
        return change(logits, torch.arange(2 * len(z1)).roll(len(z1)))
    return loss


def one_mask_for_all(images):
    view, _ = Views(32)(images[:1])
    return view.repeat(len(images), 1, 1, 1), Views(32)(images)[1]


def views_sharing(*names, between="views", policy=Views(32)):  # noqa: B008
    """Views that share some parameters between view 1 and view 2, or within the whole batch."""
    def views(images):
        drawn = [policy.draw(len(images), *images.shape[2:]) for _ in range(2)]
        for name in names:
            if between == "views":
                drawn[1][name] = drawn[0][name]
            else:
                for one in drawn:
                    one[name] = one[name][:1].expand_as(one[name])
        return tuple(policy.apply(images, one) for one in drawn)
    return views


COLOUR = ("brightness", "contrast", "saturation", "hue", "order", "gray")


def training(embed=lambda model, pair: map(model, pair), parts=lambda model: model.parameters(),
             evaluating=False):
    """Three steps of SGD, with one thing that can be wrong."""
    def train(model, images):
        model.train(not evaluating)
        optimizer = torch.optim.SGD(parts(model), lr=0.1)
        for _ in range(3):
            z1, z2 = embed(model, Views(32)(images))
            optimizer.zero_grad()
            losses.nt_xent(z1, z2).backward()
            optimizer.step()
    return train


def new_stem(model):
    model.encoder[1][0] = models.build_encoder("tiny")[1][0]
    return model


def half_a_schedule(step, steps):
    return 0.5 * (1 + math.cos(math.pi * min(1, 2 * step / steps)))


def negatives_detached(z1, z2, temperature=0.5):
    x = similarities(z1, z2, temperature)
    positive = torch.arange(len(x)).roll(len(z1))
    keep = F.one_hot(positive, len(x)).bool()
    x = torch.where(keep, x, x.detach()).masked_fill(torch.eye(len(x)).bool(), -torch.inf)
    return F.cross_entropy(x, positive)


def gradient_scaled(z1, z2, temperature=0.5):
    value = losses.nt_xent(z1, z2, temperature)
    return temperature * value + ((1 - temperature) * value).detach()


LOSSES = {
    "sum for mean": (mutant(lambda x, y: F.cross_entropy(x, y, reduction="sum")),
                     "chance and floor"),
    "both directions added": (lambda a, b, t=0.5: 2 * losses.nt_xent(a, b, t), "chance and floor"),
    "temperature multiplied": (lambda a, b, t=0.5: losses.nt_xent(a, b, 1 / t), "chance and floor"),
    "temperature ignored": (lambda a, b, t=0.5: losses.nt_xent(a, b, 0.5), "chance and floor"),
    "wrong positive": (mutant(lambda x, y: F.cross_entropy(x, y.roll(1))), "chance and floor"),
    "diagonal set to 0": (lambda a, b, t=0.5: F.cross_entropy(
        similarities(a, b, t).fill_diagonal_(0), torch.arange(2 * len(a)).roll(len(a))),
        "chance and floor"),
    "cross-view only": (lambda a, b, t=0.5: F.cross_entropy(
        F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t, torch.arange(len(a))),
        "chance and floor"),
    "normalised over the batch": (lambda a, b, t=0.5: F.cross_entropy(
        (lambda z: (z @ z.T / t).fill_diagonal_(-torch.inf))(F.normalize(torch.cat([a, b]), dim=0)),
        torch.arange(2 * len(a)).roll(len(a))), "chance and floor"),
    "one view detached": (lambda a, b, t=0.5: losses.nt_xent(a.detach(), b, t),
                          "gradient is whole"),
    "negatives detached": (negatives_detached, "gradient is whole"),
    "gradient scaled": (gradient_scaled, "gradient is whole"),
    "cosine without its sign": (lambda a, b, t=0.5: F.cross_entropy(
        similarities(a, b, t).abs().fill_diagonal_(-torch.inf),
        torch.arange(2 * len(a)).roll(len(a))), "chance and floor"),
    "labels smoothed": (mutant(lambda x, y: F.cross_entropy(
        x.clamp_min(-1e4), y, label_smoothing=0.001)), "chance and floor"),
    "temperature squared": (lambda a, b, t=0.5: losses.nt_xent(a, b, t * t), "chance and floor"),
    "length plus one": (lambda a, b, t=0.5: F.cross_entropy(
        (lambda z: (z @ z.T / t).fill_diagonal_(-torch.inf))(
            torch.cat([z / (1 + z.norm(dim=1, keepdim=True)) for z in (a, b)])),
        torch.arange(2 * len(a)).roll(len(a))), "length is free"),
    "only one view normalised": (lambda a, b, t=0.5: F.cross_entropy(
        (lambda z: (z @ z.T / t).fill_diagonal_(-torch.inf))(torch.cat([F.normalize(a, dim=1), b])),
        torch.arange(2 * len(a)).roll(len(a))), "views are equals"),
}
OTHERS = {
    "views: one crop for all": ({"views": one_mask_for_all}, "each picture draws"),
    "views: twice the same": ({"views": lambda x: (Views(32)(x)[0],) * 2}, "second view is new"),
    "views: noise on the first": ({"views": lambda x: (lambda v: (v, (v + 0.05 * torch.randn(
        v.shape)).clamp(0, 1)))(Views(32)(x)[0])}, "second view is new"),
    "views: the picture itself": ({"views": lambda x: (Views(32)(x)[0], x / 255)},
                                  "second view is new"),
    "views: a seed inside": ({"views": lambda x: (torch.manual_seed(1), Views(32)(x))[1]},
                             "second view is new"),
    "views: shuffled": ({"views": lambda x: (Views(32)(x)[0], Views(32)(x)[1].roll(7, 0))},
                        "each picture draws"),
    "views: bytes": ({"views": lambda x: tuple(255 * v for v in Views(32)(x))},
                     "each picture draws"),
    "views: one crop for both": ({"views": views_sharing("boxes")}, "second view is new"),
    "views: one jitter for both": ({"views": views_sharing(*COLOUR)}, "second view is new"),
    "views: one crop for the batch": ({"views": views_sharing("boxes", between="pictures")},
                                      "each picture draws"),
    "views: one jitter for the batch": ({"views": views_sharing(*COLOUR, between="pictures")},
                                        "each picture draws"),
    "neighbours: by length too": ({"neighbours": lambda bank, k: (bank @ bank.T).fill_diagonal_(
        -torch.inf).topk(k).indices}, "nobody finds itself"),
    "neighbours: farthest": ({"neighbours": lambda bank, k: (bank @ bank.T).fill_diagonal_(
        torch.inf).topk(k, largest=False).indices}, "nobody finds itself"),
    "schedule: constant": ({"schedule": lambda step, steps: 1.0}, "rate falls once"),
    "schedule: restarts": ({"schedule": lambda step, steps: 1 - (step % 50) / 50},
                           "rate falls once"),
    "schedule: over at half": ({"schedule": half_a_schedule}, "rate falls once"),
    "features: last batch dropped": ({"features": lambda m, x: evaluation.encode(
        m, x[:len(x) // 4 * 4])}, "company does not matter"),
    "features: bytes": ({"features": lambda m, x: m.eval().encode(x.float()).detach()},
                        "encoder sees views"),
    "features: z": ({"features": lambda m, x: evaluation.encode(m, x, "z")}, "head is left out"),
    "features: train mode": ({"features": lambda m, x: m.train().encode(x.float() / 255).detach()},
                             "company does not matter"),
    "build: shipped weights": ({"build": models.load_pretrained}, "start is random"),
    "train: only the head": ({"train": lambda m, x: [p.data.add_(1) for p in
                                                     m.head.parameters()]},
                             "everything trains"),
    "train: the head left out": ({"train": training(parts=lambda m: m.encoder.parameters())},
                                 "everything trains"),
    "train: evaluation mode": ({"train": training(evaluating=True)}, "everything trains"),
    "train: view 1 twice": ({"train": training(lambda m, pair: (m(pair[0]), m(pair[0])))},
                            "encoder sees views"),
    "build: all but the stem shipped": ({"build": lambda: new_stem(models.load_pretrained())},
                                        "start is random"),
    "choose: the worst": ({"choose": lambda v, t: v.index(min(v))}, "test set has no vote"),
    "neighbours: with itself": ({"neighbours": lambda bank, k: (bank @ bank.T).topk(k).indices},
                                "nobody finds itself"),
    "choose: mean of both": ({"choose": lambda v, t: max(range(4), key=lambda i: v[i] + t[i])},
                             "test set has no vote"),
    "passes: percent": ({"passes": lambda a, t: 100 * a > t}, "chance does not pass"),
    "passes: other percent": ({"passes": lambda a, t: a > 100 * t}, "chance does not pass"),
}


def test_the_package_has_every_property():
    assert check_all(RIGHT) == {}


@pytest.mark.parametrize("name", LOSSES)
def test_mutants_of_the_loss_are_killed(name):
    loss, expected = LOSSES[name]
    assert expected in check_all(replace(RIGHT, loss=loss))


@pytest.mark.parametrize("name", OTHERS)
def test_mutants_of_the_other_pieces_are_killed_by_one_property(name):
    change, expected = OTHERS[name]
    broken = list(check_all(replace(RIGHT, **change)))
    assert broken == [expected] or name == "views: bytes" and expected in broken


def test_right_answers_written_in_another_way_are_not_blamed():
    def by_logsumexp(z1, z2, temperature=0.5):
        logits = similarities(z1, z2, temperature)
        mask = torch.eye(len(logits), dtype=torch.bool)
        n = len(z1)
        positive = torch.cat([logits.diagonal(n), logits.diagonal(-n)])
        return (logits.masked_fill(mask, -torch.inf).logsumexp(1) - positive).mean()

    def cosine(step, steps):
        return max(0.0, 1 - step / (steps - 1))

    assert check_all(replace(RIGHT, loss=by_logsumexp, schedule=cosine, train=training(),
                             choose=lambda validation, test: len(validation) - 1,
                             views=Views(24, color=0.3, crop=(0.1, 0.9)))) == {}


@pytest.mark.parametrize("views", [
    Views(32, color=0, gray=0), Views(32, crop=None), Views(96, crop=(0.9, 1.0)),
    Views(24, color=1.25, color_p=0.3, blur=0.5), Views(16, color=0.1, gray=0.9),
    lambda images: tuple((view - 0.5) / 0.25 for view in Views(32)(images)),
])
def test_policies_that_leave_something_out_are_not_blamed(views):
    assert check_all(replace(RIGHT, views=views)) == {}


def test_a_piece_that_raises_breaks_its_property_and_the_random_state_is_put_back():
    before = torch.random.get_rng_state()
    broken = check_all(replace(RIGHT, loss=lambda *_: 1 / 0))
    assert {"length is free", "chance and floor"} <= broken.keys()
    assert torch.equal(before, torch.random.get_rng_state())
    assert set(broken) <= set(properties.PROPERTIES)

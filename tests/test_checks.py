"""Checkers of notebooks 00 to 05: typical wrong answers are recognised by name.

That the solutions pass is tested where they stand, in the notebooks.
"""

import numpy as np
import pytest
import torch
from checker_replies import assert_names, assert_passes
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torchvision.models import densenet121

from simclr_tut import checks, losses


# ---------------------------------------------------------------------------------------- 00
def turn(draw, same=True, dims=(1, 2), dtype=torch.int64):
    def pretext(images):
        labels = draw(len(images))
        turns = labels if same else draw(len(images))
        return (torch.stack([p.rot90(int(k), dims) for p, k in zip(images, turns, strict=True)]),
                labels.to(dtype))
    return pretext


def four(n):
    return torch.randint(0, 4, (n,))


# ---------------------------------------------------------------------------------------- 01
def contrast(grey=(0.2989, 0.587, 0.114), whole=False, clamp=True, turned=False):
    def change(images, factors):
        mean = torch.einsum("c,nchw->nhw", torch.tensor(grey), images)
        mean = mean.mean() if whole else mean.mean((1, 2))[:, None, None, None]
        f = factors[:, None, None, None]
        f = 1 - f if turned else f
        out = f * images + (1 - f) * mean
        return out.clamp(0, 1) if clamp else out
    return change


def two_views(once=False, mirror=0.5, scale=255, shuffle=False, flip=False, offsets=9, top=None):
    def views(images):
        def make():
            upper, left = torch.randint(0, offsets, (2, len(images)))
            upper = upper if top is None else torch.full_like(upper, top)
            if once:
                upper, left = upper[:1].expand(len(images)), left[:1].expand(len(images))
            flips = torch.rand(len(images)) < mirror
            if once:
                flips = flips[:1].expand(len(images))
            rows = [p[:, t:t + 24, x:x + 24].float() / scale for p, t, x in
                    zip(images, upper.tolist(), left.tolist(), strict=True)]
            out = torch.stack([r.flip(2) if f else r for r, f in zip(rows, flips, strict=True)])
            return out.roll(1, 0) if shuffle else out
        first = make()
        return first, (first.flip(3) if flip else make())
    return views


# ---------------------------------------------------------------------------------------- 02
def stem(kernel=3, stride=1, padding=1, pool=False, classifier=False, bias=False):
    def change(network):
        network.features.conv0 = nn.Conv2d(3, 64, kernel, stride, padding, bias=bias)
        if not pool:
            network.features.pool0 = nn.Identity()
        if not classifier:
            network.classifier = nn.Identity()
        return network
    return change


def stem_of_resnet(network):
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    network.fc = nn.Identity()
    return network


def stem_with(**changes):
    """The right stem, then a layer of it exchanged."""
    def change(network):
        network = stem()(network)
        for name, layer in changes.items():
            setattr(network.features if name != "classifier" else network, name, layer)
        return network
    return change


def cost(use_input=False, factor=1.0, drop=None, square=None):
    def count(conv, height, width):
        sides = [side if use_input else (
            side + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
            for side in (height, width)]
        places = sides[0] * sides[1] if square is None else sides[square]**2
        divide = {None: 1, "in": conv.in_channels, "out": conv.out_channels,
                  "kernel": conv.kernel_size[0]**2, "places": places}[drop]
        return conv.weight.numel() * places * factor / divide
    return count


# ---------------------------------------------------------------------------------------- 03
def across(normal=True, power=-1, sign=1.0, reduction="mean", swap=False, item=False):
    def loss(z1, z2, temperature=0.5):
        a, b = (F.normalize(z, dim=1) if normal else z for z in (z1, z2))
        logits = a @ b.T * temperature**power
        value = sign * F.cross_entropy(logits.T if swap else logits, torch.arange(len(a)),
                                       reduction=reduction)
        return value.item() if item else value
    return loss


def gradient(divide=True, sign=1.0, wanted=1.0, dim=1, share=None):
    def find(logits, positive):
        p = share(logits) if share else logits.softmax(dim)
        out = sign * (p - wanted * F.one_hot(positive, logits.shape[1]))
        return out / len(logits) if divide else out
    return find


# ---------------------------------------------------------------------------------------- 04
def rank(power=1.0, exp=True, sign=-1.0, share=True, centre=False):
    def find(z):
        s = torch.linalg.svdvals(z - z.mean(0) if centre else z) ** power
        p = s / s.sum() if share else s
        entropy = sign * torch.special.xlogy(p, p).sum()
        return entropy.exp() if exp else entropy
    return find


def step(order, returned="detached"):
    def take(model, views, optimizer, objective):
        for part in order:
            if part == "zero":
                optimizer.zero_grad()
            elif part == "loss":
                loss = objective(model, views)
            elif part == "back":
                loss.backward()
            else:
                optimizer.step()
        return {"detached": loss.detach(), "graph": loss, "float": float(loss.detach()),
                "zero": torch.zeros(())}[returned]
    return take


GOOD = ("zero", "loss", "back", "step")


# ---------------------------------------------------------------------------------------- 05
def knn(weighted=False, cosine=True, largest=True, extra=0, use_k=True):
    def vote(bank, labels, queries, k):
        if cosine:
            bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
        values, rows = (queries @ bank.T).topk(k + extra if use_k else 1, largest=largest)
        weight = (values / 0.1).exp() if weighted else torch.ones_like(values)
        votes = torch.zeros(len(queries), 3).scatter_add_(1, labels[rows], weight)
        return votes.argmax(1)
    return vote


def top1(mask=-torch.inf, normal=True, second=False, scale=1.0, matrix=False):
    def share(features, labels):
        f = F.normalize(features, dim=1) if normal else features
        cosines = f @ f.T
        cosines = F.normalize(cosines, dim=1) if matrix else cosines
        if second:
            nearest = cosines.topk(2, dim=1).indices[:, 1]
        else:
            nearest = (cosines.fill_diagonal_(mask) if mask is not None else cosines).argmax(1)
        return scale * float((labels[nearest] == labels).float().mean())
    return share


def spread(t=True, ddof=1, root=True, level=0.975, lost=1):
    def find(values):
        n = len(values)
        half = (stats.t.ppf(level, n - lost) if t else 1.96) * np.std(values, ddof=ddof)
        half = half / np.sqrt(n) if root else half
        return np.mean(values) - half, np.mean(values) + half
    return find


WRONG = [
    ("majority_baseline", lambda y: int(y.bincount().argmax()), "the class itself"),
    ("majority_baseline", lambda y: 100 * float(y.bincount().max() / len(y)), "percentage"),
    ("majority_baseline", lambda y: int(y.bincount().max()), "a count"),
    ("majority_baseline", lambda y: 1 / len(y.unique()), "chance for classes of equal size"),
    ("majority_baseline", lambda y: 1 / (int(y.max()) + 1), "some numbers name no class"),
    ("rotation_pretext", turn(lambda n: torch.full((n,), 2)), "turned by 2 quarter turns"),
    ("rotation_pretext", turn(lambda n: torch.randint(0, 3, (n,))), "some turns never occur"),
    ("rotation_pretext", turn(four, same=False), "not by as many quarter turns"),
    ("rotation_pretext", turn(four, dtype=torch.float32), "whole numbers"),
    ("rotation_pretext", lambda x: (x, four(len(x))), "not turned at all"),
    ("rotation_pretext", turn(lambda n: torch.arange(n) % 4), "two calls give the same labels"),
    ("rotation_pretext", lambda x: turn(four)(x)[0], "return two things"),
    ("kinds_of_learning", "UUUU", "1 of 4"), ("kinds_of_learning", "FSFF", "k-means"),
    ("kinds_of_learning", "USUU", "what is the target"), ("kinds_of_learning", "ABCD", "only U"),
    ("kinds_of_learning", 4, "string"),
    ("contrast", contrast(clamp=False), "clamp the result"),
    ("contrast", contrast(whole=True), "mean of the whole batch"),
    ("contrast", contrast(grey=(1 / 3,) * 3), "weighs red, green and blue alike"),
    ("contrast", contrast(turned=True), "factor is on the wrong side"),
    ("contrast", lambda x, f: (f[:, None, None, None] * x).clamp(0, 1), "that is brightness"),
    ("contrast", lambda x, f: x.mul_(0.5), "changes its inputs"),
    ("contrast", lambda x, f: x * torch.nan, "NaN"),
    ("two_views", two_views(once=True), "one draw serves the whole batch"),
    ("two_views", two_views(flip=True), "view 1 mirrored"),
    ("two_views", two_views(scale=1), "in [0, 1]"),
    ("two_views", two_views(mirror=0.0), "mirrored"),
    ("two_views", two_views(mirror=0.1), "one half was asked for"),
    ("two_views", two_views(offsets=8), "never lies at 8"),
    ("two_views", two_views(top=0), "top edge never lies at 8"),
    ("two_views", two_views(shuffle=True), "crops of their own picture"),
    ("two_views", lambda x: (two_views()(x)[0],) * 2, "both views are the same"),
    ("two_views", lambda x: x, "return two views"),
    ("small_crops", "A", "shrink from some"), ("small_crops", "B", "miss each other"),
    ("small_crops", "D", "one letter"), ("small_crops", 0.06, "as a letter"),
    ("cifar_stem", stem(stride=2), "stride 2"), ("cifar_stem", stem(kernel=7), "3 x 3"),
    ("cifar_stem", stem(pool=True), "the pooling after"),
    ("cifar_stem", stem(classifier=True), "classifier is still there"),
    ("cifar_stem", stem_of_resnet, "never calls"),
    ("cifar_stem", stem_with(pool0=None), "None cannot be called"),
    ("cifar_stem", stem_with(classifier=nn.Linear(1024, 1024)), "another linear layer"),
    ("cifar_stem", stem_with(conv0=nn.Conv2d(3, 32, 3, 1, 1)), "expects 64"),
    ("cifar_stem", stem_with(pool0=nn.AvgPool2d(2)), "the pooling after"),
    ("cifar_stem", stem(padding=0), "padding of 1"), ("cifar_stem", stem(bias=True), "a bias"),
    ("cifar_stem", lambda n: stem()(densenet121(weights=None)), "do not build another"),
    ("cifar_stem", lambda n: None, "return missing"),
    ("head_parameters", 512 * 512 + 512 * 128, "two matrices alone"),
    ("head_parameters", 512 * 512 + 512 * 128 + 128, "batch norm in between"),
    ("head_parameters", 512 * 512 + 2 * 512 + 512 * 128, "bias of the last"),
    ("head_parameters", 512 * 512 + 3 * 512 + 512 * 128 + 128, "first layer has no bias"),
    ("head_parameters", "many", "one number"),
    ("multiply_adds", cost(use_input=True), "places of the input"),
    ("multiply_adds", cost(drop="places"), "those are the weights"),
    ("multiply_adds", cost(drop="in"), "input channels"),
    ("multiply_adds", cost(drop="out"), "output channels"),
    ("multiply_adds", cost(drop="kernel"), "kernel is missing"),
    ("multiply_adds", cost(factor=2), "two operations"),
    ("multiply_adds", cost(square=0), "height twice"),
    ("multiply_adds", cost(square=1), "width twice"),
    ("across_views", losses.nt_xent, "full NT-Xent"),
    ("across_views", across(normal=False), "normalise"),
    ("across_views", across(power=1), "you multiply"),
    ("across_views", across(power=0), "temperature is missing"),
    ("across_views", across(sign=-1.0), "sign is wrong"),
    ("across_views", across(reduction="sum"), "you sum"),
    ("across_views", across(swap=True), "anchors are view 2"),
    ("across_views", across(item=True), "no gradient reaches z1"),
    ("logit_gradient", gradient(divide=False), "mean over rows"),
    ("logit_gradient", gradient(sign=-1.0), "sign is turned"),
    ("logit_gradient", gradient(wanted=0.0), "positive is missing"),
    ("logit_gradient", gradient(dim=0), "dim=1"),
    ("logit_gradient", gradient(share=torch.exp), "no share"),
    ("logit_gradient", gradient(share=torch.sigmoid), "sigmoid"),
    ("room_to_fall", lambda n, t: losses.loss_floor(n, t) - losses.chance_loss(n), "sign is turn"),
    ("room_to_fall", lambda n, t: losses.chance_loss(n), "that is chance"),
    ("room_to_fall", lambda n, t: losses.loss_floor(n, t), "the floor itself"),
    ("room_to_fall", lambda n, t: 1 / t, "good guess"),
    ("room_to_fall", lambda n, t: float("nan"), "is nan"),
    ("hold_then_fall", lambda s, n: 0.1 * (1 if s < n // 2 else 0), "must have the full rate"),
    ("hold_then_fall", lambda s, n: 1.0, "must end at zero"),
    ("hold_then_fall", lambda s, n: 1 - s / (n - 1), "falls before half"),
    ("hold_then_fall", lambda s, n: 1.0 if s < n // 2 else ((n - 1 - s) / (n - 1 - n // 2))**2,
     "not a straight line"),
    ("hold_then_fall", lambda s, n: 1.0 if s < n // 2 else 1.0 - 2 * (s - n // 2) / (n // 2),
     "negative"),
    ("rank_of", rank(exp=False), "that is the entropy"),
    ("rank_of", rank(power=2.0), "square the singular values"),
    ("rank_of", rank(sign=1.0), "sign of the entropy"),
    ("rank_of", rank(share=False), "divide the singular values"),
    ("rank_of", rank(centre=True), "subtract the mean"),
    ("rank_of", torch.linalg.matrix_rank, "plain rank"),
    ("step_in_order", step(GOOD[1:]), "zero_grad() is missing"),
    ("step_in_order", step(GOOD[:3]), "optimizer.step() missing"),
    ("step_in_order", step(("loss", "back", "zero", "step")), "between backward() and step()"),
    ("step_in_order", step(GOOD, "graph"), "still holds its graph"),
    ("step_in_order", step(GOOD, "float"), "as a tensor"),
    ("step_in_order", step(GOOD, "zero"), "before* the step"),
    ("step_in_order", step((*GOOD, "loss")), "computed twice"),
    ("majority_knn", knn(weighted=True), "weighted"), ("majority_knn", knn(cosine=False), "long"),
    ("majority_knn", knn(largest=False), "least similar"),
    ("majority_knn", knn(use_k=False), "k is not used"),
    ("majority_knn", lambda b, y, q, k: (q @ b.T).argmax(1), "rows of the bank"),
    ("honest_top1", top1(mask=None), "finds itself"),
    ("honest_top1", top1(normal=False), "long vectors"),
    ("honest_top1", top1(second=True), "duplicates"),
    ("honest_top1", top1(scale=100), "percentage"),
    ("honest_top1", top1(normal=False, matrix=True), "to normalise the matrix"),
    ("t_interval", spread(t=False), "1.96"), ("t_interval", spread(root=False), "root"),
    ("t_interval", spread(ddof=0), "ddof=1"), ("t_interval", spread(level=0.95), "0.975"),
    ("t_interval", spread(lost=0), "n - 1 degrees"), ("t_interval", lambda v: 3.0, "two numbers"),
]
RIGHT = [("rotation_pretext", turn(lambda n: torch.randint(-4, 0, (n,)) % 4)),
         ("contrast", contrast()), ("two_views", two_views()), ("cifar_stem", stem()),
         ("multiply_adds", cost()), ("across_views", across()), ("logit_gradient", gradient()),
         ("rank_of", rank()), ("step_in_order", step(GOOD)), ("majority_knn", knn()),
         ("honest_top1", top1()), ("t_interval", spread()),
         ("hold_then_fall", lambda s, n: 1.0 if s < n // 2 else (n - s) / (n - n // 2))]


@pytest.mark.parametrize(("name", "candidate", "said"), WRONG,
                         ids=[f"{n}-{s}" for n, _, s in WRONG])
def test_typical_mistakes_are_named(name, candidate, said, capsys):
    assert_names(name, candidate, said, capsys)


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=[n for n, _ in RIGHT])
def test_right_answers_written_in_another_way_pass(name, candidate):
    assert_passes(name, candidate)


FUNCTIONS = sorted({name for name, candidate, _ in WRONG if callable(candidate)})


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("candidate", [
    lambda *a: "text", lambda *a: [], lambda *a: 1 / 0, lambda *a: torch.zeros(7, 7, 7), 12,
], ids=["text", "list", "error", "shape", "number"])
def test_no_answer_escapes(name, candidate, capsys):
    result = getattr(checks, name)(candidate)
    assert result.score < 1 and len(capsys.readouterr().out.splitlines()) == 1

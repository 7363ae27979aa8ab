"""Properties that a SimCLR project must have: each finds a bug that raises no error.

Take them home: ``check_all(Pieces(loss=my_loss, views=my_views))`` returns the broken ones.
Explained in notebooks/07.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut import evaluation, losses, models, training
from simclr_tut.checks._common import pictures as _pictures
from simclr_tut.config import Recipe
from simclr_tut.views import Views


def choose_best(validation: list[float], test: list[float]) -> int:
    """Return the number of the epoch to keep: the best on validation, whatever the test says."""
    return max(range(len(validation)), key=lambda epoch: validation[epoch])


def better_than(accuracy: float, threshold: float) -> bool:
    """Return whether an accuracy, as a fraction, exceeds a threshold, as a fraction."""
    return accuracy > threshold


def train_briefly(model: nn.Module, images: torch.Tensor) -> None:
    """Take three steps of SimCLR."""
    recipe = Recipe(steps=3, batch_size=min(16, len(images)), small_size=None, bf16=False)
    training.pretrain(model, images, Views(images.shape[-1]), recipe)


@dataclass(frozen=True)
class Pieces:
    """The parts of a project that can be wrong in silence; the defaults are this package's.

    Attributes:
        loss: (z1, z2, temperature) -> scalar.  views: uint8 images -> (view1, view2).
        build: () -> a model with fresh random weights, ``.encoder`` and ``.head``.
        train: (model, images) -> None, a few steps in place.
        features: (model, images) -> what kNN and probe get, ``(N, F)``.
        neighbours: (bank, k) -> the k nearest of each row within the bank, ``(N, k)``.
        schedule: (step, steps) -> share of the full learning rate.
        choose: (validation scores, test scores) -> epoch to keep.
        passes: (accuracy, threshold) -> bool, both fractions.
    """

    loss: Callable = losses.nt_xent
    views: Callable = Views(32)
    build: Callable = lambda: models.build_model("tiny")  # noqa: E731
    train: Callable = train_briefly
    features: Callable = evaluation.encode
    neighbours: Callable = evaluation.retrieval
    schedule: Callable = training.warmup_cosine
    choose: Callable = choose_best
    passes: Callable = better_than


def _embeddings(n: int = 12, d: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator)
    return first, first + 0.5 * torch.randn(n, d, generator=generator)


def length_is_free(pieces: Pieces) -> None:
    """Longer embeddings change nothing: the loss compares directions."""
    z1, z2 = _embeddings()
    stretched = torch.linspace(0.5, 3, len(z1))[:, None]
    change = float((pieces.loss(stretched * z1, z2, 0.5) - pieces.loss(z1, z2, 0.5)).abs())
    assert change < 1e-4, f"stretching embeddings moved the loss by {change:.3g}: normalise them"


def chance_and_floor(pieces: Pieces) -> None:
    """Equal embeddings give ln(2N - 1); positives at cosine 1 on a simplex give the floor."""
    n = 8
    equal = F.normalize(torch.ones(n, n), dim=1)
    simplex = F.normalize(torch.eye(n) - 1 / n, dim=1)
    for temperature in (0.2, 0.5, 2.0):
        value, expected = float(pieces.loss(equal, equal, temperature)), math.log(2 * n - 1)
        assert abs(value - expected) < 1e-3, (
            f"equal embeddings give {value:.4g} at temperature {temperature}, not ln(2N - 1) = "
            f"{expected:.4g}: look at the denominator, and at the mean over 2N anchors")
        value, expected = (float(pieces.loss(simplex, simplex, temperature)),
                           losses.loss_floor(n, temperature))
        assert abs(value - expected) < 1e-3, (
            f"perfect positives on a simplex give {value:.4g} at temperature {temperature}, not "
            f"the floor {expected:.4g}: print the matrix of similarities")


def views_are_equals(pieces: Pieces) -> None:
    """Exchanging view 1 and view 2 changes nothing: all 2N views are anchors."""
    z1, z2 = _embeddings()
    z2 = z2 * torch.tensor([1.0, 2, 0.1, 1, 1, 3])  # the two sets must not look alike
    change = float((pieces.loss(z1, z2, 0.3) - pieces.loss(z2, z1, 0.3)).abs())
    assert change < 1e-4, f"exchanging the views moved the loss by {change:.3g}: use 2N anchors"


def gradient_is_whole(pieces: Pieces) -> None:
    """Autograd agrees with a finite difference in both views: nothing is detached."""
    for moved in (0, 1):
        pair = [z.clone().requires_grad_() for z in _embeddings(n=6)]
        pieces.loss(*pair, 0.5).backward()
        gradient = pair[moved].grad
        direction = torch.randn(pair[0].shape, generator=torch.Generator().manual_seed(3))
        step = 1e-2
        values = []
        for sign in (-1, 1):
            shifted = [z.detach().clone() for z in pair]
            shifted[moved] += sign * step * direction
            values.append(float(pieces.loss(*shifted, 0.5)))
        expected = (values[1] - values[0]) / (2 * step)
        found = 0.0 if gradient is None else float((gradient * direction).sum())
        assert abs(found - expected) < 5e-3 + 0.05 * abs(expected), (
            f"along a direction in view {moved + 1} the loss changes by {expected:.3g}, autograd "
            f"says {found:.3g}: look for detach() or no_grad()")


def memory_is_square(pieces: Pieces) -> None:
    """No saved tensor is larger than a similarity matrix: never 2N x 2N x D."""
    z1, z2 = (z.requires_grad_() for z in _embeddings(n=32, d=64))
    largest = 0

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pieces.loss(z1, z2, 0.5)
    assert largest <= 4 * 64 * 64, (
        f"the backward pass keeps a tensor of {largest} numbers for 64 views, a similarity matrix "
        "has 4096: multiply matrices in place of broadcasting a cosine")


def second_view_is_new(pieces: Pieces) -> None:
    """View 2 is a draw of its own: no fixed change of view 1, and another one in each call."""
    torch.manual_seed(0)
    pictures = _pictures(24)
    view1, view2 = pieces.views(pictures)
    again = pieces.views(pictures)[1]
    same = float(((view2 - again).abs().flatten(1).amax(1) < 1e-6).float().mean())
    assert same < 0.3, (f"{100 * same:.0f} % of the second views are the same in two calls: they "
                        "are no draws. Is the picture itself handed on, or a seed set inside?")
    near = torch.stack([torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
                        for a, b in zip(view1, view2, strict=True)])
    same = float((near > 0.95).float().mean())
    assert same < 0.3, (f"{100 * same:.0f} % of the second views are nearly the first ones: noise "
                        "on top is no second view; draw it anew from the picture")
    histograms = [evaluation.color_histogram((view * 255).round().to(torch.uint8))
                  for view in (view1, view2)]
    same = float(((histograms[0] - histograms[1]).abs().sum(1) < 1e-3).float().mean())
    assert same < 0.3, (f"{100 * same:.0f} % of the pairs have the same colours: the second view "
                        "is the first one moved; draw it anew from the picture")
    for what, pictures, alike in _PROBES:  # what a policy never changes, it may share
        first, second = pieces.views(pictures(24))
        shared, usual = alike(first, second), alike(first, pieces.views(pictures(24))[0])
        assert shared < usual + 0.4, (
            f"{100 * shared:.0f} % of the pairs have the same {what}, two calls only "
            f"{100 * usual:.0f} %: draw it for each view")


def _textured(n: int, copies: bool = False) -> torch.Tensor:
    """Grey pictures of low contrast: colour operations leave their pattern, crops change it."""
    pattern = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    pattern = pattern[:1].expand(n, -1, -1, -1) if copies else pattern
    pattern = 0.3 + 0.2 * F.interpolate(pattern, size=32, mode="bilinear")
    return (255 * pattern).to(torch.uint8).repeat(1, 3, 1, 1)


def _plain(n: int, copies: bool = False) -> torch.Tensor:
    """Pictures of a single colour: crops leave it, colour operations change it."""
    colors = 0.3 + 0.4 * torch.rand(n, 3, generator=torch.Generator().manual_seed(2))
    colors = colors[:1].expand(n, -1) if copies else colors
    return (255 * colors).to(torch.uint8)[:, :, None, None].repeat(1, 1, 32, 32)


def _same_part(a: torch.Tensor, b: torch.Tensor) -> float:
    """Share of rows that show the same pattern, mirrored or not, whatever its brightness."""
    def unit(views: torch.Tensor) -> torch.Tensor:
        pattern = views.mean(1).flatten(1)
        return F.normalize(pattern - pattern.mean(1, keepdim=True), dim=1)
    likeness = torch.maximum((unit(a) * unit(b)).sum(1), (unit(a) * unit(b.flip(3))).sum(1))
    return float((likeness > 0.98).float().mean())


def _same_color(a: torch.Tensor, b: torch.Tensor) -> float:
    """Share of rows of the same mean colour."""
    change = (a.mean((2, 3)) - b.mean((2, 3))).abs().amax(1)
    return float((change < 0.004).float().mean())


_PROBES = (("crop", _textured, _same_part), ("colours", _plain, _same_color))


def each_picture_draws(pieces: Pieces) -> None:
    """Row i of both views shows picture i, each with parameters of its own."""
    torch.manual_seed(0)
    bright = torch.linspace(0.05, 1, 24)[torch.randperm(24)]
    pair = pieces.views((_pictures(24) * bright[:, None, None, None]).to(torch.uint8))
    for view in pair:
        assert torch.isfinite(view).all() and float(view.abs().max()) < 20, (
            f"views reach {float(view.abs().max()):.3g}: divide bytes by 255")
        ranks = torch.stack([view.flatten(1).mean(1).argsort().argsort(),
                             bright.argsort().argsort()]).float()
        agree = float(torch.corrcoef(ranks)[0, 1])
        assert agree > 0.5, (f"dark pictures do not give dark views (rank correlation {agree:.2f})"
                             ": is row i of the views made of picture i?")
    view1, _ = pieces.views(_pictures(1).repeat(24, 1, 1, 1))
    different = {tuple(view.flatten()[::97].tolist()) for view in view1}
    assert len(different) > 12, (f"24 copies of a picture gave {len(different)} different views: "
                                 "draw one set of parameters for each picture")
    for what, pictures, alike in _PROBES:
        calls = [pieces.views(pictures(24, copies=True))[0] for _ in range(7)]
        within = alike(calls[0], calls[0].roll(1, 0))
        usual = sum(alike(calls[0], other) for other in calls[1:]) / 6
        assert within < usual + 0.4, (
            f"{100 * within:.0f} % of the copies in one batch have the same {what}, in two batches "
            f"{100 * usual:.0f} %: draw it for each picture")


def start_is_random(pieces: Pieces) -> None:
    """Two seeds give two encoders: no weights come from elsewhere."""
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        weights.append([p.detach().clone() for p in pieces.build().encoder.parameters()
                        if p.dim() > 1])
    same = [torch.equal(a, b) for a, b in zip(*weights, strict=True)]
    assert not any(same), ("two seeds give the same weights: the encoder does not start from "
                           "random ones. Somebody trained it; on what labels?")


def everything_trains(pieces: Pieces) -> None:
    """After a few steps all weights and all batch-norm statistics have changed."""
    torch.manual_seed(0)
    model = pieces.build()
    parts = {"encoder": model.encoder, "projection head": model.head}
    before = {part: [p.detach().clone() for p in module.parameters() if p.dim() > 1]
              for part, module in parts.items()}
    settled = {name: value.clone() for name, value in model.named_buffers()
               if name.endswith("running_mean")}
    pieces.train(model, _pictures(32))
    for part, module in parts.items():
        after = [p.detach() for p in module.parameters() if p.dim() > 1]
        still = sum(torch.equal(a, b) for a, b in zip(before[part], after, strict=True))
        assert not still, (f"{still} of {len(after)} weight matrices of the {part} never moved: "
                           "look for requires_grad=False and for what the optimiser was given")
    after = dict(model.named_buffers())
    still = sum(torch.equal(value, after[name]) for name, value in settled.items())
    assert not still, (f"{still} of {len(settled)} batch norms never moved their statistics: call "
                       "train() after each evaluation")


def encoder_sees_views(pieces: Pieces) -> None:
    """In training no view comes twice, and evaluation hands on pixels of the same scale."""
    torch.manual_seed(0)
    model, pictures, seen = pieces.build(), _pictures(32), []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    pieces.train(model, pictures)
    trained, seen[:] = list(seen), []
    pieces.features(model, pictures)
    if not trained or not seen:
        return  # another property says that the encoder does not train, or is not asked
    rows = [tuple(view.flatten()[::97].tolist()) for batch in trained for view in batch]
    assert len(set(rows)) > 0.9 * len(rows), (
        f"{len(rows) - len(set(rows))} of {len(rows)} views came twice in training: are both "
        "embeddings made of the same view?")
    ratio = float(torch.cat(seen).std() / torch.cat(trained).std())
    assert 0.3 < ratio < 3, (f"pixels vary {ratio:.3g} times as much in evaluation as in training: "
                             "scale them in the same way, bytes by 1/255")


def rate_falls_once(pieces: Pieces) -> None:
    """After its highest point the learning rate only falls, and it ends near zero."""
    rates = [pieces.schedule(step, 200) for step in range(200)]
    top = max(range(200), key=rates.__getitem__)
    rises = sum(b > a + 1e-9 for a, b in zip(rates[top:-1], rates[top + 1:], strict=True))
    assert rises == 0 and top < 100, (f"the rate rises again {rises} times after its peak: was the "
                                      "schedule's length given in epochs and stepped by batches?")
    assert rates[-1] < 0.05 * max(rates), (f"the rate ends at {rates[-1] / max(rates):.2f} of its "
                                           "peak, not near zero")
    dead = sum(rate < 1e-3 * max(rates) for rate in rates[top:])
    assert dead < 40, f"the rate is zero for {dead} of 200 steps: is the schedule too short?"


def nobody_finds_itself(pieces: Pieces) -> None:
    """Searched within itself, a picture finds its likeness first, and never itself."""
    bank = _embeddings(30, 5)[0]
    bank[1] = 1.001 * bank[0]
    found = torch.as_tensor(pieces.neighbours(bank, 3))
    own = int((found == torch.arange(30)[:, None]).any(1).sum())
    assert own == 0, f"{own} of 30 pictures found themselves: set the diagonal to minus infinity"
    assert int(found[0, 0]) == 1 and int(found[1, 0]) == 0, (
        "a picture and its near copy do not find each other first: is the order turned round?")


def company_does_not_matter(pieces: Pieces) -> None:
    """A picture's features are the same alone and in a batch: batch norm is in evaluation mode."""
    torch.manual_seed(0)
    model, pictures = pieces.build(), _pictures(7)
    models.settle_batch_norm(model, [pictures.float() / 255])
    model.train()  # as a training loop leaves it
    together = pieces.features(model, pictures)
    assert len(together) == 7, (f"7 pictures gave {len(together)} rows of features: is the last, "
                                "incomplete batch dropped?")
    together = together[:4]
    apart = pieces.features(model, pictures[:4])
    change = float((together - apart).abs().max() / together.abs().max().clamp_min(1e-12))
    assert change < 1e-3, (f"features change by {100 * change:.0f} % with the company a picture "
                           "keeps: call eval() before encoding")


def head_is_left_out(pieces: Pieces) -> None:
    """Features stay the same when the projection head is replaced: they are h, not z."""
    torch.manual_seed(0)
    model, pictures = pieces.build().eval(), _pictures(8)
    before = pieces.features(model, pictures)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)
    after = pieces.features(model, pictures)
    same = before.shape == after.shape and torch.allclose(before, after, atol=1e-5)
    assert same, "another head gives other features: evaluate h, before the head, not z"


def no_vote_for_the_test_set(pieces: Pieces) -> None:
    """The chosen epoch stays the same whatever the test scores are."""
    validation = [0.50, 0.61, 0.58, 0.60]
    chosen = {pieces.choose(validation, test) for test in
              ([0.5, 0.6, 0.7, 0.4], [0.9, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.95])}
    assert len(chosen) == 1, (f"epochs {sorted(chosen)} are chosen for the same validation scores:"
                              " the test scores have a vote")
    assert chosen <= {1, 3}, "neither the best epoch on validation nor the last one is kept"


def chance_does_not_pass(pieces: Pieces) -> None:
    """Guessing fails a threshold and a good model passes it: one unit on both sides."""
    assert not pieces.passes(0.10, 0.70), (
        "guessing among ten classes passes a threshold of 70 %: a percentage is compared with a "
        "fraction")
    assert pieces.passes(0.83, 0.70), "83 % fails a threshold of 70 %: compare like with like"


PROPERTIES: dict[str, Callable[[Pieces], None]] = {
    "length is free": length_is_free,
    "chance and floor": chance_and_floor,
    "views are equals": views_are_equals,
    "gradient is whole": gradient_is_whole,
    "memory is square": memory_is_square,
    "second view is new": second_view_is_new,
    "each picture draws": each_picture_draws,
    "start is random": start_is_random,
    "everything trains": everything_trains,
    "encoder sees views": encoder_sees_views,
    "rate falls once": rate_falls_once,
    "nobody finds itself": nobody_finds_itself,
    "company does not matter": company_does_not_matter,
    "head is left out": head_is_left_out,
    "test set has no vote": no_vote_for_the_test_set,
    "chance does not pass": chance_does_not_pass,
}


def check_all(pieces: Pieces) -> dict[str, str]:
    """Return the broken properties, each with the sentence that says what was seen.

    A piece that raises an error breaks the property too. The random state is put back.
    """
    broken = {}
    for name, holds in PROPERTIES.items():
        with torch.random.fork_rng():
            try:
                holds(pieces)
            except Exception as error:
                broken[name] = str(error) or type(error).__name__
    return broken

"""Checkers of notebook 09."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut import losses
from simclr_tut.checks._runner import Mistake, checker

_TAU = 0.5


def _parts(n: int = 4, dimensions: int = 6) -> list[torch.Tensor]:
    """What three processes' models return: rows of view 1, then rows of view 2."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2 * n, dimensions, generator=generator, requires_grad=True)
            for _ in range(3)]


def _joined(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    halves = [part.chunk(2) for part in parts]
    return torch.cat([one for one, _ in halves]), torch.cat([two for _, two in halves])


@checker(points=3)
def loss_of_all(candidate) -> str:
    """``candidate(parts, temperature)``: NT-Xent of the pictures of all processes together."""
    parts = _parts()
    before = [part.detach().clone() for part in parts]
    value = _number(candidate(parts, _TAU))
    if any(not torch.equal(part, kept) for part, kept in zip(parts, before, strict=True)):
        raise Mistake("your function changes the embeddings it is given. An operation whose name "
                      "ends in _ writes where it reads.", 0.3)
    right = losses.nt_xent(*_joined(parts), _TAU)
    alone = [losses.nt_xent(*part.chunk(2), _TAU) for part in parts]
    wrong = [
        (losses.nt_xent(*torch.cat(parts).chunk(2), _TAU),
         "your value equals the loss of all rows joined first and halved afterwards. Then row i "
         "and row i + N show different pictures. Halve each part, join the halves.", 0.5),
        (sum(alone) / 3, "your value equals the mean of the processes' own losses: each saw only "
         "its own negatives, 2n - 2 instead of 2N - 2.", 0.3),
        (sum(alone), "your value equals the sum of the processes' own losses. Join the embeddings "
         "first; one loss comes after.", 0.2),
        (2 * right, "your value is twice the mean over the 2N anchors. Is it the sum of two "
         "directions?", 0.6),
        (losses.nt_xent(*_joined(parts), 0.1), "your loss uses a temperature of its own and not "
         "the one it is given.", 0.6),
    ]
    if not torch.allclose(value, right, atol=1e-4):
        for other, sentence, score in wrong:
            if torch.allclose(value, other, atol=1e-4):
                raise Mistake(sentence, score)
        raise Mistake(f"your value is {value.item():.4f}; NT-Xent of all N pictures is another. "
                      "Which rows are view 1 of everyone?")
    _compare_gradients(value, right, parts)
    return "one loss over all pictures, with a gradient that reaches every process."


def _compare_gradients(value: torch.Tensor, right: torch.Tensor,
                       parts: list[torch.Tensor]) -> None:
    wanted = torch.autograd.grad(right, parts)
    if not value.requires_grad:
        raise Mistake("the value is right and has no gradient: somewhere it was detached, turned "
                      "into a number, or made under no_grad.", 0.5)
    found = torch.autograd.grad(value, parts, allow_unused=True)
    reached = [f is not None and bool(f.abs().max() > 1e-8) for f in found]
    if not all(reached):
        raise Mistake(f"the value is right, but the gradient reaches only {sum(reached)} of "
                      f"{len(parts)} processes. The others were detached: as negatives they must "
                      "learn too.", 0.6)
    if not all(torch.allclose(f, w, atol=1e-4) for f, w in zip(found, wanted, strict=True)):
        raise Mistake("the value is right and the gradient is not. Was a part of it detached, or "
                      "one half of each pair?", 0.6)


class _Watched(nn.Module):
    """A small model without batch norm that remembers the largest batch it held for backward."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 8))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        self.largest = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.largest = max(self.largest, len(x))
        return self.layers(x)


def _gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@checker(points=3)
def cached_gradient(candidate) -> str:
    """``candidate(model, view1, view2, micro, temperature)`` leaves the whole batch's gradient."""
    generator = torch.Generator().manual_seed(5)
    view1 = torch.rand(12, 3, 4, 4, generator=generator)
    view2 = (view1 + 0.2 * torch.rand(12, 3, 4, 4, generator=generator)).clamp(0, 1)
    given = view1.clone(), view2.clone()
    model = _Watched()
    candidate(model, *given, 3, _TAU)
    if not (torch.equal(given[0], view1) and torch.equal(given[1], view2)):
        raise Mistake("your function changes the views it is given. Work on copies.", 0.3)
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    if missing:
        raise Mistake(f"afterwards {missing[0]} has no gradient. Your function should end with "
                      "gradients in .grad, as loss.backward() does.")
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    if not torch.isfinite(found).all():
        raise Mistake("your gradient holds NaN or infinity. Was a mean taken over no picture?")
    largest, model = model.largest, _Watched()
    right = _gradient(model, losses.nt_xent(model(view1), model(view2), _TAU))
    parts = [losses.nt_xent(model(a), model(b), _TAU)
             for a, b in zip(view1.split(3), view2.split(3), strict=True)]
    accumulated = _gradient(model, sum(parts) / len(parts))
    wrong = [
        (accumulated, "your gradient equals plain accumulation, the mean over micro-batches: every "
         "anchor met only the negatives of its own micro-batch.", 0.3),
        (len(parts) * accumulated, "your gradient equals the sum over micro-batches of their own "
         "losses: few negatives, and too long as well.", 0.2),
        (right / len(parts), "your gradient has the right direction and is too short by the number "
         "of micro-batches. The loss is already a mean over all anchors.", 0.7),
        (_gradient(model, losses.nt_xent(model(view1), model(view2).detach(), _TAU)),
         "your gradient flows through view 1 only.", 0.5),
    ]
    if not torch.allclose(found, right, atol=1e-5):
        for other, sentence, score in wrong:
            if torch.allclose(found, other, atol=1e-5):
                raise Mistake(sentence, score)
        cosine = F.cosine_similarity(found, right, dim=0)
        raise Mistake("your gradient is not that of the whole batch; its cosine with it is "
                      f"{cosine:.3f}. Compare dL/dz of your first pass with autograd's.", 0.1)
    if largest > 6:
        raise Mistake(f"the gradient is right, but {largest} views were held for backward at once; "
                      "at most 6, two of each picture of a micro-batch, were allowed. The first "
                      "pass needs no graph.", 0.5)
    return "the gradient of the whole batch, with the memory of a micro-batch."


@checker(points=2)
def scaled_rate(candidate) -> str:
    """``candidate(per_process, processes, rule)``: the paper's learning rate."""
    cases = [(64, 4), (32, 8), (512, 8), (128, 1), (1024, 8)]
    found = {}
    for rule in ("linear", "sqrt"):
        found[rule] = [_plain(candidate(n, k, rule)) for n, k in cases]
    for rule, values in found.items():
        score = 0.5 if rule == "sqrt" else 0.2
        if _matches(values, [_rate(rule, n * k) for n, k in cases]):
            continue
        if _matches(values, [_rate(rule, n) for n, k in cases]):
            raise Mistake(f"rule {rule!r}: your rate ignores the number of processes. The batch of "
                          "a step is that of all of them together.", score)
        if _matches(values, [_rate(rule, 2 * n * k) for n, k in cases]):
            raise Mistake(f"rule {rule!r}: your batch counts views. The paper counts pictures.",
                          score)
        if rule == "sqrt" and _matches(values, [0.3 * math.sqrt(n * k / 256) for n, k in cases]):
            raise Mistake("rule 'sqrt': your rate is 0.3 at 256 pictures. The paper's is "
                          "0.075 times the root of the batch, which is 1.2 there.", score)
        if rule == "sqrt" and values == found["linear"]:
            raise Mistake("rule 'sqrt' gives what rule 'linear' gives. Is the argument used?",
                          score)
        if len({round(v, 6) for v in values}) == 1:
            raise Mistake(f"rule {rule!r}: your rate is the same for every batch.", 0.1)
        raise Mistake(f"rule {rule!r}: for {cases[0][1]} processes of {cases[0][0]} pictures your "
                      f"rate is {values[0]:g}. Work out the global batch first.", score)
    return "both rules of the paper, for the batch of all processes together."


def _rate(rule: str, batch: int) -> float:
    return 0.3 * batch / 256 if rule == "linear" else 0.075 * math.sqrt(batch)


def _matches(values: list[float], wanted: list[float]) -> bool:
    return all(math.isclose(v, w, rel_tol=1e-3) for v, w in zip(values, wanted, strict=True))


@checker(points=2)
def training_hours(candidate) -> str:
    """``candidate(pictures, epochs, flops, flops_per_second)``: hours, two views, 3 x forward."""
    cases = [(1_281_167, 100, 8e9, 1e14), (50_000, 200, 1e9, 5e11), (1000, 1, 1e9, 1e12)]
    values = [_plain(candidate(*case)) for case in cases]

    def form(factor: float):
        return [p * e * f * factor / s / 3600 for p, e, f, s in cases]

    named = [
        (6 * 3600, "your answer is in seconds; hours were asked for.", 0.7),
        (6 * 60, "your answer is in minutes; hours were asked for.", 0.7),
        (3, "you count one view of each picture. Every step encodes two.", 0.5),
        (2, "you count the forward pass only. Backward costs about twice as much again.", 0.5),
        (1, "you count one view and the forward pass only: a factor of six is missing.", 0.2),
        (4, "you count backward as much as forward. It has two products where forward has one: "
         "with respect to the input and to the weights.", 0.6),
    ]
    if _matches(values, form(6)):
        return "two views, forward and backward, in hours."
    for factor, sentence, score in named:
        if _matches(values, form(factor)):
            raise Mistake(sentence, score)
    if _matches(values, [f / e for f, (_, e, _, _) in zip(form(6), cases, strict=True)]):
        raise Mistake("you count one epoch.", 0.5)
    raise Mistake(f"for {cases[2][0]} pictures, 1 epoch, 1e9 FLOPs a view and 1e12 a second your "
                  f"answer is {values[2]:.3g} hours. Multiply what is done, divide by the speed.")


def _number(value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise Mistake("return one number as a tensor, so that it can be differentiated; got "
                      f"{tuple(value.shape) if isinstance(value, torch.Tensor) else value!r:.40}.")
    if not torch.isfinite(value):
        raise Mistake(f"the loss is {value.item()}. Look for a division by zero or an overflow.")
    return value.reshape(()).float()


def _plain(value: object) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Mistake(f"return one number; got {type(value).__name__}.")
    if not math.isfinite(value):
        raise Mistake(f"your answer is {value}. Look for a division by zero.")
    return float(value)

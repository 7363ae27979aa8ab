"""Checkers of notebook 09."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut import losses
from simclr_tut.checks._runner import Mistake, checker

_TAU = 0.3  # not the package's default, so that a forgotten argument shows


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
    result = candidate(parts, _TAU)
    if isinstance(result, (list, tuple)) and len(result) == len(parts):
        raise Mistake("you return a loss for each process; one loss over all was asked for.", 0.3)
    value = _number(result)
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
        *((losses.nt_xent(*_joined(parts), t), "your loss uses a temperature of its own and not "
           "the one it is given.", 0.6) for t in (0.1, 0.5, 1.0)),
        (losses.nt_xent(*_joined(parts), 1 / _TAU), "the temperature divides the cosines; you "
         "multiply.", 0.5),
        (_masked(parts, normal=False), "normalise the embeddings first.", 0.5),
        (_masked(parts, diagonal=False), "each view still competes with itself: mask the diagonal.",
         0.5),
        (right / len(parts), "you divide by the number of processes; the loss is a mean over all "
         "anchors already.", 0.6),
        (len(parts) * right, "you multiply by the number of processes; the loss is a mean over all "
         "anchors.", 0.6),
        (-right, "the sign is turned.", 0.5),
        (losses.nt_xent(*(sum(parts) / len(parts)).chunk(2), _TAU), "you average the embeddings "
         "over processes, but row i of each shows another picture: join them.", 0.3),
        (losses.nt_xent(torch.cat([p[::2] for p in parts]), torch.cat([p[1::2] for p in parts]),
                        _TAU), "you take neighbouring rows for pairs; each part holds view 1 in "
         "its first half and view 2 in its second.", 0.5),
        (losses.nt_xent(torch.cat([p.chunk(2, 1)[0] for p in parts]),
                        torch.cat([p.chunk(2, 1)[1] for p in parts]), _TAU),
         "you halve the columns; the views are halves of the rows.", 0.4),
        (F.cross_entropy(_unit(parts, 0) @ _unit(parts, 1).T / _TAU, torch.arange(12)),
         "views of the same kind are missing among the negatives.", 0.5),
        *((one, f"that is the loss of process {i} alone: join the embeddings of all.", 0.2)
          for i, one in enumerate(alone)),
    ]
    if not torch.allclose(value, right, atol=1e-4):
        for other, sentence, score in wrong:
            if torch.allclose(value, other, atol=1e-4):
                raise Mistake(sentence, score)
        raise Mistake(f"your value is {value.item():.4f}; NT-Xent of all N pictures is another. "
                      "Which rows are view 1 of everyone?")
    _compare_gradients(value, right, parts)
    return "one loss over all pictures, with a gradient that reaches every process."


def _unit(parts: list[torch.Tensor], view: int) -> torch.Tensor:
    return F.normalize(_joined(parts)[view], dim=1)


def _masked(parts: list[torch.Tensor], normal: bool = True, diagonal: bool = True) -> torch.Tensor:
    """NT-Xent of all, without one of its parts."""
    z = torch.cat(_joined(parts))
    z = F.normalize(z, dim=1) if normal else z
    logits = z @ z.T / _TAU
    own = torch.eye(len(z), dtype=torch.bool)
    logits = logits.masked_fill(own, -torch.inf) if diagonal else logits
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def _length(found: torch.Tensor, right: torch.Tensor) -> float | None:
    """How many times as long, where two gradients point the same way (or the opposite)."""
    factor = float(found.flatten() @ right.flatten() / right.square().sum())
    return factor if torch.allclose(found, factor * right, atol=1e-5) else None


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
    factor = _length(torch.cat(found), torch.cat(wanted))
    if factor is not None and abs(factor - 1) > 1e-3:
        raise Mistake(f"the value is right, but the gradient is {factor:.3g} times as long as it "
                      "should be. Were the rows of other processes detached in each term, and a "
                      "mean taken? A mean of K such gradients is one K-th of the whole.", 0.6)
    if not all(torch.allclose(f, w, atol=1e-4) for f, w in zip(found, wanted, strict=True)):
        raise Mistake("the value is right and the gradient is not. Was a part of it detached, or "
                      "one half of each pair?", 0.6)


class _Watched(nn.Module):
    """A small model without batch norm that counts the views whose graphs are held at once."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 8))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        self.held = self.largest = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.layers(x)
        if z.requires_grad:
            self.held += len(x)
            self.largest = max(self.largest, self.held)
            z.register_hook(lambda _: self._release(len(x)))
        return z

    def _release(self, views: int) -> None:
        """Backward has reached these views."""
        self.held -= views


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
    if not bool(found.any()):
        raise Mistake("every gradient is 0: is zero_grad() the last thing that happens?", 0.1)
    right = _gradient(model, losses.nt_xent(model(view1), model(view2), _TAU))
    micro = list(zip(view1.split(3), view2.split(3), strict=True))
    parts = [losses.nt_xent(model(a), model(b), _TAU) for a, b in micro]
    accumulated = _gradient(model, sum(parts) / len(parts))
    wrong = [
        (accumulated, "your gradient equals plain accumulation, the mean over micro-batches: every "
         "anchor met only the negatives of its own micro-batch.", 0.3),
        (len(parts) * accumulated, "your gradient equals the sum over micro-batches of their own "
         "losses: few negatives, and too long as well.", 0.2),
        (_gradient(model, losses.nt_xent(model(view1).detach(), model(view2), _TAU)),
         "your gradient flows through view 2 only.", 0.5),
        (_gradient(model, losses.nt_xent(model(view1), model(view2), 0.5)),
         "your loss uses temperature 0.5 and not the one it is given.", 0.6),
        (_gradient(model, losses.nt_xent(model(view1), model(view2), 1 / _TAU)),
         "the temperature divides the cosines; you multiply.", 0.5),
        (_gradient(model, losses.nt_xent(*map(model, micro[-1]), _TAU)),
         "only the last micro-batch is left: zero_grad() inside the loop forgets the "
         "others, and each met only its own negatives.", 0.2),
        (_partial(model, view1, view2, slice(9, 12), (1,)), "only the last micro-batch of view 2 "
         "is left: zero_grad() inside the loop forgets all others.", 0.4),
        (_partial(model, view1, view2, slice(0, 9)), "the last micro-batch of each view is left "
         "out: does the loop end one too early?", 0.5),
        (_partial(model, view1, view2, slice(0, 3)), "only the first micro-batch has been pushed "
         "through.", 0.4),
        (_partial(model, view1, view2, slice(None), swap=True), "each view is pushed with the "
         "other view's dL/dz: exchange them.", 0.5),
        (_gradient(model, model(view1).sum() + model(view2).sum()), "you push ones through the "
         "graph in place of dL/dz: z.backward(wish).", 0.4),
        (right / len(parts), "your gradient has the right direction and is too short by the number "
         "of micro-batches. The loss is already a mean over all anchors.", 0.7),
        (_gradient(model, losses.nt_xent(model(view1), model(view2).detach(), _TAU)),
         "your gradient flows through view 1 only.", 0.5),
    ]
    if not torch.allclose(found, right, atol=1e-5):
        for other, sentence, score in wrong:
            if torch.allclose(found, other, atol=1e-5):
                raise Mistake(sentence, score)
        factor = _length(found, right)
        if factor is not None:
            raise Mistake(f"your gradient has the right direction and {factor:.3g} times the right "
                          "length. Was something added twice, a mean taken where dL/dz is to be "
                          "summed, or a sign turned?", 0.6)
        cosine = F.cosine_similarity(found, right, dim=0)
        raise Mistake("your gradient is not that of the whole batch; its cosine with it is "
                      f"{cosine:.3f}. Compare dL/dz of your first pass with autograd's.", 0.1)
    if largest > 6:
        raise Mistake(f"the gradient is right, but the graphs of {largest} views were held at "
                      "once; at most 6, two of each picture of a micro-batch, were allowed. The "
                      "first pass needs no graph, and each graph of the second is used at once.",
                      0.5)
    return "the gradient of the whole batch, with the memory of a micro-batch."


def _partial(model: nn.Module, view1: torch.Tensor, view2: torch.Tensor, rows: slice,
             views: tuple[int, ...] = (0, 1), swap: bool = False) -> torch.Tensor:
    """The whole batch's dL/dz pushed through some rows of some views only."""
    with torch.no_grad():
        z = [model(view) for view in (view1, view2)]
    z = [part.requires_grad_() for part in z]
    wishes = torch.autograd.grad(losses.nt_xent(*z, _TAU), z)
    wishes = wishes[::-1] if swap else wishes
    total = sum((model((view1, view2)[i][rows]) * wishes[i][rows]).sum() for i in views)
    return _gradient(model, total)


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
        if _matches(values, [_rate({"linear": "sqrt", "sqrt": "linear"}[rule], n * k)
                             for n, k in cases]):
            raise Mistake(f"rule {rule!r} gives the rate of the other rule.", score)
        if _matches(values, [_rate(rule, n / k) for n, k in cases]):
            raise Mistake(f"rule {rule!r}: you divide by the number of processes. Together they "
                          "take more pictures in a step, not fewer.", score)
        if _matches(values, [_rate(rule, n + k) for n, k in cases]):
            raise Mistake(f"rule {rule!r}: pictures of a process *times* processes.", score)
        if _matches(values, [0.3 * (n * k // 256) for n, k in cases]):
            raise Mistake(f"rule {rule!r}: // drops what is left over; a batch of 128 has half the "
                          "rate, not none.", score)
        if rule == "sqrt" and _matches(values, [0.075 * n * math.sqrt(k) for n, k in cases]):
            raise Mistake("rule 'sqrt': the root is of the whole batch, not of the number of "
                          "processes.", score)
        if rule == "sqrt" and _matches(values, [0.075 * (n * k)**2 for n, k in cases]):
            raise Mistake("rule 'sqrt': that is a square; the root was asked for.", score)
        factors = [v / _rate(rule, n * k) for v, (n, k) in zip(values, cases, strict=True)]
        if _matches(values, [n * k for n, k in cases]):
            raise Mistake(f"rule {rule!r}: that is the batch itself; the rate is a constant times "
                          "it, or times its root.", max(score, 0.3))
        if _matches(factors, [factors[0]] * len(cases)):
            raise Mistake(f"rule {rule!r}: every rate is {factors[0]:.3g} times the paper's. The "
                          "batch is right, the constant is not.", max(score, 0.3))
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
        (6 / 24, "your answer is in days; hours were asked for.", 0.7),
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
    if _matches(values, [1 / f for f in form(6)]):
        raise Mistake("that is upside down: what is done stands above the line, the speed below.",
                      0.5)
    if values == [float(int(f)) for f in form(6)]:
        raise Mistake("you cut off what is behind the point; a short run takes less than an hour.",
                      0.7)
    for missing, name in (((p for p, *_ in cases), "number of pictures"),
                          ((f for _, _, f, _ in cases), "cost of a view"),
                          ((1 / s for *_, s in cases), "speed")):
        if _matches(values, [f / m for f, m in zip(form(6), missing, strict=True)]):
            raise Mistake(f"the {name} is missing.", 0.4)
    if _matches(values, [f * s * s for f, (*_, s) in zip(form(6), cases, strict=True)]):
        raise Mistake("you multiply by the speed; divide.", 0.4)
    factors = [v / f for v, f in zip(values, form(6), strict=True)]
    if _matches(factors, [factors[0]] * 3):
        raise Mistake(f"your answer is {factors[0]:.3g} times the right one, whatever the run: two "
                      "views, three forward passes each, 3,600 seconds an hour. Which of them is "
                      "counted twice, or not?", 0.4)
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

"""Checkers of notebook 04."""

from __future__ import annotations

import torch
from torch import nn

from simclr_tut import losses
from simclr_tut.checks._common import call, compare, number, seeded
from simclr_tut.checks._runner import Mistake, checker


@checker(points=2)
def hold_then_fall(candidate) -> str:
    """``candidate(step, steps)``: 1 for the first half of the steps, then a straight line to 0."""
    for steps in (10, 100):
        half = steps // 2
        rates = [number(call(candidate, step, steps), f"the rate at step {step}")
                 for step in range(steps)]
        right = [1.0 if s < half else (steps - 1 - s) / (steps - 1 - half) for s in range(steps)]
        near = [1.0 if s < half else (steps - s) / (steps - half) for s in range(steps)]
        if max(abs(a - b) for a, b in zip(rates, near, strict=True)) < 1e-6:
            continue  # 0 is reached at step `steps`, one after the last: as good
        if max(rates) > 1.5:
            raise Mistake(f"return the share of the full rate, at most 1; you return "
                          f"{max(rates):.3g}.", 0.5)
        if abs(rates[0] - 1) > 1e-6:
            raise Mistake(f"the first step must have the full rate, 1; yours has {rates[0]:.3g}.",
                          0.3)
        if min(rates) < 0:
            raise Mistake("the rate becomes negative: the weights would climb the loss.", 0.4)
        if abs(rates[half - 1] - 1) > 1e-6:
            raise Mistake("the rate falls before half of the steps are done: in Python 3 does your "
                          "division give what you think?", 0.4)
        drops = [a - b for a, b in zip(rates[half:-1], rates[half + 1:], strict=True)]
        if max(drops) - min(drops) > 1e-6:
            raise Mistake("the fall is not a straight line: equal steps, equal drops.", 0.5)
        if rates[-1] > 2 / steps + 1e-6:
            raise Mistake(f"the last step still has {rates[-1]:.2f} of the rate: the line must end "
                          "at zero.", 0.5)
        compare(torch.tensor(rates), torch.tensor(right), (), "the line starts or ends a step too "
                "early or too late: half of the steps at 1, zero at the last.", 1e-6)
    return "full rate for half of the steps, then a straight line to zero."


@checker(points=3)
def rank_of(candidate) -> str:
    """``candidate(z)``: the effective rank, exp of the entropy of normalised singular values."""
    flat = torch.outer(seeded(30), seeded(6, seed=1))
    even = torch.eye(6)
    for z, name in ((seeded(40, 6), "random"), (even, "even"), (flat, "rank one")):
        singular = torch.linalg.svdvals(z)
        value = number(call(candidate, z), f"the effective rank of a {name} matrix")
        shares, squares = singular / singular.sum(), singular**2 / (singular**2).sum()

        def entropy(p: torch.Tensor) -> torch.Tensor:
            return -torch.special.xlogy(p, p).sum()

        compare(value, losses.effective_rank(z), (
            (entropy(shares), "that is the entropy; its exponential counts directions.", 0.6),
            (entropy(squares).exp(), "you square the singular values, as for variances; the "
                                     "effective rank uses the values themselves.", 0.7),
            (torch.exp(-entropy(shares)), "the sign of the entropy is turned.", 0.6),
            (float(torch.linalg.matrix_rank(z)), "that is the plain rank, which noise makes full.",
             0.3),
            (1 / (shares**2).sum(), "that is the participation ratio, a related measure.", 0.5),
            (torch.pow(2.0, entropy(shares)), "take the exponential to the base of the logarithm.",
             0.6),
            (entropy(singular).exp(), "divide the singular values by their sum first.", 0.5),
            (losses.effective_rank(z - z.mean(0)), "you subtract the mean; here it is not.", 0.7),
        ), f"for a {name} matrix you return {value:.4g}, expected between 1 and 6.", 2e-3)
    return "1 for parallel rows, 6 for six equal directions, right in between."


@checker(points=3)
def step_in_order(candidate) -> str:
    """``candidate(model, views, optimizer, objective)``: one whole training step."""
    def run(step) -> tuple[list[torch.Tensor], object, list[float]]:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        views, seen = (seeded(8, 4), seeded(8, 4, seed=1)), []

        def objective(model, views):
            value = losses.nt_xent(model(views[0]), model(views[1]), 0.5)
            seen.append(float(value.detach()))
            return value

        for _ in range(3):
            result = step(model, views, optimizer, objective)
        return [p.detach().clone() for p in model.parameters()], result, seen

    def right(model, views, optimizer, objective):
        optimizer.zero_grad()
        loss = objective(model, views)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def adding(model, views, optimizer, objective):
        loss = objective(model, views)
        loss.backward()
        optimizer.step()
        return loss.detach()

    if not callable(candidate):
        raise Mistake(f"hand in a function; got {type(candidate).__name__}.")
    weights, result, seen = run(candidate)
    expected, _, expected_seen = run(right)
    start = run(lambda *_: torch.zeros(()))[0]

    def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
        return all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True))

    if same(weights, start):
        raise Mistake("after three steps no weight has changed: is optimizer.step() missing, or "
                      "does zero_grad() come between backward() and step()?", 0.3)
    if same(weights, run(adding)[0]):
        raise Mistake("gradients of earlier steps are added up: zero_grad() is missing.", 0.4)
    if len(seen) == 6:
        raise Mistake("the objective is computed twice in a step: keep its value.", 0.5)
    if not same(weights, expected):
        raise Mistake("the weights move, but not by one step of the optimiser on this loss: "
                      "backward once, step once.", 0.3)
    if not isinstance(result, torch.Tensor):
        raise Mistake(f"the step is right; return the loss as a tensor, got "
                      f"{type(result).__name__}.", 0.7)
    if result.requires_grad:
        raise Mistake("the step is right, but the loss you return still holds its graph: a list of "
                      "such losses fills the memory. Return loss.detach().", 0.8)
    compare(result, expected_seen[-1], (), "the step is right; return the loss *before* the step.",
            1e-5)
    return "gradients cleared, one step taken, the loss returned without its graph."

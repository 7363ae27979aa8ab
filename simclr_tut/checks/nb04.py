"""Checkers of notebook 04."""

from __future__ import annotations

import math

import torch
from torch import nn

from simclr_tut import losses, training
from simclr_tut.checks._common import call, compare, number, seeded
from simclr_tut.checks._runner import Mistake, checker


@checker(points=2, answers=(training.warmup_cosine,))
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
        if max(rates[half:]) == 0:
            raise Mistake("the rate falls to 0 at once; a straight line was asked for.", 0.4)
        if rates[half] < 0.75:
            raise Mistake(f"the rate jumps to {rates[half]:.2f} after half of the steps: the line "
                          "has to start at 1 there.", 0.5)
        drops = [a - b for a, b in zip(rates[half:-1], rates[half + 1:], strict=True)]
        if max(drops) - min(drops) > 1e-6:
            raise Mistake("the fall is not a straight line: equal steps, equal drops.", 0.5)
        if rates[-1] > 2 / steps + 1e-6:
            raise Mistake(f"the last step still has {rates[-1]:.2f} of the rate: the line must end "
                          "at zero.", 0.5)
        compare(torch.tensor(rates), torch.tensor(right), (), "the line starts or ends a step too "
                "early or too late: half of the steps at 1, zero at the last.", 1e-6)
    return "full rate for half of the steps, then a straight line to zero."


@checker(points=3, answers=(losses.effective_rank,))
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
            (entropy(singular / singular.norm()).exp(), "divide by the sum of the singular values, "
             "not by their norm.", 0.5),
            (entropy(singular.softmax(0)).exp(), "shares are the values divided by their sum, not "
                                                 "their softmax.", 0.5),
            (losses.effective_rank(nn.functional.normalize(z, dim=1)), "you normalise the rows "
             "first; here nothing is done to z.", 0.6),
            (singular.sum() / singular.max(), "that is the sum over the largest, a related "
                                              "measure.", 0.4),
            (losses.effective_rank(z - z.mean(0)), "you subtract the mean; here it is not.", 0.7),
        ), f"for a {name} matrix you return {value:.4g}, expected between 1 and 6.", 2e-3)
    return "1 for parallel rows, 6 for six equal directions, right in between."


@checker(points=3, answers=(training.train_step,))
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

    if not all(torch.isfinite(weight).all() for weight in weights):
        raise Mistake("after three steps a weight is NaN or infinite: what is the loss divided by?")
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
    compare(number(result, "the loss you return"), expected_seen[-1], (),
            "the step is right; return the loss *before* the step.", 1e-5)
    return "gradients cleared, one step taken, the loss returned without its graph."


@checker(points=3, answers=(training.warmup_cosine,))
def cosine_to_a_floor(candidate) -> str:
    """``candidate(step, steps, warmup, lowest)``: a line up to 1, half a cosine down to lowest."""
    def compare_at(steps: int, warmup: int, lowest: float) -> None:
        rates = torch.tensor([number(call(candidate, step, steps, warmup, lowest),
                                     f"the rate at step {step}") for step in range(steps)])
        step = torch.arange(steps).double()

        def rate(last: int = steps, rise: torch.Tensor = step + 1, start: int = warmup,
                 turn: float = math.pi, low: float = lowest, line: bool = False) -> torch.Tensor:
            done = ((step - start) / (last - start)).clamp(0, 1)
            fall = 1 - done if line else 0.5 * (1 + (turn * done).cos())
            return torch.where(step < warmup, rise / warmup, low + (1 - low) * fall)

        # The lowest rate may be reached at the last step or one after it.
        if any(torch.allclose(rates.double(), rate(end), atol=1e-5) for end in (steps, steps - 1)):
            return
        wrong = [
            (rate(rise=step), "the first step has the rate 0 and is lost: with w steps of warm-up "
                              "step s has (s + 1) / w.", 0.7),
            (rate(rise=torch.ones(()) * warmup), "there is no warm-up: the first steps have the "
                                                 "full rate.", 0.5),
            (rate(low=0.0), "the cosine falls to 0; it should end at the lowest rate.", 0.5),
            (rate(low=0.0) + lowest * (step >= warmup), "you add the lowest rate to a whole "
             "cosine, so that it begins above 1: stretch the cosine between 1 and the lowest.",
             0.6),
            (rate(low=0.0) + lowest, "you add the lowest rate to everything, so that the peak is "
                                     "above 1.", 0.5),
            (rate(low=0.0).clamp_min(lowest), "you cut the curve off at the lowest rate; it should "
                                              "glide there at the end.", 0.6),
            (rate(start=0), "the cosine counts from step 0; it begins when the warm-up ends.", 0.6),
            (rate(turn=2 * math.pi), "a whole turn brings the rate up again: half a cosine ends at "
                                     "pi.", 0.5),
            (rate(turn=math.pi / 2), "a quarter of a turn ends half way: half a cosine ends at "
                                     "pi.", 0.5),
            (rate(line=True), "the fall is a straight line; a cosine was asked for.", 0.5),
        ]
        for other, sentence, score in wrong:
            if lowest and (torch.allclose(rates.double(), other, atol=1e-5)):
                raise Mistake(sentence, score)
        if rates.max() > 1 + 1e-5:
            raise Mistake(f"return the share of the full rate, at most 1; you return "
                          f"{float(rates.max()):.3g}.", 0.3)
        raise Mistake(f"for {steps} steps with {warmup} of warm-up and lowest {lowest} you have "
                      f"{float(rates[0]):.3g} at the start, {float(rates[warmup]):.3g} after the "
                      f"warm-up and {float(rates[-1]):.3g} at the end. Plot it.")

    for case in ((50, 10, 0.1), (200, 20, 0.02), (30, 5, 0.0)):
        compare_at(*case)
    return "up a straight line, down half a cosine, and never below the lowest rate."


@checker(points=1)
def count_steps(candidate) -> str:
    """A number: steps of 20 epochs over 45,000 pictures in batches of 256, the rest left out."""
    value = number(candidate, "the number of steps")
    compare(value, 20 * (45_000 // 256), (
        (45_000 // 256, "that is one epoch.", 0.5),
        (20 * 176, "you count the last, smaller batch of each epoch; it is left out, since the "
                   "loss depends on N.", 0.7),
        (45_000 * 20 / 256, "an epoch has whole batches only: round down before you multiply.",
         0.6),
        (45_000 * 20 // 256, "round down in each epoch: pictures left over are not carried into "
                             "the next.", 0.7),
        (2 * 20 * (45_000 // 256), "you count views. A batch is counted in pictures: 256 pictures "
                                   "are 512 views.", 0.5),
        (20 * (90_000 // 256), "you count views. A batch is counted in pictures: 256 pictures are "
                               "512 views.", 0.5),
        (20 * (45_000 // 512), "256 is the number of pictures in a batch, not of views.", 0.5),
        (20 * 45_000, "those are pictures.", 0.3),
    ), f"you say {value:g}. How many whole batches has an epoch?", 1e-9)
    return "175 whole batches an epoch, 3,500 steps."


@checker(points=2)
def enough_rows(candidate) -> str:
    """A number of rows: the first of 16 … 1,024 where noise in 64 dimensions shows rank 0.95 D."""
    value, tried = number(candidate, "the number of rows"), [2**p for p in range(4, 11)]
    if value not in tried:
        raise Mistake(f"answer with one of {tried}; got {value:g}.")
    ranks = {n: float(losses.effective_rank(seeded(n, 64, seed=n))) for n in tried}
    right = next(n for n in tried if ranks[n] > 0.95 * 64)
    if value == right:
        return (f"{right} rows show about {ranks[right]:.0f} of 64, while {right // 4} rows show "
                f"only about {ranks[right // 4]:.0f}: compare ranks at equal numbers of rows.")
    if value < 64:
        raise Mistake(f"{value:g} rows span at most {value:g} directions: the rank cannot be above "
                      "that.", 0.2)
    if value == 64:
        raise Mistake(f"with as many rows as dimensions the rank of noise is {ranks[64]:.0f}, not "
                      "64: chance makes singular values unequal.", 0.4)
    if value < right:
        raise Mistake(f"{value:g} rows give {ranks[int(value)]:.1f}; 0.95 of 64 is 60.8.", 0.6)
    raise Mistake(f"{value:g} rows are enough, but fewer are, too.", 0.6)

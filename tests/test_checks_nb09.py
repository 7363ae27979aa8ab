"""Notebook 09's checkers: the solutions pass, typical mistakes are named, nothing escapes."""

import math

import pytest
import torch

from simclr_tut import checks, losses


def joined(parts, first=lambda z: z, second=lambda z: z):
    halves = [part.chunk(2) for part in parts]
    return (torch.cat([first(one) for one, _ in halves]),
            torch.cat([second(two) for _, two in halves]))


def solution_loss(parts, temperature):
    return losses.nt_xent(*joined(parts), temperature)


def alone(parts, temperature):
    return [losses.nt_xent(*part.chunk(2), temperature) for part in parts]


def in_place(parts, temperature):
    with torch.no_grad():
        for part in parts:
            part.mul_(2)
    return solution_loss(parts, temperature)


LOSS_OF_ALL = [
    (solution_loss, "reaches every process", 1.0),
    (lambda p, t: losses.nt_xent_naive(*joined(p), t), "reaches every process", 1.0),
    (lambda p, t: losses.nt_xent(*torch.cat(p).chunk(2), t), "halved afterwards", 0.5),
    (lambda p, t: sum(alone(p, t)) / len(p), "mean of the processes' own", 0.3),
    (lambda p, t: sum(alone(p, t)), "sum of the processes' own", 0.2),
    (lambda p, t: 2 * solution_loss(p, t), "twice the mean", 0.6),
    (lambda p, t: solution_loss(p, 0.1), "temperature of its own", 0.6),
    (lambda p, t: solution_loss([p[0], *[q.detach() for q in p[1:]]], t), "1 of 3 processes", 0.6),
    (lambda p, t: losses.nt_xent(*joined(p, torch.Tensor.detach), t), "gradient is not", 0.6),
    (lambda p, t: solution_loss(p, t).detach(), "no gradient", 0.5),
    (lambda p, t: solution_loss(p, t).item(), "as a tensor", 0),
    (lambda p, t: solution_loss(p, t) * math.nan, "the loss is nan", 0),
    (lambda p, t: torch.zeros(3), "as a tensor", 0),
    (in_place, "changes the embeddings", 0.3),
    (lambda p, t: p[0].sum(), "NT-Xent of all N", 0),
    (lambda p: 0, "TypeError", 0),
    (None, "not attempted", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), LOSS_OF_ALL)
def test_loss_of_all(candidate, said, score):
    result = checks.loss_of_all(candidate)
    assert said in result.message and result.score == score


def solution_gradient(model, view1, view2, micro, temperature, first=torch.no_grad, scale=1.0):
    with first():
        z1 = torch.cat([model(v) for v in view1.split(micro)])
        z2 = torch.cat([model(v) for v in view2.split(micro)])
    z1, z2 = z1.detach().requires_grad_(), z2.detach().requires_grad_()
    losses.nt_xent(z1, z2, temperature).backward()
    model.zero_grad()
    for views, z in ((view1, z1), (view2, z2)):
        for part, wish in zip(views.split(micro), z.grad.split(micro), strict=True):
            model(part).backward(wish * scale)


def accumulated(model, view1, view2, micro, temperature, scale=1.0, whole=False):
    parts = zip(view1.split(micro), view2.split(micro), strict=True)
    for a, b in parts:
        loss = losses.nt_xent(model(a), model(b), temperature)
        (loss * scale * micro / len(view1)).backward()


def at_once(model, view1, view2, micro, temperature, detach=False):
    z2 = model(view2)
    losses.nt_xent(model(view1), z2.detach() if detach else z2, temperature).backward()


def gradient_in_place(model, view1, view2, micro, temperature):
    solution_gradient(model, view1, view2, micro, temperature)
    view1.zero_()


def noisy(model, *arguments):
    solution_gradient(model, *arguments)
    for parameter in model.parameters():
        parameter.grad += 0.1


def not_a_number(model, *arguments):
    solution_gradient(model, *arguments)
    next(model.parameters()).grad.fill_(math.nan)


CACHED_GRADIENT = [
    (solution_gradient, "memory of a micro-batch", 1.0),
    (accumulated, "plain accumulation", 0.3),
    (lambda *a: accumulated(*a, scale=4), "sum over micro-batches", 0.2),
    (lambda *a: solution_gradient(*a, scale=0.25), "too short", 0.7),
    (lambda *a: at_once(*a, detach=True), "view 1 only", 0.5),
    (at_once, "24 views were held", 0.5),
    (lambda *a: None, "no gradient", 0),
    (gradient_in_place, "changes the views", 0.3),
    (noisy, "its cosine", 0.1),
    (not_a_number, "NaN", 0),
    (lambda *a: 1 / 0, "ZeroDivisionError", 0),
    (7, "TypeError", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), CACHED_GRADIENT)
def test_cached_gradient(candidate, said, score):
    result = checks.cached_gradient(candidate)
    assert said in result.message and result.score == score


def rate(per_process, processes, rule, count=1, root=0.075):
    batch = count * per_process * processes
    return 0.3 * batch / 256 if rule == "linear" else root * math.sqrt(batch)


SCALED_RATE = [
    (rate, "both rules", 1.0),
    (lambda n, k, r: torch.tensor(rate(n, k, r)), "both rules", 1.0),
    (lambda n, k, r: rate(n, 1, r), "number of processes", 0.2),
    (lambda n, k, r: rate(n, k if r == "linear" else 1, r), "number of processes", 0.5),
    (lambda n, k, r: rate(n, k, r, count=2), "counts views", 0.2),
    (lambda n, k, r: rate(n, k, r, root=0.3 / 16), "which is 1.2 there", 0.5),
    (lambda n, k, r: rate(n, k, "linear"), "Is the argument used", 0.5),
    (lambda n, k, r: 0.3, "same for every batch", 0.1),
    (lambda n, k, r: n * k, "that is the batch itself", 0.3),
    (lambda n, k, r: 1 + n / k, "Work out the global batch", 0.2),
    (lambda n, k, r: "0.3", "return one number", 0),
    (lambda n, k, r: math.inf, "division by zero", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), SCALED_RATE)
def test_scaled_rate(candidate, said, score):
    result = checks.scaled_rate(candidate)
    assert said in result.message and result.score == score


def hours(pictures, epochs, flops, speed, factor=6.0):
    return pictures * epochs * flops * factor / speed / 3600


TRAINING_HOURS = [
    (hours, "in hours", 1.0),
    (lambda *a: hours(*a, factor=6 * 3600), "in seconds", 0.7),
    (lambda *a: hours(*a, factor=6 * 60), "in minutes", 0.7),
    (lambda *a: hours(*a, factor=3), "one view of each", 0.5),
    (lambda *a: hours(*a, factor=2), "forward pass only", 0.5),
    (lambda *a: hours(*a, factor=1), "factor of six", 0.2),
    (lambda *a: hours(*a, factor=4), "as much as forward", 0.6),
    (lambda p, e, f, s: hours(p, 1, f, s), "one epoch", 0.5),
    (lambda *a: 3.0, "Multiply what is done", 0),
    (lambda *a: None, "return one number", 0),
    (lambda *a: math.nan, "your answer is nan", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), TRAINING_HOURS)
def test_training_hours(candidate, said, score):
    result = checks.training_hours(candidate)
    assert said in result.message and result.score == score

"""Checkers of notebook 05."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from simclr_tut.checks._common import call, compare, number, pair, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


def _votes(similarity: torch.Tensor, labels: torch.Tensor, k: int, largest: bool = True,
           weights: bool = False) -> torch.Tensor:
    values, nearest = similarity.topk(k, dim=1, largest=largest)
    weight = (values / 0.1).exp() if weights else torch.ones_like(values)
    votes = torch.zeros(len(similarity), int(labels.max()) + 1)
    return votes.scatter_add_(1, labels[nearest], weight).argmax(1)


@checker(points=3)
def majority_knn(candidate) -> str:
    """``candidate(bank, labels, queries, k)``: the class most of the k nearest have, by cosine."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)  # noise: every detail shows
    lengths = torch.rand(200, 1, generator=generator) * 4 + 0.2
    bank, queries, k = seeded(200, 6) * lengths, seeded(120, 6, seed=3), 15
    cosine = F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T
    counts = F.one_hot(labels[cosine.topk(k, dim=1).indices], 3).sum(1).sort(dim=1).values
    clear = counts[:, 2] > counts[:, 1]  # a tie may be broken in any way
    right = _votes(cosine, labels, k)
    value = tensor(call(candidate, bank, labels, queries, k), (120,), "the predictions",
                   integer=True)
    if (value < 0).any() or (value > 2).any():
        raise Mistake("predictions must be classes, 0 to 2; you may have returned rows of the "
                      "bank. Look their labels up.", 0.3)

    def share(other: torch.Tensor) -> float:
        return float((value == other)[clear].float().mean())

    wrong = (
        (_votes(cosine, labels, k, weights=True), "your votes are weighted by similarity; each "
                                                  "neighbour has one vote here.", 0.6),
        (_votes(queries @ bank.T, labels, k), "you use the plain product: long vectors win. "
                                              "Normalise both sides.", 0.5),
        (_votes(cosine, labels, k, largest=False), "you take the k least similar.", 0.4),
        (_votes(-torch.cdist(queries, bank), labels, k), "you use distance; by cosine was asked.",
         0.6),
        (_votes(cosine, labels, 1), "only the nearest votes: k is not used.", 0.4),
        (_votes(cosine, labels, k + 1), "k + 1 neighbours vote.", 0.7),
    )
    if share(right) == 1:
        return "the majority of the k nearest by cosine, for every query."
    for other, sentence, score in wrong:
        if share(other) > 0.99:
            raise Mistake(sentence, score)
    raise Mistake(f"{100 * share(right):.0f} % of the predictions are right. Cosine, topk, labels "
                  "of the neighbours, most frequent one.", 0.0)


@checker(points=3)
def honest_top1(candidate) -> str:
    """``candidate(features, labels) -> float``: share of pictures whose nearest other agrees."""
    labels = torch.arange(60) % 4
    features = F.one_hot(labels, 4).float() @ seeded(4, 5) + seeded(60, 5, seed=1)
    features = features * torch.linspace(0.2, 5, 60)[torch.randperm(
        60, generator=torch.Generator().manual_seed(2))][:, None]
    features[1:16:2] = features[0:16:2]  # duplicates: whoever drops "the first hit" keeps itself

    def top1(similarity: torch.Tensor) -> float:
        return float((labels[similarity.argmax(1)] == labels).float().mean())

    unit = F.normalize(features, dim=1)
    cosine = unit @ unit.T
    value = number(call(candidate, features, labels), "top-1")
    right = top1(cosine.clone().fill_diagonal_(-torch.inf))
    second = float((labels[cosine.topk(2, dim=1).indices[:, 1]] == labels).float().mean())
    if abs(value - 100 * right) < 1e-4:
        raise Mistake("you return a percentage; the course uses fractions.", 0.8)
    compare(value, right, (
        (top1(cosine), "every picture finds itself: set the diagonal to minus infinity first.",
         0.2),
        (top1(cosine.clone().fill_diagonal_(0)), "a diagonal of 0 still wins where all others "
                                                 "point away: use minus infinity.", 0.6),
        (top1((features @ features.T).fill_diagonal_(-torch.inf)),
         "you compare by plain product: long vectors are everybody's neighbour. Normalise the "
         "features; to normalise the matrix of products afterwards changes no order.", 0.5),
        (second, "dropping the first hit goes wrong for duplicates: mask the diagonal.", 0.7),
        (1 - right, "that is the share that is wrong.", 0.6),
    ), f"you return {value:.4f}. Cosine, mask the diagonal, argmax, compare labels.", 1e-5)
    return "right, and a duplicate does not fool it."


@checker(points=2)
def t_interval(candidate) -> str:
    """``candidate(values) -> (low, high)``: 95 % interval of the mean of a few runs."""
    for values in ([0.61, 0.58, 0.63, 0.6, 0.59], [43.0, 47.0, 41.0]):
        result = pair(call(candidate, list(values)), "return two numbers: return low, high.")
        low, high = (number(v, "an end of the interval") for v in result)
        n, mean, spread = len(values), np.mean(values), np.std(values, ddof=1)
        t = stats.t.ppf(0.975, n - 1)
        if abs((low + high) / 2 - mean) > 1e-6:
            raise Mistake("the interval must lie evenly about the mean.", 0.2)
        compare((high - low) / 2, t * spread / np.sqrt(n), (
            (1.96 * spread / np.sqrt(n), "1.96 is for many runs. With so few the spread itself is "
                                         "uncertain: Student's t with n - 1 degrees of freedom.",
             0.7),
            (t * spread, "that is the spread of single runs; the mean of n is surer by the root of "
                         "n.", 0.5),
            (spread, "that is one standard deviation.", 0.3),
            (spread / np.sqrt(n), "that is one standard error.", 0.4),
            (t * np.std(values) / np.sqrt(n), "divide by n - 1 in the variance: ddof=1.", 0.7),
            (stats.t.ppf(0.95, n - 1) * spread / np.sqrt(n), "0.95 leaves 5 % on each side: use "
                                                             "0.975.", 0.7),
            (stats.t.ppf(0.975, n) * spread / np.sqrt(n), "n runs leave n - 1 degrees of freedom.",
             0.8),
            (1.96 * np.std(values) / np.sqrt(n), "use Student's t, and n - 1 in the variance.",
             0.5),
        ), f"for {values} your half width is {(high - low) / 2:.4g}.", 1e-6)
    return "mean, t and the root of n are all in their places."

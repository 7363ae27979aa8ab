"""Checkers of notebook 05."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from simclr_tut import evaluation
from simclr_tut.checks._common import call, compare, number, pair, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


def _votes(similarity: torch.Tensor, labels: torch.Tensor, k: int, largest: bool = True,
           weights: bool = False) -> torch.Tensor:
    values, nearest = similarity.topk(k, dim=1, largest=largest)
    weight = (values / 0.1).exp() if weights else torch.ones_like(values)
    votes = torch.zeros(len(similarity), int(labels.max()) + 1)
    return votes.scatter_add_(1, labels[nearest], weight).argmax(1)


@checker(points=3, answers=(evaluation.knn_predict,))
def majority_knn(candidate) -> str:
    """``candidate(bank, labels, queries, k)``: the class most of the k nearest have, by cosine."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)  # noise: every detail shows
    lengths = torch.rand(200, 1, generator=generator) * 4 + 0.2
    bank, queries, k = seeded(200, 6) * lengths, seeded(120, 6, seed=3), 15
    cosine = F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T
    near = labels[cosine.topk(k, dim=1).indices]
    counts = F.one_hot(near, 3).sum(1).sort(dim=1).values
    clear = counts[:, 2] > counts[:, 1]  # a tie may be broken in any way
    right = _votes(cosine, labels, k)
    value = call(candidate, bank, labels, queries, k)
    if isinstance(value, torch.Tensor) and value.shape == (120, k):
        raise Mistake("you return k numbers for each query: look up the neighbours' labels and "
                      "return the most frequent one.", 0.3)
    value = tensor(value, (120,), "the predictions", integer=True)
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
        (_votes(F.normalize(queries, dim=0) @ F.normalize(bank, dim=0).T, labels, k),
         "you normalise over the batch; a feature vector is a row: dim=1.", 0.5),
        (near.float().mean(1).round().long(), "you take the mean of the labels. Class numbers are "
         "names: 0 and 2 do not make 1.", 0.3),
        (near.median(1).values, "you take the median of the labels; the most frequent one is the "
                                "mode.", 0.4),
    )
    if share(right) == 1:
        return "the majority of the k nearest by cosine, for every query."
    for other, sentence, score in wrong:
        if share(other) > 0.99:
            raise Mistake(sentence, score)
    raise Mistake(f"{100 * share(right):.0f} % of the predictions are right. Cosine, topk, labels "
                  "of the neighbours, most frequent one.", 0.0)


@checker(points=3, answers=(evaluation.retrieval,))
def honest_top1(candidate) -> str:
    """``candidate(features, labels) -> float``: share of pictures whose nearest other agrees."""
    labels = torch.arange(60) % 4
    features = F.one_hot(labels, 4).float() @ seeded(4, 5) + seeded(60, 5, seed=1)
    features = features * torch.linspace(0.2, 5, 60)[torch.randperm(
        60, generator=torch.Generator().manual_seed(2))][:, None]
    features = features + 2 * features.norm(dim=1, keepdim=True)  # all point to one side …
    features[59] = -features[:20].mean(0)  # … but one, to which all others are opposite
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
        (60 * right, "that is a number of pictures; divide it by their number.", 0.7),
        (float((labels[cosine.argmin(1)] == labels).float().mean()), "you take the least similar "
         "picture.", 0.4),
        (top1((-torch.cdist(features, features)).fill_diagonal_(-torch.inf)), "you compare by "
         "distance; by cosine was asked.", 0.6),
        (float((labels[cosine.clone().fill_diagonal_(-torch.inf).topk(5, 1).indices]
                == labels[:, None]).any(1).float().mean()), "that is top-5: one of five is right.",
         0.5),
    ), f"you return {value:.4f}. Cosine, mask the diagonal, argmax, compare labels.", 1e-5)
    return "right, and a duplicate does not fool it."


@checker(points=2, answers=(evaluation.interval,))
def t_interval(candidate) -> str:
    """``candidate(values) -> (low, high)``: 95 % interval of the mean of a few runs."""
    for values in ([0.61, 0.58, 0.63, 0.6, 0.59], [43.0, 47.0, 41.0]):
        result = pair(call(candidate, list(values)), "return two numbers: return low, high.")
        low, high = (number(v, "an end of the interval") for v in result)
        n, mean, spread = len(values), np.mean(values), np.std(values, ddof=1)
        t = stats.t.ppf(0.975, n - 1)
        if low > high:
            raise Mistake("low and high are exchanged.", 0.7)
        if abs(low - min(values)) + abs(high - max(values)) < 1e-9:
            raise Mistake("those are the lowest and the highest run; the *mean* is surer.", 0.2)
        if abs((low + high) / 2 - mean) > 1e-6:
            raise Mistake("the interval must lie evenly about the mean. (Percentiles of a few runs "
                          "do not.)", 0.2)
        compare((high - low) / 2, t * spread / np.sqrt(n), (
            (1.96 * spread / np.sqrt(n), "1.96 is for many runs. With so few the spread itself is "
                                         "uncertain: Student's t with n - 1 degrees of freedom.",
             0.7),
            (2 * spread / np.sqrt(n), "2 is a round figure for many runs: Student's t with n - 1 "
                                      "degrees of freedom.", 0.6),
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


@checker(points=3, answers=(evaluation.knn_predict,))
def vote_shares(candidate) -> str:
    """``candidate(bank, labels, queries, k, temperature)``: each class's share of the vote."""
    labels = torch.arange(40) % 3
    lengths = torch.linspace(0.3, 3, 40)[:, None]
    bank, queries = seeded(40, 5, seed=8) * lengths, seeded(9, 5, seed=9)

    def compare_at(k: int, temperature: float) -> None:
        value = tensor(call(candidate, bank, labels, queries, k, temperature), (9, 3),
                       "the shares").float()
        cosine = F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T

        def share(scores: torch.Tensor, weigh, k: int = k, normal: bool = True) -> torch.Tensor:
            near, rows = scores.topk(k, dim=1)
            votes = torch.zeros(9, 3).scatter_add_(1, labels[rows], weigh(near))
            return votes / votes.sum(1, keepdim=True) if normal else votes

        def right(scores: torch.Tensor, **changes) -> torch.Tensor:
            return share(scores, lambda near: (near / temperature).exp(), **changes)

        totals = right(cosine, normal=False)
        compare(value, right(cosine), (
            (totals, "those are the sums of the weights: divide each row by its sum, so that the "
                     "shares add up to 1.", 0.6),
            (share(cosine, torch.ones_like), "each neighbour has one vote; here its weight is "
                                             "exp(cosine / temperature).", 0.4),
            (share(cosine, torch.exp), "the temperature is missing.", 0.5),
            (share(cosine, lambda near: (near * temperature).exp()), "the temperature divides the "
             "cosine; you multiply.", 0.5),
            (share(cosine, lambda near: near), "you weigh by the cosine itself; its exponential, "
             "after division by the temperature, is what counts.", 0.5),
            (right(cosine, k=40), "the whole bank votes: k is not used.", 0.4),
            (right(cosine, k=k + 1), "k + 1 neighbours vote.", 0.7),
            (right(queries @ bank.T), "you use the plain product: long vectors win. Normalise both "
                                      "sides.", 0.5),
            (totals.softmax(1), "a softmax over the summed weights is not their share: divide by "
                                "the sum.", 0.5),
            (totals / totals.sum(0, keepdim=True), "the shares of one query add up to 1: divide "
             "by the sum over classes, dim=1.", 0.5),
            (F.one_hot(totals.argmax(1), 3).float(), "those are the winners; their shares were "
                                                     "asked for.", 0.4),
        ), f"with k = {k} and temperature {temperature} the first query gets "
           f"{[round(v, 3) for v in value[0].tolist()]}. topk, exp, scatter_add_, divide.")

    compare_at(7, 0.5)
    compare_at(15, 0.1)
    return "the weights of the k nearest, added up by class, as shares of 1."


@checker(points=3, answers=(evaluation.fit_probe, evaluation.linear_probe))
def probe_by_hand(candidate) -> str:
    """``candidate(train_h, train_y, test_h)``: classes of a linear probe on standardised h."""
    draw = torch.Generator().manual_seed(11)
    centres = 2.2 * torch.randn(4, 6, generator=draw)

    def sample(labels: torch.Tensor) -> torch.Tensor:
        return centres[labels] + torch.randn(len(labels), 6, generator=draw)

    # Class 3 is rare, features have an offset and units of their own, one of them is constant.
    train_y = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), 300, True, generator=draw)
    test_y = torch.arange(200) % 4
    some_y = torch.zeros(60, dtype=torch.int64)  # one class only: its own mean would mislead
    far = 8 * torch.randn(2, 500, 6, generator=draw)  # pairs of points, and what lies between
    lines = torch.cat([*far, far.mean(0)])
    units = torch.tensor([100.0, 1.0, 0.01, 5.0, 1.0, 30.0, 0.0])
    train_h, test_h, some_h = (
        torch.cat([x, torch.zeros(len(x), 1)], 1) * units + 3 * units + 1
        for x in (sample(train_y), torch.cat([sample(test_y), lines]), sample(some_y)))
    given = call(candidate, train_h, train_y, test_h)
    if isinstance(given, torch.Tensor) and given.dim() == 2 and len(given) == len(test_h):
        raise Mistake(f"you return {tuple(given.shape)}, scores of each class: the class with the "
                      "highest one was asked for (argmax).", 0.5)
    if isinstance(given, torch.Tensor) and given.shape == train_y.shape:
        raise Mistake("you return one answer for each training picture: apply the probe to "
                      "test_h.", 0.3)
    every = tensor(given, (len(test_h),), "the predictions", integer=True)
    if (every < 0).any() or (every > 3).any():
        raise Mistake(f"predictions must be classes, 0 to 3; yours reach {int(every.max())}.", 0.2)
    value, ends, middle = every.split((200, 1000, 500))

    def accuracy(predictions: torch.Tensor, labels: torch.Tensor = test_y) -> float:
        return float((predictions == labels).float().mean())

    if len(value.unique()) == 1:
        raise Mistake(f"every picture gets class {int(value[0])}. Has the optimiser taken a step, "
                      "and are the features standardised? NaN makes argmax answer 0.", 0.2)
    if accuracy(value) < 0.4:
        raise Mistake(f"only {100 * accuracy(value):.0f} % are right, where guessing gives 25 %. "
                      "Does the loss fall when you print it, and do the features you predict from "
                      "get the same treatment as those you train on?", 0.1)
    spread = train_h.std(0).clamp_min(1e-6)
    for scale in (1.0, spread):
        nearest = train_y[torch.cdist(test_h[:200] / scale, train_h / scale).argmin(1)]
        if float((value == nearest).float().mean()) > 0.995:
            raise Mistake("that is the nearest training picture, not a linear map.", 0.2)
    if accuracy(value) < 0.93:
        raise Mistake(f"{100 * accuracy(value):.0f} % are right, where logistic regression on "
                      "standardised features has 99 %. Features here have different units: "
                      "subtract the mean, divide by the spread, and train until the loss stands "
                      "still.", 0.4)
    own = call(candidate, train_h, train_y, some_h)
    if accuracy(own, some_y) < 0.7:
        raise Mistake("test pictures of one class alone are told apart wrongly: you standardise "
                      "test features by their own mean. Use that of the training features.", 0.6)
    # A linear map: if both ends of a line get a class, so does its middle.
    alike = ends[:500] == ends[500:]
    if not bool((middle == ends[:500])[alike].all()):
        raise Mistake("two points get a class and the point half way between them another: no "
                      "linear map does that. One matrix and a bias, no hidden layer.", 0.4)
    return (f"{100 * accuracy(value):.0f} % with one matrix, also where units differ and where the "
            "test set is lopsided.")


@checker(points=1)
def whole_bank(candidate) -> str:
    """A number: accuracy of a majority vote of the whole, unbalanced bank on balanced queries."""
    value = number(candidate, "the accuracy")
    compare(value, 0.2, (
        (1 / 3, "a third of the bank is of class 0, so class 0 wins every vote. How many of the "
                "*queries* are of class 0?", 0.5),
        (0.5, "one class wins every vote. What share of the queries has it?", 0.3),
        (0.0, "class 0 is right for the queries of class 0.", 0.4),
        (1.0, "all queries get the same answer, whatever they show.", 0.2),
        (1 / 6, "a sixth of the bank is of each other class; which class wins the vote?", 0.4),
        (20.0, "give a fraction, not a percentage.", 0.8),
        (0.25, "five classes, not four.", 0.5),
    ), f"you say {value:.3g}. When all 300 pictures vote, which class wins, for which query?", 1e-2)
    return "everybody is called class 0, and one query in five is: k has an upper end."


@checker(points=2)
def real_coverage(candidate) -> str:
    """A share: how often mean ± 1.96 standard errors of five normal runs holds the true mean."""
    value = number(candidate, "the share")
    right = float(stats.t.cdf(1.96, 4) - stats.t.cdf(-1.96, 4))
    if abs(value - right) < 0.012:
        return (f"about {100 * right:.0f} %, not 95: with five runs the spread itself is a guess. "
                "Student's t is wider for that reason.")
    biased = float(2 * stats.t.cdf(1.96 * np.sqrt(4 / 5), 4) - 1)
    for wrong, sentence, score in (
        (biased, "that is with the variance divided by n; divide by n - 1 (ddof=1).", 0.6),
        (0.95, "that is what 1.96 promises for many runs, or what Student's t keeps. Simulate "
               "1.96 with five.", 0.3),
        (1 - right, "that is how often it misses.", 0.7),
        (100 * right, "give a fraction, not a percentage.", 0.8),
        (float(2 * stats.t.cdf(1.96 / np.sqrt(5), 4) - 1), "you divide by the root of n twice.",
         0.4),
        (float(2 * stats.t.cdf(1.96 * np.sqrt(5), 4) - 1), "you leave out the root of n: that is "
         "the spread of single runs.", 0.4),
    ):
        if abs(value - wrong) < 0.012:
            raise Mistake(sentence, score)
    raise Mistake(f"you say {value:.3g}. Draw five normal numbers some ten thousand times; count "
                  "how often 0 lies within 1.96 standard errors of their mean.")

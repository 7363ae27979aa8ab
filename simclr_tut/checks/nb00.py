"""Checkers of notebook 00."""

from __future__ import annotations

import torch

from simclr_tut import evaluation, shapes
from simclr_tut.checks._common import call, compare, measured, number, pair, pictures, tensor
from simclr_tut.checks._runner import Mistake, checker


@checker(points=2)
def majority_baseline(candidate) -> str:
    """``candidate(labels) -> float``: accuracy of always guessing the most frequent class."""
    for labels in (torch.tensor([9, 9, 9, 9, 0, 1, 2, 4, 4, 5, 0]),
                   torch.tensor([5, 5, 0, 0, 0, 7, 8])):
        counts = labels.bincount()
        value = number(call(candidate, labels), "the accuracy")
        share = float(counts.max() / len(labels))
        compare(value, share, (
            (int(counts.argmax()), "you return the class itself; what share of the pictures has "
                                   "it?", 0.5),
            (100 * share, "you return a percentage; the course uses fractions from 0 to 1.", 0.7),
            (float(counts.max()), "you return a count; divide by the number of pictures.", 0.6),
            (1 / len(labels.unique()), "that is chance for classes of equal size. One class is "
                                       "more frequent here.", 0.3),
            (1 / len(counts), "that is one over the number of classes; some classes are more "
                              "frequent, and some numbers name no class.", 0.3),
            (1 - share, "that is how often you are wrong.", 0.7),
            (float((labels == labels.median()).float().mean()), "that is the share of the class "
             "in the middle; class numbers are names, without an order.", 0.3),
            (float(counts.float().mean() / len(labels)), "that is the mean share; which class "
                                                         "would you guess?", 0.3),
        ), f"for labels {labels.tolist()} you return {value:.3g}. Which class would you always "
           "guess, and how often are you right?")
    return "right, also where some class numbers do not occur."


@checker(points=3)
def rotation_pretext(candidate) -> str:
    """``candidate(images) -> (rotated, labels)``: turned by a drawn number of quarter turns."""
    images = pictures(64)
    torch.manual_seed(0)
    result = pair(call(candidate, images),
                  "return two things, the turned pictures and the labels: return rotated, labels.")
    rotated = tensor(result[0], (64, 3, 32, 32), "the turned pictures")
    labels = tensor(result[1], (64,), "the labels", integer=True)
    if set(labels.tolist()) <= {0, 90, 180, 270} and labels.max() > 3:
        raise Mistake("the labels are degrees; number the four classes 0, 1, 2 and 3.", 0.5)
    if labels.max() == 4 and labels.min() >= 0:
        raise Mistake("label 4 is a whole turn, which is no turn: torch.randint(0, 4, ...) draws 0 "
                      "to 3.", 0.5)
    if not set(labels.tolist()) <= {0, 1, 2, 3}:
        raise Mistake("the labels must be 0, 1, 2 or 3 quarter turns; got "
                      f"{sorted(set(labels.tolist()))[:6]}.", 0.3)
    if len(labels.unique()) == 1:
        raise Mistake(f"all pictures are turned by {int(labels[0])} quarter turns: draw one number "
                      "for each picture, or there is nothing to predict.", 0.3)
    if len(labels.unique()) < 4:
        raise Mistake("some turns never occur: torch.randint(0, 4, ...) leaves the upper end out.",
                      0.6)

    def turned(sign: int) -> torch.Tensor:
        return torch.stack([picture.rot90(sign * int(k), (1, 2))
                            for picture, k in zip(images, labels, strict=True)])

    if torch.equal(rotated.to(images.dtype), images):
        raise Mistake("the pictures are not turned at all. torch.rot90 returns a new tensor; keep "
                      "what it returns.", 0.3)
    if rotated.is_floating_point() and any(
            torch.allclose(rotated.float() * scale, turned(sign).float(), atol=1e-2)
            for sign in (1, -1) for scale in (255, 1 / 255)):
        raise Mistake("the pictures are turned as their labels say, but their values have changed: "
                      "turn them and leave the bytes alone.", 0.8)
    if not any(torch.equal(rotated.to(images.dtype), turned(sign)) for sign in (1, -1)):
        ways = [any(torch.equal(r.to(images.dtype), p.rot90(k, (1, 2))) for k in range(4))
                for r, p in zip(rotated, images, strict=True)]
        if all(ways):
            raise Mistake("each picture is turned, but not by as many quarter turns as its label "
                          "says. Draw once, and use the same numbers twice.", 0.5)
        raise Mistake("the pictures are changed, but not by quarter turns of height and width: "
                      "the dimensions to turn are (1, 2) of one picture, (2, 3) of a batch.", 0.3)
    torch.manual_seed(1)
    if torch.equal(call(candidate, images)[1], labels):
        raise Mistake("two calls give the same labels: no seed inside the function, please.", 0.7)
    return "every picture is turned as its label says, with a new draw in every call."


@checker(points=1)
def kinds_of_learning(candidate) -> str:
    """Four letters: U unsupervised, S supervised, F self-supervised."""
    key = "USFF"  # k-means; a classifier; colouring grey pictures; the next word of a text
    if not isinstance(candidate, str) or len(candidate.replace(" ", "")) != 4:
        raise Mistake('answer with a string of four letters out of U, S and F, such as "UUSS".')
    given = candidate.upper().replace(" ", "")
    if set(given) - set("USF"):
        raise Mistake(f"only U, S and F are answers; got {candidate!r:.40}.")
    hints = ("1: where would k-means take a target from?", "2: who wrote the classes?",
             "3: what is the target, and who wrote it?", "4: what is the target, and who wrote it?")
    right = [a == b for a, b in zip(given, key, strict=True)]
    if not all(right):
        raise Mistake(f"{sum(right)} of 4 are right. Look again at {hints[right.index(False)]}",
                      sum(right) / 4)
    return "all four are right: what counts is where the target comes from."


@checker(points=2)
def colour_and_grey(candidate) -> str:
    """Two numbers: kNN for the shape on raw pixels of shapes, in colour and in grey."""
    said = measured(candidate, 2, "in colour, in grey")
    bank, queries = shapes.make_shapes(1000, 0), shapes.make_shapes(400, 1)

    def vote(of, factor: str = "shape", k: int = 20, turned: bool = False) -> float:
        a, b = (queries, bank) if turned else (bank, queries)
        labels = [(p.factors[factor] * 10).long() if factor == "hue" else p.factors[factor]
                  for p in (a, b)]
        return evaluation.knn_accuracy(of(a.images), labels[0], of(b.images), labels[1], k)

    def grey(images: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([0.2989, 0.587, 0.114])
        return torch.einsum("c,nchw->nhw", weights, images.float() / 255).flatten(1)

    right = [vote(evaluation.raw_pixels), vote(grey)]
    compare(torch.tensor(said), torch.tensor(right), (
        (right[::-1], "you have them in the other order: colour first, then grey.", 0.7),
        ([100 * value for value in right], "give fractions, not percentages.", 0.8),
        ([right[0]] * 2, "both are the value in colour: were the grey pictures handed to the vote?",
         0.4),
        ([right[1]] * 2, "both are the value in grey.", 0.4),
        (lambda: [vote(of, k=200) for of in (evaluation.raw_pixels, grey)],
         "that is with 200 neighbours, the default; 20 were asked for.", 0.6),
        (lambda: [vote(of, "hue") for of in (evaluation.raw_pixels, grey)],
         "that is the vote for the hue, cut in ten; the labels are factors['shape'].", 0.5),
        (lambda: [vote(of, turned=True) for of in (evaluation.raw_pixels, grey)],
         "bank and queries are exchanged: the 1,000 pictures of seed 0 are the bank.", 0.6),
        ([1.0, 1.0], "a picture is among its own neighbours: bank and queries are two sets.", 0.2),
    ), f"measured here: something else than {said[0]:.3g} and {said[1]:.3g}. Seeds 0 and 1, 1,000 "
       "and 400 pictures, k = 20, labels factors['shape'].", 0.02)
    return (f"{100 * right[0]:.0f} % in colour, {100 * right[1]:.0f} % in grey: colour helps this "
            "vote, although it was drawn without looking at the shape.")

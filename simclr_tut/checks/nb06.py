"""Checkers of notebook 06."""

from __future__ import annotations

import torch

from simclr_tut import evaluation
from simclr_tut.checks._common import call, compare, letter, number, pair, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


@checker(points=3, answers=(evaluation.ridge_r2,))
def factor_r2(candidate) -> str:
    """``candidate(train_x, train_y, test_x, test_y)``: R2 of a ridge probe on held-out pictures."""
    # Few pictures and unlike units: penalty, intercept and standardising all show.
    for seed, (n, f, noise) in enumerate(((30, 5, 0.8), (40, 12, 2.0))):
        weights = seeded(f, seed=seed)
        train_x, test_x = (seeded(n, f, seed=10 + seed + s) * (0.2 + torch.arange(f)) + 3
                           for s in (0, 50))
        # doubled, or the root of the error is near what a mistake below gives
        train_y, test_y = (2 * (x @ weights / f + 9 + noise * seeded(n, seed=20 + seed + s))
                           for s, x in ((0, train_x), (60, test_x)))
        data = train_x, train_y, test_x, test_y
        value = number(call(candidate, *data), "your R2")
        right = evaluation.ridge_r2(*data)
        fitted = _ridge(*data)
        correlation = float(torch.corrcoef(torch.stack([fitted, test_y]))[0, 1])
        error, centred = (fitted - test_y).square(), (test_y - test_y.mean()).square()
        compare(value, right, (
            (evaluation.ridge_r2(train_x, train_y, train_x, train_y),
             "that is R2 on the pictures the probe was fitted to. Predict the test pictures.", 0.4),
            (_r2(_ridge(*data, intercept=False), test_y),
             "your probe has no intercept: centre the targets, and add their mean back.", 0.5),
            (_r2(_ridge(test_x, test_y, test_x, test_y), test_y),
             "you fit the probe to the test pictures.", 0.3),
            (_r2(_ridge(train_x, train_y, test_x, test_y, own_scale=True), test_y),
             "you standardise the test features by their own mean and spread; use those of the "
             "training features.", 0.6),
            (_r2(_ridge(*data, joint_scale=True), test_y),
             "you standardise with training and test pictures together; the test pictures must not "
             "take part.", 0.6),
            (_r2(_ridge(*data, scale=False), test_y),
             "you do not standardise the features: the penalty then depends on their units.", 0.7),
            (_r2(_ridge(*data, strength=0.0), test_y),
             "your probe has no penalty: add 1 to the diagonal of X'X.", 0.7),
            *((_r2(_ridge(*data, strength=s), test_y), f"your penalty is {s:g} where 1 was asked "
              "for: the unit matrix, as it is.", 0.7) for s in (2.0, 10.0, 100.0, n,
                                                                1 / n)),
            (_r2(fitted - train_y.mean() + test_y.mean(), test_y), "you add the mean of the *test* "
             "targets to the predictions, which nobody knows beforehand.", 0.5),
            (_r2(fitted - train_y.mean(), test_y), "add the mean of the training targets back to "
             "the predictions.", 0.6),
            (_r2(_ridge(*data, penalise_intercept=True), test_y), "your intercept is penalised "
             "with the weights: centre the targets instead of adding a column of ones.", 0.6),
            (_r2(_ridge(*data, correction=1), test_y), "all but one thing: the spread with "
             "correction=0 was asked for.", 0.9),
            (float(error.mean().sqrt()), "that is the root of the mean squared error: R2 compares "
                                         "the errors with the spread.", 0.4),
            (float(fitted.var() / test_y.var()), "that is the spread of the predictions over that "
             "of the targets; R2 looks at the errors.", 0.4),
            (float(1 - (fitted - test_y).var() / test_y.var()), "you take the variance of the "
             "errors, which forgives a wrong mean: sum their squares.", 0.7),
            (float(1 - error.sum() / (fitted - fitted.mean()).square().sum()), "you divide by the "
             "spread of the predictions; R2 has that of the test targets.", 0.6),
            (float(1 - error.sum() / test_y.square().sum()), "subtract the mean of the test "
             "targets before you square them below the line.", 0.6),
            (float(1 - error.mean() / centred.sum()), "a mean above the line and a sum below it: "
             "take the same of both.", 0.6),
            (float(1 - (error.sum() / centred.sum()).sqrt()), "no root: R2 is made of squares.",
             0.6),
            (float(1 - error.sqrt().sum() / centred.sqrt().sum()), "R2 is made of squares, not of "
             "absolute errors.", 0.5),
            (correlation**2, "that is the squared correlation, which forgives a wrong scale and a "
                             "wrong mean. R2 compares the errors with the spread.", 0.6),
            (correlation, "that is the correlation.", 0.4),
            (float(error.mean()), "that is the mean squared error: divide it by the variance of "
                                  "the test targets, and take it from 1.", 0.5),
            (1 - right, "that is the share not explained: 1 minus it.", 0.7),
            (float(1 - error.sum() / (test_y - train_y.mean()).square().sum()),
             "you compare with the mean of the training targets; R2 uses that of the test targets.",
             0.8),
            (right * 100, "give a share, not a percentage.", 0.8),
        ), f"for {n} pictures with {f} features you return {value:.4g}, expected {right:.4g}.",
            2e-4)
    return "the probe is fitted to training pictures and judged on others; 0 is the mean guess."


@checker(points=3)
def plant_bits(candidate) -> str:
    """``candidate(view1, view2, bits)``: each image's bits as white or black pixels, bottom row."""
    n, size, count = 6, 8, 5
    view1, view2 = (torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(s)) * 0.8
                    + 0.1 for s in (0, 1))
    bits = torch.rand(n, count, generator=torch.Generator().manual_seed(2)) < 0.5

    def paint(view: torch.Tensor, bits: torch.Tensor, place: str = "bottom", white: float = 1.0,
              channels: slice = slice(None)) -> torch.Tensor:
        out = view.clone()
        values = bits.float()[:, None] * white
        if place == "bottom":
            out[:, channels, -1, :count] = values
        elif place == "top":
            out[:, channels, 0, :count] = values
        elif place == "column":
            out[:, channels, :count, -1] = values
        elif place == "right end":
            out[:, :, -1, -count:] = values
        elif place == "left column":
            out[:, :, :count, 0] = values
        elif place == "one row up":
            out[:, :, -2, :count] = values
        elif place == "two rows":
            out[:, :, -2:, :count] = values[:, :, None]
        elif place == "whole row":
            out[:, :, -1] = 0
            out[:, :, -1, :count] = values
        elif place == "product":
            out[:, :, -1, :count] = out[:, :, -1, :count] * values
        elif place == "sign":
            out[:, :, -1, :count] = 2 * values - 1
        elif place == "only white":
            out[:, :, -1, :count] = torch.where(bits[:, None], 1.0, out[:, :, -1, :count])
        return out

    result = pair(call(candidate, view1, view2, bits),
                  "return two views, (view1, view2), both with the bits.")
    made = torch.stack([tensor(v, (n, 3, size, size), f"view {i}").float()
                        for i, v in enumerate(result, 1)])

    def both(**changes: object) -> torch.Tensor:
        return torch.stack([paint(view1, bits, **changes), paint(view2, bits, **changes)])

    shuffled = torch.stack([paint(view1, bits), paint(view2, bits.roll(1, 0))])
    overrun = both().clone()  # view[:, -1, :, :b]: the last *channel*
    overrun[:, :, :, -1, :count] = torch.stack([view1, view2])[:, :, :, -1, :count]
    overrun[:, :, -1, :, :count] = bits.float()[:, None]
    compare(made, both(), (
        (torch.stack([view1, view2]), "no pixel has changed.", 0.1),
        (torch.stack([paint(view1, bits), view2]), "only view 1 has the bits. A shortcut must be "
                                                   "shared by both views.", 0.4),
        (torch.stack([view1, paint(view2, bits)]), "only view 2 has the bits. A shortcut must be "
                                                   "shared by both views.", 0.4),
        (shuffled, "view 2 has the bits of another image: row i of both views shows image i.", 0.4),
        (both(place="top"), "the bits are in the top row; row -1 is the bottom.", 0.7),
        (both(place="column"), "the bits run down the right column: the last two dimensions are "
                               "height, then width.", 0.6),
        (both(place="right end"), "bit j belongs to column j: the bits stand at the right end.",
         0.7),
        (both(place="left column"), "the bits run up or down the left column: the last two "
                                    "dimensions are height, then width.", 0.6),
        (both(place="one row up"), "the bits are one row too high: row -1 is the bottom.", 0.7),
        (both(place="two rows"), "two rows carry the bits; one was asked for.", 0.7),
        (both(place="whole row"), "the rest of the bottom row has become black; leave it.", 0.7),
        (both(place="product"), "a product with the bits leaves the picture where a bit is 1: "
                                "assign white and black.", 0.6),
        (both(place="sign"), "black is 0, not -1.", 0.6),
        (both(white=0.5), "white is 1; yours is grey.", 0.6),
        (torch.stack([paint(v, bits.flip(1)) for v in (view1, view2)]), "the bits stand in reverse "
         "order: bit 0 is at the left.", 0.6),
        (both().flip(0), "you return view 2 first.", 0.7),
        (overrun, "dimension 1 holds the channels: you painted the blue channel of these "
                  "columns. Rows are dimension 2.", 0.5),
        (torch.stack([paint(view1, bits)] * 2), "both of your views are view 1.", 0.4),
        (torch.stack([paint(view2, bits)] * 2), "both of your views are view 2.", 0.4),
        ((255 * both()).byte().float(), "you return bytes; the views stay floats from 0 to 1.",
         0.6),
        (both().byte().float(), "turned into bytes, every value below 1 becomes 0: keep floats.",
         0.4),
        (both(white=255.0), "white is 1 in a float picture, not 255.", 0.6),
        *((both(channels=slice(c, c + 1)), f"only the {name} channel is painted; a white pixel is "
           "1 in all three.", 0.6) for c, name in enumerate(("red", "green", "blue"))),
        (both(place="only white"), "a bit of 0 must be painted black; you leave the picture.", 0.6),
        (torch.stack([paint(view1, ~bits), paint(view2, ~bits)]), "black and white are swapped.",
         0.6),
        (torch.stack([paint(v, bits[:1].expand(n, -1)) for v in (view1, view2)]),
         "every image has the bits of the first: they must tell the images apart.", 0.4),
    ), "the pixels differ from: bottom row, first columns, 1 where the bit is true, 0 where it is "
       "not, all else unchanged.", 1e-6)
    return "both views of an image carry its bits, and nothing else has changed."


@checker(points=2)
def false_negative_share(candidate) -> str:
    """``candidate(labels)``: share of the negatives of 2N views that show the anchor's class."""
    for classes, n in ((3, 14), (10, 64)):
        labels = torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(n))
        labels[:3] = 0  # a class more frequent than the others
        value = call(candidate, labels)
        if isinstance(value, torch.Tensor) and value.shape in ((n,), (2 * n,)):
            raise Mistake("you return a share for each view; take their mean.", 0.6)
        value = number(value, "your share")
        same = (labels[:, None] == labels).sum(1).double()  # images of the class, itself included
        right = float((2 * same - 2).mean() / (2 * n - 2))
        compare(value, right, (
            (float((2 * same - 1).mean() / (2 * n - 1)), "you count the positive as a negative: "
             "2N - 2 views remain without the anchor and its positive.", 0.6),
            (float((2 * same - 1).mean() / (2 * n - 2)), "you count the positive among the false "
             "negatives.", 0.6),
            (float((2 * same).mean() / (2 * n)), "you count the anchor itself and its positive.",
             0.5),
            (float((2 * same - 2).mean() / (2 * n)), "divide by the negatives, 2N - 2, not by all "
             "2N views.", 0.7),
            (float((same - 1).mean() / (2 * n - 2)), "each other picture of the class has two "
             "views: two false negatives, not one.", 0.5),
            (float((2 * same).mean() / (2 * n - 2)), "the anchor and its positive are no "
             "negatives: take one picture off the class.", 0.5),
            (float((2 * same - 2).mean() / (2 * n - 1)), "divide by the negatives, 2N - 2: the "
             "positive is none.", 0.7),
            (float((2 * same - 2).mean() / (n - 1)), "you count views above the line and pictures "
             "below it.", 0.6),
            (float((2 * same - 1).mean() / (2 * n)), "you count the positive, and divide by all 2N "
             "views: take both off, above and below.", 0.5),
            (float((same - 2).mean() / (n - 1)), "you take off two pictures; the anchor and its "
             "positive are views of one.", 0.6),
            (float((2 * same - 2).sum() / (2 * n - 2)), "you add up over the anchors; take "
             "their mean.", 0.7),
            (right / (1 - right), "that is false over true negatives; the share is of all.", 0.6),
            (float(labels.bincount().max() / n), "that is the share of the most frequent class.",
             0.3),
            (1 / classes, "that is one in K, which holds on average for many images. Count the "
             "labels of this batch.", 0.4),
            (float((2 * same - 2).mean()), "that is a number of views; divide it by the number of "
             "negatives.", 0.7),
            (1 - right, "that is the share of true negatives.", 0.6),
            (100 * right, "give a share, not a percentage.", 0.8),
        ), f"for {n} images you return {value:.7g}, expected {right:.7g}.", 1e-6)
    return "each anchor's negatives are the 2N - 2 views of other images, counted by class."


@checker(points=1)
def lost_factor(candidate) -> str:
    """The factor that views from mirroring alone teach an encoder to forget: one letter."""
    sentences = {
        "A": "mirroring leaves the colours as they are: both views share the hue, and nothing asks "
             "the encoder to drop it.",
        "C": "mirroring leaves sizes as they are: both views share the scale, and nothing asks the "
             "encoder to drop it.",
        "D": "y is the height in the picture, and mirroring swaps left and right.",
    }
    chosen = letter(candidate, "ABCD")
    if chosen in sentences:
        raise Mistake(sentences[chosen])
    return "x and 1 - x become one: what the views disagree on cannot identify the picture."


def _ridge(train_x: torch.Tensor, train_y: torch.Tensor, test_x: torch.Tensor, test_y: torch.Tensor,
           strength: float = 1.0, intercept: bool = True, scale: bool = True,
           own_scale: bool = False, penalise_intercept: bool = False,
           correction: int = 0, joint_scale: bool = False) -> torch.Tensor:
    """Predictions of ridge regression for the test pictures, in closed form, float64."""
    train_x, train_y, test_x = train_x.double(), train_y.double(), test_x.double()
    seen = torch.cat([train_x, test_x]) if joint_scale else train_x
    mean, spread = seen.mean(0), seen.std(0, correction=correction) if scale else 1.0
    x = (train_x - mean) / spread
    offset = train_y.mean() if intercept else 0.0
    if penalise_intercept:
        one = torch.ones(len(x), 1, dtype=x.dtype)
        x, offset = torch.cat([x, one], 1), 0.0
        test_x = torch.cat([(test_x - mean) / spread, one[:1].expand(len(test_x), 1)], 1)
        mean, spread = 0.0, 1.0
    if own_scale:
        mean, spread = test_x.mean(0), test_x.std(0, correction=0)
    eye = torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + strength * eye, x.T @ (train_y - offset))
    return ((test_x - mean) / spread @ weights + offset).float()


def _r2(fitted: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(1 - (fitted - wanted).square().sum()
                 / (wanted - wanted.mean()).square().sum())

"""Checkers of notebook 03."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from simclr_tut import losses
from simclr_tut.checks._common import call, compare, number, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


@checker(points=3, answers=(losses.info_nce,))
def across_views(candidate) -> str:
    """``candidate(z1, z2, temperature)``: each view 1 against all view 2, mean over N."""
    z1 = seeded(10, 5) * 2
    z2 = z1 + seeded(10, 5, seed=1)
    for temperature in (0.5, 0.1):
        value = call(candidate, z1, z2, temperature)
        if isinstance(value, torch.Tensor) and value.shape == (10,):
            raise Mistake("you return one loss for each anchor; take their mean.", 0.6)
        if isinstance(value, torch.Tensor) and value.numel() == 1 and float(value) > 1e4:
            raise Mistake("the diagonal is masked. Here it holds the positives: view 1 and view 2 "
                          "of a picture are different rows.", 0.4)
        value = number(value, "the loss")
        unit1, unit2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
        logits, target = unit1 @ unit2.T / temperature, torch.arange(10)
        right = F.cross_entropy(logits, target)
        others = logits.masked_fill(torch.eye(10, dtype=torch.bool), -torch.inf)
        compare(value, right, (
            (losses.nt_xent(z1, z2, temperature),
             "that is the full NT-Xent, with 2N anchors and views of the same kind as negatives.",
             0.4),
            (F.cross_entropy(z1 @ z2.T / temperature, target), "normalise the embeddings first.",
             0.5),
            (10 * right, "you sum over the anchors; take the mean.", 0.7),
            (F.cross_entropy(logits.T, target), "your anchors are view 2; view 1 was asked for.",
             0.7),
            ((right + F.cross_entropy(logits.T, target)) / 2,
             "that is the mean of both directions; only view 1 is an anchor here.", 0.7),
            (right + F.cross_entropy(logits.T, target),
             "you add both directions; only view 1 is an anchor here.", 0.6),
            (F.cross_entropy(unit1 @ unit2.T * temperature, target),
             "the temperature divides the cosines; you multiply.", 0.4),
            (F.cross_entropy(unit1 @ unit2.T, target), "the temperature is missing.", 0.4),
            ((others.logsumexp(1) - logits.diagonal()).mean(),
             "the positive is missing from the denominator.", 0.4),
            (-right, "the sign is wrong: a good match must give a small loss.", 0.4),
            (F.cross_entropy(F.normalize(z1, dim=0) @ F.normalize(z2, dim=0).T / temperature,
                             target), "you normalise over the batch; an embedding is a row: dim=1.",
             0.5),
            (logits.flatten().logsumexp(0) - logits.diagonal().mean(), "the softmax runs over the "
             "whole matrix; each row is a question of its own: dim=1.", 0.5),
            (-logits.diagonal().mean(), "only the positive's score is in it: what does it compete "
                                        "with?", 0.2),
            (-logits.softmax(1).diagonal().mean(), "the logarithm is missing: -log of the share.",
             0.5),
            (F.cross_entropy(logits.softmax(1), target), "cross_entropy takes scores; it makes the "
             "softmax itself.", 0.5),
            (F.cross_entropy(logits, target.roll(1)), "row i's answer is column i: the N views 2 "
             "stand in the same order as the N views 1.", 0.4),
            (F.cross_entropy(logits, torch.zeros_like(target)), "the target is column 0 for every "
             "row; row i's answer is column i.", 0.4),
            (F.cross_entropy(-torch.cdist(z1, z2) / temperature, target), "you compare by "
             "distance; by cosine was asked.", 0.4),
            (F.cross_entropy(unit1 @ unit1.T / temperature, target), "you compare view 1 with view "
             "1.", 0.3),
            (F.cross_entropy(logits / temperature, target), "you divide by the temperature twice.",
             0.6),
        ), f"at temperature {temperature} you return {value:.4g}. Build the N x N cosines; row i's "
           "answer is column i.")
    one = z1.clone().requires_grad_()
    value = candidate(one, z2, 0.5)
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise Mistake("the value is right, but no gradient reaches z1: return the tensor, not "
                      "float(...) or .item().", 0.7)
    return "right at two temperatures, and its chance level is ln(N)."


@checker(points=3)
def logit_gradient(candidate) -> str:
    """``candidate(logits, positive)``: the gradient of mean cross-entropy by its logits."""
    logits, positive = seeded(8, 8, seed=2) * 2, torch.arange(8).roll(4)
    logits.fill_diagonal_(-torch.inf)
    wanted = F.one_hot(positive, 8).float()
    shares = logits.softmax(1)
    value = tensor(call(candidate, logits, positive), (8, 8), "the gradient")
    held = logits.clone().requires_grad_()
    F.cross_entropy(held, positive).backward()
    columns = logits.softmax(0)
    compare(value, held.grad, (
        (shares - wanted, "the loss is a mean over rows: divide by their number.", 0.7),
        ((wanted - shares) / 8, "the sign is turned: that is the direction of descent.", 0.7),
        (wanted - shares, "the sign is turned, and the mean over rows is missing.", 0.4),
        (shares / 8, "the positive is missing: its share is compared with 1.", 0.4),
        (shares, "the positive and the mean are missing.", 0.2),
        ((shares - wanted) / 4, "divide by the number of rows, 2N, not by N.", 0.7),
        ((shares - wanted) / 64, "divide by the number of rows once; you divide twice, or by all "
                                 "entries.", 0.6),
        ((shares - wanted) * 8, "divide by the number of rows; you multiply.", 0.5),
        ((shares - torch.eye(8)) / 8, "the diagonal is not the positive: `positive` holds its "
                                      "column.", 0.4),
        (shares * (1 - shares) / 8, "that is the derivative of a share by its own score; the loss "
                                    "has a logarithm before it.", 0.3),
        ((columns - wanted) / 8, "softmax runs over the candidates of an anchor: dim=1.", 0.4),
        ((logits.exp() - wanted) / 8, "exp alone is no share: divide by the sum of the row.", 0.4),
        ((logits.sigmoid() - wanted) / 8, "sigmoid treats candidates one by one; here they compete "
                                          "in one softmax.", 0.4),
    ), "the result is none of the usual ones. (share - wanted), divided by the number of rows.",
        1e-5)
    return "equal to autograd's: shares minus what is wanted, over the number of rows."


@checker(points=2)
def room_to_fall(candidate) -> str:
    """``candidate(n, temperature)``: how far NT-Xent can fall, chance minus floor."""
    for n, temperature in ((256, 0.5), (16, 0.1), (4096, 1.0)):
        value = number(call(candidate, n, temperature), "the room")
        chance, floor = losses.chance_loss(n), losses.loss_floor(n, temperature)
        flat = torch.tensor(1 + (2 * n - 2) * torch.tensor(-2 / temperature).exp().item()).log()
        compare(value, chance - floor, (
            (floor - chance, "the sign is turned: chance lies above the floor.", 0.6),
            (chance, "that is chance; the floor is not zero.", 0.4),
            (floor, "that is the floor itself.", 0.4),
            (1 / temperature, "1/temperature is a good guess for large N; the exact value differs.",
             0.5),
            (chance - float(flat), "you let all negatives point the opposite way, at cosine -1. N "
                                   "pictures cannot: their mean cosine is at least -1/(N - 1).",
             0.6),
            (chance - math.log(1 + (2 * n - 2) * math.exp(-1 / temperature)), "you let all "
             "negatives stand at cosine 0; they can do a little better, -1/(N - 1).", 0.6),
            ((chance - floor) / chance, "that is a share of chance; the difference was asked for.",
             0.5),
            (chance + floor, "subtract the floor; you add it.", 0.4),
            (torch.tensor(2.0 * n).log() - floor, "chance is ln(2N - 1): no view is compared with "
                                                  "itself.", 0.6),
        ), f"for N = {n} and temperature {temperature} you return {value:.4g}. Use "
           "losses.chance_loss and losses.loss_floor.", 1e-5)
    return "right for three batches; at temperature 0.5 it is close to 2 nats."


@checker(points=3, answers=(losses.nt_xent, losses.nt_xent_naive))
def with_margin(candidate) -> str:
    """``candidate(z1, z2, temperature, margin)``: NT-Xent with the positive's cosine lowered."""
    z1 = seeded(5, 4, seed=4) * 1.5
    z2 = z1 + seeded(5, 4, seed=5)

    def compare_at(temperature: float, margin: float) -> None:
        value = number(call(candidate, z1, z2, temperature, margin), "the loss")
        z = F.normalize(torch.cat([z1, z2]).double(), dim=1)
        own, positive = torch.eye(10, dtype=torch.bool), torch.arange(10).roll(5)
        hot = F.one_hot(positive, 10).double()
        cosines = z @ z.T

        def loss(cosines: torch.Tensor, shift: torch.Tensor | float = 0.0, keep: bool = False,
                 temperature: float = temperature) -> torch.Tensor:
            logits = (cosines - shift) / temperature
            logits = logits if keep else logits.masked_fill(own, -torch.inf)
            return F.cross_entropy(logits, positive, reduction="none")

        lowered = ((cosines - margin * hot) / temperature).masked_fill(own, -torch.inf)
        top = lowered[torch.arange(10), positive]
        plain = (cosines / temperature).masked_fill(own, -torch.inf).logsumexp(1)
        right = loss(cosines, margin * hot)
        raw = torch.cat([z1, z2]).double()
        compare(value, right.mean(), (
            (loss(cosines).mean(), "the margin is not used, or taken off every cosine, where it "
             "cancels: lower the positive only.", 0.3),
            (loss(cosines, -margin * hot).mean(), "you add the margin to the positive's cosine, "
             "or lower the negatives, which is the same: the task becomes easier.", 0.6),
            ((plain - top).mean(), "the margin is subtracted above the line only: the positive in "
             "the denominator is the same number.", 0.6),
            (loss(cosines, temperature * margin * hot).mean(), "the margin belongs to the cosine: "
             "subtract it before you divide by the temperature.", 0.7),
            (loss(cosines, margin * hot, keep=True).mean(), "each view still competes with itself: "
             "leave k = i out.", 0.5),
            ((lowered.masked_fill(hot.bool(), -torch.inf).logsumexp(1) - top).mean(),
             "the positive is missing from the denominator.", 0.4),
            (right.sum(), "divide by 2N: the loss is a mean over anchors.", 0.7),
            (right.sum() / 5, "divide by 2N, not by N: there are 2N anchors.", 0.7),
            (right[:5].mean(), "only views 1 are anchors; all 2N views are.", 0.6),
            (loss(raw @ raw.T, margin * hot).mean(), "divide the products by the lengths: cosines "
             "were asked for.", 0.5),
            (loss(cosines, margin * hot, temperature=1 / temperature).mean(), "the temperature "
             "divides the cosines; you multiply.", 0.4),
        ), f"at temperature {temperature} and margin {margin} you return {value:.4g}. Margin 0 "
           "must give NT-Xent: does it?")

    compare_at(0.5, 0.3)
    compare_at(0.2, 0.1)
    one = z1.clone().requires_grad_()
    value = candidate(one, z2, 0.5, 0.3)
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise Mistake("the value is right, but no gradient reaches z1: add tensors, not floats.",
                      0.7)
    return "right at two margins, with a gradient; margin 0 is NT-Xent."


@checker(points=3, answers=(losses.nt_xent, losses.nt_xent_naive))
def neighbouring_rows(candidate) -> str:
    """``candidate(z, temperature)``: NT-Xent where rows 2i and 2i + 1 show picture i."""
    z1 = seeded(6, 4, seed=6) * 1.5
    z = torch.stack([z1, z1 + seeded(6, 4, seed=7)], dim=1).flatten(0, 1)  # (2N, D)
    for temperature in (0.5, 0.2):
        value = number(call(candidate, z, temperature), "the loss")
        unit, own = F.normalize(z, dim=1), torch.eye(12, dtype=torch.bool)
        cosines, rows = unit @ unit.T, torch.arange(12)
        logits = (cosines / temperature).masked_fill(own, -torch.inf)
        positive = rows ^ 1  # 0 and 1, 2 and 3, …
        right = F.cross_entropy(logits, positive, reduction="none")
        raw = (z @ z.T / temperature).masked_fill(own, -torch.inf)
        without = logits.scatter(1, positive[:, None], -torch.inf).logsumexp(1)
        compare(value, right.mean(), (
            (losses.nt_xent(z[:6], z[6:], temperature), "you pair row i with row i + N, as in the "
             "lesson; here rows 2i and 2i + 1 belong together.", 0.5),
            (F.cross_entropy(logits, rows.roll(1)), "the positive of row i is not always i + 1, "
             "nor always i - 1: rows 0 and 1 have each other.", 0.5),
            (right[::2].mean(), "only even rows are anchors; all 2N are.", 0.6),
            (F.cross_entropy(cosines / temperature, positive), "each view still competes with "
             "itself: set the diagonal to minus infinity.", 0.5),
            (F.cross_entropy((cosines / temperature).masked_fill(own, 0), positive), "a diagonal "
             "of 0 has a share of exp(0) = 1: use minus infinity.", 0.5),
            (F.cross_entropy(raw, positive), "normalise the embeddings first.", 0.5),
            (F.cross_entropy((cosines * temperature).masked_fill(own, -torch.inf), positive),
             "the temperature divides the cosines; you multiply.", 0.4),
            (right.sum(), "you sum over the anchors; take the mean.", 0.7),
            ((without - logits[rows, positive]).mean(), "the positive is missing from the "
             "denominator.", 0.4),
            (F.cross_entropy(cosines.masked_fill(own, -torch.inf), positive),
             "the temperature is missing.", 0.4),
        ), f"at temperature {temperature} you return {value:.4g}. Which column holds the positive "
           "of row 0, of row 1, of row 2?")
    held = z.clone().requires_grad_()
    value = candidate(held, 0.5)
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise Mistake("the value is right, but no gradient reaches z: return the tensor, not "
                      "float(...) or .item().", 0.7)
    return "right at two temperatures: the order of rows is a convention, the loss is not."


@checker(points=1)
def colder(candidate) -> str:
    """Two letters: what half the temperature does to chance, and to the floor, at equal N."""
    if not isinstance(candidate, str) or len(candidate.replace(" ", "")) != 2 or (
            set(candidate.upper().replace(" ", "")) - set("ABC")):
        raise Mistake('answer with two letters out of A, B and C, such as "AA": chance, then '
                      f"floor; got {candidate!r:.40}.")
    chance, floor = candidate.upper().replace(" ", "")
    if chance != "B":
        raise Mistake("chance: when all cosines are equal, what is each candidate's share? Does "
                      "dividing equal numbers change it?", 0.5 if floor == "A" else 0.0)
    if floor == "B":
        raise Mistake("chance is right. The floor has a temperature in its formula: compute it for "
                      "0.5 and for 0.25.", 0.5)
    if floor == "C":
        raise Mistake("chance is right. The floor: a lower temperature makes the same lead of the "
                      "positive count for more, so can the loss end higher?", 0.5)
    return "chance is ln(2N - 1) at any temperature; a colder softmax lets the loss fall further."

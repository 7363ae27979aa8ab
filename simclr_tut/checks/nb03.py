"""Checkers of notebook 03."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from simclr_tut import losses
from simclr_tut.checks._common import call, compare, number, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


@checker(points=3)
def across_views(candidate) -> str:
    """``candidate(z1, z2, temperature)``: each view 1 against all view 2, mean over N."""
    z1 = seeded(10, 5) * 2
    z2 = z1 + seeded(10, 5, seed=1)
    for temperature in (0.5, 0.1):
        value = number(call(candidate, z1, z2, temperature), "the loss")
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
            (torch.tensor(2.0 * n).log() - floor, "chance is ln(2N - 1): no view is compared with "
                                                  "itself.", 0.6),
        ), f"for N = {n} and temperature {temperature} you return {value:.4g}. Use "
           "losses.chance_loss and losses.loss_floor.", 1e-5)
    return "right for three batches; at temperature 0.5 it is close to 2 nats."

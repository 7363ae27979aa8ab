"""Checkers of notebook 07."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from simclr_tut import losses
from simclr_tut.checks import properties
from simclr_tut.checks._common import number
from simclr_tut.checks._runner import Mistake, checker

_LOSS_PROPERTIES = ("length is free", "chance and floor", "views are equals", "gradient is whole",
                    "memory is square")


def _without_normalising(z1: torch.Tensor, z2: torch.Tensor,
                         temperature: float = 0.5) -> torch.Tensor:
    z = torch.cat([z1, z2])
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))


@checker(points=3)
def temperature_property(candidate) -> str:
    """``candidate(loss) -> bool``: False for a loss that ignores its temperature only."""
    right = {
        "nt_xent": losses.nt_xent,
        "the double loop": losses.nt_xent_naive,
    }
    wrong = {
        "a loss that always uses 0.5": lambda a, b, t=0.5: losses.nt_xent(a, b, 0.5),
        "a loss that always uses 0.05": lambda a, b, t=0.5: losses.nt_xent(a, b, 0.05),
    }

    def answer(loss) -> bool:
        try:
            said = candidate(loss)
        except AssertionError as error:
            raise Mistake("your property raises where it should answer: in place of assert, return "
                          "True or False.", 0.3) from error
        if isinstance(said, torch.Tensor) and said.numel() == 1 and said.is_floating_point():
            raise Mistake("your property returns a number. Compare it with a tolerance and return "
                          "True or False.", 0.4)
        said = bool(said) if isinstance(said, np.bool_) else said
        if not isinstance(said, (bool, torch.Tensor)) or (
                isinstance(said, torch.Tensor) and said.numel() != 1):
            raise Mistake(f"return True or False; your property returned {type(said).__name__}. "
                          "If it uses assert, catch the error and return False.")
        return bool(said)

    said_right = {name: answer(loss) for name, loss in right.items()}
    said_wrong = {name: answer(loss) for name, loss in wrong.items()}
    if all(said_right.values()) and all(said_wrong.values()):
        raise Mistake("your property says True to everything: it cannot fail. On equal embeddings "
                      "the loss is ln(2N - 1) at any temperature; use embeddings that differ.")
    if not any(said_right.values()) and not any(said_wrong.values()):
        raise Mistake("your property says False to everything, right losses too. A right loss has "
                      "another value at another temperature: call it twice, with two temperatures "
                      "far apart, and print both values before you choose a tolerance.")
    if not any(said_right.values()) and all(said_wrong.values()):
        raise Mistake("your answers are exchanged: True must mean that the loss is right.", 0.5)
    if not all(said_right.values()):
        raise Mistake("your property blames a right loss. Is its tolerance too strict, or are its "
                      "inputs drawn anew for each temperature?", 0.3)
    if any(said_wrong.values()):
        raise Mistake("your property lets pass "
                      + next(name for name, said in said_wrong.items() if said)
                      + ". Are your two temperatures far enough apart, and your tolerance small?",
                      0.6)
    if not answer(_without_normalising):
        raise Mistake("your property blames a loss that is not normalised, but uses its "
                      "temperature. One property, one bug: do not compare with nt_xent itself.",
                      0.6)
    if answer(lambda a, b, t=0.5: losses.nt_xent(a, b, 0.5) / t):
        raise Mistake("your property lets pass a loss that always uses 0.5 and divides its final "
                      "value by the temperature. Where must the temperature change nothing? Think "
                      "of equal embeddings.", 0.8)
    return "it finds both losses that ignore their temperature, and blames no other."


@checker(points=3, answers=(losses.nt_xent, losses.nt_xent_naive))
def mended_loss(candidate) -> str:
    """``candidate(z1, z2, temperature)``: NT-Xent with every property of the loss."""
    generator = torch.Generator().manual_seed(5)
    z1, z2 = torch.randn(10, 4, generator=generator), torch.randn(10, 4, generator=generator)
    copies = z1.clone(), z2.clone()
    value = candidate(z1, z2, 0.5)
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise Mistake("return one number as a tensor, so that it can be differentiated; got "
                      f"{tuple(value.shape) if isinstance(value, torch.Tensor) else value!r:.60}.")
    if not torch.equal(z1, copies[0]) or not torch.equal(z2, copies[1]):
        raise Mistake("your function changes its inputs in place. Work on a copy: an operation "
                      "whose name ends in _ writes where it reads.", 0.3)
    if not torch.isfinite(value):
        raise Mistake(f"the loss is {float(value)}. exp overflows, or a row has no candidate left: "
                      "mask with minus infinity and use cross_entropy.")
    rows, own = torch.arange(20), torch.eye(20, dtype=torch.bool)

    def variant(dim: int | None = 1, diagonal: float | None = -torch.inf, factor: float = 2.0,
                target: torch.Tensor | None = None) -> torch.Tensor:
        z = torch.cat([z1, z2])
        z = z if dim is None else F.normalize(z, dim=dim)
        logits = z @ z.T * factor
        return F.cross_entropy(logits if diagonal is None else logits.masked_fill(own, diagonal),
                               rows.roll(10) if target is None else target)

    over_batch, kept, multiplied = variant(dim=0), variant(diagonal=0), variant(factor=0.5)
    unit = F.normalize(torch.cat([z1, z2]), dim=1)
    for wrong, sentence in (
        (over_batch, "you mended the mask and the temperature; F.normalize still runs over the "
                     "batch. A row is an embedding: which dimension holds its numbers?"),
        (kept, "each view still competes with itself: a logit of 0 is a share of exp(0) = 1. Which "
               "logit has a share of exactly 0?"),
        (multiplied, "the temperature multiplies the cosines. A low temperature must sharpen."),
        (variant(diagonal=None), "each view still competes with itself: its cosine of 1 is the "
                                 "largest of all. Which logit has a share of exactly 0?"),
        (variant(dim=None), "you have taken the normalising out; the scores must be cosines."),
        (variant(factor=1.0), "the temperature is not used."),
        (variant(factor=4.0), "you divide by the temperature twice."),
        (variant(target=rows ^ 1), "rows i and i + N show one picture here; you pair neighbouring "
                                   "rows."),
        (-variant(), "the sign is turned: a good match must give a small loss."),
        (20 * variant(), "you add up over the anchors; take the mean."),
        (F.cross_entropy(unit[:10] @ unit[10:].T * 2, rows[:10]), "only views 2 are candidates; "
         "all other views are, of both kinds."),
        (variant(dim=0, diagonal=0), "one bug of three is mended, the temperature. The direction "
         "of the normalising and the diagonal are left."),
        (variant(dim=0, factor=0.5), "one bug of three is mended, the diagonal. The direction of "
         "the normalising and the temperature are left."),
        (variant(diagonal=0, factor=0.5), "one bug of three is mended, the direction of the "
         "normalising. The diagonal and the temperature are left."),
        (variant(dim=0, diagonal=0, factor=0.5), "nothing is mended yet: three bugs, in the first "
         "two lines."),
    ):
        if torch.allclose(value, wrong, atol=1e-5):
            raise Mistake(sentence, 0.0 if "nothing" in sentence else 0.3 if "of three" in sentence
                          else 0.6)
    broken = []
    for name in _LOSS_PROPERTIES:
        try:
            properties.PROPERTIES[name](properties.Pieces(loss=candidate))
        except AssertionError as error:
            broken.append(f"{name}: {error}")
    if broken:
        share = 0.6 * (1 - len(broken) / len(_LOSS_PROPERTIES))
        verb = "is" if len(broken) == 1 else "are"
        raise Mistake(f"{len(broken)} of 5 properties {verb} broken. {broken[0]}.",
                      round(share, 1))
    return "all five properties hold."


@checker(points=2)
def diagnosis(candidate) -> str:
    """Four letters, one a log."""
    if not isinstance(candidate, str):
        raise Mistake('answer with a string of four letters, such as "AABB".')
    letters = "".join(c for c in candidate.upper() if c.isalpha())
    if len(letters) != 4 or set(letters) - set("ABCD"):
        raise Mistake(f"four letters out of A, B, C, D; got {candidate!r:.40}.")
    hints = (
        "log 1: chance is 6.24 and the floor 0.02, so 1.27 is far on its way; what does kNN say?",
        "log 2: a loss of exactly ln(511), and one direction is left.",
        "log 3: at the floor, every positive found, and kNN no better than a random encoder.",
        "log 4: the floor for N = 256 and temperature 0.1 is 0.02. Can NT-Xent be below it?",
    )
    right = [given == key for given, key in zip(letters, _key(), strict=True)]
    if not all(right):
        raise Mistake(f"{sum(right)} of 4 are right. Look again at "
                      + hints[right.index(False)], sum(right) / 4)
    return "all four diagnoses are right."


@checker(points=2)
def half_precision(candidate) -> str:
    """A temperature: the highest, to 0.001, at which exp(1 / temperature) is inf in float16."""
    value = number(candidate, "the temperature")

    def highest(kind: torch.dtype, worth: float = 1.0) -> float:
        grid = torch.arange(1, 2000, dtype=torch.float64) / 1000
        return float(grid[torch.isinf((worth / grid).exp().to(kind))].max())

    right = highest(torch.float16)
    if abs(value - right) < 1.5e-3:
        return (f"from {right:.3f} down a cosine of 1 overflows in float16: temperature 0.1 only "
                "just fits, and log-sum-exp never has to ask.")
    limit = math.log(torch.finfo(torch.float16).max)
    for wrong, sentence, score in (
        (highest(torch.float32), "that is the limit of float32; float16 ends at 65,504.", 0.5),
        (limit, "that is the largest logit; the temperature is 1 divided by it.", 0.6),
        (math.log(torch.finfo(torch.float32).max), "that is the largest logit of float32.", 0.3),
        (highest(torch.float16, 2.0), "that is for a logit of 2 / temperature; a cosine is at most "
                                      "1.", 0.5),
        (1 / torch.finfo(torch.float16).max, "exp(1 / temperature), not 1 / temperature, must "
                                             "stay below 65,504.", 0.4),
    ):
        if abs(value - wrong) < 1e-3 + 5e-3 * wrong:
            raise Mistake(sentence, score)
    if value >= 1:
        raise Mistake(f"at {value:g} the logit of cosine 1 is {1 / value:.2g}: no overflow. Go "
                      "down.", 0.1)
    raise Mistake(f"at {value:g} exp(1 / temperature) is "
                  f"{'infinite' if 0 <= value < right else 'finite'} in float16. Try "
                  "torch.tensor(1 / t).exp().to(torch.float16) for falling t.", 0.2)


def _key() -> str:
    """The answers, worked out from what the four logs say rather than written down."""
    logs = ((1.27, 41, 0.78, 56), (6.236, 1.0, 0.002, 30), (0.03, 60, 1.0, 34), (-0.8, 45, 0.8, 56))
    floor = losses.loss_floor(256, 0.1)
    return "".join("B" if loss < floor - 0.05 else "A" if rank < 2 else "C" if knn < 36 else "D"
                   for loss, rank, _, knn in logs)

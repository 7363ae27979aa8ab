"""Notebook 07's checkers: the solutions pass, typical mistakes are named, nothing escapes."""

import math

import pytest
import torch
from torch.nn import functional as F

from simclr_tut import checks, losses


def pairs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 4, generator=generator), torch.randn(8, 4, generator=generator)


def two_values_differ(loss):
    return abs(float(loss(*pairs(), 0.2) - loss(*pairs(), 1.0))) > 1e-3


def property_solution(loss):
    return two_values_differ(loss) and not on_equal_embeddings(loss)


def against_the_package(loss):
    return bool(torch.allclose(loss(*pairs(), 0.2), losses.nt_xent(*pairs(), 0.2)))


def on_equal_embeddings(loss):
    same = torch.ones(8, 4)
    return abs(float(loss(same, same, 0.2) - loss(same, same, 1.0))) > 1e-3


TEMPERATURE_PROPERTY = [
    (property_solution, "blames no other", 1.0),
    (lambda loss: True, "True to everything", 0),
    (on_equal_embeddings, "False to everything", 0),
    (lambda loss: not property_solution(loss), "exchanged", 0.5),
    (against_the_package, "not normalised", 0.6),
    (two_values_differ, "divides its final value", 0.8),
    (lambda loss: "yes", "return True or False", 0),
    (lambda loss: 1 / 0, "ZeroDivisionError", 0),
    (lambda loss: None, "return True or False", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), TEMPERATURE_PROPERTY)
def test_temperature_property(candidate, said, score, monkeypatch):
    result = checks.temperature_property(candidate)
    assert said in result.message and result.score == score


def loss_with(dim=1, diagonal=-torch.inf, power=-1, detach=False):
    def loss(z1, z2, temperature=0.5):
        z = F.normalize(torch.cat([z1, z2.detach() if detach else z2]), dim=dim)
        logits = (z @ z.T * temperature**power).fill_diagonal_(diagonal)
        return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))
    return loss


def in_place(z1, z2, temperature=0.5):
    z1 /= z1.norm(dim=1, keepdim=True)
    z2 /= z2.norm(dim=1, keepdim=True)
    return losses.nt_xent(z1, z2, temperature)


MENDED_LOSS = [
    (loss_with(), "all five properties hold"),
    (loss_with(dim=0), "over the batch"),
    (loss_with(diagonal=0), "competes with itself"),
    (loss_with(power=1), "temperature multiplies"),
    (loss_with(detach=True), "gradient is whole"),
    (loss_with(dim=0, diagonal=0, power=1), "nothing is mended"),
    (loss_with(diagonal=-1.0), "1 of 5 properties is broken"),
    (loss_with(dim=0, diagonal=-1.0), "2 of 5 properties are broken"),
    (in_place, "in place"),
    (lambda a, b, t: float(losses.nt_xent(a, b, t)), "as a tensor"),
    (lambda a, b, t: losses.nt_xent(a, b, t) * torch.nan, "the loss is nan"),
    (lambda a, b, t: torch.zeros(3), "one number"),
    (lambda: 0, "TypeError"),
]


@pytest.mark.parametrize(("candidate", "said"), MENDED_LOSS)
def test_mended_loss(candidate, said):
    result = checks.mended_loss(candidate)
    assert said in result.message and result.passed == ("hold" in said)


DIAGNOSIS = [
    ("DACB", "all four", 1.0), (" d, a, c, b ", "all four", 1.0), ("BACD", "2 of 4", 0.5),
    ("DACD", "floor", 0.75), ("AAAA", "1 of 4", 0.25), ("DA", "four letters", 0),
    (7, "string of four", 0), ("DAXB", "four letters", 0),
]


@pytest.mark.parametrize(("candidate", "said", "score"), DIAGNOSIS)
def test_diagnosis(candidate, said, score):
    result = checks.diagnosis(candidate)
    assert said in result.message and result.score == score


def test_the_diagnosed_floor_is_what_the_text_says():
    assert round(losses.loss_floor(256, 0.1), 2) == 0.02
    assert round(losses.chance_loss(256), 2) == 6.24


def test_the_log_below_the_floor_is_what_the_bug_can_give():
    """Without the positive in the denominator the lowest value is that of the best spread."""
    lowest = math.log(510) - 256 / (255 * 0.1)
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(256, 300, generator=generator), dim=1)
    logits = (torch.cat([z, z]) @ torch.cat([z, z]).T / 0.1).fill_diagonal_(-torch.inf)
    rows = torch.arange(512)
    positive = logits[rows, rows.roll(256)]
    logits[rows, rows.roll(256)] = -torch.inf
    value = float((logits.logsumexp(1) - positive).mean())
    assert lowest < value < -0.8 < losses.loss_floor(256, 0.1)

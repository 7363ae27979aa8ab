"""Notebook 08's checkers: solutions pass, typical mistakes are named, nothing escapes."""

import pytest
import torch

from simclr_tut import checks


def queue(mode="right", cursor="mod"):
    def put(queue, at, keys):
        n, size = len(keys), len(queue)
        rows = (at + torch.arange(n)) % size
        new = queue if mode == "in place" else queue.clone()
        if mode in ("right", "in place"):
            new[rows] = keys
        elif mode == "append":
            new = torch.cat([queue[n:], keys])
        elif mode == "front":
            new = torch.cat([keys, queue])[:size]
        elif mode == "clip":
            new[at:at + n] = keys[:size - at]
        elif mode == "add":
            new[rows] += keys
        return new, {"mod": (at + n) % size, "past": at + n, "still": at}[cursor]
    return put


QUEUE_UPDATE = [
    (queue(), "across the end"), (queue("append"), "move the whole queue"),
    (queue("front"), "in front"), (queue("clip"), "go on at row 0"), (queue("add"), "you add"),
    (queue("none"), "unchanged"), (queue("in place"), "changes its inputs"),
    (queue(cursor="past"), "modulo K"), (queue(cursor="still"), "next row"),
    (lambda q, c, k: q, "two things"), (lambda q, c, k: (q * torch.nan, c), "NaN"), (3, "function"),
]


@pytest.mark.parametrize(("candidate", "said"), QUEUE_UPDATE)
def test_queue_update(candidate, said):
    result = checks.queue_update(candidate)
    assert said in result.message and result.passed == (said == "across the end")


def update(a="m", b="1-m", only=None, grad=False, into="slow", fixed=None):
    def step(slow, fast, momentum):
        m = fixed or momentum
        value = {"m": m, "1-m": 1 - m, "1": 1.0, "0": 0.0}
        with torch.enable_grad() if grad else torch.no_grad():
            for s, f in zip(slow.parameters(), fast.parameters(), strict=True):
                if only is None or s.dim() > 1:
                    mixed = value[a] * s + value[b] * f
                    if into == "slow":
                        s.data = mixed.detach()
                    elif into == "fast":
                        f.copy_(mixed)
                    else:
                        s = mixed
    return step


MOMENTUM_UPDATE = [
    (update(), "nothing is recorded"), (update("1-m", "m"), "exchanged"),
    (update("0", "1"), "momentum is not used"), (update("m", "1"), "sum grows"),
    (update("1", "1-m"), "not multiplied by momentum"), (update(only="matrices"), "biases"),
    (update(into="fast"), "fast network has changed"), (update(into="name"), "not changed"),
    (update(fixed=0.9), "0.9 written"), (lambda s, f: None, "TypeError"), (1, "function"),
]


@pytest.mark.parametrize(("candidate", "said"), MOMENTUM_UPDATE)
def test_momentum_update(candidate, said):
    result = checks.momentum_update(candidate)
    assert said in result.message and result.passed == (said == "nothing is recorded")


def variance(dim=0, root=True, clamp=True, reduce="mean", ddof=1, sign=1, eps="under"):
    def term(z):
        v = z.var(dim, correction=ddof)
        s = ((v + 1e-4).sqrt() if eps == "under" else v.sqrt() + 1e-7) if root else v
        lack = sign * (1 - s)
        lack = lack.clamp_min(0) if clamp else lack
        return getattr(lack, reduce)()
    return term


VARIANCE_TERM = [
    (variance(), "even at collapse"), (variance(clamp=False), "pay the others back"),
    (variance(reduce="sum"), "average over dimensions"), (variance(dim=1), "within each picture"),
    (variance(root=False), "uses the variance"), (variance(ddof=0), "N - 1"),
    (variance(sign=-1), "sign is turned"), (variance(eps="after"), "belongs under the root"),
    (lambda z: float(variance()(z)), "no gradient reaches z"), (lambda z: z, "one number"),
    (lambda z: torch.tensor(torch.nan), "is nan"),
]


@pytest.mark.parametrize(("candidate", "said"), VARIANCE_TERM)
def test_variance_term(candidate, said):
    result = checks.variance_term(candidate)
    assert said in result.message and result.passed == (said == "even at collapse")

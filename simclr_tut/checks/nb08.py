"""Checkers of notebook 08."""

from __future__ import annotations

import math

import torch
from torch import nn

from simclr_tut import losses, methods
from simclr_tut.checks._common import call, compare, number, pair, seeded, tensor
from simclr_tut.checks._runner import Mistake, checker


@checker(points=3)
def queue_update(candidate) -> str:
    """``candidate(queue, cursor, keys) -> (queue, cursor)``: the oldest keys give way."""
    for size, cursor, n in ((10, 0, 4), (10, 3, 2), (10, 8, 4), (10, 9, 1), (10, 3, 10), (7, 5, 4)):
        queue = seeded(size, 3)
        keys = seeded(n, 3, seed=n + cursor + 1)
        result = pair(call(candidate, queue, cursor, keys),
                      "return two things: return queue, cursor.")
        if isinstance(result[1], torch.Tensor) and result[1].dim() == 2:
            raise Mistake("you return them in the other order: queue first, then cursor.", 0.7)
        if isinstance(result[0], torch.Tensor) and len(result[0]) == size + n:
            raise Mistake(f"the queue has grown to {size + n} rows: new keys take the place of old "
                          "ones.", 0.3)
        new = tensor(result[0], (size, 3), "the queue")
        place = number(result[1], "the cursor")
        rows = (cursor + torch.arange(n)) % size
        expected = queue.clone()
        expected[rows] = keys
        clipped = queue.clone()
        clipped[cursor:cursor + n] = keys[:size - cursor]
        added = queue.clone()
        added[rows] = queue[rows] + keys

        def put(places: torch.Tensor, what: torch.Tensor,
                queue: torch.Tensor = queue) -> torch.Tensor:
            out = queue.clone()
            for place, key in zip(places.tolist(), what, strict=True):
                out[place] = key
            return out

        compare(new, expected, (
            (queue, "the queue you return is unchanged: are the keys written into a copy that you "
                    "drop?", 0.2),
            (torch.cat([queue[n:], keys]), "you move the whole queue along and append: right keys, "
                                           "but rows no longer match the cursor.", 0.5),
            (torch.cat([keys, queue])[:size], "you put the new keys in front: then the newest old "
                                            "ones are next to go.", 0.4),
            (clipped, "keys beyond the last row are lost: go on at row 0 (modulo K).", 0.5),
            (added, "you add the keys to the old ones; replace them.", 0.3),
            (put(rows, keys.flip(0)), "the keys stand in reverse order: the first key belongs to "
                                      "row `cursor`.", 0.6),
            (put((rows + 1) % size, keys), "you begin one row after the cursor; the first key "
                                         "belongs to row `cursor`.", 0.6),
            (put((rows - n) % size, keys), "you write in front of the cursor: the oldest keys "
                                           "stand from row `cursor` on.", 0.5),
            (put(cursor + torch.arange(n) if cursor + n <= size else torch.arange(n), keys),
             "where the keys do not fit before the end you begin at row 0: some go before the end, "
             "the rest after it.", 0.5),
            (put(torch.arange(n), keys), "you write from row 0, wherever the cursor stands.", 0.4),
            (put(rows, keys / keys.norm(dim=1, keepdim=True)),
             "you change the keys' length; store them as they are.", 0.6),
            (put((cursor + torch.arange(n)).clamp_max(size - 1), keys), "keys beyond the last row "
             "are all written into the last row: go on at row 0 (modulo K).", 0.5),
        ), f"with cursor {cursor} and {n} keys the rows {rows.tolist()} must hold the keys, all "
           "others stay.")
        if place != (cursor + n) % size:
            if place == cursor + n:
                raise Mistake(f"the queue is right; the cursor runs past its end ({place:g} of "
                              f"{size} rows): take it modulo K.", 0.7)
            if place == size - 1:
                raise Mistake("the queue is right; the cursor stops at the last row: after it "
                              "comes row 0.", 0.6)
            if cursor == 0 and place == 1:
                raise Mistake(f"the queue is right; the cursor moves by one, but {n} keys came in.",
                              0.6)
            raise Mistake(f"the queue is right; after {n} keys from row {cursor} the next row is "
                          f"{(cursor + n) % size}, you say {place:g}.", 0.6)
    return "right, also across the end and when the keys fill the whole queue."


@checker(points=3, answers=(methods.follow,))
def momentum_update(candidate) -> str:
    """``candidate(slow, fast, momentum)``: an exponential mean of the weights, in place."""
    if not callable(candidate):
        raise Mistake(f"hand in a function; got {type(candidate).__name__}.")

    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    slow, fast = network(0), network(1)
    old, other = ([p.detach().clone() for p in m.parameters()] for m in (slow, fast))
    places = [id(p) for p in slow.parameters()]
    candidate(slow, fast, 0.9)
    if any(not torch.equal(p, q) for p, q in zip(fast.parameters(), other, strict=True)):
        raise Mistake("the fast network has changed; only the slow one follows.", 0.3)
    new = [p.detach() for p in slow.parameters()]
    flat = torch.cat([p.flatten() for p in new])
    if not torch.isfinite(flat).all():
        raise Mistake("afterwards the slow network holds NaN or infinity.")

    def mix(a: float, b: float) -> torch.Tensor:
        return torch.cat([(a * o + b * f).flatten() for o, f in zip(old, other, strict=True)])

    weights_only = torch.cat([((0.9 * o + 0.1 * f) if o.dim() > 1 else o).flatten()
                              for o, f in zip(old, other, strict=True)])
    compare(flat, mix(0.9, 0.1), (
        (mix(1, 0), "the slow network has not changed: assign in place (mul_, add_, copy_), a new "
                    "tensor under an old name is lost.", 0.2),
        (mix(0.1, 0.9), "momentum and its rest are exchanged: with 0.9 the slow network keeps nine "
                        "tenths of itself.", 0.5),
        (mix(0, 1), "the slow network is now a copy of the fast one: momentum is not used.", 0.3),
        (mix(0.9, 1), "the fast weights are not multiplied by 1 - momentum: the sum grows with "
                      "every step.", 0.4),
        (mix(1, 0.1), "the slow weights are not multiplied by momentum.", 0.4),
        (mix(0.5, 0.5), "that is the plain mean of both: momentum is not used.", 0.3),
        (mix(0.9, -0.1), "you subtract the fast weights; add them.", 0.5),
        (mix(0.81, 0.19), "you use the square of the momentum.", 0.6),
        (mix(0.99, 0.01), "0.99 is written into your function; use the argument.", 0.6),
        (mix(0.999, 0.001), "0.999 is written into your function; use the argument.", 0.6),
        (torch.cat([(0.9 * o + 0.1 * f if i == 0 else o).flatten()
                    for i, (o, f) in enumerate(zip(old, other, strict=True))]), "only the first "
         "parameter has moved: does a return stand inside the loop?", 0.5),
        (torch.cat([(0.9 * o + 0.1 * f if i < 2 else o).flatten()
                    for i, (o, f) in enumerate(zip(old, other, strict=True))]), "only the first "
         "layer has moved: go through all parameters.", 0.6),
        (weights_only, "matrices are right, biases have not moved: go through all parameters.",
         0.6),
    ), "the slow weights are not momentum * slow + (1 - momentum) * fast.", 1e-5)
    if any(p.grad_fn is not None for p in slow.parameters()):
        raise Mistake("the values are right, but autograd has recorded the update: use "
                      "torch.no_grad().", 0.7)
    if [id(p) for p in slow.parameters()] != places:
        raise Mistake("the values are right, but the slow network has new parameters: an optimiser "
                      "or a wrapper that holds the old ones would not notice. Assign in place "
                      "(mul_, add_, copy_).", 0.7)
    candidate(slow, fast, 0.0)
    if any(not torch.allclose(p, q) for p, q in zip(slow.parameters(), fast.parameters(),
                                                    strict=True)):
        raise Mistake("momentum 0 must copy the fast network; is 0.9 written into your function?",
                      0.6)
    return "every parameter follows, in place, and nothing is recorded."


@checker(points=3, answers=(losses.vicreg,))
def variance_term(candidate) -> str:
    """``candidate(z)``: what each dimension's spread lacks to 1, averaged."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 5, generator=generator) * torch.tensor(
        [0.01, 0.5, 0.9, 1.3, 0.4])
    z = z - z.mean(0) + torch.linspace(0.1, 0.5, 5)
    value = call(candidate, z)
    if isinstance(value, torch.Tensor) and value.shape == (5,):
        raise Mistake("you return one number for each dimension; take their mean.", 0.6)
    value = number(value, "the variance term")
    spread = (z.var(0) + 1e-4).sqrt()
    right = (1 - spread).clamp_min(0).mean()
    compare(value, right, (
        ((1 - spread).mean(), "dimensions that spread more than 1 pay the others back: keep only "
                              "what is missing (clamp_min(0) or relu).", 0.5),
        ((1 - spread).clamp_min(0).sum(), "average over dimensions; you add them up.", 0.7),
        ((1 - (z.var(1) + 1e-4).sqrt()).clamp_min(0).mean(),
         "you measure the spread within each picture: the batch is dimension 0.", 0.4),
        ((1 - z.var(0)).clamp_min(0).mean(),
         "that uses the variance; the standard deviation is its root, whose gradient does not fade "
         "at 0.", 0.5),
        ((1 - (z.var(0, correction=0) + 1e-4).sqrt()).clamp_min(0).mean(),
         "divide by N - 1 in the variance (z.var(0) does).", 0.8),
        *((wrong, "1e-4 belongs under the root, added to the variance: otherwise equal embeddings "
           "get a gradient of 0, or none that is a number.", 0.7)
          for wrong in ((1 - z.std(0)).clamp_min(0).mean(),
                        (1 - z.std(0) - 1e-4).clamp_min(0).mean())),
        ((spread - 1).clamp_min(0).mean(), "the sign is turned: too little spread must cost.", 0.4),
        ((1 - spread).clamp_min(0).square().mean(), "no square: the penalty is what is missing, as "
                                                    "it is.", 0.6),
        ((1 - spread).abs().mean(), "too much spread costs nothing: clamp_min(0), not abs().", 0.5),
        ((1 - spread.clamp_min(1)).mean(), "you cut the spread off from below; what must not fall "
                                           "below 0 is 1 - spread.", 0.4),
        ((1 - (z.var() + 1e-4).sqrt()).clamp_min(0), "you take one spread over all numbers: each "
         "dimension has its own, var(0).", 0.4),
        ((1 - (z.var(0).mean() + 1e-4).sqrt()).clamp_min(0), "you average the variances first: a "
         "wide dimension then hides one that has collapsed.", 0.5),
        ((1 - (nn.functional.normalize(z, dim=1).var(0) + 1e-4).sqrt()).clamp_min(0).mean(),
         "you normalise z first; VICReg does not.", 0.5),
        ((1 - (z.square().mean(0) + 1e-4).sqrt()).clamp_min(0).mean(), "those are squares without "
         "the mean taken off: embeddings that are all equal and long would pass.", 0.5),
        (-(spread.log()).mean(), "that is a logarithm; the penalty is linear and ends at 1.", 0.3),
        ((torch.cov(z.T).square().sum() - torch.cov(z.T).diagonal().square().sum()) / 5,
         "that is VICReg's covariance term.", 0.3),
        (25 * right, "25 is the term's weight in the sum; here the term alone is asked for.", 0.7),
        (right / 2, "you halve it: the half belongs to the mean over two views.", 0.7),
        ((1 - spread).clamp_min(0).max(), "that is the worst dimension; take the mean.", 0.5),
        (spread.mean(), "that is the spread itself, and it rewards collapse when minimised.", 0.2),
    ), f"you return {value:.4g}. Per dimension: 1 minus the spread, not below 0; then the mean.",
        1e-4)
    held = torch.zeros(6, 4, requires_grad=True)
    collapsed = candidate(held)
    if not isinstance(collapsed, torch.Tensor) or not collapsed.requires_grad:
        raise Mistake("the value is right, but no gradient reaches z: return the tensor, and "
                      "detach nothing.", 0.7)
    collapsed.backward()
    if held.grad is None or not torch.isfinite(held.grad).all():
        raise Mistake("for equal embeddings the gradient is not a number: the 1e-4 belongs under "
                      "the root.", 0.7)
    return "right, and its gradient is a number even at collapse."


@checker(points=1)
def queue_chance(candidate) -> str:
    """A number: InfoNCE when all cosines are equal, with a queue of 64 and a batch of 16."""
    value = number(candidate, "the chance level")
    compare(value, math.log(65), (
        (math.log(64), "the positive takes part, too: one candidate more than the queue has.",
         0.7),
        (math.log(31), "that is ln(2N - 1), SimCLR's; MoCo's negatives are those of the queue.",
         0.4),
        (math.log(2 * 64 - 1), "the queue holds one key a picture, not two.", 0.5),
        (math.log(64 + 31), "the other pictures of the batch are no negatives in MoCo; the queue "
                              "is.", 0.5),
        (math.log(64 + 16), "the other pictures of the batch are no negatives in MoCo; the queue "
                              "is.", 0.5),
        (1 / 65, "that is the share of each candidate; the loss is its negative logarithm.", 0.5),
        (-math.log(65), "the sign is turned.", 0.7),
        (math.log2(65), "nats, not bits: the natural logarithm.", 0.7),
        (math.log10(65), "the natural logarithm, not that to base 10.", 0.7),
    ), f"you say {value:.4g}. Among how many candidates does a query guess?", 8e-4)
    return "ln(K + 1), whatever the batch: MoCo's loss is not SimCLR's, even at chance."


@checker(points=2)
def queue_momentum(candidate) -> str:
    """A momentum: the one that leaves half of the slow copy's weights over the queue's life."""
    value = number(candidate, "the momentum")
    steps = 4096 // 32
    if abs(value - 0.5 ** (1 / steps)) < 2e-4:
        return ("the old weights lose half of their share in the life of a key: with 0.99 they "
                f"would keep {100 * 0.99**steps:.0f} %, with 0.999 {100 * 0.999**steps:.0f} %.")
    for wrong, sentence, score in (
        (0.5 ** (1 / 4096), "you let the weights move once a key; they move once a step, and a "
                            "step brings 32 keys.", 0.6),
        (0.5 ** (1 / 32), "32 is the number of keys a step brings; how many steps does a key stay?",
         0.5),
        (1 - 0.5 ** (1 / steps), "that is the rest, 1 - momentum.", 0.7),
        (1 - 0.5 / steps, "parts that are left multiply: momentum to the power of the steps is one "
                          "half. You have divided.", 0.6),
        (0.99, f"0.99 leaves {0.99**steps:.2f} after {steps} steps.", 0.4),
        (0.999, f"0.999 leaves {0.999**steps:.2f} after {steps} steps.", 0.4),
        (0.5, "0.5 leaves half after *one* step.", 0.3),
    ):
        if abs(value - wrong) < 1e-4:
            raise Mistake(sentence, score)
    if not 0 < value < 1:
        raise Mistake(f"a momentum lies between 0 and 1; got {value:g}.")
    raise Mistake(f"{value:.5g} leaves {value**steps:.3f} of the old weights after the {steps} "
                  "steps that a key stays in the queue.", 0.3)

"""Checkers of exercises 0.4 to 8.5: right answers in another form pass, wrong ones are named."""

import math

import pytest
import torch
from checker_replies import assert_names, assert_passes
from torch import nn
from torch.nn import functional as F

from simclr_tut import evaluation, losses, shapes
from simclr_tut.views import Views

GREY = torch.tensor([0.2989, 0.587, 0.114])


# ---------------------------------------------------------------------------------------- 01
def matrix(transpose=False, grey=GREY, bright=True, saturate=True, side=False, add=False,
           exchange=False, colour_only=False, first=False):
    def make(brightness, saturation):
        b, s = brightness[:, None, None], saturation[:, None, None]
        b, s = (s, b) if exchange else (b, s)
        s = 1 - s if side else s
        s = s if saturate else torch.ones_like(s)
        b = b if bright else torch.ones_like(b)
        eye, rows = torch.eye(3), grey.expand(3, 3)
        out = (b + s * eye + (1 - s) * rows if add else
               b * s * eye + (1 - s) * rows if colour_only else b * (s * eye + (1 - s) * rows))
        out = out[:1].expand(len(out), 3, 3) if first else out
        return out.mT if transpose else out
    return make


# ---------------------------------------------------------------------------------------- 02
def head(last_norm=True, middle_norm=True, relu=True, last_relu=False, bias=False, depth=3,
         swap=False, layer=False, wide=False):
    def make(i, h, o):
        norm = nn.LayerNorm if layer else nn.BatchNorm1d
        widths = [i, *[h] * (depth - 2), *([2 * h] if wide else [h]), o]
        widths = [i, o, o, h] if swap else widths
        steps = []
        for n, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            steps.append(nn.Linear(a, b, bias=bias))
            end = n == len(widths) - 2
            steps += [norm(b)] if (last_norm if end else middle_norm) else []
            steps += [nn.ReLU()] if (last_relu if end else relu) else []
        return nn.Sequential(*steps)
    return make


# ---------------------------------------------------------------------------------------- 03
def margin(sign=-1, where="both", negatives=False, late=False, diagonal=False, reduce="mean",
           normal=True, power=-1, drop=False, anchors=None):
    def loss(z1, z2, temperature, m):
        z = torch.cat([z1, z2])
        z = F.normalize(z, dim=1) if normal else z
        n = len(z1)
        rows, positive = torch.arange(2 * n), torch.arange(2 * n).roll(n)
        hot = F.one_hot(positive, 2 * n)
        shift = (1 - hot if negatives == "only" else torch.ones_like(hot) if negatives else hot)
        plain = z @ z.T * temperature**power
        logits = plain + sign * m * shift * (1 if late else temperature**power)
        if not diagonal:
            plain, logits = (x.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
                             for x in (plain, logits))
        below = plain if where == "above" else logits
        below = below.masked_fill(hot.bool(), -torch.inf) if drop else below
        each = below.logsumexp(1) - logits[rows, positive]
        return getattr(each[:anchors], reduce)()
    return loss


def rows(target=lambda r: r ^ 1, fill=-torch.inf, normal=True, power=-1, reduction="mean",
         only=None, item=False):
    def loss(z, temperature):
        z = F.normalize(z, dim=1) if normal else z
        logits = z @ z.T * temperature**power
        logits = logits if fill is None else logits.fill_diagonal_(fill)
        value = F.cross_entropy(logits[only], target(torch.arange(len(z)))[only],
                                reduction=reduction)
        return value.item() if item else value
    return loss


# ---------------------------------------------------------------------------------------- 04
def floor(rise="s+1", low="stretch", turn=1.0, start=True, line=False, late=0):
    def rate(step, steps, warmup, lowest):
        if step < warmup:
            return {"s+1": (step + 1) / warmup, "s": step / warmup, "1": 1.0}[rise]
        begin = warmup if start else 0
        done = (step - begin) / (steps - late - begin)
        fall = 1 - done if line else 0.5 * (1 + math.cos(turn * math.pi * done))
        return {"stretch": lowest + (1 - lowest) * fall, "add": lowest + fall, "none": fall,
                "clamp": max(lowest, fall)}[low]
    return rate


# ---------------------------------------------------------------------------------------- 05
def shares(weigh=lambda c, t: (c / t).exp(), divide=True, normal=True, extra=0, everybody=False,
           dim=1, soft=False, winner=False):
    def vote(bank, labels, queries, k, temperature):
        a, b = (F.normalize(x, dim=1) if normal else x for x in (queries, bank))
        near, nearest = (a @ b.T).topk(len(bank) if everybody else k + extra, dim=1)
        votes = torch.zeros(len(queries), int(labels.max()) + 1)
        votes.scatter_add_(1, labels[nearest], weigh(near, temperature))
        if winner:
            return F.one_hot(votes.argmax(1), votes.shape[1]).float()
        if soft:
            return votes.softmax(1)
        return votes / votes.sum(dim, keepdim=True) if divide else votes
    return vote


def probe(standard="train", steps=300, lr=0.5, hidden=0, answer="class", on="test"):
    def fit(train_h, train_y, test_h):
        middle, spread = train_h.mean(0), train_h.std(0).clamp_min(1e-6)
        x, t = ((h - middle) / spread for h in (train_h, test_h))
        if standard == "own":
            t = (test_h - test_h.mean(0)) / test_h.std(0).clamp_min(1e-6)
        if standard == "none":
            x, t = train_h, test_h
        if standard == "train only":
            t = test_h
        torch.manual_seed(0)
        classes = int(train_y.max()) + 1
        net = nn.Linear(x.shape[1], classes) if not hidden else nn.Sequential(
            nn.Linear(x.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, classes))
        optimizer = torch.optim.SGD(net.parameters(), lr)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(net(x), train_y).backward()
            optimizer.step()
        scores = net(x if on == "train" else t).detach()
        return scores if answer == "scores" else scores.argmax(1)
    return fit


def nearest(train_h, train_y, test_h):
    return train_y[torch.cdist(test_h, train_h).argmin(1)]


WRONG = [
    ("colour_and_grey", (0.23, 0.285), "other order"),
    ("colour_and_grey", (28.5, 23.0), "percentages"),
    ("colour_and_grey", (0.285, 0.285), "both are the value in colour"),
    ("colour_and_grey", (0.23, 0.23), "both are the value in grey"),
    ("colour_and_grey", (0.203, 0.165), "200 neighbours"),
    ("colour_and_grey", (1.0, 1.0), "its own neighbours"),
    ("colour_and_grey", (0.5, 0.4), "something else"),
    ("colour_and_grey", (0.2,), "2 numbers"), ("colour_and_grey", (0.2, float("nan")), "nan"),
    ("colour_matrix", matrix(transpose=True), "rows and columns are exchanged"),
    ("colour_matrix", matrix(bright=False), "brightness is missing"),
    ("colour_matrix", matrix(saturate=False), "saturation is missing"),
    ("colour_matrix", matrix(side=True), "wrong side"),
    ("colour_matrix", matrix(grey=torch.ones(3) / 3), "alike"),
    ("colour_matrix", matrix(add=True), "you add it"),
    ("colour_matrix", matrix(exchange=True), "are exchanged"),
    ("colour_matrix", matrix(colour_only=True), "the whole matrix"),
    ("colour_matrix", matrix(first=True), "the matrix of the first"),
    ("grey_shortcut", (0.08, 0.87), "other order"), ("grey_shortcut", (87.0, 8.0), "percentages"),
    ("grey_shortcut", (0.86, 0.85), "second value is that of colour"),
    ("grey_shortcut", (0.0, 0.0), "finds itself"), ("grey_shortcut", (0.5, 0.3), "something else"),
    ("deep_head", head(last_norm=False), "after the last linear layer is missing"),
    ("deep_head", head(last_relu=True), "no embedding has a negative number"),
    ("deep_head", head(relu=False), "no ReLU"), ("deep_head", head(bias=True), "subtracts it"),
    ("deep_head", head(depth=2), "2 linear layers"), ("deep_head", head(swap=True), "(64, 16)"),
    ("deep_head", head(layer=True), "within one picture"), ("deep_head", head(wide=True), "widths"),
    ("deep_head", head(middle_norm=False, last_norm=False), "batch norm is missing"),
    ("deep_head", head(middle_norm=False), "1 batch norms"),
    ("deep_head", lambda i, h, o: nn.Sequential(*(m for k, m in enumerate(head()(i, h, o))
                                                  if k != 5)), "first two batch norms"),
    ("deep_head", lambda i, h, o: nn.Sequential(*(list(head()(i, h, o))[k] for k in
                                                  (0, 2, 1, 3, 5, 4, 6, 7))), "first two batch"),
    ("deep_head", lambda i, h, o: nn.Sequential(nn.Linear(h, h), nn.Linear(h, o)), "get through"),
    ("deep_head", nn.Linear(12, 8), "TypeError"),
    ("work_at_20", (20 / 32) ** 2, "input's pixels"), ("work_at_20", 20 / 32, "ratio of sides"),
    ("work_at_20", 1 / 0.47405, "round"), ("work_at_20", 47.405, "percentage"),
    ("work_at_20", 1.0, "parameters stay the same"), ("work_at_20", 0.52595, "saved"),
    ("with_margin", margin(sign=0), "margin is not used"), ("with_margin", margin(sign=1), "add"),
    ("with_margin", margin(where="above"), "above the line only"),
    ("with_margin", margin(negatives="only"), "or lower the negatives"),
    ("with_margin", margin(negatives=True), "it cancels"),
    ("with_margin", margin(late=True), "before you divide"),
    ("with_margin", margin(diagonal=True), "competes with itself"),
    ("with_margin", margin(drop=True), "missing from the denominator"),
    ("with_margin", margin(reduce="sum"), "mean over anchors"),
    ("with_margin", lambda *a: 2 * margin()(*a), "not by N"),
    ("with_margin", margin(anchors=5), "only views 1"),
    ("with_margin", margin(normal=False), "lengths"),
    ("with_margin", margin(power=1), "you multiply"),
    ("with_margin", lambda *a: margin()(*a).item(), "no gradient"),
    ("neighbouring_rows", lambda z, t: losses.nt_xent(*z.chunk(2), t), "row i with row i + N"),
    ("neighbouring_rows", rows(lambda r: r.roll(-1)), "have each other"),
    ("neighbouring_rows", rows(lambda r: r.roll(1)), "have each other"),
    ("neighbouring_rows", rows(only=slice(0, None, 2)), "only even rows"),
    ("neighbouring_rows", rows(fill=None), "competes with itself"),
    ("neighbouring_rows", rows(fill=0), "a diagonal of 0"),
    ("neighbouring_rows", rows(normal=False), "normalise"),
    ("neighbouring_rows", rows(power=1), "you multiply"),
    ("neighbouring_rows", rows(power=0), "temperature is missing"),
    ("neighbouring_rows", rows(reduction="sum"), "take the mean"),
    ("neighbouring_rows", rows(item=True), "no gradient"),
    ("colder", "AA", "chance: when all"), ("colder", "CC", "chance: when all"),
    ("colder", "BB", "formula"), ("colder", "bc", "end higher"), ("colder", "B", "two letters"),
    ("cosine_to_a_floor", floor(rise="s"), "is lost"),
    ("cosine_to_a_floor", floor(rise="1"), "no warm-up"),
    ("cosine_to_a_floor", floor(low="none"), "falls to 0"),
    ("cosine_to_a_floor", floor(low="add"), "begins above 1"),
    ("cosine_to_a_floor", floor(low="clamp"), "cut the curve off"),
    ("cosine_to_a_floor", floor(start=False), "counts from step 0"),
    ("cosine_to_a_floor", floor(turn=2), "whole turn"),
    ("cosine_to_a_floor", floor(turn=0.5), "quarter"),
    ("cosine_to_a_floor", floor(line=True), "straight line"),
    ("cosine_to_a_floor", lambda *a: 100 * floor()(*a), "at most 1"),
    ("cosine_to_a_floor", lambda *a: 0.5, "Plot it"),
    ("count_steps", 175, "one epoch"), ("count_steps", 3520, "smaller batch"),
    ("count_steps", 45_000 * 20 / 256, "whole batches only"), ("count_steps", 3515, "carried"),
    ("count_steps", 7000, "count views"), ("count_steps", 1740, "not of views"),
    ("count_steps", 900_000, "those are pictures"), ("count_steps", 12, "How many whole"),
    ("enough_rows", 16, "at most 16"), ("enough_rows", 64, "as many rows as dimensions"),
    ("enough_rows", 128, "0.95 of 64"), ("enough_rows", 1024, "fewer are, too"),
    ("enough_rows", 100, "one of"),
    ("vote_shares", shares(divide=False), "sums of the weights"),
    ("vote_shares", shares(lambda c, t: torch.ones_like(c)), "one vote"),
    ("vote_shares", shares(lambda c, t: c.exp()), "temperature is missing"),
    ("vote_shares", shares(lambda c, t: (c * t).exp()), "you multiply"),
    ("vote_shares", shares(lambda c, t: c), "cosine itself"),
    ("vote_shares", shares(everybody=True), "k is not used"),
    ("vote_shares", shares(extra=1), "k + 1 neighbours"),
    ("vote_shares", shares(normal=False), "long vectors"), ("vote_shares", shares(dim=0), "dim=1"),
    ("vote_shares", shares(soft=True), "softmax"), ("vote_shares", shares(winner=True), "winners"),
    ("probe_by_hand", probe(answer="scores"), "argmax"),
    ("probe_by_hand", probe(on="train"), "each training picture"),
    ("probe_by_hand", probe(standard="own"), "their own mean"),
    ("probe_by_hand", probe(standard="none", lr=1e-3), "different units"),
    ("probe_by_hand", probe(standard="train only"), "same treatment"),
    ("probe_by_hand", probe(steps=0), "loss fall"), ("probe_by_hand", nearest, "not a linear map"),
    ("probe_by_hand", lambda x, y, t: torch.zeros(len(t), dtype=torch.int64), "every picture gets"),
    ("probe_by_hand", lambda x, y, t: probe()(x, y, t) + 1, "reach 4"),
    ("whole_bank", 1 / 3, "a third of the bank"), ("whole_bank", 0.5, "What share"),
    ("whole_bank", 0, "of class 0"), ("whole_bank", 1, "the same answer"),
    ("whole_bank", 1 / 6, "a sixth"), ("whole_bank", 20, "percentage"),
    ("whole_bank", 0.7, "which class wins"),
    ("real_coverage", 0.8457, "ddof=1"), ("real_coverage", 0.95, "promises"),
    ("real_coverage", 0.1216, "misses"), ("real_coverage", 87.84, "percentage"),
    ("real_coverage", 0.988, "single runs"), ("real_coverage", 0.57, "twice"),
    ("real_coverage", 0.7, "ten thousand"),
    ("half_precision", 0.011, "float32"), ("half_precision", 11.09, "largest logit"),
    ("half_precision", 88.72, "largest logit of float32"), ("half_precision", 0.18, "at most 1"),
    ("half_precision", 0.05, "is infinite"), ("half_precision", 0.3, "is finite"),
    ("half_precision", 2.0, "Go down"),
    ("queue_chance", math.log(64), "positive takes part"), ("queue_chance", math.log(31), "2N"),
    ("queue_chance", math.log(127), "one key a picture"),
    ("queue_chance", math.log(80), "no negatives in MoCo"), ("queue_chance", 1 / 65, "share"),
    ("queue_chance", -math.log(65), "sign"), ("queue_chance", math.log2(65), "bits"),
    ("queue_momentum", 0.5 ** (1 / 4096), "once a key"),
    ("queue_momentum", 0.5 ** (1 / 32), "how many steps"),
    ("queue_momentum", 1 - 0.5 ** (1 / 128), "the rest"),
    ("queue_momentum", 1 - 0.5 / 128, "multiply"), ("queue_momentum", 0.99, "0.99 leaves"),
    ("queue_momentum", 0.999, "0.999 leaves"), ("queue_momentum", 0.5, "*one* step"),
    ("queue_momentum", 0.97, "after the 128 steps"), ("queue_momentum", 1.5, "between 0 and 1"),
]
RIGHT = [("colour_and_grey", [0.29, 0.22]), ("grey_shortcut", torch.tensor([0.85, 0.07])),
         ("colour_matrix", matrix()), ("deep_head", head()), ("work_at_20", 0.474),
         ("with_margin", margin()), ("neighbouring_rows", rows()), ("colder", " ba "),
         ("cosine_to_a_floor", floor(late=1)), ("count_steps", 3500.0), ("enough_rows", 256),
         ("vote_shares", shares()), ("probe_by_hand", probe(lr=0.2, steps=500)),
         ("whole_bank", 0.2), ("real_coverage", 0.88), ("half_precision", 0.09),
         ("queue_chance", 4.174), ("queue_momentum", 0.9946)]


@pytest.mark.parametrize(("name", "candidate", "said"), WRONG,
                         ids=[f"{n}-{s}" for n, _, s in WRONG])
def test_typical_mistakes_are_named(name, candidate, said, capsys):
    assert_names(name, candidate, said, capsys)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_one_honest_measurement_of_the_shortcut_passes_whatever_was_drawn(seed):
    """Seed 5 was turned down while the checker's own figure was the mean of two draws."""
    images, partner, shares = shapes.make_shapes(300, 0).images, torch.arange(600).roll(300), []
    torch.manual_seed(seed)
    for gray in (0.0, 1.0):
        both = torch.cat(Views(32, color=0, gray=gray)(images))
        roots = evaluation.color_histogram((both * 255).round().to(torch.uint8)).sqrt()
        nearest = (roots @ roots.T).fill_diagonal_(-1).argmax(1)
        shares.append(float((nearest == partner).float().mean()))
    assert_passes("grey_shortcut", tuple(shares))


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=[n for n, _ in RIGHT])
def test_right_answers_written_in_another_way_pass(name, candidate):
    assert_passes(name, candidate)

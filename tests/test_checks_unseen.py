"""Wrong answers thought of after their checkers were written: each reply must help.

The sentence may be any that is true of the answer; what counts is that it names the mistake.
"""

import copy
import math

import pytest
import torch
from checker_replies import assert_names, assert_passes
from torch import nn
from torch.nn import functional as F

from simclr_tut import checks, losses


# ---------------------------------------------------------------------------------------- 06
def r2(strength=1.0, back="train", form="r2", column=False, correction=0):
    def probe(train_x, train_y, test_x, test_y):
        mean, spread = train_x.mean(0), train_x.std(0, correction=correction)
        x, queries = (train_x - mean) / spread, (test_x - mean) / spread
        offset = train_y.mean()
        if column:
            x, queries = (torch.cat([a, torch.ones(len(a), 1)], 1) for a in (x, queries))
            offset = torch.zeros(())
        penalty = strength * torch.eye(x.shape[1])
        weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (train_y - offset))
        fitted = queries @ weights + (offset if back == "train" else test_y.mean())
        error, apart = fitted - test_y, test_y - test_y.mean()
        return {
            "r2": lambda: 1 - error.square().sum() / apart.square().sum(),
            "rmse": lambda: error.square().mean().sqrt(),
            "explained": lambda: fitted.var() / test_y.var(),
            "own spread": lambda: 1 - error.square().sum() / (
                fitted - fitted.mean()).square().sum(),
            "mean over sum": lambda: 1 - error.square().mean() / apart.square().sum(),
            "root": lambda: 1 - (error.square().sum() / apart.square().sum()).sqrt(),
            "absolute": lambda: 1 - error.abs().sum() / apart.abs().sum(),
            "uncentred": lambda: 1 - error.square().sum() / test_y.square().sum(),
        }[form]().item()
    return probe


def plant(paint):
    def both(view1, view2, bits):
        made = view1.clone(), view2.clone()
        for view in made:
            paint(view, bits.float()[:, None], bits.shape[1])
        return made
    return both


def assign(rows, columns, change=lambda old, bits: bits, channels=slice(None)):
    def paint(view, bits, count):
        where = (slice(None), channels, rows, columns(count))
        bits = bits[:, :, None] if isinstance(rows, slice) else bits
        view[where] = change(view[where], bits)
    return plant(paint)


def first(count):
    return slice(0, count)


def blacken(view, bits, count):
    view[:, :, -1] = 0
    view[:, :, -1, :count] = bits


def share(above, below, reduce="mean"):
    def of(labels):
        same = (labels[:, None] == labels).sum(1).double()
        return float(getattr(above(same), reduce)() / below(len(labels)))
    return of


# ---------------------------------------------------------------------------------------- 07
def batches():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, 4, generator=generator), torch.randn(8, 4, generator=generator)


def asserting(loss):
    assert abs(float(loss(*batches(), 0.2) - loss(*batches(), 1.0))) > 1e-3
    return True


def contrast(dim=1, diagonal=-torch.inf, power=-1, target=lambda n: torch.arange(2 * n).roll(n),
             sign=1, reduction="mean"):
    def loss(z1, z2, temperature=0.5):
        z = torch.cat([z1, z2])
        z = z if dim is None else F.normalize(z, dim=dim)
        logits = z @ z.T * temperature**power
        if diagonal is not None:
            logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool), diagonal)
        return sign * F.cross_entropy(logits, target(len(z1)), reduction=reduction)
    return loss


# ---------------------------------------------------------------------------------------- 08
def queue(rows=lambda at, n, size: (at + torch.arange(n)) % size, keys=lambda k: k,
          cursor=lambda at, n, size: (at + n) % size, order=1):
    def put(old, at, new):
        out, n = old.clone(), len(new)
        for row, key in zip(rows(at, n, len(old)).tolist(), keys(new), strict=True):
            out[row] = key
        return (out, cursor(at, n, len(old)))[::order]
    return put


def sliced(old, at, new):
    out = old.clone()
    out[at:at + len(new)] = new
    return out, (at + len(new)) % len(old)


def from_the_start_if_it_does_not_fit(at, n, size):
    return torch.arange(n) + (at if at + n <= size else 0)


def follow(mix, only=None, record=False):
    def step(slow, fast, momentum):
        with torch.enable_grad() if record else torch.no_grad():
            for s, f in list(zip(slow.parameters(), fast.parameters(), strict=True))[:only]:
                s.copy_(mix(s, f, momentum))
    return step


def spread(z):
    return (z.var(0) + 1e-4).sqrt()


# ---------------------------------------------------------------------------------------- 09
def halves(parts):
    pairs = [part.chunk(2) for part in parts]
    return torch.cat([one for one, _ in pairs]), torch.cat([two for _, two in pairs])


def with_others_detached(parts, temperature):
    terms = [losses.nt_xent(*halves([p if i == j else p.detach() for j, p in enumerate(parts)]),
                            temperature) for i in range(len(parts))]
    return sum(terms) / len(terms)


def cached(push="right", drop=False, clear=False, times=1, views=(0, 1)):
    def gradient(model, view1, view2, micro, temperature):
        both = view1, view2
        with torch.no_grad():
            z = [torch.cat([model(part) for part in view.split(micro)]) for view in both]
        z = [part.requires_grad_() for part in z]
        losses.nt_xent(*z, temperature).backward()
        for i in views * times:
            wish = z[1 - i if push == "swap" else i].grad
            pieces = list(zip(both[i].split(micro), wish.split(micro), strict=True))
            for part, piece in pieces[:-1] if drop else pieces:
                if clear:
                    model.zero_grad()
                made = model(part)
                if push == "ones":
                    made.sum().backward()
                elif push == "mean":
                    (made * piece).mean().backward()
                else:
                    made.backward(-piece if push == "minus" else piece)
    return gradient


def all_graphs_kept(model, view1, view2, micro, temperature):
    """The forward pass is in pieces, but every piece's graph waits for the one backward."""
    z = [torch.cat([model(part) for part in view.split(micro)]) for view in (view1, view2)]
    losses.nt_xent(*z, temperature).backward()


def one_piece_at_a_time_among_constants(model, view1, view2, micro, temperature):
    """Another right way: one micro-batch with its graph among all others without."""
    with torch.no_grad():
        z1, z2 = model(view1), model(view2)
    for i in range(0, len(view1), micro):
        rows = slice(i, i + micro)
        a, b = (torch.cat([z[:i], model(view[rows]), z[i + micro:]])
                for z, view in ((z1, view1), (z2, view2)))
        losses.nt_xent(a, b, temperature).backward()


def last_only(model, view1, view2, micro, temperature):
    for a, b in zip(view1.split(micro), view2.split(micro), strict=True):
        model.zero_grad()
        losses.nt_xent(model(a), model(b), temperature).backward()


def cleared(model, *arguments):
    cached()(model, *arguments)
    for parameter in model.parameters():
        parameter.grad.zero_()


def rate(batch=lambda n, k: n * k, linear=0.3 / 256, root=0.075, power=0.5):
    return lambda n, k, rule: (linear * batch(n, k) if rule == "linear"
                               else root * batch(n, k)**power)


def hours(pictures, epochs, flops, speed):
    return 6 * pictures * epochs * flops / speed / 3600


WRONG = [
    ("factor_r2", r2(10.0), "your penalty is 10"), ("factor_r2", r2(100.0), "penalty is 100"),
    ("factor_r2", r2(back="test"), "nobody knows"), ("factor_r2", r2(column=True), "is penalised"),
    ("factor_r2", r2(correction=1), "correction=0"), ("factor_r2", r2(form="rmse"), "root of the"),
    ("factor_r2", r2(form="explained"), "looks at the errors"),
    ("factor_r2", r2(form="own spread"), "spread of the predictions"),
    ("factor_r2", r2(form="mean over sum"), "the same of both"),
    ("factor_r2", r2(form="root"), "no root"), ("factor_r2", r2(form="absolute"), "absolute"),
    ("factor_r2", r2(form="uncentred"), "subtract the mean of the test"),
    ("plant_bits", assign(-1, lambda n: slice(-n, None)), "right end"),
    ("plant_bits", assign(-2, first), "one row too high"),
    ("plant_bits", assign(slice(-2, None), first), "two rows"),
    ("plant_bits", plant(blacken), "rest of the bottom row"),
    ("plant_bits", assign(-1, first, lambda old, bits: old * bits), "a product"),
    ("plant_bits", assign(-1, first, lambda old, bits: 2 * bits - 1), "not -1"),
    ("plant_bits", assign(-1, first, lambda old, bits: 0.5 * bits), "yours is grey"),
    ("plant_bits", assign(-1, first, lambda old, bits: bits.flip(2)), "reverse order"),
    ("plant_bits", assign(-1, first, channels=slice(2, 3)), "only the blue channel"),
    ("plant_bits", lambda a, b, bits: (assign(-1, first)(a, b, bits)[0],) * 2, "are view 1"),
    ("plant_bits", lambda a, b, bits: (assign(-1, first)(a, b, bits)[1],) * 2, "are view 2"),
    ("false_negative_share", share(lambda s: s - 1, lambda n: 2 * n - 2), "has two views"),
    ("false_negative_share", share(lambda s: 2 * s, lambda n: 2 * n - 2), "are no negatives"),
    ("false_negative_share", share(lambda s: 2 * s - 2, lambda n: 2 * n - 1), "positive is none"),
    ("false_negative_share", share(lambda s: 2 * s - 2, lambda n: n - 1), "pictures below"),
    ("false_negative_share", share(lambda s: 2 * s - 1, lambda n: 2 * n), "above and below"),
    ("false_negative_share", share(lambda s: s - 2, lambda n: n - 1), "views of one"),
    ("false_negative_share", share(lambda s: 2 * s - 2, lambda n: 2 * n - 2, "sum"), "add up"),
    ("false_negative_share", lambda y: float(y.bincount().max() / len(y)), "most frequent"),
    ("false_negative_share", lambda y: ((y[:, None] == y).sum(1) - 1) / (len(y) - 1), "each view"),
    ("temperature_property", asserting, "in place of assert"),
    ("temperature_property", lambda loss: loss(*batches(), 0.2) - loss(*batches(), 1.0),
     "returns a number"),
    ("temperature_property", lambda loss: abs(float(loss(*batches(), 0.2))) > 1e3,
     "two temperatures"),
    ("mended_loss", contrast(dim=None), "taken the normalising out"),
    ("mended_loss", contrast(diagonal=None), "the largest of all"),
    ("mended_loss", contrast(power=0), "temperature is not used"),
    ("mended_loss", contrast(power=-2), "twice"), ("mended_loss", contrast(sign=-1), "sign"),
    ("mended_loss", contrast(target=lambda n: torch.arange(2 * n) ^ 1), "neighbouring rows"),
    ("mended_loss", contrast(reduction="sum"), "take the mean"),
    ("mended_loss", contrast(dim=0, diagonal=0), "mended, the temperature"),
    ("mended_loss", contrast(dim=0, power=1), "mended, the diagonal"),
    ("mended_loss", contrast(diagonal=0, power=1), "mended, the direction"),
    ("mended_loss", contrast(dim=0, diagonal=0, power=1), "nothing is mended"),
    ("mended_loss", lambda a, b, t: F.cross_entropy(
        F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t, torch.arange(len(a))), "only views 2"),
    ("queue_update", queue(keys=lambda k: k.flip(0)), "reverse order"),
    ("queue_update", queue(rows=lambda at, n, size: torch.arange(n)), "from row 0"),
    ("queue_update", queue(rows=lambda at, n, size: (at + 1 + torch.arange(n)) % size), "one row"),
    ("queue_update", queue(rows=lambda at, n, size: (at - n + torch.arange(n)) % size), "in front"),
    ("queue_update", queue(rows=from_the_start_if_it_does_not_fit), "do not fit"),
    ("queue_update", queue(rows=lambda at, n, size: (at + torch.arange(n)).clamp_max(size - 1)),
     "into the last row"),
    ("queue_update", queue(keys=lambda k: F.normalize(k, dim=1)), "length"),
    ("queue_update", queue(order=-1), "the other order"),
    ("queue_update", queue(cursor=lambda at, n, size: (at + 1) % size), "moves by one"),
    ("queue_update", queue(cursor=lambda at, n, size: min(at + n, size - 1)), "stops at the last"),
    ("queue_update", lambda q, at, k: (torch.cat([q, k]), at + len(k)), "has grown"),
    ("queue_update", sliced, "runs past the end"),
    ("momentum_update", follow(lambda s, f, m: (s + f) / 2), "plain mean"),
    ("momentum_update", follow(lambda s, f, m: m * s - (1 - m) * f), "subtract"),
    ("momentum_update", follow(lambda s, f, m: m**2 * s + (1 - m**2) * f), "square of the"),
    ("momentum_update", follow(lambda s, f, m: 0.99 * s + 0.01 * f), "0.99 is written"),
    ("momentum_update", follow(lambda s, f, m: m * s + (1 - m) * f, only=1), "inside the loop"),
    ("momentum_update", follow(lambda s, f, m: m * s + (1 - m) * f, only=2), "first layer"),
    ("momentum_update", follow(lambda s, f, m: m * s + (1 - m) * f, record=True), "no_grad()"),
    ("momentum_update", lambda s, f, m: follow(lambda a, b, m: m * a + (1 - m) * b)(
        copy.deepcopy(s), f, m), "has not changed"),
    ("variance_term", lambda z: (1 - spread(z)).clamp_min(0).square().mean(), "no square"),
    ("variance_term", lambda z: (1 - spread(z)).abs().mean(), "not abs()"),
    ("variance_term", lambda z: (1 - spread(z).clamp_min(1)).mean(), "from below"),
    ("variance_term", lambda z: (1 - (z.var() + 1e-4).sqrt()).clamp_min(0), "over all numbers"),
    ("variance_term", lambda z: (1 - (z.var(0).mean() + 1e-4).sqrt()).clamp_min(0), "hides"),
    ("variance_term", lambda z: (1 - spread(F.normalize(z, dim=1))).clamp_min(0).mean(),
     "VICReg does not"),
    ("variance_term", lambda z: (1 - (z.square().mean(0) + 1e-4).sqrt()).clamp_min(0).mean(),
     "mean taken off"),
    ("variance_term", lambda z: (1 - spread(z)).clamp_min(0), "each dimension"),
    ("variance_term", lambda z: 25 * (1 - spread(z)).clamp_min(0).mean(), "weight in the sum"),
    ("variance_term", lambda z: (1 - spread(z)).clamp_min(0).max(), "worst dimension"),
    ("variance_term", lambda z: (1 - (z.std(0) + 1e-4)).clamp_min(0).mean(), "under the root"),
    ("variance_term", lambda z: (1 - spread(z.detach())).clamp_min(0).mean(), "detach nothing"),
    ("loss_of_all", lambda p, t: losses.nt_xent(*halves(p)), "temperature of its own"),
    ("loss_of_all", lambda p, t: losses.nt_xent(*halves(p), 1 / t), "you multiply"),
    ("loss_of_all", lambda p, t: contrast(dim=None)(*halves(p), t), "normalise the embeddings"),
    ("loss_of_all", lambda p, t: contrast(diagonal=None)(*halves(p), t), "competes with itself"),
    ("loss_of_all", lambda p, t: losses.nt_xent(*halves(p), t) / len(p), "you divide by the numb"),
    ("loss_of_all", lambda p, t: -losses.nt_xent(*halves(p), t), "sign"),
    ("loss_of_all", lambda p, t: losses.nt_xent(*p[1].chunk(2), t), "process 1 alone"),
    ("loss_of_all", lambda p, t: [losses.nt_xent(*q.chunk(2), t) for q in p], "for each process"),
    ("loss_of_all", lambda p, t: losses.nt_xent(*(sum(p) / len(p)).chunk(2), t), "you average"),
    ("loss_of_all", lambda p, t: losses.nt_xent(
        torch.cat([q[::2] for q in p]), torch.cat([q[1::2] for q in p]), t), "neighbouring rows"),
    ("loss_of_all", lambda p, t: losses.nt_xent(
        torch.cat([q.chunk(2, 1)[0] for q in p]), torch.cat([q.chunk(2, 1)[1] for q in p]), t),
     "the columns"),
    ("loss_of_all", with_others_detached, "0.333 times as long"),
    ("cached_gradient", all_graphs_kept, "graphs of 24 views"),
    ("cached_gradient", cached(views=(1,)), "view 2 only"),
    ("cached_gradient", cached(drop=True), "one too early"),
    ("cached_gradient", cached(clear=True), "zero_grad() inside the loop"),
    ("cached_gradient", cached("swap"), "exchange them"),
    ("cached_gradient", cached("ones"), "ones"),
    ("cached_gradient", cached("minus"), "-1 times the right length"),
    ("cached_gradient", cached("mean"), "a mean taken"),
    ("cached_gradient", cached(times=2), "2 times the right length"),
    ("cached_gradient", last_only, "met only its own negatives"),
    ("cached_gradient", cleared, "every gradient is 0"),
    ("cached_gradient", lambda m, a, b, k, t: cached()(m, a, b, k, 0.5), "temperature 0.5"),
    ("scaled_rate", rate(lambda n, k: n / k), "divide by the number of processes"),
    ("scaled_rate", rate(lambda n, k: n + k), "*times*"), ("scaled_rate", rate(linear=0.3), "256"),
    ("scaled_rate", rate(root=0.75), "10 times the paper's"),
    ("scaled_rate", rate(power=2), "a square"),
    ("scaled_rate", lambda n, k, rule: rate()(n, k, {"linear": "sqrt"}.get(rule, "linear")),
     "the other rule"),
    ("scaled_rate", lambda n, k, rule: 0.3 * (n * k // 256) if rule == "linear" else rate()(
        n, k, rule), "// drops"),
    ("scaled_rate", lambda n, k, rule: 0.075 * n * math.sqrt(k) if rule == "sqrt" else rate()(
        n, k, rule), "of the whole batch"),
    ("training_hours", lambda *a: hours(*a) / 24, "in days"),
    ("training_hours", lambda *a: 2 * hours(*a), "2 times the right one"),
    ("training_hours", lambda *a: 1 / hours(*a), "upside down"),
    ("training_hours", lambda *a: float(int(hours(*a))), "behind the point"),
    ("training_hours", lambda p, e, f, s: hours(1, e, f, s), "number of pictures is missing"),
    ("training_hours", lambda p, e, f, s: hours(p, e, 1, s), "cost of a view is missing"),
    ("training_hours", lambda p, e, f, s: hours(p, e, f, 1), "speed is missing"),
    ("training_hours", lambda p, e, f, s: hours(p, e, f, 1 / s), "multiply by the speed"),
]
RIGHT = [
    ("factor_r2", r2()), ("plant_bits", assign(-1, first)), ("mended_loss", contrast()),
    ("queue_update", queue()), ("cached_gradient", cached()), ("scaled_rate", rate()),
    ("momentum_update", follow(lambda s, f, m: m * s + (1 - m) * f)),
    ("cached_gradient", one_piece_at_a_time_among_constants), ("training_hours", hours),
    ("variance_term", lambda z: F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean()),
    ("loss_of_all", lambda p, t: contrast()(*halves(p), t)),
    ("false_negative_share", share(lambda s: s - 1, lambda n: n - 1)),
    ("temperature_property", lambda loss: abs(float(loss(*batches(), 1e6)) - math.log(15)) < 1e-3),
]


@pytest.mark.parametrize(("name", "candidate", "said"), WRONG,
                         ids=[f"{n}-{s}" for n, _, s in WRONG])
def test_the_reply_names_the_mistake(name, candidate, said, capsys):
    assert_names(name, candidate, said, capsys)


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=[n for n, _ in RIGHT])
def test_right_answers_pass(name, candidate):
    assert_passes(name, candidate)


def test_numpy_s_truth_is_truth():
    np = pytest.importorskip("numpy")

    def answer(loss):
        same = torch.ones(8, 4)
        return np.bool_(abs(float(loss(*batches(), 0.2) - loss(*batches(), 1.0))) > 1e-3
                        and abs(float(loss(same, same, 0.2) - loss(same, same, 1.0))) < 1e-3)

    assert checks.temperature_property(answer).passed


def test_a_module_with_another_name_is_still_a_stem():
    """Surgery by rebuilding `features` from its children is as good as by name."""
    def rebuilt(network):
        children = list(network.features.named_children())
        network.features = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), *[
            child for name, child in children if name not in ("conv0", "pool0")])
        network.classifier = nn.Identity()
        return network

    assert checks.cifar_stem(rebuilt).passed


def standardised_together(train_x, train_y, test_x, test_y):
    seen = torch.cat([train_x, test_x])
    x, queries = ((a - seen.mean(0)) / seen.std(0, correction=0) for a in (train_x, test_x))
    weights = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1]), x.T @ (train_y - train_y.mean()))
    error = queries @ weights + train_y.mean() - test_y
    return float(1 - error.square().sum() / (test_y - test_y.mean()).square().sum())


def last_channel(view, bits, count):
    view[:, -1, :, :count] = bits


def new_parameters(slow, fast, momentum):
    for name in ("0", "2"):
        a, b = slow.get_submodule(name), fast.get_submodule(name)
        for what in ("weight", "bias"):
            mixed = momentum * getattr(a, what) + (1 - momentum) * getattr(b, what)
            setattr(a, what, nn.Parameter(mixed.detach()))


def ten_rows(queue, cursor, keys):
    queue = queue.clone()
    queue[(cursor + torch.arange(len(keys))) % 10] = keys
    return queue, (cursor + len(keys)) % 10


@pytest.mark.parametrize(("name", "candidate", "word"), [
    ("factor_r2", standardised_together, "together"),
    ("plant_bits", plant(last_channel), "channels"),
    ("plant_bits", lambda a, b, bits: plant(lambda view, x, n: view[:, :, -1, :n].copy_(x))(
        b, a, bits), "view 2 first"),
    ("momentum_update", new_parameters, "new parameters"),
    ("queue_update", ten_rows, "index"),
    ("variance_term", lambda z: (1 - z.std(0)).clamp_min(0).mean(), "under the root"),
])
def test_what_readers_of_06_and_08_tried(name, candidate, word, capsys):
    assert_names(name, candidate, word, capsys)


def test_numbers_of_numpy_and_stacked_views_are_answers():
    import numpy as np

    assert_passes("queue_chance", np.float32(math.log(65)))
    assert_passes("queue_momentum", np.array(0.5 ** (1 / 128)))

    def stacked(view1, view2, bits):
        views = torch.stack([view1, view2])
        views[:, :, :, -1, :bits.shape[1]] = bits.float()[:, None]
        return views

    assert_passes("plant_bits", stacked)

"""Losses against a float64 double loop, cross-entropy, autograd, a library, and known values."""

import math
import os
import subprocess
import sys

import lightly_reference
import pytest
import torch
from lightly_reference import with_gradients
from torch.nn import functional as F

from simclr_tut import losses


def pairs(n=8, d=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, generator=generator, dtype=dtype) * 3 for _ in range(2))


def double_loop(z1, z2, temperature):
    z = torch.cat([z1, z2]).double()
    n, total = len(z1), 0.0
    cosine = [[float(a @ b / (a.norm() * b.norm())) for b in z] for a in z]
    for i in range(2 * n):
        others = [math.exp(cosine[i][k] / temperature) for k in range(2 * n) if k != i]
        total -= math.log(math.exp(cosine[i][(i + n) % (2 * n)] / temperature) / sum(others))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 2), (8, 5), (20, 64)])
def test_nt_xent_equals_the_double_loop(n, d, temperature):
    z1, z2 = pairs(n, d)
    expected = double_loop(z1, z2, temperature)
    assert losses.nt_xent(z1, z2, temperature).item() == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert losses.nt_xent_naive(z1.double(), z2.double(), temperature).item() == pytest.approx(
        expected, abs=1e-9)


def test_nt_xent_equals_an_independent_library():
    library = pytest.importorskip("pytorch_metric_learning.losses")
    z1, z2 = pairs(32, 16)
    theirs = library.NTXentLoss(temperature=0.2)(torch.cat([z1, z2]), torch.arange(32).repeat(2))
    torch.testing.assert_close(losses.nt_xent(z1, z2, 0.2), theirs, atol=1e-5, rtol=1e-5)


def test_its_gradient_equals_that_of_the_loop():
    z1, z2 = (z.requires_grad_() for z in pairs(6, 4))
    a1, a2 = (z.detach().double().requires_grad_() for z in (z1, z2))
    losses.nt_xent(z1, z2, 0.3).backward()
    losses.nt_xent_naive(a1, a2, 0.3).backward()
    torch.testing.assert_close(z1.grad.double(), a1.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(z2.grad.double(), a2.grad, atol=1e-5, rtol=1e-4)


def test_it_ignores_length_order_of_views_and_order_of_pictures():
    z1, z2 = pairs(16, 8)
    value = losses.nt_xent(z1, z2, 0.2)
    order = torch.randperm(16)
    torch.testing.assert_close(losses.nt_xent(7 * z1, 0.1 * z2, 0.2), value)
    torch.testing.assert_close(losses.nt_xent(z2, z1, 0.2), value)
    torch.testing.assert_close(losses.nt_xent(z1[order], z2[order], 0.2), value)
    assert losses.nt_xent(z1, z2.roll(1, 0), 0.2) != value


def test_chance_is_collapse_and_the_simplex_reaches_the_floor():
    same = torch.ones(16, 3)
    simplex = F.normalize(torch.eye(16) - 1 / 16, dim=1)
    for temperature in (0.07, 0.5, 2.0):
        assert losses.nt_xent(same, same, temperature).item() == pytest.approx(
            losses.chance_loss(16), abs=1e-5)
        floor = losses.loss_floor(16, temperature)
        assert losses.nt_xent(simplex, simplex, temperature).item() == pytest.approx(floor,
                                                                                     abs=1e-5)
        z1, z2 = pairs(16, 30)
        assert losses.nt_xent(z1, z2, temperature) > floor
    assert losses.chance_loss(512) == pytest.approx(6.930, abs=1e-3)
    assert losses.loss_floor(512, 0.5) == pytest.approx(4.933, abs=1e-3)


def test_tiny_temperatures_and_half_precision_stay_finite():
    z1, z2 = pairs(8, 4)
    assert torch.isfinite(losses.nt_xent(z1, z2, 1e-4))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(losses.nt_xent(z1.bfloat16(), z2.bfloat16(), 0.5),
                                   losses.nt_xent(z1, z2, 0.5), atol=0.05, rtol=0.05)


def test_a_learnt_temperature_is_float32():
    z1, z2 = pairs(8, 4)
    torch.testing.assert_close(losses.nt_xent(z1, z2, torch.tensor([0.2])),
                               losses.nt_xent(z1, z2, 0.2))
    with pytest.raises(TypeError, match="temperature.*float32.*float64"):
        losses.nt_xent(z1, z2, torch.tensor([0.2], dtype=torch.float64))


@pytest.mark.parametrize("loss", [
    lambda z1, z2: losses.nt_xent(z1, z2, 0.1),
    lambda z1, z2: losses.multi_view_nt_xent([z1, z2, z1 + z2], 0.1),
    lambda z1, z2: losses.decoupled_nt_xent(z1, z2, 0.1),
    lambda z1, z2: losses.info_nce(z1, z2, z1 - z2, 0.1),
    lambda z1, z2: losses.sup_con(z1, z2, torch.arange(len(z1)) % 3, 0.1),
    lambda z1, z2: losses.barlow_twins(z1, z2, weight=0.1), losses.vicreg, losses.negative_cosine,
    losses.alignment, losses.contrastive_accuracy, lambda z1, z2: losses.uniformity(z1),
    lambda z1, z2: losses.effective_rank(z1)])
def test_autocast_does_not_reach_the_losses(loss):
    z1, z2 = (z.requires_grad_() for z in pairs(16, 24))
    plain = loss(z1, z2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(z1, z2)
        product = z1 @ z2.T
    assert product.dtype == torch.bfloat16, "autocast was on"
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, atol=0, rtol=1e-6)


def test_contrastive_accuracy_counts_nearest_positives():
    z = torch.eye(5)
    assert losses.contrastive_accuracy(z, z) == 1
    assert losses.contrastive_accuracy(z, z.roll(1, 0)) == 0
    same = torch.ones(5, 2)
    assert losses.contrastive_accuracy(same, same).item() == pytest.approx(1 / 9)


def test_alignment_uniformity_and_rank_at_known_points():
    angles = torch.tensor([0.0, 90, 180, 270]).deg2rad()
    square = torch.stack([angles.cos(), angles.sin()], 1)
    assert losses.alignment(square, -square).item() == pytest.approx(4)
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert losses.uniformity(square).item() == pytest.approx(expected, abs=1e-4)
    assert losses.uniformity(torch.ones(4, 2)).item() == pytest.approx(0, abs=1e-5)
    assert losses.effective_rank(torch.eye(7)).item() == pytest.approx(7, abs=1e-4)
    assert losses.effective_rank(torch.ones(7, 3)).item() == pytest.approx(1, abs=1e-3)


def test_info_nce_and_sup_con_meet_nt_xent_where_they_must():
    queries, keys = pairs(6, 4)
    queue = torch.randn(9, 4)
    q, k, old = (F.normalize(x.double(), dim=1) for x in (queries, keys, queue))
    expected = torch.stack([-torch.log_softmax(torch.cat([(q[i] @ k[i])[None], old @ q[i]]) / 0.2,
                                               0)[0] for i in range(6)]).mean()
    assert losses.info_nce(queries, keys, queue, 0.2).item() == pytest.approx(expected.item(),
                                                                             abs=1e-5)
    torch.testing.assert_close(losses.sup_con(queries, keys, torch.arange(6), 0.2),
                               losses.nt_xent(queries, keys, 0.2))


def test_objectives_without_negatives_at_known_points():
    z = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert losses.negative_cosine(z, z).item() == pytest.approx(-1)
    assert losses.barlow_twins(z, z).item() == pytest.approx(0, abs=1e-3)
    assert losses.barlow_twins(torch.ones(4, 2), torch.ones(4, 2)).item() == pytest.approx(2)
    spread = z * 3
    assert losses.vicreg(spread, spread).item() == pytest.approx(0, abs=1e-4)
    collapsed = losses.vicreg(torch.ones(4, 2), torch.ones(4, 2)).item()
    assert collapsed == pytest.approx(25 * (1 - 0.01), abs=1e-3)


def test_no_gradient_reaches_the_target_of_negative_cosine():
    prediction, target = (z.requires_grad_() for z in pairs())
    losses.negative_cosine(prediction, target).backward()
    assert prediction.grad.abs().sum() > 0 and target.grad is None


GOOD = torch.ones(4, 3)


@pytest.mark.parametrize(("z1", "z2", "temperature", "message"), [
    (GOOD, torch.ones(4, 2), 0.5, "projection head"),
    (GOOD[:1], GOOD[:1], 0.5, "at least 2 images"),
    (GOOD, GOOD, 0.0, "temperature must be above 0"),
    (GOOD, GOOD, math.nan, "temperature must be above 0"),
    (GOOD * math.inf, GOOD, 0.5, "z1 must be finite"),
    (GOOD, GOOD * math.nan, 0.5, "z2 must be finite"),
    (GOOD[0], GOOD, 0.5, "z1 must be"),
])
def test_bad_input_is_named(z1, z2, temperature, message):
    for function in (losses.nt_xent, losses.nt_xent_naive):
        with pytest.raises(ValueError, match=message):
            function(z1, z2, temperature)


def test_integers_and_bad_sizes_are_named():
    with pytest.raises(TypeError, match="z1 must be a float"):
        losses.nt_xent(GOOD.long(), GOOD)
    with pytest.raises(ValueError, match="n must be"):
        losses.chance_loss(1)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        losses.loss_floor(8, 0)
    with pytest.raises(ValueError, match="n must be"):
        losses.loss_floor(1, 0.5)
    with pytest.raises(ValueError, match="labels must be"):
        losses.sup_con(GOOD, GOOD, torch.zeros(3).long())


Z1, Z2 = pairs(6, 5)
OTHERS = [losses.nt_xent, losses.decoupled_nt_xent, losses.contrastive_accuracy, losses.alignment,
          losses.barlow_twins, losses.vicreg, losses.negative_cosine]


@pytest.mark.parametrize("function", OTHERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("huge", [Z1 * 1e30, Z1.double() * 1e200], ids=["float32", "float64"])
def test_values_whose_squares_overflow_are_refused_not_taken_for_collapse(function, huge):
    with pytest.raises(ValueError, match="overflows"):
        function(huge, huge)


@pytest.mark.parametrize("function", OTHERS, ids=lambda f: f.__name__)
def test_arrays_and_lists_are_named_by_their_type(function):
    with pytest.raises(TypeError, match="z2 must be a float tensor.*ndarray"):
        function(Z1, Z2.numpy())
    with pytest.raises(TypeError, match="z1 must be a float tensor.*list"):
        function(Z1.tolist(), Z2)


@pytest.mark.parametrize("function", OTHERS[:4], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_agree_with_float32_and_may_be_mixed(function, dtype):
    for a, b in ((Z1.to(dtype), Z2.to(dtype)), (Z1.to(dtype), Z2)):
        torch.testing.assert_close(function(a, b), function(a.float(), b.float()))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: losses.nt_xent(Z1, Z2, "0.5"), "temperature must be one number; got '0.5'"),
    (lambda: losses.nt_xent(Z1, Z2, None), "temperature must be one number"),
    (lambda: losses.nt_xent(Z1, Z2, torch.tensor([0.5, 0.1])), "temperature must be one number"),
    (lambda: losses.chance_loss(math.nan), "n must be a whole number"),
    (lambda: losses.chance_loss(2.5), "n must be a whole number"),
    (lambda: losses.loss_floor(4, math.inf), "temperature must be above 0 and finite"),
    (lambda: losses.progress(1.0, 4, 1e300), "room between chance and floor"),
    (lambda: losses.info_nce(Z1, Z2, Z1[:, :3]), "as wide as the queries"),
    (lambda: losses.sup_con(Z1, Z2, [0, 0, 1, 1, 2, 2]), "labels must be an int64 tensor.*list"),
    (lambda: losses.sup_con(Z1, Z2, torch.full((6,), math.nan)), "labels must be an int64"),
    (lambda: losses.barlow_twins(Z1, Z2, -1.0), "weight must be"),
    (lambda: losses.vicreg(Z1, Z2, variance=math.nan), "variance must be"),
])
def test_odd_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_temperature_that_is_learnt_gets_a_gradient():
    temperature = torch.tensor(0.5, requires_grad=True)
    losses.nt_xent(Z1, Z2, temperature).backward()
    step = 1e-3
    slope = (losses.nt_xent(Z1, Z2, 0.5 + step) - losses.nt_xent(Z1, Z2, 0.5 - step)) / (2 * step)
    assert temperature.grad.item() == pytest.approx(slope.item(), rel=1e-2)


# VmHWM and not ru_maxrss, which starts at the peak of the process that launched this one.
MEMORY = """
import re, torch
from simclr_tut.losses import nt_xent

def peak():
    return int(re.search("VmHWM:\\\\s+([0-9]+) kB", open("/proc/self/status").read()).group(1))

z1, z2 = (torch.randn({n}, 128, requires_grad=True) for _ in range(2))
nt_xent(z1[:64], z2[:64]).backward()
before = peak()
nt_xent(z1, z2).backward()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system's peak is in kilobytes on Linux")
def test_forward_and_backward_of_8192_views_peak_at_about_four_similarity_matrices():
    n = 4096
    ran = subprocess.run([sys.executable, "-c", MEMORY.format(n=n)], capture_output=True,
                         text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    matrices = int(ran.stdout) * 1024 / (4 * (2 * n) ** 2)
    assert 1 < matrices < 4.5, f"{matrices:.2f} similarity matrices"


def test_nothing_larger_than_the_similarity_matrix_is_kept_for_the_gradient():
    n, kept = 256, []
    z1, z2 = (z.requires_grad_() for z in pairs(n, 64))

    def note(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses.nt_xent(z1, z2, 0.2)
    matrix = (2 * n) ** 2
    assert max(t.numel() for t in kept) <= matrix
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    assert sum(storages.values()) <= 4 * 4 * matrix


def test_the_naive_loss_passes_gradcheck():
    z1, z2 = (z.double().requires_grad_() for z in pairs(3, 2))
    assert torch.autograd.gradcheck(lambda a, b: losses.nt_xent_naive(a, b, 0.5), (z1, z2))


@pytest.mark.parametrize(("n", "temperature"), [(2, 1.0), (16, 0.1), (256, 0.5), (512, 2.0)])
def test_progress_is_0_at_collapse_1_on_the_simplex_and_linear_between(n, temperature):
    equal = torch.ones(n, 3)
    simplex = torch.eye(n) - 1 / n
    collapsed = losses.nt_xent(equal, equal, temperature).item()
    best = losses.nt_xent(simplex, simplex, temperature).item()
    assert losses.progress(collapsed, n, temperature) == pytest.approx(0, abs=1e-4)
    assert losses.progress(best, n, temperature) == pytest.approx(1, abs=1e-4)
    middle = (collapsed + best) / 2
    assert losses.progress(middle, n, temperature) == pytest.approx(0.5, abs=1e-4)
    assert losses.progress(collapsed + 1, n, temperature) < 0


@pytest.mark.parametrize("arguments", [(4.9, 1, 0.5), (4.9, 8, 0), (math.nan, 8, 0.5)])
def test_progress_refuses_what_has_no_chance_or_floor(arguments):
    with pytest.raises(ValueError, match="must be"):
        losses.progress(*arguments)


def ours(name):
    """The package's value and gradients for the embeddings that lightly was given."""
    z1, z2, queue = lightly_reference.embeddings()
    function = {
        "nt_xent": lambda a, b: losses.nt_xent(a, b, 0.2),
        "decoupled_nt_xent": lambda a, b: losses.decoupled_nt_xent(a, b, 0.2),
        "info_nce": lambda a, b: losses.info_nce(a, b.detach(), queue, 0.2),
    }.get(name, getattr(losses, name))
    return with_gradients(function, z1, z2)


@pytest.mark.parametrize("name", lightly_reference.recorded())
def test_values_and_gradients_equal_those_of_lightly(name):
    """Against numbers that lightly gave, so that no run leaves this out."""
    for mine, theirs in zip(ours(name), lightly_reference.recorded()[name], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_the_recorded_numbers_are_those_of_lightly():
    pytest.importorskip("lightly.loss")
    for name, parts in lightly_reference.from_lightly().items():
        for now, kept in zip(parts, lightly_reference.recorded()[name], strict=True):
            torch.testing.assert_close(now, kept, atol=1e-5, rtol=1e-4)


def test_decoupling_leaves_only_the_positive_out():
    z1, z2 = torch.randn(5, 3), torch.randn(5, 3)
    z = torch.nn.functional.normalize(torch.cat([z1, z2]), dim=1)
    total = 0.0
    for i in range(10):
        others = torch.stack([z[i] @ z[k] / 0.3 for k in range(10) if k % 5 != i % 5])
        total = total + others.logsumexp(0) - z[i] @ z[(i + 5) % 10] / 0.3
    torch.testing.assert_close(losses.decoupled_nt_xent(z1, z2, 0.3), total / 10)


@pytest.mark.parametrize(("call", "name"), [
    (lambda z, far: losses.nt_xent(z, far), "z2"),
    (lambda z, far: losses.barlow_twins(z, far), "z2"),
    (lambda z, far: losses.info_nce(z, z, far), "queue"),
    (lambda z, far: losses.sup_con(z, z, far[:, 0].long()), "labels"),
])
def test_mixed_devices_are_named(call, name):
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match=f"{name} is on meta, the first on cpu"):
        call(z, z.to("meta"))


def test_sup_con_equals_pytorch_metric_learning_with_gradients():
    own = pytest.importorskip("pytorch_metric_learning.losses")
    generator = torch.Generator().manual_seed(5)
    z1, z2 = (torch.randn(12, 8, generator=generator) for _ in range(2))
    labels = torch.arange(12) % 4
    reference = own.SupConLoss(temperature=0.2)
    mine = with_gradients(lambda a, b: losses.sup_con(a, b, labels, 0.2), z1, z2)
    expected = with_gradients(lambda a, b: reference(torch.cat([a, b]), labels.repeat(2)), z1, z2)
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def multi_view_loop(z, temperature):
    """The mean over every anchor and positive, one comparison at a time, in float64."""
    z = [torch.nn.functional.normalize(view.double(), dim=1) for view in z]
    terms = []
    for a, anchors in enumerate(z):
        for b, positives in enumerate(z):
            for i in range(len(anchors) if a != b else 0):
                positive = torch.exp(anchors[i] @ positives[i] / temperature)
                negatives = sum(torch.exp(anchors[i] @ view[k] / temperature)
                                for view in z for k in range(len(view)) if k != i)
                terms.append(-torch.log(positive / (positive + negatives)))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_more_views_equal_a_double_loop_with_its_gradient(count):
    z = [torch.randn(5, 7, generator=torch.Generator().manual_seed(s)) for s in range(count)]
    mine = [view.clone().requires_grad_() for view in z]
    loss = losses.multi_view_nt_xent(mine, 0.2)
    reference = [view.double().requires_grad_() for view in z]
    expected = multi_view_loop(reference, 0.2)
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.backward()
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, atol=1e-5, rtol=1e-4)


def test_two_views_are_nt_xent_and_more_views_keep_its_chance():
    z = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.multi_view_nt_xent(list(z), 0.1),
                               losses.nt_xent(z[0], z[1], 0.1), atol=1e-5, rtol=1e-5)
    equal = [torch.ones(16, 8)] * 4  # the positive and 4 x 15 negatives
    assert float(losses.multi_view_nt_xent(equal, 0.1)) == pytest.approx(math.log(61), abs=1e-5)


@pytest.mark.parametrize("views", [2, 4])
def test_chance_and_floor_of_several_views_are_reached_and_not_passed(views):
    n = 6
    simplex = torch.eye(n) - 1 / n  # cosines of -1 / (n - 1)
    best = losses.multi_view_nt_xent([simplex] * views, 0.3)
    assert float(best) == pytest.approx(losses.loss_floor(n, 0.3, views), abs=1e-5)
    worst = losses.multi_view_nt_xent([torch.ones(n, 4)] * views, 0.3)
    assert float(worst) == pytest.approx(losses.chance_loss(n, views), abs=1e-5)
    assert losses.progress(float(best), n, 0.3, views) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="views must be"):
        losses.chance_loss(n, 1)


def test_more_views_refuse_one_view_and_views_that_do_not_fit():
    for z in ([torch.rand(4, 3)], torch.rand(2, 4, 3)):
        with pytest.raises(ValueError, match="at least two views"):
            losses.multi_view_nt_xent(z)
    with pytest.raises(ValueError, match="same shape"):
        losses.multi_view_nt_xent([torch.rand(4, 3), torch.rand(4, 3), torch.rand(4, 2)])


@pytest.mark.parametrize("spread", [1.0, 1e-3, 5e-4])
def test_contrastive_accuracy_tells_near_collapse_from_collapse(spread):
    generator = torch.Generator().manual_seed(0)
    z1 = 1 + spread * torch.randn(64, 32, generator=generator)
    z2 = z1 + spread / 100 * torch.randn(64, 32, generator=generator)
    z = F.normalize(torch.cat([z1, z2]).double(), dim=1)
    nearest = (z @ z.T).fill_diagonal_(-2).argmax(1)
    expected = float((nearest == torch.arange(128).roll(64)).double().mean())
    assert expected == 1 and float(losses.contrastive_accuracy(z1, z2)) == 1
    assert float(losses.contrastive_accuracy(z1[:1].expand(64, 32), z1[:1].expand(64, 32))) == (
        pytest.approx(1 / 127))


@pytest.mark.parametrize("name", ["nt_xent", "decoupled_nt_xent", "negative_cosine", "alignment",
                                  "contrastive_accuracy"])
def test_short_rows_keep_their_direction_or_are_refused(name):
    z1, z2 = pairs()
    measure = getattr(losses, name)
    for length in (1e-6, 1e-9):
        torch.testing.assert_close(measure(z1 * length, z2 * length), measure(z1, z2))
    with pytest.raises(ValueError, match="z1 must have a number of 1e-10 or more in each row"):
        measure(z1 * 1e-13, z2)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: losses.nt_xent(*pairs(), temperature=True), TypeError, "temperature must be one"),
    (lambda: losses.nt_xent(*pairs(), temperature=__import__("fractions").Fraction(1, 3)),
     TypeError, "temperature must be one"),
    (lambda: losses.progress(torch.ones(2), 5, 0.1), TypeError, "loss must be one number"),
    (lambda: losses.loss_floor(10**400, 0.1), ValueError, "n must be a whole number"),
])
def test_odd_numbers_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Bad inputs by the thousand: each call has its properties, or names the argument it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simclr_tut import evaluation, losses, views

settings.register_profile("fuzz", max_examples=120, deadline=None, derandomize=True,
                          suppress_health_check=list(HealthCheck))
FUZZ = settings.get_profile("fuzz")
REFUSALS = (ValueError, TypeError)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.uint8, torch.bool)


def fill(shape, dtype, seed, spoil):
    """Normal draws of any dtype; ``spoil`` puts NaN or an infinity somewhere."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 3).to(dtype)
    if spoil is not None and x.is_floating_point() and x.numel():
        x.view(-1)[seed % x.numel()] = spoil
    return x


@st.composite
def tensors(draw, dimensions=(0, 4), largest=6, dtypes=FLOATS + OTHERS):
    shape = draw(st.lists(st.integers(0, largest), min_size=dimensions[0],
                          max_size=dimensions[1]))
    spoil = draw(st.sampled_from([None, None, None, math.nan, math.inf, -math.inf]))
    return fill(shape, draw(st.sampled_from(dtypes)), draw(st.integers(0, 10**6)), spoil)


matrices = tensors((2, 2))
odd_things = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(),
                       st.just(np.zeros((3, 2))), st.just([[1.0, 2.0]]))
numbers = st.one_of(st.floats(-1, 5), st.sampled_from([0.0, math.nan, math.inf, -math.inf]))


def attempt(function, names, *arguments, **named):
    """The result, or None after a refusal that names one of ``names``."""
    copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    try:
        result = function(*arguments, **named)
    except REFUSALS as error:
        assert any(name in str(error) for name in names), f"{type(error).__name__}: {error}"
        return None
    for before, after in zip(copies, arguments, strict=True):
        if isinstance(before, torch.Tensor):
            assert torch.equal(before.nan_to_num(), after.nan_to_num()), "an input was changed"
    return result


PAIRS = [losses.nt_xent, losses.nt_xent_naive, losses.contrastive_accuracy, losses.alignment,
         losses.negative_cosine, losses.barlow_twins, losses.vicreg, losses.sup_con,
         losses.info_nce]
Z_NAMES = ("z1", "z2", "temperature", "labels", "queue", "queries", "keys")


@pytest.mark.parametrize("function", PAIRS, ids=lambda f: f.__name__)
@FUZZ
@given(first=st.one_of(matrices, tensors(), odd_things), second=st.one_of(matrices, tensors()),
       same=st.booleans(), temperature=numbers, extra=st.one_of(matrices, tensors()))
def test_losses_of_pairs(function, first, second, same, temperature, extra):
    second = first if same else second
    arguments = [first, second]
    if function in (losses.sup_con, losses.info_nce):
        arguments.append(extra)
    if function in (losses.nt_xent, losses.nt_xent_naive, losses.sup_con, losses.info_nce):
        arguments.append(temperature)
    value = attempt(function, Z_NAMES, *arguments)
    if value is not None:
        assert value.dim() == 0 and not torch.isnan(value)
        if function is losses.contrastive_accuracy:
            assert 0 <= value <= 1
        if function is losses.alignment:
            assert -1e-5 <= value <= 4 + 1e-4
        if function in (losses.nt_xent,) and temperature > 0.05:
            floor = losses.loss_floor(len(first), temperature)
            assert floor - 1e-3 - 1e-4 * abs(floor) <= value


@pytest.mark.parametrize("function", [losses.uniformity, losses.effective_rank],
                         ids=lambda f: f.__name__)
@FUZZ
@given(z=st.one_of(matrices, tensors(), odd_things))
def test_measures_of_one_embedding(function, z):
    value = attempt(function, ("z",), z)
    if value is not None:
        assert value.dim() == 0 and torch.isfinite(value)
        if function is losses.uniformity:
            assert -8 - 1e-4 <= value <= 1e-5
        else:
            assert 1 - 1e-4 <= value <= min(z.shape) + 1e-3


@FUZZ
@given(n=st.integers(-2, 10**6), temperature=numbers)
def test_chance_and_floor(n, temperature):
    chance = attempt(losses.chance_loss, ("n must",), n)
    floor = attempt(losses.loss_floor, ("n must", "temperature"), n, temperature)
    if chance is not None and floor is not None and math.isfinite(temperature):
        assert 0 <= floor <= chance + 1e-9


@st.composite
def batches(draw):
    """Mostly real batches of pictures; sometimes another shape or dtype, or values out of range."""
    shape = [draw(st.integers(0, 3)), draw(st.sampled_from([1, 3, 3, 2])),
             draw(st.integers(0, 9)), draw(st.integers(0, 9))]
    if draw(st.integers(0, 5)) == 0:
        shape = shape[:draw(st.integers(0, 4))]
    dtype = draw(st.sampled_from((torch.uint8, torch.uint8, *FLOATS, torch.int64)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    x = torch.rand(shape, generator=generator)
    x = (255 * x).to(dtype) if dtype in (torch.uint8, torch.int64) else x.to(dtype)
    spoil = draw(st.sampled_from([None, None, None, math.nan, math.inf, 7.0]))
    if spoil is not None and x.is_floating_point() and x.numel():
        x.view(-1)[0] = spoil
    return x


def looks_like_views(x, images, size=None):
    assert x.dim() == 4 and len(x) == len(images) and x.shape[1] == images.shape[1]
    assert torch.isfinite(x).all()
    assert x.min() >= -1e-3 and x.max() <= 1 + 1e-3
    if size:
        assert x.shape[2:] == (size, size)


@FUZZ
@given(images=st.one_of(batches(), odd_things), size=st.integers(-1, 9),
       crop=st.sampled_from([None, (0.2, 1.0), (0.01, 0.02), (1.0, 1.0)]),
       color=st.sampled_from([0.0, 0.5, 1.25]), blur=st.sampled_from([0.0, 0.5, 1.0]),
       seed=st.integers(0, 1000))
def test_views(images, size, crop, color, blur, seed):
    def both(images):
        maker = views.Views(size, crop=crop, color=color, blur=blur)
        return maker(images, generator=torch.Generator().manual_seed(seed))

    pair = attempt(both, ("images", "size", "kernel_size"), images)
    if pair is not None:
        for view in pair:
            looks_like_views(view, images, size)


@pytest.mark.parametrize("name", ["hflip", "to_grayscale", "adjust_brightness", "adjust_contrast",
                                  "adjust_saturation", "adjust_hue", "gaussian_blur"])
@FUZZ
@given(images=st.one_of(batches(), odd_things), drawn=tensors((1, 1), 4), matching=st.booleans(),
       kernel=st.integers(-1, 9))
def test_view_operations(name, images, drawn, matching, kernel):
    if matching and isinstance(images, torch.Tensor) and images.dim() == 4:
        drawn = torch.rand(len(images))
    boolean = name in ("hflip", "to_grayscale")
    arguments = [images, drawn > 0 if boolean and matching else drawn]
    if name == "gaussian_blur":
        arguments.append(kernel)
    names = ("images", "flip", "gray", "factor", "turn", "sigma", "kernel_size")
    result = attempt(getattr(views, name), names, *arguments)
    if result is not None:
        looks_like_views(result, images)


@FUZZ
@given(images=batches(), boxes=tensors((2, 2), 9), size=st.integers(-1, 9), inside=st.booleans())
def test_resized_crop(images, boxes, size, inside):
    if inside and images.dim() == 4:
        n, _, height, width = images.shape
        boxes = torch.tensor([[0, 0, height, width]] * n, dtype=torch.int64).view(n, 4)
    result = attempt(views.resized_crop, ("images", "boxes", "size"), images, boxes, size)
    if result is not None:
        looks_like_views(result, images, size)


@FUZZ
@given(bank=st.one_of(matrices, tensors()), queries=st.one_of(matrices, tensors()),
       fitting=st.booleans(), k=st.integers(-1, 9), temperature=numbers)
def test_knn(bank, queries, fitting, k, temperature):
    labels = torch.arange(len(bank)) % 3 if fitting and bank.dim() else torch.tensor([0.5])
    queries = bank if fitting else queries
    names = ("bank", "bank_labels", "queries", "k must", "temperature")
    result = attempt(evaluation.knn_predict, names, bank, labels, queries, k, temperature)
    if result is not None:
        assert result.shape == queries.shape[:1] and result.dtype == torch.int64
        assert ((result >= 0) & (result < 3)).all()


@FUZZ
@given(bank=st.one_of(matrices, tensors()), k=st.integers(-1, 9))
def test_retrieval(bank, k):
    result = attempt(evaluation.retrieval, ("bank", "k must"), bank, k)
    if result is not None:
        assert result.shape == (len(bank), k)
        assert (result != torch.arange(len(bank))[:, None]).all(), "a picture matched itself"


@FUZZ
@given(values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), max_size=5))
def test_interval(values):
    result = attempt(evaluation.interval, ("values", "interval"), values)
    if result is not None:
        mean, low, high = result
        assert low <= mean <= high


@FUZZ
@given(images=st.one_of(batches(), odd_things), bins=st.integers(-1, 6))
def test_raw_features(images, bins):
    pixels = attempt(evaluation.raw_pixels, ("images",), images)
    if pixels is not None:
        assert pixels.dim() == 2 and pixels.min() >= 0 and pixels.max() <= 1
    counts = attempt(evaluation.color_histogram, ("images", "bins"), images, bins)
    if counts is not None:
        assert counts.shape == (len(images), bins**3)
        torch.testing.assert_close(counts.sum(1), torch.ones(len(images)))

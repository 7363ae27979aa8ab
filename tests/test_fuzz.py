"""Bad inputs by the thousand: each call has its properties, or names the argument it refuses."""

import inspect
import math
import re

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
    """Normal draws of any dtype; ``spoil`` puts NaN or a number of another size somewhere.

    "zero" makes a row of zeros, "equal" makes all rows alike.
    """
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 3).to(dtype)
    if spoil in ("zero", "equal"):
        if x.dim() and len(x):
            x[...] = x[:1].clone() if spoil == "equal" else x
            x[0] = 0 if spoil == "zero" else x[0]
    elif spoil is not None and x.is_floating_point() and x.numel():
        x.view(-1)[seed % x.numel()] = torch.tensor(spoil, dtype=torch.float64).to(dtype)
    return x


@st.composite
def tensors(draw, dimensions=(0, 4), largest=6, dtypes=FLOATS + OTHERS):
    shape = draw(st.lists(st.integers(0, largest), min_size=dimensions[0],
                          max_size=dimensions[1]))
    spoil = draw(st.sampled_from([None, None, None, math.nan, math.inf, -math.inf, "zero", "equal",
                                  1e30, 1e-30, 1e300, 6e4]))
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


PAIRS = [losses.nt_xent, losses.nt_xent_naive, losses.decoupled_nt_xent,
         losses.contrastive_accuracy, losses.alignment,
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
    if function in (losses.nt_xent, losses.nt_xent_naive, losses.decoupled_nt_xent,
                    losses.sup_con, losses.info_nce):
        arguments.append(temperature)
    value = attempt(function, Z_NAMES, *arguments)
    if value is not None:
        assert value.dim() == 0 and not torch.isnan(value)
        if function is losses.contrastive_accuracy:
            assert 0 <= value <= 1
        if function is losses.alignment:
            assert -1e-5 <= value <= 4 + 1e-4
        if function is losses.nt_xent and temperature > 0.05 and float(first.abs().min()) > 1e-9:
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


@FUZZ
@given(loss=numbers, n=st.integers(-2, 10**6), temperature=numbers)
def test_progress(loss, n, temperature):
    value = attempt(losses.progress, ("loss must", "n must", "temperature"), loss, n, temperature)
    if value is not None:
        assert math.isfinite(value)
        if losses.loss_floor(n, temperature) <= loss <= losses.chance_loss(n):
            assert -1e-9 <= value <= 1 + 1e-9


WEIGHTED = {"barlow_twins": ("weight",), "vicreg": ("invariance", "variance", "covariance")}


@pytest.mark.parametrize("name", WEIGHTED)
@FUZZ
@given(z=matrices, weights=st.lists(st.one_of(numbers, st.floats(0, 1e300)), min_size=3,
                                    max_size=3))
def test_weights_of_a_loss(name, z, weights):
    named = dict(zip(WEIGHTED[name], weights))
    value = attempt(getattr(losses, name), (*Z_NAMES, *WEIGHTED[name]), z, z.flip(0), **named)
    if value is not None:
        assert value.dim() == 0 and not torch.isnan(value) and value >= -1e-3


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


def drawn_for(images, seed, spoil=None):
    """The parameters of ``Views.draw``, one of them spoilt if asked."""
    n, _, height, width = images.shape
    p = views.Views(8, blur=0.5).draw(n, height, width, torch.Generator().manual_seed(seed))
    if spoil:
        name, how = spoil
        value = p[name]
        p[name] = {"short": value[:-1], "long": torch.cat([value, value]), "gone": None,
                   "words": "a", "double": value.double(), "ints": value.long() + 7,
                   "nan": value.float() * math.nan, "column": value[:, None]}[how]
    return p


@FUZZ
@given(images=batches(), seed=st.integers(0, 1000), spoil=st.one_of(st.none(), st.tuples(
    st.sampled_from(["brightness", "contrast", "saturation", "hue", "order"]),
    st.sampled_from(["short", "long", "gone", "words", "double", "ints", "nan", "column"]))))
def test_color_jitter(images, seed, spoil):
    if images.dim() != 4 or 0 in images.shape:
        return
    p = drawn_for(images, seed, spoil)
    names = ("brightness", "contrast", "saturation", "hue", "order")
    result = attempt(views.color_jitter, ("images", *names), images, *(p[k] for k in names))
    if result is not None:
        looks_like_views(result, images)


@FUZZ
@given(images=batches(), seed=st.integers(0, 1000), size=st.one_of(st.none(), st.integers(-1, 9)),
       leave_out=st.booleans(), spoil=st.one_of(st.none(), st.tuples(
           st.sampled_from(["boxes", "flip", "brightness", "gray", "sigma", "order"]),
           st.sampled_from(["short", "long", "gone", "words", "double", "ints", "nan",
                            "column"]))))
def test_apply(images, seed, size, leave_out, spoil):
    if images.dim() != 4 or 0 in images.shape:
        return
    p = drawn_for(images, seed, spoil)
    if spoil and leave_out:
        del p[spoil[0]]
    names = ("images", "size", "kernel_size", *p, "parameters")
    result = attempt(views.Views(8, blur=0.5).apply, names, images, p, size)
    if result is not None:
        looks_like_views(result, images)


@FUZZ
@given(n=st.integers(-2, 5), height=st.integers(-2, 9), width=st.one_of(
    st.integers(-2, 9), st.floats(0, 3), st.none()))
def test_draw(n, height, width):
    p = attempt(views.Views(8).draw, ("n", "height", "width"), n, height, width)
    if p is not None:
        assert all(len(value) == n for value in p.values())
        top, left, h, w = p["boxes"].unbind(1)
        assert ((top >= 0) & (left >= 0) & (h >= 1) & (w >= 1)).all()
        assert ((top + h <= height) & (left + w <= width)).all()


anything = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=2),
                     st.lists(st.floats(), max_size=3), st.tuples(st.floats(0, 1), st.floats(0, 1)))


@FUZZ
@given(choice=st.dictionaries(st.sampled_from(
    ["size", "crop", "flip", "color", "color_p", "gray", "blur", "ratio", "hue"]), anything))
def test_settings_of_views(choice):
    """What the constructor takes can be drawn from; the rest is named at once, not at the draw."""
    choice = {"size": 8, **choice}
    made = attempt(views.Views, tuple(choice), **choice)
    if made is not None:
        images = torch.rand(2, 3, 12, 12)
        for view in made(images, generator=torch.Generator().manual_seed(0)):
            looks_like_views(view, images, made.size)


@FUZZ
@given(start=st.one_of(tensors((1, 1), 3), odd_things), length=st.one_of(tensors((1, 1), 3),
                                                                        odd_things),
       full=st.integers(-2, 9), size=st.integers(-2, 9), whole=st.booleans())
def test_resampling_matrix(start, length, full, size, whole):
    if whole:
        start, length = torch.zeros(2, dtype=torch.int64), torch.full((2,), max(full, 1))
    names = ("start", "length", "full", "size")
    weights = attempt(views.resampling_matrix, names, start, length, full, size)
    if weights is not None:
        assert weights.shape == (len(start), size, full)
        torch.testing.assert_close(weights.sum(2), torch.ones(len(start), size))


@FUZZ
@given(turn=st.one_of(tensors((0, 2)), odd_things))
def test_hue_matrix(turn):
    matrices = attempt(views.hue_matrix, ("turn",), turn)
    if matrices is not None:
        assert matrices.shape == (len(turn), 3, 3)
        grey = matrices.sum(2)  # grey stays grey, whatever the turn
        torch.testing.assert_close(grey, torch.ones(len(turn), 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["hflip", "to_grayscale", "adjust_brightness", "adjust_contrast",
                                  "adjust_saturation", "adjust_hue", "turn_hue",
                                  "gaussian_blur"])
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
@given(bank=st.one_of(matrices, tensors(), odd_things), k=st.one_of(st.integers(-1, 9), anything),
       queries=st.one_of(st.none(), tensors((0, 2), 4), odd_things))
def test_retrieval(bank, k, queries):
    result = attempt(evaluation.retrieval, ("bank", "k must", "queries"), bank, k, queries)
    if result is not None:
        rows = torch.arange(len(bank)) if queries is None else queries
        assert result.shape == (len(rows), k)
        assert (result != rows[:, None]).all(), "a picture matched itself"


@FUZZ
@given(n=st.integers(0, 5), labels=st.one_of(tensors((0, 2)), odd_things), fitting=st.booleans())
def test_knn_accuracy(n, labels, fitting):
    bank = torch.randn(5, 3, generator=torch.Generator().manual_seed(n))
    labels = torch.zeros(n, dtype=torch.int64) if fitting else labels
    share = attempt(evaluation.knn_accuracy, ("query_labels", "queries"), bank, torch.arange(5),
                    bank[:n], labels, 1)
    if share is not None:
        assert 0 <= share <= 1


class Constant(torch.nn.Module):
    """An encoder that takes any picture; its features are its mean colours."""

    def forward(self, x):
        return x.mean((2, 3))


@FUZZ
@given(images=st.one_of(batches(), odd_things), layer=st.sampled_from(["h", "z", "x", None, 3]),
       batch_size=st.one_of(st.integers(-1, 3), st.none(), st.floats(0, 2)))
def test_encode(images, layer, batch_size):
    model = Constant().train()
    h = attempt(lambda *a: evaluation.encode(model, *a), ("images", "layer", "batch_size"), images,
                layer, batch_size)
    assert model.training
    if h is not None:
        assert h.shape == images.shape[:2] and h.dtype == torch.float32
        assert torch.isfinite(h).all()


FEW = settings(FUZZ, max_examples=50)
PROBE_NAMES = ("features", "labels", "values", "strength", "iterations", "classes")
things = st.one_of(tensors((1, 2), 5), odd_things)


@FEW
@given(x=things, y=things, fitting=st.integers(0, 3), strengths=st.sampled_from(
    [(0.1,), (), (0.0,), (-1.0,), (math.nan,), None, 3, ("a",)]),
    iterations=st.sampled_from([1, 20, 0, -1, None]), n=st.integers(1, 6))
def test_probes(x, y, fitting, strengths, iterations, n):
    """Half of the time everything but the settings fits together."""
    if fitting:
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
        y = torch.arange(n) % 2 if fitting < 3 else y
        strengths, iterations = ((0.1,), 20) if fitting == 1 else (strengths, iterations)
    for function, repeats in ((evaluation.fit_probe, 2), (evaluation.linear_probe, 3)):
        result = attempt(function, PROBE_NAMES, *([x, y] * repeats), strengths, iterations)
        if result is not None:
            assert all(0 <= share <= 1 for share in result.validation.values())
            assert result.strength in strengths
            if function is evaluation.fit_probe:
                assert result.predict(x).shape == (len(x),)
                for other in (x[:, :2], x.flatten(), x.long(), None):
                    predicted = attempt(result.predict, ("features",), other)
                    assert predicted is None or other.shape == x.shape


@FEW
@given(x=things, y=things, fitting=st.booleans(), strength=st.one_of(numbers, anything),
       n=st.integers(1, 6))
def test_ridge(x, y, fitting, strength, n):
    if fitting:
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
        y = x[:, 0] + 1
    r2 = attempt(evaluation.ridge_r2, PROBE_NAMES, x, y, x, y, strength)
    if r2 is not None:
        assert math.isfinite(r2) and r2 <= 1 + 1e-9


@settings(FUZZ, max_examples=30)
@given(x=st.one_of(things, tensors((2, 2), 9, dtypes=(torch.float32,))), method=st.sampled_from(
    ["pca", "pca", "tsne", "umap", None]), perplexity=st.one_of(st.just(2.0), numbers, anything))
def test_embed_2d(x, method, perplexity):
    place = attempt(evaluation.embed_2d, ("features", "method", "perplexity", "seed"), x, method, 0,
                    perplexity)
    if place is not None:
        assert place.shape == (len(x), 2) and np.isfinite(place).all()


@FUZZ
@given(predictions=things, labels=things, same=st.booleans(), classes=st.one_of(
    st.integers(-1, 4), anything))
def test_confusion(predictions, labels, same, classes):
    labels = predictions if same else labels
    table = attempt(evaluation.confusion, ("predictions", "labels", "classes"), predictions, labels,
                    classes)
    if table is not None:
        assert table.shape == (classes, classes) and int(table.sum()) == len(labels)
        assert int(table.min()) >= 0


@FEW
@given(bank=things, others=st.one_of(things, tensors((2, 2))), fitting=st.booleans(),
       shrink=st.one_of(st.just(0.01), numbers, anything))
def test_whiten(bank, others, fitting, shrink):
    if fitting:
        bank = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * 5
        others = bank[:7]
    result = attempt(evaluation.whiten, ("bank", "others", "shrink"), bank, others, shrink=shrink)
    if result is not None:
        assert [len(x) for x in result] == [len(bank), len(others)]
        assert all(torch.isfinite(x).all() for x in result)
        assert result[0].mean(0).abs().max() < 1e-2 + 1e-4 * float(result[0].abs().max())
    mapped = attempt(evaluation.whitening_map, ("bank", "others", "shrink"), bank, shrink)
    assert result is None or mapped is not None
    if mapped is not None:
        matrix, offset = mapped
        assert matrix.shape == (len(offset), len(offset)) == (bank.shape[1], bank.shape[1])
        assert torch.isfinite(matrix).all() and torch.isfinite(offset).all()


@FUZZ
@given(z=st.lists(st.one_of(tensors((2, 2), 4), odd_things), max_size=4), same=st.booleans(),
       count=st.integers(0, 4), temperature=numbers)
def test_multi_view_nt_xent(z, same, count, temperature):
    if same and z:
        z = [z[0]] * count
    result = attempt(losses.multi_view_nt_xent, ("z1", "z2", "z must", "temperature"), z,
                     temperature)
    if result is not None:
        assert result.shape == () and torch.isfinite(result) and result >= -1e-5


@FUZZ
@given(content=st.one_of(st.binary(max_size=40), st.sampled_from(
    [b"[]", b"{}", b"null", b"3", b'[{"name": "a"}]', b'[{"name": "a", "value": NaN}]',
     b'[{"name": "", "value": 1}]', b'[{"name": 3, "value": "x"}]', b"[[[[", b'["a"]'])))
def test_files_of_results(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    (folder / "results.json").write_bytes(content)
    found = attempt(evaluation.read_records, ("results.json",), folder)
    if found is not None:
        assert all(math.isfinite(r["value"]) and r["name"] for r in found)
        assert evaluation.results_table(found).count("\n") == 1 + len(found)
    (folder / "trial.jsonl").write_bytes(content)
    found = attempt(evaluation.read_benchmark, ("trial.jsonl",), "trial", folder / "trial.jsonl")
    assert found in (None, []), "no record of these has its checksum"


@FUZZ
@given(value=st.one_of(anything, numbers), name=st.one_of(st.text(max_size=4), st.none()))
def test_record_keeps_numbers_only(value, name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    attempt(evaluation.record, ("value", "name"), folder, name, value, seed=0)
    for record in evaluation.read_records(folder):
        assert record["name"] == name and record["value"] == float(value)


def test_every_public_function_is_driven():
    """A function added later is to be added here too."""
    source = open(__file__, encoding="utf-8").read()
    # of a dictionary, for read_benchmark; and two calls of functions that are driven here
    covered_elsewhere = {"checksum", "knn_plain_and_whitened"}
    missing = [f"{module.__name__}.{name}" for module in (views, losses, evaluation)
               for name, thing in vars(module).items()
               if inspect.isfunction(thing) and thing.__module__ == module.__name__
               and not name.startswith("_") and name not in covered_elsewhere
               and not re.search(rf"\.{name}\b|\"{name}\"", source)]
    assert not missing


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


Z, Y, BANK, PICTURES = (torch.randn(4, 3), torch.randn(4, 3), torch.randn(40, 3),
                        torch.rand(2, 3, 12, 12))
ONE = torch.zeros(40, 3).index_put_((torch.tensor(3), torch.tensor(1)), torch.tensor(1e-30))
CLASSES = torch.arange(40) % 2
EXTREMES = {  # what a call may be given, and the word its refusal must hold; None: it must answer
    "a map of tiny features": (None, lambda: evaluation.embed_2d(BANK * 1e-25, perplexity=5)),
    "a map of one tiny feature": (None, lambda: evaluation.embed_2d(ONE, perplexity=5)),
    "a perplexity in words": ("perplexity", lambda: evaluation.embed_2d(BANK, perplexity="a")),
    "a seed below 0": ("seed", lambda: evaluation.embed_2d(BANK, seed=-1)),
    "vicreg far out": ("z1", lambda: losses.vicreg(Z * 1e10, Y * 1e10)),
    "vicreg within": (None, lambda: losses.vicreg(Z * 1e6, Y * 1e6, 1e6, 1e6, 1e6)),
    "a heavy invariance": ("invariance", lambda: losses.vicreg(Z, Z, invariance=1e39)),
    "a heavy weight": ("weight", lambda: losses.barlow_twins(Z[:, :1], Y[:, :1], 1e39)),
    "nt_xent, cold": ("temperature", lambda: losses.nt_xent(Z, Y, 1e-39)),
    "nt_xent, just above": (None, lambda: losses.nt_xent(Z, Y, 2e-30)),
    "several views, cold": ("temperature", lambda: losses.multi_view_nt_xent([Z, Y], 1e-39)),
    "a queue, cold": ("temperature", lambda: losses.info_nce(Z, Y, BANK, 1e-39)),
    "labels, cold": ("temperature", lambda: losses.sup_con(Z, Y, CLASSES[:4], 1e-39)),
    "decoupled, cold": ("temperature", lambda: losses.decoupled_nt_xent(Z, Y, 1e-40)),
    "the plain form in 16 bits": ("z1", lambda: losses.nt_xent_naive(Z.half() * 300, Y.half(), 1)),
    "a temperature of three dimensions": (
        "temperature", lambda: losses.nt_xent(Z, Y, torch.ones(1, 1, 1))),
    "a temperature beyond float": ("temperature", lambda: losses.loss_floor(4, 10**400)),
    "eight bits": ("z1", lambda: losses.nt_xent(*2 * [Z.to(torch.float8_e4m3fn)])),
    "a loss in words": ("loss", lambda: losses.progress("a", 4, 0.5)),
    "many turns": ("turn", lambda: views.turn_hue(PICTURES, torch.tensor([1e38] * 2))),
    "many turns in float64": ("turn", lambda: views.hue_matrix(torch.tensor([1e308] * 2).double())),
    "bytes as factors": ("factor", lambda: views.adjust_contrast(
        PICTURES, torch.tensor([2, 2], dtype=torch.uint8))),
    "a huge factor": ("factor", lambda: views.adjust_saturation(
        PICTURES, torch.tensor([1e39] * 2).double())),
    "a span of bytes": ("start", lambda: views.resampling_matrix(
        torch.tensor([200], dtype=torch.uint8), torch.tensor([100], dtype=torch.uint8), 50, 4)),
    "a span that wraps": ("start", lambda: views.resampling_matrix(
        torch.tensor([2**63 - 1]), torch.tensor([100]), 50, 4)),
    "a box that wraps": ("boxes", lambda: views.resized_crop(
        PICTURES, torch.tensor([[2**63 - 1, 0, 5, 5]] * 2), 8)),
    "a sigma of float64": (None, lambda: views.gaussian_blur(PICTURES, torch.ones(2).double(), 3)),
    "no parameters": ("parameters", lambda: views.Views(8).apply(PICTURES, None)),
    "a height beyond float": ("height", lambda: views.Views(8).draw(2, 10**20, 8)),
    "a strength beyond float": ("color", lambda: views.Views(8, color=10**400)),
    "whitening in float64": ("bank", lambda: evaluation.whiten(BANK.double())),
    "hardly any shrinkage": ("shrink", lambda: evaluation.whiten(BANK, shrink=1e-320)),
    "an interval beyond float": ("values", lambda: evaluation.interval([1.7e308, 1.7e308, 0])),
    "an interval without top": ("top", lambda: evaluation.interval([1, 2], top=math.inf)),
    "an interval of words": ("values", lambda: evaluation.interval(["a"])),
    "an interval of nothing": ("values", lambda: evaluation.interval(None)),
    "classes without end": ("classes", lambda: evaluation.confusion(CLASSES, CLASSES, 10**7)),
    "votes beyond float": ("temperature", lambda: evaluation.knn_predict(
        BANK, CLASSES, BANK, 5, 10**400)),
    "a probe beyond float": ("strengths", lambda: evaluation.fit_probe(
        BANK, CLASSES, BANK, CLASSES, [10**400])),
    "a ridge beyond float": ("strength", lambda: evaluation.ridge_r2(
        BANK, BANK[:, 0], BANK, BANK[:, 0], 10**400)),
    "True neighbours": ("k must", lambda: evaluation.retrieval(BANK, True)),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_answered_or_refused_by_name(name):
    refused, call = EXTREMES[name]
    if refused:
        with pytest.raises((ValueError, TypeError), match=refused):
            call()
    else:
        assert torch.as_tensor(call()).isfinite().all()


@pytest.mark.parametrize("content", ['[{"name": "a", "value": Infinity}]', "[" * 100_000,
                                     '[{"name": "a", "value": "much"}]'])
def test_results_that_are_no_numbers_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match="cannot be read"):
        evaluation.read_records(tmp_path)

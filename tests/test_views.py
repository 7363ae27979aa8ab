"""Views against torchvision's operations on the single image."""

import colorsys
import math

import pytest
import torch
from torchvision.transforms import functional as reference

from simclr_tut import views
from simclr_tut.views import Views


@pytest.fixture
def images():
    return torch.randint(0, 256, (8, 3, 32, 40), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(1))


@pytest.fixture
def drawn():
    return Views(32, color=1.0).draw(8, 32, 40, torch.Generator().manual_seed(2))


def each(images, operation):
    return torch.stack([operation(image.float() / 255, i) for i, image in enumerate(images)])


@pytest.mark.parametrize("size", [8, 24, 32, 50])
def test_crop_equals_torchvision(images, drawn, size):
    expected = each(images, lambda p, i: reference.resized_crop(
        p, *drawn["boxes"][i].tolist(), [size, size], antialias=True))
    torch.testing.assert_close(views.resized_crop(images, drawn["boxes"], size), expected,
                               atol=1e-5, rtol=0)


def test_a_picture_too_large_for_looked_up_weights_is_cropped_the_same_way():
    images = torch.randint(0, 256, (6, 3, 96, 50), dtype=torch.uint8)
    drawn = Views(32).draw(6, 96, 50)
    expected = each(images, lambda p, i: reference.hflip(reference.resized_crop(
        p, *drawn["boxes"][i].tolist(), [32, 32], antialias=True)))
    drawn = {**drawn, "flip": torch.ones(6, dtype=torch.bool)}
    ours = Views(32, color=0, gray=0).apply(images, drawn)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{"blur": 1.0}, {"color": 0.0}, {"gray": 0.0}])
def test_a_view_is_its_operations_one_after_the_other(channels, options):
    images = torch.randint(0, 256, (40, channels, 32, 40), dtype=torch.uint8)
    policy = Views(24, **options)
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    together = policy(images, generator=generators[0])
    for view in together:  # the draws of the first view come before those of the second
        p = policy.draw(40, 32, 40, generators[1])
        expected = views.hflip(views.resized_crop(images, p["boxes"], 24), p["flip"])
        expected = views.color_jitter(expected, *(p[n] for n in (
            "brightness", "contrast", "saturation", "hue", "order")))
        if policy.gray:
            expected = views.to_grayscale(expected, p["gray"])
        if policy.blur:
            expected = views.gaussian_blur(expected, p["sigma"], 3)
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(policy.apply(images, p), expected, atol=1e-5, rtol=0)


def test_large_pictures_by_matrices_too():
    """The way of a GPU, where pictures are not cropped one after the other."""
    images = torch.randint(0, 256, (6, 3, 96, 50), dtype=torch.uint8).float() / 255
    boxes, flip = Views(32).draw(6, 96, 50)["boxes"], torch.arange(6) % 2 == 0
    expected = torch.stack([reference.resized_crop(p, *box, [32, 32], antialias=True)
                            for p, box in zip(images, boxes.tolist(), strict=True)])
    expected[flip] = expected[flip].flip(3)
    for crop in (views._crop_by_matrices, views._crop_in_turn):
        torch.testing.assert_close(crop(images, boxes, 32, flip), expected, atol=1e-5, rtol=0)
    assert views._crop_in_turn(images[:0], boxes[:0], 32, flip[:0]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("hsv", [False, True])
def test_views_made_in_pieces_are_those_made_at_once(monkeypatch, side, hsv):
    images = torch.randint(0, 256, (40, 3, side, side + 8), dtype=torch.uint8)
    policy = Views(24, blur=0.5, count=3, hsv=hsv)
    pieces, whole = [], Views._made

    def counted(self, some, draws, size):
        pieces.append(len(some))
        return whole(self, some, draws, size)

    def make(numbers):
        pieces.clear()
        monkeypatch.setattr(views, "_PIECE", numbers)
        return torch.stack(policy(images, generator=torch.Generator().manual_seed(7)))

    monkeypatch.setattr(Views, "_made", counted)
    at_once = make(10**9)
    assert pieces == [40] and at_once.shape == (3, 40, 3, 24, 24)
    for numbers, sizes in ((1, [1] * 40), (7 * 3 * 3 * 24**2, [7] * 5 + [5])):
        torch.testing.assert_close(make(numbers), at_once, atol=1e-6, rtol=0)
        assert pieces[1:] == sizes


def test_flip_and_grayscale_equal_torchvision(images):
    chosen = torch.tensor([True, False] * 4)
    flipped = each(images, lambda p, i: reference.hflip(p) if chosen[i] else p)
    gray = each(images, lambda p, i: reference.rgb_to_grayscale(p, 3) if chosen[i] else p)
    torch.testing.assert_close(views.hflip(images, chosen), flipped)
    torch.testing.assert_close(views.to_grayscale(images, chosen), gray, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("low", [0.0, 1.0])
def test_colour_operations_equal_torchvision(images, name, low):
    factor = torch.linspace(low, low + 1, 8)
    theirs = getattr(reference, f"adjust_{name}")
    expected = each(images, lambda p, i: theirs(p, factor[i].item()))
    torch.testing.assert_close(getattr(views, f"adjust_{name}")(images, factor), expected,
                               atol=1e-5, rtol=0)


def test_jitter_applies_each_image_s_own_order_and_clamps_between(images, drawn):
    names = ("brightness", "contrast", "saturation")

    def expected(picture, i):
        for operation in drawn["order"][i].tolist():
            if operation == 3:
                picture = views.adjust_hue(picture[None], drawn["hue"][i : i + 1])[0]
            else:
                theirs = getattr(reference, f"adjust_{names[operation]}")
                picture = theirs(picture, drawn[names[operation]][i].item())
        return picture

    ours = views.color_jitter(images, *(drawn[n] for n in (*names, "hue", "order")))
    torch.testing.assert_close(ours, each(images, expected), atol=1e-5, rtol=0)


def test_hue_equals_a_pixel_loop_in_yiq(images):
    turn = torch.linspace(-0.5, 0.5, 8)
    ours = views.adjust_hue(images[:, :, :3, :3], turn)
    for n in range(8):
        for row in range(3):
            for column in range(3):
                r, g, b = (images[n, :, row, column].double() / 255).tolist()
                y = 0.299 * r + 0.587 * g + 0.114 * b
                i = 0.5959 * r - 0.2746 * g - 0.3213 * b
                q = 0.2115 * r - 0.5227 * g + 0.3112 * b
                a = 2 * math.pi * turn[n].item()
                i, q = i * math.cos(a) - q * math.sin(a), i * math.sin(a) + q * math.cos(a)
                basis = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213],
                                      [0.2115, -0.5227, 0.3112]], dtype=torch.float64)
                rgb = torch.linalg.solve(basis, torch.tensor([y, i, q], dtype=torch.float64))
                torch.testing.assert_close(ours[n, :, row, column].double(), rgb.clamp(0, 1),
                                           atol=1e-5, rtol=0)


def test_half_a_turn_of_hue_makes_red_bluish_green():
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    hue = colorsys.rgb_to_hsv(*views.adjust_hue(red, torch.tensor([0.5])).flatten().tolist())[0]
    assert 0.4 < hue < 0.6


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_blur_equals_torchvision(images, kernel):
    sigma = torch.linspace(0.1, 2, 8)
    expected = each(images, lambda p, i: reference.gaussian_blur(p, kernel, sigma[i].item()))
    torch.testing.assert_close(views.gaussian_blur(images, sigma, kernel), expected,
                               atol=1e-5, rtol=0)
    sharp = views.gaussian_blur(images, torch.zeros(8), kernel)
    torch.testing.assert_close(sharp, images.float() / 255)


def test_every_image_draws_its_own_parameters_and_a_generator_repeats_them():
    policy = Views(32, color=1.0)
    first, again = (policy.draw(500, 32, 32, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert len(first["boxes"].unique(dim=0)) > 400
    assert 0.4 < first["flip"].float().mean() < 0.6
    assert 0.12 < first["gray"].float().mean() < 0.28
    assert 0.72 < (first["brightness"] != 1).float().mean() < 0.88
    assert first["hue"].abs().max() <= 0.2
    assert (first["order"].sort(dim=1).values == torch.arange(4)).all()


def test_boxes_lie_inside_and_keep_the_asked_share_of_the_area():
    boxes = Views(32, crop=(0.2, 0.6)).draw(2000, 32, 48)["boxes"]
    top, left, height, width = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 32).all() and (left + width <= 48).all()
    share = (height * width) / (32 * 48)
    assert share.min() > 0.17 and share.max() < 0.65
    assert ((width / height) > 0.68).all() and ((width / height) < 1.45).all()


def test_two_views_differ_and_size_can_be_overridden(images):
    first, second = Views(32)(images)
    assert first.shape == second.shape == (8, 3, 32, 32) and not torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1 and first.dtype == torch.float32
    assert Views(32)(images, size=20)[0].shape == (8, 3, 20, 20)


def test_without_any_change_a_view_is_the_picture():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    view, _ = Views(32, crop=None, flip=0, color=0, gray=0)(images)
    torch.testing.assert_close(view, images.float() / 255)


def test_grey_pictures_of_one_channel_pass():
    view, _ = Views(16)(torch.rand(4, 1, 28, 28))
    assert view.shape == (4, 1, 16, 16)


@pytest.mark.parametrize(("bad", "error", "message"), [
    (torch.zeros(3, 32, 32), ValueError, "images must be"),
    (torch.zeros(2, 4, 32, 32), ValueError, "1 or 3 channels"),
    (torch.zeros(2, 3, 32, 32, dtype=torch.int32), TypeError, "images must be"),
    (torch.full((2, 3, 8, 8), 200.0), ValueError, "Divide bytes by 255"),
    (torch.full((2, 3, 8, 8), math.nan), ValueError, "images must lie"),
])
def test_bad_pictures_are_named(bad, error, message):
    with pytest.raises(error, match=message):
        Views(8)(bad)


def test_bad_parameters_are_named(images):
    with pytest.raises(ValueError, match="boxes must lie inside"):
        views.resized_crop(images, torch.tensor([[0, 0, 33, 5]] * 8), 8)
    with pytest.raises(ValueError, match="factor must be a tensor"):
        views.adjust_contrast(images, torch.ones(3))
    with pytest.raises(ValueError, match="turn must be finite"):
        views.adjust_hue(images, torch.full((8,), math.inf))
    for wrong in ({"flip": 2}, {"color": -1}, {"crop": (0.5, 0.2)}, {"ratio": (0, 1)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Views(32, **wrong)


@pytest.mark.parametrize(("name", "wrong", "message"), [
    ("boxes", torch.tensor([[0, 0, 33, 5]] * 8), "boxes must lie inside"),
    ("contrast", torch.ones(3), "contrast must be a tensor"),
    ("hue", torch.full((8,), math.nan), "hue must be finite"),
])
def test_a_draw_changed_by_hand_is_checked(images, drawn, name, wrong, message):
    with pytest.raises(ValueError, match=message):
        Views(32).apply(images, {**drawn, name: wrong})


def test_a_turn_in_hsv_equals_torchvision_s(images):
    images = images.clone()
    images[0] = images[0, :1]  # grey: no hue at all
    turn = torch.linspace(-0.5, 0.5, len(images))
    expected = torch.stack([reference.adjust_hue(image, float(t))
                            for image, t in zip(images.float() / 255, turn, strict=True)])
    torch.testing.assert_close(views.turn_hue(images, turn), expected, atol=1e-5, rtol=0)
    grey = images[:, :1]
    torch.testing.assert_close(views.turn_hue(grey, turn), grey.float() / 255)


def test_yellow_turned_by_a_half_becomes_dark_in_hsv_only():
    yellow = torch.tensor([0.7, 0.7, 0.4]).view(1, 3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    half = torch.tensor([0.5])
    kept, turned = ((luma * turn(yellow, half)).sum() / (luma * yellow).sum()
                    for turn in (views.adjust_hue, views.turn_hue))
    assert kept > 0.95 and turned < 0.75


def test_views_in_hsv_turn_the_hue_after_the_other_operations(images):
    policy = Views(24, color=1.0, color_p=1.0, hue=0.5, hsv=True, gray=0)
    drawn = policy.draw(len(images), *images.shape[2:])
    without = Views(24, color=1.0, gray=0).apply(images, {**drawn, "hue": 0 * drawn["hue"]})
    torch.testing.assert_close(policy.apply(images, drawn), views.turn_hue(without, drawn["hue"]))


def test_hue_can_turn_further_than_the_strength_says():
    drawn = {hue: Views(32, color=0.5, color_p=1.0, hue=hue).draw(2000, 32, 32)["hue"].abs().max()
             for hue in (None, 0.0, 0.5)}
    assert 0.09 < drawn[None] <= 0.1 and drawn[0.0] == 0 and 0.48 < drawn[0.5] <= 0.5
    for wrong in ({"hue": 0.6}, {"hue": 0.2, "color": 0.0}):
        with pytest.raises(ValueError, match="hue must be"):
            Views(32, **wrong)


ONES, ORDER = torch.ones(8), torch.arange(4).repeat(8, 1)
BOXES = torch.tensor([[0, 0, 8, 8]]).repeat(8, 1)


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: views.adjust_brightness(x, -ONES), "factor must be 0 or above; got -1"),
    (lambda x: views.adjust_contrast(x, -ONES), "factor must be 0 or above"),
    (lambda x: views.adjust_saturation(x, ONES.bool()), "factor must be a float tensor"),
    (lambda x: views.gaussian_blur(x, -ONES, 3), "sigma must be 0 or above"),
    (lambda x: views.gaussian_blur(x, ONES, -1), "kernel_size must be odd"),
    (lambda x: views.gaussian_blur(x, ONES, 3.0), "kernel_size must be odd"),
    (lambda x: views.hflip(x, ONES.long()), "flip must be a bool tensor; got torch.int64"),
    (lambda x: views.to_grayscale(x, ONES), "gray must be a bool tensor"),
    (lambda x: views.color_jitter(x, ONES, -ONES, ONES, 0 * ONES, ORDER), "contrast must be 0"),
    (lambda x: views.color_jitter(x, ONES, ONES, ONES, 0 * ONES, 0 * ORDER), "a permutation"),
    (lambda x: views.color_jitter(x, ONES, ONES, ONES, 0 * ONES, ORDER[:1]), "order must be"),
    (lambda x: views.color_jitter(x, ONES, ONES, ONES, 0 * ONES, ORDER.float()), "order must be"),
    (lambda x: views.resized_crop(x, BOXES.float() + 0.5, 8), "boxes must be an int64"),
    (lambda x: views.resized_crop(x, BOXES.to(torch.uint8), 8), "boxes must be an int64"),
    (lambda x: views.resized_crop(x, BOXES.tolist(), 8), "boxes must be an int64.*list"),
    (lambda x: views.resized_crop(x, BOXES, 8.5), "size must be a whole number"),
    (lambda x: views.resampling_matrix(BOXES[:, 0], 0 * BOXES[:, 2], 40, 8), "start and length"),
    (lambda x: views.resampling_matrix(BOXES[:, 0] + 35, BOXES[:, 2], 40, 8), "start and length"),
    (lambda x: Views(8)(x, size=0), "size must be a whole number"),
    (lambda x: Views(8.5), "size must be a whole number"),
    (lambda x: Views(8, color=math.nan), "color must be 0 to 1.25"),
    (lambda x: Views(8, ratio=(1, math.inf)), "ratio must be"),
])
def test_odd_parameters_are_named(images, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_give_the_views_of_float32(images, drawn, dtype):
    pictures = (images / 255).to(dtype)
    policy = Views(24, color=1.0, blur=1.0)
    parameters = policy.draw(8, 32, 40, torch.Generator().manual_seed(4))
    torch.testing.assert_close(policy.apply(pictures, parameters).float(),
                               policy.apply(pictures.float(), parameters), atol=1e-5, rtol=0)
    colors = [drawn[n] for n in ("brightness", "contrast", "saturation", "hue", "order")]
    torch.testing.assert_close(views.color_jitter(pictures, *colors).float(),
                               views.color_jitter(pictures.float(), *colors), atol=1e-5, rtol=0)
    assert views.gaussian_blur(pictures, ONES, 3).dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize(("height", "width"), [(10, 60), (60, 10), (20, 48), (7, 3)])
def test_boxes_of_narrow_pictures_are_drawn_as_torchvision_draws_them(height, width):
    """Where no try fits, torchvision takes the middle at the nearest ratio that is allowed."""
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    boxes = Views(8).draw(4000, height, width)["boxes"]
    image = torch.zeros(3, height, width)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3])
                           for _ in range(4000)])
    for side in range(4):
        ours, wanted = boxes[:, side].sort().values, theirs[:, side].sort().values
        apart = max(abs(float((ours <= v).double().mean() - (wanted <= v).double().mean()))
                    for v in wanted.unique())
        assert apart < 0.05, (side, apart)


def test_another_default_dtype_does_not_stay_in_the_crops():
    images, boxes = torch.rand(2, 3, 17, 17), torch.tensor([[0, 0, 9, 9], [1, 2, 9, 9]])
    torch.set_default_dtype(torch.float64)
    try:
        first = views.resized_crop(images, boxes, 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(views.resized_crop(images, boxes, 5), first)
    assert first.dtype == torch.float32


def test_views_under_autocast_are_those_without(images, drawn):
    policy = Views(32, color=1.0, blur=0.5)
    expected = policy.apply(images, drawn)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(policy.apply(images, drawn), expected)


def test_odd_settings_of_crop_and_blur_are_named():
    with pytest.raises(ValueError, match="start must hold whole numbers"):
        views.resampling_matrix(torch.tensor([0.01]), torch.tensor([1.0]), 3, 2)
    with pytest.raises(ValueError, match="size must be at least 2 pixels with blur"):
        Views(1, blur=1.0)(torch.rand(2, 3, 8, 8))

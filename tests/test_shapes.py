"""Shapes: the same bytes, balanced and independent factors, moving sequences."""

import hashlib
import platform

import pytest
import torch

from simclr_tut import shapes


def digest(images):
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()


def test_the_same_seed_gives_the_same_bytes():
    assert torch.equal(shapes.make_shapes(600, 3).images, shapes.make_shapes(600, 3).images)
    assert not torch.equal(shapes.make_shapes(50, 3).images, shapes.make_shapes(50, 4).images)


@pytest.mark.skipif((platform.system(), platform.machine()) != ("Linux", "x86_64"),
                    reason="bytes are pinned on Linux x86-64 only")
def test_the_bytes_are_those_of_the_committed_notebooks():
    assert digest(shapes.make_shapes(64, 0).images) == (
        "3c92dcd76bf791c6821f71b9794176f1"
        "f28e20239838d1f787c8e3ed43d5d676")


def test_factors_are_balanced_independent_and_in_range():
    made = shapes.make_shapes(5000, 0)
    assert made.images.shape == (5000, 3, 32, 32) and made.images.dtype == torch.uint8
    factors = made.factors
    assert torch.bincount(factors["shape"], minlength=10).min() > 400
    for name in ("hue", "background_hue"):
        assert factors[name].min() >= 0 and factors[name].max() < 1
        means = torch.stack([factors[name][factors["shape"] == k].mean() for k in range(10)])
        assert (means - 0.5).abs().max() < 0.06  # four standard errors of 450 uniform draws
    both = torch.corrcoef(torch.stack([factors["hue"], factors["background_hue"]]))[0, 1]
    assert both.abs() < 0.06


def test_shapes_have_their_hue_and_differ_from_one_another():
    made = shapes.make_shapes(400, 1)
    red = (made.factors["hue"] < 0.03) & (made.factors["shape"] == 5)
    for picture in made.images[red]:
        middle = picture[:, 14:18, 14:18].float().mean((1, 2))
        assert middle.argmax() == 0


def test_sequences_move_and_their_factors_move_with_them():
    made = shapes.make_sequences(20, 5, 0)
    assert made.images.shape == (20, 5, 3, 32, 32) and made.factors["x"].shape == (20, 5)
    step = (made.images[:, 1:].float() - made.images[:, :-1].float()).abs().mean((1, 2, 3, 4))
    assert (step > 0).all()
    pace = made.factors["x"].diff(dim=1)
    torch.testing.assert_close(pace, pace[:, :1].expand_as(pace), atol=1e-5, rtol=0)


def test_impossible_sizes_are_named():
    with pytest.raises(ValueError, match="n must be at least 1"):
        shapes.make_shapes(0, 0)
    with pytest.raises(ValueError, match="size 8 to 200"):
        shapes.make_shapes(1, 0, size=4)
    with pytest.raises(ValueError, match="frames must be at least 2"):
        shapes.make_sequences(1, 1, 0)
    for arguments in ((1.5, 0), (1, -1), (1, 0.5), (1, 0, 16.5), ("1", 0)):
        with pytest.raises(ValueError, match="all whole numbers"):
            shapes.make_shapes(*arguments)

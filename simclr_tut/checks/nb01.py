"""Checkers of notebook 01."""

from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as reference

from simclr_tut.checks._common import call, compare, letter, pair, pictures, tensor
from simclr_tut.checks._runner import Mistake, checker
from simclr_tut.views import Views

_GRAY = torch.tensor([0.2989, 0.587, 0.114])


@checker(points=3)
def contrast(candidate) -> str:
    """``candidate(images, factors)``: blend each picture with its own mean grey."""
    images = pictures(5).float() / 255
    factors = torch.tensor([0.2, 0.6, 1.0, 1.5, 2.0])
    expected = torch.stack([reference.adjust_contrast(p, float(f))
                            for p, f in zip(images, factors, strict=True)])
    value = tensor(call(candidate, images, factors), tuple(images.shape), "the changed pictures")
    f = factors[:, None, None, None]
    gray = torch.einsum("c,nchw->nhw", _GRAY, images)
    own = gray.mean((1, 2))[:, None, None, None]
    batch = gray.mean()
    mean_rgb = images.mean((1, 2, 3), keepdim=True)
    channel = images.mean((2, 3), keepdim=True)
    compare(value, expected, (
        (f * images + (1 - f) * own, "values leave [0, 1]: clamp the result.", 0.7),
        ((f * images + (1 - f) * batch).clamp(0, 1),
         "you blend with the mean of the whole batch: each picture has its own grey.", 0.5),
        ((f * images + (1 - f) * channel).clamp(0, 1),
         "you blend with the mean of each colour channel, which changes the hue: use the mean of "
         "the grey picture.", 0.5),
        ((f * images + (1 - f) * mean_rgb).clamp(0, 1),
         "your grey weighs red, green and blue alike; the eye does not: use 0.2989, 0.587, 0.114.",
         0.6),
        (((1 - f) * images + f * own).clamp(0, 1),
         "the factor is on the wrong side: 1 must leave the picture as it is.", 0.4),
        ((f * images).clamp(0, 1), "that is brightness: blend with grey, not with black.", 0.3),
        ((f * images + (1 - f) * gray[:, None]).clamp(0, 1),
         "that is saturation: you blend with the grey picture, not with its mean.", 0.4),
    ), "the result is none of the usual ones. f * picture + (1 - f) * mean grey, then clamp.", 1e-3)
    return "equal to torchvision's, picture by picture."


@checker(points=3)
def two_views(candidate) -> str:
    """``candidate(images) -> (view1, view2)``: random 24-pixel crops, mirrored half of the time."""
    images = pictures(40)
    torch.manual_seed(0)
    result = pair(call(candidate, images), "return two views: return view1, view2.")
    view1, view2 = (tensor(v, (40, 3, 24, 24), name).float() for v, name in
                    zip(result, ("view 1", "view 2"), strict=True))
    if view1.max() > 1.001 or view1.min() < -0.001:
        raise Mistake(f"views must be floats in [0, 1]; yours reach {float(view1.max()):.3g}. "
                      "Divide bytes by 255.", 0.5)
    if torch.equal(view1, view2):
        raise Mistake("both views are the same: draw again for the second.", 0.3)
    if torch.allclose(view1.flip(3), view2, atol=1e-5):
        raise Mistake("view 2 is view 1 mirrored: no new draw, and the same colours. Crop again "
                      "from the picture.", 0.3)
    one, _ = (v.float() for v in call(candidate, images[:1].repeat(40, 1, 1, 1)))
    different = len({tuple(v.flatten()[::53].tolist()) for v in one})
    if different == 1:
        raise Mistake("forty copies of one picture give forty equal views: one draw serves the "
                      "whole batch. Draw for each picture.", 0.4)
    if different < 15:
        raise Mistake(f"forty copies of one picture give only {different} different views: is the "
                      "crop drawn, or only the mirror?", 0.5)
    source = images.float() / 255
    patches = source.unfold(2, 24, 1).unfold(3, 24, 1)  # (N, 3, 9, 9, 24, 24)
    found, mirrored = 0, 0
    for view, grid in zip(view1, patches, strict=True):
        near = [(grid - v[:, None, None]).abs().amax((0, 3, 4)).min() < 2e-3
                for v in (view, view.flip(2))]
        found += any(near)
        mirrored += bool(near[1] and not near[0])
    if found < 38:
        raise Mistake(f"only {found} of 40 views are 24-pixel crops of their own picture. Is row i "
                      "of the views made of picture i?", 0.5)
    if mirrored == 0 or mirrored == found:
        raise Mistake(f"{mirrored} of {found} views are mirrored: draw it with probability one "
                      "half.", 0.8)
    return "two draws for every picture, crops of the right picture, half of them mirrored."


@checker(points=2)
def small_crops(candidate) -> str:
    """One letter: what crops of 5 to 20 % do to the area that two views share."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        means = []
        for crop in ((0.2, 1.0), (0.05, 0.2)):
            a, b = (Views(32, crop=crop).draw(2000, 32, 32)["boxes"].float() for _ in range(2))
            ends = torch.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
            sides = (ends - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0)
            means.append(float((sides[:, 0] * sides[:, 1]).mean() / 1024))
    ratio = means[1] / means[0]
    key = "A" if ratio > 0.5 else "B" if ratio > 0.2 else "C"
    given = letter(candidate, "ABC")
    if given != key:
        raise Mistake("measure it: draw the boxes twice with Views(32, crop=...).draw and multiply "
                      "the sides of what they share. Small crops also rarely meet at all.")
    return f"the shared area falls from {100 * means[0]:.0f} to {100 * means[1]:.0f} %."

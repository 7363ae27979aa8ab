"""Checkers of notebook 01."""

from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional as reference

from simclr_tut import evaluation, shapes, views
from simclr_tut.checks._common import call, compare, letter, measured, pair, pictures, tensor
from simclr_tut.checks._runner import Mistake, checker
from simclr_tut.views import Views

_GRAY = torch.tensor([0.2989, 0.587, 0.114])


@checker(points=3, answers=(views.adjust_contrast,))
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
        ((f * images + (1 - f) * own).clamp(0, 255), "float pictures end at 1, not at 255: "
                                                     "clamp(0, 1).", 0.7),
        ((f * images + (1 - f) * own).clamp_max(1), "values fall below 0: clamp both ends.", 0.7),
        (f * images + (1 - f) * batch, "you blend with the mean of the whole batch, and do not "
                                       "clamp.", 0.4),
        (f * images + (1 - f) * channel, "you blend with the mean of each colour channel, and do "
                                         "not clamp.", 0.4),
        (f * images + (1 - f) * mean_rgb, "your grey weighs red, green and blue alike, and the "
                                          "result is not clamped.", 0.4),
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


@checker(points=3, answers=(Views,))
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
    if torch.equal(call(candidate, images)[0].float(), view1):
        raise Mistake("two calls give the same views: no seed inside the function, please.", 0.6)
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

    def place(view: torch.Tensor, grid: torch.Tensor, turn) -> int | None:
        apart = (grid - turn(view)[:, None, None]).abs().amax((0, 3, 4)).flatten()
        return int(apart.argmin()) if float(apart.min()) < 2e-3 else None

    def places(view: torch.Tensor, turn, rows: slice = slice(None)) -> list[int | None]:
        return [place(v[:, rows], grid[..., rows, :], turn)
                for v, grid in zip(view, patches, strict=True)]

    def located(view: torch.Tensor, rows: slice = slice(None)) -> tuple[list, list[bool]]:
        """Where each crop was taken, and which are not as they stand in the picture."""
        plain, mirror = (places(view, turn, rows) for turn in (lambda v: v, lambda v: v.flip(2)))
        return ([b if a is None else a for a, b in zip(plain, mirror, strict=True)],
                [a is None for a in plain])

    where = [located(view)[0] for view in (view1, view2)]
    found = sum(spot is not None for spot in where[0])
    upside = places(view1, lambda v: v.flip(1))
    if sum(spot is not None for spot in upside) > max(5, 40 - found - 3):
        raise Mistake("some views stand on their head: mirror left and right, the last dimension "
                      "(2 of one picture, 3 of a batch).", 0.6)
    if found < 38:
        raise Mistake(f"only {found} of 40 views are 24-pixel crops of their own picture. Is row i "
                      "of the views made of picture i, and are its values only divided?", 0.5)
    second = sum(spot is not None for spot in where[1])
    if second < 38:
        raise Mistake(f"views 1 are right, but only {second} of 40 views 2 are 24-pixel crops of "
                      "their picture: make them as you make view 1.", 0.5)
    if sum(a == b for a, b in zip(*where, strict=True)) > 20:
        raise Mistake("both views show the same place: draw the crop anew for the second.", 0.5)
    middle = slice(12, 13)  # what crops show is checked above; one row tells where they lie
    more = [located(view.float(), middle) for _ in range(4) for view in call(candidate, images)]
    spots = [spot for part, _ in more for spot in part]
    turned = [mirror for _, part in more for mirror in part]
    share = sum(turned) / len(turned)
    if not 0.35 < share < 0.65:
        raise Mistake(f"{100 * share:.0f} % of 320 views are mirrored; one half was asked for.",
                      0.8)
    for side, seen in (("top", {s // 9 for s in spots if s is not None}),
                       ("left", {s % 9 for s in spots if s is not None})):
        if absent := sorted(set(range(9)) - seen):
            raise Mistake(f"in 320 views the {side} edge never lies at {absent[-1]}; 0 to 8 are "
                          "possible. (torch.randint leaves its upper end out.)", 0.8)
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
        said = {"A": "the boxes themselves shrink from some 55 % of the picture to some 12, and "
                     "nobody shares more than a box.",
                "B": "that follows from the areas alone, but small boxes also miss each other, and "
                     "then share nothing.",
                "C": "that is too little."}[given]
        raise Mistake(f"{said} Measure it: draw the boxes twice with Views(32, crop=...).draw, and "
                      "multiply the sides of what they share.")
    return f"the shared area falls from about {100 * means[0]:.0f} to {100 * means[1]:.0f} %."


@checker(points=3, answers=(views.adjust_saturation, views.adjust_brightness))
def colour_matrix(candidate) -> str:
    """``candidate(brightness, saturation)``: ``(N, 3, 3)``, both changes as one matrix."""
    brightness, saturation = torch.tensor([0.5, 1.0, 0.8, 0.3]), torch.tensor([1.0, 0.0, 0.4, 1.8])
    value = tensor(call(candidate, brightness, saturation), (4, 3, 3), "the matrices").float()
    b, s = brightness[:, None, None], saturation[:, None, None]
    eye, grey = torch.eye(3), _GRAY.expand(3, 3)
    right = b * (s * eye + (1 - s) * grey)
    # The judge is torchvision, on pictures so dark that nothing is clamped.
    dark = pictures(4).float() / 255 * 0.4
    wanted = torch.stack([reference.adjust_saturation(reference.adjust_brightness(p, float(i)),
                                                      float(j))
                          for p, i, j in zip(dark, brightness, saturation, strict=True)])
    made = torch.einsum("ndc,nchw->ndhw", value, dark)
    if float((made.clamp(0, 1) - wanted).abs().max()) < 1e-3:
        return "one product a pixel does what torchvision's two operations do."
    compare(value, right, (
        (right.mT, "rows and columns are exchanged: row d says what the new channel d is made of, "
                   "so each row holds the weights 0.2989, 0.587, 0.114.", 0.5),
        (s * eye + (1 - s) * grey, "that is saturation alone: brightness is missing.", 0.4),
        (b * eye.expand(4, 3, 3), "that is brightness alone: saturation is missing.", 0.3),
        (b * ((1 - s) * eye + s * grey), "the saturation is on the wrong side: 1 must leave the "
                                         "colours as they are.", 0.5),
        (b * (s * eye + (1 - s) / 3), "your grey weighs red, green and blue alike; use 0.2989, "
                                      "0.587, 0.114.", 0.6),
        (b + s * eye + (1 - s) * grey, "brightness multiplies; you add it.", 0.4),
        (s * (b * eye + (1 - b) * grey), "brightness and saturation are exchanged.", 0.5),
        (b * s * eye + (1 - s) * grey, "only the colour part is made darker: brightness multiplies "
                                       "the whole matrix.", 0.5),
        (right.clamp(0, 1), "the entries of a matrix may be negative or above 1; what is clamped "
                            "is the picture, afterwards.", 0.7),
        (b * s * eye, "the grey part is missing: what saturation takes from a channel comes back "
                      "as grey.", 0.4),
        (right[:1].expand(4, 3, 3), "all pictures have the matrix of the first.", 0.4),
    ), "the matrices are none of the usual ones. Start with saturation alone, as above, then "
       "multiply by the brightness.")
    return "one product a pixel does what torchvision's two operations do."


@checker(points=2)
def grey_shortcut(candidate) -> str:
    """Two shares: pairs of shapes that a histogram finds, with crops alone, and in grey."""
    said = measured(candidate, 2, "crops alone, crops in grey")
    images = shapes.make_shapes(300, 0).images

    def match(gray: float, itself: bool = False) -> float:
        both = torch.cat(Views(32, color=0, gray=gray)(images))
        histograms = evaluation.color_histogram((both * 255).round().to(torch.uint8)).sqrt()
        similarity = histograms @ histograms.T
        if not itself:
            similarity.fill_diagonal_(-1)
        positive = torch.arange(len(both)).roll(len(images))
        return float((similarity.argmax(1) == positive).float().mean())

    torch.manual_seed(0)
    draws = 10  # a mean of two lies so far off at times that right answers were turned down
    plain, grey, some = (sum(match(share) for _ in range(draws)) / draws
                         for share in (0.0, 1.0, 0.2))
    if abs(said[0] - plain) < 0.06 and abs(said[1] - grey) < 0.04:
        return (f"about {100 * plain:.0f} % in colour and {100 * grey:.0f} % in grey: what the "
                "histogram knew was the colour. Chance is 1 in 599.")
    if max(said) > 1:
        raise Mistake("give fractions, not percentages.", 0.7)
    for wrong, sentence, score in (
        ((grey, plain), "you have them in the other order: crops alone first.", 0.7),
        ((plain, plain), "the second value is that of colour: gray=1.0 makes every view grey.",
         0.4),
        ((plain, some), "gray=0.2 makes one view in five grey; 1.0 all of them.", 0.6),
        ((some, grey), "the first value has some grey views: the default of gray is 0.2; set it "
                       "to 0.", 0.6),
        ((0.0, 0.0), "nearly nothing is found: a view finds itself, unless the diagonal is set to "
                     "-1 before argmax.", 0.3),
    ):
        if all(abs(a - b) < 0.05 for a, b in zip(said, wrong, strict=True)):
            raise Mistake(sentence, score)
    raise Mistake("measured here: something else. 300 pictures of make_shapes, seed 0; "
                  "Views(32, color=0, gray=0) and gray=1; 2N views, the diagonal left out.")

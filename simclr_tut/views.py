"""Random views of pictures, one draw an image, computed for the whole batch at once.

Each operation takes its parameters, so that a drawn view can be made again and compared with
torchvision's operation on the single image. Pictures are uint8 or float ``(N, C, H, W)``; float
pictures in [0, 1] come out.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch.nn import functional as F

_GRAY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green, blue
_DRAWN = ("boxes", "flip", "brightness", "contrast", "saturation", "hue", "order", "gray", "sigma")
_TABLE_SIDE = 40  # up to here the resampling matrices of all boxes fit in a few MB
_LARGEST = 1e6  # of a drawn factor or turn: what follows stays far below float32's limit
_PIECE = 1_000_000  # numbers of a piece of the views: what a processor's cache holds


def resized_crop(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Cut a box out of each image and resize it to ``size`` x ``size``, antialiased.

    Args:
        images: ``(N, C, H, W)`` uint8 or float in [0, 1].
        boxes: ``(N, 4)`` int: top, left, height, width, inside the image.
        size: side of the result in pixels.
    Returns: ``(N, C, size, size)`` float in [0, 1].
    Raises: TypeError, ValueError for other shapes, dtypes or boxes outside the image.
    Source: Chen et al. 2020, Appendix A; equals torchvision's antialiased resized_crop.
    Explained in notebooks/01.
    """
    images = _check_crop(images, boxes, size)
    return _crop(images, boxes, size)


def resampling_matrix(start: torch.Tensor, length: torch.Tensor, full: int,
                      size: int) -> torch.Tensor:
    """Weights that resample ``length`` pixels from ``start`` on into ``size``, ``(N, size, full)``.

    Row i is a triangle round the place that output pixel i covers; when shrinking it is as wide
    as one output pixel, which is what antialiasing means.
    Raises: ValueError if the pixels are not all among 0 … full - 1, or size < 1.
    Explained in notebooks/01.
    """
    _check_span(start, length, full, size)
    step = length[:, None, None] / size  # input pixels an output pixel covers
    middle = (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(full, device=start.device) - start[:, None, None]
    weights = (1 - (pixel + 0.5 - middle).abs() / step.clamp_min(1)).clamp_min(0)
    weights = weights * ((pixel >= 0) & (pixel < length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def hflip(images: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror the images where ``flip``, ``(N,)`` bool, is true."""
    images = _check_images(images)
    _check_draw(images, "bool", flip=flip)
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def adjust_brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply each image by its factor, ``(N,)`` float from 0 up, and clamp to [0, 1].

    Source: equals torchvision's adjust_brightness. Explained in notebooks/01.
    """
    images = _check_images(images)
    _check_draw(images, "factor", factor=factor)
    return (images * factor[:, None, None, None]).clamp(0, 1)


def adjust_contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with its mean grey; factor 1 changes nothing, 0 leaves the grey.

    Args: factor: ``(N,)`` float from 0 up.  Source: equals torchvision's adjust_contrast.
    """
    images = _check_images(images)
    _check_draw(images, "factor", factor=factor)
    mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * mean).clamp(0, 1)


def adjust_saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with its grey version; factor 1 changes nothing, 0 leaves grey.

    Args: factor: ``(N,)`` float from 0 up.  Source: equals torchvision's adjust_saturation.
    """
    images = _check_images(images)
    _check_draw(images, "factor", factor=factor)
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * _gray(images)).clamp(0, 1)


def adjust_hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate each image's colours by ``turn``, ``(N,)`` in turns, in the plane of YIQ's I and Q.

    A matrix a picture, where torchvision goes through HSV; notebooks/01 shows how far apart they
    are.
    """
    images = _check_images(images)
    _check_draw(images, "any", turn=turn)
    if images.shape[1] == 1:
        return images
    return _multiply(hue_matrix(turn), images).clamp(0, 1)


def turn_hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate each image's hues by ``turn``, ``(N,)`` in turns, in HSV: brightness may change.

    ``adjust_hue`` keeps the luma of each pixel, in which yellow stays lighter than blue was; this
    keeps the largest and the smallest of red, green, blue.
    Source: Chen et al. 2020, Appendix A; equals torchvision's adjust_hue.
    Explained in notebooks/06.
    """
    images = _check_images(images)
    _check_draw(images, "any", turn=turn)
    if images.shape[1] == 1:
        return images
    value, place = images.max(dim=1)  # (N, H, W); place: which channel is largest
    chroma = value - images.amin(dim=1)
    red, green, blue = images.unbind(1)
    ahead = torch.where(place == 0, green - blue, torch.where(place == 1, blue - red, red - green))
    hue = ahead / chroma.clamp_min(1e-7) + 2 * place + 6 * turn[:, None, None]  # in sixths
    return torch.stack([value - chroma * _fall((hue + n) % 6) for n in (5, 3, 1)], dim=1)


def _fall(place: torch.Tensor) -> torch.Tensor:
    """How far a channel lies below the largest, as a share of the chroma, by sixths of the circle.
    """
    return torch.minimum(place, 4 - place).clamp(0, 1)


def hue_matrix(turn: torch.Tensor) -> torch.Tensor:
    """Return the ``(N, 3, 3)`` matrices that rotate RGB colours round the grey axis in YIQ."""
    _check_turn(turn)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213],
                           [0.2115, -0.5227, 0.3112]], dtype=torch.float64)
    angle = turn.double() * (2 * math.pi)
    rotation = torch.zeros(len(turn), 3, 3, dtype=torch.float64, device=turn.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    to_yiq = to_yiq.to(turn.device)
    return (torch.linalg.inv(to_yiq) @ rotation @ to_yiq).float()


def color_jitter(
    images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor,
    saturation: torch.Tensor, hue: torch.Tensor, order: torch.Tensor,
) -> torch.Tensor:
    """Apply the four colour operations to each image in its own order.

    Args:
        brightness, contrast, saturation: ``(N,)`` factors.  hue: ``(N,)`` turns.
        order: ``(N, 4)``, a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue.
    Returns: ``(N, C, H, W)`` float in [0, 1].
    Raises: TypeError, ValueError for other images, a negative factor, or another order.
    Source: Chen et al. 2020, Appendix A; clamped after each operation as torchvision does.
    Explained in notebooks/01.
    """
    images = _check_images(images)
    _check_draw(images, "factor", brightness=brightness, contrast=contrast, saturation=saturation)
    _check_draw(images, "any", hue=hue)
    _check_order(images, order)
    matrices, offsets = _color_steps(images.shape[1], brightness, contrast, saturation, hue, order)
    return _recolor(images, matrices, offsets)


def to_grayscale(images: torch.Tensor, gray: torch.Tensor) -> torch.Tensor:
    """Take the colour out of the images where ``gray``, ``(N,)`` bool, is true."""
    images = _check_images(images)
    _check_draw(images, "bool", gray=gray)
    return torch.where(gray[:, None, None, None], _gray(images).expand_as(images), images)


def gaussian_blur(images: torch.Tensor, sigma: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Blur each image with its own ``sigma``, ``(N,)`` in pixels; 0 leaves it sharp.

    Args: kernel_size: odd, below twice the image's side; the border is mirrored.
    Raises: TypeError, ValueError for other images, a negative sigma or another kernel_size.
    Source: Chen et al. 2020, Appendix A; equals torchvision's gaussian_blur.
    """
    images = _check_images(images)
    _check_draw(images, "factor", sigma=sigma)
    return _blur(images, sigma, kernel_size)


class Views:
    """Draw random views of every image of a batch: ``Views(32)(images) -> (view1, view2)``.

    Args:
        size: side of a view in pixels.
        crop: share of the area that is kept, (lowest, highest); None keeps the whole picture.
        flip: probability of mirroring.
        color: strength s of the jitter (0.8s, 0.8s, 0.8s, 0.2s); 0 switches it off.
        color_p: probability that the jitter happens.
        gray: probability of grey.  blur: probability of blur, sigma 0.1 to 2.
        ratio: lowest and highest width / height of the box.
        hue: largest turn of the hue, as a share of the full circle, 0 to 0.5; None for 0.2s.
        hsv: turn the hue by ``turn_hue``, after the other operations, not by a matrix among them.
        count: how many views.
    Source: Chen et al. 2020, section 3 and Appendix A; s = 0.5 and no blur for CIFAR-10 (B.9).
    Explained in notebooks/01.
    """

    def __init__(
        self, size: int, crop: tuple[float, float] | None = (0.2, 1.0), flip: float = 0.5,
        color: float = 0.5, color_p: float = 0.8, gray: float = 0.2, blur: float = 0.0,
        ratio: tuple[float, float] = (3 / 4, 4 / 3), hue: float | None = None, hsv: bool = False,
        count: int = 2,
    ) -> None:
        _check_settings(size, count, crop, color, ratio, hue, flip=flip, color_p=color_p,
                        gray=gray, blur=blur)
        self.size, self.crop, self.flip, self.color = size, crop, flip, color
        self.color_p, self.gray, self.blur, self.ratio = color_p, gray, blur, ratio
        self.hue, self.hsv = 0.2 * color if hue is None else hue, hsv
        self.count = count

    @property
    def settings(self) -> dict:
        """What was chosen, so that a checkpoint notices other views."""
        return dict(vars(self))

    def __call__(
        self, images: torch.Tensor, size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Return ``count`` views, each ``(N, C, size, size)`` float in [0, 1]."""
        images = _check_images(images)
        n, _, height, width = images.shape
        size = self.size if size is None else size
        _check_size(size)
        draws = [self.draw(n, height, width, generator) for _ in range(self.count)]
        return self._apply(images, draws, size).split(n)

    def draw(self, n: int, height: int, width: int,
             generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Draw the parameters of one view for each of ``n`` images."""
        _check_whole(n=n, height=height, width=width)

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            return torch.rand(*(shape or (n,)), generator=generator) * (high - low) + low

        s = self.color
        jittered = uniform(0, 1) < (self.color_p if s else 0)

        def factor(low: float, high: float, neutral: float) -> torch.Tensor:
            return torch.where(jittered, uniform(low, high), torch.tensor(neutral))

        return {
            "boxes": self._draw_boxes(n, height, width, uniform),
            "flip": uniform(0, 1) < self.flip,
            "brightness": factor(max(0.0, 1 - 0.8 * s), 1 + 0.8 * s, 1.0),
            "contrast": factor(max(0.0, 1 - 0.8 * s), 1 + 0.8 * s, 1.0),
            "saturation": factor(max(0.0, 1 - 0.8 * s), 1 + 0.8 * s, 1.0),
            "hue": factor(-self.hue, self.hue, 0.0),
            "order": uniform(0, 1, n, 4).argsort(dim=1),
            "gray": uniform(0, 1) < self.gray,
            "sigma": torch.where(uniform(0, 1) < self.blur, uniform(0.1, 2.0), torch.tensor(0.0)),
        }

    def apply(self, images: torch.Tensor, parameters: dict[str, torch.Tensor],
              size: int | None = None) -> torch.Tensor:
        """Make the view that ``parameters`` describe: crop, flip, colours, grey, blur."""
        size = self.size if size is None else size
        _check_parameters(parameters)
        images = _check_crop(images, parameters["boxes"], size)
        _check_draw(images, "bool", **{name: parameters[name] for name in ("flip", "gray")})
        _check_draw(images, "any", hue=parameters["hue"])
        _check_draw(images, "factor", **{name: parameters[name] for name in (
            "brightness", "contrast", "saturation", "sigma")})
        _check_order(images, parameters["order"])
        return self._apply(images, [parameters], size)

    def _apply(self, images: torch.Tensor, draws: list[dict[str, torch.Tensor]],
               size: int) -> torch.Tensor:
        """``apply`` for checked input, for K draws in one go: ``(K * N, C, size, size)``."""
        kind = images.device.type
        if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):  # eight bits would show
                return self._made(images, draws, size)
        return self._made(images, draws, size)

    def _made(self, images: torch.Tensor, draws: list[dict[str, torch.Tensor]],
              size: int) -> torch.Tensor:
        def near(values: torch.Tensor) -> torch.Tensor:
            if images.is_cuda and not values.is_cuda:  # an ordinary copy would wait for the GPU
                values = values.contiguous().pin_memory()
            return values.to(images.device, non_blocking=images.is_cuda)

        n, channels = images.shape[:2]
        piece = max(1, _PIECE // (len(draws) * channels * size**2))
        if n >= 2 * piece and images.device.type == "cpu":  # passes over memory cost more than work
            views = torch.empty(len(draws), n, channels, size, size, dtype=torch.float32,
                                device=images.device)
            for i in range(0, n, piece):
                few = slice(i, i + piece)
                drawn = [{name: value[few] for name, value in p.items()} for p in draws]
                made = self._made(images[few], drawn, size)
                views[:, few] = made.view(len(draws), -1, *views.shape[2:])
            return views.flatten(0, 1)
        images = images.float()  # the weights are float32
        views = torch.cat([_crop(images, near(p["boxes"]), size, near(p["flip"])) for p in draws])
        p = {name: torch.cat([one[name] for one in draws]) for name in draws[0]}
        steps = []  # matrices and offsets, made where the draws are: on the CPU
        if self.color:
            turn = torch.zeros_like(p["hue"]) if self.hsv else p["hue"]
            steps.append(_color_steps(views.shape[1], p["brightness"], p["contrast"],
                                      p["saturation"], turn, p["order"]))
        if self.color and self.hsv:
            views = turn_hue(_recolor(views, *map(near, steps.pop())), near(p["hue"]))
        if self.gray and views.shape[1] == 3:
            steps.append(_gray_step(p["gray"]))
        if steps:
            views = _recolor(views, *(near(torch.cat(parts)) for parts in zip(*steps)))
        if self.blur:
            if size < 2:
                raise ValueError(f"size must be at least 2 pixels with blur; got {size}.")
            views = _blur(views, near(p["sigma"]), max(3, size // 10 // 2 * 2 + 1))
        return views

    def _draw_boxes(self, n: int, height: int, width: int, uniform) -> torch.Tensor:
        """Ten tries an image, the first that fits; when none does, torchvision's way out: as much
        of the middle as the ratio allows.
        """
        if self.crop is None:
            return torch.tensor([0, 0, height, width]).expand(n, 4)
        wide = min(width, max(1, round(height * self.ratio[1])))
        high = min(height, max(1, round(width / self.ratio[0])))
        middle = torch.tensor([(height - high) // 2, (width - wide) // 2, high, wide])
        area = height * width * uniform(*self.crop, n, 10)
        ratio = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n, 10).exp()
        w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
        first = fits.float().argmax(dim=1, keepdim=True)
        w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
        top = (uniform(0, 1) * (height - h + 1)).floor()
        left = (uniform(0, 1) * (width - w + 1)).floor()
        boxes = torch.stack([top, left, h, w], dim=1).long()
        return torch.where(fits.any(dim=1, keepdim=True), boxes, middle)


def _crop(images: torch.Tensor, boxes: torch.Tensor, size: int,
          flip: torch.Tensor | None = None) -> torch.Tensor:
    """``resized_crop``, mirrored where ``flip``."""
    if images.device.type == "cpu" and max(images.shape[2:]) > _TABLE_SIDE:
        return _crop_in_turn(images, boxes, size, flip)
    return _crop_by_matrices(images, boxes, size, flip)


def _crop_by_matrices(images: torch.Tensor, boxes: torch.Tensor, size: int,
                      flip: torch.Tensor | None) -> torch.Tensor:
    """``_crop`` as one matrix product along each axis."""
    rows = _weights(boxes[:, 0], boxes[:, 2], images.shape[2], size)
    columns = _weights(boxes[:, 1], boxes[:, 3], images.shape[3], size, flip)
    n, channels, height, _ = images.shape
    across = torch.bmm(images.flatten(1, 2), columns.mT).view(n, channels, height, size)
    return torch.matmul(rows[:, None], across)  # (N, 1, size, H) @ (N, C, H, size)


def _crop_in_turn(images: torch.Tensor, boxes: torch.Tensor, size: int,
                  flip: torch.Tensor | None) -> torch.Tensor:
    """``_crop``, one picture after the other: large matrices consist of zeros for the most part."""
    cut = []
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        box = images[i:i + 1, :, top:top + height, left:left + width]
        made = F.interpolate(box, size=(size, size), mode="bilinear", antialias=True)[0]
        cut.append(made.flip(2) if flip is not None and flip[i] else made)
    return torch.stack(cut) if cut else images.new_empty(0, images.shape[1], size, size)


def _weights(start: torch.Tensor, length: torch.Tensor, full: int, size: int,
             flip: torch.Tensor | None = None) -> torch.Tensor:
    """``resampling_matrix``, upside down where ``flip``; looked up where pictures are small."""
    if full > _TABLE_SIDE:
        matrix = resampling_matrix(start, length, full, size).float()
        # turning the few weights round is cheaper than turning the pixels
        return matrix if flip is None else torch.where(flip[:, None, None], matrix.flip(1), matrix)
    place = start.long() * full + length - 1
    if flip is not None:
        place = place + flip * full**2
    return _every_resampling(full, size, start.device).index_select(0, place)


@lru_cache(maxsize=8)
def _every_resampling(full: int, size: int, device: torch.device) -> torch.Tensor:
    """The matrices of all starts and lengths, then all of them upside down, in that order."""
    each = torch.arange(full, device=device)
    start, length = each.repeat_interleave(full), each.repeat(full) + 1
    matrices = resampling_matrix(start, length.minimum(full - start), full, size).float()
    return torch.cat([matrices, matrices.flip(1)])


def _color_steps(channels: int, brightness: torch.Tensor, contrast: torch.Tensor,
                 saturation: torch.Tensor, hue: torch.Tensor,
                 order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The four colour operations as matrices, ``(4, N, C, C)``, each image's in its own order.

    Contrast adds its share of the mean grey: that share is ``offsets @ mean colour``, offsets
    ``(4, N, C)``, zero for the other three.
    """
    eye = torch.eye(channels, device=order.device)
    weights = torch.tensor(_GRAY if channels == 3 else (1.0,), device=order.device)
    if channels == 3:
        toward_gray = (1 - saturation)[:, None, None] * weights
        colored = [saturation[:, None, None] * eye + toward_gray, hue_matrix(hue)]
    else:
        colored = [eye.expand(len(order), 1, 1)] * 2
    matrices = torch.stack([brightness[:, None, None] * eye, contrast[:, None, None] * eye,
                            *colored])  # (4, N, C, C)
    places = order.T  # (4, N)
    share = torch.where(places == 1, 1 - contrast, torch.zeros_like(contrast))
    n = len(order)
    rows = places * n + torch.arange(n, device=order.device)
    chosen = matrices.flatten(0, 1).index_select(0, rows.flatten()).view_as(matrices)
    return chosen, share[:, :, None] * weights


def _gray_step(gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``to_grayscale`` in the form of ``_color_steps``: ``(1, N, 3, 3)`` and ``(1, N, 3)``."""
    weights = torch.tensor(_GRAY, device=gray.device).expand(3, 3)
    matrices = torch.where(gray[:, None, None], weights, torch.eye(3, device=gray.device))
    return matrices[None], torch.zeros(1, len(gray), 3, device=gray.device)


def _recolor(images: torch.Tensor, matrices: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Multiply the colours by one matrix after the other, clamped to [0, 1] after each."""
    pixels = images.flatten(2)  # (N, C, HW)
    for matrix, offset in zip(matrices, offsets, strict=True):
        mean = (offset.to(pixels.dtype) * pixels.mean(2)).sum(1)[:, None, None]
        pixels = torch.baddbmm(mean, matrix.to(pixels.dtype), pixels).clamp_(0, 1)
    return pixels.view_as(images)


def _blur(images: torch.Tensor, sigma: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """``gaussian_blur`` of checked input."""
    n, channels, height, width = images.shape
    if not isinstance(kernel_size, int) or kernel_size % 2 == 0 or not (
            1 <= kernel_size < 2 * min(height, width)):
        raise ValueError(f"kernel_size must be odd, from 1 and below {2 * min(height, width)}; "
                         f"got {kernel_size!r}.")
    half, sigma = kernel_size // 2, sigma.to(images.dtype)
    place = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (place / sigma[:, None].clamp_min(1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = F.pad(images, (half,) * 4, mode="reflect").reshape(1, n * channels, height + 2 * half,
                                                                width + 2 * half)
    rows = F.conv2d(padded, kernel[:, None, None, :], groups=n * channels)
    return F.conv2d(rows, kernel[:, None, :, None], groups=n * channels).view_as(images)


def _gray(images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue)[:, None]


def _multiply(matrix: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.bmm(matrix.to(images.dtype), images.flatten(2)).view_as(images)


def _check_images(images: torch.Tensor) -> torch.Tensor:
    """Return float images in [0, 1], or say what is wrong."""
    if not isinstance(images, torch.Tensor) or (
        images.dtype != torch.uint8 and not images.is_floating_point()
    ):
        raise TypeError("images must be a uint8 or float tensor (N, C, H, W); got "
                        f"{getattr(images, 'dtype', type(images).__name__)}.")
    if images.dim() != 4 or 0 in images.shape or images.shape[1] not in (1, 3):
        raise ValueError("images must be (N, C, H, W) with 1 or 3 channels and no side of 0; got "
                         f"{tuple(images.shape)}. One picture needs images[None].")
    if images.dtype == torch.uint8:
        return images.float() / 255
    low, high = images.aminmax()
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"images must lie in [0, 1] when float; got {low:.3g} to {high:.3g}. "
                         "Divide bytes by 255, or pass uint8.")
    return images if images.dtype == torch.float64 else images.float()


def _check_draw(images: torch.Tensor, kind: str, **drawn: torch.Tensor) -> None:
    """Expect one value an image: of kind "bool", "factor" (from 0 up) or "any" (finite)."""
    for name, values in drawn.items():
        if not isinstance(values, torch.Tensor) or values.shape != images.shape[:1]:
            raise ValueError(f"{name} must be a tensor ({len(images)},), one value an image; got "
                             f"{tuple(getattr(values, 'shape', ()))}.")
        if values.dtype != torch.bool if kind == "bool" else not values.is_floating_point():
            wanted = "bool" if kind == "bool" else "float"
            raise TypeError(f"{name} must be a {wanted} tensor; got {values.dtype}.")
        if kind != "bool" and not (values.abs() <= _LARGEST).all():
            raise ValueError(f"{name} must be finite, and at most {_LARGEST:g}; got NaN or more.")
        if kind == "factor" and len(values) and not values.min() >= 0:
            raise ValueError(f"{name} must be 0 or above; got {float(values.min()):.3g}.")


def _check_order(images: torch.Tensor, order: torch.Tensor) -> None:
    wanted = torch.arange(4, device=getattr(order, "device", None)).expand(len(images), 4)
    if not isinstance(order, torch.Tensor) or order.dtype != torch.int64 or (
            order.shape != wanted.shape or not torch.equal(order.sort(dim=1).values, wanted)):
        raise ValueError(f"order must be ({len(images)}, 4) int64, a permutation of 0 to 3 for "
                         f"each image; got {getattr(order, 'dtype', type(order).__name__)} "
                         f"{tuple(getattr(order, 'shape', ()))}.")


def _check_parameters(parameters: dict[str, torch.Tensor]) -> None:
    if not isinstance(parameters, dict):
        raise TypeError("parameters must be a dict, as Views.draw gives; got "
                        f"{type(parameters).__name__}.")
    missing = [name for name in _DRAWN if name not in parameters]
    if missing:
        raise ValueError(f"parameters must hold {', '.join(missing)}, as Views.draw gives them.")


def _check_size(size: int) -> None:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of pixels, at least 1; got {size!r}.")


def _check_whole(**numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
            raise ValueError(f"{name} must be a whole number, at least 1 and below 2**31; got "
                             f"{value!r}.")


def _check_turn(turn: torch.Tensor) -> None:
    if not isinstance(turn, torch.Tensor) or turn.dim() != 1 or not turn.is_floating_point():
        raise TypeError("turn must be a float tensor (N,); got "
                        f"{getattr(turn, 'dtype', type(turn).__name__)} "
                        f"{tuple(getattr(turn, 'shape', ()))}.")
    if turn.device.type == "cpu" and not (turn.abs() <= _LARGEST).all():
        raise ValueError(f"turn must be finite, and at most {_LARGEST:g}; got NaN or more.")


def _check_settings(size: int, count: int, crop: tuple[float, float] | None, color: float,
                    ratio: tuple[float, float], hue: float | None, **chances: float) -> None:
    """Say what ``Views`` cannot draw from."""
    def number(value: object) -> bool:
        return isinstance(value, int | float) and abs(value) < 1e30

    def pair(value: object) -> bool:
        return (isinstance(value, tuple | list) and len(value) == 2
                and all(map(number, value)) and 0 < value[0] <= value[1])

    _check_size(size)
    if not isinstance(count, int) or isinstance(count, bool) or count < 2:
        raise ValueError(f"count must be a whole number, at least 2 views; got {count!r}.")
    for name, p in chances.items():
        if not number(p) or not 0 <= p <= 1:
            raise ValueError(f"{name} is a probability, 0 to 1; got {p!r}.")
    if not number(color) or not 0 <= color <= 1.25:
        raise ValueError(f"color must be 0 to 1.25; got {color!r}.")
    if hue is not None and not (number(hue) and 0 <= hue <= 0.5 and color):
        raise ValueError(f"hue must be 0 to 0.5, with color above 0; got {hue!r}, {color}.")
    if crop is not None and not (pair(crop) and crop[1] <= 1):
        raise ValueError(f"crop must be (lowest, highest) within (0, 1]; got {crop!r}.")
    if not pair(ratio):
        raise ValueError(f"ratio must be (lowest, highest), finite and above 0; got {ratio!r}.")


def _check_span(start: torch.Tensor, length: torch.Tensor, full: int, size: int) -> None:
    _check_size(size)
    _check_whole(full=full)
    for name, values in (("start", start), ("length", length)):
        if not isinstance(values, torch.Tensor) or values.dim() != 1 or values.dtype not in (
                torch.int32, torch.int64, torch.float32, torch.float64):
            raise TypeError(f"{name} must be a tensor (N,) of int64 or float32; got "
                            f"{getattr(values, 'dtype', type(values).__name__)}.")
    if start.shape != length.shape:
        raise ValueError("start and length must have one value an image; got "
                         f"{tuple(start.shape)} and {tuple(length.shape)}.")
    if start.device.type != "cpu":
        return  # a look at values makes a GPU wait
    inside = (start >= 0) & (length >= 1) & (start.double() + length.double() <= full)
    if not inside.all():
        raise ValueError(f"start and length must describe pixels 0 to {full - 1}; got start "
                         f"{start[~inside][0]} and length {length[~inside][0]}.")
    for name, values in (("start", start), ("length", length)):
        if values.is_floating_point() and not torch.equal(values, values.round()):
            raise ValueError(f"{name} must hold whole numbers of pixels; got "
                             f"{values[values != values.round()][0]}.")


def _check_crop(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    images = _check_images(images)
    _check_size(size)
    if not isinstance(boxes, torch.Tensor) or boxes.dtype not in (torch.int64, torch.int32):
        raise TypeError("boxes must be an int64 tensor (N, 4); got "
                        f"{getattr(boxes, 'dtype', type(boxes).__name__)}.")
    if boxes.shape != (len(images), 4):
        raise ValueError(f"boxes must be ({len(images)}, 4); got {tuple(boxes.shape)}.")
    top, left, height, width = boxes.unbind(1)
    high, wide = images.shape[2:]  # subtracted below, since a sum of large numbers would wrap
    inside = ((top >= 0) & (left >= 0) & (height >= 1) & (width >= 1) & (top < high)
              & (left < wide) & (height <= high - top) & (width <= wide - left))
    if not inside.all():
        raise ValueError(f"boxes must lie inside the {images.shape[2]} x {images.shape[3]} "
                         f"images; got {boxes[~inside][0].tolist()} (top, left, height, width).")
    return images.float()  # the weights are float32

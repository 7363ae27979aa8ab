"""Random views of pictures, one draw an image, computed for the whole batch at once.

Each operation takes its parameters, so that a drawn view can be made again and compared with
torchvision's operation on the single image. Pictures are uint8 or float ``(N, C, H, W)``; float
pictures in [0, 1] come out.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

_GRAY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green, blue


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
    rows = resampling_matrix(boxes[:, 0], boxes[:, 2], images.shape[2], size)
    columns = resampling_matrix(boxes[:, 1], boxes[:, 3], images.shape[3], size)
    n, channels, height, width = images.shape
    across = torch.bmm(images.reshape(n, channels * height, width), columns.mT)
    across = across.view(n, channels, height, size).transpose(2, 3)
    down = torch.bmm(across.reshape(n, channels * size, height), rows.mT)
    return down.view(n, channels, size, size).transpose(2, 3)


def resampling_matrix(start: torch.Tensor, length: torch.Tensor, full: int,
                      size: int) -> torch.Tensor:
    """Weights that resample ``length`` pixels from ``start`` on into ``size``, ``(N, size, full)``.

    Row i is a triangle round the place that output pixel i covers; when shrinking it is as wide
    as one output pixel, which is what antialiasing means.
    """
    step = length[:, None, None] / size  # input pixels an output pixel covers
    middle = (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(full, device=start.device) - start[:, None, None]
    weights = (1 - (pixel + 0.5 - middle).abs() / step.clamp_min(1)).clamp_min(0)
    weights = weights * ((pixel >= 0) & (pixel < length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def hflip(images: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirror the images where ``flip``, ``(N,)`` bool, is true."""
    images = _check_images(images)
    _check_draw(images, flip=flip)
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def adjust_brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply each image by its factor, ``(N,)``, and clamp to [0, 1]."""
    images = _check_images(images)
    _check_draw(images, factor=factor)
    return (images * factor[:, None, None, None]).clamp(0, 1)


def adjust_contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with its mean grey; factor 1 changes nothing, 0 leaves the grey."""
    images = _check_images(images)
    _check_draw(images, factor=factor)
    mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * mean).clamp(0, 1)


def adjust_saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Blend each image with its grey version; factor 1 changes nothing, 0 leaves grey."""
    images = _check_images(images)
    _check_draw(images, factor=factor)
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * _gray(images)).clamp(0, 1)


def adjust_hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate each image's colours by ``turn``, ``(N,)`` in turns, in the plane of YIQ's I and Q."""
    images = _check_images(images)
    _check_draw(images, turn=turn)
    if images.shape[1] == 1:
        return images
    return _multiply(hue_matrix(turn), images).clamp(0, 1)


def turn_hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate each image's hues by ``turn``, ``(N,)`` in turns, in HSV: brightness may change.

    ``adjust_hue`` keeps the luma of each pixel, in which yellow stays lighter than blue was; this
    keeps the largest and the smallest of red, green, blue.
    Source: Chen et al. 2020, Appendix A; equals torchvision's adjust_hue. Explained in notebooks/06.
    """
    images = _check_images(images)
    _check_draw(images, turn=turn)
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
    Source: Chen et al. 2020, Appendix A; clamped after each operation as torchvision does.
    Explained in notebooks/01.
    """
    images = _check_images(images)
    _check_draw(images, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
    if images.shape[1] != 3:
        saturation, hue = torch.ones_like(saturation), torch.zeros_like(hue)
    channels = images.shape[1]
    eye = torch.eye(channels, device=images.device)
    weights = torch.tensor(_GRAY if channels == 3 else (1.0,), device=images.device)
    gray_rows = weights.expand(channels, channels)
    matrices = torch.stack([
        brightness[:, None, None] * eye,
        contrast[:, None, None] * eye,
        saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * gray_rows,
        hue_matrix(hue) if channels == 3 else eye.expand(len(images), 1, 1),
    ], dim=1)  # (N, 4, C, C): every operation is a matrix, contrast with an offset
    each = torch.arange(len(images), device=images.device)
    pixels = images.flatten(2)  # (N, C, HW)
    for place in range(4):
        chosen = order[:, place]
        gray = (weights[None, :] * pixels.mean(2)).sum(1)
        offset = torch.where(chosen == 1, (1 - contrast) * gray, torch.zeros_like(gray))
        pixels = torch.baddbmm(offset[:, None, None], matrices[each, chosen], pixels).clamp_(0, 1)
    return pixels.view_as(images)


def to_grayscale(images: torch.Tensor, gray: torch.Tensor) -> torch.Tensor:
    """Take the colour out of the images where ``gray``, ``(N,)`` bool, is true."""
    images = _check_images(images)
    _check_draw(images, gray=gray)
    return torch.where(gray[:, None, None, None], _gray(images).expand_as(images), images)


def gaussian_blur(images: torch.Tensor, sigma: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Blur each image with its own ``sigma``, ``(N,)`` in pixels; 0 leaves it sharp.

    Args: kernel_size: odd, below twice the image's side; the border is mirrored.
    Source: Chen et al. 2020, Appendix A; equals torchvision's gaussian_blur.
    """
    images = _check_images(images)
    _check_draw(images, sigma=sigma)
    n, channels, height, width = images.shape
    half = kernel_size // 2
    if kernel_size % 2 == 0 or half >= min(height, width):
        raise ValueError(f"kernel_size must be odd and below {2 * min(height, width)}; "
                         f"got {kernel_size}.")
    place = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (place / sigma[:, None].clamp_min(1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = F.pad(images, (half,) * 4, mode="reflect").reshape(1, n * channels, height + 2 * half,
                                                                width + 2 * half)
    rows = F.conv2d(padded, kernel[:, None, None, :], groups=n * channels)
    return F.conv2d(rows, kernel[:, None, :, None], groups=n * channels).view_as(images)


class Views:
    """Draw two random views of every image of a batch: ``Views(32)(images) -> (view1, view2)``.

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
    Source: Chen et al. 2020, section 3 and Appendix A; s = 0.5 and no blur for CIFAR-10 (B.9).
    Explained in notebooks/01.
    """

    def __init__(
        self, size: int, crop: tuple[float, float] | None = (0.2, 1.0), flip: float = 0.5,
        color: float = 0.5, color_p: float = 0.8, gray: float = 0.2, blur: float = 0.0,
        ratio: tuple[float, float] = (3 / 4, 4 / 3), hue: float | None = None, hsv: bool = False,
    ) -> None:
        for name, p in {"flip": flip, "color_p": color_p, "gray": gray, "blur": blur}.items():
            if not 0 <= p <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1; got {p}.")
        if size < 1 or color < 0 or color > 1.25:
            raise ValueError(f"size must be at least 1 and color 0 to 1.25; got {size}, {color}.")
        if hue is not None and not (0 <= hue <= 0.5 and color):
            raise ValueError(f"hue must be 0 to 0.5, with color above 0; got {hue}, {color}.")
        if crop is not None and not 0 < crop[0] <= crop[1] <= 1:
            raise ValueError(f"crop must be (lowest, highest) within (0, 1]; got {crop}.")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio must be (lowest, highest) above 0; got {ratio}.")
        self.size, self.crop, self.flip, self.color = size, crop, flip, color
        self.color_p, self.gray, self.blur, self.ratio = color_p, gray, blur, ratio
        self.hue, self.hsv = 0.2 * color if hue is None else hue, hsv

    def __call__(
        self, images: torch.Tensor, size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two views, each ``(N, C, size, size)`` float in [0, 1]."""
        images = _check_images(images)
        n, _, height, width = images.shape
        return tuple(self.apply(images, self.draw(n, height, width, generator), size)
                     for _ in range(2))

    def draw(self, n: int, height: int, width: int,
             generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Draw the parameters of one view for each of ``n`` images."""
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
        images = _check_images(images)
        p = {name: value.to(images.device) for name, value in parameters.items()}
        views = hflip(resized_crop(images, p["boxes"], size or self.size), p["flip"])
        if self.color:
            matrix_turn = torch.zeros_like(p["hue"]) if self.hsv else p["hue"]
            views = color_jitter(views, p["brightness"], p["contrast"], p["saturation"],
                                 matrix_turn, p["order"])
            if self.hsv:
                views = turn_hue(views, p["hue"])
        if self.gray:
            views = to_grayscale(views, p["gray"])
        if self.blur:
            side = views.shape[-1]
            views = gaussian_blur(views, p["sigma"], max(3, side // 10 // 2 * 2 + 1))
        return views

    def _draw_boxes(self, n: int, height: int, width: int, uniform) -> torch.Tensor:
        """Ten tries an image, the first that fits; the whole picture when none does."""
        whole = torch.tensor([0, 0, height, width]).expand(n, 4)
        if self.crop is None:
            return whole
        area = height * width * uniform(*self.crop, n, 10)
        ratio = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n, 10).exp()
        w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
        first = fits.float().argmax(dim=1, keepdim=True)
        w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
        top = (uniform(0, 1) * (height - h + 1)).floor()
        left = (uniform(0, 1) * (width - w + 1)).floor()
        boxes = torch.stack([top, left, h, w], dim=1).long()
        return torch.where(fits.any(dim=1, keepdim=True), boxes, whole)


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
    return images


def _check_draw(images: torch.Tensor, **drawn: torch.Tensor) -> None:
    for name, values in drawn.items():
        if not isinstance(values, torch.Tensor) or values.shape != images.shape[:1]:
            raise ValueError(f"{name} must be a tensor ({len(images)},), one value an image; got "
                             f"{tuple(getattr(values, 'shape', ()))}.")
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise ValueError(f"{name} must be finite; got NaN or infinity.")


def _check_crop(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    images = _check_images(images)
    if size < 1 or boxes.shape != (len(images), 4):
        raise ValueError(f"boxes must be ({len(images)}, 4) and size at least 1; got "
                         f"{tuple(boxes.shape)} and {size}.")
    top, left, height, width = boxes.unbind(1)
    inside = ((top >= 0) & (left >= 0) & (height >= 1) & (width >= 1)
              & (top + height <= images.shape[2]) & (left + width <= images.shape[3]))
    if not inside.all():
        raise ValueError(f"boxes must lie inside the {images.shape[2]} x {images.shape[3]} "
                         f"images; got {boxes[~inside][0].tolist()} (top, left, height, width).")
    return images.float()  # the weights are float32

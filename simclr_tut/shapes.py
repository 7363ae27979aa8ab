"""Pictures of coloured shapes whose true factors are known; made on the spot, the same everywhere.

Ten shapes, filled and backed with photographic texture, hue of shape and background drawn
independently of the class: what a network keeps of each factor can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

SHAPE_NAMES = ("triangle", "square", "pentagon", "hexagon", "star", "cross", "crescent", "ring",
               "arrow", "half disc")
_BLOCK = 500


@dataclass(frozen=True)
class ShapeImages:
    """Pictures ``(N, 3, S, S)`` (sequences: ``(N, T, 3, S, S)``) uint8 and their factors.

    factors: shape int64; hue, background_hue in [0, 1); scale, the radius as a share of the side;
    rotation in radians; x, y, the centre as a share of the side (sequences: ``(N, T)``).
    """

    images: torch.Tensor
    factors: dict[str, torch.Tensor]


def sample_photographs() -> list[torch.Tensor]:
    """Return scikit-learn's two sample photographs, ``(3, H, W)`` uint8 each."""
    from sklearn.datasets import load_sample_images

    return [torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))
            for p in load_sample_images().images]


def make_shapes(n: int, seed: int, size: int = 32) -> ShapeImages:
    """Make ``n`` pictures; the same seed gives the same bytes.

    Args: size: side in pixels, 8 to 200.
    Raises: ValueError for other numbers.
    Explained in notebooks/00.
    """
    _check(n, seed, size)
    rng, factors = _draw(n, seed)
    blocks = [_render({k: v[i:i + _BLOCK] for k, v in factors.items()}, rng, size, 1)
              for i in range(0, n, _BLOCK)]
    return ShapeImages(torch.from_numpy(np.concatenate(blocks)[:, 0]), _tensors(factors))


def make_sequences(n: int, frames: int, seed: int, size: int = 32) -> ShapeImages:
    """Make ``n`` short sequences of one shape that drifts and turns at a constant rate.

    Returns: images ``(n, frames, 3, size, size)``.
    Raises: ValueError if n < 1, frames < 2 or size is not 8 to 200.
    Explained in notebooks/00.
    """
    _check(n, seed, size)
    if not isinstance(frames, int) or frames < 2:
        raise ValueError("frames must be at least 2 and whole, or nothing moves; got "
                         f"{frames!r}.")
    rng, factors = _draw(n, seed)
    time = np.linspace(-0.5, 0.5, frames)
    angle = rng.uniform(0, 2 * np.pi, n)[:, None]
    factors["x"] = (0.5 + (factors["x"] - 0.5) * 0.5)[:, None] + 0.3 * np.cos(angle) * time
    factors["y"] = (0.5 + (factors["y"] - 0.5) * 0.5)[:, None] + 0.3 * np.sin(angle) * time
    factors["rotation"] = factors["rotation"][:, None] + rng.uniform(-1, 1, n)[:, None] * time
    blocks = [_render({k: v[i:i + _BLOCK] for k, v in factors.items()}, rng, size, frames)
              for i in range(0, n, _BLOCK)]
    return ShapeImages(torch.from_numpy(np.concatenate(blocks)), _tensors(factors))


def _draw(n: int, seed: int) -> tuple[np.random.Generator, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return rng, {
        "shape": rng.integers(0, len(SHAPE_NAMES), n),
        "hue": rng.random(n), "background_hue": rng.random(n),
        "scale": rng.uniform(0.28, 0.42, n), "rotation": rng.uniform(-0.4, 0.4, n),
        "x": rng.uniform(0.38, 0.62, n), "y": rng.uniform(0.38, 0.62, n),
    }


def _tensors(factors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v if k == "shape" else v.astype(np.float32))
            for k, v in factors.items()}


def _render(f: dict[str, np.ndarray], rng: np.random.Generator, size: int,
            frames: int) -> np.ndarray:
    """Draw a block of pictures, ``(n, frames, 3, size, size)`` uint8, at twice the size first."""
    n, fine = len(f["shape"]), 2 * size
    place = (np.arange(fine, dtype=np.float32) + 0.5) / fine

    def over_frames(values: np.ndarray) -> np.ndarray:
        values = values[:, None] if values.ndim == 1 else values
        return np.broadcast_to(values, (n, frames))[..., None, None].astype(np.float32)

    dx = place[None, None, None, :] - over_frames(f["x"])
    dy = place[None, None, :, None] - over_frames(f["y"])
    turn, radius = over_frames(f["rotation"]), over_frames(f["scale"])
    cos, sin = np.cos(turn), np.sin(turn)
    u, v = (cos * dx + sin * dy) / radius, (-sin * dx + cos * dy) / radius
    mask = np.zeros(u.shape, np.float32)
    for index in range(len(SHAPE_NAMES)):
        chosen = f["shape"] == index
        if chosen.any():
            mask[chosen] = _inside(index, u[chosen], v[chosen])
    mask = mask.reshape(n, frames, size, 2, size, 2).mean((3, 5))[:, :, None]  # antialiased
    shape = _color(f["hue"])[..., None, None] * _texture(rng, n, size)
    ground = _color(f["background_hue"])[..., None, None] * _texture(rng, n, size)
    pixels = mask * shape[:, None] + (1 - mask) * ground[:, None]
    return np.rint(pixels * 255).clip(0, 255).astype(np.uint8)


def _inside(index: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points lie inside the unit shape."""
    r = np.hypot(u, v)
    if index < 4:
        return _polygon(u, v, index + 3)
    if index == 4:  # star: the outline swings five times between two radii
        angle = np.arctan2(u, -v) % (2 * np.pi / 5)
        return r < 0.45 + 0.6 * np.abs(angle / (2 * np.pi / 5) - 0.5) * 2
    if index == 5:
        return ((np.abs(u) < 0.3) & (np.abs(v) < 0.95)) | ((np.abs(v) < 0.3) & (np.abs(u) < 0.95))
    if index == 6:
        return (r < 1) & (np.hypot(u - 0.5, v) > 0.8)
    if index == 7:
        return (r < 1) & (r > 0.55)
    if index == 8:
        return ((np.abs(u) < 0.22) & (v > -0.2) & (v < 0.95)) | ((v <= 0) & (v > -1 + np.abs(u)))
    return (r < 1) & (v < 0)


def _polygon(u: np.ndarray, v: np.ndarray, sides: int) -> np.ndarray:
    inside = np.ones(u.shape, bool)
    for side in range(sides):
        angle = np.pi / 2 + np.pi / sides + 2 * np.pi * side / sides
        inside &= u * np.cos(angle) - v * np.sin(angle) < np.cos(np.pi / sides)
    return inside


def _color(hue: np.ndarray) -> np.ndarray:
    """Return saturated RGB colours, ``(n, 3)``, of hues in turns."""
    place = np.array([0, 4, 2])
    distance = np.abs((hue[:, None] * 6 + place) % 6 - 3) - 1
    return (0.25 + 0.75 * distance.clip(0, 1)).astype(np.float32)


@lru_cache(maxsize=1)
def _photographs() -> np.ndarray:
    """Return the brightness of the two photographs at half size, ``(2, 213, 320)`` in [0, 1]."""
    grays = [p.numpy().mean(0)[:426, :640].reshape(213, 2, 320, 2).mean((1, 3))
             for p in sample_photographs()]
    return np.stack(grays).astype(np.float32) / 255


def _texture(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Cut brightness patches, ``(n, 1, size, size)``, out of the photographs."""
    stack = _photographs()
    which = rng.integers(0, 2, n)
    top = rng.integers(0, stack.shape[1] - size + 1, n)
    left = rng.integers(0, stack.shape[2] - size + 1, n)
    span = np.arange(size)
    patch = stack[which[:, None, None], (top[:, None] + span)[:, :, None],
                  (left[:, None] + span)[:, None, :]]
    patch = patch - patch.mean((1, 2), keepdims=True)
    patch = 0.72 + 0.28 * patch / (np.abs(patch).max((1, 2), keepdims=True) + 1e-6)
    return patch[:, None]


def _check(n: int, seed: int, size: int) -> None:
    if not all(isinstance(v, int) for v in (n, seed, size)) or n < 1 or seed < 0 or not (
            8 <= size <= 200):
        raise ValueError("n must be at least 1, seed at least 0 and size 8 to 200, all whole "
                         f"numbers; got {n!r}, {seed!r} and {size!r}.")

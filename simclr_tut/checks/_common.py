"""What checkers share: call a candidate safely, and name the mistake whose result it gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from simclr_tut.checks._runner import Mistake


def call(candidate: Callable, *arguments: object) -> object:
    """Call the candidate with copies of tensors, and notice when it writes into them."""
    if not callable(candidate):
        raise Mistake(f"hand in a function; got {type(candidate).__name__}. Leave out the "
                      "brackets: the name alone is the function.")
    copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    result = candidate(*copies)
    for given, kept in zip(copies, arguments, strict=True):
        if isinstance(kept, torch.Tensor) and not torch.equal(given, kept):
            raise Mistake("your function changes its inputs. An operation whose name ends in _, or "
                          "an assignment to x[...], writes where it reads: work on a copy.", 0.3)
    if result is None:
        raise Mistake("your function returns nothing. Is the return missing?")
    return result


def pair(value: object, sentence: str) -> tuple | list:
    """Expect two things, as ``return a, b`` gives them; else say the sentence."""
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == 2:
        return value.unbind()  # stacked; ``a, b = value`` would take it apart alike
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise Mistake(sentence)
    return value


def number(value: object, what: str = "your answer") -> float:
    """Turn a number, or a tensor or an array of one number, into a float."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, (np.ndarray, np.generic)) and value.size == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
        raise Mistake(f"{what} must be one number; got {type(value).__name__}{shape}.")
    if not math.isfinite(value):
        raise Mistake(f"{what} is {value}. Look for a division by zero, or for the logarithm or "
                      "exponential of a large number.")
    return float(value)


def measured(candidate: object, count: int, names: str) -> list[float]:
    """Expect so many finite numbers, handed in as a tuple or a list."""
    if isinstance(candidate, torch.Tensor) and candidate.dim() == 1:
        candidate = candidate.tolist()
    if not isinstance(candidate, (tuple, list)) or len(candidate) != count:
        raise Mistake(f"hand in {count} numbers in brackets ({names}); got "
                      f"{type(candidate).__name__}.")
    return [number(value, "each of them") for value in candidate]


def tensor(value: object, shape: tuple[int, ...], what: str = "your result",
           integer: bool = False) -> torch.Tensor:
    """Expect a finite tensor of a shape."""
    if not isinstance(value, torch.Tensor):
        raise Mistake(f"{what} must be a tensor; got {type(value).__name__}.")
    if tuple(value.shape) != shape:
        raise Mistake(f"{what} must have shape {shape}; got {tuple(value.shape)}.")
    if integer and (value.is_floating_point() or value.dtype == torch.bool):
        raise Mistake(f"{what} must hold whole numbers (int64); got {value.dtype}.", 0.5)
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise Mistake(f"{what} holds NaN or infinity. Look for a division by zero, or for exp of a "
                      "large number.")
    return value


def compare(value: torch.Tensor | float, expected: torch.Tensor | float,
            mistakes: Iterable[tuple[object, str, float]], otherwise: str,
            tolerance: float = 1e-4) -> None:
    """Return if the value is right; else name the mistake that gives this very value.

    Args: mistakes: (value of a typical wrong answer, or a function that computes it, sentence,
        share of the points).
    """
    def same(a: object, b: object) -> bool:
        a, b = (torch.as_tensor(x).detach().double() for x in (a, b))
        return a.shape == b.shape and bool(torch.allclose(a, b, atol=tolerance, rtol=tolerance))

    if same(value, expected):
        return
    for wrong, sentence, score in mistakes:
        if same(value, wrong() if callable(wrong) else wrong):
            raise Mistake(sentence, score)
    raise Mistake(otherwise)


def letter(candidate: object, options: str) -> str:
    """Expect one letter."""
    if isinstance(candidate, (int, float)) and not isinstance(candidate, bool):
        raise Mistake(f"{candidate:g} may be what you have measured; say under which of "
                      f"{', '.join(options)} it falls, as a letter in quotes.")
    if not isinstance(candidate, str) or candidate.strip().upper() not in set(options):
        raise Mistake(f"answer with one letter out of {', '.join(options)}, in quotes; got "
                      f"{candidate!r:.40}.")
    return candidate.strip().upper()


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return the same normal draws each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Return smooth random pictures, ``(n, 3, size, size)`` uint8."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(coarse, size, mode="bilinear") * 255).to(torch.uint8)

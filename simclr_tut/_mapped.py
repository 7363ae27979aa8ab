"""A part of ``config``: pictures in a mapped file, which need not all stay in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch

_OFTEN = 2**26  # bytes of pictures between two times; a page brings some of its neighbours along
_FILES: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # by where they are mapped
_READ: WeakKeyDictionary[mmap.mmap, int] = WeakKeyDictionary()  # bytes since the last time


def map_pictures(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """Map a file as a uint8 tensor: pages are read when needed, and writing never reaches it.

    Raises: OSError or ValueError for a file that cannot be mapped in this shape.
    """
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    images = torch.from_numpy(np.frombuffer(mapped, np.uint8).reshape(shape))
    _FILES[images.data_ptr()] = mapped
    return images


def was_read(images: torch.Tensor, part: torch.Tensor) -> None:
    """Note that ``part`` was read of ``images``; let go of their pages now and then.

    Else each page that was ever read counts as memory of this process. They are clean copies of
    the file and come back when needed. Where somebody wrote into the pictures they all stay, since
    what was written is nowhere else. Linux alone; elsewhere, and with other tensors, all stay.
    """
    place = images.untyped_storage().data_ptr()
    mapped = _FILES.get(place)
    if mapped is None:
        return
    _READ[mapped] = _READ.get(mapped, 0) + part.nbytes
    if _READ[mapped] < _OFTEN:
        return
    _READ[mapped] = 0
    if _written_kb(place) == 0:
        mapped.madvise(mmap.MADV_DONTNEED)


def in_turn(images: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Hand out pictures from the first to the last, ``batch_size`` at a time."""
    for batch in images.split(batch_size):
        yield batch
        was_read(images, batch)


def _written_kb(place: int) -> int | None:
    """How much of the file mapped at an address was written to, in kB; None if nobody can say."""
    with suppress(OSError), open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(f"{place:x}-"):
                return next(int(x.split()[1]) for x in lines if x.startswith("Anonymous:"))
    return None

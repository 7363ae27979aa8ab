"""A part of ``config``: pictures in a mapped file, which need not all stay in memory."""

from __future__ import annotations

import mmap
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch

_LARGE = 2**29  # bytes; a smaller file may well stay in memory, once it was read
_OFTEN = 2**26  # bytes that are read before pages are let go of; each brings some neighbours along


class _Pictures(mmap.mmap):
    """A file, mapped so that writing into it reaches a copy; ``plain`` maps it for reading only."""

    plain: mmap.mmap
    read = 0  # bytes since pages were let go of


_FILES: WeakValueDictionary[int, _Pictures] = WeakValueDictionary()  # by where they are mapped


def map_pictures(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """Map a file as a uint8 tensor: pages are read when needed, and writing never reaches it.

    Raises: OSError or ValueError for a file that cannot be mapped in this shape.
    """
    linux = sys.platform == "linux"
    # without NORESERVE Linux asks for as much memory as the file is large, for copies of its pages
    how = ({"flags": mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)} if linux
           else {"access": mmap.ACCESS_COPY})
    with open(path, "rb") as file:
        mapped = _Pictures(file.fileno(), 0, **how)
        images = torch.from_numpy(np.frombuffer(mapped, np.uint8).reshape(shape))
        if linux and len(mapped) >= _LARGE:
            mapped.plain = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            _FILES[images.data_ptr()] = mapped
    return images


def take(images: torch.Tensor, chosen: torch.Tensor | slice) -> torch.Tensor:
    """Return ``images[chosen]`` without keeping in memory what was read of a large file.

    Each page that is ever read counts as memory of this process. So pictures of a large file are
    read through a second mapping, whose pages are let go of now and then: they are copies of the
    file and come back when needed. Pictures that somebody wrote into are read where that was
    written. Linux alone; elsewhere, and for other tensors, it is plain indexing.
    """
    place = images.untyped_storage().data_ptr()
    mapped = _FILES.get(place)
    if mapped is None or images.dtype != torch.uint8 or _written_kb(place, len(mapped)) != 0:
        return images[chosen]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch cannot mark a tensor as not writable
        whole = torch.from_numpy(np.frombuffer(mapped.plain, np.uint8))
    taken = whole.as_strided(images.shape, images.stride(), images.storage_offset())[chosen]
    taken = taken.clone() if isinstance(chosen, slice) else taken  # it may be written into
    mapped.read += taken.nbytes
    if mapped.read >= _OFTEN:
        mapped.read = 0
        mapped.plain.madvise(mmap.MADV_DONTNEED)
    return taken


def in_turn(images: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Hand out pictures from the first to the last, ``batch_size`` at a time."""
    for start in range(0, len(images), batch_size):
        yield take(images, slice(start, start + batch_size))


def _written_kb(place: int, size: int) -> int | None:
    """How much of a mapped file was written to, in kB; None if nobody can say."""
    written, here, found = 0, False, False
    with suppress(OSError), open("/proc/self/smaps", "rb") as lines:
        for line in lines:
            name, _, rest = line.partition(b" ")
            if not name.endswith(b":"):  # the next part of memory: from-to
                start, end = (int(side, 16) for side in name.split(b"-"))
                here = start < place + size and end > place
                found |= here
            elif here and name in (b"Anonymous:", b"Swap:"):
                written += int(rest.split()[0])
    return written if found else None

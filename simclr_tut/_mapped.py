"""A part of ``config``: pictures in a mapped file, which need not all stay in memory."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch

_LARGE = 2**29  # bytes; a smaller file may well stay in memory, once it was read
_OFTEN = 2**26  # bytes that are read before pages are let go of; each brings some neighbours along


class _Pictures(mmap.mmap):
    """A file, mapped so that writing into it reaches a copy; ``plain`` maps it for reading."""

    plain: mmap.mmap
    pixels: torch.Tensor  # of ``plain``
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
            mapped.plain = mmap.mmap(file.fileno(), 0, **how)
            mapped.pixels = torch.from_numpy(np.frombuffer(mapped.plain, np.uint8))
            _FILES[images.data_ptr()] = mapped
    return images


def take(images: torch.Tensor, chosen: torch.Tensor | slice) -> torch.Tensor:
    """Return ``images[chosen]`` without keeping in memory what was read of a large file.

    Each page that is ever read counts as memory of this process. So pictures of a large file are
    read through a second mapping, whose pages are let go of now and then: they are copies of the
    file and come back when needed. Pictures that somebody wrote into are read where that was
    written. Linux alone; elsewhere, and for other tensors, it is plain indexing.
    """
    mapped = _FILES.get(images.untyped_storage().data_ptr())
    if mapped is None or images.dtype != torch.uint8 or _written(images, chosen) is not False:
        return images[chosen]
    same = mapped.pixels.as_strided(images.shape, images.stride(), images.storage_offset())
    taken = same[chosen]
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


def _written(images: torch.Tensor, chosen: torch.Tensor | slice) -> bool | None:
    """Whether somebody wrote into these pictures of a mapped file; None if nobody can say.

    Source: Linux, Documentation/admin-guide/mm/pagemap.rst: 64 bits a page.
    """
    size = 1 + sum((n - 1) * step for n, step in
                   zip(images.shape[1:], images.stride()[1:], strict=True))
    entries, pages = [], 0
    try:
        file = os.open("/proc/self/pagemap", os.O_RDONLY)
    except OSError:
        return None
    try:
        for row in torch.arange(len(images))[chosen].flatten().tolist():
            start = images.data_ptr() + row * images.stride(0)
            first, last = start // mmap.PAGESIZE, (start + size - 1) // mmap.PAGESIZE
            entries.append(os.pread(file, 8 * (last - first + 1), 8 * first))
            pages += last - first + 1
    except OSError:
        return None
    finally:
        os.close(file)
    flags = np.frombuffer(b"".join(entries), np.uint64)
    if len(flags) != pages:
        return None
    present, of_the_file = flags >> np.uint64(62) > 0, flags >> np.uint64(61) & np.uint64(1)
    return bool((present & (of_the_file == 0)).any())

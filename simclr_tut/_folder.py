"""A part of ``data``: the reader's own pictures, decoded once into a memory-mapped cache."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import struct
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from tqdm import tqdm

from simclr_tut import config
from simclr_tut._mapped import map_pictures

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"}
# What a file with such a name may really hold. Others are refused: for PostScript, say, Pillow
# would start another program.
_KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SPLITS = {"train", "test", "val", "valid", "validation", "unlabeled"}
_FORMAT = 4  # of the cache; part of its key
# Errors of reading that are of the file and stay; after others it is worth trying again.
_LASTING = (None, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ELOOP)
_CHUNK = 256  # pictures in memory at once while decoding
_IN_MEMORY = 2**31  # bytes that a folder may take when no cache can be written


@dataclass(frozen=True)
class Folder:
    """Decoded pictures: ``(N, 3, size, size)`` uint8, ``(N,)`` int64, names, what was left out."""

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def load_folder(root: Path, split: str, size: int) -> Folder:
    """Decode every picture under ``root``, or map the cache of an earlier time into memory.

    The first folder below ``root`` (or ``root/split``) is the class. Classes are numbered over
    both splits, so that a number means the same in each. Files that cannot be decoded are left
    out, with a warning that counts and names them.
    Raises: FileNotFoundError when the split is absent or no picture is left.
    """
    base, other = _base(root, split)
    files, unread = _find(base)
    if base != root:
        unread += [f"{_printable(p.name)} (lies beside the folder {base.name!r})"
                   for p in _loose(root)]
    key = _key(base, files, size)
    stem = config.data_folders()[-1] / "folders" / key
    found = _from_cache(stem, size, base) or _build(base, files, size, stem)
    images, names, left_out = found[0], found[1], [*unread, *found[2]]
    if not names:
        raise FileNotFoundError(
            f"{base} holds no picture that can be read ({len(files)} files, {len(left_out)} "
            f"broken{': ' + left_out[0] if left_out else ''}). Expected JPEG, PNG or WebP files, "
            "best as CLASS/picture.jpg.")
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        config.warn(f"{len(left_out)} of {len(files) + len(unread)} files under "
                    f"{_printable(root.name)} could not be read and were left out: {shown}",
                    stacklevel=4)
    owners = [_class_name(Path(name).parts[0]) if len(Path(name).parts) > 1 else None
              for name in names]
    everyone = {owner for owner in owners if owner is not None}
    if other is not None:  # a class may be in one of the splits only; broken files count in both
        everyone.update(map(_class_name, (*_with_pictures(base), *_with_pictures(other))))
    classes = sorted(everyone)
    number = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([number.get(owner, -1) for owner in owners], dtype=torch.int64)
    return Folder(images, labels, tuple(map(_printable, classes)), tuple(left_out))


def decode(path: Path | BinaryIO, size: int) -> np.ndarray:
    """Return the middle square of a picture, upright, ``(3, size, size)`` uint8."""
    with _open(path, size) as picture:
        upright = picture
        with suppress(SyntaxError, ValueError, TypeError, LookupError, struct.error):
            upright = ImageOps.exif_transpose(picture)  # broken notes turn no picture
        square = _middle(upright, size)
    return np.asarray(_to_rgb(square)).transpose(2, 0, 1)


def _open(path: Path | BinaryIO, size: int) -> Image.Image:
    """Open a picture, a JPEG at the lowest resolution that serves ``size``.

    So a JPEG may be larger than what Pillow takes for an attack, unless it is progressive: of
    such a file all coefficients are held in memory.
    """
    enough = (2 * size, 2 * size)
    try:
        picture = Image.open(path, formats=_KINDS)
        picture.draft("RGB", enough)
        return picture
    except Image.DecompressionBombError:
        with suppress(SyntaxError):  # no JPEG
            large = JpegImageFile(path)
            large.draft("RGB", enough)
            if (math.prod(large.size) <= 2 * Image.MAX_IMAGE_PIXELS
                    and not large.info.get("progressive")):
                return large
            large.close()
        raise


def _with_pictures(folder: Path) -> Iterator[str]:
    """Names of the folders below that hold a picture; none where they may not be listed."""
    with suppress(PermissionError):
        for below in sorted(folder.iterdir()):
            if os.path.isdir(below) and not hidden(below.name) and _find(below, first=True)[0]:
                yield below.name


def _loose(folder: Path) -> list[Path]:
    """Pictures that lie in a folder itself."""
    return [p for p in sorted(folder.iterdir())
            if p.suffix.lower() in SUFFIXES and not hidden(p.name) and os.path.isfile(p)]


def _base(root: Path, split: str) -> tuple[Path, Path | None]:
    """The folder of the split, and that of the other one if there is one.

    It is ``root`` itself, or a folder below it that is a split and no class.
    """
    parts = {p.name.lower(): p for p in sorted(root.iterdir())  # "train" over "Train"
             if p.name.lower() in ("train", "test") and os.path.isdir(p)}
    if len(parts) == 1:  # beside folders of pictures "train" may be a class, as bus and car are
        if any(name.lower() not in _SPLITS for name in _with_pictures(root)):
            parts = {}
    if split in parts:
        return parts.pop(split), next(iter(parts.values()), None)
    if parts or split == "test":
        beside = "".join(f" beside {p.name!r}" for p in parts.values())
        raise FileNotFoundError(
            f"{root} has no folder {split!r}{beside}. Make "
            f"one, or load the train split and set pictures aside with data.split_labels.")
    return root, None


def _find(base: Path, first: bool = False) -> tuple[list[Path], list[str]]:
    """Pictures below ``base``, links followed, and what could not be listed, with the reason.

    Of each folder directly below, which is a class, every place is visited once, whatever links
    lead there.
    """
    files, unread = [], []

    def name(path: str | Path) -> str:
        return _printable(Path(path).relative_to(base).as_posix())

    def note(error: OSError) -> None:
        said = error.strerror or str(error)
        unread.append(f"{name(error.filename)} ({type(error).__name__}: {said})")

    visited: set[str] = set()  # real places of this class, and of the folders above it
    above = {os.path.realpath(base)}
    for folder, below, names in os.walk(base, onerror=note, followlinks=True):
        if Path(folder).parent == base:  # depth first: the class before is done
            visited = above | {os.path.realpath(folder)}
        below[:] = [n for n in sorted(below) if not hidden(n)]
        if folder != str(base):
            places = {n: os.path.realpath(os.path.join(folder, n)) for n in below}
            below[:] = [n for n, place in places.items() if place not in visited]
            visited.update(places[n] for n in below)
        else:
            below[:] = [n for n in below if os.path.realpath(os.path.join(folder, n)) not in above]
        for path in (Path(folder, n) for n in names):
            if path.suffix.lower() not in SUFFIXES or hidden(path.name):
                continue
            if os.path.isfile(path):
                files.append(path)
                if first:
                    return files, unread
            else:  # a link to nothing, or into a locked place; a pipe, which would be waited for
                unread.append(f"{name(path)} (no file that may be read)")
    return sorted(files), sorted(unread)


def hidden(name: str) -> bool:
    """Whether a file or folder is of a program and not of the reader."""
    return name.startswith(".") or name == "__MACOSX"


def _class_name(folder: str) -> str:
    """A Mac and Linux may write one name in two ways: é as one character, or as e and an accent."""
    return unicodedata.normalize("NFC", folder)


def _printable(name: str) -> str:
    """A name of any bytes as text that every terminal and notebook can show."""
    return "".join(c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}"
                   if 0xDC80 <= ord(c) <= 0xDCFF else c.encode("unicode_escape").decode()
                   for c in name)


def _middle(picture: Image.Image, size: int) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    if square.mode in ("P", "PA"):  # colours of a palette cannot be averaged
        square = square.convert("RGBA")
    if side == size or square.mode == "1":
        return square if side == size else square.convert("L").resize((size, size))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits of grey
        values = np.asarray(picture, dtype=np.float64) / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _key(base: Path, files: list[Path], size: int) -> str:
    """A name for these files in this state at this size; any change gives another."""
    place = os.path.realpath(base)  # file systems with coarse clocks cannot tell twins apart
    total = hashlib.sha256(f"{_FORMAT} {size} {place}".encode(errors="surrogateescape"))
    for path in files:
        try:
            state = path.stat()
            facts = f"{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}"
        except OSError as error:  # gone since it was listed
            facts = str(error.errno)
        total.update(f"{path.relative_to(base).as_posix()}\0{facts}\n".encode(
            errors="surrogateescape"))
    return total.hexdigest()[:24]


Found = tuple[torch.Tensor, list[str], list[str]]


def _from_cache(stem: Path, size: int, base: Path | None) -> Found | None:
    """Map a whole cache; None where there is none, where it is cut short or was written into, or
    where a file that could not be read can be read now.
    """
    pixels, index = stem.with_suffix(".pixels"), stem.with_suffix(".json")
    try:
        facts = json.loads(index.read_text(encoding="utf-8"))
        names, left_out, again = facts["names"], facts["left_out"], facts["again"]
        if facts["sha256"] != _digest(names, left_out, again, facts["written"]):
            return None
        state = pixels.stat()
        late = abs(state.st_mtime_ns - facts["written"])
        coarse = state.st_mtime_ns % 10**9 == 0  # some disks keep every second second
        if state.st_size != len(names) * 3 * size * size or late >= (2 * 10**9 if coarse else 1):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    for name in again if base else ():
        with suppress(Exception):
            decode(base / name, size)
            return None
    if not names:
        return None
    try:
        return map_pictures(pixels, (len(names), 3, size, size)), names, left_out
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(f"the pictures decoded into {pixels}, {state.st_size / 1e9:.1f} GB, cannot "
                      f"be mapped into memory ({error}). Close other programs, or load fewer "
                      "pictures, or smaller ones.") from error


def _build(base: Path, files: list[Path], size: int, stem: Path) -> Found:
    """Decode into the cache, or into memory where no cache can be written."""
    if not files:
        return torch.empty(0), [], []
    half = stem.with_suffix(f".{os.getpid()}-{secrets.token_hex(3)}.half")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        _sweep(stem.parent)
        with open(half, "wb") as file:
            names, left_out, again = _decode_all(base, files, size,
                                                 lambda p: file.write(p.tobytes()))
            file.flush()
            os.fsync(file.fileno())
        written = half.stat().st_mtime_ns
        _place(stem, half, {"names": names, "left_out": left_out, "again": again,
                            "written": written,
                            "sha256": _digest(names, left_out, again, written)})
    except OSError as error:
        if len(files) * 3 * size * size > _IN_MEMORY:
            raise OSError(
                f"the cache for {base} could not be written to {stem.parent} ({error}). It needs "
                f"{len(files) * 3 * size * size / 1e9:.1f} GB: free them, or set SIMCLR_TUT_CACHE "
                "to a folder with room.") from error
        kept: list[np.ndarray] = []
        names, left_out, _ = _decode_all(base, files, size, kept.append)
        return torch.from_numpy(np.stack(kept)) if kept else torch.empty(0), names, left_out
    finally:  # after an interrupt, too: gigabytes may lie there
        with suppress(OSError):
            half.unlink(missing_ok=True)
    if not names:
        return torch.empty(0), names, left_out
    for _ in range(40):  # between its two files another process may just put its own
        found = _from_cache(stem, size, None)
        if found:
            return found
        time.sleep(0.05)
    raise OSError(f"the cache {stem} was changed while it was made. Try again.")


def _place(stem: Path, half: Path, facts: dict) -> None:
    """Give pixels and index their names, the index last: it says that the cache is whole."""
    half_index = half.with_suffix(".half-index")
    try:
        half_index.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(half, stem.with_suffix(".pixels"))
        os.replace(half_index, stem.with_suffix(".json"))
    finally:
        with suppress(OSError):
            half_index.unlink(missing_ok=True)


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what killed processes left a day ago or earlier."""
    with suppress(OSError):
        for half in folder.glob("*.half*"):
            if time.time() - half.stat().st_mtime > 86400:
                half.unlink()


def _decode_all(base: Path, files: list[Path], size: int,
                keep: Callable[[np.ndarray], object]) -> tuple[list[str], list[str], list[str]]:
    """Hand every decoded picture to ``keep``, in order.

    Returns: names kept, files left out with the reason, and those of them to be tried again.
    """
    again: list[str] = []

    def attempt(path: Path) -> np.ndarray | str:
        try:
            return decode(path, size)
        except Exception as error:  # a broken file may raise anything, and must not end the run
            passing = isinstance(error, OSError) and error.errno not in _LASTING
            if passing or isinstance(error, MemoryError):
                again.append(path.relative_to(base).as_posix())
            said = (str(error) or "no picture").replace(repr(str(path)), "it")
            return f"{type(error).__name__}: {said}"[:120]

    def results() -> Iterator[tuple[Path, np.ndarray | str]]:
        with ThreadPoolExecutor(config.cores()) as pool:
            for start in range(0, len(files), _CHUNK):
                chunk = files[start:start + _CHUNK]
                yield from zip(chunk, pool.map(attempt, chunk), strict=True)

    names, left_out = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata
        for path, result in tqdm(results(), total=len(files), desc=f"decoding {base.name}",
                                 unit="picture", delay=3, leave=False):
            name = path.relative_to(base).as_posix()
            if isinstance(result, str):
                left_out.append(_printable(f"{name} ({result})"))
            else:
                keep(result)
                names.append(name)
    return names, left_out, again

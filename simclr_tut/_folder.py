"""A part of ``data``: the reader's own pictures, decoded once into a memory-mapped cache."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import struct
import time
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
_FORMAT = 3  # of the cache; part of its key
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
    found = _from_cache(stem, size) or _build(base, files, size, stem)
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
    owners = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names]
    everyone = {owner for owner in owners if owner is not None}
    if other is not None:  # a class may be in one of the splits only; broken files count in both
        everyone.update(_with_pictures(base), _with_pictures(other))
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
            if below.is_dir() and not hidden(below.name) and _find(below, first=True)[0]:
                yield below.name


def _loose(folder: Path) -> list[Path]:
    """Pictures that lie in a folder itself."""
    return [p for p in sorted(folder.iterdir())
            if p.suffix.lower() in SUFFIXES and not hidden(p.name) and p.is_file()]


def _base(root: Path, split: str) -> tuple[Path, Path | None]:
    """The folder of the split, and that of the other one if there is one.

    It is ``root`` itself, or a folder below it that is a split and no class.
    """
    parts = {p.name.lower(): p for p in sorted(root.iterdir())  # "train" over "Train"
             if p.name.lower() in ("train", "test") and p.is_dir()}
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
    """Pictures below ``base``, links followed, and what could not be listed, with the reason."""
    files, unread = [], []

    def name(path: str | Path) -> str:
        return _printable(Path(path).relative_to(base).as_posix())

    def note(error: OSError) -> None:
        said = error.strerror or str(error)
        unread.append(f"{name(error.filename)} ({type(error).__name__}: {said})")

    above = {str(base): {os.path.realpath(base)}}  # of each folder: where it and its parents lie
    for folder, below, names in os.walk(base, onerror=note, followlinks=True):
        seen = above.pop(folder)
        below[:] = [n for n in sorted(below) if not hidden(n)
                    and os.path.realpath(os.path.join(folder, n)) not in seen]
        for n in below:
            path = os.path.join(folder, n)
            above[path] = seen | {os.path.realpath(path)}
        for path in (Path(folder, n) for n in names):
            if path.suffix.lower() not in SUFFIXES or hidden(path.name):
                continue
            if path.is_file():
                files.append(path)
                if first:
                    return files, unread
            else:  # a link to nothing; a pipe, which would be waited for
                unread.append(f"{name(path)} (no file)")
    return sorted(files), sorted(unread)


def hidden(name: str) -> bool:
    """Whether a file or folder is of a program and not of the reader."""
    return name.startswith(".") or name == "__MACOSX"


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


def _from_cache(stem: Path, size: int) -> Found | None:
    """Map a whole cache; None where there is none, or where it is cut short."""
    pixels, index = stem.with_suffix(".pixels"), stem.with_suffix(".json")
    try:
        facts = json.loads(index.read_text(encoding="utf-8"))
        names, left_out = facts["names"], facts["left_out"]
        if facts["sha256"] != _digest(names, left_out):
            return None
        if pixels.stat().st_size != len(names) * 3 * size * size or not names:
            return None
        return map_pictures(pixels, (len(names), 3, size, size)), names, left_out
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _build(base: Path, files: list[Path], size: int, stem: Path) -> Found:
    """Decode into the cache, or into memory where no cache can be written."""
    if not files:
        return torch.empty(0), [], []
    half = stem.with_suffix(f".{os.getpid()}-{secrets.token_hex(3)}.half")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        _sweep(stem.parent)
        with open(half, "wb") as file:
            names, left_out = _decode_all(base, files, size, lambda p: file.write(p.tobytes()))
            file.flush()
            os.fsync(file.fileno())
        _place(stem, half, {"names": names, "left_out": left_out,
                            "sha256": _digest(names, left_out)})
        found = _from_cache(stem, size)
        if found or not names:
            return found or (torch.empty(0), names, left_out)
        raise OSError("the cache was changed while it was made")
    except OSError as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        if len(files) * 3 * size * size > _IN_MEMORY:
            raise OSError(
                f"the cache for {base} could not be written to {stem.parent} ({error}). It needs "
                f"{len(files) * 3 * size * size / 1e9:.1f} GB: free them, or set SIMCLR_TUT_CACHE "
                "to a folder with room.") from error
        kept: list[np.ndarray] = []
        names, left_out = _decode_all(base, files, size, kept.append)
        return torch.from_numpy(np.stack(kept)) if kept else torch.empty(0), names, left_out


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


def _digest(names: list[str], left_out: list[str]) -> str:
    return hashlib.sha256(json.dumps([names, left_out]).encode()).hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what killed processes left a day ago or earlier."""
    with suppress(OSError):
        for half in folder.glob("*.half*"):
            if time.time() - half.stat().st_mtime > 86400:
                half.unlink()


def _decode_all(base: Path, files: list[Path], size: int,
                keep: Callable[[np.ndarray], object]) -> tuple[list[str], list[str]]:
    """Hand every decoded picture to ``keep``, in order; return names kept and files left out."""
    def attempt(path: Path) -> np.ndarray | str:
        try:
            return decode(path, size)
        except Exception as error:  # a broken file may raise anything, and must not end the run
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
    return names, left_out

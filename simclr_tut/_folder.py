"""A part of ``data``: the reader's own pictures, decoded once into a memory-mapped cache."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from simclr_tut import config

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_FORMAT = 1  # of the cache; part of its key
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

    The first folder below ``root`` (or ``root/split``) is the class. Files that cannot be decoded
    are left out, with a warning that counts and names them.
    Raises: FileNotFoundError when the split is absent or no picture is left.
    """
    base = _base(root, split)
    files = sorted(p for p in base.rglob("*") if p.suffix.lower() in SUFFIXES
                   and not p.name.startswith(".") and p.is_file())
    key = _key(base, files, size)
    stem = config.data_folders()[-1] / "folders" / key
    found = _from_cache(stem, size) or _build(base, files, size, stem)
    images, names, left_out = found
    if not names:
        raise FileNotFoundError(
            f"{base} holds no picture that can be read ({len(files)} files, {len(left_out)} "
            f"broken{': ' + left_out[0] if left_out else ''}). Expected JPEG, PNG or WebP files, "
            "best as CLASS/picture.jpg.")
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        warnings.warn(f"{len(left_out)} of {len(files)} files under {root.name} could not be read "
                      f"and were left out: {shown}", stacklevel=4)
    owners = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names]
    classes = tuple(sorted({owner for owner in owners if owner is not None}))
    number = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([number.get(owner, -1) for owner in owners], dtype=torch.int64)
    return Folder(images, labels, classes, tuple(left_out))


def decode(path: Path, size: int) -> np.ndarray:
    """Return the middle square of a picture, upright, ``(3, size, size)`` uint8."""
    with Image.open(path) as picture:
        picture.draft("RGB", (2 * size, 2 * size))  # a huge JPEG is decoded at a lower resolution
        upright = ImageOps.exif_transpose(picture)
        square = _middle(upright, size)
    return np.asarray(_to_rgb(square)).transpose(2, 0, 1)


def _base(root: Path, split: str) -> Path:
    parts = [name for name in ("train", "test") if (root / name).is_dir()]
    if split in parts:
        return root / split
    if parts or split == "test":
        raise FileNotFoundError(
            f"{root} has no folder {split!r}{' beside ' + repr(parts[0]) if parts else ''}. Make "
            f"one, or load the train split and set pictures aside with data.split_labels.")
    return root


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
        values = np.asarray(picture, dtype=np.float64)
        scale = 257 if values.max() > 255 else 1
        return Image.fromarray((values / scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _key(base: Path, files: list[Path], size: int) -> str:
    """A name for these files in this state at this size; any change gives another."""
    total = hashlib.sha256(f"{_FORMAT} {size}".encode())
    for path in files:
        state = path.stat()
        total.update(f"{path.relative_to(base).as_posix()}\0{state.st_size}\0{state.st_mtime_ns}\0"
                     f"{state.st_ctime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:24]


Found = tuple[torch.Tensor, list[str], list[str]]


def _from_cache(stem: Path, size: int) -> Found | None:
    """Map a whole cache; None where there is none, or where it is cut short."""
    pixels, index = stem.with_suffix(".pixels"), stem.with_suffix(".json")
    try:
        facts = json.loads(index.read_text(encoding="utf-8"))
        names, left_out = facts["names"], facts["left_out"]
        if pixels.stat().st_size != len(names) * 3 * size * size or not names:
            return None
        # "c": pages are read when needed, and writing into them never reaches the file
        mapped = np.memmap(pixels, np.uint8, "c", shape=(len(names), 3, size, size))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return torch.from_numpy(mapped), names, left_out


def _build(base: Path, files: list[Path], size: int, stem: Path) -> Found:
    """Decode into the cache, or into memory where no cache can be written."""
    if not files:
        return torch.empty(0), [], []
    half = stem.with_suffix(f".{os.getpid()}-{secrets.token_hex(3)}.half")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with open(half, "wb") as file:
            names, left_out = _decode_all(base, files, size, lambda p: file.write(p.tobytes()))
            file.flush()
            os.fsync(file.fileno())
        _place(stem, half, {"names": names, "left_out": left_out})
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
                left_out.append(f"{name} ({result})")
            else:
                keep(result)
                names.append(name)
    return names, left_out

"""Pictures as one uint8 tensor: CIFAR-10 and others where they lie, or shapes made on the spot."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from simclr_tut import config, shapes
from simclr_tut._fetch import fetch
from simclr_tut._folder import SUFFIXES, decode, hidden, load_folder

DATASETS = ("shapes", "cifar10", "stl10", "fashion_mnist")
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of its package dataset-fashion-mnist


@dataclass(frozen=True)
class ImageData:
    """Pictures with their labels.

    Attributes:
        images: ``(N, C, H, W)`` uint8.
        labels: ``(N,)`` int64, -1 where there is none.
        classes: the K names.
        factors: true factors of variation, each ``(N,)``, for shapes; else None.
        name: the data set that was really loaded.
        left_out: files of a folder that could not be read, each with the reason.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    factors: dict[str, torch.Tensor] | None = None
    name: str = "pictures"
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in (("images", torch.uint8), ("labels", torch.int64)):
            value = getattr(self, name)
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"{name} must be a {dtype} tensor; got {type(value).__name__}.")
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(
                f"images must be (N, C, H, W) uint8; got {tuple(self.images.shape)} "
                f"{self.images.dtype}."
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be ({len(self.images)},) int64, one an image; "
                f"got {tuple(self.labels.shape)} {self.labels.dtype}."
            )
        if len(self.labels) and not (-1 <= int(self.labels.min())
                                     and int(self.labels.max()) < len(self.classes)):
            raise ValueError(
                f"labels must be below {len(self.classes)}, the number of classes, and -1 where "
                f"there is none; got {int(self.labels.min())} to {int(self.labels.max())}."
            )
        for name, factor in (self.factors or {}).items():
            if len(factor) != len(self.images):
                raise ValueError(f"factor {name!r} must hold one value an image, "
                                 f"{len(self.images)}; got {len(factor)}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = tuple(self.images.shape[1:])
        return (f"ImageData({self.name}: {len(self):,} pictures {shape} uint8, "
                f"{len(self.classes)} classes)")

    def subset(self, indices: torch.Tensor | Sequence[int]) -> ImageData:
        """Return the pictures at ``indices``, ``(M,)`` whole numbers from 0, in that order.

        Raises: TypeError for a mask or fractions; ValueError for a number outside 0 … N - 1.
        """
        given = torch.as_tensor(indices)
        if given.numel() and (given.dtype == torch.bool or given.is_floating_point()):
            raise TypeError(f"indices must be whole numbers; got {given.dtype}. For a mask, pass "
                            "mask.nonzero()[:, 0].")
        indices = given.to(torch.int64)
        if indices.numel() and not (0 <= int(indices.min()) and int(indices.max()) < len(self)):
            raise ValueError(f"indices must lie in 0 to {len(self) - 1}; got {int(indices.min())} "
                             f"to {int(indices.max())}.")
        factors = self.factors and {name: f[indices] for name, f in self.factors.items()}
        return replace(self, images=self.images[indices], labels=self.labels[indices],
                       factors=factors)


def load_dataset(name: str | Path, split: str = "train", n: int | None = None,
                 size: int = 32, download: bool = True) -> ImageData:
    """Load a data set as uint8 tensors; falls back from an absent CIFAR-10 to shapes.

    A folder may hold JPEG, PNG and WebP files of any kind in any tree; the first folder below it
    is the class. They are decoded once, cut square, into a cache that is mapped into memory.

    Args:
        name: "shapes", "cifar10", "stl10", "fashion_mnist", or a folder of pictures.
        split: "train" or "test".
        n: how many pictures, drawn once with a fixed seed; None for all (shapes: 20,000 / 4,000).
        size: side in pixels to which a folder's pictures are brought.
        download: fetch what is not on this machine, where its host answers.
    Returns: the data; its ``name`` says what was really loaded.
    Raises: ValueError for an odd name, split or n; FileNotFoundError or OSError, with what to do,
        for a folder or archive that is absent, empty or broken.
    Explained in notebooks/00.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test"; got {split!r}.')
    if not isinstance(name, str | Path) or not str(name):  # "" as a path is where we stand
        raise ValueError(_no_data_set(name))
    if n is not None:
        _check_whole("n", n, "or None for all")
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of pixels, at least 1; got {size!r}.")
    if name == "shapes":
        return _shapes(split, n)
    if name not in DATASETS:
        data = _folder(config.expanded(name), split, size)
    else:
        data = _find_on_disk(str(name), split)
        if data is None and download:
            data = _download(str(name), split)
        if data is None:
            _check_unpacked(str(name), config.data_folders()[-1],
                            "and no host answered" if download else "and nothing was fetched")
        if data is None and name == "cifar10":
            return _shapes(split, n)
        if data is None:
            raise FileNotFoundError(
                f"{name} was not found on this machine and could not be fetched. Put torchvision's "
                "files into a folder, set SIMCLR_TUT_DATA to it, and try again."
            )
    if n is None or n >= len(data):
        return data
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:n]
    return data.subset(chosen)


def _no_data_set(name: object) -> str:
    shown = repr(name) if len(repr(name)) < 300 else repr(name)[:300] + "…"
    return (f"dataset must be one of {', '.join(DATASETS)} or an existing folder of pictures; got "
            f"{shown}.")


def split_labels(data: ImageData, n_validation: int, seed: int = 0) -> tuple[ImageData, ImageData]:
    """Split off ``n_validation`` random pictures for every choice that is not the final figure.

    Returns: (the rest, validation).
    Raises: ValueError unless 0 < n_validation < N.
    """
    if not isinstance(n_validation, int) or not 0 < n_validation < len(data):
        raise ValueError(
            f"n_validation must be between 1 and {len(data) - 1}, to leave pictures on both "
            f"sides; got {n_validation!r}."
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order[n_validation:]), data.subset(order[:n_validation])


def subset_per_class(data: ImageData, per_class: int, seed: int = 0) -> ImageData:
    """Draw the same number of labelled pictures from every class.

    Raises: ValueError if a class has fewer than ``per_class``.
    """
    _check_whole("per_class", per_class)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label, class_name in enumerate(data.classes):
        members = (data.labels == label).nonzero()[:, 0]
        if len(members) < per_class:
            raise ValueError(
                f"per_class must be between 1 and {len(members)}, what class {class_name!r} has; "
                f"got {per_class}."
            )
        chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return data.subset(torch.cat(chosen))


def batches(
    n: int, batch_size: int, generator: torch.Generator | None = None, drop_last: bool = True
) -> Iterator[torch.Tensor]:
    """Yield the indices 0 … n-1 in random order, ``batch_size`` at a time.

    Args: drop_last: leave out a last batch that is smaller, unless it is the only one.
    Raises: ValueError if n or batch_size is no whole number above 0.
    """
    _check_whole("n", n)
    _check_whole("batch_size", batch_size)
    order = torch.randperm(n, generator=generator)
    for start in range(0, n, batch_size):
        if drop_last and n - start < batch_size and start:
            return
        yield order[start : start + batch_size]


def _check_whole(name: str, value: int, otherwise: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number, at least 1{', ' * bool(otherwise)}"
                         f"{otherwise}; got {value!r}.")


def _shapes(split: str, n: int | None) -> ImageData:
    count = n or (20_000 if split == "train" else 4_000)
    made = shapes.make_shapes(count, seed=0 if split == "train" else 1)
    return ImageData(made.images, made.factors["shape"].long(), tuple(shapes.SHAPE_NAMES),
                     made.factors, "shapes")


def _find_on_disk(name: str, split: str) -> ImageData | None:
    """Look through the data folders for torchvision's files, a folder or a zip of pictures."""
    *given, cache = config.data_folders()
    for root in (*given, cache):
        if root in given:
            _check_given(root)
        if root in given and root.is_file():  # a zip
            if name == "cifar10":
                return _zip(root, split)
            continue
        if not root.exists():
            continue
        found = _torchvision(name, split, root, download=False)
        if found is not None:
            return found
        if name == "cifar10":
            zips = [p for pattern in ("*cifar10*.zip", "*CIFAR-10*.zip")
                    for p in sorted(root.glob(pattern)) if p.is_file()]
            if zips:
                return _zip(zips[0], split)
            for folder in (root, root / "cifar10"):
                if (folder / "train" / "airplane").is_dir():
                    return replace(_folder(folder, split), name="cifar10")
    if name == "fashion_mnist" and _DEBIAN.is_dir():
        return _idx(_DEBIAN, split)
    return None


def _check_given(root: Path) -> None:
    """Say what is wrong with the place that SIMCLR_TUT_DATA names."""
    mend = "correct the path, or unset the variable."
    try:
        if not root.exists():
            raise FileNotFoundError(
                f"SIMCLR_TUT_DATA names {root}, which does not exist. Make it, {mend}")
        if root.is_file() and not zipfile.is_zipfile(root):
            raise OSError(f"SIMCLR_TUT_DATA must name a folder, or a whole zip of pictures; got "
                          f"the file {root}, which is neither: {mend}")
        if root.is_dir():
            os.listdir(root)
    except PermissionError as error:
        raise PermissionError(f"SIMCLR_TUT_DATA names {root}, which this account may not read. "
                              f"Change its permissions (chmod u+rx), {mend}") from error


# What torchvision unpacks, and the archive it comes from.
_UNPACKED = {"cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
             "stl10": ("stl10_binary", "stl10_binary.tar.gz"),
             "fashion_mnist": ("FashionMNIST/raw", "")}


def _check_unpacked(name: str, root: Path, said: str) -> None:
    """Files that are there and cannot be used are an error; absent ones are not."""
    folder, archive = _UNPACKED[name]
    if (root / folder).is_dir() and any((root / folder).iterdir()):
        raise OSError(f"the files of {name} in {root / folder} are broken or not complete "
                      f"({said}). Delete that folder; they will be fetched again.")
    if archive and (root / archive).is_file():
        raise OSError(f"{root} holds {archive}, but not the folder {folder} that it unpacks to. "
                      f"Unpack it there (tar xzf {archive}); if tar says that it is cut short, "
                      "delete it: it will be fetched again.")


def _download(name: str, split: str) -> ImageData | None:
    """Fetch through torchvision where the host answers within seconds; None where it does not."""
    root = config.data_folders()[-1]
    def whole() -> bool:
        return _torchvision(name, split, root, download=False) is not None

    if not fetch(name, root, lambda half: _torchvision(name, split, half, download=True), whole):
        return None
    return _torchvision(name, split, root, download=False)


def _torchvision(name: str, split: str, root: Path, download: bool) -> ImageData | None:
    from torchvision import datasets

    classes = {"cifar10": datasets.CIFAR10, "stl10": datasets.STL10,
               "fashion_mnist": datasets.FashionMNIST}
    if name == "stl10":
        arguments = {"split": "train+unlabeled" if split == "train" else "test"}
    else:
        arguments = {"train": split == "train"}
    try:
        loaded = classes[name](root=str(root), download=download, **arguments)
    except RuntimeError as error:  # torchvision: files are absent or fail their checksum
        if download:
            raise
        if root != config.data_folders()[-1]:  # the cache may still be fetched again
            _check_unpacked(name, root, str(error).split(".")[0])
        return None
    except (OSError, ValueError, AssertionError, EOFError) as error:
        if download:
            raise
        said = f"{type(error).__name__} {error}".strip()
        raise OSError(f"the files of {name} under {root} are broken ({said}). Delete them; they "
                      "will be fetched again.") from error
    names = tuple(getattr(loaded, "classes", ()))
    if name == "stl10" and not (int(np.max(loaded.labels)) < len(names) == len({*names} - {""})):
        raise OSError(f"the files of stl10 under {root} are broken (class_names.txt, which has no "
                      "checksum, does not name its classes). Delete them; they will be fetched "
                      "again.")
    images = torch.as_tensor(np.asarray(loaded.data))
    if name == "cifar10":
        images = images.permute(0, 3, 1, 2).contiguous()
    elif name == "fashion_mnist":
        images = images[:, None].repeat(1, 3, 1, 1)
    labels = loaded.labels if name == "stl10" else loaded.targets
    return ImageData(images, torch.as_tensor(np.asarray(labels)).long(), names, name=name)


def _idx(folder: Path, split: str) -> ImageData:
    """Read Debian's Fashion-MNIST (dataset-fashion-mnist) where it lies."""
    import gzip

    stem = "train" if split == "train" else "t10k"
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
               "Bag", "Ankle boot")
    try:
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(folder / f"{stem}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
        return ImageData(torch.from_numpy(pixels.copy()).repeat(1, 3, 1, 1),
                         torch.from_numpy(labels.astype(np.int64)), classes, name="fashion_mnist")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise OSError(f"the files of fashion_mnist under {folder} are broken ({error}). Install "
                      "Debian's package dataset-fashion-mnist again, or remove it.") from error


def _zip(archive: Path, split: str) -> ImageData:
    """Decode a zip of split/CLASS/*.jpg once, and keep the pixels in the cache."""
    state = f"{archive.resolve()} {archive.stat().st_size} {archive.stat().st_mtime_ns} {split} 2"
    cached = config.data_folders()[-1] / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.npz"
    if cached.exists():
        try:
            with zipfile.ZipFile(cached) as file:
                whole = file.testzip() is None  # NumPy compares no checksums
            with np.load(cached) as kept:
                images, labels = (torch.from_numpy(kept[name]) for name in ("images", "labels"))
                if whole and images.shape[1:] == (3, 32, 32):
                    return ImageData(images, labels, tuple(kept["classes"].tolist()),
                                     name="cifar10")
        except Exception:  # noqa: BLE001, S110 - damage may raise anything; it is made again below
            pass
    try:
        with zipfile.ZipFile(archive) as file:
            pictures = [n for n in sorted(file.namelist()) if Path(n).suffix.lower() in SUFFIXES
                        and not any(map(hidden, Path(n).parts))]
            names = [n for n in pictures if split in Path(n).parts[:-2]]
            if not names:
                raise ValueError(f"no pictures under {split}/CLASS/")
            labelled = (n for n in pictures if {"train", "test"} & {*Path(n).parts[:-2]})
            classes = tuple(sorted({Path(n).parent.name for n in labelled}))  # of both splits
            images = np.stack([_picture(file, n) for n in names])
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
            RuntimeError) as error:
        raise OSError(
            f"{archive} is not a whole zip of pictures ({error}). Fetch it again, or take it out "
            "of the folder."
        ) from error
    labels = np.array([classes.index(Path(n).parent.name) for n in names], np.int64)
    _keep(cached, images=images, labels=labels, classes=np.array(classes))
    return ImageData(torch.from_numpy(images), torch.from_numpy(labels), classes, name="cifar10")


def _picture(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return one picture of a zip, ``(3, 32, 32)`` uint8."""
    content = io.BytesIO(file.read(name))
    try:
        return decode(content, 32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be decoded") from error  # Pillow's message names no file


def _keep(path: Path, **arrays: np.ndarray) -> None:
    """Write a cache whole or not at all; a folder that cannot be written costs only time."""
    half = path.with_suffix(f".{os.getpid()}.half")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(half, "wb") as file:
            np.savez(file, **arrays)
        os.replace(half, path)
    except OSError:
        with suppress(OSError):
            half.unlink(missing_ok=True)


def _folder(root: Path, split: str, size: int = 32) -> ImageData:
    if not os.path.isdir(root):  # Path.is_dir raises for a name that is too long
        raise FileNotFoundError(_no_data_set(str(root)))
    found = load_folder(root, split, size)
    return ImageData(found.images, found.labels, found.classes, name=root.resolve().name,
                     left_out=found.left_out)

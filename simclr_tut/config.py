"""Recipes, scales, seeds and places: the only module that reads environment variables.

Shape letters, the same in text, code and figures: N images, 2N views, C H W channels and pixels,
F features of the representation h, D of the embedding z, K classes.
"""

from __future__ import annotations

import math
import numbers
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

SCALES = ("smoke", "laptop", "gpu", "long")


_TINY = 5e-324  # the smallest number above 0
# What a recipe's numbers may be: (name, lowest, highest).
_RANGES = tuple(
    [(n, _TINY, math.inf) for n in ("seconds", "epochs", "lr", "temperature")]
    + [(n, 1, math.inf) for n in ("steps", "batch_size", "image_size", "small_size", "eval_every",
                                  "head_hidden", "head_dim", "train_images", "test_images",
                                  "draws", "monitor_images", "tsne_images")]
    + [("views", 2, math.inf), ("seed", 0, 2**32 - 1), ("validation_images", 0, math.inf)]
    + [("head_layers", 0, 3), ("momentum", 0, 1), ("warmup", 0, 1), ("color", 0, 1.25),
       ("weight_decay", 0, 1000), ("small_share", 0, 1)])
_WHOLE = ("views", "steps", "batch_size", "image_size", "small_size", "eval_every", "head_hidden",
          "head_dim", "train_images", "test_images", "seed", "head_layers", "draws",
          "monitor_images", "tsne_images", "validation_images")
_OPTIMIZERS = ("sgd", "muon", "adam")
_MAY_BE_NONE = ("seconds", "epochs", "steps", "small_size", "train_images", "test_images")


@dataclass(frozen=True)
class Recipe:
    """What one run does; change a copy with ``dataclasses.replace(recipe, temperature=0.1)``."""

    name: str = "pretrain"
    dataset: str = "cifar10"
    encoder: str = "tiny"  # few operations, so many steps
    image_size: int = 32  # side of a view in pixels
    views: int = 2  # of each picture; for SimCLR more of them teach more (recipe_search)
    batch_size: int = 256  # 510 negatives for each view, and many steps in five minutes
    seconds: float | None = None  # training budget, turned into steps once, at the start
    epochs: float | None = None
    steps: int | None = None
    optimizer: str = "sgd"  # or "muon", more accuracy a step (recipe_search), or "adam" for drawing
    lr: float = 0.3  # SGD with Nesterov momentum; Chen et al. 2020 scale 0.3 * batch / 256
    momentum: float = 0.9
    weight_decay: float = 5e-4  # CIFAR practice; the paper's 1e-6 is for 4,096 images a batch
    warmup: float = 0.05  # share of the steps with a rising learning rate
    temperature: float = 0.1  # the paper's best at 100 epochs (Table 5), ours in recipe_search
    head_hidden: int = 128
    head_dim: int = 128  # Chen et al. 2020, Fig. 8: hardly matters
    head_layers: int = 2  # linear - batch norm - ReLU - linear
    small_size: int | None = 24  # the first part sees smaller views: more steps a second
    small_share: float = 0.85
    crop: tuple[float, float] = (0.2, 1.0)  # share of the picture's area in a view
    color: float = 0.5  # strength s; the paper's CIFAR-10 setting (B.9)
    seed: int = 0
    train_images: int | None = None  # None: all there are
    test_images: int | None = None
    validation_images: int = 5000
    draws: int = 5  # repeats behind an interval
    eval_every: int = 1  # epochs between two looks at the representation
    monitor_images: int = 2000
    tsne_images: int = 2000
    bf16: bool = True  # only where the processor multiplies bfloat16 itself

    def __post_init__(self) -> None:
        given = [n for n in ("seconds", "epochs", "steps") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(
                "a Recipe takes one budget: seconds, epochs or steps; got "
                f"{', '.join(given)}. Set the others to None, e.g. replace(recipe, seconds=None, "
                "epochs=10)."
            )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if isinstance(value, np.number):  # of a sweep over np.linspace: JSON knows none
                value = value.item()
                object.__setattr__(self, name, value)  # the class is frozen
            if value is None and name in _MAY_BE_NONE:
                continue
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not (number and low <= value <= high and value < math.inf):
                above = "above 0" if low == _TINY else f"{low:g} or more"
                span = f"{above} and finite" if high == math.inf else f"from {low:g} to {high}"
                raise ValueError(f"Recipe.{name} must be {span}; got {value!r}.")
            if name in _WHOLE and not isinstance(value, numbers.Integral):
                raise ValueError(f"Recipe.{name} must be a whole number; got {value!r}.")
            if name in ("momentum", "warmup") and value == 1:
                raise ValueError(f"Recipe.{name} must be below 1; got {value!r}.")
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(f"Recipe.optimizer must be one of {', '.join(_OPTIMIZERS)}; got "
                             f"{self.optimizer!r}.")
        try:
            low, high = (0.5, 1) if self.crop is None else map(float, self.crop)
        except (TypeError, ValueError):
            low, high = 0, 0
        if not 0 < low <= high <= 1:
            raise ValueError("Recipe.crop must be (lowest, highest) share of the area, within "
                             f"(0, 1], or None; got {self.crop!r}.")


_SMOKE = {"train_images": 512, "test_images": 200, "validation_images": 100, "monitor_images": 100,
          "tsne_images": 100, "draws": 2, "batch_size": 64}
_GPU = {"encoder": "resnet18", "small_size": None, "batch_size": 512, "head_hidden": 512}
_FACTORS = {"image_size": 24, "small_size": None, "batch_size": 128, "optimizer": "muon",
            "lr": 0.1, "head_dim": 64, "bf16": False,
            "crop": (0.4, 1.0)}
_SHORT = {"image_size": 24, "batch_size": 128, "optimizer": "muon", "lr": 0.1}
# Searched on validation pictures; see recipe_search and notebook 04.
_QUICK = {"encoder": "small", "views": 4, "batch_size": 128, "optimizer": "muon", "lr": 0.1}
# What differs from the defaults above, for each recipe and scale. Every notebook ran on an H200
# with the sizes of "smoke", and "pretrain" with those of "gpu" for a part of its time; "long" was
# never run. It follows lightly's CIFAR-10 benchmark (ResNet-18, 200 epochs, batch 512).
_RECIPES: dict[str, dict[str, dict]] = {
    "families": {
        "smoke": {"steps": 4},
        "laptop": {"seconds": 40, "train_images": 8000, "test_images": 2000, "batch_size": 128},
        "gpu": {"seconds": 60, "train_images": 20000, "test_images": 4000},
    },
    "views": {"smoke": {}, "laptop": {"train_images": 2000}, "gpu": {"train_images": 2000}},
    "encoder": {"smoke": {}, "laptop": {"train_images": 2000}, "gpu": {"train_images": 2000}},
    "loss": {"smoke": {"steps": 20}, "laptop": {"steps": 400}, "gpu": {"steps": 400}},
    "failures": {
        "smoke": {"steps": 3},
        "laptop": {"steps": 200, "train_images": 4000, "test_images": 1000, "batch_size": 128},
        "gpu": {"steps": 400, "train_images": 8000, "test_images": 2000, "batch_size": 128},
    },
    "beyond": {
        "smoke": {"steps": 3, "optimizer": "muon", "lr": 0.1},
        "laptop": {"steps": 300, "train_images": 20000, "test_images": 2000, **_SHORT},
        "gpu": {"steps": 600, "train_images": 50000, "test_images": 10000, "batch_size": 512,
                "optimizer": "muon", "lr": 0.1},
    },
    "pretrain": {
        "smoke": {"steps": 6, **_QUICK, "batch_size": 64},
        "laptop": {"seconds": 300, **_QUICK},
        "gpu": {"seconds": 420, **_GPU, "views": 4, "batch_size": 256, "optimizer": "muon",
                "lr": 0.1, "eval_every": 5},
        "long": {"epochs": 200, **_GPU, "temperature": 0.5, "eval_every": 10},
    },
    "evaluate": {"smoke": {}, "laptop": {}, "gpu": {}},
    "scaling": {
        "smoke": {"steps": 3},
        "laptop": {"steps": 20, "train_images": 4000, "test_images": 1000, "tsne_images": 1000},
        "gpu": {"steps": 100, "train_images": 20000, "test_images": 2000, **_GPU},
    },
    "factors": {
        "smoke": {"dataset": "shapes", **_FACTORS, "steps": 8},
        "laptop": {"dataset": "shapes", **_FACTORS, "steps": 1200, "train_images": 6000,
                   "test_images": 1500},
        "gpu": {"dataset": "shapes", **_FACTORS, "steps": 3000, "train_images": 20000,
                "test_images": 4000},
    },
    "supervised": {
        "smoke": {"steps": 3, "small_size": None},
        "laptop": {"seconds": 40, "small_size": None, "batch_size": 128, "lr": 0.1},
        "gpu": {"seconds": 60, **_GPU, "lr": 0.1},
    },
}


def scale() -> str:
    """Return the scale of this run: ``SIMCLR_TUT_SCALE``, else ``gpu`` with one, else ``laptop``.

    Raises: ValueError if the variable names no scale.
    """
    name = os.environ.get("SIMCLR_TUT_SCALE", "").strip().lower()
    if not name:
        return "laptop" if pick_device().type == "cpu" else "gpu"
    if name not in SCALES:
        raise ValueError(
            f"SIMCLR_TUT_SCALE must be one of {', '.join(SCALES)}; got {name!r}. "
            "Unset it to let the machine decide."
        )
    return name


def recipe(name: str) -> Recipe:
    """Return the recipe of one experiment at the current scale.

    At scale ``gpu`` notebook 04 trains ResNet-18 on a GPU that multiplies bfloat16 itself, and
    ``medium`` on an older one or on a Mac.

    Raises: ValueError if no recipe has that name.
    """
    if name not in _RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(_RECIPES)}; got {name!r}.")
    sizes, current = _RECIPES[name], scale()
    chosen = sizes.get(current, sizes["gpu"])
    if current == "gpu" and name == "pretrain" and not has_fast_bf16(pick_device()):
        # ResNet-18 takes twelve times as many operations: in float32 eight minutes are too short
        chosen = {**chosen, "encoder": "medium"}
    base = Recipe(name=name)
    return replace(base, **{**(_SMOKE if current == "smoke" else {}), **chosen})


def scale_line(recipe: Recipe, minutes: float, dataset: str | None = None) -> str:
    """Return the one line a notebook prints about its scale, machine, data and minutes.

    Args: minutes: at scale ``laptop``, on two cores; on a GPU they are not known.
    """
    names = {"cifar10": "CIFAR-10", "shapes": "shapes", "stl10": "STL-10",
             "fashion_mnist": "Fashion-MNIST"}
    device = pick_device()
    n = cores()
    machine = f"{n} core{'s' if n > 1 else ''}" if device.type == "cpu" else device.type
    data = dataset or recipe.dataset
    said = {"gpu": "planned for 10 min or less, not measured", "long": "hours"}.get(
        scale(), f"about {minutes:g} min")
    return f"scale: {scale()} · {machine} · {names.get(data, data)} · {said}"


def cores() -> int:
    """Return the number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device() -> torch.device:
    """Return CUDA, else Apple's MPS, else the CPU.

    Several processes train on CUDA or on the CPU: gloo, which joins them on a Mac, knows no MPS.
    ``CUDA_VISIBLE_DEVICES=`` (empty) hides every GPU, a Mac's too.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "" or launched_processes() is not None
    return torch.device("mps" if torch.backends.mps.is_available() and not hidden else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether ``device`` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)  # from Ampere, 2020, on
    if device.type != "cpu":
        return False
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


@dataclass(frozen=True)
class Launched:
    """One of the processes that torchrun started: its number on this machine, and how many."""

    local_rank: int
    local_world: int


def launched_processes() -> Launched | None:
    """Return what torchrun said to this process; None where it was started alone."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return None
    said = os.environ.get("LOCAL_RANK", "0"), os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not all(number.isdecimal() for number in said):
        raise ValueError("LOCAL_RANK and LOCAL_WORLD_SIZE must be whole numbers, as torchrun sets "
                         f"them; got {said[0]!r} and {said[1]!r}. Unset them, with RANK, "
                         "WORLD_SIZE and MASTER_ADDR, to train in one process.")
    return Launched(*map(int, said))


def home() -> Path:
    """Return the folder for this reader's runs at this scale, and make it.

    Raises: OSError if it cannot be written.
    """
    root = os.environ.get("SIMCLR_TUT_HOME")
    folder = (expanded(root) if root else _reader_home() / ".simclr_tut") / "runs" / scale()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot write the folder for your runs, {folder}: {error.strerror}. "
            "Set SIMCLR_TUT_HOME to a folder you may write."
        ) from error
    return folder


def warn(message: str, stacklevel: int) -> None:
    """Warn of what costs nothing; where warnings are errors print it, for an error costs the run.

    Args: stacklevel: as of ``warnings.warn``, counted from the caller.
    """
    try:
        warnings.warn(message, stacklevel=stacklevel + 1)
    except UserWarning:
        sys.stderr.write(f"{message}\n")


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold ``lock`` while no other process of this machine does; False where locks are unknown."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    while True:
        try:
            file = open(lock, "w")
        except OSError:  # left by another account, or nothing can be written here
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # some network file systems have none
                yield False
                return
            try:
                same = os.fstat(file.fileno()).st_ino == os.stat(lock).st_ino
            except FileNotFoundError:
                same = False
            if same:  # else the one that held it took the file away: lock the new one
                try:
                    yield True
                finally:
                    with suppress(OSError):
                        lock.unlink()
                return


def expanded(folder: str | Path) -> Path:
    """Return the path with the reader's home in place of ``~``, as a shell would."""
    return Path(os.path.expanduser(folder))


@contextmanager
def channels_named(name: str, images: torch.Tensor) -> Iterator[None]:
    """Say in the course's words that a model does not take pictures of these channels.

    Args: name: what the reader calls the pictures.
    """
    try:
        yield
    except RuntimeError as error:
        if "to have" not in str(error) or "channels" not in str(error):
            raise
        raise ValueError(
            f"{name} must have the channels that the model was built for; got pictures of "
            f"{tuple(images.shape)}, (N, C, H, W). Build it with in_channels={images.shape[1]}, or "
            "give grey pictures three channels: images.expand(-1, 3, -1, -1).") from error


def _reader_home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # no HOME, and an account without an entry
        raise OSError("this account has no home folder. Set SIMCLR_TUT_HOME and SIMCLR_TUT_CACHE "
                      "to folders you may write.") from error


def data_folders() -> list[Path]:
    """Return where data sets are looked for, the reader's own choice first."""
    given = os.environ.get("SIMCLR_TUT_DATA")
    chosen = os.environ.get("SIMCLR_TUT_CACHE")
    cache = expanded(chosen) if chosen else _reader_home() / ".cache" / "simclr_tut"
    return ([expanded(given)] if given else []) + [cache]


def offline() -> bool:
    """Return whether downloads are switched off (``SIMCLR_TUT_OFFLINE=1``; smoke runs are)."""
    said = os.environ.get("SIMCLR_TUT_OFFLINE", "").strip().lower()
    return said not in ("", "0", "false", "no", "off") or scale() == "smoke"

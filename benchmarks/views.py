"""How many views a second? Ours beside torchvision, kornia and lightly, on the same pictures.

    python -m benchmarks.views [--sizes 32 96 224] [--seconds 8] [--threads N]

Policy of every side: random crop (area 0.2 to 1), flip, jitter s = 0.5 with probability 0.8, grey
0.2, no blur. Ours and kornia work on the batch; torchvision and lightly, made for single
pictures, get one worker process a core, as a DataLoader would give them, without its transport.
Ours turns the hue by a matrix, the others in HSV; "ours, hue in HSV" does as they do. kornia's crop
is not antialiased, all others are. Sides take turns on the same pictures, after a warm-up; the
median turn counts. kornia and lightly are left out where they are missing.
Records go to simclr_tut/assets/results/views.jsonl.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from statistics import median

import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.common import RESULTS, append_record, now, provenance
from simclr_tut import config, data
from simclr_tut.views import Views

FILE = RESULTS / "views.jsonl"
CROP, JITTER = (0.2, 1.0), (0.4, 0.4, 0.4, 0.1)
BATCH = {32: 256, 96: 128, 224: 32}


def pictures(size: int, n: int) -> torch.Tensor:
    """Return ``(n, 3, size, size)`` uint8 pictures: CIFAR-10, or shapes, enlarged where needed."""
    images = data.load_dataset("cifar10", "test").images[:n]
    if images.shape[-1] != size:
        images = torch.nn.functional.interpolate(images.float(), size=(size, size),
                                                 mode="bilinear").byte()
    return images.contiguous()


def torchvision_policy(size: int, tensors: bool) -> Callable:
    """Return torchvision's transform of one picture: a uint8 tensor, or PIL's."""
    last = [v2.ToDtype(torch.float32, scale=True)] if tensors else [v2.ToImage(), v2.ToDtype(
        torch.float32, scale=True)]
    return v2.Compose([v2.RandomResizedCrop(size, scale=CROP, antialias=True),
                       v2.RandomHorizontalFlip(),
                       v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8),
                       v2.RandomGrayscale(0.2), *last])


def lightly_policy(size: int) -> Callable:
    """Return lightly's SimCLRTransform of one picture: it makes both views."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=size, cj_strength=0.5, min_scale=CROP[0], gaussian_blur=0.0,
                           normalize=None)


def kornia_policy(size: int) -> Callable:
    """Return kornia's transform of a float batch."""
    from kornia import augmentation as K

    return K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=CROP), K.RandomHorizontalFlip(),
        K.ColorJitter(*JITTER, p=0.8), K.RandomGrayscale(p=0.2), data_keys=["input"])


def one_by_one(make: Callable[[], Callable], views_each: int, pictures: list, seconds: float,
               rates: multiprocessing.Queue) -> None:
    """Transform single pictures for ``seconds`` and put the views per second."""
    torch.set_num_threads(1)
    transform = make()
    for picture in pictures[:8]:
        transform(picture)
    count, started = 0, now()
    while now() - started < seconds:
        transform(pictures[count % len(pictures)])
        count += 1
    rates.put(views_each * count / (now() - started))


def workers(make: Callable[[], Callable], views_each: int, pictures: list, seconds: float,
            processes: int) -> float:
    """Return the views per second of all worker processes together."""
    context = multiprocessing.get_context("fork")
    rates = context.Queue()
    crowd = [context.Process(target=one_by_one, args=(make, views_each, pictures, seconds, rates))
             for _ in range(processes)]
    for process in crowd:
        process.start()
    total = sum(rates.get() for _ in crowd)
    for process in crowd:
        process.join()
    return total


def batched(transform: Callable[[], object], views_each: int, seconds: float) -> float:
    """Return the views per second of a function that makes ``views_each``."""
    for _ in range(3):
        transform()
    count, started = 0, now()
    while now() - started < seconds:
        transform()
        count += 1
    return views_each * count / (now() - started)


def compare(size: int, seconds: float, rounds: int = 3) -> dict[str, list[float]]:
    """Return the views per second of each side at one size, turn by turn."""
    n = BATCH.get(size, 64)
    images = pictures(size, n)
    pil = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]
    cores = torch.get_num_threads()
    ours = Views(size, crop=CROP, color=0.5)
    four = Views(size, crop=CROP, color=0.5, count=4)
    hsv = Views(size, crop=CROP, color=0.5, hsv=True)
    turn = seconds / rounds
    sides = {
        "ours": lambda: batched(lambda: ours(images), 2 * n, turn),
        "ours, four views": lambda: batched(lambda: four(images), 4 * n, turn),
        "ours, hue in HSV": lambda: batched(lambda: hsv(images), 2 * n, turn),
        "torchvision, PIL": lambda: workers(lambda: torchvision_policy(size, False), 1, pil, turn,
                                            cores),
        "torchvision v2, tensors": lambda: workers(lambda: torchvision_policy(size, True), 1,
                                                   list(images), turn, cores),
    }
    try:
        policy = kornia_policy(size)
        sides["kornia"] = lambda: batched(lambda: policy(images.float() / 255), n, turn)
    except ImportError:
        pass
    try:
        lightly_policy(size)
        sides["lightly"] = lambda: workers(lambda: lightly_policy(size), 2, pil, turn, cores)
    except ImportError:
        pass
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            rates[name].append(side())
    return rates


def main(argv: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 96, 224])
    parser.add_argument("--seconds", type=float, default=8, help="for each side and size")
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    for size in arguments.sizes:
        turns = compare(size, arguments.seconds)
        rates = {name: median(values) for name, values in turns.items()}
        append_record(FILE, {"size": size, "views_per_second": rates, "turns": turns,
                             "seconds": arguments.seconds,
                             **provenance("python -m benchmarks.views")})
        print(f"{size} px  " + "  ".join(
            f"{name} {rate:,.0f}/s ({rates['ours'] / rate:.1f}x)" for name, rate in rates.items()),
            flush=True)


if __name__ == "__main__":
    main()

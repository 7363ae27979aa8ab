"""Memory and time of a large folder of pictures: decoding it into the cache, and training on it.

    python -m benchmarks.folder [--pictures 100000] [--sizes 32] [--steps 50]

Makes the pictures once in a temporary folder (1,000 different ones, JPEG and PNG of 64 pixels, in
ten classes, each written many times), then measures two fresh processes: one builds the cache, one
maps it and trains. Peaks are of resident memory (Linux's VmHWM), mapped pages counted.
Records go to simclr_tut/assets/results/folder.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torchvision.transforms.functional import to_pil_image

from benchmarks.common import RESULTS, append_record, provenance
from simclr_tut import config, data, models, shapes, training
from simclr_tut.views import Views

FILE = RESULTS / "folder.jsonl"
DIFFERENT = 1000


def make_folder(root: Path, pictures: int) -> None:
    """Write ``pictures`` files into ten class folders."""
    made = shapes.make_shapes(min(DIFFERENT, pictures), seed=0, size=64)
    encoded = []
    for i, pixels in enumerate(made.images):
        file, kind = io.BytesIO(), "JPEG" if i % 2 else "PNG"
        to_pil_image(pixels).save(file, kind)
        encoded.append((f"{int(made.factors['shape'][i])}", kind.lower(), file.getvalue()))
    for name in {name for name, _, _ in encoded}:
        (root / name).mkdir(parents=True)
    for i in range(pictures):
        name, kind, content = encoded[i % len(encoded)]
        (root / name / f"{i:07d}.{kind}").write_bytes(content)


def peak() -> float:
    """Return the largest resident memory that this process had so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024


def build(root: Path, size: int, steps: int) -> dict:
    """Decode the folder into the cache; nothing of the cache may be there before."""
    start, began = peak(), time.perf_counter()
    found = data.load_dataset(root, size=size)
    return {"before": start, "peak": peak(), "seconds": time.perf_counter() - began,
            "pictures": len(found), "bytes": found.images.numel()}


def train(root: Path, size: int, steps: int) -> dict:
    """Train ``steps`` steps of 256 pictures on the cache."""
    start, began = peak(), time.perf_counter()
    found = data.load_dataset(root, size=size)
    loaded = time.perf_counter() - began
    recipe = config.Recipe(steps=steps, small_size=None)
    history = training.pretrain(models.build_model("tiny"), found.images, Views(32), recipe)
    return {"before": start, "peak": peak(), "seconds": history.seconds, "steps": len(history.loss),
            "seconds_to_load": loaded, "pictures": len(found)}


def apart(phase: str, root: Path, cache: Path, size: int, steps: int) -> dict:
    """Run one phase in a fresh process and return what it measured."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.folder", "--phase", phase, str(root), "--sizes",
         str(size), "--steps", str(steps), "--threads", str(torch.get_num_threads())],
        env={**os.environ, "SIMCLR_TUT_CACHE": str(cache)}, check=True, stdout=subprocess.PIPE)
    return json.loads(ran.stdout)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--phase", nargs=2, metavar=("PHASE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.phase:
        phase = {"build": build, "train": train}[arguments.phase[0]]
        print(json.dumps(phase(Path(arguments.phase[1]), arguments.sizes[0], arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "pictures"
        make_folder(root, arguments.pictures)
        for size in arguments.sizes:
            found = {phase: apart(phase, root, Path(place) / "cache", size, arguments.steps)
                     for phase in ("build", "train")}
            append_record(FILE, {"pictures": arguments.pictures, "size": size, "seed": 0, **found,
                                 **provenance(f"python -m benchmarks.folder --pictures "
                                              f"{arguments.pictures} --sizes {size} --steps "
                                              f"{arguments.steps}")})
            for phase, facts in found.items():
                print(f"{size} px, {phase}: peak {facts['peak']:.0f} MB (imports alone "
                      f"{facts['before']:.0f}), {facts['seconds']:.0f} s", flush=True)
            print(f"cache: {found['build']['bytes'] / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()

"""Time and memory of the NT-Xent loss, forward and backward, beside two libraries.

    python -m benchmarks.loss [--pairs 256 1024 4096] [--threads N]

For 2N = 512 to 8,192 embeddings of 128 numbers. Sides take turns on the same embeddings, after a
warm-up, and the median turn counts. Memory is by how much a process of its own grew at its peak.
Values are checked to agree. "ours, any views" is the loss that training uses, here with two.
Records go to simclr_tut/assets/results/loss.jsonl.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.common import RESULTS, append_record, extra_mb, now, provenance
from simclr_tut import config
from simclr_tut.losses import multi_view_nt_xent, nt_xent

FILE = RESULTS / "loss.jsonl"
TEMPERATURE = 0.2
# The module that a side needs, if any.
SIDES = {"ours": None, "ours, any views": None, "lightly": "lightly",
         "pytorch-metric-learning": "pytorch_metric_learning"}
# The largest N of a side: this one's memory grows with N cubed, and takes 2.3 GB at 256.
LARGEST = {"pytorch-metric-learning": 256}


def loss_of(side: str) -> Callable:
    """Return (z1, z2) -> loss of one library."""
    if side == "ours":
        return lambda z1, z2: nt_xent(z1, z2, TEMPERATURE)
    if side == "ours, any views":
        return lambda z1, z2: multi_view_nt_xent([z1, z2], TEMPERATURE)
    if side == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature=TEMPERATURE)
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE))


def embeddings(n: int) -> list[torch.Tensor]:
    """Return two views' embeddings, ``(n, 128)``, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 128, generator=generator).requires_grad_() for _ in range(2)]


def time_sides(sides: list[str], n: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return value and median milliseconds, forward and backward, of each side."""
    losses = {side: loss_of(side) for side in sides}
    times: dict[str, list[float]] = {side: [] for side in sides}
    values = {}
    for _ in range(rounds + 1):
        for side, loss in losses.items():
            z1, z2 = embeddings(n)
            started = now()
            value = loss(z1, z2)
            value.backward()
            times[side].append(1000 * (now() - started))
            values[side] = float(value.detach())
    return {side: {"value": values[side], "ms": median(times[side][1:])} for side in sides}


def measure_memory(side: str, n: int, threads: int, answers: multiprocessing.Queue) -> None:
    """Put the MB by which this process grows while one side works."""
    torch.set_num_threads(threads)
    loss, (z1, z2) = loss_of(side), embeddings(n)
    loss(z1[:8], z2[:8]).backward()  # what the library loads once does not count
    answers.put(extra_mb(lambda: loss(z1, z2).backward()))


def main(argv: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    context = multiprocessing.get_context("spawn")
    present = [s for s, module in SIDES.items()
               if module is None or importlib.util.find_spec(module)]
    for n in arguments.pairs:
        fitting = [s for s in present if n <= LARGEST.get(s, n)]
        results = time_sides(fitting, n, rounds=21 if n <= 1024 else 7)
        for side in fitting:
            answers = context.Queue()
            process = context.Process(target=measure_memory,
                                      args=(side, n, arguments.threads, answers))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{side} failed at N = {n}.")
            results[side]["peak_mb"] = answers.get()
        values = [r["value"] for r in results.values()]
        if max(values) - min(values) > 1e-4:
            raise SystemExit(f"the losses disagree at N = {n}: {results}")
        append_record(FILE, {"pairs": n, "sides": results,
                             **provenance("python -m benchmarks.loss")})
        print(f"2N = {2 * n:5d}  " + "   ".join(
            f"{side} {r['ms']:.1f} ms, {r['peak_mb']:.0f} MB" for side, r in results.items()),
            flush=True)


if __name__ == "__main__":
    main()

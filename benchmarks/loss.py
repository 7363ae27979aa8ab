"""Time and memory of the NT-Xent loss, forward and backward, beside two libraries.

    python -m benchmarks.loss [--pairs 256 1024 4096] [--threads N]

For 2N = 512 to 8,192 embeddings of 128 numbers. Each side runs in its own process; peak memory is
what the operating system saw, less what stood before the loss. Values are checked to agree.
Records go to simclr_tut/assets/results/loss.jsonl.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
from collections.abc import Callable

import torch

from benchmarks.common import RESULTS, append_record, now, provenance
from simclr_tut import config
from simclr_tut.losses import nt_xent

FILE = RESULTS / "loss.jsonl"
TEMPERATURE = 0.2
SIDES = {"ours": None, "lightly": "lightly", "pytorch-metric-learning": "pytorch_metric_learning"}


def loss_of(side: str) -> Callable:
    """Return (z1, z2) -> loss of one library."""
    if side == "ours":
        return lambda z1, z2: nt_xent(z1, z2, TEMPERATURE)
    if side == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature=TEMPERATURE)
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE))


def measure(side: str, n: int, threads: int, answers: multiprocessing.Queue) -> None:
    """Put value, seconds (quickest of several) and peak memory in MB of one side."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(n, 128, generator=generator).requires_grad_() for _ in range(2))
    loss = loss_of(side)
    loss(z1[:8], z2[:8]).backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(20 if n <= 1024 else 6):
        started = now()
        value = loss(z1, z2)
        value.backward()
        times.append(now() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((float(value.detach()), min(times), (peak - before) / 1024))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")  # a fresh process: its peak is its own
    present = [s for s, module in SIDES.items()
               if module is None or importlib.util.find_spec(module)]
    for n in arguments.pairs:
        results = {}
        for side in present:
            answers = context.Queue()
            process = context.Process(target=measure,
                                      args=(side, n, arguments.threads, answers))
            process.start()
            process.join()
            if process.exitcode == 0:
                value, seconds, memory = answers.get()
                results[side] = {"value": value, "ms": 1000 * seconds, "peak_mb": memory}
        values = [r["value"] for r in results.values()]
        if max(values) - min(values) > 1e-4:
            raise SystemExit(f"the losses disagree at N = {n}: {results}")
        append_record(FILE, {"pairs": n, "sides": results, **provenance(
            "python -m benchmarks.loss", threads=arguments.threads)})
        print(f"2N = {2 * n:5d}  " + "   ".join(
            f"{side} {r['ms']:.1f} ms, {r['peak_mb']:.0f} MB" for side, r in results.items()),
            flush=True)


if __name__ == "__main__":
    main()

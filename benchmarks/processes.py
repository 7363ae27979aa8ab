"""Throughput of two processes with one core each against one process with two.

    python -m benchmarks.processes [--steps 60] [--repeats 3]

The same command line, recipe and batch both times, in turns, so that a slow minute of the machine
falls on both; the second is started by torchrun. Needs two free cores: run nothing beside it.
Records go to simclr_tut/assets/results/processes.jsonl.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

from benchmarks.common import RESULTS, append_record, provenance
from simclr_tut import config

FILE = RESULTS / "processes.jsonl"
ARRANGEMENTS = {"one process, two threads": (1, 2), "two processes, one thread": (2, 1)}


def pictures_per_second(processes: int, threads: int, steps: int, batch_size: int) -> float:
    """Train ``steps`` steps on shapes; return what the command line reports."""
    launcher = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone",
                                          f"--nproc-per-node={processes}"]
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, *launcher, "-m", "simclr_tut", "pretrain", "--dataset", "shapes",
             "--steps", str(steps), "--batch-size", str(batch_size), "--folder", folder],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)}, check=True, text=True,
            stdout=subprocess.PIPE)
    return float(re.search(r"\((\d+) pictures a second\)", ran.stdout).group(1))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    if config.cores() < 2:
        parser.error(f"two cores are compared; this process may use {config.cores()}")
    rates: dict[str, list[float]] = {name: [] for name in ARRANGEMENTS}
    for _ in range(arguments.repeats):
        for name, (processes, threads) in ARRANGEMENTS.items():
            rates[name].append(pictures_per_second(processes, threads, arguments.steps,
                                                   arguments.batch_size))
            print(f"{name}: {rates[name][-1]:.0f} pictures a second", flush=True)
    one, two = (statistics.median(values) for values in rates.values())
    append_record(FILE, {"pictures_per_second": rates, "ratio": two / one, "seed": 0,
                         "steps": arguments.steps, "batch_size": arguments.batch_size,
                         **provenance("python -m benchmarks.processes")})
    print(f"two processes reach {two / one:.2f} of one (medians of {arguments.repeats})")


if __name__ == "__main__":
    main()

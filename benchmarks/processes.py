"""Throughput of two processes with one core each against one process with two.

    python -m benchmarks.processes [--steps 60] [--repeats 3]

The same command line, recipe and batch both times, in turns, so that a slow minute of the machine
falls on both; the second is started by torchrun. Needs two free cores: run nothing beside it. The
record holds how busy the cores were before each run, where /proc tells it.
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
import time
from pathlib import Path

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
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "SIMCLR_TUT_SCALE": "laptop"},
            check=True, text=True, stdout=subprocess.PIPE)
    return float(re.search(r"\((\d+) pictures a second\)", ran.stdout).group(1))


def busy_cores(seconds: float = 1.0) -> float | None:
    """Return how many cores other work keeps busy now, or None where nobody tells."""
    def ticks() -> list[int] | None:
        try:
            line = Path("/proc/stat").read_text().splitlines()[0]
            return [int(word) for word in line.split()[1:]]
        except (OSError, ValueError, IndexError):
            return None

    before = ticks()
    time.sleep(seconds)
    after = ticks()
    if before is None or after is None:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already
    spent = [b - a for a, b in zip(before[:8], after[:8], strict=True)]
    return (os.cpu_count() or 1) * (1 - sum(spent[3:5]) / max(1, sum(spent)))


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
    busy: list[float | None] = []
    for _ in range(arguments.repeats):
        for name, (processes, threads) in ARRANGEMENTS.items():
            busy.append(busy_cores())
            if (busy[-1] or 0) > 0.2:
                print(f"other work keeps {busy[-1]:.1f} cores busy: this run will mislead")
            rates[name].append(pictures_per_second(processes, threads, arguments.steps,
                                                   arguments.batch_size))
            print(f"{name}: {rates[name][-1]:.0f} pictures a second", flush=True)
    one, two = (statistics.median(values) for values in rates.values())
    append_record(FILE, {"pictures_per_second": rates, "ratio": two / one, "seed": 0,
                         "busy_cores_before": busy, "scale": "laptop",
                         "steps": arguments.steps, "batch_size": arguments.batch_size,
                         **provenance("python -m benchmarks.processes")})
    print(f"two processes reach {two / one:.2f} of one (medians of {arguments.repeats})")


if __name__ == "__main__":
    main()

"""What every benchmark shares: where a figure came from, and files that cannot be altered unseen.

A results file is JSON lines, one record a run. Each record carries a checksum of its own content,
so a number changed by hand is noticed and refused.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

import simclr_tut
from simclr_tut.config import alone
from simclr_tut.evaluation import RECORD_VERSION, checksum, read_benchmark

RESULTS = Path(simclr_tut.__file__).parent / "assets" / "results"  # what notebooks read


def machine_class() -> str:
    """Return the kind of machine, without names of hosts: cores and processor, or the GPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        pass
    return f"{os.cpu_count()} cores, {model}"


def now() -> float:
    """Return seconds: of the processor with one thread, so that other work does not count."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def extra_mb(work: Callable[[], object]) -> float:
    """Call ``work``; return by how many MB this process was larger at its peak than before.

    It is what the operating system counts, Linux alone (elsewhere NaN). Call it in a process of its
    own: memory that was used and freed before may be taken again unseen.
    """
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        work()
        return float("nan")
    before = _resident("VmRSS")
    peak.write_text("5")  # the highest point starts again from here
    work()
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(what)) * 1024 / 1e6


def provenance(command: str, **facts: object) -> dict:
    """Return what a record needs to be made again: command, commit, day, machine, versions."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         cwd=Path(__file__).parent, check=False)
    return {"command": command, "commit": git.stdout.strip() or "unknown",
            "date": date.today().isoformat(), "machine": machine_class(),
            "python": platform.python_version(), "torch": torch.__version__.split("+")[0],
            "threads": torch.get_num_threads(), **facts}


def append_record(path: Path, record: dict) -> None:
    """Add one record whole: written, flushed, and never interleaved with another process's."""
    record = json.loads(json.dumps({"version": RECORD_VERSION, **record}))
    line = json.dumps({**record, "checksum": checksum(record)}, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_name(f"{path.name}.lock")), open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":  # a run was killed while it wrote: drop its half line
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[dict]:
    """Read a results file, or no records if there is none yet."""
    return read_benchmark(path.stem, path) if path.exists() else []

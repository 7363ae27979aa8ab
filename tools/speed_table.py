"""Write the table of measured speeds into benchmarks/README.md from the records.

    python tools/speed_table.py

Prints the rows on speed of README.md, too. A test holds both files to the records.
"""

import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import RESULTS, read_records  # noqa: E402
from benchmarks.speedrun import WHITENED  # noqa: E402

TARGET = ROOT / "benchmarks" / "README.md"
MACHINE = "2 cores, AMD EPYC"
START, END = "<!-- measured: tools/speed_table.py -->", "<!-- end -->"
VIEWS = {"ours": "ours", "ours, hue in HSV": "ours, hue in HSV",
         "torchvision, PIL": "torchvision PIL", "torchvision v2, tensors": "torchvision v2",
         "kornia": "kornia", "lightly": "lightly"}
SIDES = {"lightly, our encoder": "lightly's views and loss, our encoder",
         "UvA 17": "UvA Tutorial 17's settings", "lightly": "lightly's benchmark"}


def records(name: str) -> list[dict]:
    """Return the records of the machine that the table is about."""
    return [r for r in read_records(RESULTS / f"{name}.jsonl") if r["machine"] == MACHINE]


def newest(name: str, key: str, **wanted: object) -> dict:
    """Return the last record of each value of ``key``, made with both cores."""
    found = {r[key]: r for r in records(name)
             if all(r.get(k) == v for k, v in {"threads": 2, **wanted}.items())}
    return dict(sorted(found.items()))


def on_a_gpu(name: str, key: str) -> list[dict]:
    """Return the last record of each value of ``key`` from a GPU."""
    return list({r[key]: r for r in read_records(RESULTS / f"{name}.jsonl")
                 if r["machine"].startswith("NVIDIA")}.values())


def searched(r: dict, side: str) -> str:
    """Seconds and memory of one side; whether it answered a part of the queries only."""
    found = r["sides"][side]
    part = (f" (from {found['queries_timed']:,} queries)"
            if found["queries_timed"] < r["queries"] else "")
    return f"{found['seconds']:.1f} s{part}, {found['extra_mb']:,.0f} MB"


def rows() -> list[tuple[str, str, str]]:
    """What was measured, ours, and the others, as Markdown."""
    made = []
    for size, r in newest("views", "size").items():
        rates = {name: f"{r['views_per_second'][side]:,.0f}" for side, name in VIEWS.items()
                 if side in r["views_per_second"]}
        made.append((f"views of {size} px, a second",
                     f"{rates.pop('ours')} (hue in HSV: {rates.pop('ours, hue in HSV')})",
                     ", ".join(f"{name} {rate}" for name, rate in rates.items())))
    for n, r in newest("loss", "pairs").items():
        cost = {side: f"{v['ms']:,.1f} ms, {v['peak_mb']:,.0f} MB"
                for side, v in r["sides"].items()}
        made.append((f"NT-Xent and its gradient, 2N = {2 * n:,}",
                     f"{cost.pop('ours')} (for any number of views: {cost.pop('ours, any views')})",
                     "; ".join(f"{side} {value}" for side, value in cost.items())))
    for bank, r in newest("knn", "bank").items():
        made.append((f"kNN of {r['queries']:,} queries, bank of {bank:,}", searched(r, "ours"),
                     f"scikit-learn {searched(r, 'scikit-learn')}"))
    on_cores = newest("step", "size", encoder="small").values()
    for r in (*on_cores, *on_a_gpu("step", "encoder")):
        whole = sum(r["ms"].values())
        what = "notebook 04" if r["machine"] == MACHINE else f"{r['encoder']} on one {r['machine']}"
        made.append((f"a step of {what}, {r['views']} views of {r['batch_size']} pictures, "
                     f"{r['size']} px", f"{whole:.0f} ms", "; ".join(
                         f"{part} {100 * ms / whole:.0f} %" for part, ms in r["ms"].items())))
    for r in newest("processes", "batch_size").values():
        made.append(("two processes with a core each against one with two",
                     f"{r['ratio']:.2f} of its pictures a second", "–"))
    timed = [r["steps_per_second"] for r in records("speedrun")
             if r["part"] == "rate" and r["threads"] == 2]
    for rate in [r for r in timed if {"ours", *SIDES} <= r.keys()][-1:]:
        made.append(("steps of training a second, each side with its own batch and views",
                     f"{rate['ours']:.2f}", "; ".join(
                         f"{name} {rate[side]:.2f}" for side, name in SIDES.items())))
    return made


def training(only: float | None = None) -> list[tuple[str, str, str]]:
    """Test kNN after so many minutes of training (``only``: so many), side by side, as Markdown."""
    runs: dict[tuple, dict[int, dict]] = {}
    for r in records("speedrun"):
        if r["part"] == "train":
            runs.setdefault((r["minutes"], r["side"]), {})[r["seed"]] = r
    made = []
    for minutes in sorted({key[0] for key in runs if only in (None, key[0])}):
        cells = {}
        for side in ("ours", WHITENED, *SIDES):
            if found := list(runs.get((minutes, side), {}).values()):
                plain, white = (100 * fmean(r[name] for r in found)
                                for name in ("knn_test", "knn_test_whitened"))
                steps = " to ".join(f"{n:,}" for n in sorted({r["steps"] for r in found}))
                cells[side] = (f"{plain:.1f} / {white:.1f} % ({steps} steps, "
                               f"{len(found)} seed{'s' * (len(found) > 1)})")
        own = [cells.pop("ours", "–")]
        if WHITENED in cells:
            own.append(f"with a linear head and a whitening layer {cells.pop(WHITENED)}")
        made.append((f"test kNN on h / whitened h after the steps of {minutes:g} "
                     f"minute{'s' * (minutes != 1)}", "; ".join(own), "; ".join(
                         f"{SIDES[side]} {cell}" for side, cell in cells.items()) or "–"))
    return made


def headlines() -> list[str]:
    """Rows for README.md's table of results."""
    views = newest("views", "size")[32]["views_per_second"]
    loss, knn = newest("loss", "pairs")[4096]["sides"], newest("knn", "bank")[50_000]
    ours, theirs = loss["ours"], loss["lightly"]
    seconds = {side: v["seconds"] for side, v in knn["sides"].items()}
    made = [
        ("views of 32 px a second: ours with hue by a matrix, in HSV / kornia / torchvision (PIL, "
         "two workers) / lightly", f"{views['ours']:,.0f}, " + " / ".join(
             f"{views[side]:,.0f}" for side in
             ("ours, hue in HSV", "kornia", "torchvision, PIL", "lightly"))),
        ("NT-Xent with its gradient, 2N = 8,192: ours / lightly",
         f"{ours['ms']:,.0f} / {theirs['ms']:,.0f} ms, {ours['peak_mb']:,.0f} / "
         f"{theirs['peak_mb']:,.0f} MB"),
        ("kNN of 10,000 queries among 50,000: ours / scikit-learn",
         f"{seconds['ours']:.1f} / {seconds['scikit-learn']:.1f} s")]
    for what, cell, others in training(only=5):
        made.append((f"{what} that two cores make alone: notebook 04's recipe", cell))
        if others != "–":
            made.append(("the same, other pipelines", others))
    return [f"| {what} | {value} | [benchmarks](benchmarks/README.md) |" for what, value in made]


def table() -> str:
    """The table as Markdown."""
    return "\n".join(["| what | ours | others |", "|---|---|---|",
                      *("| " + " | ".join(row) + " |" for row in rows() + training())])


def inserted(text: str) -> str:
    """``text`` with the table between the two marks."""
    before, rest = text.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    TARGET.write_text(inserted(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(rows() + training())} rows. For README.md:")
    print("\n".join(headlines()))

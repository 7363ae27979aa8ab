"""Write the table of measured speeds into benchmarks/README.md from the records.

    python tools/speed_table.py

A test holds the two equal, and README.md's rows on speed to the same sentences.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import RESULTS, read_records  # noqa: E402

TARGET = ROOT / "benchmarks" / "README.md"
START, END = "<!-- measured: tools/speed_table.py -->", "<!-- end -->"
VIEWS = {"ours": "ours", "ours, hue in HSV": "ours, hue in HSV",
         "torchvision, PIL": "torchvision PIL", "torchvision v2, tensors": "torchvision v2",
         "kornia": "kornia", "lightly": "lightly"}
SIDES = {"ours": "ours", "lightly, our encoder": "lightly's views and loss, our encoder",
         "UvA 17": "UvA Tutorial 17", "lightly": "lightly's benchmark"}


def newest(name: str, key: str, **wanted: object) -> dict:
    """Return the last record of each value of ``key``."""
    found = {r[key]: r for r in read_records(RESULTS / f"{name}.jsonl")
             if all(r.get(k) == v for k, v in wanted.items())}
    return dict(sorted(found.items()))


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
        cost = {side: f"{v['seconds']:.1f} s, {v['extra_mb']:,.0f} MB" for side, v in
                r["sides"].items()}
        made.append((f"kNN of {r['queries']:,} queries, bank of {bank:,}", cost.pop("ours"),
                     "; ".join(f"{side} {value}" for side, value in cost.items())))
    for r in newest("step", "size", encoder="small").values():
        whole = sum(r["ms"].values())
        made.append((f"a step of notebook 04, {r['views']} views of {r['batch_size']} pictures, "
                     f"{r['size']} px", f"{whole:.0f} ms", "; ".join(
                         f"{part} {100 * ms / whole:.0f} %" for part, ms in r["ms"].items())))
    for r in newest("processes", "batch_size").values():
        made.append(("two processes with a core each against one with two",
                     f"{r['ratio']:.2f} of its pictures a second", "–"))
    for r in newest("speedrun", "part", part="rate").values():
        rate = r["steps_per_second"]
        made.append(("steps of training a second (batches and networks differ but for the first "
                     "two)", f"{rate['ours']:.2f}", "; ".join(
                         f"{SIDES[side]} {value:.2f}" for side, value in rate.items()
                         if side != "ours")))
    return made


def table() -> str:
    """The table as Markdown."""
    return "\n".join(["| what | ours | others |", "|---|---|---|",
                      *("| " + " | ".join(row) + " |" for row in rows())])


def inserted(text: str) -> str:
    """``text`` with the table between the two marks."""
    before, rest = text.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    TARGET.write_text(inserted(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(rows())} rows")

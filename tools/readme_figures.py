"""Draw the README's figure from the records that ship with the package.

    python tools/readme_figures.py

The picture carries a fingerprint of the values it shows; a test compares it with the records.
"""

import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import label_efficiency  # noqa: E402
from simclr_tut import evaluation, plots  # noqa: E402

TARGET = ROOT / "docs" / "label_efficiency.png"
METHODS = ("frozen SimCLR", "supervised", "fine-tuned")
EQUAL_TIME = "supervised, SimCLR's seconds"
LABELS = {"supervised": "from scratch, fine-tuning's steps",
          EQUAL_TIME: "from scratch, SimCLR's seconds"}
CHANCE = 0.1  # ten classes

Table = dict[str, dict[int, list[float]]]


def label_curve() -> Table:
    """Return accuracies by method and labels a class, of the checkpoint that ships."""
    shipped = label_efficiency.fingerprint(label_efficiency.SHIPPED)
    table: Table = {name: {} for name in (*METHODS, EQUAL_TIME)}
    records = evaluation.read_benchmark("label_efficiency")
    for record in sorted(records, key=lambda r: r.get("draw", 0)):
        if record["kind"] in ("result", "longer") and record["weights"] == shipped:
            name = EQUAL_TIME if record["kind"] == "longer" else record["method"]
            table[name].setdefault(record["size"], []).append(record["accuracy"])
    if not table["frozen SimCLR"]:
        raise SystemExit(f"no record of the shipped weights ({shipped}); run "
                         "`python -m benchmarks.label_efficiency` first.")
    return table


def fingerprint(table: Table) -> str:
    """Return a name for the values: another value, another name."""
    values = {name: {n: sorted(round(a, 4) for a in part[n]) for n in sorted(part)}
              for name, part in table.items()}
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def finding(table: Table) -> str:
    """Say at which sizes frozen features beat training from scratch, for equal time where that was
    measured: where the 95 % interval of the differences, draw by draw on the same labels, leaves
    out 0; of a single draw, where it is three points.
    """
    scratch = EQUAL_TIME if table.get(EQUAL_TIME) else "supervised"
    time = " for equal time" if scratch == EQUAL_TIME else ""
    both = sorted(table["frozen SimCLR"].keys() & table[scratch].keys())
    ahead, behind = [], []
    for n in both:
        leads = [a - b for a, b in zip(table["frozen SimCLR"][n], table[scratch][n], strict=False)]
        _, low, high = evaluation.interval(leads)
        margin = 0.03 if len(leads) == 1 else 0
        ahead += [n] if low > margin else []
        behind += [n] if high < -margin else []
    span = f"With {both[0]:,} to {both[-1]:,} labels a class "
    if ahead == both:
        return span + "frozen features beat training from scratch"
    if behind == both:
        return span + "training from scratch beat frozen features"
    if not ahead:
        return span + "frozen features are nowhere ahead of training from scratch"
    first, last = both.index(ahead[0]), both.index(ahead[-1])
    if ahead != both[first:last + 1] or {*behind} & {*both[:first]}:
        return "Which of frozen features and training from scratch is ahead changes back and forth"
    sizes = (f"Up to {ahead[-1]:,}" if not first else
             f"From {ahead[0]:,} to {ahead[-1]:,}" if len(ahead) > 1 else f"At {ahead[0]:,}")
    if last + 1 == len(both):
        return f"{sizes} labels a class, frozen features beat training from scratch{time}"
    return (f"{sizes} labels a class, frozen features beat training from scratch{time}; "
            f"from {both[last + 1]:,} on they do not")


def draw(table: Table, target: Path = TARGET) -> None:
    """Draw mean and 95 % interval of each method at each number of labels."""
    sizes = sorted(set().union(*table.values()))
    nothing = (float("nan"),) * 3
    rows = {name: [evaluation.interval(part[n]) if n in part else nothing for n in sizes]
            for name, part in table.items()}
    series = {LABELS.get(name, name): tuple([100 * row[i] for row in part] for i in range(3))
              for name, part in rows.items()}
    fig = plots.lines_with_intervals(sizes, series, finding(table), "labels per class (CIFAR-10)",
                                     "accuracy on test pictures (%)",
                                     lines={"chance": 100 * CHANCE})
    target.parent.mkdir(exist_ok=True)
    fig.savefig(target, dpi=110, metadata={"Software": None, "Comment": fingerprint(table)})


if __name__ == "__main__":
    made = label_curve()
    draw(made)
    print(f"{TARGET.relative_to(ROOT)}: {finding(made)}")

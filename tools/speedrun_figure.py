"""Draw kNN against minutes of training from the records of ``benchmarks.speedrun``.

    python tools/speedrun_figure.py

The picture carries a fingerprint of the values it shows. While there are no records nothing is
drawn.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from readme_figures import Table, fingerprint  # noqa: E402

from benchmarks import speedrun  # noqa: E402
from benchmarks.common import read_records  # noqa: E402
from simclr_tut import evaluation, plots  # noqa: E402

TARGET = ROOT / "docs" / "speedrun.png"
HEADLINE = "lightly, our encoder"  # the same network and optimiser: the pipelines differ


def runs() -> Table:
    """Return test kNN on plain h by side and minutes; empty where nothing was run."""
    table: Table = {}
    for record in read_records(speedrun.FILE):
        if record["part"] == "train":
            table.setdefault(record["side"], {}).setdefault(record["minutes"], []).append(
                record["knn_test"])
    return {side: table[side] for side in speedrun.SIDES if side in table}


def finding(table: Table) -> str:
    """Say by how much ours leads lightly's pipeline, or trails it, at the longest common time."""
    common = sorted(table.get("ours", {}).keys() & table.get(HEADLINE, {}).keys())
    if not common:
        return "Training on two cores: kNN by side"
    ours, other = (sum(table[side][common[-1]]) / len(table[side][common[-1]])
                   for side in ("ours", HEADLINE))
    gap = 100 * (ours - other)
    return (f"After {common[-1]:g} minutes ours is {abs(gap):.1f} points "
            f"{'ahead of' if gap >= 0 else 'behind'} lightly's views and loss with our encoder")


def draw(table: Table, target: Path = TARGET) -> None:
    """Draw the mean of each side at each time, and its 95 % interval where seeds were repeated."""
    minutes = sorted(set().union(*table.values()))
    nothing = (float("nan"),) * 3
    series = {}
    for side, part in table.items():
        rows = [evaluation.interval(part[m], top=1) if m in part else nothing for m in minutes]
        series[side] = tuple([100 * row[i] for row in rows] for i in range(3))
    fig = plots.lines_with_intervals(
        minutes, series, finding(table), "minutes of training on this machine, alone",
        "kNN of the test pictures (%)", lines={"chance": 10})
    target.parent.mkdir(exist_ok=True)
    fig.savefig(target, dpi=110, metadata={"Software": None, "Comment": fingerprint(table)})


if __name__ == "__main__":
    made = runs()
    if not made:
        raise SystemExit("no records yet: run `python -m benchmarks.speedrun rate`, then `train`.")
    draw(made)
    print(f"{TARGET.relative_to(ROOT)}: {finding(made)}")

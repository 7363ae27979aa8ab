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
MEASURES = {"h": "knn_test", "whitened h": "knn_test_whitened"}


def runs(measure: str = "knn_test") -> Table:
    """Return a measure of the test pictures by side and minutes; empty where nothing was run."""
    table: Table = {}
    trained = [r for r in read_records(speedrun.FILE) if r["part"] == "train"]
    for record in trained:
        if record.get("machine") == trained[-1].get("machine"):  # others take other steps
            table.setdefault(record["side"], {}).setdefault(record["minutes"], []).append(
                record[measure])
    return {side: table[side] for side in speedrun.SIDES if side in table}


def finding(table: Table) -> str:
    """Say which time of lightly's pipeline our shortest one beats, or how far apart they end."""
    ours, others = ({m: sum(v) / len(v) for m, v in sorted(table.get(side, {}).items())}
                    for side in ("ours", HEADLINE))
    common = sorted(ours.keys() & others.keys())
    if not common:
        return "training on two cores"
    first = min(ours)
    beaten = [m for m in common if m > first and others[m] < ours[first]]
    if beaten:
        return (f"ours after {first:g} minute{'s' * (first != 1)} is ahead of lightly's views and "
                f"loss after {beaten[-1]:g}")
    gap = 100 * (ours[common[-1]] - others[common[-1]])
    return (f"after {common[-1]:g} minutes ours is {abs(gap):.1f} points "
            f"{'ahead of' if gap >= 0 else 'behind'} lightly's views and loss")


def both() -> dict[str, Table]:
    """Return what the figure shows: the tables of its two panels."""
    return {name: runs(measure) for name, measure in MEASURES.items()}


def mark(tables: dict[str, Table]) -> str:
    """Return the fingerprint of all values of the figure."""
    return fingerprint({f"{name}: {side}": part for name, table in tables.items()
                        for side, part in table.items()})


def draw(tables: dict[str, Table], target: Path = TARGET) -> None:
    """Draw the mean of each side at each time, and its 95 % interval where seeds were repeated."""
    nothing, parts = (float("nan"),) * 3, []
    for name, table in tables.items():
        minutes = sorted(set().union(*table.values()))
        series = {}
        for side, part in table.items():
            rows = [evaluation.interval(part[m], top=1) if m in part else nothing for m in minutes]
            series[side] = tuple([100 * row[i] for row in rows] for i in range(3))
        parts.append({"x": minutes, "series": series, "intervals": True, "logx": True,
                      "title": f"{name}: {finding(table)}", "legend": False,
                      "xlabel": "minutes of training on two cores",
                      "ylabel": "kNN of the test pictures (%)"})
    fig = plots.panels(parts)
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
               fontsize=8, frameon=False)
    target.parent.mkdir(exist_ok=True)
    fig.savefig(target, dpi=110, metadata={"Software": None, "Comment": mark(tables)})


if __name__ == "__main__":
    made = both()
    if not all(made.values()):
        raise SystemExit("no records yet: run `python -m benchmarks.speedrun rate`, then `train`.")
    draw(made)
    print(f"{TARGET.relative_to(ROOT)}: {'; '.join(map(finding, made.values()))}")

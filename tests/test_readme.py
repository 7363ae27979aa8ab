"""The README's figure and the rows of its table that come from records agree with the records."""

import json
import re
import sys

from notebook_files import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "tools"))

import readme_figures  # noqa: E402
import speed_table  # noqa: E402

from benchmarks.common import append_record  # noqa: E402
from simclr_tut import evaluation  # noqa: E402
from simclr_tut.__main__ import doctor_lines  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")


def mean(table, method, size):
    return 100 * sum(table[method][size]) / len(table[method][size])


def test_the_figure_shows_the_records_that_ship():
    table = readme_figures.label_curve()
    with Image.open(readme_figures.TARGET) as picture:
        carried = picture.text["Comment"]
    assert carried == readme_figures.fingerprint(table), "run python tools/readme_figures.py"
    assert f"({readme_figures.TARGET.relative_to(ROOT)})" in README


def test_another_value_has_another_fingerprint_and_drawing_carries_it(tmp_path):
    table = {"frozen SimCLR": {1: [0.2, 0.3], 10: [0.4]}, "supervised": {1: [0.1], 10: [0.5]},
             "fine-tuned": {10: [0.45]}}
    readme_figures.draw(table, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.text["Comment"] == readme_figures.fingerprint(table)
        assert picture.width > 600
    table["supervised"][10] = [0.5001]
    assert picture.text["Comment"] != readme_figures.fingerprint(table)


def test_the_title_says_what_the_values_say():
    def curves(frozen, scratch):
        sizes = (1, 10, 500)
        return {"frozen SimCLR": {n: [a] for n, a in zip(sizes, frozen, strict=True)},
                "supervised": {n: [a] for n, a in zip(sizes, scratch, strict=True)},
                "fine-tuned": {}}

    say = readme_figures.finding
    assert "Up to 10 labels" in say(curves((2, 3, 4), (1, 2, 5)))
    assert "from 500 on they do not" in say(curves((2, 3, 4), (1, 2, 5)))
    assert "frozen features beat training" in say(curves((2, 3, 4), (1, 2, 3)))
    assert "training from scratch beat frozen" in say(curves((1, 2, 3), (2, 3, 4)))
    assert "back and forth" in say(curves((1, 3, 3), (2, 2, 4)))
    level = say(curves((2, 3, 4), (2, 3, 5)))  # from scratch is ahead at one size alone
    assert "nowhere ahead" in level and "beat" not in level
    unsure = curves((2, 3, 4), (1, 2, 5))
    unsure["frozen SimCLR"][10], unsure["supervised"][10] = [1, 5], [1, 3]  # ahead on average only
    assert "Up to 1 labels" in say(unsure) and "from 10 on they do not" in say(unsure)


def test_rows_of_the_table_that_come_from_the_label_records_hold_their_means():
    table = readme_figures.label_curve()
    rows = re.findall(r"\| ([\d,]+) labels? a class, (?:mean of )?(\d+) draws?.*\| ([\d.]+) / "
                      r"([\d.]+) / ([\d.]+|–) % \|", README)
    assert len(rows) >= 4
    for size, draws, *written in rows:
        n = int(size.replace(",", ""))
        assert len(table["frozen SimCLR"][n]) == int(draws), f"{n} labels: draws"
        for method, value in zip(readme_figures.METHODS, written, strict=True):
            known = n in table[method] and len(table[method][n]) == int(draws)
            assert value == (f"{mean(table, method, n):.1f}" if known else "–"), (n, method)


def test_the_row_on_longer_training_from_scratch_is_that_of_the_records():
    longer = readme_figures.label_curve()[readme_figures.EQUAL_TIME]
    seconds = {r["budget_seconds"] for r in evaluation.read_benchmark("label_efficiency")
               if r["kind"] == "longer"}
    sizes, draws, values = (" / ".join(found) for found in zip(*(
        (str(n), str(len(part)), f"{100 * sum(part) / len(part):.1f}")
        for n, part in sorted(longer.items())), strict=True))
    row = (f"| from scratch for as many seconds of one core as SimCLR had ({seconds.pop():.0f}): "
           f"{sizes} labels a class, mean of {draws} draws | {values} % |")
    assert row in README and not seconds, row


def test_leads_are_taken_draw_by_draw_and_may_begin_late():
    table = {"frozen SimCLR": {1: [0.2, 0.4], 5: [0.5], 10: [0.7]}, "fine-tuned": {},
             "supervised": {1: [0.1, 0.3], 5: [0.4], 10: [0.9]}}  # a lucky draw lifts both
    assert "Up to 5 labels" in readme_figures.finding(table)
    table["supervised"][1] = [0.15, 0.1]
    assert "At 5 labels" in readme_figures.finding(table)
    table["supervised"][10] = [0.6]
    assert readme_figures.finding(table).endswith("beat training from scratch")


def test_the_title_is_about_equal_time_where_that_was_measured():
    table = {"frozen SimCLR": {1: [3], 10: [3]}, "supervised": {1: [1], 10: [1]}, "fine-tuned": {},
             readme_figures.EQUAL_TIME: {1: [2], 10: [4]}}
    assert "from 10 on they do not" in readme_figures.finding(table)
    table[readme_figures.EQUAL_TIME] = {}
    assert "frozen features beat training" in readme_figures.finding(table)


def test_every_shipped_checkpoint_has_its_row():
    text = (ROOT / "simclr_tut" / "assets" / "checkpoints.json").read_text(encoding="utf-8")
    for name, facts in json.loads(text).items():
        scores = (100 * facts[k] for k in ("knn_test", "white_knn_test", "probe_test"))
        cores = "1 core" if facts["threads"] == 1 else f"{facts['threads']} cores"
        if facts["machine"].startswith("NVIDIA"):
            cores = f"one {facts['machine']} beside other runs"
        row = (f"| `{name}` | `{facts['command']}`, {facts['seconds']:,.0f} s on {cores} | "
               + " / ".join(f"{score:.1f}" for score in scores) + " % |")
        assert row in README, row


def test_the_doctor_expects_the_minutes_of_the_table(monkeypatch):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    minutes = {number: float(value) for number, value in
               re.findall(r"^\| \[(\d\d) [^|]*\|[^|]*\| ([\d.]+) \|", README, re.MULTILINE)}
    assert len(minutes) == 10
    said = re.search(r"notebook 04 about ([\d.]+) .* all ten about ([\d.]+)", doctor_lines()[-1])
    assert abs(float(said[1]) - minutes["04"]) <= 1
    assert abs(float(said[2]) - sum(minutes.values())) <= 5


def test_the_table_of_speeds_is_that_of_the_records():
    text = speed_table.TARGET.read_text(encoding="utf-8")
    assert speed_table.inserted(text) == text, "run python tools/speed_table.py"
    assert len(speed_table.rows()) > 10
    for row in speed_table.headlines():
        assert row in README, "run python tools/speed_table.py"


def test_the_table_of_speeds_takes_the_newest_record(monkeypatch, tmp_path):
    monkeypatch.setattr(speed_table, "RESULTS", tmp_path)
    for seconds, machine, threads in ((3.0, speed_table.MACHINE, 2), (2.0, speed_table.MACHINE, 2),
                                      (1.0, speed_table.MACHINE, 1), (0.5, "a GPU", 2)):
        append_record(tmp_path / "knn.jsonl", {
            "bank": 5000, "queries": 100, "machine": machine, "threads": threads, "sides": {
                "ours": {"seconds": seconds, "extra_mb": 1500, "queries_timed": 100},
                "scikit-learn": {"seconds": 9.04, "extra_mb": 70, "queries_timed": 10}}})
    assert speed_table.rows() == [("kNN of 100 queries, bank of 5,000", "2.0 s, 1,500 MB",
                                   "scikit-learn 9.0 s (from 10 queries), 70 MB")]
    for seed in (0, 1, 1):
        append_record(tmp_path / "speedrun.jsonl", {
            "part": "train", "side": "ours", "minutes": 5, "seed": seed, "steps": 1000 + seed,
            "machine": speed_table.MACHINE, "knn_test": 0.5 + 0.1 * seed, "knn_test_whitened": 0.7})
    assert speed_table.training() == [("test kNN on h / whitened h after the steps of 5 minutes",
                                       "55.0 / 70.0 % (1,000 to 1,001 steps, 2 seeds)", "–")]

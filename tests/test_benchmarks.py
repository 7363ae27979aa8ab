"""Result files: appended whole, resumable, refused when they were altered."""

import json

import pytest

from benchmarks.common import append_record, provenance, read_records
from simclr_tut import evaluation


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results" / "trial.jsonl"
    for value in (0.25, 0.5):
        append_record(path, {"value": value, "seed": 1, **provenance("python -m benchmarks.trial")})
    return path


def test_records_come_back_with_where_they_came_from(path):
    records = read_records(path)
    assert [r["value"] for r in records] == [0.25, 0.5]
    assert {"command", "commit", "date", "machine", "torch", "version"} <= records[0].keys()
    assert read_records(path.with_name("none.jsonl")) == []


def test_a_record_changed_by_hand_is_refused_with_the_command(path):
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(ValueError, match=r"line 2.*python -m benchmarks\.trial"):
        read_records(path)


def test_another_version_and_a_missing_file_are_refused(path):
    line = json.loads(path.read_text().splitlines()[0])
    line["version"] = 99
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="version 99"):
        read_records(path)
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.nothing"):
        evaluation.read_benchmark("nothing")


def test_a_run_killed_while_it_wrote_loses_only_its_own_line(path):
    with open(path, "a") as file:
        file.write('{"value": 0.7, "se')
    assert len(read_records(path)) == 2
    append_record(path, {"value": 0.75})
    assert [r["value"] for r in read_records(path)] == [0.25, 0.5, 0.75]

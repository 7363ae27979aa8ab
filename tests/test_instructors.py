"""INSTRUCTORS.md says what notebooks and checkers say."""

import re
import sys

from notebook_files import NOTEBOOKS, ROOT, read

from simclr_tut import checks

sys.path.insert(0, str(ROOT / "tools"))
import instructors  # noqa: E402

PAGE = (ROOT / "INSTRUCTORS.md").read_text(encoding="utf-8")


def test_its_tables_are_up_to_date():
    assert instructors.filled(PAGE) == PAGE, "run python tools/instructors.py"


def test_every_exercise_is_in_the_table_with_its_goal():
    every = instructors.exercises()
    assert {e["number"] for e in every} == set(instructors.GOALS)
    public = set(checks.__all__) - {"Mistake", "Result", "checker"}
    assert {e["checker"] for e in every} == public and len(every) == len(public)


def test_every_notebook_has_one_of_each_kind():
    """At least three: one to write, one to predict, one to investigate; thirty in all."""
    kinds = {}
    for e in instructors.exercises():
        kinds.setdefault(e["number"].split(".")[0], set()).add(e["kind"])
    assert len(kinds) == len(NOTEBOOKS) == 10
    assert all(found == {"write", "predict", "investigate"} for found in kinds.values()), kinds
    assert len(instructors.exercises()) >= 30


def test_every_exercise_has_its_five_parts():
    """Statement, stub, check, folded hints, folded solution, in this order."""
    for path in NOTEBOOKS:
        cells = read(path)["cells"]
        for i, cell in enumerate(cells):
            if not re.match(r"### Exercise \d", cell["source"]):
                continue
            marks = [c.get("metadata", {}).get("tags", []) for c in cells[i:i + 5]]
            assert (marks[1], marks[2], marks[4]) == (["exercise"], ["check"], ["solution"]), i
            assert "<details><summary>Hint" in cells[i + 3]["source"]
            stub = [line for line in cells[i + 1]["source"].splitlines() if line[:1] != "#"]
            assert len(stub) == 1 and re.match(r"\w+ = None", stub[0]), stub
            folded = cells[i + 4]["metadata"]
            assert folded["jupyter"]["source_hidden"] and folded["cellView"] == "form"
            assert cells[i + 4]["source"].startswith("#@title Solution")


def test_the_block_gives_every_exercise_a_place():
    """Each notebook once, each exercise in class or at home, and time left to talk in class."""
    assert [name for names, _ in instructors.SESSIONS for name in names.split(", ")] == [
        path.stem[:2] for path in NOTEBOOKS]
    minutes = {e["number"]: e["minutes"] for e in instructors.exercises()}
    lines = instructors.table_of_sessions().splitlines()
    rows = [line for line in lines if re.match(r"\| \d", line)]
    read_in_all = sum(int(row.split("|")[3]) for row in rows[:-1])
    assert f"{read_in_all} minutes of reading, {sum(minutes.values())} of exercises" in lines[-1]
    for (names, in_class), row in zip(instructors.SESSIONS, rows[:-1], strict=True):
        assert {f"0{number[0]}" for number in in_class} == set(names.split(", "))
        assert 20 <= sum(minutes[number] for number in in_class) <= 45
        assert str(sum(minutes[number] for number in in_class)) in row
    listed = re.findall(r"\b\d\.\d\b", "\n".join(rows))
    assert sorted(listed) == sorted(minutes)


def test_common_mistakes_cover_the_course():
    listed = {number.split(".")[0] for number, *_ in instructors.MISTAKES} - {"any"}
    assert listed == {str(n) for n in range(10)}
    assert len(instructors.MISTAKES) >= 20


def test_a_changed_sentence_is_noticed():
    assert "“the temperature divides the cosines; you multiply.”" in PAGE
    assert instructors.filled(PAGE.replace("you multiply", "you add")) != PAGE.replace(
        "you multiply", "you add")


def test_what_a_teacher_needs_is_there():
    for heading in ("Timetables", "Goals and points", "Answers to the open questions",
                    "Student versions and grading", "Common mistakes", "Without a GPU",
                    "Other data, other sizes"):
        assert re.search(rf"(?m)^## {heading}", PAGE), heading
    for word in ("90-minute lab", "three-week block", "Self-study", "nbgrader autograde",
                 "make slides"):
        assert word in PAGE, word

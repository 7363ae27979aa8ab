"""One command changes the repository's address everywhere, and back again."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from set_repository import set_repository  # noqa: E402


@pytest.fixture
def copy(tmp_path):
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup_cell.py", tmp_path / "tools")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def test_there_and_back(copy):
    def texts():
        return {path: path.read_text() for path in copy.rglob("*.*") if path.is_file()}

    before = texts()
    set_repository(copy, "https://github.com/some-body/a.course")
    cell = (copy / "tools" / "setup_cell.py").read_text()
    assert 'REPOSITORY = "https://github.com/some-body/a.course"' in cell
    assert '"OWNER/REPO" in REPOSITORY' in cell, "the check for the placeholder must survive"
    for path in copy.glob("notebooks/*.ipynb"):
        assert f"github/some-body/a.course/blob/main/notebooks/{path.name}" in path.read_text()
    set_repository(copy, "https://github.com/OWNER/REPO.git")
    if "https://github.com/OWNER/REPO" in before[copy / "pyproject.toml"]:
        assert texts() == before


def test_refuses_another_kind_of_address(copy):
    with pytest.raises(ValueError, match="expected https://github.com/owner/name"):
        set_repository(copy, "git@example.org:owner/name")

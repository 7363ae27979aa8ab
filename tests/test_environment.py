"""environment.yml names what pyproject.toml names, with the same floors."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base",
               "playwright": "playwright-python"}


def pyproject() -> dict:
    """The [project] table."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def conda_lines() -> list[str]:
    """The dependencies of environment.yml, comments left out, the pip part included."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    return re.findall(r"^ +- (.+?)\s*$", text.split("dependencies:")[1], flags=re.MULTILINE)


def test_same_dependencies_and_floors():
    project = pyproject()
    wanted = set()
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["lab"], *extras["test"]]:
        name, floor = requirement.split(">=")
        wanted.add(f"{CONDA_NAMES.get(name, name)}>={floor}")
    assert {line for line in conda_lines() if ">=" in line} == wanted


def test_the_rest_of_environment_yml():
    rest = [line for line in conda_lines() if ">=" not in line]
    assert rest == ["python=3.12", "pip", "pip:", "-e ."]
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "- conda-forge" in text and "- defaults" not in text


def colab() -> dict[str, str]:
    """Colab's versions, which its leg of the tests installs."""
    lines = (ROOT / ".ci" / "colab.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_colab_keeps_its_widgets_and_its_torch():
    """A floor above Colab's versions would make pip replace what its kernel already runs."""
    floors = dict(requirement.split(">=") for requirement in pyproject()["dependencies"])
    assert set(floors) <= set(colab())
    for name, floor in floors.items():
        assert [*map(int, floor.split("."))] <= [*map(int, colab()[name].split("."))], name


def test_the_environment_that_borrows_torch_has_colab_s_versions():
    """In the environment of make test-colab: what pip was asked for is what Python imports."""
    if ".venv-colab" not in sys.prefix:
        pytest.skip("runs in make test-colab only")
    wrong = {name: metadata.version(name) for name, version in colab().items()
             if not name.startswith("torch") and metadata.version(name) != version}
    assert not wrong

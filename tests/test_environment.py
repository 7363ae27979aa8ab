"""environment.yml names what pyproject.toml names, with the same floors."""

import re
import tomllib
from pathlib import Path

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


def test_colab_keeps_its_widgets_and_its_torch():
    """A floor above Colab's versions would make pip replace what its kernel already runs."""
    floors = dict(requirement.split(">=") for requirement in pyproject()["dependencies"])
    colab = {"torch": "2.11", "torchvision": "0.26", "numpy": "2.0", "scikit-learn": "1.6.1",
             "matplotlib": "3.10", "ipywidgets": "7.7.1", "tqdm": "4.67", "pillow": "11.3",
             "safetensors": "0.8"}  # its image of August 2026
    assert set(floors) == set(colab)
    for name, floor in floors.items():
        assert [*map(int, floor.split("."))] <= [*map(int, colab[name].split("."))], name

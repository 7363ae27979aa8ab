"""Opening a notebook loads torch, and no other large library before something needs it."""

import subprocess
import sys
from pathlib import Path

LARGE = {"sklearn", "scipy", "torchvision", "matplotlib", "pandas", "torch._dynamo", "sympy"}
MODULES = ("config, data, evaluation, losses, methods, models, plots, shapes, training, views, "
           "widgets")


def loaded_by(code: str) -> set[str]:
    """The large libraries that ``code`` loads beyond what torch itself does."""
    code = (f"import sys, torch; before = set(sys.modules); {code}; "
            "print(*(set(sys.modules) - before))")
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                         cwd=Path(__file__).resolve().parents[1])
    return LARGE & set(ran.stdout.split())


def test_the_package_loads_no_large_library_but_torch():
    assert loaded_by(f"from simclr_tut import {MODULES}") == set()


def test_what_needs_a_large_library_loads_it():
    assert "matplotlib" in loaded_by("from simclr_tut import plots; plots.figure()")
    assert "torchvision" in loaded_by(
        "from simclr_tut import models; models.build_encoder('resnet18')")

"""Settings of every test run: smoke scale, a home of its own, notebooks that stop at a failure."""

import atexit
import os
import shutil
import tempfile

import pytest

# Set before anything is imported: notebook kernels and subprocesses inherit these.
os.environ["SIMCLR_TUT_SCALE"] = "smoke"
_home = tempfile.mkdtemp(prefix="simclr_tut_tests_")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["SIMCLR_TUT_HOME"] = _home
# A GPU is hidden: results are compared to the last bit, which holds on the CPU. `make test-gpu`
# shows it.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Neither the network nor what a reader fetched earlier: tests run on shapes, unless
# SIMCLR_TUT_DATA names a folder with the real pictures.
os.environ["SIMCLR_TUT_CACHE"] = os.path.join(_home, "cache")
os.environ["SIMCLR_TUT_OFFLINE"] = "1"
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
_ROOT = os.path.dirname(os.path.abspath(__file__))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
)

_failed_notebooks: dict[str, str] = {}


def _notebook(item) -> str | None:
    """The notebook that an nbval cell belongs to; None for any other test."""
    return str(item.path) if item.path.suffix == ".ipynb" else None


def pytest_runtest_setup(item) -> None:
    """Skip the cells after the first failing one: they would fail by NameError and hide it."""
    first = _failed_notebooks.get(_notebook(item))
    if first:
        pytest.skip(f"{first} failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember the first failing cell of each notebook."""
    outcome = yield
    notebook = _notebook(item)
    if notebook and outcome.get_result().failed:
        _failed_notebooks.setdefault(notebook, item.name)

"""A notebook where the package is absent, as in Colab: its set-up cell fetches it with git."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from notebook_files import NOTEBOOKS, ROOT, code_cells, tags

COMMON = (ROOT / "tools" / "setup_cell.py").read_text(encoding="utf-8")
CELL = next(
    (cell["source"] for path in NOTEBOOKS for cell in code_cells(path) if "setup" in tags(cell)),
    COMMON,
)
ADDRESS_LINE = CELL.splitlines()[0]


@pytest.fixture
def bare_python(tmp_path) -> tuple[str, dict[str, str]]:
    """An interpreter with this one's libraries but without simclr_tut, and its environment.

    A plain path in a .pth file brings the libraries; the .pth files beside them are not read, so
    an editable install of the package does not come along.
    """
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = str(folder / "bin" / "python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    libraries |= {path for path in sys.path if path.endswith("site-packages")}  # borrowed ones
    Path(site.strip(), "libraries.pth").write_text("\n".join(libraries) + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # The build needs setuptools, which is here: no network in a test.
    environment |= {"PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {"PIP_NO_INDEX": "1"}
    return python, environment


def run_cell(bare_python, cell: str, folder: Path) -> subprocess.CompletedProcess:
    """Run the cell's text as a notebook's kernel would, in the folder."""
    python, environment = bare_python
    folder.mkdir(exist_ok=True)
    (folder / "cell.py").write_text(cell, encoding="utf-8")
    return subprocess.run(
        [python, "cell.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def repository(tmp_path) -> str:
    """A git address that holds the package as it lies here."""
    folder = tmp_path / "repository"
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "simclr_tut", folder / "simclr_tut", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, folder / name)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return folder.as_uri()


needs = pytest.mark.skipif(
    not (shutil.which("git") and importlib.util.find_spec("pip") and os.name == "posix"),
    reason="needs git, pip and a POSIX system",
)


@needs
def test_fetches_the_package_where_it_is_absent(bare_python, repository, tmp_path):
    after = "\nprint(simclr_tut.__file__)\nimport simclr_tut.config\n"
    cell = CELL.replace(ADDRESS_LINE, f'REPOSITORY = "{repository}"') + after
    empty = tmp_path / "empty"
    result = run_cell(bare_python, cell, empty)
    assert result.returncode == 0, result.stderr
    version, place = result.stdout.strip().splitlines()[-2:]
    assert version.startswith("simclr_tut ")
    assert Path(place).is_relative_to(empty / "simclr_tut_repository")
    # A second run, the kernel restarted, finds the package installed and fetches nothing.
    again = run_cell(bare_python, cell, tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "elsewhere" / "simclr_tut_repository").exists()


@needs
def test_a_notebook_alone_in_an_empty_folder_runs_from_its_first_cell_to_its_last(
        bare_python, repository, tmp_path):
    python, environment = bare_python
    path = next(path for path in NOTEBOOKS if path.stem.startswith("03"))
    folder = tmp_path / "content"  # Colab's name for the folder that holds one file: the notebook
    folder.mkdir()
    shutil.copy(path, folder / path.name)
    notebook = nbformat.read(folder / path.name, as_version=4)
    setup = next(cell for cell in notebook.cells if "setup" in tags(cell))
    assert setup.source == COMMON.rstrip()
    setup.source = setup.source.replace(ADDRESS_LINE, f'REPOSITORY = "{repository}"')
    ask = "import torch, sys; print(simclr_tut.__file__, sys.executable, sep='\\n')"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    kernels = tmp_path / "kernels" / "alone"
    kernels.mkdir(parents=True)
    wanted = {key: value for key, value in environment.items() if os.environ.get(key) != value}
    (kernels / "kernel.json").write_text(json.dumps({
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "alone", "language": "python", "env": {**wanted, "PYTHONPATH": ""}}))
    manager = AsyncKernelManager(kernel_name="alone", kernel_spec_manager=KernelSpecManager(
        kernel_dirs=[str(kernels.parent)]))
    NotebookClient(notebook, km=manager, timeout=240,
                   resources={"metadata": {"path": str(folder)}}).execute()
    place, used = notebook.cells[-1].outputs[0].text.splitlines()
    assert Path(place).is_relative_to(folder / "simclr_tut_repository") and used == python
    assert sorted(entry.name for entry in folder.iterdir()) == [path.name, "simclr_tut_repository"]
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@needs
def test_says_what_to_do_where_no_address_is_set(bare_python, tmp_path):
    cell = CELL.replace(ADDRESS_LINE, 'REPOSITORY = "https://github.com/OWNER/REPO"')
    result = run_cell(bare_python, cell, tmp_path / "empty")
    assert result.returncode != 0
    assert "make lab" in result.stderr and "REPOSITORY" in result.stderr
    assert "Traceback" not in result.stderr


def test_says_the_version_where_the_package_is_present():
    result = subprocess.run([sys.executable, "-c", CELL], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0 and result.stdout.startswith("simclr_tut ")

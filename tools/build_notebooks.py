"""Execute the notebooks from top to bottom and write them back in one tidy form.

    python tools/build_notebooks.py                    all notebooks, in place
    python tools/build_notebooks.py 03 05              two of them, by number
    python tools/build_notebooks.py notebooks/03_x.ipynb
    python tools/build_notebooks.py --from-py DIR 03   first convert DIR/03_*.py (percent format)
    python tools/build_notebooks.py --to build/run     leave the sources, write copies and HTML

The scale is the one in the environment (SIMCLR_TUT_SCALE); nothing else changes what runs.
"""

import argparse
import hashlib
import os
import re
import sys
import threading
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# A widget's number means nothing without its kernel: JupyterLab would say "model not found" in
# place of the picture that lies beside it in the same output.
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT_CELL_METADATA = {"tags", "jupyter", "cellView", "slideshow", "nbgrader"}
# A reader's screen must not show the paths of the machine that built the pages.
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:work|root|tmp|home|Users|private)/[\w.-]+")


def find_notebooks(names: list[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """Paths or numbers in, existing notebook paths out; no names mean all of them."""
    if not names:
        return sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    found = []
    for name in names:
        path = Path(name)
        if path.suffix == ".ipynb" and path.exists():
            found.append(path.resolve())
            continue
        matches = sorted(folder.glob(f"{path.stem}*.ipynb"))
        if not matches:
            raise SystemExit(f"expected a notebook's path or number; found nothing for {name!r}")
        found.extend(matches)
    return found


def convert_scripts(folder: Path, names: list[str]) -> list[Path]:
    """Write notebooks/NN_name.ipynb for each percent script of the folder that was asked for."""
    try:
        import jupytext
    except ImportError:
        raise SystemExit("--from-py needs jupytext: pip install jupytext") from None
    written = []
    for script in sorted(folder.glob("[0-9][0-9]_*.py")):
        if names and not any(script.stem.startswith(Path(name).stem) for name in names):
            continue
        notebook = jupytext.read(script, fmt="py:percent")
        target = NOTEBOOKS / f"{script.stem}.ipynb"
        normalise(notebook, target.stem)
        nbformat.write(notebook, target)
        written.append(target)
    if not written:
        raise SystemExit(f"no script NN_name.py in {folder} for {names or 'any number'}")
    return written


def merge_streams(outputs: list) -> list:
    """Join neighbouring outputs of one stream, which a kernel cuts at random places."""
    merged = []
    for output in outputs:
        previous = merged[-1] if merged else None
        if (
            previous is not None
            and output.output_type == previous.output_type == "stream"
            and output.name == previous.name
        ):
            previous.text += output.text
        else:
            merged.append(output)
    return merged


def normalise(notebook, stem: str) -> None:
    """Give the notebook its one tidy form, in place: equal content gives an equal file."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": dict(KERNELSPEC), "language_info": {"name": "python"}}
    )
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        # The id depends on the notebook and on the text, so an edit elsewhere leaves it alone.
        text = f"{stem}\n{cell.cell_type}\n{cell.source}"
        identity = hashlib.sha256(text.encode()).hexdigest()[:8]
        if identity in seen:
            identity = f"{identity}-{number}"
        seen.add(identity)
        cell.id = identity
        cell.metadata = nbformat.from_dict(
            {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        )
        cell.source = cell.source.rstrip()
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data.pop(WIDGET_VIEW, None)


def machine_paths(notebook) -> list[str]:
    """The paths of this machine that stand in a cell or in its outputs, as 'cell N: path'."""
    found = []
    for number, cell in enumerate(notebook.cells):
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts.append(str(output.get("text", "")))
            texts.extend(
                str(value)
                for kind, value in output.get("data", {}).items()
                if not kind.startswith("image/") or kind == "image/svg+xml"
            )
        found += [f"cell {number}: {path}" for text in texts for path in MACHINE_PATH.findall(text)]
    return found


class PeakMemory:
    """Largest memory of a process and its children while the block runs, in GiB (or None)."""

    def __init__(self) -> None:
        self.peak: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        try:
            import psutil
        except ImportError:
            return
        me = psutil.Process()
        while not self._stop.wait(0.5):
            total = 0
            for child in me.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak or 0.0, total / 2**30)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()


def headline(notebook) -> str:
    """The first line that the cell under "What we found" printed, without its number."""
    found = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = found or "## What we found" in cell.source
        elif found:
            printed = "".join(o.get("text", "") for o in cell.get("outputs", []))
            lines = [line.strip() for line in printed.splitlines() if line.strip()]
            return re.sub(r"^\d+\. ", "", lines[0]) if lines else ""
    return ""


def progress(stem: str, cells: int):
    """Return what is called before each cell: on a terminal it rewrites one line."""
    if not sys.stdout.isatty():
        print(f"{stem}: {cells} cells", flush=True)
        return lambda cell, cell_index: None
    return lambda cell, cell_index: print(f"\r\x1b[K{stem}: cell {cell_index + 1} of {cells} ",
                                          end="", flush=True)


def execute(path: Path, timeout: int):
    """Run one notebook in its own folder; return the notebook and the first error, if any."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],  # no advice on transports in our progress
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        on_cell_start=progress(path.stem, len(notebook.cells)),
    )
    error = None
    try:
        client.execute()
    except CellExecutionError as failure:
        error = str(failure)
    except Exception as failure:  # a dead kernel or a time-out: report it like a failing cell
        error = f"{type(failure).__name__}: {failure}"
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    return notebook, error


def write_html(notebook, target: Path) -> None:
    """Write the HTML page of an executed notebook, its figures' alt text included."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    target.write_text(page, encoding="utf-8")


def main() -> int:
    """Read the arguments, run the notebooks one after another, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="paths or numbers; default: all")
    parser.add_argument("--from-py", type=Path, metavar="DIR", help="convert percent scripts first")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write copies and HTML there")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds a cell may take")
    parser.add_argument("--no-execute", action="store_true", help="only convert and tidy")
    arguments = parser.parse_args()

    if arguments.from_py:
        paths = convert_scripts(arguments.from_py, arguments.notebooks)
    else:
        paths = find_notebooks(arguments.notebooks)
    if not paths:
        raise SystemExit(f"no notebook in {NOTEBOOKS.name}/")
    # The kernel runs this very interpreter and finds this checkout, installed or not.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    if arguments.to:
        arguments.to.mkdir(parents=True, exist_ok=True)

    rows, failed = [], False
    for path in paths:
        start, memory, error = time.perf_counter(), PeakMemory(), None
        if arguments.no_execute:
            notebook = nbformat.read(path, as_version=4)
        else:
            with memory:
                notebook, error = execute(path, arguments.timeout)
        seconds = time.perf_counter() - start
        normalise(notebook, path.stem)
        nbformat.validate(notebook)
        paths_found = machine_paths(notebook)
        problem = error or ("machine paths: " + "; ".join(paths_found) if paths_found else "")
        failed |= bool(problem)
        # A failed run never replaces the page: its copy, with the error, goes to build/failed/.
        target = arguments.to / path.name if arguments.to else path
        if problem and not arguments.to:
            target = ROOT / "build" / "failed" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
        if arguments.to:
            write_html(notebook, target.with_suffix(".html"))
        gib = "" if memory.peak is None else f"{memory.peak:.1f}"
        rows.append((path.stem, seconds, gib, "FAILED" if problem else headline(notebook) or "ok"))
        print(f"{path.stem}: {seconds:.1f} s {'FAILED' if problem else 'ok'}", flush=True)
        if problem:
            print(problem, file=sys.stderr, flush=True)
            print(f"  broken copy: {os.path.relpath(target)}", file=sys.stderr, flush=True)

    print(f"\n{'notebook':<28}{'minutes':>8}{'peak GiB':>10}  result")
    for stem, seconds, gib, result in rows:
        print(f"{stem:<28}{seconds / 60:>8.1f}{gib:>10}  {result}")
    print(f"{'together':<28}{sum(row[1] for row in rows) / 60:>8.1f}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

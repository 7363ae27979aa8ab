"""Make slides of the cells of 01, 03 and 05 that are marked: one file, which needs no network.

    python tools/make_slides.py [--to FILE]

A cell is marked by its metadata, ``{"slideshow": {"slide_type": "slide"}}``, in JupyterLab
the property inspector's slide type: ``slide`` begins one, ``fragment`` goes on it at the next key,
``-`` at once. A code cell shows its outputs, and its code too when it is tagged ``shows:NAME``.
Pictures and outputs are those that the notebooks hold. reveal.js 4.6 (MIT licence) lies beside.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat.v4 as v4
from nbconvert.exporters import SlidesExporter
from nbconvert.preprocessors import Preprocessor
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tools" / "slides"
NOTEBOOKS = ("01", "03", "05")


def with_mathml(markdown: str) -> str:
    """Formulas as MathML, which browsers draw themselves, in place of LaTeX for MathJax."""
    from latex2mathml.converter import convert

    def drawn(match: re.Match) -> str:
        block = match[1] is not None
        mathml = convert(match[1] or match[2], display="block" if block else "inline")
        return f"\n\n<div>{mathml}</div>\n\n" if block else mathml

    parts = re.split(r"(```.*?```|`[^`\n]*`)", markdown, flags=re.DOTALL)  # code is left alone
    return "".join(part if i % 2 else re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", drawn, part,
                                             flags=re.DOTALL)
                   for i, part in enumerate(parts))


def marked(notebook) -> list:
    """The cells of a notebook that are to be shown, without what a slide cannot show."""
    cells = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "")
        if kind in ("", "skip", "notes"):
            continue
        cell = cell.copy()
        if cell.cell_type == "markdown":
            # Badges are pictures from the network, and links to files lead nowhere from here.
            text = re.sub(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)\n*", "", cell.source)
            text = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
            cell.source = with_mathml(text)
        else:
            cell.outputs = [output for output in cell.outputs
                            if "text" in output or "image/png" in output.get("data", {})]
            for output in cell.outputs:
                if "data" in output:  # a widget's picture stands for it
                    output.data = {"image/png": output.data["image/png"]}
        cells.append(cell)
    return cells


class HideCode(Preprocessor):
    """Show the code of cells that teach a function, of others their outputs alone."""

    def preprocess_cell(self, cell, resources, index):
        """Mark a code cell's input as hidden."""
        hidden = cell.cell_type == "code" and not any(
            tag.startswith("shows:") for tag in cell.metadata.get("tags", []))
        cell.metadata["transient"] = {"remove_source": hidden}
        return cell, resources


def build(notebooks: list) -> str:
    """One HTML page with the marked cells of all notebooks."""
    cells = [cell for notebook in notebooks for cell in marked(notebook)]
    for number, cell in enumerate(cells):
        cell.id = f"slide-cell-{number}"
    whole = v4.new_notebook(cells=cells, metadata={"title": "How SimCLR learns without labels"})
    config = Config()
    config.SlidesExporter.extra_template_basedirs = [str(FOLDER)]
    config.SlidesExporter.template_name = "offline"
    exporter = SlidesExporter(config=config)
    exporter.register_preprocessor(HideCode(), enabled=True)
    parts = FOLDER / "offline"
    own = {name.replace(".", "_"): (parts / name).read_text(encoding="utf-8")
           for name in ("reveal.js", "reveal.css", "style.css")}
    html, _ = exporter.from_notebook_node(whole, resources={"slides": own})
    return html


def main() -> int:
    """Read the notebooks, write the slides, and say how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, metavar="FILE",
                        default=ROOT / "build" / "slides" / "simclr.html")
    arguments = parser.parse_args()
    import nbformat

    paths = [next((ROOT / "notebooks").glob(f"{number}_*.ipynb")) for number in NOTEBOOKS]
    html = build([nbformat.read(path, as_version=4) for path in paths])
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    arguments.to.write_text(html, encoding="utf-8")
    slides = html.count("<section") // 2
    print(f"{slides} slides, {len(html) / 1e6:.1f} MB: {arguments.to}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

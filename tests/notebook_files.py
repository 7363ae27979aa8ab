"""The notebooks that exist, read once, for the tests that look at them without running them."""

import json
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@cache
def read(path: Path) -> dict:
    """The notebook's JSON, with each cell's source and each stream's text joined to one string."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = "".join(output["text"])
    return notebook


def code_cells(path: Path) -> list[dict]:
    """Code cells with something in them."""
    cells = read(path)["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and cell["source"].strip()]


def tags(cell: dict) -> list[str]:
    """The cell's tags."""
    return cell.get("metadata", {}).get("tags", [])

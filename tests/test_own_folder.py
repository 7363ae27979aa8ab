"""The worked example of notebook 09, with a folder of the reader's in place of the one it makes."""

import json
import re
import warnings

import matplotlib
import numpy as np
import pytest
from notebook_files import ROOT
from PIL import Image

from simclr_tut import plots

FOLDERS = {  # where picture i of so many lies
    "two classes": (40, lambda i: f"{'cat' if i % 2 else 'dog'}/{i}.png"),
    "loose pictures too": (40, lambda i: f"{i}.png" if i % 3 else f"{'ab'[i % 2]}/{i}.png"),
    "few of each": (24, lambda i: f"{'abcdefgh'[i % 8]}/{i}.png"),
    "no classes": (20, lambda i: f"{i}.png"),
}


def example():
    """Code cells from "Your own pictures" on, up to the next section; and what they stand on."""
    cells = json.loads((ROOT / "notebooks" / "09_scaling_up.ipynb").read_text())["cells"]
    text = ["".join(cell["source"]) for cell in cells]
    start = next(i for i, s in enumerate(text) if "\n## Your own pictures" in s)
    end = next(i for i in range(start + 1, len(text)) if re.search(r"^## ", text[i], re.MULTILINE))
    imports = next(s for s in text if s.startswith("import copy"))
    code = [s for s, cell in zip(text, cells, strict=True) if cell["cell_type"] == "code"]
    return imports, [s for s in code if s in text[start:end]]


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_example_works_on_a_folder_of_the_readers(kind, tmp_path, monkeypatch):
    count, place = FOLDERS[kind]
    matplotlib.use("Agg")
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "smoke")
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plots, "show", lambda figure, alt: None)
    mine, rng = tmp_path / "mine", np.random.default_rng(0)
    for i in range(count):
        (mine / place(i)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(mine / place(i))
    imports, cells = example()
    space = {"folder": tmp_path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(imports, space)
        exec("random_model = models.settle_batch_norm(models.build_model('tiny'), "
             "[torch.cat(views(train.images[:64]))])\n"
             "trained_model = models.load_pretrained()", space)
        named = cells[0].replace("my_folder = None", f"my_folder = {str(mine)!r}")
        assert named != cells[0]
        if kind == "no classes":
            with pytest.raises(SystemExit, match="two or more are needed"):
                exec(named, space)
            return
        for cell in (named, *cells[1:]):
            exec(cell, space)
    assert len(space["own"]) == sum("/" in place(i) for i in range(count))
    assert len([p for p in mine.rglob("*") if p.is_file()]) == count  # nothing was written there

"""Put the weights of a run into the package: evaluate, shrink, and say where they come from.

    python tools/ship_checkpoint.py NAME WEIGHTS --command "python -m simclr_tut pretrain ..."

With --whiten the encoder ends in the map that whitens h, as by `pretrain --whiten`. Given the file
that ships already, only its scores, its command and the flags given are written anew: where it was
trained stays. Matrices are kept as numbers of 16 bits where the file would exceed 5 MB. What is
evaluated is the file that ships: kNN on h and on whitened h of the test pictures (k = 200, all
training pictures vote), and a linear probe whose strength 5,000 training pictures chose. Facts go
to simclr_tut/assets/checkpoints.json, whose hash
``load_pretrained`` checks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import provenance  # noqa: E402
from simclr_tut import data, evaluation, models  # noqa: E402

ASSETS = ROOT / "simclr_tut" / "assets"
LIMIT = 5_000_000  # bytes


def shrink(source: Path, target: Path, whiten: bool) -> None:
    """Copy weights; matrices become float16 if the file would be too large otherwise."""
    model, recipe = models.load_weights(source), models.load_recipe(source)
    if whiten:
        h = evaluation.encode(model, data.load_dataset(recipe["dataset"], "train"))
        model = models.append_map(model, *evaluation.whitening_map(h))
        recipe["encoder"] += models.MAP
    models.save_weights(model, target, recipe)
    if target.stat().st_size > LIMIT:
        for value in (p for p in model.parameters() if p.dim() > 1):
            value.data = value.data.half()
        models.save_weights(model, target, recipe)
    if target.stat().st_size > LIMIT:
        raise SystemExit(f"{target} exceeds {LIMIT:,} bytes even in 16 bits.")


def scores(path: Path) -> dict[str, float]:
    """Return what the test pictures say, read once."""
    model, dataset = models.load_weights(path), models.load_recipe(path)["dataset"]
    train, test = (data.load_dataset(dataset, split) for split in ("train", "test"))
    if train.name != dataset:
        raise SystemExit(f"{dataset} is not on this machine: set SIMCLR_TUT_DATA.")
    labelled, validation = data.split_labels(train, min(5000, len(train) // 10))
    whole, known, chosen, asked = (evaluation.encode(model, part)
                                   for part in (train, labelled, validation, test))
    plain, white = evaluation.knn_plain_and_whitened(whole, train.labels, asked, test.labels)
    probe = evaluation.linear_probe(known, labelled.labels, chosen, validation.labels, asked,
                                    test.labels)
    return {"knn_test": round(plain, 4), "white_knn_test": round(white, 4),
            "probe_test": round(probe.accuracy, 4)}


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    half = path.with_name(f"{path.name}.half")
    half.write_bytes(content)
    os.replace(half, path)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("weights", type=Path, help="a model.safetensors of `pretrain`")
    parser.add_argument("--command", required=True, help="how the weights were made")
    parser.add_argument("--whiten", action="store_true", help="h; the command must say it too")
    for name, kind in {"threads": int, "machine": str, "python": str, "torch": str}.items():
        parser.add_argument(f"--{name}", type=kind, help="of the training, if not this machine's")
    arguments = parser.parse_args()
    target = ASSETS / f"{arguments.name}.safetensors"
    listed = ASSETS / "checkpoints.json"
    shipped = json.loads(listed.read_text()) if listed.exists() else {}
    again = arguments.weights.resolve() == target.resolve()
    if again and arguments.name not in shipped:
        parser.error(f"{target.name} has no facts to keep: give the weights of the run itself.")
    if again and arguments.whiten:
        parser.error(f"--whiten changes weights, and {target.name} ships already: give the weights "
                     "of the run itself.")
    if arguments.whiten != ("--whiten" in arguments.command) and not again:
        parser.error("--whiten must be given here and in --command, or in neither.")
    facts = ({**shipped[arguments.name], "command": arguments.command} if again
             else provenance(arguments.command))
    facts |= {name: getattr(arguments, name) for name in ("threads", "machine", "python", "torch")
              if getattr(arguments, name)}
    with tempfile.TemporaryDirectory() as folder:
        made = target
        if not again:
            made = Path(folder) / target.name  # takes its place below, when all is known to work
            shrink(arguments.weights, made, arguments.whiten)
        facts |= models.load_recipe(made) | scores(made)  # seconds, steps, seed of the training
        content = made.read_bytes()
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    shipped[arguments.name] = dict(sorted(facts.items()))
    if not again:
        write(target, content)
    write(listed, (json.dumps(shipped, indent=1) + "\n").encode())
    print(f"{arguments.name}: {target.stat().st_size:,} bytes; "
          + ", ".join(f"{k} {v}" for k, v in facts.items() if k.endswith("_test")))


if __name__ == "__main__":
    main()

"""Which invariance comes from which augmentation? Short SimCLR runs on shapes with known factors.

    python -m benchmarks.ablations                         every experiment, three seeds
    python -m benchmarks.ablations composition --seeds 0   one of them, one seed
    python -m benchmarks.ablations --missing               only say what is still to run

Each run trains the same small encoder for the same number of steps (unless that is what the
experiment changes) and asks what h and z know: the shape, the hue of the shape and of the
background (kNN, ten classes each), scale, rotation and place (ridge regression, R2). One record a
run is added to simclr_tut/assets/results/ablations.jsonl: a run that was killed costs only itself,
and the same command goes on where it stopped. Notebook 06 draws the records.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.common import RESULTS, append_record, provenance, read_records
from benchmarks.recipe_search import build as build_net
from simclr_tut import config, evaluation, losses, models, shapes, training
from simclr_tut.views import Views

FILE = RESULTS / "ablations.jsonl"
TRAIN, TEST, SIZE, WIDTH, NEIGHBOURS = 6000, 1500, 24, 16, 20
CLASSES, CONTINUOUS = ("shape", "hue", "background_hue"), ("scale", "rotation", "x", "y")
BASE = config.Recipe(name="ablation", dataset="shapes", image_size=SIZE, small_size=None,
                     steps=300, batch_size=128, optimizer="muon", lr=0.1, head_dim=64, bf16=False)
AUGMENTATIONS = ("crop", "colour", "grey", "blur")
NOTHING = {"crop": None, "flip": 0.0, "color": 0.0, "gray": 0.0, "blur": 0.0}
EACH = {"crop": {"crop": (0.65, 1.0)}, "colour": {"color": 1.0, "color_p": 1.0, "hue": 0.5},
        "grey": {"gray": 0.5}, "blur": {"blur": 0.8}}
STRONG = {**NOTHING, **EACH["crop"], **EACH["colour"]}  # no grey: it hides many an outline here
# A turn by a matrix keeps the luma, which tells yellow from blue; a turn in HSV does not. In one
# trial (seed 1, pictures of its own) milder brightness, contrast and saturation left less hue in
# h; notebook 06 trains with these.
POLICIES = {"crop": {**NOTHING, **EACH["crop"]}, "crop + strong colour": STRONG,
            "crop + colour in HSV": {**STRONG, "color": 0.5, "hsv": True}}


def experiments() -> dict[str, list[dict]]:
    """Return every experiment, the most wanted first: a list of settings, each a dict of axes."""
    pairs = [(a, b) for i, a in enumerate(AUGMENTATIONS) for b in AUGMENTATIONS[i:]]
    return {
        "shortcut": [{"policy": p, "steps": 1200, "crop": [0.4, 1.0]} for p in POLICIES],
        "composition": [{"first": a, "second": b, "branches": branches}
                        for branches in ("both", "one") for a, b in pairs],
        "temperature": [{"temperature": t} for t in (0.05, 0.1, 0.2, 0.5, 1.0)],
        "head": [{"head_layers": n, "head_hidden": w}
                 for n, w in ((0, 128), (1, 128), (2, 32), (2, 128), (2, 512))],
        "strength": [{"strength": s} for s in (0.0, 0.125, 0.25, 0.5, 1.0)],
        "batch": [{"batch_size": b, "scaling": s, "equal": e} for e in ("steps", "epochs")
                  for s in ("linear", "root") for b in (32, 128, 512)],
        "encoder": [{"width": w} for w in (8, 16, 32)],
    }


def views_of(setting: dict) -> Views | OneBranch:
    """Return the views a setting trains with; crop and strong colour where it names none."""
    if "first" in setting:
        chosen = Views(SIZE, **{**NOTHING, **EACH[setting["first"]], **EACH[setting["second"]]})
        return OneBranch(chosen) if setting["branches"] == "one" else chosen
    if "strength" in setting:
        s = setting["strength"]
        colour = {"color": s, "hue": 0.5 * s} if s else {"color": 0.0, "hue": None}
        return Views(SIZE, **{**STRONG, **colour})
    policy = POLICIES[setting.get("policy", "crop + strong colour")]
    return Views(SIZE, **{**policy, "crop": tuple(setting.get("crop", policy["crop"]))})


class OneBranch:
    """View 1 is drawn by ``changed``, view 2 is the picture itself.

    Source: Chen et al. 2020, Fig. 5, changes one branch only (theirs is cropped on both).
    """

    def __init__(self, changed: Views) -> None:
        self.changed, self.plain = changed, Views(SIZE, **NOTHING)

    def __call__(self, images: torch.Tensor, size: int | None = None
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.changed(images, size)[0], self.plain(images, size)[0]


def build(recipe: config.Recipe, width: int = WIDTH) -> models.SimCLR:
    """Build a SimCLR with an encoder of ``4 * width`` features, small enough for one core."""
    return build_net(f"{width}s2 {2 * width}s2 {4 * width}s2", recipe)


def recipe_of(setting: dict, seed: int) -> config.Recipe:
    """Return the recipe of a setting: learning rate scaled with the batch where it says so."""
    known = ("temperature", "head_layers", "head_hidden", "batch_size", "steps")
    recipe = replace(BASE, seed=seed, **{k: setting[k] for k in known if k in setting})
    if "scaling" in setting:
        ratio = recipe.batch_size / BASE.batch_size
        recipe = replace(recipe, lr=BASE.lr * (ratio if setting["scaling"] == "linear"
                                               else ratio**0.5))
        if setting["equal"] == "epochs":
            recipe = replace(recipe, steps=max(2, round(BASE.steps / ratio)))
    return recipe


@lru_cache(maxsize=2)
def pictures(seed: int) -> tuple[shapes.ShapeImages, shapes.ShapeImages]:
    """Return training and test pictures of one seed."""
    return (shapes.make_shapes(TRAIN, seed=1000 + seed, size=SIZE),
            shapes.make_shapes(TEST, seed=2000 + seed, size=SIZE))


def run(setting: dict, seed: int) -> dict:
    """Train and measure one setting."""
    recipe = recipe_of(setting, seed)
    train, test = pictures(seed)
    config.seed_everything(seed)
    model = build(recipe, setting.get("width", WIDTH))
    views = views_of(setting)
    history = training.pretrain(model, train.images, views, recipe)
    if history.interrupted:  # pretrain stops tidily when told to; half a run is no record
        raise KeyboardInterrupt("stopped between two steps; the run in progress is not recorded")
    loss = sum(history.loss[-50:]) / len(history.loss[-50:])
    known = {layer: what_it_knows(evaluation.encode(model, train.images, layer), train.factors,
                                  evaluation.encode(model, test.images, layer), test.factors)
             for layer in ("h", "z")}
    with torch.no_grad():
        z1, z2 = (model(view) for view in views(test.images[:128]))
    z = torch.nn.functional.normalize(evaluation.encode(model, test.images, "z"), dim=1)
    return {"h": known["h"], "z": known["z"],
            "progress": losses.progress(loss, recipe.batch_size, recipe.temperature),
            "contrastive_accuracy": float(losses.contrastive_accuracy(z1, z2)),
            "effective_rank": float(losses.effective_rank(z)), "loss": loss,
            "steps": len(history.loss), "training_seconds": history.seconds}


def what_it_knows(train: torch.Tensor, known: dict, test: torch.Tensor, wanted: dict) -> dict:
    """Return what features know of each factor: kNN accuracy for classes, R2 for the others."""
    out = {}
    for name in CLASSES:
        bank, queries = (labels[name] if name == "shape" else (labels[name] * 10).long()
                         for labels in (known, wanted))
        out[name] = evaluation.knn_accuracy(train, bank, test, queries, k=NEIGHBOURS)
    for name in CONTINUOUS:  # rotations stay within 23 degrees: their sine says all
        values = [torch.sin(f[name]) if name == "rotation" else f[name] for f in (known, wanted)]
        out[name] = best_ridge(train, values[0], test, values[1])
    return out


def best_ridge(x: torch.Tensor, y: torch.Tensor, test_x: torch.Tensor, test_y: torch.Tensor
               ) -> float:
    """R2 of a ridge probe; the last quarter of the training pictures chooses its penalty."""
    cut = 3 * len(x) // 4
    strength = max((1.0, 100.0, 10000.0), key=lambda s: evaluation.ridge_r2(
        x[:cut], y[:cut], x[cut:], y[cut:], s))
    return evaluation.ridge_r2(x, y, test_x, test_y, strength)


def baseline(setting: dict, seed: int) -> dict:
    """Measure raw pixels, or an encoder with random weights and settled batch norm."""
    train, test = pictures(seed)
    config.seed_everything(seed)
    if setting["features"] == "raw pixels":
        features = [evaluation.raw_pixels(part.images) for part in (train, test)]
    else:
        model = build(BASE)
        models.settle_batch_norm(model, [train.images[:1024].float() / 255])
        features = [evaluation.encode(model, part.images) for part in (train, test)]
    return {"h": what_it_knows(features[0], train.factors, features[1], test.factors)}


def plan(names: list[str], seeds: list[int]) -> list[tuple[str, dict, int]]:
    """Return the runs asked for, seed by seed, so that a part of them is a whole seed."""
    every = {"baseline": [{"features": "raw pixels"}, {"features": "random encoder"}],
             **experiments()}
    return [(name, setting, seed) for seed in seeds for name in (names or every)
            for setting in every[name]]


def missing(jobs: list[tuple[str, dict, int]], file: Path = FILE
            ) -> Iterator[tuple[str, dict, int]]:
    """Yield the runs that have no record of the present base setting yet."""
    done = [(r["experiment"], r["setting"], r["seed"]) for r in read_records(file)
            if r["base"] == base_facts()]
    yield from (job for job in jobs if job not in done)


def base_facts() -> dict:
    """Return what all runs share; a record made with other facts does not count."""
    return {"train": TRAIN, "test": TEST, "size": SIZE, "width": WIDTH, "steps": BASE.steps,
            "batch_size": BASE.batch_size, "lr": BASE.lr, "optimizer": BASE.optimizer,
            "temperature": BASE.temperature, "neighbours": NEIGHBOURS,
            "crop": list(EACH["crop"]["crop"])}


def perform(name: str, setting: dict, seed: int, file: Path = FILE) -> dict:
    """Do one run and add its record to the file."""
    started = time.perf_counter()
    values = (baseline if name == "baseline" else run)(setting, seed)
    facts = provenance(f"python -m benchmarks.ablations {name} --seeds {seed}")
    record = {"experiment": name, "setting": setting, "seed": seed, **values,
              "base": base_facts(), "seconds": time.perf_counter() - started, **facts}
    append_record(file, record)
    return record


def main() -> None:
    """Run what the command line asks for."""
    names = ["baseline", *experiments()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--missing", action="store_true", help="count the runs left, and stop")
    arguments = parser.parse_args()
    unknown = set(arguments.experiments) - set(names)
    if unknown:
        parser.error(f"no experiment named {', '.join(sorted(unknown))}; "
                     f"there are {', '.join(names)}.")
    left = list(missing(plan(arguments.experiments, arguments.seeds)))
    print(f"{len(left)} runs left", flush=True)
    for name, setting, seed in [] if arguments.missing else left:
        done = perform(name, setting, seed)
        print(f"{name} {setting} seed {seed}: shape {100 * done['h']['shape']:.0f} %, hue "
              f"{100 * done['h']['hue']:.0f} %, {done['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()

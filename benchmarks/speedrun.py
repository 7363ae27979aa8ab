"""kNN on CIFAR-10 after 1, 2, 5 and 10 minutes of training: ours and published recipes.

    python -m benchmarks.speedrun rate [--seconds 10] [--rounds 3]
    python -m benchmarks.speedrun train [--sides ours ...] [--minutes 5] [--seeds 0 1 2]

In two parts. ``rate`` needs a machine with nothing else to do: all sides train in turns, in short
blocks, and leave their steps a second. ``train`` gives each side the steps that it makes in so many
minutes at that rate, so its result does not depend on the load or on the threads; a run that was
stopped goes on, and one that has its record is not repeated.

A run of five minutes is another run than half of one of ten, since every schedule ends with its
budget. All sides see the same 45,000 pictures; kNN (k = 200) of the 10,000 test pictures is read
once, at the end, on h and on whitened h. ``ours`` is the recipe of notebook 04; ``ours, whitening
layer`` is the same with a linear head and an encoder that whitens h all through training
(``recipe_search.RunningWhitening``); where no rate of it was measured it gets 0.95 of the steps of
``ours``. ``benchmarks.rivals`` describes the others.

Records go to simclr_tut/assets/results/speedrun.jsonl.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from benchmarks import recipe_search, rivals
from benchmarks.common import RESULTS, append_record, machine_class, provenance, read_records
from simclr_tut import config, data, evaluation, models, training
from simclr_tut.views import Views

FILE = RESULTS / "speedrun.jsonl"
WHITENED = "ours, whitening layer"
OURS = {"ours": {}, WHITENED: recipe_search.VARIANTS["quick linear head, whitening layer"]}
SIDES = (*OURS, *rivals.NAMES)
ENDLESS = 10**6  # steps of a block, which the stopwatch ends


class Stopwatch:
    """Called after every step: leaves the first ``skip`` out and stops after ``seconds`` more."""

    def __init__(self, seconds: float, skip: int = 5) -> None:
        self.limit, self.steps, self.started = seconds, -skip, 0.0

    def __call__(self, history: training.History) -> bool:
        self.steps += 1
        self.spent = time.perf_counter() - self.started
        if self.steps == 0:
            self.started = time.perf_counter()
        return self.steps > 0 and self.spent >= self.limit


def step_seconds(side: str, images: torch.Tensor, seconds: float, workers: int) -> float:
    """Train for a block of ``seconds``; return the seconds of a step."""
    recipe = replace(config.recipe("pretrain"), seconds=None, epochs=None, steps=ENDLESS,
                     eval_every=ENDLESS)
    if side not in OURS:  # one worker more has two batches ready at the start: they are skipped
        watch = Stopwatch(seconds, skip=2 * workers + 1)
        rivals.train(rivals.build(side, recipe), images, ENDLESS, 0, workers, watch)
        return watch.spent / watch.steps
    sizes = {recipe.image_size: 1.0}
    if recipe.small_size:
        sizes = {recipe.small_size: recipe.small_share, recipe.image_size: 1 - recipe.small_share}
    total = 0.0
    for size, share in sizes.items():  # timed apart, weighed by their share of the steps
        watch = Stopwatch(seconds / len(sizes))
        train_ours(replace(recipe, image_size=size, small_size=None), images, side, on_step=watch)
        total += share * watch.spent / watch.steps
    return total


def train_ours(recipe: config.Recipe, images: torch.Tensor, side: str = "ours", **options: object
               ) -> tuple[nn.Module, training.History]:
    """Train the recipe's model as notebook 04 does, with the changes of a side."""
    config.seed_everything(recipe.seed)
    if side == "ours":
        model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                                   recipe.head_layers)
    else:
        recipe = replace(recipe, head_layers=OURS[side]["head_layers"])
        model = recipe_search.build(OURS[side]["net"], recipe)
    views = Views(recipe.image_size, crop=recipe.crop, color=recipe.color, count=recipe.views)
    return model, training.pretrain(model, images, views, recipe, **options)


def measure_rates(images: torch.Tensor, sides: list[str], seconds: float, rounds: int,
                  workers: int) -> dict[str, list[float]]:
    """Return each side's steps a second, block by block; the sides take turns."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            rates[side].append(1 / step_seconds(side, images, seconds, workers))
            print(f"{side:22s} {rates[side][-1]:.3f} steps/s", flush=True)
    return rates


def train_one(side: str, bank: data.ImageData, test: data.ImageData, steps: int, seed: int,
              name: str) -> dict:
    """Train one side for ``steps``, or go on with it; return what its record says."""
    folder = config.home() / "speedrun" / name
    recipe = replace(config.recipe("pretrain"), seconds=None, epochs=None, steps=steps, seed=seed,
                     eval_every=ENDLESS)
    if side in OURS:
        model, history = train_ours(recipe, bank.images, side, folder=folder)
        batch = recipe.batch_size
    else:
        rival = rivals.build(side, recipe)
        history = rivals.train(rival, bank.images, steps, seed, 1, folder=folder)
        model, batch = rival.model, rival.batch
    if history.interrupted:
        raise SystemExit(f"stopped after {len(history.loss)} steps; the same command goes on.")
    known, asked = evaluation.encode(model, bank), evaluation.encode(model, test)
    plain, white = evaluation.knn_plain_and_whitened(known, bank.labels, asked, test.labels)
    return {"knn_test": plain, "knn_test_whitened": white,
            "steps": len(history.loss), "epochs": steps * batch / len(bank),
            "seconds": history.seconds, "batch_size": batch,
            "encoder": recipe.encoder if side in OURS else side}


def newest_rates(sides: list[str]) -> dict[str, float]:
    """Return the steps a second of the newest record of this machine with all these sides."""
    here = [r["steps_per_second"] for r in read_records(FILE)
            if r["part"] == "rate" and r["machine"] == machine_class()]
    for needed in (sides, ["ours" if side == WHITENED else side for side in sides]):
        if found := [rates for rates in here if {*needed} <= rates.keys()]:
            return {WHITENED: 0.95 * found[-1].get("ours", 0), **found[-1]}
    raise SystemExit("no rates of these sides on this machine: run "
                     "`python -m benchmarks.speedrun rate` while nothing else runs.")


def main(argv: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("rate", "train"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--threads", type=int, default=config.cores())
    parser.add_argument("--seconds", type=float, default=10, help="rate: of a block")
    parser.add_argument("--rounds", type=int, default=3, help="rate: blocks of each side")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10], help="train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="train")
    arguments = parser.parse_args(argv)
    if config.pick_device().type != "cpu":
        raise SystemExit("this benchmark compares pipelines on processor cores: hide the GPU, "
                         "`CUDA_VISIBLE_DEVICES= python -m benchmarks.speedrun ...`.")
    torch.set_num_threads(arguments.threads)
    whole, test = data.load_dataset("cifar10", "train"), data.load_dataset("cifar10", "test")
    if whole.name != "cifar10":
        raise SystemExit("this benchmark needs CIFAR-10: set SIMCLR_TUT_DATA, or `make data`.")
    bank, _ = data.split_labels(whole, 5000)
    facts = provenance(f"python -m benchmarks.speedrun {arguments.part}")
    if arguments.part == "rate":
        blocks = measure_rates(bank.images, arguments.sides, arguments.seconds, arguments.rounds,
                               arguments.threads)
        append_record(FILE, {
            "part": "rate", "steps_per_second": {s: median(r) for s, r in blocks.items()},
            "blocks": blocks, "seconds": arguments.seconds, "workers": arguments.threads, **facts})
        return
    rates = newest_rates(arguments.sides)
    for seed in arguments.seeds:
        for minutes in arguments.minutes:
            for side in arguments.sides:
                key = {"part": "train", "side": side, "minutes": minutes, "seed": seed,
                       "machine": facts["machine"]}
                if any(key.items() <= r.items() for r in read_records(FILE) if "side" in r):
                    print(f"{side:22s} {minutes:4g} min  seed {seed}  has its record", flush=True)
                    continue
                steps = max(2, round(60 * minutes * rates[side]))
                name = f"{side} {minutes:g} {seed}".replace(", ", "-").replace(" ", "-")
                found = train_one(side, bank, test, steps, seed, name)
                append_record(FILE, {**key, "rate": rates[side], **found, **facts})
                shutil.rmtree(config.home() / "speedrun" / name)  # not before the record stands
                print(f"{side:22s} {minutes:4g} min  seed {seed}  {steps:6d} steps  kNN "
                      f"{100 * found['knn_test']:.1f} %, whitened "
                      f"{100 * found['knn_test_whitened']:.1f} %", flush=True)


if __name__ == "__main__":
    main()

"""How many labels is it worth? Frozen SimCLR features, fine-tuning, and training from scratch.

    python -m benchmarks.label_efficiency [--weights model.safetensors] [--sizes 1 10 ...]
    python -m benchmarks.label_efficiency --longer [--sizes 10 500] [--draws 0 1]

For 1, 5, 10, 50, 500 and 4,400 labels a class of CIFAR-10: a linear probe on frozen features, the
same encoder fine-tuned, and the same encoder trained from scratch. The two trained networks get
the same labels, augmentation and number of steps. The learning rate is chosen on 5,000 validation
pictures for each way of training, at 10 labels a class (1, 5 and 50 take that one) and at 500
(4,400 takes that one), with a draw of labels that is used for nothing else; so is the moment to
stop. Test pictures are read once a network, after every choice.

``--longer`` asks whether scratch only wants more time: the same networks once more, for as many
seconds as SimCLR itself was trained, looks at validation apart in both. Seconds become steps once
a size, by timing its first draw; the other draws take the same steps. Use as many threads as
SimCLR's run (OMP_NUM_THREADS); with one, seconds of the processor are counted, so that other work
does not matter.
Records go to simclr_tut/assets/results/label_efficiency.jsonl; runs that have one are not repeated.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import itertools
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.common import RESULTS, append_record, now, provenance, read_records
from simclr_tut import config, data, evaluation, models, training
from simclr_tut.views import Views

FILE = RESULTS / "label_efficiency.jsonl"
DRAWS = {1: 5, 5: 5, 10: 5, 50: 3, 500: 3, 4400: 1}
# The most steps of 128 pictures; a run keeps the weights of its best look at validation.
STEPS = {1: 200, 5: 300, 10: 400, 50: 600, 500: 1200, 4400: 3000}
RATES = (0.03, 0.1, 0.3)
# Where a size takes its learning rate from: few labels share one choice.
CHOSEN_AT = {1: 10, 5: 10, 10: 10, 50: 10, 500: 500, 4400: 500}
LOOKS = 5
SHIPPED = Path(models.__file__).parent / "assets" / "cifar10-small.safetensors"
POLICY = Views(32, crop=(0.5, 1.0), color=0.2, gray=0.05)


def settings(part: data.ImageData, steps: int, lr: float, seed: int) -> config.Recipe:
    """Return the recipe of every run on labels."""
    return replace(config.Recipe(), name="labels", steps=steps, lr=lr, seed=seed,
                   batch_size=min(128, len(part)), small_size=None)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Return one view of each picture, milder than SimCLR's."""
    return POLICY.apply(images, POLICY.draw(len(images), *images.shape[2:]))


def train(model: nn.Module, part: data.ImageData, validation: data.ImageData, steps: int,
          lr: float, seed: int) -> float:
    """Train, put the best weights of LOOKS looks at validation back, and return that accuracy."""
    recipe = settings(part, steps, lr, seed)
    per_epoch = max(1, len(part) // recipe.batch_size)
    recipe = replace(recipe, eval_every=max(1, round(steps / LOOKS / per_epoch)))
    best: dict = {"accuracy": -1.0}

    def look(epoch: int, history: training.History) -> None:
        accuracy = score(model, validation)
        if accuracy > best["accuracy"]:
            best.update(accuracy=accuracy, weights=copy.deepcopy(model.state_dict()))

    history = training.train_supervised(model, part.images, part.labels, augment, recipe, look)
    if history.interrupted:
        raise SystemExit("stopped; the run in progress leaves no record.")
    model.load_state_dict(best["weights"])
    return best["accuracy"]


def score(model: nn.Module, part: data.ImageData) -> float:
    """Return the share of pictures that the classifier gets right."""
    return float((evaluation.encode(model, part).argmax(1) == part.labels).float().mean())


def classifier(encoder: str, model: models.SimCLR | None = None) -> nn.Sequential:
    """Return an encoder, that of ``model`` or a fresh one, and a fresh linear layer."""
    body = copy.deepcopy(model.encoder) if model else models.build_encoder(encoder)
    return nn.Sequential(body, nn.Linear(body.feature_dim, 10))


def fingerprint(weights: Path) -> str:
    """Return what tells the records of one weights file from those of another."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def steps_in(seconds: float, part: data.ImageData, encoder: str) -> int:
    """Return how many steps of training from scratch take so many seconds here, without looks."""
    network = classifier(encoder)
    fifty = []
    for _ in range(3):  # the quickest counts: other work only takes time
        spent = []
        for steps in (20, 70):  # what a run needs beside its steps cancels; no look is among them
            started = now()
            training.train_supervised(network, part.images, part.labels, augment,
                                      settings(part, steps, 0.1, 0))
            spent.append(now() - started)
        fifty.append(spent[1] - spent[0])
    return max(1, round(seconds * 50 / max(min(fifty), 1e-3)))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longer", action="store_true", help="as many seconds as SimCLR had")
    parser.add_argument("--weights", type=Path, help="default: the checkpoint that ships")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS), choices=list(DRAWS))
    parser.add_argument("--draws", type=int, nargs="+", default=list(range(max(DRAWS.values()))))
    arguments = parser.parse_args()
    weights = arguments.weights or SHIPPED
    mark, made = fingerprint(weights), models.load_recipe(weights)
    encoder = made["encoder"]
    model = models.load_weights(weights)
    whole = data.load_dataset("cifar10", "train")
    test = data.load_dataset("cifar10", "test")
    if whole.name != "cifar10":
        raise SystemExit("this benchmark needs CIFAR-10: set SIMCLR_TUT_DATA, or `make data`.")
    labelled, validation = data.split_labels(whole, 5000)
    facts = {**provenance("python -m benchmarks.label_efficiency"), "weights": mark}

    def have(**key: object) -> list[dict]:
        records = read_records(FILE)
        return [r for r in records if r["weights"] == mark
                and all(r.get(k) == v for k, v in key.items())]

    if arguments.longer:
        seconds = made.get("seconds")
        if not seconds:
            raise SystemExit(f"{weights} does not say how many seconds it was trained; take a file "
                             "of `python -m simclr_tut pretrain`.")
        if not have(kind="result", method="supervised"):
            raise SystemExit("there are no records of these weights to compare with: run the same "
                             "command without --longer first.")
        for size, draw in itertools.product(arguments.sizes, arguments.draws):
            key = {"size": size, "method": "supervised"}
            same = have(**key, kind="result", draw=draw)
            if not same or have(**key, kind="longer", draw=draw):
                continue
            part = data.subset_per_class(labelled, size, seed=draw)
            timed = have(**key, kind="longer")
            steps = timed[0]["steps"] if timed else steps_in(seconds, part, encoder)
            config.seed_everything(draw)
            network = classifier(encoder)
            started = time.perf_counter()
            train(network, part, validation, steps, same[0]["lr"], draw)
            append_record(FILE, {
                "kind": "longer", **key, "draw": draw, "accuracy": score(network, test),
                "lr": same[0]["lr"], "steps": steps, "budget_seconds": seconds,
                "seconds": time.perf_counter() - started, **facts,
                "command": f"{facts['command']} --longer"})
        return
    features = {"validation": evaluation.encode(model, validation),
                "test": evaluation.encode(model, test)}
    for size in arguments.sizes:
        for method in ("frozen SimCLR", "supervised", "fine-tuned"):
            trained = method != "frozen SimCLR"
            start = model if method == "fine-tuned" else None
            if trained:
                at = CHOSEN_AT[size]
                choice = data.subset_per_class(labelled, at, seed=1000)
                for lr in RATES:
                    if have(size=at, method=method, kind="choice", lr=lr):
                        continue
                    config.seed_everything(1000)
                    network = classifier(encoder, start)
                    # half the steps: enough to rank three rates
                    value = train(network, choice, validation, STEPS[at] // 2, lr, 1000)
                    append_record(FILE, {"kind": "choice", "size": at, "method": method,
                                            "lr": lr, "validation": value, **facts})
                tried = {r["lr"]: r["validation"] for r in
                         have(size=at, method=method, kind="choice")}
                lr = max(tried, key=tried.get)
            for draw in sorted({*arguments.draws} & {*range(DRAWS[size])}):
                if have(size=size, method=method, kind="result", draw=draw):
                    continue
                config.seed_everything(draw)
                part = data.subset_per_class(labelled, size, seed=draw)
                started = time.perf_counter()
                if trained:
                    network = classifier(encoder, start)
                    train(network, part, validation, STEPS[size], lr, draw)
                    accuracy, setting = score(network, test), {"lr": lr, "steps": STEPS[size]}
                else:
                    probe = evaluation.linear_probe(
                        evaluation.encode(model, part), part.labels, features["validation"],
                        validation.labels, features["test"], test.labels)
                    accuracy, setting = probe.accuracy, {"strength": probe.strength}
                append_record(FILE, {
                    "kind": "result", "size": size, "method": method, "draw": draw,
                    "accuracy": accuracy, **setting, "seconds": time.perf_counter() - started,
                    **facts})
                print(f"{size:5d} labels a class  {method:14s} draw {draw}: {100 * accuracy:.1f} %",
                      flush=True)


if __name__ == "__main__":
    main()

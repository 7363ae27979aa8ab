"""One loop, every method: what a representation is worth after equal steps and equal time.

    python -m benchmarks.methods                        every method, three seeds
    python -m benchmarks.methods MoCo BYOL --seeds 0    some of them
    python -m benchmarks.methods --steps 2000           longer runs, kept beside the short ones
    python -m benchmarks.methods --missing              only say what is still to run
    python -m benchmarks.methods --memory               what each needs, in a process of its own

All runs share encoder, pictures, batch and steps; learning rates are set once for each method and
not tuned. Each run is looked at several times on its way, so equal steps and equal time are read
off the same run. One record a run is added to simclr_tut/assets/results/methods.jsonl: a run that
was killed costs only itself, and the same command goes on where it stopped. The accuracies are
those of validation pictures taken from the training set; the test set is not read. Notebook 08
reads the records.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common import RESULTS, append_record, extra_mb, now, provenance, read_records
from simclr_tut import config, data, evaluation, losses, methods, models, training
from simclr_tut.views import Views

FILE = RESULTS / "methods.jsonl"
MEMORY_FILE = RESULTS / "methods_memory.jsonl"
MEMORY_BATCHES = (128, 512)
LOOKS = 4  # measurements on the way, the last at the end
BANK, WATCHED = 5000, 512
BASE = config.Recipe(name="methods", dataset="cifar10", image_size=24, small_size=None, steps=800,
                     batch_size=128, train_images=12000, test_images=2000, bf16=False,
                     optimizer="muon", lr=0.1)
POLICY = Views(BASE.image_size, crop=BASE.crop, color=BASE.color)
COLOURS = Views(32, crop=None, flip=0.0, color=BASE.color)  # two whole pictures, other colours
# What draws is trained as its papers train it, with Adam; Radford et al. 2016 set beta 1 to 0.5.
# Patches do not even learn one batch by heart at the others' rate of 0.1.
OWN = {"patches (CPC)": {"lr": 0.03},
       "autoencoder (VAE)": {"optimizer": "adam", "lr": 0.002},
       "adversarial (GAN)": {"optimizer": "adam", "lr": 0.001, "momentum": 0.5}}
# What sets a method's records apart.
ALSO = {**OWN, "patches (CPC)": {"views": "colour", **OWN["patches (CPC)"]}}
# A copy 100 steps behind hardly moves in a short run: one trial of 0.99, seed 0, gave BYOL 36 % kNN
# where 0.9 gave 40.
BYOL_MOMENTUM = 0.9


class Decoupled(models.SimCLR):
    """SimCLR with the decoupled objective."""

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        z1, z2 = self(torch.cat([view1, view2])).chunk(2)
        return losses.decoupled_nt_xent(z1, z2, BASE.temperature)


class Supervised(models.SimCLR):
    """The same network, trained to name the class: its head gives ten scores."""

    def loss(self, view1: torch.Tensor, view2: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self(torch.cat([view1, view2])), labels.repeat(2))


def builders() -> dict[str, Callable[[], nn.Module]]:
    """Return what makes each method, the untrained encoder first."""
    def parts(dim: int = BASE.head_dim) -> tuple[nn.Module, nn.Module]:
        whole = models.build_model(BASE.encoder, BASE.head_hidden, dim, BASE.head_layers)
        return whole.encoder, whole.head

    def predictor() -> nn.Module:
        return models.ProjectionHead(BASE.head_dim, 64, BASE.head_dim)

    return {"random encoder": lambda: models.SimCLR(*parts()),
            "SimCLR": lambda: models.SimCLR(*parts()),
            "decoupled SimCLR": lambda: Decoupled(*parts()),
            "MoCo": lambda: methods.MoCo(*parts()),
            "BYOL": lambda: methods.BYOL(*parts(), predictor(), BYOL_MOMENTUM),
            "SimSiam": lambda: methods.SimSiam(*parts(), predictor()),
            "Barlow Twins": lambda: methods.BarlowTwins(*parts()),
            "VICReg": lambda: methods.VICReg(*parts()),
            "patches (CPC)": lambda: methods.PatchPrediction(parts()[0]),
            "autoencoder (VAE)": lambda: methods.Generative(parts()[0]),
            "adversarial (GAN)": lambda: methods.Adversarial(parts()[0]),
            "SupCon": lambda: methods.SupCon(*parts()),
            "supervised": lambda: Supervised(*parts(10))}


@lru_cache(maxsize=1)
def pictures() -> tuple[data.ImageData, data.ImageData]:
    """Return training and validation pictures, both from the training set of CIFAR-10."""
    whole = data.load_dataset(BASE.dataset, "train", BASE.train_images)
    if whole.name != BASE.dataset:
        raise FileNotFoundError(f"expected {BASE.dataset}; got {whole.name}. Put CIFAR-10 where "
                                "simclr_tut.data finds it, and start again.")
    return data.split_labels(whole, BASE.test_images)


@torch.no_grad()
def measure(model: nn.Module) -> dict[str, float]:
    """Return kNN and probe of h, and the spread of z for methods with views."""
    train, validation = pictures()
    bank = train.subset(range(min(BANK, len(train))))
    h, queries = evaluation.encode(model, bank), evaluation.encode(model, validation)
    probe = evaluation.fit_probe(h, bank.labels, queries, validation.labels, strengths=(0.03,))
    facts = {"knn": evaluation.knn_accuracy(h, bank.labels, queries, validation.labels),
             "probe": max(probe.validation.values()),
             "rank_h": float(losses.effective_rank(F.normalize(h, dim=1)))}
    if hasattr(model, "head"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            views = POLICY(validation.images[:WATCHED])
        was = model.training
        z1, z2 = (model.eval()(view).float() for view in views)
        model.train(was)
        unit = F.normalize(torch.cat([z1, z2]), dim=1)
        facts |= {"rank_z": float(losses.effective_rank(unit)),
                  "alignment": float(losses.alignment(z1, z2)),
                  "uniformity": float(losses.uniformity(unit))}
    return facts


def inputs_of(name: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
              ) -> tuple[Callable, torch.Tensor | None]:
    """Return the views and the labels that a method trains on."""
    if name == "patches (CPC)":
        views = COLOURS
    else:
        views = POLICY if hasattr(model, "head") else methods.whole_pictures
    return views, labels if name in ("SupCon", "supervised") else None


def memory(name: str, batch: int) -> dict[str, float]:
    """Return MB of the weights, and by how much a short training makes this process grow.

    The growth is what the operating system saw: from before the model was made to the highest
    point of five steps, with gradients, optimizer state, views and the libraries' own buffers.
    """
    images = torch.randint(0, 256, (2 * batch, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(2 * batch) % 10

    def train(batch: int) -> nn.Module:
        model = builders()[name]()
        views, wanted = inputs_of(name, model, images, labels)
        recipe = replace(BASE, steps=5, batch_size=batch, **OWN.get(name, {}))
        training.pretrain(model, images[:2 * batch], views, recipe,
                          labels=None if wanted is None else wanted[:2 * batch])
        return model

    train(2)  # loads the libraries
    made: list[nn.Module] = []
    growth = extra_mb(lambda: made.append(train(batch)))
    own = [*made[0].parameters(), *made[0].buffers()]
    return {"weights_mb": sum(t.numel() * t.element_size() for t in own) / 1e6,
            "growth_mb": growth}


def in_its_own_process(name: str, batch: int) -> dict[str, float]:
    """Measure memory in a fresh process, so that nothing that ran before counts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.methods"])  # imports once, runs nothing
    with context.Pool(1) as pool:
        return pool.apply(importlib.import_module("benchmarks.methods").memory, (name, batch))


def record_memory(names: list[str], batches: tuple[int, ...] = MEMORY_BATCHES,
                  file: Path = MEMORY_FILE) -> None:
    """Add what has no record yet: the middle of three processes, for allocators vary."""
    done = {(r["method"], r["batch_size"]) for r in read_records(file)}
    for batch in batches:
        for name in names:
            if name != "random encoder" and (name, batch) not in done:
                tries = sorted((in_its_own_process(name, batch) for _ in range(3)),
                               key=lambda facts: facts["growth_mb"])
                facts = {**tries[1], "growths_mb": [each["growth_mb"] for each in tries]}
                append_record(file, {"method": name, "batch_size": batch, **facts,
                                     **provenance("python -m benchmarks.methods --memory")})
                print(f"{name}, batch {batch}: {facts['growth_mb']:.0f} MB", flush=True)


def run(name: str, seed: int, steps: int) -> dict:
    """Train and measure one method, several times on its way."""
    train, _ = pictures()
    config.seed_everything(seed)
    model = builders()[name]()
    if name == "random encoder":
        with torch.no_grad():
            models.settle_batch_norm(model, POLICY(train.images[:1024]))
        return {"looks": [{"step": 0, "processor_seconds": 0.0, **measure(model)}]}
    views, labels = inputs_of(name, model, train.images, train.labels)
    per_epoch = len(train.images) // BASE.batch_size
    recipe = replace(BASE, seed=seed, steps=steps,
                     eval_every=max(1, steps // LOOKS // per_epoch), **OWN.get(name, {}))
    clock = {"began": now(), "looking": 0.0}
    looks = []

    def look(epoch: int, history: training.History) -> None:
        began = now()
        trained = began - clock["began"] - clock["looking"]
        looks.append({"step": len(history.loss), "processor_seconds": trained,
                      "wall_seconds": history.seconds, **measure(model)})
        clock["looking"] += now() - began

    history = training.pretrain(model, train.images, views, recipe, look, labels=labels)
    if history.interrupted:  # pretrain ends well on a signal: half a run must not pass for a whole
        raise SystemExit(f"{name}, seed {seed}: stopped at step {len(history.loss)} of {steps}; "
                         "nothing is recorded. The same command starts this run again.")
    return {"looks": looks, "loss_first": history.loss[0], "loss_last": history.loss[-1]}


def base_facts(steps: int, name: str) -> dict:
    """Return what all runs share, and a method's own; a record of other facts does not count."""
    return {"dataset": BASE.dataset, "size": BASE.image_size, "batch_size": BASE.batch_size,
            "train": BASE.train_images - BASE.test_images, "held_out": BASE.test_images,
            "bank": BANK,
            "steps": steps, "encoder": BASE.encoder, "optimizer": BASE.optimizer,
            "temperature": BASE.temperature, "byol_momentum": BYOL_MOMENTUM,
            **({"own": ALSO[name]} if name in ALSO else {})}


def missing(names: list[str], seeds: list[int], steps: int, file: Path = FILE
            ) -> Iterator[tuple[str, int]]:
    """Yield the runs that have no record of these facts yet, a whole seed at a time."""
    done = {(r["method"], r["seed"]) for r in read_records(file)
            if r["base"] == base_facts(steps, r["method"])}
    yield from ((name, seed) for seed in seeds for name in names if (name, seed) not in done)


def drop_stale(name: str, steps: int, file: Path = FILE) -> None:
    """Take out a method's records of other settings, which must not be averaged with new ones."""
    lines = file.read_text().splitlines(keepends=True) if read_records(file) else []
    kept = [line for line in lines if (record := json.loads(line))["method"] != name
            or record["base"]["steps"] != steps or record["base"] == base_facts(steps, name)]
    if len(kept) < len(lines):
        beside = file.with_suffix(".new")
        beside.write_text("".join(kept))
        beside.replace(file)


def perform(name: str, seed: int, steps: int, file: Path = FILE) -> dict:
    """Do one run and add its record to the file, in place of those of other settings."""
    command = f"python -m benchmarks.methods {name!r} --seeds {seed} --steps {steps}"
    record = {"method": name, "seed": seed, **run(name, seed, steps),
              "lr": OWN.get(name, {}).get("lr", BASE.lr), "base": base_facts(steps, name),
              **provenance(command)}
    drop_stale(name, steps, file)
    append_record(file, record)
    return record


def main() -> None:
    """Run what the command line asks for."""
    names = list(builders())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=BASE.steps)
    parser.add_argument("--missing", action="store_true", help="count the runs left, and stop")
    parser.add_argument("--memory", action="store_true", help="measure memory (Linux), and stop")
    arguments = parser.parse_args()
    unknown = set(arguments.methods) - set(names)
    if unknown:
        parser.error(f"no method named {', '.join(sorted(unknown))}; there are {', '.join(names)}.")
    if arguments.memory:
        return record_memory(arguments.methods or names)
    left = list(missing(arguments.methods or names, arguments.seeds, arguments.steps))
    print(f"{len(left)} runs left", flush=True)
    for name, seed in [] if arguments.missing else left:
        last = perform(name, seed, arguments.steps)["looks"][-1]
        print(f"{name}, seed {seed}: kNN {100 * last['knn']:.1f} %, "
              f"{last['processor_seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""``python -m simclr_tut doctor | pretrain | evaluate | download``.

With K processes: ``torchrun --nproc-per-node=K -m simclr_tut pretrain``.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torchvision

from simclr_tut import __version__, config, data, evaluation, losses, models, training
from simclr_tut.views import Views


def doctor_lines() -> list[str]:
    """Return ten lines on what this machine can do, and what to mend."""
    device, recipe = config.pick_device(), config.recipe("pretrain")
    bf16 = "yes" if config.has_fast_bf16(device) else "no (float32 is used; slower, same results)"
    try:
        found = data.load_dataset("cifar10", "test", download=False).name
        where = ("found" if found == "cifar10"
                 else "not on this machine: set SIMCLR_TUT_DATA, or run `python -m simclr_tut "
                 "download` (170 MB); without it shapes stand in")
    except OSError as error:
        where = f"cannot be read: {error}"
    try:
        free = shutil.disk_usage(config.home()).free / 1e9
        home = f"writable, {free:.0f} GB free" + ("" if free > 1 else "; free at least 1 GB")
    except OSError as error:
        home = str(error)
    without_cuda = device.type == "cpu" and shutil.which("nvidia-smi") and not torch.version.cuda
    return [
        f"simclr_tut   {__version__}",
        f"Python       {platform.python_version()}",
        f"torch        {torch.__version__.split('+')[0]}, "
        f"torchvision {torchvision.__version__.split('+')[0]}",
        f"device       {device.type}" + (
            "; an NVIDIA driver is here, but this torch is a CPU build: install torch's CUDA build"
            if without_cuda else ""),
        f"cores        {config.cores()}, {torch.get_num_threads()} used by torch",
        f"bfloat16     {bf16}",
        f"CIFAR-10     {where}",
        f"your runs    {home}",
        f"scale        {config.scale()} (SIMCLR_TUT_SCALE: {', '.join(config.SCALES)})",
        f"minutes      {_minutes(recipe)}",
    ]


def _minutes(recipe: config.Recipe) -> str:
    """Say what to expect of notebook 04 and of the series; README's table has the measurements."""
    said = {
        "smoke": "all ten notebooks under 5; too short to learn anything, made for tests",
        "laptop": f"notebook 04 about 7 ({recipe.seconds or 0:g} s of training), all ten about 30",
        "gpu": f"notebook 04 about {(recipe.seconds or 0) / 60 + 2:g}, the others at most 10 each "
               "(planned, not measured)",
        "long": f"hours: notebook 04 trains for {recipe.epochs or 0:g} epochs (not measured)",
    }[config.scale()]
    if config.scale() == "laptop":
        said += (" (measured on two cores)" if config.cores() > 1 else
                 " on two cores; here is one: up to twice as long, and 04 learns less in its time")
    return said


def _pretrain(arguments: argparse.Namespace) -> None:
    recipe = config.recipe("pretrain")
    changes = {"dataset": arguments.dataset, "seed": arguments.seed}
    if arguments.encoder:
        changes["encoder"] = arguments.encoder
    if arguments.batch_size is not None:
        changes["batch_size"] = arguments.batch_size
    for budget in ("seconds", "epochs", "steps"):
        if getattr(arguments, budget) is not None:
            changes.update(seconds=None, epochs=None, steps=None)
            changes[budget] = getattr(arguments, budget)
    recipe = replace(recipe, **changes)
    if arguments.folder == "":
        raise ValueError("--folder must name a folder; got ''.")
    folder = config.expanded(arguments.folder or config.home() / "command-line")
    with training.joined_processes() as (rank, world):
        _pretrain_together(recipe, folder, rank, world, arguments.whiten)


def _pretrain_together(recipe: config.Recipe, folder: Path, rank: int, world: int,
                       whiten: bool = False) -> None:
    """What each process does; the first one alone talks and writes."""
    def say(line: str) -> None:
        if rank == 0:
            print(line, flush=True)

    config.seed_everything(recipe.seed)
    train = data.load_dataset(recipe.dataset, "train", recipe.train_images)
    say(config.scale_line(recipe, round((recipe.seconds or 60) / 60, 1), train.name))
    model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                               recipe.head_layers)
    n = min(recipe.batch_size, len(train) - len(train) % world)
    if n < 2:
        raise ValueError(f"NT-Xent needs at least 2 pictures in a batch; got {n} of {len(train)} "
                         "pictures. Raise --batch-size, or choose a larger data set.")
    if world > 1:
        say(f"{world} processes, {n // world} of {n} pictures each")
    say(f"loss: chance {losses.chance_loss(n, recipe.views):.3f}, "
        f"floor {losses.loss_floor(n, recipe.temperature, recipe.views):.3f}")

    def report(epoch: int, history: training.History) -> None:
        recent = history.loss[-50:]
        say(f"epoch {epoch:3d}  step {len(history.loss)}/{history.steps}  "
            f"loss {sum(recent) / len(recent):.3f}  {history.seconds:.0f} s")

    views = Views(recipe.image_size, crop=recipe.crop, color=recipe.color, count=recipe.views)
    history = training.pretrain(model, train.images, views, recipe, report, folder)
    path = folder / "model.safetensors"
    if rank == 0:
        facts = {
            "encoder": recipe.encoder, "head_hidden": recipe.head_hidden,
            "head_dim": recipe.head_dim, "head_layers": recipe.head_layers, "dataset": train.name,
            "seed": recipe.seed, "steps": len(history.loss), "batch_size": n, "processes": world,
            "seconds": round(history.seconds, 1)}
        models.save_weights(model, path, facts)
        if whiten and not history.interrupted:
            h = evaluation.encode(model, train)
            model = models.append_map(model, *evaluation.whitening_map(h))
            models.save_weights(model, path, {**facts, "encoder": recipe.encoder + models.MAP})
    state = "interrupted; the same command goes on" if history.interrupted else "done"
    per_second = len(history.loss) * n / max(history.seconds, 1e-9)
    say(f"{state}: {path} ({per_second:.0f} pictures a second)")


def _evaluate(arguments: argparse.Namespace) -> None:
    recipe = config.recipe("evaluate")
    if arguments.weights == "":
        raise ValueError('weights must name a file; got "". Leave it out for the checkpoint that '
                         "ships with the course.")
    model = models.load_weights(config.expanded(arguments.weights)) if arguments.weights else None
    train, test = (_labelled(data.load_dataset(arguments.dataset, split, n), split) for split, n in
                   (("train", recipe.train_images), ("test", recipe.test_images)))
    if model is None:
        name = "shapes-small" if train.name == "shapes" else "cifar10-small"
        model = models.load_pretrained(name)
        print(f"weights: {name}, which ships with the course")
    bank, queries = (evaluation.encode(model, part.images) for part in (train, test))
    accuracies = evaluation.knn_plain_and_whitened(bank, train.labels, queries, test.labels)
    for name, accuracy in zip(("h", "whitened h"), accuracies, strict=True):
        print(f"{train.name}: weighted kNN (k=200) on {len(test)} test images, {name}: "
              f"{100 * accuracy:.1f} %")


def _labelled(found: data.ImageData, split: str) -> data.ImageData:
    """Leave out the pictures without a label, as most of STL-10's are."""
    known = (found.labels >= 0).nonzero()[:, 0]
    if not len(known):
        raise ValueError(f"{found.name} has no labelled {split} pictures, and kNN counts labels. "
                         "Put the pictures into one folder a class.")
    return found if len(known) == len(found) else found.subset(known)


def _download(arguments: argparse.Namespace) -> None:
    found = data.load_dataset(arguments.dataset, "train")
    if arguments.dataset in data.DATASETS and found.name != arguments.dataset:
        raise OSError(f"{arguments.dataset} is not on this machine and its host did not answer; "
                      "the course goes on with shapes. Try again with a network.")
    print(f"{found.name}: {len(found)} training images are ready")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m simclr_tut", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what this machine can do")
    pretrain = commands.add_parser("pretrain", help="train without labels, as notebook 04 does")
    pretrain.add_argument("--seed", type=int, default=0)
    pretrain.add_argument("--encoder", choices=models.ENCODERS, help="else the scale's own")
    pretrain.add_argument("--batch-size", type=int, help="of all processes together")
    pretrain.add_argument("--folder", help="for the checkpoint; a run found there goes on")
    pretrain.add_argument("--whiten", action="store_true",
                          help="end the encoder in the map that whitens h; see notebook 04")
    budget = pretrain.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float)
    budget.add_argument("--epochs", type=float)
    budget.add_argument("--steps", type=int)
    evaluate = commands.add_parser("evaluate", help="kNN accuracy, as notebook 05 does")
    evaluate.add_argument("weights", nargs="?", help="a model.safetensors; else the shipped one")
    download = commands.add_parser("download", help="fetch a data set ahead")
    for command in (pretrain, evaluate, download):
        command.add_argument("--dataset", default="cifar10")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "doctor":
            print("\n".join(doctor_lines()))
        else:
            {"pretrain": _pretrain, "evaluate": _evaluate, "download": _download}[
                chosen.command](chosen)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"simclr_tut: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # between the steps it is no error: see training
        print("simclr_tut: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

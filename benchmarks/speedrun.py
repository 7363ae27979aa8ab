"""kNN on CIFAR-10 after 1, 2, 5 and 10 minutes of training: ours and published recipes.

    python -m benchmarks.speedrun rate                 steps a minute of each side: a quiet machine
    python -m benchmarks.speedrun train [--sides ...] [--minutes 5] [--seeds 0 1 2] [--threads 1]

Every side trains on the same 45,000 pictures for as many steps as it does in those minutes on this
machine, by its latest rate. So only the rates need a machine with nothing else to do; they are
timed in turns, one block of each side after the other. kNN (k = 200) of the 10,000 test pictures
is read once, at the end, on h as it is and whitened: a run of five minutes is another run than the
first half of one of ten, since every schedule ends with its budget.
- ours: the recipe of notebook 04.
- lightly, our encoder: lightly's SimCLRTransform (its DataLoader, one worker a core) and
  NTXentLoss, with our encoder, head, optimiser and precision, two views of 256 pictures: the
  pipelines are compared.
- lightly: its CIFAR-10 benchmark: ResNet-18, SGD lr 0.06 x batch / 128, temperature 0.5, fp32.
- UvA 17: the University of Amsterdam's Tutorial 17: ResNet-18 with torchvision's stem, its PIL
  views with blur, AdamW 5e-4, temperature 0.07, batch 256, fp32.
Records go to simclr_tut/assets/results/speedrun.jsonl; a run that has one is not repeated.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.common import RESULTS, append_record, provenance, read_records
from simclr_tut import config, data, evaluation, models, training
from simclr_tut.losses import nt_xent
from simclr_tut.views import Views

FILE = RESULTS / "speedrun.jsonl"
SIDES = ("ours", "lightly, our encoder", "lightly", "UvA 17")


class Pairs(Dataset):
    """Two views of one picture, made by a transform of PIL pictures."""

    def __init__(self, images: torch.Tensor, two_views: Callable) -> None:
        self.images, self.two_views = images, two_views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = Image.fromarray(self.images[index].permute(1, 2, 0).numpy())
        return tuple(self.two_views(picture))


UVA_POLICY = transforms.Compose([
    transforms.RandomHorizontalFlip(), transforms.RandomResizedCrop(32),
    transforms.RandomApply([transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8),
    transforms.RandomGrayscale(p=0.2), transforms.GaussianBlur(kernel_size=9),
    transforms.ToTensor()])


def uva_views(picture: Image.Image) -> list[torch.Tensor]:
    """Return two views after UvA's Tutorial 17, for pictures of 32 px."""
    return [UVA_POLICY(picture), UVA_POLICY(picture)]


def resnet(small_images: bool, hidden: int, out: int, norm: bool) -> models.SimCLR:
    """Return a ResNet-18 with the head of the published recipe."""
    encoder = models.build_encoder("resnet18", small_images=small_images)
    if norm:
        return models.SimCLR(encoder, models.ProjectionHead(512, hidden, out))
    return models.SimCLR(encoder, nn.Sequential(nn.Linear(512, hidden), nn.ReLU(inplace=True),
                                                nn.Linear(hidden, out)))


def train_from_loader(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer,
                      loss_of: Callable, bf16: bool, steps: int) -> list[float]:
    """Train with warm-up and one cosine; return the second at which each step was done."""
    rates = [group["lr"] for group in optimizer.param_groups]
    precision = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
    model.to(memory_format=torch.channels_last).train()
    done: list[float] = []
    while True:
        for view1, view2 in loader:
            scale = training.warmup_cosine(len(done), steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale
            with precision:
                loss = loss_of(*model(torch.cat([view1, view2])).chunk(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done.append(time.perf_counter())
            if len(done) == steps:
                model.eval()
                return done


def train(side: str, images: torch.Tensor, steps: int, seed: int) -> tuple[nn.Module, list[float]]:
    """Train one side for given steps; return the model and, of a loader, the times of its steps."""
    recipe = replace(config.recipe("pretrain"), seconds=None, epochs=None, steps=steps, seed=seed,
                     eval_every=10**6)
    config.seed_everything(seed)
    model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                               recipe.head_layers)
    if side == "ours":
        if training.pretrain(model, images, our_views(recipe), recipe).interrupted:
            raise SystemExit("stopped; the run in progress leaves no record.")
        return model, []
    bf16 = False
    if side == "UvA 17":
        model, two_views = resnet(False, 512, 128, norm=False), uva_views
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)

        def loss_of(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
            return nt_xent(z1, z2, 0.07)
    else:
        from lightly.loss import NTXentLoss
        from lightly.transforms import SimCLRTransform

        # pixels stay in [0, 1]: the encoder itself maps them to [-1, 1], also in the evaluation
        two_views = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0,
                                    normalize=None)
        if side == "lightly":
            model = resnet(True, 512, 128, norm=True)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9,
                                        weight_decay=5e-4)
            loss_of = NTXentLoss(temperature=0.5)
        else:
            bf16 = config.has_fast_bf16(config.pick_device())
            optimizer = training.build_optimizer(model, recipe)
            loss_of = NTXentLoss(temperature=recipe.temperature)
    loader = DataLoader(Pairs(images, two_views), batch_of(side), shuffle=True, drop_last=True,
                        num_workers=torch.get_num_threads(), persistent_workers=True)
    return model, train_from_loader(model, loader, optimizer, loss_of, bf16, steps)


def our_views(recipe: config.Recipe) -> Views:
    """Return the views of notebook 04."""
    return Views(recipe.image_size, crop=recipe.crop, color=recipe.color, count=recipe.views)


def batch_of(side: str) -> int:
    """Return how many pictures a step of this side takes."""
    return {"ours": config.recipe("pretrain").batch_size, "lightly": 128}.get(side, 256)


def step_seconds(side: str, images: torch.Tensor) -> float:
    """Return the seconds of one step of this side, from a block of its steps."""
    if side == "ours":  # a whole short run, its small and its full pictures
        recipe = replace(config.recipe("pretrain"), seconds=None, epochs=None, steps=60,
                         eval_every=10**6)
        model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                                   recipe.head_layers)
        return training.pretrain(model, images, our_views(recipe), recipe).seconds / 60
    _, done = train(side, images, 12 if side == "lightly, our encoder" else 4, 0)
    return (done[-1] - done[1]) / (len(done) - 2)  # the first steps wait for the workers


def measure_rates(sides: list[str], images: torch.Tensor, blocks: int = 3) -> None:
    """Time each side in turns and record the median of its blocks."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(blocks):
        for side in sides:
            times[side].append(step_seconds(side, images))
    for side, found in times.items():
        rate = 60 / statistics.median(found)
        append_record(FILE, {"kind": "rate", "side": side, "steps_per_minute": rate,
                             "block_step_seconds": found, "batch_size": batch_of(side),
                             **provenance("python -m benchmarks.speedrun rate")})
        print(f"{side:22s} {rate:7.1f} steps of {batch_of(side)} pictures a minute", flush=True)


def train_and_record(side: str, minutes: float, seed: int, bank: data.ImageData,
                     test: data.ImageData) -> None:
    """Train one side for what it does in ``minutes``, unless a record is there."""
    records = read_records(FILE)
    rates = [r["steps_per_minute"] for r in records if r["kind"] == "rate" and r["side"] == side]
    if not rates:
        raise SystemExit(f"the rate of {side!r} is not known here: "
                         "python -m benchmarks.speedrun rate")
    if any((r["kind"], r["side"], r.get("minutes"), r.get("seed")) ==
           ("run", side, minutes, seed) for r in records):
        return
    steps = max(2, round(rates[-1] * minutes))
    started = time.perf_counter()
    model, _ = train(side, bank.images, steps, seed)
    spent = time.perf_counter() - started
    plain, white = evaluation.knn_plain_and_whitened(
        evaluation.encode(model, bank), bank.labels, evaluation.encode(model, test), test.labels)
    append_record(FILE, {
        "kind": "run", "side": side, "minutes": minutes, "seed": seed, "knn_test": plain,
        "white_knn_test": white, "steps": steps, "epochs": steps * batch_of(side) / len(bank),
        "seconds": spent, **provenance("python -m benchmarks.speedrun train")})
    print(f"{side:22s} {minutes:4g} min  seed {seed}  {steps:6d} steps  kNN {100 * plain:.1f} %  "
          f"whitened {100 * white:.1f} %", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("rate", "train"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    whole, test = data.load_dataset("cifar10", "train"), data.load_dataset("cifar10", "test")
    if whole.name != "cifar10":
        raise SystemExit("this benchmark needs CIFAR-10: set SIMCLR_TUT_DATA, or `make data`.")
    bank, _ = data.split_labels(whole, 5000)
    if arguments.part == "rate":
        measure_rates(arguments.sides, bank.images)
        return
    for seed in arguments.seeds:
        for minutes in arguments.minutes:
            for side in arguments.sides:
                train_and_record(side, minutes, seed, bank, test)


if __name__ == "__main__":
    main()

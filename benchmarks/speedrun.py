"""kNN on CIFAR-10 after 1, 2, 5 and 10 minutes of training: ours and published recipes.

    python -m benchmarks.speedrun [--sides ours lightly ...] [--minutes 5] [--seeds 0 1 2]

Every side trains on the same 45,000 pictures for the same seconds on the same machine; kNN (k=200)
of the 10,000 test pictures is read once, at the end: a run of five minutes is another run than the
first half of one of ten, since every schedule ends with its budget.
- ours: the recipe of notebook 04.
- lightly, our encoder: lightly's SimCLRTransform (its DataLoader, one worker a core) and
  NTXentLoss, with our encoder, head, optimiser and precision: the pipelines are compared.
- lightly: its CIFAR-10 benchmark: ResNet-18, SGD lr 0.06 x batch / 128, temperature 0.5, fp32.
- UvA 17: the University of Amsterdam's Tutorial 17: ResNet-18 with torchvision's stem, its PIL
  views with blur, AdamW 5e-4, temperature 0.07, batch 256, fp32.
Records go to simclr_tut/assets/results/speedrun.jsonl; a run that has one is not repeated.
"""

from __future__ import annotations

import argparse
import math
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
                      loss_of: Callable, bf16: bool, seconds: float) -> int:
    """Train until the seconds are spent, the rate on a cosine of the time; return the steps."""
    rates = [group["lr"] for group in optimizer.param_groups]
    precision = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
    model.to(memory_format=torch.channels_last).train()
    started, steps = time.perf_counter(), 0
    while True:
        for view1, view2 in loader:
            spent = (time.perf_counter() - started) / seconds
            if spent >= 1:
                model.eval()
                return steps
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, spent / 0.05) * 0.5 * (1 + math.cos(math.pi * spent))
            with precision:
                loss = loss_of(*model(torch.cat([view1, view2])).chunk(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1


def train(side: str, images: torch.Tensor, seconds: float, seed: int) -> tuple[nn.Module, int, int]:
    """Train one side; return the model, its steps and its batch size."""
    recipe = replace(config.recipe("pretrain"), seconds=seconds, epochs=None, steps=None, seed=seed,
                     eval_every=10**6)
    config.seed_everything(seed)
    model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                               recipe.head_layers)
    if side == "ours":
        views = Views(recipe.image_size, crop=recipe.crop, color=recipe.color)
        history = training.pretrain(model, images, views, recipe)
        return model, len(history.loss), recipe.batch_size
    bf16, batch = False, 256
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
            model, batch = resnet(True, 512, 128, norm=True), 128
            optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9,
                                        weight_decay=5e-4)
            loss_of = NTXentLoss(temperature=0.5)
        else:
            bf16 = config.has_fast_bf16(config.pick_device())
            optimizer = training.build_optimizer(model, recipe)
            loss_of = NTXentLoss(temperature=recipe.temperature)
    loader = DataLoader(Pairs(images, two_views), batch, shuffle=True, drop_last=True,
                        num_workers=config.cores(), persistent_workers=True)
    return model, train_from_loader(model, loader, optimizer, loss_of, bf16, seconds), batch


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    whole, test = data.load_dataset("cifar10", "train"), data.load_dataset("cifar10", "test")
    if whole.name != "cifar10":
        raise SystemExit("this benchmark needs CIFAR-10: set SIMCLR_TUT_DATA, or `make data`.")
    bank, _ = data.split_labels(whole, 5000)
    for seed in arguments.seeds:
        for minutes in arguments.minutes:
            for side in arguments.sides:
                if any((r["side"], r["minutes"], r["seed"]) == (side, minutes, seed)
                       for r in read_records(FILE)):
                    continue
                started = time.perf_counter()
                model, steps, batch = train(side, bank.images, 60 * minutes, seed)
                spent = time.perf_counter() - started
                knn = evaluation.knn_accuracy(
                    evaluation.encode(model, bank), bank.labels,
                    evaluation.encode(model, test), test.labels)
                append_record(FILE, {
                    "side": side, "minutes": minutes, "seed": seed, "knn_test": knn,
                    "steps": steps, "epochs": steps * batch / len(bank), "seconds": spent,
                    **provenance("python -m benchmarks.speedrun")})
                print(f"{side:22s} {minutes:4g} min  seed {seed}  {steps:6d} steps  "
                      f"kNN {100 * knn:.1f} %", flush=True)


if __name__ == "__main__":
    main()

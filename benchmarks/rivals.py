"""Public SimCLR recipes, rebuilt from their published settings, for ``benchmarks.speedrun``.

- lightly, our encoder: lightly's SimCLRTransform and NTXentLoss with our encoder, head, optimiser
  and precision; two views, 256 pictures a batch. It compares pipelines, not networks.
- lightly: its CIFAR-10 benchmark: ResNet-18 with the stem for small pictures, SGD with rate 0.06
  for 128 pictures, temperature 0.5, float32.
- UvA 17: the University of Amsterdam's Tutorial 17: ResNet-18 with torchvision's stem, its PIL
  views with blur, AdamW with rate 5e-4, temperature 0.07, 256 pictures, float32.

Both were made for hundreds of epochs. Here all sides, ours too, take the same warm-up and cosine
over the steps that they get, which spares the rivals a schedule that never comes down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from simclr_tut import config, models, training
from simclr_tut._checkpoint import Checkpoint
from simclr_tut.losses import nt_xent

NAMES = ("lightly, our encoder", "lightly", "UvA 17")
SAVE_SECONDS = 30

UVA_POLICY = transforms.Compose([
    transforms.RandomHorizontalFlip(), transforms.RandomResizedCrop(32),
    transforms.RandomApply([transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8),
    transforms.RandomGrayscale(p=0.2), transforms.GaussianBlur(kernel_size=9),
    transforms.ToTensor()])


def uva_views(picture: Image.Image) -> list[torch.Tensor]:
    """Return two views after UvA's Tutorial 17, for pictures of 32 px."""
    return [UVA_POLICY(picture), UVA_POLICY(picture)]


class Batches(Dataset):
    """Item ``step`` is that step's batch of two views, whichever process makes it, and when."""

    def __init__(self, images: torch.Tensor, two_views: Callable, batch: int, seed: int) -> None:
        self.images, self.two_views, self.batch, self.seed = images, two_views, batch, seed

    def __getitem__(self, step: int) -> tuple[torch.Tensor, ...]:
        epoch, place = divmod(step, len(self.images) // self.batch)
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(
            self.seed * 1_000_003 + epoch))
        chosen = order[place * self.batch : (place + 1) * self.batch]
        config.seed_everything(self.seed * 1_000_003 + step)
        pictures = self.images[chosen].permute(0, 2, 3, 1).numpy()
        pairs = [self.two_views(Image.fromarray(picture)) for picture in pictures]
        return tuple(torch.stack(view) for view in zip(*pairs, strict=True))


@dataclass
class Rival:
    """One recipe, ready to train: ``two_views`` of a PIL picture, ``loss_of(z1, z2)``."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    two_views: Callable
    loss_of: Callable
    batch: int = 256
    bf16: bool = False


def build(name: str, recipe: config.Recipe) -> Rival:
    """Return one of NAMES with weights of ``recipe.seed``; ``recipe`` is ours."""
    config.seed_everything(recipe.seed)
    if name == "UvA 17":
        model = models.SimCLR(
            models.build_encoder("resnet18", small_images=False),
            nn.Sequential(nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Linear(512, 128)))
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)
        return Rival(name, model, optimizer, uva_views, lambda z1, z2: nt_xent(z1, z2, 0.07))
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    # pixels stay in [0, 1]: the encoder itself maps them to [-1, 1], also in the evaluation
    two_views = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    if name == "lightly":
        model = models.build_model("resnet18", 512, 128)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
        return Rival(name, model, optimizer, two_views, NTXentLoss(temperature=0.5), batch=128)
    model = models.build_model(recipe.encoder, recipe.head_hidden, recipe.head_dim,
                               recipe.head_layers)
    return Rival(name, model, training.build_optimizer(model, recipe), two_views,
                 NTXentLoss(temperature=recipe.temperature),
                 bf16=recipe.bf16 and config.has_fast_bf16(torch.device("cpu")))


def train(rival: Rival, images: torch.Tensor, steps: int, seed: int, workers: int,
          on_step: Callable | None = None, folder: Path | None = None) -> training.History:
    """Train ``steps`` steps on the CPU, as ``training.pretrain`` does ours; resume in ``folder``.

    Args: on_step: called after every step with the history; a true value stops the run.
    """
    batch = min(rival.batch, len(images))
    rates = [group["lr"] for group in rival.optimizer.param_groups]
    precision = torch.autocast("cpu", torch.bfloat16) if rival.bf16 else nullcontext()
    rival.model.to(memory_format=torch.channels_last).train()
    history = training.History(steps=steps)
    checkpoint = None
    if folder:
        checkpoint = Checkpoint(folder, rival.model, rival.optimizer, {
            "side": rival.name, "steps": steps, "seed": seed, "images": len(images)})
        if checkpoint.exists():
            checkpoint.load(history)
    loader = DataLoader(Batches(images, rival.two_views, batch, seed), batch_size=None,
                        sampler=range(len(history.loss), steps), num_workers=workers)
    started = saved = time.perf_counter()
    for views in loader:
        share = training.warmup_cosine(len(history.loss), steps)
        for group, rate in zip(rival.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        with precision:
            loss = rival.loss_of(*rival.model(torch.cat(views)).chunk(2))
        rival.optimizer.zero_grad()
        loss.backward()
        rival.optimizer.step()
        history.loss.append(float(loss.detach()))
        history.seconds += time.perf_counter() - started
        if on_step and on_step(history):
            history.interrupted = len(history.loss) < steps
            break
        if checkpoint and (time.perf_counter() - saved > SAVE_SECONDS
                           or len(history.loss) == steps):
            checkpoint.save(history)
            saved = time.perf_counter()
        started = time.perf_counter()
    rival.model.eval()
    return history

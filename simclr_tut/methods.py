"""Methods beside SimCLR behind one small interface.

A method is a module with ``.encoder``, ``.encode(x) -> h`` and ``.loss(*views) -> scalar``;
``training.pretrain`` trains anything that has these. One that has ``.after_step()`` is called after
every step: for a slow copy, or a queue. A plain ``models.SimCLR`` needs no method.
Explained in notebooks/00 (predictive, generative) and notebooks/08.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut.losses import barlow_twins, info_nce, negative_cosine, sup_con, vicreg
from simclr_tut.models import SimCLR


class Decoder(nn.Module):
    """Turn codes ``(N, D)`` into pictures ``(N, C, S, S)`` in [0, 1]; S is a multiple of 8."""

    def __init__(self, code_dim: int, size: int = 32, channels: int = 3) -> None:
        super().__init__()
        if size % 8:
            raise ValueError(f"size must be a multiple of 8; got {size}.")
        self.start = size // 8
        self.widen = nn.Linear(code_dim, 64 * self.start**2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, channels, 4, 2, 1), nn.Sigmoid(),
        )

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.layers(self.widen(code).view(-1, 64, self.start, self.start))


class Predictive(nn.Module):
    """Predict the next frame from the frames before it, and learn from the error.

    Each earlier frame is encoded; a recurrent cell sums them up; a decoder draws the next frame.
    Source: after the idea of PredNet, Lotter et al. 2017 (arXiv 1605.08104), in miniature.
    """

    def __init__(self, encoder: nn.Module, size: int = 32, channels: int = 3) -> None:
        super().__init__()
        self.encoder = encoder
        self.memory = nn.GRU(encoder.feature_dim, encoder.feature_dim, batch_first=True)
        self.decoder = Decoder(encoder.feature_dim, size, channels)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``, of single frames."""
        return self.encoder(x)

    def predict(self, past: torch.Tensor) -> torch.Tensor:
        """Draw the frame after ``past``, ``(N, T, C, H, W)``."""
        n, frames = past.shape[:2]
        h = self.encoder(past.flatten(0, 1)).float().view(n, frames, -1)
        with torch.autocast(past.device.type, enabled=False):
            summary = self.memory(h)[0][:, -1]  # (N, F)
        return self.decoder(summary)

    def loss(self, frames: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the last frame, predicted from the others, over 2 x 0.1^2.

        The factor, a Gaussian's with the noise of ``Generative``, keeps learning rates alike.
        """
        if frames.dim() != 5 or frames.shape[1] < 2:
            raise ValueError("frames must be (N, T, C, H, W) with T >= 2; got "
                             f"{tuple(frames.shape)}.")
        drawn = self.predict(frames[:, :-1]).float()
        return F.mse_loss(drawn, frames[:, -1]) / (2 * 0.1**2)


class Generative(nn.Module):
    """A variational autoencoder: describe pictures in a few numbers, draw new ones from noise.

    Source: Kingma and Welling 2014 (arXiv 1312.6114), Eq. 10 with a Gaussian decoder.
    """

    def __init__(self, encoder: nn.Module, code_dim: int = 32, size: int = 32, channels: int = 3,
                 noise: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.code_dim, self.noise = encoder, code_dim, noise
        self.describe = nn.Linear(encoder.feature_dim, 2 * code_dim)
        self.decoder = Decoder(code_dim, size, channels)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``."""
        return self.encoder(x)

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        """Minus the evidence lower bound, without constants, in nats a pixel."""
        mean, log_variance = self.describe(self.encoder(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 10)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        drawn = self.decoder(code).float()
        error = F.mse_loss(drawn, images, reduction="sum") / (2 * self.noise**2)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (error + divergence) / images.numel()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw ``n`` new pictures, ``(n, C, S, S)`` in [0, 1]."""
        code = torch.randn(n, self.code_dim, generator=generator)
        return self.decoder(code.to(next(self.parameters()).device)).float().cpu()


class Adversarial(nn.Module):
    """A small GAN: a generator draws pictures, a discriminator tells them from real ones.

    The discriminator's body is the encoder. One loss trains both: the generator's share sees the
    discriminator with its weights held fixed, so that each gradient reaches its own half.
    Source: Goodfellow et al. 2014 (arXiv 1406.2661); features of the discriminator as in Radford
    et al. 2016 (arXiv 1511.06434). Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, code_dim: int = 32, size: int = 32, channels: int = 3
                 ) -> None:
        super().__init__()
        self.encoder, self.code_dim = encoder, code_dim
        self.judge = nn.Sequential(encoder, nn.Linear(encoder.feature_dim, 1))
        self.generator = Decoder(code_dim, size, channels)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``, of the discriminator."""
        return self.encoder(x)

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the discriminator plus the non-saturating loss of the generator."""
        code = torch.randn(len(images), self.code_dim, device=images.device)
        drawn = self.generator(code).float()
        fixed = {name: value.detach().clone() for name, value in
                 [*self.judge.named_parameters(), *self.judge.named_buffers()]}
        real, fake = self.judge(images), self.judge(drawn.detach())
        fooled = torch.func.functional_call(self.judge, fixed, drawn)
        return F.softplus(-real).mean() + F.softplus(fake).mean() + F.softplus(-fooled).mean()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw ``n`` new pictures, ``(n, C, S, S)`` in [0, 1]."""
        code = torch.randn(n, self.code_dim, generator=generator)
        return self.generator(code.to(next(self.parameters()).device)).float().cpu()


class MoCo(SimCLR):
    """Contrast each query with its key and a queue of older keys from a slow copy of the network.

    Args: queue: keys kept.  momentum: of the slow copy, in [0, 1).  temperature: above 0.
    Raises: ValueError for a momentum outside [0, 1), or a batch larger than the queue.
    Source: He et al. 2020 (arXiv 1911.05722), Algorithm 1. Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, queue: int = 2048,
                 momentum: float = 0.99, temperature: float = 0.1) -> None:
        super().__init__(encoder, head)
        self.target, self.momentum, self.temperature = slow_copy(self, momentum), momentum, \
            temperature
        with torch.no_grad():
            size = self.eval()(torch.zeros(1, 3, 32, 32)).shape[1]
        self.train()
        self.register_buffer("queue", F.normalize(torch.randn(queue, size), dim=1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """InfoNCE of view 1's queries against view 2's keys and the queue."""
        query = self(view1)
        with torch.no_grad():
            self.newest = F.normalize(self.target(view2).float(), dim=1)
        return info_nce(query, self.newest, self.queue, self.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        """Put the newest keys in the place of the oldest; let the slow copy follow."""
        n, size = len(self.newest), len(self.queue)
        if n > size:
            raise ValueError(f"the queue holds {size} keys and the batch {n}: choose a queue of at "
                             f"least {n}, or a smaller batch.")
        places = (self.cursor + torch.arange(n, device=self.queue.device)) % size
        self.queue[places] = self.newest
        self.cursor.add_(n).remainder_(size)
        follow(self.target, self, self.momentum)


class SupCon(SimCLR):
    """SimCLR with labels: every view of the same class is a positive.

    Raises: ValueError if the loop brings no labels: call ``pretrain(..., labels=labels)``.
    Source: Khosla et al. 2020 (arXiv 2004.11362), Eq. 2. Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, temperature: float = 0.1) -> None:
        super().__init__(encoder, head)
        self.temperature = temperature

    def loss(self, view1: torch.Tensor, view2: torch.Tensor,
             labels: torch.Tensor | None = None) -> torch.Tensor:
        """Supervised contrast of both views."""
        if labels is None:
            raise ValueError("SupCon needs labels: call pretrain(model, images, views, recipe, "
                             "labels=labels).")
        z1, z2 = self(torch.cat([view1, view2])).chunk(2)
        return sup_con(z1, z2, labels, self.temperature)


class BYOL(SimCLR):
    """Predict a slow copy's embedding of the other view; no negatives.

    Args: momentum: of the slow copy, in [0, 1).
    Source: Grill et al. 2020 (arXiv 2006.07733), Eqs. 1 and 2. Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, predictor: nn.Module,
                 momentum: float = 0.99) -> None:
        super().__init__(encoder, head)
        self.predictor, self.momentum = predictor, momentum
        self.target = slow_copy(self, momentum)

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """1 minus the cosine of prediction and slow embedding, both ways round."""
        views = torch.cat([view1, view2])
        first, second = self.predictor(self(views)).chunk(2)
        with torch.no_grad():
            slow_first, slow_second = self.target(views).chunk(2)
        return 1 + (negative_cosine(first, slow_second) + negative_cosine(second, slow_first)) / 2

    def after_step(self) -> None:
        """Let the slow copy follow."""
        follow(self.target, self, self.momentum)


class SimSiam(SimCLR):
    """Predict the other view's embedding; no negatives, no slow copy, only a stopped gradient.

    Source: Chen and He 2021 (arXiv 2011.10566), Algorithm 1. Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, predictor: nn.Module) -> None:
        super().__init__(encoder, head)
        self.predictor = predictor

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """1 minus the cosine of prediction and embedding, both ways round."""
        z = self(torch.cat([view1, view2]))
        (z1, z2), (first, second) = z.chunk(2), self.predictor(z).chunk(2)
        return 1 + (negative_cosine(first, z2) + negative_cosine(second, z1)) / 2


class BarlowTwins(SimCLR):
    """Make each dimension of z equal across views and unlike every other dimension.

    The loss is divided by D, so that learning rates resemble the other methods'.
    Raises: ValueError for a batch of one. Source: Zbontar et al. 2021 (arXiv 2103.03230), Eq. 1.
    """

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """Distance of the cross-correlation matrix from the identity."""
        z1, z2 = self(torch.cat([view1, view2])).chunk(2)
        return barlow_twins(z1, z2) / z1.shape[1]


class VICReg(SimCLR):
    """Keep views near, dimensions spread, and dimensions uncorrelated.

    The loss is divided by its weight of 25, so that learning rates resemble the other methods'.
    Raises: ValueError for a batch of one. Source: Bardes et al. 2022 (arXiv 2105.04906), Eq. 6.
    """

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """Variance, invariance and covariance terms with the paper's weights 25, 25, 1."""
        z1, z2 = self(torch.cat([view1, view2])).chunk(2)
        return vicreg(z1, z2) / 25


class PatchPrediction(nn.Module):
    """Predict the features of a picture's lowest patches from those above, among other pictures.

    Patches of half the side, overlapping by half: a 3 x 3 grid. A recurrent cell reads each column
    from above; its prediction must find the true patch among all of the batch.
    Source: after the idea of CPC, van den Oord et al. 2018 (arXiv 1807.03748), in miniature.
    """

    def __init__(self, encoder: nn.Module, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.temperature = encoder, temperature
        size = encoder.feature_dim
        self.context = nn.GRU(size, size, batch_first=True)
        self.guess = nn.Linear(size, size)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``, of whole pictures."""
        return self.encoder(x)

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of finding each lowest patch among those of all pictures and columns."""
        n, c, side, _ = images.shape
        half, step = side // 2, side // 4
        patches = images.unfold(2, half, step).unfold(3, half, step)  # (N, C, 3, 3, S/2, S/2)
        patches = patches.permute(0, 3, 2, 1, 4, 5).reshape(-1, c, half, half)
        h = self.encoder(patches).float().view(n * 3, 3, -1)  # (columns, rows, F)
        with torch.autocast(h.device.type, enabled=False):
            seen = self.context(h[:, :2])[0][:, -1]
            found = F.normalize(self.guess(seen), dim=1) @ F.normalize(h[:, 2], dim=1).T
        return F.cross_entropy(found / self.temperature, torch.arange(n * 3, device=h.device))


def slow_copy(model: SimCLR, momentum: float) -> SimCLR:
    """Return a copy of encoder and head that no gradient reaches.

    Raises: ValueError for a momentum outside [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1); got {momentum}. 1 would never move the "
                         "slow copy, 0 makes it the network itself.")
    return copy.deepcopy(SimCLR(model.encoder, model.head)).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move each weight of the slow copy to momentum * itself + (1 - momentum) * the model's.

    Source: He et al. 2020, Eq. 2. Explained in notebooks/08.
    """
    own = dict(model.named_parameters())
    for name, slow in target.named_parameters():
        slow.mul_(momentum).add_(own[name], alpha=1 - momentum)
    buffers = dict(model.named_buffers())
    for name, slow in target.named_buffers():
        slow.copy_(buffers[name])


def whole_pictures(images: torch.Tensor, size: int | None = None) -> tuple[torch.Tensor]:
    """Return uint8 pictures or sequences as floats in [0, 1], unchanged otherwise."""
    return (images.float() / 255,)

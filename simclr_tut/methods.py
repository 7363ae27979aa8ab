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

from simclr_tut._families import (
    Adversarial,
    Decoder,
    Generative,
    PatchPrediction,
    Predictive,
    check_views,
)
from simclr_tut.losses import barlow_twins, info_nce, negative_cosine, sup_con, vicreg
from simclr_tut.models import SimCLR

__all__ = [
    "BYOL", "Adversarial", "BarlowTwins", "Decoder", "Generative", "MoCo", "PatchPrediction",
    "Predictive", "SimSiam", "SupCon", "VICReg", "both", "follow", "slow_copy", "whole_pictures",
]


class MoCo(SimCLR):
    """Contrast each query with its key and a queue of older keys from a slow copy of the network.

    Args: queue: keys kept.  momentum: of the slow copy, in [0, 1).  temperature: above 0.
    Raises: ValueError for a momentum outside [0, 1), a queue below 1, or, from ``loss``, a batch
        larger than the queue.
    Source: He et al. 2020 (arXiv 1911.05722), Algorithm 1. Explained in notebooks/08.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, queue: int = 2048,
                 momentum: float = 0.99, temperature: float = 0.1) -> None:
        super().__init__(encoder, head)
        if not isinstance(queue, int) or queue < 1:
            raise ValueError(f"queue must be a whole number of keys, at least 1; got {queue!r}.")
        self.target = slow_copy(self, momentum)
        self.momentum, self.temperature = momentum, temperature
        with torch.no_grad():
            size = self.target.head.eval()(torch.zeros(1, encoder.feature_dim)).shape[1]
        self.target.train()
        self.register_buffer("queue", F.normalize(torch.randn(queue, size), dim=1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))
        self.newest = self.queue[:0]

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """InfoNCE of view 1's queries against view 2's keys and the queue."""
        check_views(self, view1, view2)
        if len(view1) > len(self.queue):
            raise ValueError(f"the queue holds {len(self.queue)} keys and the batch {len(view1)}: "
                             f"choose a queue of at least {len(view1)}, or a smaller batch.")
        query = self(view1)
        with torch.no_grad():
            self.newest = F.normalize(self.target(view2).float(), dim=1)
        return info_nce(query, self.newest, self.queue, self.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        """Put the newest keys in the place of the oldest; let the slow copy follow."""
        n, size = len(self.newest), len(self.queue)
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
        z1, z2 = both(self, view1, view2).chunk(2)
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
        first, second = self.predictor(both(self, view1, view2)).chunk(2)
        with torch.no_grad():
            slow_first, slow_second = both(self.target, view1, view2).chunk(2)
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
        z = both(self, view1, view2)
        (z1, z2), (first, second) = z.chunk(2), self.predictor(z).chunk(2)
        return 1 + (negative_cosine(first, z2) + negative_cosine(second, z1)) / 2


class BarlowTwins(SimCLR):
    """Make each dimension of z equal across views and unlike every other dimension.

    The loss is divided by D, so that learning rates resemble the other methods'.
    Raises: ValueError for a batch of one. Source: Zbontar et al. 2021 (arXiv 2103.03230), Eq. 1.
    """

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """Distance of the cross-correlation matrix from the identity."""
        z1, z2 = both(self, view1, view2).chunk(2)
        return barlow_twins(z1, z2) / z1.shape[1]


class VICReg(SimCLR):
    """Keep views near, dimensions spread, and dimensions uncorrelated.

    The loss is divided by its weight of 25, so that learning rates resemble the other methods'.
    Raises: ValueError for a batch of one.
    Source: Bardes et al. 2022 (arXiv 2105.04906), as in their code.
    """

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """Variance, invariance and covariance terms with the paper's weights 25, 25, 1."""
        z1, z2 = both(self, view1, view2).chunk(2)
        return vicreg(z1, z2) / 25


def both(model: nn.Module, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
    """Embed both views in one batch, so that batch norm sees them together: ``(2N, D)``.

    Raises: ValueError for views of different shape, of one picture, or on another device.
    """
    check_views(model, view1, view2)
    return model(torch.cat([view1, view2]))


def slow_copy(model: SimCLR, momentum: float) -> SimCLR:
    """Return a copy of encoder and head that no gradient reaches.

    Raises: ValueError for a momentum outside [0, 1).
    """
    if not isinstance(momentum, float | int) or not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1); got {momentum!r}. 1 would never move the "
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
    """Return pictures or sequences as floats in [0, 1]: bytes are divided by 255."""
    return (images.float() / 255 if images.dtype == torch.uint8 else images.float(),)

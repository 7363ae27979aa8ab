"""Methods beside SimCLR behind one small interface.

A method is a module with ``.encoder``, ``.encode(x) -> h`` and ``.loss(*views) -> scalar``;
``training.pretrain`` trains anything that has these. Explained in notebooks/00.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


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


def whole_pictures(images: torch.Tensor, size: int | None = None) -> tuple[torch.Tensor]:
    """Return uint8 pictures or sequences as floats in [0, 1], unchanged otherwise."""
    return (images.float() / 255,)

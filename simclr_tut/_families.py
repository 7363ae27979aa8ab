"""A part of ``methods``: learning by prediction and by drawing, each with its own small head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut.models import ProjectionHead


class Decoder(nn.Module):
    """Turn codes ``(N, D)`` into pictures ``(N, C, S, S)`` in [0, 1].

    Raises: ValueError if S is no multiple of 8, or D or C is below 1.
    """

    def __init__(self, code_dim: int, size: int = 32, channels: int = 3) -> None:
        super().__init__()
        if size < 8 or size % 8 or code_dim < 1 or channels < 1:
            raise ValueError("size must be a multiple of 8, code_dim and channels at least 1; got "
                             f"{size}, {code_dim} and {channels}.")
        self.start, self.shape = size // 8, (channels, size, size)
        self.widen = nn.Linear(code_dim, 64 * self.start**2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, channels, 4, 2, 1), nn.Sigmoid(),
        )

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return self.layers(self.widen(code).view(-1, 64, self.start, self.start))

    def check(self, pictures: torch.Tensor) -> None:
        """Raise ValueError unless ``pictures`` are float and of the size that is drawn here."""
        came = tuple(pictures.shape)
        if not pictures.is_floating_point() or came[-3:] != self.shape:
            raise ValueError(f"expected float pictures of shape {self.shape}, as the decoder draws "
                             f"them; got {came} {pictures.dtype}. Build the method with size= and "
                             "channels=, and make floats with methods.whole_pictures.")


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
        Raises: ValueError for fewer than two frames, or frames of another size than is drawn.
        """
        if frames.dim() != 5 or frames.shape[1] < 2:
            raise ValueError("frames must be (N, T, C, H, W) with T >= 2; got "
                             f"{tuple(frames.shape)}.")
        self.decoder.check(frames)
        drawn = self.predict(frames[:, :-1]).float()
        return F.mse_loss(drawn, frames[:, -1]) / (2 * 0.1**2)


class Generative(nn.Module):
    """A variational autoencoder: describe pictures in a few numbers, draw new ones from noise.

    Args: noise: the decoder's standard deviation; lower makes the code say more of the picture.
    Raises: ValueError for noise <= 0, and from ``loss`` for pictures of another size.
    Source: Kingma and Welling 2014 (arXiv 1312.6114), Eq. 10 with a Gaussian decoder.
    """

    def __init__(self, encoder: nn.Module, code_dim: int = 32, size: int = 32, channels: int = 3,
                 noise: float = 0.1) -> None:
        super().__init__()
        if not noise > 0:
            raise ValueError(f"noise must be above 0; got {noise}.")
        self.encoder, self.code_dim, self.noise = encoder, code_dim, noise
        self.decoder = Decoder(code_dim, size, channels)
        self.describe = nn.Linear(encoder.feature_dim, 2 * code_dim)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``."""
        return self.encoder(x)

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        """Minus the evidence lower bound, without constants, in nats a pixel."""
        self.decoder.check(images)
        mean, log_variance = self.describe(self.encoder(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 10)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        drawn = self.decoder(code).float()
        error = F.mse_loss(drawn, images, reduction="sum") / (2 * self.noise**2)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (error + divergence) / images.numel()

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw ``n`` new pictures, ``(n, C, S, S)`` in [0, 1]."""
        return draw(self.decoder, self.code_dim, n, generator)


class Adversarial(nn.Module):
    """A small GAN: a generator draws pictures, a discriminator tells them from real ones.

    The discriminator's body is the encoder. One loss trains both: the generator's share sees the
    discriminator with its weights held fixed, so that each gradient reaches its own half.
    Raises: ValueError from ``loss`` for pictures of another size than the generator draws.
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
        self.generator.check(images)
        code = torch.randn(len(images), self.code_dim, device=images.device)
        drawn = self.generator(code).float()
        fixed = {name: value.detach().clone() for name, value in
                 [*self.judge.named_parameters(), *self.judge.named_buffers()]}
        real, fake = self.judge(images), self.judge(drawn.detach())
        fooled = torch.func.functional_call(self.judge, fixed, drawn)
        return F.softplus(-real).mean() + F.softplus(fake).mean() + F.softplus(-fooled).mean()

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw ``n`` new pictures, ``(n, C, S, S)`` in [0, 1]."""
        return draw(self.generator, self.code_dim, n, generator)


@torch.no_grad()
def draw(decoder: Decoder, code_dim: int, n: int, generator: torch.Generator | None = None
         ) -> torch.Tensor:
    """Turn ``n`` normal codes into pictures on the CPU."""
    code = torch.randn(n, code_dim, generator=generator)
    return decoder(code.to(next(decoder.parameters()).device)).float().cpu()


class PatchPrediction(nn.Module):
    """Predict the features of a picture's lowest patches from those far above.

    A picture is cut into a grid of overlapping patches, each encoded and projected. A recurrent
    cell reads each column from above; its prediction must find the true lowest patch among those
    of the whole batch. The rows it reads share no pixel with the row it predicts, and come from
    another view, which should differ in colour alone: else edges and colours that run across give
    the answer away.
    Args: temperature: above 0.
    Source: after the idea of CPC, van den Oord et al. 2018 (arXiv 1807.03748), with patches that
    differ in colour as in Henaff et al. 2020 (arXiv 1905.09272), in miniature.
    """

    def __init__(self, encoder: nn.Module, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0; got {temperature}.")
        self.encoder, self.temperature = encoder, temperature
        size = encoder.feature_dim
        self.project = ProjectionHead(size, size, size)
        self.context = nn.GRU(size, size, batch_first=True)
        self.guess = nn.Linear(size, size)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return h, ``(N, F)``, of whole pictures."""
        return self.encoder(x)

    def loss(self, view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of finding each lowest patch of view 2 from the rows above in view 1.

        Raises: ValueError for views of different shape or device, one picture, or small sides.
        """
        check_views(self, view1, view2)
        above, lowest = self.cut(view1)[:, :, :-2], self.cut(view2)[:, :, -1]
        columns, rows = lowest[..., 0, 0, 0].numel(), above.shape[2]
        h = self.encoder(torch.cat([above.flatten(0, 2), lowest.flatten(0, 1)]))
        z = self.project(h).float()
        with torch.autocast(z.device.type, enabled=False):
            seen = self.context(z[:-columns].view(columns, rows, -1))[0][:, -1]
            found = F.normalize(self.guess(seen), dim=1) @ F.normalize(z[-columns:], dim=1).T
        return F.cross_entropy(found / self.temperature, torch.arange(columns, device=z.device))

    def cut(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return patches of 3/8 of the side, half overlapping: ``(N, columns, rows, C, S, S)``."""
        step = 3 * min(pictures.shape[2:]) // 16
        if step < 3:
            raise ValueError(f"pictures must have sides of at least 16; got "
                             f"{tuple(pictures.shape)}.")
        return pictures.unfold(2, 2 * step, step).unfold(3, 2 * step, step).permute(
            0, 3, 2, 1, 4, 5)


def check_views(model: nn.Module, view1: torch.Tensor, view2: torch.Tensor) -> None:
    """Raise ValueError unless two views of the same pictures lie where the model does."""
    if view1.shape != view2.shape or len(view1) < 2:
        raise ValueError("two views must have the same shape, (N, C, H, W) with N at least 2, for "
                         "every method compares pictures; got "
                         f"{tuple(view1.shape)} and {tuple(view2.shape)}.")
    places = [next(model.parameters()).device, view1.device, view2.device]
    if len(set(places)) > 1:
        raise ValueError("model and views must be on one device; got a model on {}, views on {} "
                         "and {}. Move them with .to(device).".format(*places))

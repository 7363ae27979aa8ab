"""Encoder, projection head, the SimCLR model, and weights on disk."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

ENCODERS = ("tiny", "small", "medium", "resnet18", "resnet50")
# The course's own: the stem's stride, the blocks' widths, F.
_OWN = {"tiny": (2, (64, 128), 128), "small": (2, (64, 128), 512),
        "medium": (1, (64, 128, 256), 512)}
MAP = "+map"  # ends the name of an encoder whose last layer is an AffineMap
_NEEDED = ("encoder", "head_hidden", "head_dim", "head_layers")  # to build a model again


class Normalize(nn.Module):
    """Map pixels from [0, 1] to [-1, 1]; no statistics of a data set."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 2 - 1


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a short cut.

    Source: He et al. 2016, Fig. 2. Explained in notebooks/02.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


class ProjectionHead(nn.Module):
    """Map representations h to embeddings z; linear, batch norm, ReLU, linear by default.

    Args: layers: 0 for the identity, 1 for a linear map, 2 or 3 for an MLP.
    Source: Chen et al. 2020, section 2.1, g(h) = W2 ReLU(W1 h). Explained in notebooks/02.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 128, out_dim: int = 128,
                 layers: int = 2) -> None:
        _check_head(in_dim, hidden_dim, out_dim, layers)
        super().__init__()
        widths = [in_dim] + [hidden_dim] * (layers - 1)
        steps = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            steps += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        if layers:
            steps.append(nn.Linear(widths[-1], out_dim))
        self.layers = nn.Sequential(*steps)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.layers(h)  # (N, F) -> (N, D)


class SimCLR(nn.Module):
    """An encoder and a projection head.

    Source: Chen et al. 2020, Fig. 2. Explained in notebooks/02.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the representation h, ``(N, F)``, of views ``(N, C, H, W)`` in [0, 1]."""
        return self.encoder(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the embedding z, ``(N, D)``, of views ``(N, C, H, W)`` in [0, 1]."""
        return self.head(self.encoder(x))


class AffineMap(nn.Module):
    """Map h to ``h @ matrix + offset``, both fixed; the identity until ``append_map`` sets them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(features))
        self.register_buffer("offset", torch.zeros(features))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        exact = torch.promote_types(h.dtype, torch.float32)  # eight bits would not cancel
        with torch.autocast(h.device.type, enabled=False):
            mapped = h.to(exact) @ self.matrix.to(exact) + self.offset.to(exact)
        return mapped.to(self.matrix.dtype)  # (N, F) -> (N, F)


def build_encoder(name: str, in_channels: int = 3, small_images: bool = True) -> nn.Module:
    """Build an encoder with random weights; ``.feature_dim`` is F.

    Args:
        name: "tiny" (0.3M parameters, made for two cores), "small" (tiny with 512 features in
            place of 128, by a last 1 x 1 convolution), "medium" (1.3M: small with a stem of stride
            1 and a third block, for an hour instead of minutes), "resnet18" or "resnet50"; with
            "+map" behind it, as "small+map", the encoder ends in an ``AffineMap``.
        in_channels: C of the pictures.
        small_images: give the ResNets the CIFAR stem: 3 x 3, stride 1, no max-pool.
    Raises: ValueError for an unknown name.
    Source: Chen et al. 2020, section B.9, for the CIFAR stem. Explained in notebooks/02.
    """
    plain = name.removesuffix(MAP) if isinstance(name, str) else name
    if plain not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, or one of them with {MAP} "
                         f"behind it; got {name!r}.")
    if not isinstance(in_channels, int) or in_channels < 1:
        raise ValueError("in_channels must be a whole number, at least 1; got "
                         f"{in_channels!r}.")
    if plain in _OWN:
        stride, widths, features = _OWN[plain]
        wider = [] if features == widths[-1] else [
            nn.Conv2d(widths[-1], features, 1, bias=False), nn.BatchNorm2d(features), nn.ReLU()]
        body = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(32), nn.ReLU(),
            *(ResidualBlock(a, b, 2) for a, b in itertools.pairwise((32, *widths))), *wider,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
    else:
        from torchvision import models as resnets  # a second to load, and only these need it

        body = getattr(resnets, plain)(weights=None)
        features = body.fc.in_features
        body.fc = nn.Identity()
        if small_images:
            body.conv1 = nn.Conv2d(in_channels, 64, 3, stride=1, padding=1, bias=False)
            body.maxpool = nn.Identity()
        elif in_channels != 3:
            body.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    encoder = nn.Sequential(Normalize(), body)
    if plain != name:
        encoder.append(AffineMap(features))
    encoder.feature_dim = features
    return encoder


def build_model(encoder: str, head_hidden: int = 128, head_dim: int = 128, head_layers: int = 2,
                in_channels: int = 3) -> SimCLR:
    """Build a SimCLR model with random weights from the names that recipes and files use.

    Raises: ValueError for an unknown encoder or an impossible head. Explained in notebooks/02.
    """
    body = build_encoder(encoder, in_channels)
    return SimCLR(body, ProjectionHead(body.feature_dim, head_hidden, head_dim, head_layers))


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights that training changes."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def settle_batch_norm(model: nn.Module, batches: Iterable[torch.Tensor]) -> nn.Module:
    """Give batch norm the mean statistics of ``batches``; the weights stay as they are.

    A fresh network has running statistics of 0 and 1, which fit no data: measured in evaluation
    mode it looks collapsed. Settle it first wherever random weights are the baseline.

    Args: batches: views ``(N, C, H, W)`` in [0, 1], at least one batch, of two or more each.
    Returns: the model, in evaluation mode.
    Raises: ValueError, TypeError if there is no batch, or something else in its place; the
        statistics of batch norm are then what they were.
    Explained in notebooks/04.
    """
    if isinstance(batches, torch.Tensor) or not isinstance(batches, Iterable):
        raise TypeError("batches must be a list of batches of views; got "
                        f"{type(batches).__name__}. One batch is [batch].")
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("batches must hold at least one batch of views; got none.")
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    statistics = [{k: v.clone() for k, v in norm.named_buffers()} for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    model.train()
    try:
        for batch in itertools.chain([first], batches):
            _check_batch(batch)
            model(batch)
    except BaseException:
        for norm, kept in zip(norms, statistics, strict=True):
            norm.load_state_dict(kept, strict=False)
        raise
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        model.eval()
    return model


@torch.no_grad()
def append_map(model: SimCLR, matrix: torch.Tensor, offset: torch.Tensor) -> SimCLR:
    """Return the model with h' = h @ matrix + offset in place of h, and the same embeddings z.

    The map becomes the encoder's last layer, and the head's first matrix takes its inverse: the
    loss of every batch stays, so this is another basis of the same representation. With
    ``evaluation.whitening_map`` h' is whitened h.

    Args: matrix: ``(F, F)`` float, invertible.  offset: ``(F,)`` float.
    Returns: a new model, in evaluation mode; its encoder's name is the old one with "+map".
    Raises: ValueError for a map of another size, or without an inverse; for a head that cannot
        take one; for an encoder that ends in such a map already. TypeError for anything but
        tensors.
    Explained in notebooks/04.
    """
    _check_map(model, matrix, offset)
    model = copy.deepcopy(model).eval()
    first = model.head.layers[0]
    last = AffineMap(len(offset)).to(first.weight.device)
    last.matrix.copy_(matrix)
    last.offset.copy_(offset)
    inverse = torch.linalg.inv(matrix.cpu().double())  # h = (h' - offset) @ inverse
    weight = first.weight.cpu().double() @ inverse.T
    shift = (weight @ offset.cpu().double()).to(first.weight)
    first.weight.copy_(weight)
    if first.bias is not None:
        first.bias.sub_(shift)
    else:  # batch norm follows, and takes what is constant away
        model.head.layers[1].running_mean.add_(shift)
    before = model.encoder if type(model.encoder) is nn.Sequential else [model.encoder]
    model.encoder = nn.Sequential(*before, last)
    model.encoder.feature_dim = len(offset)
    return model


def save_weights(model: SimCLR, path: str | Path, recipe: dict) -> None:
    """Write the weights as safetensors, whole or not at all, with ``recipe`` as JSON inside.

    Args: recipe: at least "encoder", "head_hidden", "head_dim" and "head_layers".
    Raises: ValueError if one is missing, or they describe another model; OSError if the file
        cannot be written.
    """
    missing = [k for k in _NEEDED if k not in recipe]
    if missing:
        raise ValueError(f"recipe must name {', '.join(missing)}, to build the model again.")
    with torch.device("meta"):
        again = build_model(*(recipe[k] for k in _NEEDED))
    if _shapes(again) != _shapes(model):
        hint = (f" After append_map its encoder is called {recipe['encoder']}{MAP}."
                if any(isinstance(m, AffineMap) for m in model.modules())
                and not str(recipe["encoder"]).endswith(MAP) else "")
        raise ValueError(f"recipe must describe the model, or nobody can load it again; it says "
                         f"{', '.join(f'{k} {recipe[k]!r}' for k in _NEEDED)}, which has other "
                         f"weights than this {type(model).__name__}.{hint}")
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"path must name a file to write; {path} is a folder or a device.")
    half = path.with_suffix(f".{os.getpid()}.half")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        save_file(tensors, half, metadata={"recipe": json.dumps(recipe, sort_keys=True)})
        os.replace(half, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise OSError(f"the weights could not be written to {path} ({error}). Free some space or "
                      "choose another folder; the model in memory is whole.") from error


def load_recipe(path: str | Path) -> dict:
    """Read the facts that ``save_weights`` put into the file.

    Raises: FileNotFoundError, or ValueError for a file that is cut short or not of this course.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there are no weights at {path}. Run notebooks/04_training first, "
                                "or use load_pretrained().")
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
        recipe = json.loads(facts.get("recipe", "null"))
        if "history" in facts:
            raise ValueError("it is the checkpoint of a run, for going on with it; the weights are "
                             "in model.safetensors beside it")
        if not isinstance(recipe, dict) or not recipe.keys() >= set(_NEEDED):
            raise ValueError(f"its recipe does not name {', '.join(_NEEDED)}")
        heads = [recipe[name] for name in _NEEDED[1:]]
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in heads):
            raise ValueError(f"head_hidden, head_dim and head_layers are {heads}")
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no whole weights file of this course ({error}). "
                         "Copy it again, or train afresh.") from error
    return recipe


def load_weights(path: str | Path, model: SimCLR | None = None) -> SimCLR:
    """Load weights into ``model``, or into a new model built from the facts in the file.

    Raises: FileNotFoundError; ValueError for a broken file, another architecture, or weights
        that are not finite.
    """
    recipe = load_recipe(path)
    if model is None:
        model = build_model(*(recipe[k] for k in _NEEDED))
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    expected = _shapes(model)
    came = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != came:
        wrong = sorted(k for k in expected.keys() | came.keys() if expected.get(k) != came.get(k))
        raise ValueError(
            f"{path} holds another architecture (encoder {recipe['encoder']!r}): "
            f"{wrong[0]} is {came.get(wrong[0])} in the file and {expected.get(wrong[0])} in the "
            "model. Call load_weights(path) without a model to build the right one."
        )
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{path} holds NaN or infinity in {bad[0]} ({len(bad)} such tensors): "
                         "that run had failed. Train afresh, with a lower learning rate.")
    model.load_state_dict(tensors)
    return model.eval()


def load_pretrained(name: str = "cifar10-small") -> SimCLR:
    """Load a checkpoint that ships with the package.

    Args: name: "cifar10-small", of notebook 04's recipe; "cifar10-medium", a larger encoder trained
        for longer; "cifar10-medium-gpu", the same on a GPU; "cifar10-white", that one with
        whitened h (see ``append_map``); or "shapes-small", of notebook 04's recipe on shapes.
    Raises: ValueError if there is none of that name, or its file is not the one that was shipped.
    Explained in notebooks/05.
    """
    expected = pretrained_facts(name)["sha256"]
    with resources.as_file(resources.files("simclr_tut") / "assets") as folder:
        path = folder / f"{name}.safetensors"
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if found != expected:
            raise ValueError(f"{path} is not the checkpoint that ships with the course: its sha256 "
                             f"is {found[:12]}, not {expected[:12]}. Get that file again with "
                             "`git checkout`, or install the package again.")
        return load_weights(path)


def pretrained_facts(name: str = "cifar10-small") -> dict:
    """Return where a shipped checkpoint comes from, and what it gave on test pictures.

    Returns: command, seed, steps, batch_size, seconds, machine, versions, sha256 of the file; as
        fractions "knn_test", "white_knn_test" (k = 200, all training pictures vote), "probe_test".
    Raises: ValueError if there is none of that name.
    """
    text = (resources.files("simclr_tut") / "assets" / "checkpoints.json").read_text()
    shipped = json.loads(text)
    if name not in shipped:
        raise ValueError(f"pretrained name must be one of {', '.join(shipped)}; got {name!r}.")
    return shipped[name]


def _check_map(model: SimCLR, matrix: torch.Tensor, offset: torch.Tensor) -> None:
    if not isinstance(matrix, torch.Tensor) or not isinstance(offset, torch.Tensor):
        raise TypeError("matrix and offset must be tensors, as evaluation.whitening_map returns; "
                        f"got {type(matrix).__name__} and {type(offset).__name__}.")
    steps = model.head.layers if isinstance(model.head, ProjectionHead) else ()
    if not steps or not isinstance(steps[0], nn.Linear):
        raise ValueError("model's head must be a ProjectionHead of 1 to 3 layers, whose first "
                         "takes the inverse of the map; without one z would change.")
    features = steps[0].in_features
    if matrix.shape != (features, features) or offset.shape != (features,):
        raise ValueError(f"matrix must be ({features}, {features}) and offset ({features},), for "
                         f"h has {features} features; got {tuple(matrix.shape)} and "
                         f"{tuple(offset.shape)}.")
    if type(model.encoder) is nn.Sequential and isinstance(model.encoder[-1], AffineMap):
        raise ValueError("model must not end in a map already; take the one it was made from.")
    finite = torch.isfinite(matrix).all() and torch.isfinite(offset).all()
    if not finite or not float(torch.linalg.cond(matrix.cpu().double())) < 1e5:
        raise ValueError("matrix must have an inverse, or the head cannot undo it; whiten with a "
                         "larger shrink.")


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _check_batch(batch: torch.Tensor) -> None:
    if not isinstance(batch, torch.Tensor) or not batch.is_floating_point() or batch.dim() < 2:
        raise TypeError("batches must hold float tensors (N, C, H, W) in [0, 1]; got "
                        f"{type(batch).__name__} {getattr(batch, 'dtype', '')}. Divide bytes by "
                        "255, or make views of them.")
    if len(batch) < 2:
        raise ValueError("batches must hold two views or more each, for their mean and variance; "
                         f"got {tuple(batch.shape)}.")


def _check_head(in_dim: int, hidden_dim: int, out_dim: int, layers: int) -> None:
    whole = all(isinstance(value, int) for value in (in_dim, hidden_dim, out_dim, layers))
    if not whole or min(in_dim, hidden_dim, out_dim) < 1 or not 0 <= layers <= 3:
        raise ValueError("ProjectionHead needs whole numbers, dimensions of at least 1 and 0 to 3 "
                         f"layers; got {in_dim}, {hidden_dim}, {out_dim} and {layers} layers.")

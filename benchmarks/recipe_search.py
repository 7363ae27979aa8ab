"""Search the recipe of notebook 04: which change gives more kNN accuracy in the same seconds?

    python -m benchmarks.recipe_search                        all variants that have no record yet
    python -m benchmarks.recipe_search base wide-512 --seeds 0 1 2 --seconds 100

One run after the other; each gets the same seconds on this machine, turned into steps by timing
its own step. Accuracy is that of the 5,000 validation pictures of CIFAR-10, by weighted kNN
(k = 200) against the 45,000 others, on h as it is and whitened (evaluation.whiten), and by a linear
probe on 20,000 of them: test pictures take no part. Records are appended to
simclr_tut/assets/results/recipe_search.jsonl; a run that has its record is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import torch
from torch import nn

from benchmarks.common import RESULTS, append_record, now, provenance, read_records
from simclr_tut import config, data, evaluation, models, training
from simclr_tut.views import Views

FILE = RESULTS / "recipe_search.jsonl"
BASE = "32s2 32 64s2 128s2"
SHORT = "32s2 64s2 128s2"
MUON = {"optimizer": "muon", "lr": 0.1, "temperature": 0.1, "small_share": 0.85}
QUICK = {"net": SHORT + " p512", **MUON, "views": 4, "batch_size": 128}
# Changes to the recipe; "net" lists the stem and the residual blocks as width and stride, "pN" a
# last 1 x 1 convolution to N channels before the average, "w" whitens h by running statistics.
VARIANTS: dict[str, dict] = {
    "base": {},
    "wide-512": {"net": BASE + " p512"},
    "early-stride": {"net": "32s2 64s2 128 256s2"},
    "no-block-16": {"net": "32s2 64s2 128s2"},
    "wide-no-block-16": {"net": "48s2 96s2 192s2"},
    "48-96-192": {"net": "48s2 48 96s2 192s2"},
    "deep-8": {"net": "32s2 64s2 64 128s2"},
    "four-stages": {"net": "32s2 32 64s2 128s2 256s2"},
    "small-16": {"small_size": 16},
    "small-20": {"small_size": 20},
    "small-20-85": {"small_size": 20, "small_share": 0.85},
    "small-24-90": {"small_share": 0.9},
    "lr-0.6": {"lr": 0.6},
    "lr-0.15": {"lr": 0.15},
    "temperature-0.1": {"temperature": 0.1},
    "temperature-0.5": {"temperature": 0.5},
    "batch-128": {"batch_size": 128, "lr": 0.2},
    "batch-512": {"batch_size": 512, "lr": 0.5},
    "crop-0.1": {"crop": (0.1, 1.0)},
    "crop-0.35": {"crop": (0.35, 1.0)},
    "color-0.25": {"color": 0.25},
    "color-1": {"color": 1.0},
    "head-512": {"head_hidden": 512},
    "decay-1e-4": {"weight_decay": 1e-4},
    "decay-1e-3": {"weight_decay": 1e-3},
    # second round, on the network that won the first
    **{f"short {name}": {"net": SHORT, **changes} for name, changes in {
        "": {}, "small-90": {"small_share": 0.9}, "small-20": {"small_size": 20},
        "small-16": {"small_size": 16},
        "small-20-85": {"small_size": 20, "small_share": 0.85},
        "p256": {"net": SHORT + " p256"}, "64 at 8": {"net": "32s2 64s2 64 128s2"},
        "wide": {"net": "48s2 96s2 192s2"}, "wide end": {"net": "32s2 64s2 192s2"},
        "four": {"net": "32s2 64s2 128s2 256s2"}, "thin": {"net": "24s2 48s2 128s2"},
        "lr-0.6": {"lr": 0.6}, "temperature-0.1": {"temperature": 0.1},
        "temperature-0.4": {"temperature": 0.4}, "batch-512": {"batch_size": 512, "lr": 0.5},
        "batch-128": {"batch_size": 128, "lr": 0.2}, "color-0.25": {"color": 0.25},
        "color-1": {"color": 1.0}, "crop-0.35": {"crop": (0.35, 1.0)},
        "crop-0.1": {"crop": (0.1, 1.0)}, "decay-1e-4": {"weight_decay": 1e-4},
        "decay-1e-3": {"weight_decay": 1e-3}, "head-512": {"head_hidden": 512},
    }.items()},
    # third round: orthogonalised steps; everything that the recipe's defaults say is written out
    **{f"muon {name}".strip(): {"net": SHORT, **MUON, **changes} for name, changes in {
        "": {}, "to sgd": {"optimizer": "sgd", "lr": 0.3}, "lr-0.05": {"lr": 0.05},
        "lr-0.2": {"lr": 0.2}, "temperature-0.2": {"temperature": 0.2},
        "batch-512": {"batch_size": 512}, "batch-128": {"batch_size": 128, "lr": 0.07},
        "four": {"net": "32s2 64s2 128s2 256s2"}, "p512": {"net": SHORT + " p512"},
        "crop-0.1": {"crop": (0.1, 1.0)}, "small-20": {"small_size": 20},
        "head-512": {"head_hidden": 512}, "momentum-0.95": {"momentum": 0.95, "lr": 0.05},
        "64-128-256": {"net": "64s2 128s2 256s2"},
    }.items()},
    # fourth round: judged by whitened h; what each part of notebook 04's recipe is worth
    **{f"quick {name}".strip(): {**QUICK, **changes} for name, changes in {
        "": {}, "two views": {"views": 2, "batch_size": 256},
        "eight views": {"views": 8, "batch_size": 64}, "128 features": {"net": SHORT},
        "1024 features": {"net": SHORT + " p1024"}, "no small pictures": {"small_size": None},
        "small-20": {"small_size": 20}, "to sgd": {"optimizer": "sgd", "lr": 0.3},
        "temperature-0.2": {"temperature": 0.2}, "temperature-0.07": {"temperature": 0.07},
        "float32": {"bf16": False}, "lr-0.05": {"lr": 0.05}, "lr-0.2": {"lr": 0.2},
        "batch-256": {"batch_size": 256}, "color-1": {"color": 1.0},
        "crop-0.1": {"crop": (0.1, 1.0)}, "crop-0.35": {"crop": (0.35, 1.0)},
        "head-512": {"head_hidden": 512},
        "head of three": {"head_layers": 3}, "48-96-192": {"net": "48s2 96s2 192s2 p512"},
        "four stages": {"net": "32s2 64s2 128s2 256s2 p512"},
        "medium": {"net": "32 64s2 128s2 256s2 p512"},
        "linear head": {"head_layers": 1}, "no head": {"head_layers": 0},
        "whitening layer": {"net": SHORT + " p512 w"},
        "linear head, whitening layer": {"net": SHORT + " p512 w", "head_layers": 1},
    }.items()},
}


class RunningWhitening(nn.Module):
    """Whiten h by its running mean and covariance, as batch norm does each feature by itself.

    Its eigenvectors are found once in ``every`` steps, from the tenth on: until then h is only
    centred. They are not in the time of a step: about a fortieth.
    Source: Huang et al. 2018 (arXiv 1804.08450), who whiten with the statistics of the batch.
    """

    def __init__(self, features: int, every: int = 10, momentum: float = 0.02) -> None:
        super().__init__()
        self.every, self.momentum = every, momentum
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("covariance", torch.eye(features))
        self.register_buffer("matrix", torch.eye(features))

    @torch.no_grad()
    def update(self, h: torch.Tensor) -> None:
        """Take one batch of h, ``(N, F)``, into the statistics."""
        self.seen += 1
        mean, share = h.mean(dim=0), max(self.momentum, 1 / int(self.seen))
        self.mean.lerp_(mean, share)
        self.covariance.lerp_((h - mean).T @ (h - mean) / len(h), share)
        if int(self.seen) % self.every == 0:
            variances, directions = torch.linalg.eigh(self.covariance.cpu().double())
            stretch = (variances + 0.01 * variances.mean()).clamp_min(1e-12).rsqrt()
            self.matrix.copy_((directions * stretch) @ directions.T)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        with torch.autocast(h.device.type, enabled=False):
            if self.training:
                self.update(h.detach().float())
            return (h.float() - self.mean) @ self.matrix


def build(net: str, recipe: config.Recipe) -> models.SimCLR:
    """Build the model that a ``net`` string describes."""
    layers, channels = [], 3
    blocks = net.removesuffix(" w")
    for i, part in enumerate(blocks.split()):
        if part.startswith("p"):
            wide = int(part[1:])
            layers += [nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            channels = wide
            continue
        width, _, stride = part.partition("s")
        width, stride = int(width), int(stride or 1)
        if i == 0:
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                       nn.BatchNorm2d(width), nn.ReLU()]
        else:
            layers.append(models.ResidualBlock(channels, width, stride))
        channels = width
    last = [] if blocks == net else [RunningWhitening(channels)]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *last)
    encoder = nn.Sequential(models.Normalize(), body)
    encoder.feature_dim = channels
    head = models.ProjectionHead(channels, recipe.head_hidden, recipe.head_dim, recipe.head_layers)
    return models.SimCLR(encoder, head)


def step_seconds(model: nn.Module, images: torch.Tensor, views: Views,
                 recipe: config.Recipe) -> float:
    """Return the seconds of a step: the quickest of eight, so that other work does not count."""
    sizes = {None: 1.0}
    if recipe.small_size:
        sizes = {recipe.small_size: recipe.small_share, None: 1 - recipe.small_share}
    total = 0.0
    for size, share in sizes.items():
        trial = replace(recipe, seconds=None, steps=8, small_size=size, small_share=1.0, lr=1e-9)
        clock = Clock(views)
        training.pretrain(model, images[:recipe.batch_size], clock, trial)
        total += share * min(b - a for a, b in zip(clock.times[:-1], clock.times[1:], strict=True))
    return total


class Clock:
    """Views that note when they are drawn; two draws are one step apart."""

    def __init__(self, views: Views) -> None:
        self.views, self.times = views, []

    def __call__(self, images: torch.Tensor, size: int | None = None) -> tuple:
        self.times.append(now())
        return self.views(images, size=size)


def run(name: str, seed: int, seconds: float, steps: int | None) -> dict:
    """Train one variant, for seconds of this machine or for given steps; return its record."""
    changes = dict(VARIANTS[name])
    net = changes.pop("net", BASE)
    options = {key: changes.pop(key) for key in ("gray", "color_p", "flip") if key in changes}
    recipe = replace(config.Recipe(), name="recipe-search", seconds=seconds, seed=seed, **changes)
    config.seed_everything(seed)
    train = data.load_dataset("cifar10", "train")
    if train.name != "cifar10":
        raise SystemExit("the search needs CIFAR-10: set SIMCLR_TUT_DATA, or run `make data`.")
    unlabelled, validation = data.split_labels(train, recipe.validation_images)
    views = Views(recipe.image_size, crop=recipe.crop, color=recipe.color, count=recipe.views,
                  **options)
    quickest = step_seconds(build(net, recipe), unlabelled.images, views, recipe)
    # a budget of one core is counted in seconds of the processor: the load does not change the run
    recipe = replace(recipe, seconds=None, steps=steps or round(seconds / quickest))
    config.seed_everything(seed)
    model = build(net, recipe)
    started = time.perf_counter()
    history = training.pretrain(model, unlabelled.images, views, recipe)
    if history.interrupted:
        raise SystemExit("stopped; the run in progress leaves no record.")
    h, queries = (evaluation.encode(model, part) for part in (unlabelled, validation))
    knn, white = evaluation.knn_plain_and_whitened(h, unlabelled.labels, queries,
                                                   validation.labels)
    probe = evaluation.fit_probe(h[:20_000], unlabelled.labels[:20_000], queries,
                                 validation.labels)
    return {"variant": name, "changes": VARIANTS[name], "seed": seed,
            "budget_seconds": None if steps else seconds,
            "steps": len(history.loss), "step_ms": 1000 * quickest,
            "epochs": len(history.loss) * recipe.batch_size / len(unlabelled),
            "parameters": models.count_parameters(model.encoder), "knn_validation": knn,
            "white_knn_validation": white, "probe_validation": probe.validation[probe.strength],
            "seconds": time.perf_counter() - started}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--steps", type=int, help="given steps in place of seconds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--changes", type=json.loads, help='a variant of your own, as {"lr": 0.2}')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.changes is not None:
        if len(arguments.variants) != 1:
            parser.error("--changes describes one variant: give it one name before.")
        VARIANTS[arguments.variants[0]] = arguments.changes
    if unknown := [name for name in arguments.variants if name not in VARIANTS]:
        parser.error(f"no variant {unknown[0]!r}; the names are the keys of VARIANTS in "
                     "benchmarks/recipe_search.py, and --changes makes a new one.")
    facts = provenance("python -m benchmarks.recipe_search", threads=arguments.threads)
    for seed in arguments.seeds:
        for name in arguments.variants or VARIANTS:
            done = read_records(FILE)
            changes = json.loads(json.dumps(VARIANTS[name]))
            if any((r["variant"], r["seed"], r["changes"]) == (name, seed, changes)
                   and (r["steps"] == arguments.steps if arguments.steps
                        else r["budget_seconds"] == arguments.seconds) for r in done):
                continue
            record = {**run(name, seed, arguments.seconds, arguments.steps), **facts}
            append_record(FILE, record)
            print(f"{name:18s} seed {seed}  {record['steps']:5d} steps of "
                  f"{record['step_ms']:4.0f} ms   "
                  f"kNN {100 * record['knn_validation']:.1f} %, white "
                  f"{100 * record['white_knn_validation']:.1f} %, probe "
                  f"{100 * record['probe_validation']:.1f} %", flush=True)


if __name__ == "__main__":
    main()

"""What the features are worth: kNN, linear probe, few labels, retrieval, maps, result records."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from simclr_tut.data import ImageData

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
RECORD_VERSION = 1  # of the records that benchmarks leave


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe: the strength C chosen on validation, and each C's accuracy there."""

    strength: float
    validation: dict[float, float]
    scaler: StandardScaler
    classifier: LogisticRegression

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """Return the class of each row of ``(N, F)`` features, ``(N,)`` int64."""
        return torch.from_numpy(self.classifier.predict(self.scaler.transform(features.numpy())))


@dataclass(frozen=True)
class ProbeResult:
    """A linear probe: test accuracy, the strength C chosen on validation, both as fractions."""

    accuracy: float
    strength: float
    validation: dict[float, float]
    predictions: torch.Tensor


@torch.no_grad()
def encode(model: nn.Module, images: torch.Tensor | ImageData, layer: str = "h",
           batch_size: int = 1000) -> torch.Tensor:
    """Encode whole pictures, without augmentation, in evaluation mode.

    Args:
        model: a SimCLR, a method, or a bare encoder.
        images: ``(N, C, H, W)`` uint8, or float in [0, 1].
        layer: "h", the representation, or "z", the embedding (SimCLR only).
    Returns: ``(N, F)`` or ``(N, D)`` float32 on the CPU. The model's mode is put back.
    Raises: ValueError for another layer, or a model without a head.
    Explained in notebooks/05.
    """
    images = images.images if isinstance(images, ImageData) else images
    if layer not in ("h", "z") or (layer == "z" and not hasattr(model, "head")):
        raise ValueError(f'layer must be "h", or "z" for a model with a head; got {layer!r}.')
    if images.dim() != 4 or len(images) == 0:
        raise ValueError(f"images must be (N, C, H, W), N at least 1; got {tuple(images.shape)}.")
    forward = model if layer == "z" else getattr(model, "encode", model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        features = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch
            features.append(forward(batch).float().flatten(1).cpu())
        return torch.cat(features)
    finally:
        for module, mode in modes.items():
            module.training = mode


def raw_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return the pixels themselves as features, ``(N, CHW)`` float in [0, 1]."""
    _check_pictures(images)
    return images.flatten(1).float() / 255


def color_histogram(images: torch.Tensor, bins: int = 4) -> torch.Tensor:
    """Return how often each of ``bins``**3 colours occurs, ``(N, bins**3)`` shares."""
    _check_pictures(images, bins, 3)
    levels = (images.long() * bins) // 256  # (N, 3, H, W)
    index = (levels[:, 0] * bins + levels[:, 1]) * bins + levels[:, 2]
    counts = torch.zeros(len(images), bins**3)
    counts.scatter_add_(1, index.flatten(1), torch.ones(()).expand(len(images), index[0].numel()))
    return counts / index[0].numel()


def knn_predict(bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor,
                k: int = 200, temperature: float = 0.1) -> torch.Tensor:
    """Let the k most similar pictures of the bank vote, each with weight exp(cosine / temperature).

    Args:
        bank: ``(M, F)`` features with ``bank_labels``, ``(M,)`` int64.  queries: ``(Q, F)``.
        k: voters; at most M are used.
    Returns: ``(Q,)`` int64.
    Raises: ValueError for shapes that do not fit, k < 1, temperature <= 0, or values not finite.
    Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4. Explained in notebooks/05.
    """
    _check_features(bank, bank_labels, queries, k, temperature)
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    predictions = []
    for block in queries.split(1000):
        similarity, nearest = (block @ bank.T).topk(min(k, len(bank)), dim=1)  # (B, k)
        weights = (similarity / temperature).exp()
        votes = torch.zeros(len(block), int(bank_labels.max()) + 1)
        votes.scatter_add_(1, bank_labels[nearest], weights)  # (B, K)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)


def knn_accuracy(bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor,
                 query_labels: torch.Tensor, k: int = 200, temperature: float = 0.1) -> float:
    """Return the share of queries whose weighted kNN vote is right. See ``knn_predict``."""
    if query_labels.shape != queries.shape[:1]:
        raise ValueError(f"query_labels must be ({len(queries)},); got "
                         f"{tuple(query_labels.shape)}.")
    predictions = knn_predict(bank, bank_labels, queries, k, temperature)
    return float((predictions == query_labels).float().mean())


def retrieval(bank: torch.Tensor, k: int, queries: torch.Tensor | None = None) -> torch.Tensor:
    """Return the k nearest pictures of the bank by cosine, nearest first, ``(Q, k)`` int64.

    Args: queries: row numbers of the bank, ``(Q,)`` int64; None for all. None matches itself.
    Raises: ValueError if k is not between 1 and M - 1.
    Explained in notebooks/05.
    """
    _check_float("bank", bank)
    if not 1 <= k < len(bank):
        raise ValueError(f"k must be between 1 and {len(bank) - 1}, the rest of the bank; "
                         f"got {k}.")
    bank = F.normalize(bank.float(), dim=1)
    rows = torch.arange(len(bank)) if queries is None else queries
    found = []
    for block in rows.split(1000):
        similarity = bank[block] @ bank.T
        similarity[torch.arange(len(block)), block] = -torch.inf
        found.append(similarity.topk(k, dim=1).indices)
    return torch.cat(found)


def fit_probe(
    train_features: torch.Tensor, train_labels: torch.Tensor,
    validation_features: torch.Tensor, validation_labels: torch.Tensor,
    strengths: Iterable[float] = STRENGTHS, iterations: int = 200,
) -> Probe:
    """Fit logistic regression on frozen, standardised features; choose C on validation.

    Args: features ``(N, F)`` float with ``(N,)`` int64 labels, for training and for validation.
    Raises: ValueError if lengths differ or the training labels hold one class only.
    Source: Chen et al. 2020, section 2.2 (linear evaluation). Explained in notebooks/05.
    """
    for x, y in ((train_features, train_labels), (validation_features, validation_labels)):
        _check_labelled(x, y)
    if len(train_labels.unique()) < 2:
        raise ValueError("train_labels must hold at least two classes.")
    scaler = StandardScaler().fit(train_features.numpy())
    x, v = (scaler.transform(f.numpy()) for f in (train_features, validation_features))
    validation, best = {}, None
    for strength in strengths:
        classifier = LogisticRegression(C=strength, max_iter=iterations, tol=1e-3)
        classifier.fit(x, train_labels.numpy())
        validation[strength] = float(classifier.score(v, validation_labels.numpy()))
        if best is None or validation[strength] > validation[best[0]]:
            best = (strength, classifier)
    return Probe(best[0], validation, scaler, best[1])


def linear_probe(
    train_features: torch.Tensor, train_labels: torch.Tensor,
    validation_features: torch.Tensor, validation_labels: torch.Tensor,
    test_features: torch.Tensor, test_labels: torch.Tensor,
    strengths: Iterable[float] = STRENGTHS, iterations: int = 200,
) -> ProbeResult:
    """Fit a probe with ``fit_probe`` and read the test set once, with the chosen C.

    Raises: ValueError if lengths differ or the training labels hold one class only.
    Source: Chen et al. 2020, section 2.2 (linear evaluation). Explained in notebooks/05.
    """
    _check_labelled(test_features, test_labels)
    probe = fit_probe(train_features, train_labels, validation_features, validation_labels,
                      strengths, iterations)
    predictions = probe.predict(test_features)
    return ProbeResult(float((predictions == test_labels).float().mean()), probe.strength,
                       probe.validation, predictions)


def ridge_r2(train_features: torch.Tensor, train_values: torch.Tensor,
             test_features: torch.Tensor, test_values: torch.Tensor,
             strength: float = 1.0) -> float:
    """Return how much of a continuous factor features explain linearly: R2 on test data.

    Args: features ``(N, F)``; values ``(N,)`` float.  strength: of the ridge penalty, above 0.
    Returns: 1 for perfect prediction, 0 for guessing the mean; below 0 is worse than that.
    Raises: ValueError if shapes do not fit or the test values do not vary.
    Explained in notebooks/06.
    """
    for x, y in ((train_features, train_values), (test_features, test_values)):
        _check_labelled(x, y)
    if not float(test_values.float().var()) > 0:
        raise ValueError("test_values must vary, or R2 means nothing; got equal values.")
    x, t = (f.double().numpy() for f in (train_features, test_features))  # float32: ill-conditioned
    scaler = StandardScaler().fit(x)
    model = Ridge(alpha=strength).fit(scaler.transform(x), train_values.double().numpy())
    return float(model.score(scaler.transform(t), test_values.double().numpy()))


def embed_2d(features: torch.Tensor, method: str = "tsne", seed: int = 0,
             perplexity: float = 30.0) -> np.ndarray:
    """Draw features as a map, ``(N, 2)``, by "tsne" or "pca"."""
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(features.numpy())
    if method != "tsne":
        raise ValueError(f'method must be "tsne" or "pca"; got {method!r}.')
    if not 0 < perplexity < len(features):
        raise ValueError(f"perplexity must be above 0 and below N = {len(features)}; "
                         f"got {perplexity}.")
    return TSNE(2, perplexity=perplexity, random_state=seed, init="pca").fit_transform(
        features.numpy())


def confusion(predictions: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Count pairs, ``(K, K)``: row = true class, column = predicted."""
    return torch.bincount(labels * classes + predictions, minlength=classes**2).view(
        classes, classes)


def interval(values: Iterable[float], top: float | None = None) -> tuple[float, float, float]:
    """Return mean, low and high of a 95 % t-interval; of one value, the value three times.

    Args: top: 1 for shares, 100 for percentages: low and high are then worked out on the scale of
        log-odds, ln(v / (top - v)), and never leave 0 to ``top``. None: on the values themselves.
    Raises: ValueError for no value, values that are not finite, or outside 0 to ``top``.
    Explained in notebooks/05 and 06.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    values = np.asarray(list(values), dtype=float)
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("interval needs at least one value, and finite values; got "
                         f"{values.tolist()[:5]}.")
    if top is not None and not (0 <= values.min() and values.max() <= top):
        raise ValueError(f"values must lie between 0 and top = {top}; got {values.min():g} to "
                         f"{values.max():g}.")
    mean = float(values.mean())
    if len(values) == 1 or np.ptp(values) == 0:
        return mean, mean, mean
    if top is not None:  # a share of exactly 0 or 1 has no finite log-odds
        values = logit((values / top).clip(1e-4, 1 - 1e-4))
    middle = float(values.mean())
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    if top is None:
        return mean, middle - half, middle + half
    low, high = (float(top * expit(middle + side * half)) for side in (-1, 1))
    return mean, min(low, mean), max(high, mean)


def record(folder: str | Path, name: str, value: float, **facts: object) -> None:
    """Write one result into ``folder/results.json``; one of the same name and facts is replaced."""
    path = Path(folder) / "results.json"
    key = {k: facts.get(k) for k in ("dataset", "measure", "seed")}
    kept = [r for r in read_records(folder)
            if r["name"] != name or {k: r.get(k) for k in key} != key]
    half = path.with_suffix(f".{os.getpid()}.half")
    half.write_text(json.dumps([*kept, {"name": name, "value": float(value), **facts}], indent=1))
    os.replace(half, path)


def read_records(folder: str | Path) -> list[dict]:
    """Read the results of earlier notebooks; none yet gives an empty list.

    Raises: ValueError if the file was damaged.
    """
    path = Path(folder) / "results.json"
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text())
        return [r for r in records if r["name"] and float(r["value"]) == r["value"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Delete it and run the notebooks "
                         "again.") from error


def results_table(records: Iterable[dict]) -> str:
    """Return the results as a Markdown table, best last."""
    rows = ["| features | data | measure | accuracy |", "|---|---|---|---|"]
    for r in sorted(records, key=lambda r: r["value"]):
        rows.append(f"| {r['name']} | {r.get('dataset', '')} | {r.get('measure', '')} | "
                    f"{100 * r['value']:.1f} % |")
    return "\n".join(rows)


def checksum(record: dict) -> str:
    """Return the fingerprint of a benchmark record's content, its own checksum left out."""
    content = {k: v for k, v in record.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_benchmark(name: str, path: str | Path | None = None) -> list[dict]:
    """Read the records that ``python -m benchmarks.NAME`` left; they ship with the package.

    Args: path: another file of the same form.
    Raises: FileNotFoundError if it is missing; ValueError if a record is of another version or
        does not match its checksum. Each names the command that makes it again.
    """
    command = f"python -m benchmarks.{name.split('/')[0]}"
    path = Path(path) if path else Path(__file__).parent / "assets" / "results" / f"{name}.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing. Make it with `{command}`.")
    whole_lines = path.read_text().rpartition("\n")[0]  # what follows was cut by a kill
    records = []
    for number, line in enumerate(whole_lines.splitlines(), 1):
        try:
            record = json.loads(line)
            version, whole = record["version"], record["checksum"] == checksum(record)
        except (ValueError, KeyError, TypeError):
            version, whole = RECORD_VERSION, False
        if version != RECORD_VERSION:
            raise ValueError(f"{path.name}, line {number}, has version {version}, expected "
                             f"{RECORD_VERSION}. Delete the file and run `{command}`.")
        if not whole:
            raise ValueError(f"{path.name}, line {number}, does not match its checksum: it was "
                             f"changed by hand. Delete that line and run `{command}`.")
        records.append(record)
    return records


def _check_labelled(x: torch.Tensor, y: torch.Tensor) -> None:
    if x.dim() != 2 or len(x) != len(y):
        raise ValueError(f"features must be (N, F) with (N,) labels; got {tuple(x.shape)} and "
                         f"{tuple(y.shape)}.")


def _check_float(name: str, x: torch.Tensor) -> None:
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be a float32 tensor of features; got "
                        f"{getattr(x, 'dtype', type(x).__name__)}.")
    if x.dim() != 2 or not torch.isfinite(x).all():
        raise ValueError(f"{name} must be (N, F) and finite; got {tuple(x.shape)}"
                         f"{' with NaN or infinity' if x.dim() == 2 else ''}.")


def _check_pictures(images: torch.Tensor, bins: int = 1, channels: int | None = None) -> None:
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        raise TypeError("images must be a uint8 tensor (N, C, H, W); got "
                        f"{getattr(images, 'dtype', type(images).__name__)}.")
    if images.dim() != 4 or 0 in images.shape or channels not in (None, images.shape[1]):
        raise ValueError(f"images must be (N, {channels or 'C'}, H, W), no side of 0; got "
                         f"{tuple(images.shape)}.")
    if not 1 <= bins <= 256:
        raise ValueError(f"bins must be 1 to 256; got {bins}.")


def _check_features(bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, k: int,
                    temperature: float) -> None:
    for name, x in (("bank", bank), ("queries", queries)):
        if not isinstance(x, torch.Tensor) or x.dtype != torch.float32:
            raise TypeError(f"{name} must be a float32 tensor of features, as encode returns; got "
                            f"{getattr(x, 'dtype', type(x).__name__)}.")
    if bank.dim() != 2 or queries.dim() != 2 or bank.shape[1] != queries.shape[1] or not len(bank):
        raise ValueError("bank and queries must be (M, F) and (Q, F) with the same F; got "
                         f"{tuple(bank.shape)} and {tuple(queries.shape)}.")
    if labels.shape != bank.shape[:1] or labels.dtype != torch.int64 or labels.min() < 0:
        raise ValueError(f"bank_labels must be ({len(bank)},) int64 from 0 up; got "
                         f"{tuple(labels.shape)} {labels.dtype}.")
    if k < 1 or not temperature > 0:
        raise ValueError(f"k must be at least 1 and temperature above 0; got {k}, {temperature}.")
    if not (torch.isfinite(bank).all() and torch.isfinite(queries).all()):
        raise ValueError("bank and queries must be finite; got NaN or infinity.")

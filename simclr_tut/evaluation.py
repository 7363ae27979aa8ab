"""What the features are worth: kNN, linear probe, few labels, retrieval, maps, result records."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import numbers
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut import config
from simclr_tut._mapped import in_turn
from simclr_tut.data import ImageData

if TYPE_CHECKING:  # a second to load, so functions import it: a notebook opens without
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
RECORD_VERSION = 1  # of the records that benchmarks leave
_MOST_CLASSES = 100_000  # votes are counted in a table: a stray label must not fill the memory


def _in_float32(function: Callable) -> Callable:
    """Keep autocast out: under it products of float32 matrices have eight bits."""
    @functools.wraps(function)
    def computed(*given: object, **named: object) -> object:
        with torch.autocast("cpu", enabled=False):
            return function(*given, **named)
    return computed


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe: the strength C chosen on validation, and each C's accuracy there."""

    strength: float
    validation: dict[float, float]
    scaler: StandardScaler
    classifier: LogisticRegression

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """Return the class of each row of ``(N, F)`` features, ``(N,)`` int64."""
        _check_matrix("features", features, 1, self.scaler.n_features_in_)
        rows = self.scaler.transform(features.detach().numpy())
        return torch.from_numpy(self.classifier.predict(rows))


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
    Returns: ``(N, F)`` or ``(N, D)`` float32 on the CPU. A model on the CPU works on the GPU where
        there is one, and is put back, as its mode is.
    Raises: ValueError for another layer, a model without a head, float images outside [0, 1], or
        channels that the model does not take; TypeError for images of another dtype.
    Explained in notebooks/05.
    """
    images = images.images if isinstance(images, ImageData) else images
    if layer not in ("h", "z") or (layer == "z" and not hasattr(model, "head")):
        raise ValueError(f'layer must be "h", or "z" for a model with a head; got {layer!r}.')
    _check_encodable(images)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number, at least 1; got {batch_size!r}.")
    forward = model if layer == "z" else getattr(model, "encode", model)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    device = config.pick_device() if home.type == "cpu" else home
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        model.to(device)
        features = []
        for batch in in_turn(images, batch_size):
            batch = batch.to(device)
            batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
            with config.channels_named("images", batch):
                features.append(forward(batch).float().flatten(1).cpu())
        return torch.cat(features)
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode


def raw_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return the pixels themselves as features, ``(N, CHW)`` float in [0, 1].

    Args: images: ``(N, C, H, W)`` uint8. Raises: TypeError, ValueError for others.
    Explained in notebooks/00.
    """
    _check_pictures(images)
    return images.flatten(1).float() / 255


def color_histogram(images: torch.Tensor, bins: int = 4) -> torch.Tensor:
    """Return how often each of ``bins``**3 colours occurs, ``(N, bins**3)`` shares.

    Args: images: ``(N, 3, H, W)`` uint8.  bins: levels of each channel, 1 to 256.
    Raises: TypeError, ValueError for other images or bins. Explained in notebooks/00 and 01.
    """
    _check_pictures(images, bins, 3)
    levels = (images.long() * bins) // 256  # (N, 3, H, W)
    index = (levels[:, 0] * bins + levels[:, 1]) * bins + levels[:, 2]
    counts = torch.zeros(len(images), bins**3)
    counts.scatter_add_(1, index.flatten(1), torch.ones(()).expand(len(images), index[0].numel()))
    return counts / index[0].numel()


@_in_float32
def whiten(bank: torch.Tensor, *others: torch.Tensor,
           shrink: float = 0.01) -> tuple[torch.Tensor, ...]:
    """Map features so that ``bank`` has mean 0 and covariance 1; ``others`` by the same map.

    The loss reads z = head(h) alone, and the head's first layer could undo any invertible map of h:
    training does not fix the basis in which cosines of h are taken. No labels are used.

    Args:
        bank: representations of the training pictures, ``(M, F)`` float.
        others: representations of other pictures, ``(Q, F)``, such as queries.
        shrink: added to each variance, as a share of their mean, so that a direction that holds
            next to nothing is not blown up to full size.
    Returns: the mapped tensors, float32, in the order they came.
    Raises: TypeError, ValueError for fewer than two rows, NaN or infinity, or shrink <= 0.
    Source: Kessy, Lewin, Strimmer 2018 (arXiv 1512.00809), ZCA whitening.
    Explained in notebooks/05.
    """
    _check_whitening(bank, others, shrink)
    mean = bank.mean(dim=0, dtype=torch.float64)
    covariance = sum((part - mean).T @ (part - mean) for part in bank.split(5000)) / len(bank)
    variances, directions = torch.linalg.eigh(covariance)  # (F,), (F, F)
    stretch = (variances + shrink * variances.mean()).rsqrt()
    matrix = (directions * stretch) @ directions.T  # (F, F)
    return tuple(torch.cat([((part - mean) @ matrix).float() for part in x.split(5000)])
                 for x in (bank, *others))


def whitening_map(bank: torch.Tensor, shrink: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the map that ``whiten`` applies, as h @ matrix + offset.

    Args, Raises: as ``whiten``.
    Returns: matrix ``(F, F)`` and offset ``(F,)``, float32, as ``models.append_map`` takes them.
    Explained in notebooks/04.
    """
    _check_matrix("bank", bank)
    axes = torch.eye(bank.shape[1])
    _, offset, ends = whiten(bank, torch.zeros_like(axes[:1]), axes, shrink=shrink)
    return ends - offset, offset[0]


@_in_float32
def knn_predict(bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor,
                k: int = 200, temperature: float = 0.1) -> torch.Tensor:
    """Let the k most similar pictures of the bank vote, each with weight exp(cosine / temperature).

    Args:
        bank: ``(M, F)`` features with ``bank_labels``, ``(M,)`` int64.  queries: ``(Q, F)``.
        k: voters; at most M are used.
    Returns: ``(Q,)`` int64.
    Raises: ValueError for shapes that do not fit, k < 1, a temperature of 0 or below, or values
        not finite; TypeError for another dtype.
    Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4. Explained in notebooks/05.
    """
    _check_features(bank, bank_labels, queries, k, temperature)
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    predictions = []
    # at most 1,000 queries and 0.4 GB of similarities at a time
    for block in queries.split(max(1, min(1000, 10**8 // len(bank)))):
        similarity, nearest = (block @ bank.T).topk(min(k, len(bank)), dim=1)  # (B, k)
        # as shares of the nearest one's weight: the winner is the same, and nothing overflows
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(block), int(bank_labels.max()) + 1)
        votes.scatter_add_(1, bank_labels[nearest], weights)  # (B, K)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)


def knn_accuracy(bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor,
                 query_labels: torch.Tensor, k: int = 200, temperature: float = 0.1) -> float:
    """Return the share of queries whose weighted kNN vote is right.

    Args, Raises: as ``knn_predict``.  query_labels: ``(Q,)`` int64, Q at least 1.
    Explained in notebooks/05.
    """
    _check_matrix("queries", queries)
    _check_labels("query_labels", query_labels, len(queries))
    predictions = knn_predict(bank, bank_labels, queries, k, temperature)
    return float((predictions == query_labels).float().mean())


def knn_plain_and_whitened(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor,
    query_labels: torch.Tensor, k: int = 200,
) -> tuple[float, float]:
    """Return the weighted kNN accuracy of features as they are, and of the same ones whitened.

    Args, Raises: as ``knn_accuracy``.  Explained in notebooks/05.
    """
    pairs = (bank, queries), whiten(bank, queries)
    plain, white = (knn_accuracy(known, bank_labels, asked, query_labels, k)
                    for known, asked in pairs)
    return plain, white


def retrieval(bank: torch.Tensor, k: int, queries: torch.Tensor | None = None) -> torch.Tensor:
    """Return the k nearest pictures of the bank by cosine, nearest first, ``(Q, k)`` int64.

    Args:
        bank: ``(M, F)`` float.  k: neighbours of each.
        queries: row numbers of the bank, ``(Q,)`` int64; None for all. None matches itself.
    Raises: ValueError if k is not between 1 and M - 1, or a row number is not one of the bank.
    Explained in notebooks/05.
    """
    _check_matrix("bank", bank)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k < len(bank):
        raise ValueError(f"k must be between 1 and {len(bank) - 1}, the rest of the bank; "
                         f"got {k!r}.")
    if queries is not None:
        _check_rows(queries, len(bank))
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

    Args:
        train_features, validation_features: ``(N, F)`` float, with ``(N,)`` int64 labels.
        strengths: values of C to choose from.  iterations: the most of the solver.
    Raises: ValueError if sizes differ, a value is not finite, or the training labels hold one
        class only; TypeError for another dtype.
    Source: Chen et al. 2020, section 2.2 (linear evaluation). Explained in notebooks/05.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    columns = _check_labelled("train", train_features, train_labels)
    _check_labelled("validation", validation_features, validation_labels, columns)
    strengths = _check_fit(strengths, iterations)
    if len(train_labels.unique()) < 2:
        raise ValueError("train_labels must hold at least two classes.")
    scaler = StandardScaler().fit(train_features.detach().numpy())
    x, v = (scaler.transform(f.detach().numpy()) for f in (train_features, validation_features))
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

    Args, Raises: as ``fit_probe``.  test_features, test_labels: ``(N, F)`` and ``(N,)``.
    Source: Chen et al. 2020, section 2.2 (linear evaluation). Explained in notebooks/05.
    """
    _check_labelled("test", test_features, test_labels)
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
    Raises: ValueError if shapes do not fit, a value is not finite, or the test values do not vary;
        TypeError for complex values.
    Explained in notebooks/06.
    """
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    columns = _check_labelled("train", train_features, train_values, what="values")
    _check_labelled("test", test_features, test_values, columns, what="values")
    if not isinstance(strength, int | float) or not 0 < strength < 1e30:
        raise ValueError(f"strength must be above 0 and finite; got {strength!r}.")
    if len(test_values) < 2 or not float(test_values.detach().double().var()) > 0:
        raise ValueError("test_values must vary, or R2 means nothing; got equal values.")
    # float64: float32 would be ill-conditioned
    x, t = (f.detach().double().numpy() for f in (train_features, test_features))
    scaler = StandardScaler().fit(x)
    model = Ridge(alpha=strength).fit(scaler.transform(x), train_values.detach().double().numpy())
    return float(model.score(scaler.transform(t), test_values.detach().double().numpy()))


def embed_2d(features: torch.Tensor, method: str = "tsne", seed: int = 0,
             perplexity: float = 30.0) -> np.ndarray:
    """Draw features as a map, ``(N, 2)``, by "tsne" or "pca".

    Args: features: ``(N, F)`` float, N and F at least 2.  perplexity: t-SNE's, below N.
    Raises: ValueError for another method or perplexity, or features that are equal or not finite.
    Explained in notebooks/05.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    _check_matrix("features", features, rows=2)
    if features.shape[1] < 2 or bool((features == features[0]).all()):
        raise ValueError("features must be (N, F) with F >= 2, and not all rows the same; got "
                         f"{tuple(features.shape)}. Is the encoder collapsed?")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 4294967295; got {seed!r}.")
    largest = float(features.detach().abs().max())
    if not 1e-6 < largest < 1e6:  # a map has no scale, and t-SNE crashes on distances near 0
        features = features.detach() / largest
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(features.detach().numpy())
    if method != "tsne":
        raise ValueError(f'method must be "tsne" or "pca"; got {method!r}.')
    if not isinstance(perplexity, int | float) or not 0 < perplexity < len(features):
        raise ValueError(f"perplexity must be a number above 0 and below N = {len(features)}; "
                         f"got {perplexity!r}.")
    return TSNE(2, perplexity=perplexity, random_state=seed, init="pca").fit_transform(
        features.detach().numpy())


def confusion(predictions: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Count pairs, ``(K, K)``: row = true class, column = predicted.

    Args: predictions, labels: ``(N,)`` int64, 0 … K - 1.  classes: K.
    Raises: ValueError for a class outside 0 … K - 1 or lengths that differ.
    """
    if not isinstance(classes, int) or isinstance(classes, bool) or not 1 <= classes <= 10_000:
        raise ValueError(f"classes must be a whole number, 1 to 10,000; got {classes!r}.")
    n = labels.numel() if isinstance(labels, torch.Tensor) else 0
    for name, values in (("predictions", predictions), ("labels", labels)):
        _check_labels(name, values, n, classes)
    return torch.bincount(labels * classes + predictions, minlength=classes**2).view(
        classes, classes)


def interval(values: Iterable[float], top: float | None = None) -> tuple[float, float, float]:
    """Return mean, low and high of a 95 % t-interval; of one value, the value three times.

    Args: top: 1 for shares, 100 for percentages: low and high are then worked out on the scale of
        log-odds, ln(v / (top - v)), and never leave 0 to ``top``. None: on the values themselves.
    Raises: ValueError for no value, values that are not finite, or outside 0 to ``top``; TypeError
        for values that are no numbers.
    Explained in notebooks/05 and 06.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    if isinstance(values, str | bytes):
        raise TypeError(f"values must be numbers; got the text {values!r:.60}.")
    try:
        values = np.asarray(list(values), dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"values must be numbers; got {values!r:.60}.") from error
    if values.ndim != 1:
        raise TypeError(f"values must be numbers, one after the other; got {values.shape}.")
    if top is not None and (not isinstance(top, numbers.Real) or not 0 < top < 1e30):
        raise ValueError(f"top must be None or a number above 0; got {top!r:.60}.")
    if len(values) == 0 or not (abs(values) < 1e100).all():
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
    """Write one result into ``folder/results.json``; one of the same name and facts is replaced.

    Args: folder: made if absent.  value: finite.  facts: dataset, measure, seed and others.
    Raises: ValueError for a value that is not finite or a damaged file; OSError, with what to do,
        if the folder cannot be written.
    """
    _check_record(name, value)
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise TypeError(f"facts must be texts, numbers and lists, to be written as JSON; {error}. "
                        "Wrap a number of NumPy or torch in int() or float().") from error
    path = Path(folder) / "results.json"
    key = {k: facts.get(k) for k in ("dataset", "measure", "seed")}
    half = path.with_suffix(f".{os.getpid()}.half")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with config.alone(path.with_suffix(".lock")):  # two notebooks may record at once
            kept = [r for r in read_records(folder)
                    if r["name"] != name or {k: r.get(k) for k in key} != key]
            half.write_text(json.dumps(
                [*kept, {"name": name, "value": float(value), **facts}], indent=1))
            os.replace(half, path)
    except OSError as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise OSError(f"the result could not be written to {path} ({error.strerror or error}). "
                      "Free some space, or set SIMCLR_TUT_HOME to a folder you may write."
                      ) from error


def read_records(folder: str | Path) -> list[dict]:
    """Read the results of earlier notebooks; none yet gives an empty list.

    Raises: ValueError if the file was damaged.
    """
    path = Path(folder) / "results.json"
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text())
        for r in records:
            _check_record(r["name"], r["value"])
        return [{**r, "value": float(r["value"])} for r in records]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
    try:
        whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0]  # the rest was cut off
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text ({error}). Delete it and run `{command}`."
                         ) from error
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


def _check_matrix(name: str, x: torch.Tensor, rows: int = 0, columns: int | None = None) -> None:
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be a float32 tensor of features, as encode returns; got "
                        f"{type(x).__name__} {getattr(x, 'dtype', '')}.")
    _check_near(name, x)
    if x.dim() != 2 or len(x) < rows or x.shape[1] < 1 or columns not in (None, x.shape[1]):
        raise ValueError(f"{name} must be (N, {columns or 'F'}) with N >= {rows}; got "
                         f"{tuple(x.shape)}.")
    if x.numel() and not float(x.detach().abs().max()) < 1e16:  # squares must fit into float32
        raise ValueError(f"{name} must be finite, and below 1e16; got NaN, infinity or larger.")


def _check_directions(name: str, x: torch.Tensor) -> None:
    longest = x.detach().abs().amax(dim=1)
    if bool(((longest > 0) & (longest < 1e-10)).any()):
        raise ValueError(f"{name} must have a number of 1e-10 or more in each row, or zeros only: "
                         "of shorter rows float32 loses the direction. Multiply it first.")


def _check_near(name: str, x: torch.Tensor) -> None:
    if x.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, as encode returns features and load_dataset "
                         f"pictures; got {x.device}. Call .cpu().")


def _check_labels(name: str, labels: torch.Tensor, n: int, classes: int | None = None
                  ) -> None:
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"{name} must be an int64 tensor of class numbers; got "
                        f"{getattr(labels, 'dtype', type(labels).__name__)}.")
    if labels.shape != (n,) or not n:
        raise ValueError(f"{name} must be ({n or 'N'},), one a row, at least one; got "
                         f"{tuple(labels.shape)}.")
    low, high = (int(v) for v in labels.aminmax())
    limit = _MOST_CLASSES if classes is None else classes
    if low < 0 or high >= limit:
        raise ValueError(f"{name} must be classes from 0 up, below {limit}; got {low} to {high}. "
                         "Leave unlabelled pictures (-1) out.")


def _check_rows(rows: torch.Tensor, n: int) -> None:
    if not isinstance(rows, torch.Tensor) or rows.dtype != torch.int64 or rows.dim() != 1:
        raise TypeError("queries must be an int64 tensor (Q,) of row numbers; got "
                        f"{getattr(rows, 'dtype', type(rows).__name__)} "
                        f"{tuple(getattr(rows, 'shape', ()))}.")
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < n):
        raise ValueError(f"queries must be row numbers of the bank, 0 to {n - 1}; got "
                         f"{int(rows.min())} to {int(rows.max())}.")


def _check_labelled(part: str, x: torch.Tensor, y: torch.Tensor, columns: int | None = None,
                    what: str = "labels") -> int:
    """Check features and what is known of each row; return F."""
    _check_matrix(f"{part}_features", x, 1, columns)
    if what == "labels":
        _check_labels(f"{part}_labels", y, len(x))
    elif isinstance(y, torch.Tensor) and y.is_complex():
        raise TypeError(f"{part}_values must be real numbers; got {y.dtype}.")
    elif not isinstance(y, torch.Tensor) or y.shape != x.shape[:1] or not torch.isfinite(y).all():
        raise ValueError(f"{part}_values must be a finite tensor ({len(x)},), one a row; got "
                         f"{tuple(getattr(y, 'shape', ()))}.")
    return x.shape[1]


def _check_fit(strengths: Iterable[float], iterations: int) -> tuple[float, ...]:
    strengths = tuple(strengths) if isinstance(strengths, Iterable) else (strengths,)
    if not strengths or not all(isinstance(s, int | float) and 0 < s < 1e30
                                for s in strengths):
        raise ValueError("strengths must hold at least one C, all above 0 and finite; got "
                         f"{strengths}.")
    if not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations must be a whole number, at least 1; got {iterations!r}.")
    return strengths


def _check_record(name: str, value: float) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a word or more; got {name!r}.")
    try:
        finite = math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise ValueError(f"value must be finite, to be recorded as {name!r}; got {value!r}.")


def _check_encodable(images: torch.Tensor) -> None:
    if not isinstance(images, torch.Tensor) or not (
            images.dtype == torch.uint8 or images.is_floating_point()):
        raise TypeError("images must be a uint8 or float tensor (N, C, H, W); got "
                        f"{type(images).__name__} {getattr(images, 'dtype', '')}.")
    if images.dim() != 4 or 0 in images.shape:
        raise ValueError("images must be (N, C, H, W), no side of 0; got "
                         f"{tuple(images.shape)}.")
    if images.dtype != torch.uint8:
        low, high = (float(v) for v in images.aminmax())
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise ValueError(f"images must lie in [0, 1] when float; got {low:.3g} to {high:.3g}. "
                             "Divide bytes by 255, or pass uint8.")


def _check_pictures(images: torch.Tensor, bins: int = 1, channels: int | None = None) -> None:
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        raise TypeError("images must be a uint8 tensor (N, C, H, W); got "
                        f"{getattr(images, 'dtype', type(images).__name__)}.")
    _check_near("images", images)
    if images.dim() != 4 or 0 in images.shape or channels not in (None, images.shape[1]):
        raise ValueError(f"images must be (N, {channels or 'C'}, H, W), no side of 0; got "
                         f"{tuple(images.shape)}.")
    if not isinstance(bins, int) or not 1 <= bins <= 256:
        raise ValueError(f"bins must be a whole number, 1 to 256; got {bins!r}.")


def _check_whitening(bank: torch.Tensor, others: tuple, shrink: float) -> None:
    _check_matrix("bank", bank, 2)
    for x in others:
        _check_matrix("others", x, columns=bank.shape[1])
    if any(x.dtype != torch.float32 for x in (bank, *others)):
        raise TypeError("bank and others must be float32, as encode returns; got "
                        f"{', '.join(str(x.dtype) for x in (bank, *others))}.")
    if (isinstance(shrink, bool) or not isinstance(shrink, int | float)
            or not 1e-12 <= shrink < 1e6):
        raise ValueError(f"shrink must be from 1e-12 to 1e6; got {shrink!r}.")
    if not float(bank.float().var(dim=0).sum()) > 0:
        raise ValueError("bank must hold rows that differ; they are all alike.")


def _check_features(bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, k: int,
                    temperature: float) -> None:
    for name, x in (("bank", bank), ("queries", queries)):
        _check_matrix(name, x)
        _check_directions(name, x)
    if bank.dtype != queries.dtype or bank.dtype != torch.float32:
        raise TypeError("bank and queries must be float32, as encode returns; got "
                        f"{bank.dtype} and {queries.dtype}.")
    if bank.shape[1] != queries.shape[1] or not len(bank):
        raise ValueError("bank and queries must be (M, F) and (Q, F) with the same F; got "
                         f"{tuple(bank.shape)} and {tuple(queries.shape)}.")
    _check_labels("bank_labels", labels, len(bank))
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a whole number, at least 1; got {k!r}.")
    if (not isinstance(temperature, (int, float)) or isinstance(temperature, bool)
            or not 1e-30 <= temperature < 1e30):
        raise ValueError("temperature must be above 0 and finite, from 1e-30; got "
                         f"{temperature!r}.")

"""NT-Xent, its chance level and floor, measures of an embedding, and other methods' objectives.

Embeddings need not have unit length where cosine similarity is used. Everything but
``nt_xent_naive`` is computed in float32, also under autocast and for float64 input.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import torch
from torch.nn import functional as F

_LARGEST = 1e16  # of an embedding: the square, and a sum of many squares, fit into float32
_SMALLEST = 1e-10  # of a row's largest entry: below about 1e-12 a normalised row is none


def _in_float32(function: Callable) -> Callable:
    """Keep autocast out: under it even products of float32 matrices have eight bits."""
    @functools.wraps(function)
    def computed(*given: object, **named: object) -> torch.Tensor:
        with ExitStack() as off:
            for kind in ("cpu", "cuda"):  # asked first: older torch warns where there is no GPU
                if torch.is_autocast_enabled(kind):
                    off.enter_context(torch.autocast(kind, enabled=False))
            return function(*given, **named)
    return computed


@_in_float32
def nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """NT-Xent loss of N positive pairs, averaged over the 2N anchors.

    Args:
        z1, z2: embeddings of view 1 and view 2, ``(N, D)`` float; row i of both shows image i.
        temperature: above 0; divides the cosine similarities.
    Returns: scalar tensor in nats; ln(2N - 1) when all similarities are equal.
    Raises: ValueError if shapes differ, N < 2, temperature <= 0, or, on the CPU, a value is not
        finite (on a GPU the loss is then NaN: a look at the values would make it wait).
    Source: Chen et al. 2020, Eq. 1 and Algorithm 1. Explained in notebooks/03.
    """
    _check_pairs(z1, z2, temperature)
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)  # (2N, D)
    similarity = (z / temperature) @ z.T  # (2N, 2N)
    similarity.fill_diagonal_(-torch.inf)  # no view is compared with itself
    n = len(z1)
    positive = torch.arange(2 * n, device=z.device).roll(n)  # row i's positive is i + N, mod 2N
    return F.cross_entropy(similarity, positive)


@_in_float32
def multi_view_nt_xent(z: Sequence[torch.Tensor], temperature: float = 0.5) -> torch.Tensor:
    """NT-Xent of V views of N images: every other view of an image is a positive in its turn.

    The negatives of an anchor are all views of all other images; further views of its own image
    stay out of the denominator. With two views it is ``nt_xent``.

    Args: z: V tensors ``(N, D)`` float, V at least 2; row i of each shows image i.
    Returns: scalar tensor in nats, the mean over the V(V - 1)N pairs of anchor and positive.
    Raises: ValueError as ``nt_xent``, or for fewer than two views.
    Source: Chen et al. 2020, Eq. 1, for each pair; for more than two views see Shidani et al.
    2024 (arXiv 2403.05490). Explained in notebooks/04.
    """
    _check_views(z, temperature)
    unit = F.normalize(torch.cat(tuple(z)).float(), dim=1)  # (VN, D)
    views, n = len(z), len(z[0])
    image = torch.arange(n, device=unit.device).repeat(views)
    similarity = (unit / temperature) @ unit.T  # (VN, VN)
    similarity.masked_fill_(image[:, None] == image, -torch.inf)
    negatives = similarity.logsumexp(dim=1).view(views, 1, n)
    by_view = unit.view(views, n, -1)
    # [a, b, i]: image i in view a, the anchor, and in view b
    positive = torch.einsum("aid,bid->abi", by_view, by_view) / temperature  # (V, V, N)
    loss = torch.logaddexp(positive, negatives) - positive
    itself = torch.eye(views, device=unit.device)[:, :, None]
    return (loss * (1 - itself)).sum() / (views * (views - 1) * n)


def nt_xent_naive(z1: torch.Tensor, z2: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """NT-Xent as the paper writes it, one anchor and one comparison at a time.

    Args, Raises: as ``nt_xent``; also ValueError where this plain form would give NaN and
        ``nt_xent`` does not: for a row of length 0, and for a temperature below 0.02.
    Returns: scalar of the inputs' dtype.
    Source: Chen et al. 2020, Eq. 1. Explained in notebooks/03.
    """
    _check_naive(z1, z2, temperature)
    z = torch.cat([z1, z2])  # (2N, D)
    n, total = len(z1), 0.0
    for i in range(2 * n):
        positive, denominator = (i + n) % (2 * n), 0.0
        for k in range(2 * n):
            if k != i:
                cosine = z[i] @ z[k] / (z[i].norm() * z[k].norm())
                denominator = denominator + torch.exp(cosine / temperature)
        cosine = z[i] @ z[positive] / (z[i].norm() * z[positive].norm())
        total = total - torch.log(torch.exp(cosine / temperature) / denominator)
    return total / (2 * n)


def chance_loss(n: int, views: int = 2) -> float:
    """NT-Xent of N images when all similarities are equal, as in total collapse: ln(2N - 1).

    With V views an anchor has V(N - 1) negatives beside its positive: ln(V(N - 1) + 1).
    Raises: ValueError unless n and views are whole numbers, at least 2.
    """
    _check_count(n, views)
    return math.log(views * (n - 1) + 1)


def loss_floor(n: int, temperature: float, views: int = 2) -> float:
    """Lowest mean NT-Xent of N images: positives at cosine 1, negatives at -1/(N - 1).

    Reached by a regular simplex, when D >= N - 1. By Jensen's inequality nothing is lower.
    Raises: ValueError if n < 2, views < 2 or temperature <= 0.
    """
    _check_count(n, views)
    _check_temperature(temperature)
    return math.log1p(views * (n - 1) * math.exp(-(n / (n - 1)) / temperature))


def progress(loss: float, n: int, temperature: float, views: int = 2) -> float:
    """Share of the way from chance (0) to floor (1) that an NT-Xent of N images has come.

    Compares runs of different N at one temperature. Below 0: worse than chance. Above 1: no
    NT-Xent.
    Raises: ValueError as ``loss_floor``, or if the loss is not finite. Explained in notebooks/07.
    """
    chance, floor = chance_loss(n, views), loss_floor(n, temperature, views)
    if not chance > floor:
        raise ValueError(f"temperature must leave room between chance and floor; at {temperature} "
                         "both are equal in float64.")
    single = loss.numel() == 1 if isinstance(loss, torch.Tensor) else True
    if not isinstance(loss, numbers.Real | torch.Tensor) or not single:
        raise TypeError(f"loss must be one number; got {loss!r:.60}.")
    if not math.isfinite(loss):
        raise ValueError(f"loss must be finite; got {loss}. Lower the learning rate.")
    return (chance - float(loss)) / (chance - floor)


@_in_float32
def contrastive_accuracy(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """Share of the 2N views whose nearest other view, by cosine, is their positive.

    Ties count as the share of the tied that is right, so a collapsed model scores 1/(2N - 1).
    Args: z1, z2: ``(N, D)`` float.  Raises: as ``nt_xent``. Explained in notebooks/04.
    """
    _check_pairs(z1, z2, 1.0)
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
    # of unit vectors the nearest has the largest cosine; near collapse, where all cosines round to
    # 1, differences of coordinates still tell them apart
    distance = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(torch.inf)
    n = len(z1)
    positive = torch.arange(2 * n, device=z.device).roll(n)
    tied = distance <= distance.min(dim=1, keepdim=True).values + 1e-6
    return (tied.gather(1, positive[:, None])[:, 0] / tied.sum(dim=1)).mean()


@_in_float32
def alignment(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of the two views' unit embeddings, 0 (best) to 4.

    Args: z1, z2: ``(N, D)`` float.  Raises: as ``nt_xent``.
    Source: Wang and Isola 2020 (arXiv 2005.10242), with exponent 2. Explained in notebooks/03.
    """
    _check_pairs(z1, z2, 1.0)
    difference = F.normalize(z1.float(), dim=1) - F.normalize(z2.float(), dim=1)
    return difference.square().sum(dim=1).mean()


@_in_float32
def uniformity(z: torch.Tensor) -> torch.Tensor:
    """Log of the mean Gaussian potential of all pairs; 0 when collapsed, lower is more even.

    Args: z: ``(N, D)`` float, N at least 2.  Raises: TypeError, ValueError for anything else.
    Source: Wang and Isola 2020 (arXiv 2005.10242), with t = 2. Explained in notebooks/03.
    """
    _check_matrix(z, "z", 2, lowest=_SMALLEST)
    distances = torch.pdist(F.normalize(z.float(), dim=1))
    return distances.square().mul(-2).exp().mean().log()


@_in_float32
def effective_rank(z: torch.Tensor) -> torch.Tensor:
    """Exponential of the entropy of the normalised singular values of ``(N, D)``, not centred.

    1 when all rows are parallel; at most min(N, D).
    Raises: TypeError, ValueError unless ``z`` is a finite float matrix.
    Source: RankMe (arXiv 2210.02885). Explained in notebooks/04.
    """
    _check_matrix(z, "z", 1)
    values = torch.linalg.svdvals(z.float())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.exp(-torch.special.xlogy(shares, shares).sum())


@_in_float32
def decoupled_nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float = 0.5
                      ) -> torch.Tensor:
    """NT-Xent without the positive in its denominator: easy pairs keep their whole gradient.

    Args, Raises: as ``nt_xent``.
    Source: Yeh et al. 2022, decoupled contrastive learning (arXiv 2110.06848).
    Explained in notebooks/08.
    """
    _check_pairs(z1, z2, temperature)
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
    similarity = z @ z.T / temperature
    own = torch.eye(len(z1), dtype=torch.bool, device=z.device).repeat(2, 2)  # itself and positive
    return (similarity.masked_fill(own, -torch.inf).logsumexp(dim=1)
            - similarity.diagonal(len(z1)).repeat(2)).mean()


@_in_float32
def info_nce(
    queries: torch.Tensor, keys: torch.Tensor, queue: torch.Tensor, temperature: float = 0.2
) -> torch.Tensor:
    """Contrast each query with its key and with a queue of old keys.

    Args: queries, keys: ``(N, D)`` float, N at least 2.  queue: ``(K, D)`` float.
    Raises: ValueError, TypeError as ``nt_xent``, or for a queue of another width.
    Source: He et al. 2020, Eq. 1 (MoCo). Explained in notebooks/08.
    """
    _check_one_device(queries, queue=queue)
    _check_pairs(queries, keys, temperature)
    _check_matrix(queue, "queue", 1, lowest=_SMALLEST)
    if queue.shape[1] != queries.shape[1]:
        raise ValueError(f"queue must be (K, {queries.shape[1]}), as wide as the queries; got "
                         f"{tuple(queue.shape)}.")
    queries, keys, queue = (F.normalize(x.float(), dim=1) for x in (queries, keys, queue))
    positive = (queries * keys).sum(dim=1, keepdim=True)  # (N, 1)
    logits = torch.cat([positive, queries @ queue.T], dim=1) / temperature  # (N, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64,
                                               device=logits.device))


@_in_float32
def sup_con(
    z1: torch.Tensor, z2: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """Supervised contrast: every view of the same class is a positive.

    Args: labels: ``(N,)`` int64, the same number for the same class.
    Raises: ValueError, TypeError as ``nt_xent``, or for labels of another shape or dtype.
    Source: Khosla et al. 2020, Eq. 2 (the sum outside the logarithm). Explained in notebooks/08.
    """
    _check_one_device(z1, labels=labels)
    _check_pairs(z1, z2, temperature)
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64:
        raise TypeError("labels must be an int64 tensor (N,); got "
                        f"{getattr(labels, 'dtype', type(labels).__name__)}.")
    if labels.shape != (len(z1),):
        raise ValueError(f"labels must be ({len(z1)},), one a pair; got {tuple(labels.shape)}.")
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    log_share = (logits - logits.logsumexp(dim=1, keepdim=True)).masked_fill(itself, 0)
    twice = labels.repeat(2)
    positive = (twice[:, None] == twice[None, :]) & ~itself
    return -((log_share * positive).sum(dim=1) / positive.sum(dim=1)).mean()


@_in_float32
def negative_cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Minus the mean cosine of prediction and target; no gradient reaches the target.

    Args: prediction, target: ``(N, D)`` float.  Raises: as ``nt_xent``.
    Source: Chen and He 2021, Eq. 1 and Algorithm 1 (SimSiam). Explained in notebooks/08.
    """
    _check_pairs(prediction, target, 1.0)
    prediction, target = (F.normalize(x.float(), dim=1) for x in (prediction, target.detach()))
    return -(prediction * target).sum(dim=1).mean()


@_in_float32
def barlow_twins(z1: torch.Tensor, z2: torch.Tensor, weight: float = 5e-3) -> torch.Tensor:
    """Bring the cross-correlation of the two views' embeddings to the identity.

    Args: weight: of the entries beside the diagonal, 0 or above.
    Raises: ValueError, TypeError as ``nt_xent``, or for another weight.
    Source: Zbontar et al. 2021, Eq. 1. Explained in notebooks/08.
    """
    _check_pairs(z1, z2, 1.0, smallest=0)
    _check_weights(weight=weight)
    first, second = ((z - z.mean(0)) / (z.std(0, correction=0) + 1e-5)
                     for z in (z1.float(), z2.float()))
    correlation = first.T @ second / len(z1)  # (D, D)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + weight * (correlation.square().sum()
                                                     - diagonal.square().sum())


@_in_float32
def vicreg(
    z1: torch.Tensor, z2: torch.Tensor, invariance: float = 25.0, variance: float = 25.0,
    covariance: float = 1.0,
) -> torch.Tensor:
    """Near views, a spread of at least 1 in each dimension, no correlation between dimensions.

    Args: invariance, variance, covariance: weights of the three terms, 0 or above.
    Raises: ValueError, TypeError as ``nt_xent``, or for other weights.
    Source: Bardes et al. 2022, as in their code; Eqs. 5 and 6 sum where it averages.
    Explained in notebooks/08.
    """
    _check_pairs(z1, z2, 1.0, largest=1e7, smallest=0)  # squares of its squares fit into float32
    _check_weights(invariance=invariance, variance=variance, covariance=covariance)
    z1, z2 = z1.float(), z2.float()
    spread, redundancy = 0.0, 0.0
    for z in (z1, z2):
        centred = z - z.mean(0)
        spread = spread + F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() / 2
        matrix = centred.T @ centred / (len(z) - 1)
        redundancy = redundancy + (matrix.square().sum()
                                   - matrix.diagonal().square().sum()) / z.shape[1]
    return invariance * F.mse_loss(z1, z2) + variance * spread + covariance * redundancy


def _check_matrix(z: torch.Tensor, name: str, rows: int, highest: float = _LARGEST,
                  lowest: float = 0.0) -> None:
    if not isinstance(z, torch.Tensor) or not z.is_floating_point():
        raise TypeError(f"{name} must be a float tensor (N, D); got {type(z).__name__} "
                        f"{getattr(z, 'dtype', '')}.")
    if z.dtype.itemsize < 2:  # an eighth of these could not be compared
        raise TypeError(f"{name} must have 16 bits a number or more; got {z.dtype}.")
    if z.dim() != 2 or len(z) < rows or z.shape[1] < 1:
        raise ValueError(f"{name} must be (N, D) with N >= {rows}; got {tuple(z.shape)}.")
    if z.device.type != "cpu":
        return  # a look at values makes a GPU wait at every step: there a NaN shows in the loss
    longest = z.detach().abs().amax(dim=1)  # of each row
    largest = float(longest.max())  # NaN if there is one
    if not math.isfinite(largest):
        raise ValueError(f"{name} must be finite; got NaN or infinity. Lower the learning rate, "
                         "and look for a division by zero in the model.")
    if largest > highest:
        raise ValueError(f"{name} must be at most {highest:g}, or its square overflows float32; "
                         f"got {largest:.3g}. Lower the learning rate.")
    if bool(((longest > 0) & (longest < lowest)).any()):
        raise ValueError(f"{name} must have a number of {lowest:g} or more in each row, or zeros "
                         "only: of shorter rows float32 loses the direction. Multiply it first.")


def _check_one_device(first: torch.Tensor, **others: torch.Tensor) -> None:
    for name, other in others.items():
        if not (isinstance(first, torch.Tensor) and isinstance(other, torch.Tensor)):
            return  # the check of its type will say so
        if first.device != other.device:
            raise ValueError(f"all inputs must be on one device; {name} is on {other.device}, the "
                             f"first on {first.device}. Move it: {name}.to({str(first.device)!r}).")


def _check_temperature(temperature: float) -> None:
    if isinstance(temperature, torch.Tensor) and temperature.numel() == 1 and temperature.dim() < 2:
        if temperature.dim() and temperature.dtype == torch.float64:
            raise TypeError("temperature, where it is learnt, must be float32 like the embeddings' "
                            f"product; got {temperature.dtype} {tuple(temperature.shape)}.")
        temperature = temperature.item()  # it may be learnt
    fraction = (isinstance(temperature, numbers.Rational)
                and not isinstance(temperature, numbers.Integral))
    if not isinstance(temperature, numbers.Real) or isinstance(temperature, bool) or fraction:
        raise TypeError(f"temperature must be one number; got {temperature!r:.60}.")
    with suppress(OverflowError):  # a whole number beyond float: too large below
        temperature = float(temperature)
    if not 0 < temperature <= 1e308:
        raise ValueError(f"temperature must be above 0 and finite; got {temperature!r:.60}. "
                         "Chen et al. 2020 use 0.1 to 0.5.")
    if temperature < 1e-30:
        raise ValueError("temperature must be at least 1e-30, or a cosine divided by it overflows "
                         f"float32; got {temperature}.")


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not isinstance(weight, numbers.Real) or not 0 <= weight <= 1e6:
            raise ValueError(f"{name} must be a number from 0 to 1e6; got {weight!r:.60}.")


def _check_naive(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> None:
    _check_pairs(z1, z2, temperature)
    if z1.dtype not in (torch.float32, torch.float64):
        raise TypeError("z1 must be float32 or float64 in this plain form, which computes in the "
                        f"type it gets; got {z1.dtype}. Use z1.float(), or nt_xent.")
    if temperature < 0.02:
        raise ValueError("temperature must be at least 0.02 in this plain form, or exp overflows; "
                         f"got {temperature}. Use nt_xent.")
    for name, z in (("z1", z1), ("z2", z2)):
        if not bool((z.norm(dim=1) > 0).all()):
            raise ValueError(f"{name} must hold no row of length 0, which has no direction: its "
                             "cosine would be 0 / 0. nt_xent counts it as equally far from all.")


def _check_count(n: int, views: int) -> None:
    if not isinstance(n, numbers.Integral) or not 2 <= n <= 10**15:
        raise ValueError(f"n must be a whole number of images, 2 to 10**15; got {n!r:.60}.")
    if not isinstance(views, numbers.Integral) or views < 2:
        raise ValueError(f"views must be a whole number, at least 2; got {views!r}.")


def _check_views(z: Sequence[torch.Tensor], temperature: float) -> None:
    if not isinstance(z, Sequence) or len(z) < 2:
        raise ValueError("z must be a list of at least two views' embeddings, each (N, D); got "
                         f"{len(z) if isinstance(z, Sequence) else type(z).__name__}.")
    for other in z[1:]:
        _check_pairs(z[0], other, temperature)


def _check_pairs(z1: torch.Tensor, z2: torch.Tensor, temperature: float,
                 largest: float = _LARGEST, smallest: float = _SMALLEST) -> None:
    _check_one_device(z1, z2=z2)
    _check_matrix(z1, "z1", 1, largest, smallest)
    _check_matrix(z2, "z2", 1, largest, smallest)
    if z1.shape != z2.shape:
        raise ValueError(f"z1 and z2 must have the same shape (N, D); got {tuple(z1.shape)} and "
                         f"{tuple(z2.shape)}. Did one view skip the projection head?")
    if len(z1) < 2:
        raise ValueError("z1 and z2 must hold at least 2 images, or there is no negative; got 1.")
    _check_temperature(temperature)

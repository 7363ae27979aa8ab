"""The training loop: views, loss, gradient step, schedule, checkpoints.

A run's randomness depends on its seed and the step alone, so a run that was stopped and resumed
gives the weights of the run that was not.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from simclr_tut import _parallel
from simclr_tut._checkpoint import Checkpoint
from simclr_tut._mapped import take
from simclr_tut._parallel import gather, joined_processes, processes
from simclr_tut.config import Recipe, channels_named, has_fast_bf16, pick_device
from simclr_tut.losses import multi_view_nt_xent

Inputs = tuple[torch.Tensor, ...]
Objective = Callable[[nn.Module, Inputs], torch.Tensor]
_SAVE_SECONDS = 30  # between two checkpoints: what a power cut can cost
_FETCH_STEPS = 10  # an accelerator works ahead; its losses are fetched and looked at this often

__all__ = [
    "History", "build_optimizer", "gather", "gathered_objective", "joined_processes", "pretrain",
    "processes", "simclr_objective", "train_step", "train_supervised", "warmup_cosine",
]


@dataclass
class History:
    """What happened in a run.

    Attributes:
        loss, lr: one value a step.
        epochs: what ``on_epoch`` returned, each with its ``step`` and training ``seconds``.
        steps: the steps planned.  seconds: spent training, without the looks in between.
        interrupted: whether the run was stopped before its last step.
    """

    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False


def warmup_cosine(step: int, steps: int, warmup: float = 0.05) -> float:
    """Share of the full learning rate at ``step``: a linear rise, then half a cosine down to 0.

    Args:
        step: 0 … steps - 1.  steps: the whole run.  warmup: share of the steps that rise.
    Raises: ValueError if steps < 1, step < 0 or warmup is outside [0, 1).
    Source: Chen et al. 2020, section 2.2 (warm-up, then cosine decay without restarts).
    Explained in notebooks/04.
    """
    _check_schedule(steps, warmup, step)
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def simclr_objective(model: nn.Module, views: Inputs, temperature: float) -> torch.Tensor:
    """NT-Xent of two or more views, all encoded in one batch.

    Source: Chen et al. 2020, Algorithm 1, for two views. Explained in notebooks/04.
    """
    z = model(torch.cat(views)).chunk(len(views))  # two views: (2N, C, H, W) -> twice (N, D)
    return multi_view_nt_xent(z, temperature)


def gathered_objective(model: nn.Module, views: Inputs, temperature: float) -> torch.Tensor:
    """NT-Xent of the pictures of all processes: each encodes its own and compares with everyone's.

    Args: views: of this process's N / K pictures, two or more ``(N / K, C, H, W)`` tensors.
    Returns: the same loss in every process. Explained in notebooks/09.
    """
    z = model(torch.cat(views)).float().chunk(len(views))  # (N / K, D) of this process
    return multi_view_nt_xent([gather(view) for view in z], temperature)  # (N, D) of all


def train_step(
    model: nn.Module, views: Inputs, optimizer: torch.optim.Optimizer, objective: Objective
) -> torch.Tensor:
    """One step of gradient descent; returns the loss before the step, detached.

    Args:
        views: what the views function made of one batch: for SimCLR two ``(N, C, H, W)`` tensors.
        objective: (model, views) -> scalar loss.
    Explained in notebooks/04.
    """
    optimizer.zero_grad()
    loss = objective(model, views)
    loss.backward()
    optimizer.step()
    return loss.detach()


def pretrain(
    model: nn.Module,
    images: torch.Tensor,
    views: Callable[..., Inputs],
    recipe: Recipe,
    on_epoch: Callable[[int, History], dict | None] | None = None,
    folder: str | Path | None = None,
    labels: torch.Tensor | None = None,
    on_step: Callable[[History], bool | None] | None = None,
) -> History:
    """Train ``model`` without labels for the recipe's budget.

    Under torchrun each of K processes calls this with the same arguments, inside
    ``joined_processes()``: a batch is then shared out, and negatives come from all of it.

    Args:
        model: a SimCLR, trained with NT-Xent, or any module with ``.loss(*views) -> scalar``.
        images: ``(N, ...)`` uint8, in memory or memory-mapped.
        views: makes views of a batch: ``views(images, size=...) -> (view1, view2)``.
        on_epoch: called after every ``recipe.eval_every`` epochs with (epoch, history); the dict
            it returns joins ``history.epochs``. Its seconds are not training seconds. With
            several processes the first one alone calls it.
        folder: where the checkpoint lives; a run found there is resumed. None: no checkpoint.
        labels: ``(N,)`` int64, for a method that wants them (SupCon): the last of its views.
        on_step: called after every step (on a GPU after every tenth, so that it does not wait
            for each) with the history, in the first process; a true value stops the run as an
            interrupt does. Its seconds are not training seconds.
    Returns: the history, also after an interrupt (``history.interrupted``).
    Raises: ValueError for too few images, labels without use, or a checkpoint of another run;
        TypeError for views that do not fit the method's loss; FloatingPointError when the loss is
        no longer a number; OSError when the last checkpoint cannot be written; ConnectionError
        when another process is lost.
    Explained in notebooks/04.
    """
    if hasattr(model, "loss"):
        takes = inspect.signature(model.loss)

        def objective(module: nn.Module, inputs: Inputs) -> torch.Tensor:
            try:
                takes.bind(*inputs)
            except TypeError as error:
                raise TypeError(
                    f"{type(module).__name__}.loss takes {', '.join(takes.parameters)}; the views "
                    f"and labels gave {len(inputs)} of them. Use views that make as many, and "
                    "labels only for a method that wants them.") from error
            return module.loss(*inputs)
        if processes()[1] > 1:
            raise ValueError("a model with its own loss trains in one process, for its negatives "
                             "or statistics would stay apart; start it without torchrun.")
    else:
        chosen_objective = simclr_objective if processes()[1] == 1 else gathered_objective

        def objective(module: nn.Module, inputs: Inputs) -> torch.Tensor:
            return chosen_objective(module, inputs, recipe.temperature)
        if labels is not None:
            raise ValueError("labels are for a method whose loss takes them, such as "
                             "methods.SupCon; SimCLR learns without. Leave labels=None.")

    _check_tensors(images, labels)
    images = _near(images)

    if labels is not None and len(labels) != len(images):
        raise ValueError(f"labels must be one an image; got {len(labels)} labels and "
                         f"{len(images)} images.")
    beside = () if labels is None else (labels.to(pick_device()),)

    def make_inputs(chosen: torch.Tensor, size: int | None) -> Inputs:
        batch = _take(images, chosen)
        made = views(batch) if size is None else views(batch, size=size)
        _check_made(made, any_type=hasattr(model, "loss"))
        return (*made, *(values[chosen] for values in beside))

    facts = {f"views.{name}": value for name, value in getattr(views, "settings", {}).items()}
    if folder:
        facts["pictures"] = _fingerprint(images, *beside)
    return _run(model, len(images), make_inputs, objective, recipe, on_epoch, folder, on_step,
                facts)


def train_supervised(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    augment: Callable[[torch.Tensor], torch.Tensor],
    recipe: Recipe,
    on_epoch: Callable[[int, History], dict | None] | None = None,
) -> History:
    """Train ``model``, which returns ``(N, K)`` logits, on labels with the same machinery.

    Args:
        images: ``(N, C, H, W)`` uint8.  labels: ``(N,)`` int64, 0 … K - 1.
        augment: one view of a batch, ``(N, C, H, W)`` float.
    Raises: ValueError if a label is negative, or too high for the model, or the lengths differ;
        TypeError for anything but tensors of these types.
    Explained in notebooks/05.
    """
    _check_tensors(images, labels)
    if len(images) != len(labels) or not len(labels) or int(labels.min()) < 0:
        lowest = f", the lowest {int(labels.min())}" if len(labels) else ""
        raise ValueError(
            f"each image needs a label from 0 up; got {len(images)} images, {len(labels)} labels"
            f"{lowest}. Leave unlabelled pictures out."
        )
    highest = int(labels.max())

    def objective(module: nn.Module, inputs: Inputs) -> torch.Tensor:
        logits = module(inputs[0]).float()  # (N, K)
        if highest >= logits.shape[1]:
            raise ValueError(f"labels must be below {logits.shape[1]}, the outputs of the model; "
                             f"got {highest}. Build it with {highest + 1} outputs.")
        return F.cross_entropy(logits, inputs[1])

    images, labels = _near(images), labels.to(pick_device())

    def make_inputs(chosen: torch.Tensor, size: int | None) -> Inputs:
        return augment(_take(images, chosen)), labels[chosen]

    return _run(model, len(images), make_inputs, objective, recipe, on_epoch, None)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, Muon or Adam; biases and batch norm are not decayed.

    Adam, for decoders and GANs, takes ``recipe.momentum`` as its first beta and decays weights
    apart from its step (AdamW).
    Source: Chen et al. 2020 leave the same parameters out of weight decay (with LARS).
    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay},
              {"params": others, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "muon":
        return Muon(groups, lr=recipe.lr, momentum=recipe.momentum)
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum,
                           nesterov=recipe.momentum > 0)


class Muon(torch.optim.Optimizer):
    """Momentum whose step turns every direction of a weight matrix by about the same amount.

    A plain gradient is dominated by a few directions; this step has all its singular values near
    1, so that rare directions learn as fast. Each weight keeps a fixed norm, so there is no
    weight decay: use it where batch norm or a normalisation follows every weight, as in SimCLR.
    Biases and batch norm get SGD with Nesterov momentum.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the fixed norm as in
    their CIFAR-10 speed run. Explained in notebooks/04.
    """

    def __init__(self, parameters: Iterable, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                average = self.state[p]["momentum_buffer"]
                average.mul_(group["momentum"]).add_(p.grad)
                change = p.grad.add(average, alpha=group["momentum"])  # Nesterov
                if p.dim() > 1:
                    change = orthogonalize(change.flatten(1)).view_as(p)
                    p.mul_(len(p) ** 0.5 / p.norm().clamp_min(1e-30))  # it may start at zero
                p.add_(change, alpha=-group["lr"])


def orthogonalize(matrix: torch.Tensor, rounds: int = 3) -> torch.Tensor:
    """Return about U V^T of ``matrix`` = U S V^T, ``(rows, columns)``, without computing the SVD.

    Each round maps every singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5, which pulls it
    towards 1; three rounds bring those above a tenth of the norm there, roughly.
    Source: Jordan et al. 2024 (Newton-Schulz iteration and its coefficients).
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonalize(matrix.T, rounds).T
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def _run(
    model: nn.Module,
    n: int,
    make_inputs: Callable[[torch.Tensor, int | None], Inputs],
    objective: Objective,
    recipe: Recipe,
    on_epoch: Callable[[int, History], dict | None] | None,
    folder: str | Path | None,
    on_step: Callable[[History], bool | None] | None = None,
    facts: dict | None = None,
) -> History:
    """The loop behind ``pretrain`` and ``train_supervised``."""
    if n < 2:
        raise ValueError(f"training needs at least 2 images; got {n}.")
    device = pick_device()
    model.to(device).train()
    if device.type != "mps":
        model.to(memory_format=torch.channels_last)
    autocast = (torch.autocast(device.type, torch.bfloat16)
                if recipe.bf16 and has_fast_bf16(device) else nullcontext())

    def in_precision(module: nn.Module, inputs: Inputs) -> torch.Tensor:
        with autocast, channels_named("views", inputs[0]):
            return objective(module, inputs)

    rank, world = processes()
    batch = _batch_size(recipe.batch_size, n, world)
    per_epoch = max(1, n // batch)
    trained, step_objective = model, in_precision
    if world > 1:
        trained = _parallel.wrap(model, in_precision)

        def step_objective(module: nn.Module, inputs: Inputs) -> torch.Tensor:
            return module(*inputs)

    optimizer = build_optimizer(model, recipe)
    history = History()
    checkpoint = Checkpoint(Path(folder), model, optimizer, {
        **asdict(recipe), "images": n, "processes": world, **(facts or {})}) if folder else None
    # by default the generators of all GPUs are kept, with a warning where there are several
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        begun = checkpoint and _parallel.agree(checkpoint.exists())
        if not begun:
            with _explained(model, recipe, history):
                steps = _plan_steps(trained, optimizer, make_inputs, step_objective, recipe, n,
                                    batch, per_epoch)
            history.steps = int(_parallel.agree(steps))
            if checkpoint:  # the first process keeps the plan, unless another run has begun there
                begun = _parallel.agree(rank == 0 and not checkpoint.begin(history))
        if begun:
            checkpoint.load(history)
        pending: list[torch.Tensor] = []  # losses still on the device
        fetch_every = _fetch_every(device)
        first_full = round(recipe.small_share * history.steps) if recipe.small_size else 0
        saved = time.perf_counter()

        def where() -> str:
            return (f"The checkpoint of step {checkpoint.step()} is whole: {folder}. Start the "
                    "same again to go on from there." if folder else "There is no checkpoint.")

        with (_stop_between_steps() as stop, _parallel.losses_named(where),
              _explained(model, recipe, history)):
            for step in range(len(history.loss), history.steps):
                started = time.perf_counter()
                torch.manual_seed(recipe.seed * 1_000_003 + step + rank * 40_000_003)
                chosen = _batch_indices(n, batch, step, per_epoch, recipe.seed)
                share = warmup_cosine(step, history.steps, recipe.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = recipe.lr * share
                size = recipe.small_size if step < first_full else None
                inputs = make_inputs(chosen, size)
                pending.append(train_step(trained, inputs, optimizer, step_objective))
                if hasattr(model, "after_step"):
                    model.after_step()
                history.lr.append(recipe.lr * share)
                epoch, rest = divmod(step + 1, per_epoch)
                last = step + 1 == history.steps
                looking = last or (on_epoch is not None and rest == 0
                                   and epoch % recipe.eval_every == 0)
                due = time.perf_counter() - saved > _SAVE_SECONDS
                fetching = (looking or (step + 1) % fetch_every == 0
                            or (world == 1 and (due or stop.is_set())))
                if fetching:
                    history.loss += _fetch(pending)
                history.seconds += time.perf_counter() - started
                if not fetching:
                    continue
                _check_finite(history, len(pending), recipe)
                if last:
                    _check_weights(model, recipe)
                pending.clear()
                if on_epoch and rank == 0 and looking:
                    facts = on_epoch(epoch, history) or {}
                    history.epochs.append({**facts, "epoch": (step + 1) / per_epoch,
                                           "step": step + 1, "seconds": history.seconds})
                    model.train()
                if on_step and rank == 0 and on_step(history):
                    stop.set()
                stopping = bool(_parallel.agree(stop.is_set()))
                history.interrupted = stopping and not last
                if checkpoint and rank == 0 and (last or stopping or due):
                    checkpoint.save(history, must=last or stopping)
                    saved = time.perf_counter()
                if stopping:
                    break
    model.eval()
    return history


def _fetch_every(device: torch.device) -> int:
    """Steps between two looks at the losses."""
    return 1 if device.type == "cpu" else _FETCH_STEPS


def _fetch(losses: list[torch.Tensor]) -> list[float]:
    """Bring losses from the device to Python: the one place where the loop waits for it."""
    return torch.stack([loss.reshape(()) for loss in losses]).tolist()


def _check_finite(history: History, newest: int, recipe: Recipe) -> None:
    """Raise if one of the newest losses is no number."""
    done = len(history.loss)
    for step, loss in enumerate(history.loss[done - newest:], done - newest + 1):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} at step {step}. Lower the learning rate "
                f"(now {recipe.lr}) or raise the temperature (now {recipe.temperature})."
            )


def _check_weights(model: nn.Module, recipe: Recipe) -> None:
    """Raise if the last step, which no loss comes after, left weights that are no numbers."""
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise FloatingPointError("the last step left weights that are NaN or infinite. Lower the "
                                 f"learning rate (now {recipe.lr}).")


@contextmanager
def _explained(model: nn.Module, recipe: Recipe, history: History) -> Iterator[None]:
    """Say in the course's words that numbers grew too large for the next step."""
    try:
        yield
    except ValueError as error:  # a loss looks at its input before it computes
        if "must be finite" not in str(error) and "overflows" not in str(error):
            raise
        raise FloatingPointError(
            f"the model's output is no longer finite at step {len(history.lr)}. Lower the learning "
            f"rate (now {recipe.lr}) or raise the temperature (now {recipe.temperature})."
        ) from error


@contextmanager
def _stop_between_steps() -> Iterator[threading.Event]:
    """Turn the first interrupt into a stop after the running step; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)  # a key press; a batch system or a closing kernel
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}

    def on_signal(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def _batch_size(asked: int, n: int, world: int) -> int:
    """Pictures in a batch of all processes together: no more than there are, shared out evenly."""
    if asked % world or n < world:
        raise ValueError(f"batch_size must be a multiple of the {world} processes, and each needs "
                         f"a picture; got {asked} and {n} pictures.")
    return min(asked, n - n % world)


def _plan_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer,
    make_inputs: Callable[[torch.Tensor, int | None], Inputs], objective: Objective,
    recipe: Recipe, n: int, batch: int, per_epoch: int,
) -> int:
    """Turn the budget into steps; seconds by timing a few steps and undoing them."""
    if recipe.steps:
        return recipe.steps
    if recipe.epochs:
        return max(1, round(recipe.epochs * per_epoch))
    if not recipe.seconds:
        raise ValueError("the recipe has no budget: set seconds, epochs or steps.")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        return _time_steps(model, optimizer, make_inputs, objective, recipe, n, batch, per_epoch)
    finally:  # also after an interrupt: the model is as it came
        model.load_state_dict(state)
        optimizer.state.clear()


def _time_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer,
    make_inputs: Callable[[torch.Tensor, int | None], Inputs], objective: Objective,
    recipe: Recipe, n: int, batch: int, per_epoch: int,
) -> int:
    """How many steps fit into the recipe's seconds; leaves the model changed."""
    sizes = [(None, 1.0)] if not recipe.small_size else [
        (recipe.small_size, recipe.small_share), (None, 1 - recipe.small_share)]
    per_step = 0.0
    for size, share in sizes:
        times = []
        for trial in range(24):
            started = time.perf_counter()
            chosen = _batch_indices(n, batch, trial, per_epoch, recipe.seed)
            loss = train_step(model, make_inputs(chosen, size), optimizer, objective)
            float(loss)
            times.append(time.perf_counter() - started)
        per_step += share * sorted(times[10:])[7]  # the first ones warm caches up
    return max(2, round(recipe.seconds / per_step))


_ORDERS: dict[tuple[int, int, int, torch.device], torch.Tensor] = {}


def _batch_indices(n: int, batch: int, step: int, per_epoch: int, seed: int) -> torch.Tensor:
    """This process's share of the batch of ``step``; an epoch is a permutation of (seed, epoch)."""
    epoch, position = divmod(step, per_epoch)
    key = (n, seed, epoch, pick_device())
    if key not in _ORDERS:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_000_000 + epoch)
        _ORDERS.clear()
        _ORDERS[key] = torch.randperm(n, generator=generator).to(pick_device())  # once an epoch
    rank, world = processes()
    return _ORDERS[key][position * batch : (position + 1) * batch].chunk(world)[rank]


def _fingerprint(*tensors: torch.Tensor) -> str:
    """A name for the content of data sets, from a thousand rows of each: other data, another name.

    All of a folder larger than memory would take minutes to read; a change of a few pictures among
    many thousands may therefore be missed.
    """
    total = hashlib.sha256()
    for tensor in tensors:
        rows = torch.arange(len(tensor))
        if len(tensor) > 1024:
            rows = torch.randperm(len(tensor), generator=torch.Generator().manual_seed(0))[:1024]
        total.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor[rows.sort().values].cpu().contiguous().view(torch.uint8).numpy())
    return total.hexdigest()[:16]


def _near(tensor: torch.Tensor) -> torch.Tensor:
    """Put a data set on the accelerator as uint8, so that the loop copies nothing.

    One that would take more than half of its free memory stays: its batches are copied. A Mac's GPU
    shares the memory with all else, so there anything of more than 4 GB stays.
    """
    device = pick_device()
    if device.type == "mps" and tensor.nbytes > 4e9:
        return tensor
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info()[0] / 2:
        return tensor
    return tensor.to(device)


def _take(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The chosen pictures, where ``chosen`` is."""
    return take(images, chosen.to(images.device)).to(chosen.device)


def _check_made(made: Inputs, any_type: bool) -> None:
    if isinstance(made, torch.Tensor):
        raise TypeError("views must return a tuple of views, one tensor each; got one tensor "
                        f"{tuple(made.shape)}. Return (view1, view2).")
    if not any_type and any(getattr(one, "dtype", None) == torch.uint8 for one in made):
        raise TypeError("views must return floats in [0, 1]; got uint8. Divide by 255.")


def _check_tensors(images: torch.Tensor, labels: torch.Tensor | None) -> None:
    if not isinstance(images, torch.Tensor):
        raise TypeError("images must be a uint8 tensor (N, C, H, W), as data.load_dataset(...)"
                        f".images is; got {type(images).__name__}.")
    if labels is not None and (not isinstance(labels, torch.Tensor)
                               or labels.dtype != torch.int64):
        raise TypeError("labels must be an int64 tensor (N,); got "
                        f"{type(labels).__name__} {getattr(labels, 'dtype', '')}.")


def _check_schedule(steps: int, warmup: float, step: int) -> None:
    if step < 0:
        raise ValueError(f"step must be from 0 to {steps - 1}; got {step}.")
    if steps < 1 or not 0 <= warmup < 1:
        raise ValueError(f"steps must be at least 1 and warmup in [0, 1); got {steps}, {warmup}.")

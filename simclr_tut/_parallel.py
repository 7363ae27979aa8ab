"""A part of ``training``: several processes that train one model on one global batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from simclr_tut.config import launched_processes, pick_device


def processes() -> tuple[int, int]:
    """Return this process's number, from 0, and how many train together; (0, 1) when alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class _Gather(torch.autograd.Function):
    """The embeddings of all processes, in the order of their numbers; differentiable."""

    @staticmethod
    def forward(ctx, z: torch.Tensor) -> torch.Tensor:
        ctx.rank, world = processes()
        parts = [torch.empty_like(z) for _ in range(world)]
        distributed.all_gather(parts, z.contiguous())
        return torch.cat(parts)  # (N / K, D) of each of K processes -> (N, D)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)  # every process's loss depends on these embeddings
        return gradient.chunk(processes()[1])[ctx.rank]


def gather(z: torch.Tensor) -> torch.Tensor:
    """Join the rows of every process's ``z``, ``(N / K, D)`` each, to ``(N, D)``, with gradients.

    Backward adds what the K losses ask of this process's rows. With the mean over processes that
    DistributedDataParallel takes, K equal losses give the gradient of one. Alone: ``z`` itself.
    Explained in notebooks/09.
    """
    return z if processes()[1] == 1 else _Gather.apply(z)


def agree(value: float) -> float:
    """Return the largest ``value`` of all processes."""
    if processes()[1] == 1:
        return value
    largest = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    return float(largest)


class Together(nn.Module):
    """A model and its objective as one module, so that the gradients of K processes are averaged.

    DistributedDataParallel takes the mean of the gradients of whatever goes through ``forward``.
    """

    def __init__(self, model: nn.Module, objective: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.objective(self.model, inputs)


def wrap(model: nn.Module, objective: Callable[..., torch.Tensor]) -> nn.Module:
    """Return the model with its objective, averaged over processes; batch norm joined on CUDA."""
    if next(model.parameters()).is_cuda:  # torch has synchronised batch norm for CUDA only
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(Together(model, objective))


@contextmanager
def joined_processes() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started, and part at the end; yields ``processes()``.

    A process that is not heard of for ten minutes counts as lost.

    Raises: ValueError if there are GPUs, but fewer than processes.
    """
    launched = launched_processes()
    if launched is None:
        yield 0, 1
        return
    backend = "gloo"
    if pick_device().type == "cuda":
        if launched.local_world > torch.cuda.device_count():
            raise ValueError(
                f"{launched.local_world} processes, but {torch.cuda.device_count()} GPU(s) on this "
                "machine, and NCCL gives each process its own. Start as many processes as there "
                "are GPUs, or train on the processor's cores: CUDA_VISIBLE_DEVICES= torchrun ...")
        torch.cuda.set_device(launched.local_rank)
        backend = "cpu:gloo,cuda:nccl"  # whichever a tensor is on
    distributed.init_process_group(backend, timeout=timedelta(minutes=10))
    try:
        yield processes()
    finally:
        distributed.destroy_process_group()


@contextmanager
def losses_named(where: Callable[[], str]) -> Iterator[None]:
    """Turn the error of a broken connection into one that says what happened and what to do."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if processes()[1] == 1 or not any(
                word in text for word in ("gloo", "Gloo", "NCCL", "onnection", "rocess group")):
            raise
        rank, world = processes()
        raise ConnectionError(
            f"process {rank} of {world} lost its connection to another one, which has ended or "
            f"hangs ({text.splitlines()[0][:120]}). {where()}") from error

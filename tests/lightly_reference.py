"""What lightly gives for fixed embeddings: values and gradients, kept so that every run has them.

    python tests/lightly_reference.py          writes lightly_reference.json; needs lightly
"""

import json
from pathlib import Path

import torch

FILE = Path(__file__).with_suffix(".json")
N, D, QUEUE = 12, 6, 18


def embeddings():
    """Two views of N pictures that agree in part, and a queue: fixed numbers, no generator."""
    numbers = torch.arange((2 * N + QUEUE) * D, dtype=torch.float64)
    wave = ((numbers * 1.7).sin() + (numbers * numbers * 0.013).cos()).float().view(-1, D)
    z1, noise, queue = wave.split([N, N, QUEUE])
    return z1, z1 + 0.5 * noise, torch.nn.functional.normalize(queue, dim=1)


def with_gradients(loss, *inputs):
    """The value of ``loss`` and its gradient by each input, zeros where none arrives."""
    leaves = [z.clone().requires_grad_() for z in inputs]
    value = loss(*leaves)
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(z) if g is None else g
                              for g, z in zip(found, leaves, strict=True))]


def from_lightly():
    """Name -> value and gradients by view 1 and view 2, computed by lightly now."""
    from lightly import loss as own

    z1, z2, queue = embeddings()

    def with_bank(queries, keys):
        criterion = own.NTXentLoss(temperature=0.2, memory_bank_size=(QUEUE, D))
        criterion.memory_bank(z1)  # makes the bank
        bank = criterion.memory_bank.bank
        bank.copy_(queue if bank.shape == queue.shape else queue.T)
        return criterion(queries, keys.detach())

    criteria = {
        "nt_xent": own.NTXentLoss(temperature=0.2),
        "decoupled_nt_xent": own.DCLLoss(temperature=0.2),
        "info_nce": with_bank,
        "negative_cosine": lambda a, b: own.NegativeCosineSimilarity()(a, b.detach()),
        "barlow_twins": own.BarlowTwinsLoss(lambda_param=5e-3),
        "vicreg": own.VICRegLoss(eps=1e-4),
    }
    return {name: with_gradients(criterion, z1, z2) for name, criterion in criteria.items()}


def recorded():
    """The same, as the file keeps it."""
    kept = json.loads(FILE.read_text())["values"]
    return {name: [torch.tensor(part) for part in parts] for name, parts in kept.items()}


if __name__ == "__main__":
    from importlib.metadata import version

    values = {name: [part.tolist() for part in parts] for name, parts in from_lightly().items()}
    FILE.write_text(json.dumps({"lightly": version("lightly"), "values": values}) + "\n")

"""Where a training step's time goes: views, forward, loss, backward, optimiser.

    python -m benchmarks.step [--encoders small tiny] [--threads N]

For the recipe of notebook 04, with its number of views, at both sizes of view, in the precision
that training uses; the median of several steps, part by part, after a warm-up. A GPU is
used where there is one.
Records go to simclr_tut/assets/results/step.jsonl.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from statistics import median

import torch

from benchmarks.common import RESULTS, append_record, now, provenance
from simclr_tut import config, models, training
from simclr_tut.losses import multi_view_nt_xent
from simclr_tut.views import Views

FILE = RESULTS / "step.jsonl"
PARTS = ("views", "forward", "loss", "backward", "optimiser")


def split(encoder: str, size: int, recipe: config.Recipe, repeats: int) -> dict[str, float]:
    """Return milliseconds of each part of a step."""
    device = config.pick_device()
    model = models.build_model(encoder, recipe.head_hidden, recipe.head_dim, recipe.head_layers)
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = training.build_optimizer(model, recipe)
    policy = Views(recipe.image_size, crop=recipe.crop, color=recipe.color,
                   count=recipe.views)
    images = torch.randint(0, 256, (recipe.batch_size, 3, 32, 32), dtype=torch.uint8,
                           device=device)
    precision = (torch.autocast(device.type, torch.bfloat16)
                 if recipe.bf16 and config.has_fast_bf16(device) else nullcontext())

    def mark() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return now()

    times: dict[str, list[float]] = {part: [] for part in PARTS}
    for trial in range(repeats + 2):
        marks = [mark()]
        views = torch.cat(policy(images, size=size))
        marks.append(mark())
        with precision:
            z = model(views)
            marks.append(mark())
            loss = multi_view_nt_xent(z.chunk(recipe.views), recipe.temperature)
        marks.append(mark())
        optimizer.zero_grad()
        loss.backward()
        marks.append(mark())
        optimizer.step()
        marks.append(mark())
        if trial >= 2:  # the first ones warm caches up
            for part, start, end in zip(PARTS, marks[:-1], marks[1:], strict=True):
                times[part].append(1000 * (end - start))
    return {part: median(values) for part, values in times.items()}


def main(argv: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["small", "tiny"], choices=models.ENCODERS)
    parser.add_argument("--threads", type=int, default=config.cores())
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for encoder in arguments.encoders:
        recipe = replace(config.recipe("pretrain"), encoder=encoder)
        for size in dict.fromkeys((recipe.small_size or recipe.image_size, recipe.image_size)):
            parts = split(encoder, size, recipe, arguments.repeats)
            append_record(FILE, {"encoder": encoder, "size": size, "ms": parts,
                                 "batch_size": recipe.batch_size, "views": recipe.views,
                                 "optimizer": recipe.optimizer, "statistic": "median",
                                 **provenance("python -m benchmarks.step")})
            whole = sum(parts.values())
            print(f"{encoder} {recipe.views} views of {size} px: {whole:.0f} ms   " + "  ".join(
                f"{part} {ms:.1f} ({100 * ms / whole:.0f} %)" for part, ms in parts.items()),
                flush=True)


if __name__ == "__main__":
    main()

"""Weighted kNN of 10,000 queries on large banks, beside scikit-learn.

    python -m benchmarks.knn [--banks 50000 1000000] [--queries 10000] [--turns 3]

128 features, k = 200. scikit-learn searches by brute force with cosine distance and the same
weights. Sides take turns, each turn in a process of its own, and the median turn counts. Banks
above 200,000 get one turn, in which scikit-learn answers the first 1,000 queries and its seconds
are scaled up. Memory is by how much the process grew at its peak beyond the bank and the queries.
Records go to simclr_tut/assets/results/knn.jsonl.
"""

from __future__ import annotations

import argparse
import multiprocessing
from statistics import median

import numpy as np
import torch

from benchmarks.common import RESULTS, append_record, extra_mb, now, provenance
from simclr_tut import config
from simclr_tut.evaluation import knn_predict

FILE = RESULTS / "knn.jsonl"
K, TEMPERATURE = 200, 0.1
LARGE = 200_000
SIDES = ("ours", "scikit-learn")


def measure(side: str, bank: int, queries: int, threads: int,
            answers: multiprocessing.Queue) -> None:
    """Put seconds, memory in MB, queries timed, and the answers to the first 200 queries."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (bank,), generator=generator)
    centres = torch.randn(10, 128, generator=generator)
    features = torch.randn(bank, 128, generator=generator) + 0.3 * centres[labels]
    asked = torch.randn(queries, 128, generator=generator)
    if side == "ours":
        def answer(rows: torch.Tensor) -> torch.Tensor:
            return knn_predict(features, labels, rows, K, TEMPERATURE)
    else:
        from sklearn.neighbors import KNeighborsClassifier

        asked = asked[:1000] if bank > LARGE else asked
        model = KNeighborsClassifier(
            K, metric="cosine", algorithm="brute", n_jobs=threads,
            weights=lambda distance: np.exp((1 - distance) / TEMPERATURE))
        model.fit(features.numpy(), labels.numpy())

        def answer(rows: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(model.predict(rows.numpy()))
    knn_predict(features[:1000], labels[:1000], asked[:10])  # starts torch's threads
    if bank <= LARGE:
        answer(asked[:10])
    found = []
    started = now()
    memory = extra_mb(lambda: found.append(answer(asked)))
    seconds = (now() - started) * queries / len(asked)
    answers.put((seconds, memory, len(asked), found[0][:200].tolist()))


def main(argv: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--banks", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3, help="of each side on the smaller banks")
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    context = multiprocessing.get_context("spawn")
    for bank in arguments.banks:
        turns: dict[str, list[tuple]] = {side: [] for side in SIDES}
        for _ in range(1 if bank > LARGE else arguments.turns):
            for side in SIDES:
                answers = context.Queue()
                process = context.Process(target=measure, args=(
                    side, bank, arguments.queries, arguments.threads, answers))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{side} failed on a bank of {bank}.")
                turns[side].append(answers.get())
        results = {side: {"seconds": median(t[0] for t in part),
                          "extra_mb": max(t[1] for t in part), "queries_timed": part[0][2],
                          "turns": len(part)} for side, part in turns.items()}
        first, second = (np.array(part[0][3]) for part in turns.values())
        same = float(np.mean(first == second))
        append_record(FILE, {"bank": bank, "queries": arguments.queries, "sides": results,
                             "same_answers": same, **provenance("python -m benchmarks.knn")})
        print(f"bank {bank:9,d}  " + "   ".join(
            f"{side} {r['seconds']:.1f} s, {r['extra_mb']:.0f} MB more"
            for side, r in results.items()) + f"   same answers: {100 * same:.1f} %", flush=True)


if __name__ == "__main__":
    main()

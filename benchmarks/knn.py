"""Weighted kNN of 10,000 queries on large banks, beside scikit-learn.

    python -m benchmarks.knn [--banks 50000 1000000] [--queries 10000] [--threads N]

128 features, k = 200. scikit-learn searches by brute force with cosine distance and the same
weights; on the largest bank it gets the first 1,000 queries and its seconds are scaled up.
Memory is the operating system's peak of a process of its own, less the bank and the queries.
Records go to simclr_tut/assets/results/knn.jsonl.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource

import numpy as np
import torch

from benchmarks.common import RESULTS, append_record, now, provenance
from simclr_tut import config
from simclr_tut.evaluation import knn_predict

FILE = RESULTS / "knn.jsonl"
K, TEMPERATURE = 200, 0.1


def measure(side: str, bank: int, queries: int, threads: int,
            answers: multiprocessing.Queue) -> None:
    """Put seconds, memory in MB and the answers to the first 200 queries."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (bank,), generator=generator)
    centres = torch.randn(10, 128, generator=generator)
    features = torch.randn(bank, 128, generator=generator) + 0.3 * centres[labels]
    asked = torch.randn(queries, 128, generator=generator)
    knn_predict(features[:1000], labels[:1000], asked[:10])
    if side != "ours":
        from sklearn.neighbors import KNeighborsClassifier

        asked = asked[:1000] if bank > 200_000 else asked
        model = KNeighborsClassifier(
            K, metric="cosine", algorithm="brute", n_jobs=threads,
            weights=lambda distance: np.exp((1 - distance) / TEMPERATURE))
        model.fit(features.numpy(), labels.numpy())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = now()
    if side == "ours":
        answer = knn_predict(features, labels, asked, K, TEMPERATURE)
    else:
        answer = torch.as_tensor(model.predict(asked.numpy()))
    seconds = (now() - started) * queries / len(asked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((seconds, (peak - before) / 1024, len(asked), answer[:200].tolist()))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--banks", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=config.cores())
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for bank in arguments.banks:
        results, firsts = {}, []
        for side in ("ours", "scikit-learn"):
            answers = context.Queue()
            process = context.Process(target=measure, args=(
                side, bank, arguments.queries, arguments.threads, answers))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{side} failed on a bank of {bank}.")
            seconds, memory, asked, first = answers.get()
            results[side] = {"seconds": seconds, "extra_mb": memory, "queries_timed": asked}
            firsts.append(first)
        same = float(np.mean(np.array(firsts[0]) == np.array(firsts[1])))
        append_record(FILE, {"bank": bank, "queries": arguments.queries, "sides": results,
                             "same_answers": same, **provenance(
                                 "python -m benchmarks.knn", threads=arguments.threads)})
        print(f"bank {bank:9,d}  " + "   ".join(
            f"{side} {r['seconds']:.1f} s, {r['extra_mb']:.0f} MB more"
            for side, r in results.items()) + f"   same answers: {100 * same:.1f} %", flush=True)


if __name__ == "__main__":
    main()

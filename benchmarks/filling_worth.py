"""What fills a client's classes, and what a classifier learns from it: a GAN's images beside copies of real ones.

``python -m benchmarks.filling_worth --dataset mnist --clients 3 7 [--q 0.9] [--seeds 3] [--out FOLDER]``

A LeNet-5 learns from :data:`PER_CLASS` images of each class of what the client holds once its classes are filled: its
own of the largest class, and made ones of the others. ``none`` is what it holds of its own, so many of a class at most.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.gan_worth import CLASSIFIER, CPU, PER_CLASS, Images, Labels
from benchmarks.measuring import environment, print_rows, with_malloc_settings, write_results
from fedsec.data.datasets import load
from fedsec.filling import fill
from fedsec.holdings import holding
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.training.batches import Normalisation
from fedsec.training.generated_only import accuracy_from_generated
from fedsec.training.threads import one_thread


def main() -> None:
    """Measure and print."""
    with_malloc_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--clients", type=int, nargs="+", default=[3, 7])
    parser.add_argument("--q", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=3, help="classifiers that learn from the same images (3)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    gan = "cgan" if load(options.dataset, "train").images.shape[1] == 1 else "cwgan"
    found: dict[str, dict[str, list[float]]] = {}
    with one_thread():
        for client in options.clients:
            for balance in ("none", "repeat", "augment", gan):
                taught = accuracies(configuration(options.dataset, options.q, balance), client, options.seeds)
                found.setdefault(str(client), {})[balance] = taught
    rows = [
        ("client", "filled by", "accuracy on real test images", "classifiers"),
        *(
            (client, balance, f"{fmean(taught):.1f} %", ", ".join(f"{each:.1f}" for each in taught))
            for client, by in found.items()
            for balance, taught in by.items()
        ),
    ]
    print(f"\n{options.dataset}, q = {options.q:g}, seed 0; {environment()}\n")
    print_rows(rows)
    write_results(options.out, f"filling_worth_{options.dataset}", [rows], {"accuracies": found})


def configuration(dataset: str, q: float, balance: str) -> RunConfig:
    """Return a federation of ten clients with skewed labels, whose classes are filled up to the largest."""
    return parse({"data": {"dataset": dataset, "partition": "label-skew", "q": q, "balance": balance}})


def accuracies(config: RunConfig, client: int, seeds: int) -> list[float]:
    """Return what classifiers of several seeds learn from what a client trains on, in percent."""
    train, test = (load(config.data.dataset, split) for split in ("train", "test"))
    held = holding(config, client)
    filled = fill(config, client, held, CPU)
    if config.data.balance != "none" and not filled.report.by:
        raise SystemExit(
            f"client {client} was not filled by {config.data.balance}: {filled.report.note or 'even enough'}"
        )
    own = len(held.labels) if config.data.balance != "none" else 0
    images, labels = evenly(filled.images, filled.labels, own)
    given = (
        images,
        labels,
        np.asarray(test.images),
        test.labels,
        len(train.classes),
        Normalisation(train.mean, train.std),
    )
    return [
        accuracy_from_generated(*given, settings=CLASSIFIER, seed=seed, device=CPU).overall for seed in range(seeds)
    ]


def evenly(images: Images, labels: Labels, own: int) -> tuple[Images, Labels]:
    """Return at most :data:`PER_CLASS` images of each class: made ones, and where there is none, the client's own.

    Args:
        images: (N, C, H, W), its own first.
        labels: (N,) their classes.
        own: how many are its own.
    """
    chosen: list[np.ndarray] = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        made: Sequence[int] = of_class[of_class >= own].tolist()
        chosen.append(np.array((made or of_class.tolist())[:PER_CLASS]))
    order = np.concatenate(chosen)
    return np.asarray(images[order]), labels[order]


if __name__ == "__main__":
    main()

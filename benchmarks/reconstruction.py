"""What a round of the attack that rebuilds a class costs, beside its products at the speed of a matrix multiplication.

``python -m benchmarks.reconstruction [--users 11] [--updates 500] [--fakes 5000] [--out FOLDER]``

Every convolution and dense layer is a product of matrices, forwards, and two more of the same size backwards: one for
its weights, one for its input. Here each such product is timed on its own on one core, as numpy's BLAS computes it; the
sum over a round is what no program that computes these products in float32 and one after the other can undercut. A
round is timed beside it, by the processor's clock: a wall clock would count what else runs on the machine.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from fedsec.attacks.reconstruction import misled
from fedsec.models.reconstruction import ReconstructionClassifier
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.reconstruction import BLOCK, ReconstructionSettings, forge, new_forger, train_forger
from fedsec.training.threads import one_thread

CPU, SHAPE, CLASSES, DRAW, BATCH = torch.device("cpu"), (1, 28, 28), 10, 50, 16
REPEATS = 5


class Product(NamedTuple):
    """A product of matrices (rows, inner) and (inner, columns) for one image."""

    rows: int
    inner: int
    columns: int


GENERATOR = (Product(1, 100, 1568), Product(49, 32, 288), Product(196, 32, 144), Product(784, 16, 9))
CLASSIFIER = (Product(169, 9, 32), Product(36, 288, 64), Product(1, 2304, 200), Product(1, 200, 11))
"""The layers of figure 4 as products; a transposed convolution is one whose columns are then put in place."""


class Part(NamedTuple):
    """A part of a round: what it is called, its seconds at GEMM speed, and as it is done."""

    name: str
    floor: float
    seconds: float


def seconds_of(work: Callable[[], object]) -> float:
    """Return the least processor time of a few calls: whatever disturbs it only makes it longer."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def floor_of(products: Sequence[Product], images: int, *, backwards: int) -> float:
    """Return the seconds of these products for so many images at once, and of ``backwards`` more of their size each."""
    rng, total = np.random.default_rng(0), 0.0
    for product in products:
        left = rng.random((images * product.rows, product.inner), np.float32)
        right = rng.random((product.inner, product.columns), np.float32)
        out = left @ right
        pairs = ((left, right), (left.T, out), (out, right.T))
        forwards, weights, inputs = (seconds_of(partial(np.matmul, *pair)) for pair in pairs)
        total += forwards + (inputs if backwards else 0.0) + (weights if backwards == 2 else 0.0)
    return total


def parts(users: int, updates: int, fakes: int) -> list[Part]:
    """Return what a round of the attack consists of, timed."""
    settings = ReconstructionSettings(victim=1, updates=updates, batch_size=BATCH, fakes=fakes)
    model, forger = ReconstructionClassifier(), new_forger(SHAPE, settings.learning_rate, 0, CPU)
    model = model.to(memory_format=torch.channels_last)
    normalise, training = Normalisation((0.5,), (0.5,)), TrainingSettings(1, BATCH, 0.2)
    images = np.random.default_rng(0).integers(0, 256, (DRAW, *SHAPE), dtype=np.uint8)

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def train(what: np.ndarray, labels: np.ndarray) -> None:
        train_classifier(model, *on_device(what, labels, CPU), normalise, training, draws())

    with one_thread(), threadpool_limits(1, "blas"):
        update = floor_of(GENERATOR, BATCH, backwards=2) + floor_of(CLASSIFIER, BATCH, backwards=1)
        step = floor_of(CLASSIFIER, BATCH, backwards=2)
        block = floor_of(GENERATOR, BLOCK, backwards=0)
        made = forge(forger, fakes, draws())
        honest = seconds_of(lambda: train(images, np.arange(DRAW) % CLASSES))
        trained = seconds_of(lambda: train_forger(forger, model, settings, draws()))
        return [
            Part(f"{users - 1} honest users", (users - 1) * DRAW / BATCH * step, (users - 1) * honest),
            Part(f"{updates} updates", updates * update, trained),
            Part(f"{fakes} fakes made", fakes / BLOCK * block, seconds_of(lambda: forge(forger, fakes, draws()))),
            Part("and trained on", fakes / BATCH * step, seconds_of(lambda: train(made, misled(fakes, CLASSES)))),
        ]


def as_markdown(found: Sequence[Part]) -> str:
    total = Part("all of it", sum(part.floor for part in found), sum(part.seconds for part in found))
    lines = ["| part | s at GEMM speed | s | ratio |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {of.name} | {of.floor:.2f} | {of.seconds:.2f} | {of.seconds / of.floor:.1f} |" for of in (*found, total)
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, default=11)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--fakes", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    text = as_markdown(parts(chosen.users, chosen.updates, chosen.fakes))
    print(text)
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "reconstruction.md").write_text(text)


if __name__ == "__main__":
    main()

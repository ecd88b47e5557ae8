"""An epoch of LeNet-5 on one core: compiled code, grouped torch, torch as usually written, and the products alone.

``python -m benchmarks.training [--examples 3840] [--repetitions 5] [--out FOLDER]``

It is the processor's time, so that other work on the machine counts less.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.measuring import environment, in_turn, print_rows, spread, write_results
from fedsec.models.classifiers import build_classifier
from fedsec.training.batches import Normalisation
from fedsec.training.chain import compiled
from fedsec.training.classifier import TrainingSettings
from fedsec.training.cohort import Member, train_cohort
from fedsec.training.grouped import GroupedModel
from fedsec.training.parameters import get_arrays
from fedsec.training.threads import one_thread

SETTINGS = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.05)
NORMALISE = Normalisation((0.13,), (0.31,))

PRODUCTS = 2 * 3 * (28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10) - 2 * 28 * 28 * 6 * 25
"""Operations of a step for an example: forward, to the weights, and back, but for the first layer's back."""

SIDE = 1024
"""Of the square matrices whose product shows what a core can do."""

USUAL = "torch as usually written"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=3840)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "compiled": (1, lambda: _together(1, options.examples, by_code=True)),
        "grouped, one client": (1, lambda: _together(1, options.examples, by_code=False)),
        "grouped, five clients": (5, lambda: _together(5, options.examples, by_code=False)),
        USUAL: (1, lambda: _usual(options.examples)),
        "the products alone": (1, lambda: _products(options.examples)),
    }
    with one_thread():
        functions = {name: way for name, (_, way) in ways.items()}
        timings = in_turn(functions, options.repetitions, time.process_time)
    rates = {name: clients * options.examples / timings[name].median for name, (clients, _) in ways.items()}
    rows = [("LeNet-5, batches of 64", "seconds of a core", "examples a second", f"times {USUAL}")]
    for name, rate in rates.items():
        times = f"{rate / rates[USUAL]:.2f}"
        rows.append((name, f"{timings[name].median:.3g} ({spread(timings[name].seconds)})", f"{rate:,.0f}", times))
    print(environment())
    print_rows(rows)
    write_results(options.out, "training", [rows], {"examples_per_second": rates})


def _members(clients: int, examples: int) -> list[Member]:
    rng = np.random.default_rng(0)
    start = list(get_arrays(build_classifier("lenet5", 1, 28, 10, seed=0)).values())
    images, labels = rng.integers(0, 256, (examples, 1, 28, 28), np.uint8), rng.integers(0, 10, examples)
    return [Member(start, images, labels, torch.Generator().manual_seed(seed)) for seed in range(clients)]


def _together(clients: int, examples: int, *, by_code: bool) -> Sequence[object]:
    model = GroupedModel(build_classifier("lenet5", 1, 28, 10))
    if by_code and compiled() is None:
        raise SystemExit("numba is missing: there is no compiled code to measure")
    if not by_code:
        model.chain = None
    return train_cohort(model, _members(clients, examples), NORMALISE, SETTINGS, torch.device("cpu"))


def _usual(examples: int) -> None:
    """Train as most examples on the web do: normalised floats in memory, one batch after the other."""
    [member] = _members(1, examples)
    model = build_classifier("lenet5", 1, 28, 10, seed=0)
    images, labels = NORMALISE(torch.from_numpy(member.images)).contiguous(), torch.from_numpy(member.labels)
    optimiser = torch.optim.SGD(model.parameters(), SETTINGS.learning_rate)
    for chosen in torch.split(torch.randperm(len(labels), generator=member.generator), SETTINGS.batch_size):
        optimiser.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _products(examples: int) -> None:
    """Multiply large matrices for as many operations as the training has."""
    left, right = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    for _ in range(max(1, round(examples * PRODUCTS / (2 * SIDE**3)))):
        left @ right


if __name__ == "__main__":
    main()

"""The same rules as others compute them, on the same matrix, without decoding or encoding.

Flower's functions are those behind ``flwr.server.strategy`` ("legacy") and ``flwr.serverapp.strategy``. byzfl's
aggregators are an optional extra; where they are not installed, the tables say so.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.server.strategy import aggregate as legacy
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import compute_distances
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from numpy.typing import NDArray

from benchmarks.measuring import Timing, timed

Matrix = NDArray[np.float32]

LOOP_ROWS = 4
"""Flower's legacy loop over all pairs is timed on so many rows, and scaled: it takes as long for each pair."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A stand-in for Flower's Array and ArrayRecord that needs no decoding, so that only the arithmetic is timed."""

    row: Matrix

    def numpy(self) -> Matrix:
        """Return the array."""
        return self.row

    def to_numpy_ndarrays(self) -> list[Matrix]:
        """Return the arrays."""
        return [self.row]

    def items(self) -> list[tuple[str, "Decoded"]]:
        """Return the arrays by name."""
        return [("all", self)]


@dataclass(frozen=True, slots=True)
class Reply:
    """A stand-in for the RecordDict of a reply."""

    array_records: dict[str, Decoded]
    metric_records: dict[str, MetricRecord]


def legacy_mean(rows: Matrix) -> object:
    """Average as ``flwr.server.strategy.FedAvg(inplace=False)``."""
    return legacy.aggregate([([row], 1) for row in rows])


def serverapp_mean(rows: Matrix) -> object:
    """Average as ``flwr.serverapp.strategy.FedAvg``."""
    weights = MetricRecord({"num-examples": 1})
    replies = [Reply({"arrays": Decoded(row)}, {"metrics": weights}) for row in rows]
    return aggregate_arrayrecords(cast(list[RecordDict], replies), "num-examples")


def serverapp_distances(rows: Matrix) -> NDArray[np.floating]:
    """Take squared distances as ``flwr.serverapp.strategy.MultiKrum``."""
    found: NDArray[np.floating] = compute_distances(cast(list[ArrayRecord], [Decoded(row) for row in rows]))
    return found


def legacy_distances(rows: Matrix, repetitions: int) -> Timing:
    """Time the squared distances of ``flwr.server.strategy.Krum``: on a few rows, and scaled to all."""
    n, few = len(rows), [[row] for row in rows[:LOOP_ROWS]]
    copied = timed(lambda: np.array([np.concatenate(row, axis=None).ravel() for row in few]), repetitions)
    whole = timed(lambda: legacy._compute_distances(few), repetitions)
    share = n / len(few)
    # It copies each row once, and takes each pair twice, a row with itself among them.
    seconds = [(one - copied.median) * share**2 + copied.median * share for one in whole.seconds]
    return Timing(tuple(seconds), None)


def legacy_trimmed_mean(rows: Matrix, ratio: float) -> object:
    """Average what is left after trimming as ``flwr.server.strategy.FedTrimmedAvg``."""
    return legacy.aggregate_trimmed_avg([([row], 1) for row in rows], ratio)


def serverapp_trimmed_mean(rows: Matrix, ratio: float) -> object:
    """Average what is left after trimming as ``flwr.serverapp.strategy.FedTrimmedAvg``."""
    return trim_mean(np.stack(list(rows)), ratio)


def legacy_median(rows: Matrix) -> object:
    """Take medians as ``flwr.server.strategy.FedMedian``."""
    return legacy.aggregate_median([([row], 1) for row in rows])


def serverapp_median(rows: Matrix) -> object:
    """Take medians as ``flwr.serverapp.strategy.FedMedian``, which has no function of its own for it."""
    return np.median(np.stack(list(rows)), axis=0)


def torch_mean(rows: Matrix) -> object:
    """Average as PyTorch does."""
    return torch.from_numpy(rows).mean(dim=0).numpy()


def torch_distances(rows: Matrix) -> Matrix:
    """Take distances as PyTorch does."""
    tensor = torch.from_numpy(rows)
    distances: Matrix = torch.cdist(tensor, tensor).numpy()
    return distances


def byzfl_aggregators() -> ModuleType | None:
    """Return byzfl's aggregators, or ``None`` where byzfl is not installed."""
    try:
        from byzfl import aggregators
    except ImportError:
        return None
    return cast(ModuleType, aggregators)


def byzfl_rule(name: str, rows: Matrix, **options: Any) -> object:
    """Aggregate as byzfl's rule of that name, on PyTorch tensors."""
    aggregators = byzfl_aggregators()
    return None if aggregators is None else getattr(aggregators, name)(**options)(torch.from_numpy(rows))

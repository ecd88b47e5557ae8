"""Who holds which examples: flwr-datasets' partitioners and two of our own, reduced to indices."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsec.durable import write_atomically

Scheme = Literal["iid", "label-skew", "dirichlet", "one-class"]
Indices = NDArray[np.int64]

FORMAT = 1

ROUNDING = 1e-9
"""By how much a share of a number may be above a whole one: 0.07 of 100 is not quite 7 in floating point."""


@dataclass(frozen=True, slots=True)
class PartitionSettings:
    """How the training examples are dealt out.

    Attributes:
        scheme: ``"iid"``, ``"label-skew"`` (q), ``"dirichlet"`` (alpha) or ``"one-class"``.
        clients: number of partitions.
        q: for ``"label-skew"``, see :class:`fedsec.data.partitioners.LabelSkewPartitioner`.
        alpha: concentration of the Dirichlet distribution, for ``"dirichlet"``.
        seed: seed of the draw.
        share: share of the examples of each class that is dealt out at all, see :func:`first_of_each_class`.
        held: for ``"one-class"``, see :class:`fedsec.data.partitioners.OneClassPartitioner`.
    """

    scheme: Scheme
    clients: int
    q: float
    alpha: float
    seed: int
    share: float = 1.0
    held: tuple[int, ...] = ()


def partition(labels: NDArray[np.int64], num_classes: int, settings: PartitionSettings) -> list[Indices]:
    """Return the indices of each partition's examples, ascending; a partition may be empty.

    What is not dealt out, with a ``share`` below 1, is in no partition.

    Args:
        labels: (N,) class of every example.
        num_classes: number of classes.
        settings: how to deal them out.
    """
    from datasets import Dataset  # here: it takes seconds to import, and most processes only read the result

    # Dealt out in an order of our own, because flwr-datasets' IID partitioner cuts the data set as it lies.
    order = np.random.default_rng(settings.seed).permutation(len(labels))
    order = order[first_of_each_class(labels[order], settings.share)]
    partitioner = _partitioner(settings, num_classes)
    partitioner.dataset = Dataset.from_dict({"index": order, "label": labels[order]})
    parts = [partitioner.load_partition(i).with_format("numpy") for i in range(settings.clients)]
    return [np.sort(np.asarray(part["index"][:], np.int64)) for part in parts]


def first_of_each_class(labels: NDArray[np.int64], share: float) -> Indices:
    """Return the places, ascending, of the first ``share`` of the examples of each class, rounded up.

    Args:
        labels: (N,) class of every example.
        share: above 0, at most 1.
    """
    if share == 1.0:
        return np.arange(len(labels))
    kept = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        kept.append(of_class[: math.ceil(share * len(of_class) - ROUNDING)])
    return np.sort(np.concatenate(kept))


def load_partition(
    labels: NDArray[np.int64], num_classes: int, settings: PartitionSettings, folder: Path
) -> list[Indices]:
    """Return :func:`partition` from a file in ``folder``, which is written first if it is not there."""
    named = {key: value for key, value in asdict(settings).items() if key != "held" or value}  # which came later
    text = json.dumps([FORMAT, named, num_classes], sort_keys=True)
    path = folder / f"partition-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npy"
    if not path.exists():
        parts = partition(labels, num_classes, settings)
        owner = np.full(len(labels), -1, np.int64)
        for client, part in enumerate(parts):
            owner[part] = client
        write_atomically(path, lambda file: np.save(file, owner))
    owner = np.load(path, allow_pickle=False)
    return [np.flatnonzero(owner == client) for client in range(settings.clients)]


def partition_hash(parts: Sequence[Indices]) -> str:
    """Return a hash of who holds what, for the run's record."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
    return digest.hexdigest()


def class_counts(labels: NDArray[np.int64], parts: Sequence[Indices], num_classes: int) -> NDArray[np.int64]:
    """Return how many examples of each class each partition holds, (partitions, classes)."""
    return np.array([np.bincount(labels[part], minlength=num_classes) for part in parts], np.int64)


def _partitioner(settings: PartitionSettings, num_classes: int) -> Any:
    from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner

    from fedsec.data.partitioners import LabelSkewPartitioner, OneClassPartitioner

    clients, seed = settings.clients, settings.seed
    if settings.scheme == "iid":
        return IidPartitioner(num_partitions=clients)
    if settings.scheme == "label-skew":
        return LabelSkewPartitioner(clients, settings.q, num_classes=num_classes, seed=seed)
    if settings.scheme == "dirichlet":
        return DirichletPartitioner(
            num_partitions=clients, partition_by="label", alpha=settings.alpha, min_partition_size=0, seed=seed
        )
    return OneClassPartitioner(clients, num_classes=num_classes, held=settings.held)

"""What a client holds: its part of a data set that is dealt out, or a data set of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.data.datasets import ImageDataset
from fedsec.data.sources import KNOWN_DATASETS, DataError
from fedsec.runs.config import RunConfig
from fedsec.scenario import load, partitions

NEUTRAL = 0.5
"""Mean and deviation by which clients with data sets of their own normalise where the data set is not a known one:
measured ones would differ from client to client, and tell what each holds."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A client's training examples.

    Attributes:
        dataset: the data set that they are in.
        indices: (N,) which of its examples they are; ``None`` is all.
        labels: (N,) their classes, as numbers of ``classes``.
        classes: names of all classes of the federation.
    """

    dataset: ImageDataset
    indices: NDArray[np.int64] | None
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def images(self) -> NDArray[np.uint8]:
        """The examples' images, (N, C, H, W)."""
        return np.asarray(self.dataset.images if self.indices is None else self.dataset.images[self.indices])

    @property
    def class_counts(self) -> tuple[int, ...]:
        """How many examples of each class they are."""
        return tuple(np.bincount(self.labels, minlength=len(self.classes)).tolist())


def holding(config: RunConfig, partition: int, folder: str = "") -> Holding:
    """Return what the client of a partition holds.

    Args:
        config: the run's configuration.
        partition: which partition.
        folder: of the data set on this machine, where its node names one.

    Raises:
        DataError: the data cannot be had, or has classes that the federation has not.
    """
    if config.data.partition != "own":
        train = load(config, "train", folder)
        mine = partitions(config, folder)[partition]
        return Holding(train, mine, train.labels[mine], train.classes)
    where = folder or config.data.folders.replace("{partition}", str(partition))
    if not where:
        raise DataError(
            "data.folders: not given, and data.partition is 'own'; expected data='FOLDER' in the node's "
            "configuration, or in a simulation data.folders"
        )
    train = load(config, "train", where)
    names = class_names(config, train)
    return Holding(train, None, renumbered(train, names), names)


def class_names(config: RunConfig, dataset: ImageDataset) -> tuple[str, ...]:
    """Return the names of the federation's classes: those of ``data.classes``, else those of the data set."""
    named = tuple(name.strip() for name in config.data.classes.split(",") if name.strip())
    return named or dataset.classes


def renumbered(dataset: ImageDataset, names: Sequence[str]) -> NDArray[np.int64]:
    """Return a data set's labels as numbers of ``names``: folders named by class lack those that are not there.

    A data set without names of its own has its classes' numbers already.

    Raises:
        DataError: it has a class that is not among them.
    """
    if tuple(names[: len(dataset.classes)]) == dataset.classes:
        return np.asarray(dataset.labels)
    if dataset.classes == tuple(str(number) for number in range(len(dataset.classes))):
        if len(dataset.classes) <= len(names):
            return np.asarray(dataset.labels)
        unknown = dataset.classes[len(names) :]
    else:
        unknown = tuple(name for name in dataset.classes if name not in names)
    if unknown:
        raise DataError(f"data.classes: {dataset.folder} has {list(unknown)[:5]}; expected {list(names)}")
    return np.array([names.index(name) for name in dataset.classes], np.int64)[dataset.labels]


def statistics(config: RunConfig, dataset: ImageDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of each channel by which every client and the server normalise.

    The classifier of the reconstruction attack takes images in the range in which its generator makes them.
    """
    if config.model.name == "reconstruction":
        channels = dataset.images.shape[1]
        return (NEUTRAL,) * channels, (NEUTRAL,) * channels
    if config.data.partition == "own" and config.data.dataset not in KNOWN_DATASETS:
        channels = dataset.images.shape[1]
        return (NEUTRAL,) * channels, (NEUTRAL,) * channels
    return dataset.mean, dataset.std

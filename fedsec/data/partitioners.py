"""Two partitioners that flwr-datasets lacks, written as its ``Partitioner``."""

from collections.abc import Callable, Sequence

import datasets
import numpy as np
from flwr_datasets.partitioner import Partitioner
from numpy.typing import NDArray

Assignment = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class _AssigningPartitioner(Partitioner):
    """A partitioner that decides for every example, by its label, which partition gets it."""

    def __init__(self, num_partitions: int, assign: Assignment, label: str) -> None:
        super().__init__()
        self._num_partitions = num_partitions
        self._assign = assign
        self._label = label
        self._owner: NDArray[np.int64] | None = None

    @property
    def num_partitions(self) -> int:
        """Total number of partitions."""
        return self._num_partitions

    def load_partition(self, partition_id: int) -> datasets.Dataset:
        """Return the examples of one partition."""
        if self._owner is None:
            self._owner = self._assign(np.asarray(self.dataset[self._label], np.int64))
        return self.dataset.select(np.flatnonzero(self._owner == partition_id))


class LabelSkewPartitioner(_AssigningPartitioner):
    """Label skew of degree q (thesis on GAN balancing, 5.1.4, after Fang et al., USENIX Security 2020, 6.1.2).

    Clients are split into as many groups as there are classes, client i into group i modulo classes; with fewer
    clients than classes every client is a group. An example of class c goes to group c (modulo groups) with
    probability q, else to one of the other groups evenly, and inside a group to a client evenly.

    Args:
        num_partitions: number of clients.
        q: degree of skew, 1 / groups (IID) to 1 (every example in its class's group).
        num_classes: number of classes.
        seed: seed of the draw.
        label: name of the label column.
    """

    def __init__(self, num_partitions: int, q: float, *, num_classes: int, seed: int = 0, label: str = "label") -> None:
        groups = min(num_classes, num_partitions)
        check_q(q, groups)

        def assign(labels: NDArray[np.int64]) -> NDArray[np.int64]:
            rng = np.random.default_rng(seed)
            home = labels % groups
            away = (home + rng.integers(1, max(groups, 2), len(labels))) % groups
            group = np.where(rng.random(len(labels)) < q, home, away)
            members = (num_partitions - group - 1) // groups + 1
            return group + groups * rng.integers(0, members)

        super().__init__(num_partitions, assign, label)


class OneClassPartitioner(_AssigningPartitioner):
    """One class per client: client i holds examples of class i modulo classes only.

    Clients of the same class share its examples evenly. With fewer clients than classes the classes that no
    client has are left out, as in the paper on reconstruction by GANs, where each honest user holds one class.

    Args:
        num_partitions: number of clients.
        num_classes: number of classes.
        held: the class of the first client, of the second, and so on, each another one; the clients beyond hold
            nothing, as that paper's adversary. Empty deals the classes out in turn.
        label: name of the label column.
    """

    def __init__(
        self, num_partitions: int, *, num_classes: int, held: Sequence[int] = (), label: str = "label"
    ) -> None:
        def named(labels: NDArray[np.int64]) -> NDArray[np.int64]:
            owner = np.full(len(labels), -1, np.int64)
            for client, wanted in enumerate(held):
                owner[labels == wanted] = client
            return owner

        def assign(labels: NDArray[np.int64]) -> NDArray[np.int64]:
            owner = np.full(len(labels), -1, np.int64)
            for wanted in range(min(num_classes, num_partitions)):
                holders = np.arange(wanted, num_partitions, num_classes)
                mine = np.flatnonzero(labels == wanted)
                owner[mine] = holders[np.arange(len(mine)) % len(holders)]
            return owner

        super().__init__(num_partitions, named if held else assign, label)


def check_q(q: float, groups: int) -> None:
    """Raise ``ValueError`` unless q lies between even (1 / groups) and complete skew (1)."""
    if not 1.0 / groups - 1e-9 <= q <= 1.0:
        raise ValueError(f"q must lie between {1.0 / groups:.4g} (IID) and 1 for {groups} groups; got {q}.")

"""Label skew and one class per client, as flwr-datasets' partitioners."""

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray

from fedsec.data.partition import PartitionSettings, class_counts, partition
from fedsec.data.partitioners import LabelSkewPartitioner, OneClassPartitioner, check_q

LABELS = np.random.default_rng(0).integers(0, 10, 10_000)
SIGMAS = 5.0


def skewed(clients: int, q: float, seed: int = 1) -> NDArray[np.int64]:
    """Return how many examples of each class each client gets, (clients, 10)."""
    return class_counts(LABELS, partition(LABELS, 10, PartitionSettings("label-skew", clients, q, 0.5, seed)), 10)


def by_group(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many examples of each class each group gets; client i is in group i modulo groups."""
    groups = min(len(counts), 10)
    return np.array([counts[group::groups].sum(0) for group in range(groups)])


def assert_binomial(count: float, of: float, probability: float) -> None:
    spread = np.sqrt(of * probability * (1 - probability))
    assert abs(count - of * probability) <= SIGMAS * spread + 1e-9


@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("clients", [10, 25])
def test_the_share_of_a_class_in_its_group_is_q_and_in_the_others_even(clients: int, q: float) -> None:
    shares, of = by_group(skewed(clients, q)), np.bincount(LABELS)
    for label in range(10):
        for group in range(10):
            assert_binomial(shares[group, label], of[label], q if group == label else (1 - q) / 9)


@pytest.mark.parametrize("q", [0.25, 0.7, 1.0])
def test_with_fewer_clients_than_classes_every_client_is_a_group(q: float) -> None:
    shares, of = skewed(4, q), np.bincount(LABELS)
    for label in range(10):
        for client in range(4):
            assert_binomial(shares[client, label], of[label], q if client == label % 4 else (1 - q) / 3)


def test_inside_a_group_the_clients_share_evenly() -> None:
    counts = skewed(23, 0.6)
    for client in range(23):
        mates = len(range(client % 10, 23, 10))
        for label in range(10):
            assert_binomial(counts[client, label], counts[client % 10 :: 10, label].sum(), 1 / mates)


def test_complete_skew_leaves_every_example_at_home() -> None:
    counts = skewed(10, 1.0)
    np.testing.assert_array_equal(counts, np.diag(np.bincount(LABELS)))


def test_one_client_gets_everything() -> None:
    np.testing.assert_array_equal(skewed(1, 1.0)[0], np.bincount(LABELS))


@pytest.mark.parametrize(("clients", "lowest"), [(10, 0.1), (25, 0.1), (4, 0.25), (1, 1.0)])
def test_a_degree_below_even_or_above_one_is_refused(clients: int, lowest: float) -> None:
    groups = min(clients, 10)
    for q in (lowest - 0.01, 1.01, 0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"between {lowest:.4g} \(IID\) and 1 for {groups} groups; got {q}"):
            LabelSkewPartitioner(clients, q, num_classes=10)
    check_q(lowest, groups)
    check_q(1.0, groups)


@pytest.mark.parametrize("classes", [3, 7, 9, 11, 13])
def test_one_divided_by_the_classes_is_always_allowed(classes: int) -> None:
    check_q(1 / classes, classes)
    check_q(round(1 / classes, 10), classes)


def test_they_work_as_partitioners_of_flwr_datasets() -> None:
    table = datasets.Dataset.from_dict({"kind": [0, 1, 2, 0, 1, 2], "text": list("abcdef")})
    for partitioner in (
        LabelSkewPartitioner(3, 1.0, num_classes=3, label="kind"),
        OneClassPartitioner(3, num_classes=3, label="kind"),
    ):
        partitioner.dataset = table
        assert partitioner.num_partitions == 3
        assert [list(partitioner.load_partition(i)["text"]) for i in range(3)] == [["a", "d"], ["b", "e"], ["c", "f"]]


def test_one_class_can_name_who_holds_which_and_whoever_is_beyond_holds_nothing() -> None:
    settings = PartitionSettings("one-class", 4, 1.0, 0.5, 0, held=(7, 3))
    counts = class_counts(LABELS, partition(LABELS, 10, settings), 10)
    expected = np.zeros((4, 10), np.int64)
    expected[0, 7], expected[1, 3] = np.sum(LABELS == 7), np.sum(LABELS == 3)
    np.testing.assert_array_equal(counts, expected)

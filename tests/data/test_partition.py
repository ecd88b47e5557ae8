"""Every example has one owner, the draw repeats, and label skew is as strong as it says."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsec.data.partition import (
    Indices,
    PartitionSettings,
    Scheme,
    class_counts,
    first_of_each_class,
    load_partition,
    partition,
    partition_hash,
)
from tests.data import workers

SCHEMES = get_args(Scheme)
LABELS = np.random.default_rng(0).integers(0, 10, 400)


def dealt(scheme: Scheme, clients: int, seed: int = 1, *, q: float = 1.0, alpha: float = 0.5) -> list[Indices]:
    return partition(LABELS, 10, PartitionSettings(scheme, clients, q, alpha, seed))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[NDArray[np.int64], int]:
    """Draw labels of up to twelve classes, some of which may have no example."""
    classes = draw(st.integers(2, 12))
    return np.array(draw(st.lists(st.integers(0, classes - 1), min_size=20, max_size=60)), np.int64), classes


@given(labelled(), st.sampled_from(SCHEMES), st.integers(1, 20), st.integers(0, 2**62))
@settings(max_examples=40)
def test_every_example_has_exactly_one_owner(
    examples: tuple[NDArray[np.int64], int], scheme: Scheme, clients: int, seed: int
) -> None:
    labels, classes = examples
    parts = partition(labels, classes, PartitionSettings(scheme, clients, 1.0, 0.5, seed))
    held = np.concatenate(parts)
    everybody = np.arange(len(labels))
    expected = everybody[labels < clients] if scheme == "one-class" else everybody
    np.testing.assert_array_equal(np.sort(held), expected)
    assert len(parts) == clients
    assert all(np.all(np.diff(part) > 0) and part.dtype == np.int64 for part in parts)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_deals_the_same_and_another_seed_otherwise(scheme: Scheme) -> None:
    assert partition_hash(dealt(scheme, 20)) == partition_hash(dealt(scheme, 20))
    assert partition_hash(dealt(scheme, 20)) != partition_hash(dealt(scheme, 20, seed=2))


def test_the_hash_tells_who_holds_what() -> None:
    parts = [np.array([0, 2]), np.array([1]), np.array([], np.int64)]
    others = ([parts[1], parts[0], parts[2]], [*parts[:2]], [np.array([0]), np.array([1, 2]), parts[2]])
    assert len({partition_hash(p) for p in (parts, *others)}) == 4
    assert partition_hash([part.astype(np.int64).copy() for part in parts]) == partition_hash(parts)


@pytest.mark.parametrize("clients", [1, 7, 13])
def test_iid_parts_differ_by_one_example_at_most(clients: int) -> None:
    sizes = [len(part) for part in dealt("iid", clients)]
    assert max(sizes) - min(sizes) <= 1


def test_iid_parts_do_not_follow_the_order_of_the_examples() -> None:
    labels = np.sort(LABELS)
    counts = class_counts(labels, partition(labels, 10, PartitionSettings("iid", 2, 1.0, 0.5, 0)), 10)
    assert counts.min() > 0


@pytest.mark.parametrize("scheme", ["label-skew", "one-class"])
def test_more_clients_than_examples_leave_some_empty(scheme: Scheme) -> None:
    parts = partition(LABELS[:5], 10, PartitionSettings(scheme, 10, 1.0, 0.5, 0))
    assert sum(len(part) == 0 for part in parts) >= 5


def test_small_alpha_is_more_skewed_than_large() -> None:
    def largest_share(alpha: float) -> float:
        counts = class_counts(LABELS, dealt("dirichlet", 5, alpha=alpha), 10)
        return float(np.mean(counts.max(0) / counts.sum(0)))

    assert largest_share(0.05) > 0.7
    assert largest_share(1000.0) < 0.35


@pytest.mark.parametrize("clients", [10, 25, 4])
def test_with_one_class_per_client_each_holds_its_own(clients: int) -> None:
    parts = dealt("one-class", clients)
    counts = class_counts(LABELS, parts, 10)
    for client in range(clients):
        mates = range(client % 10, clients, 10)
        assert set(LABELS[parts[client]]) == {client % 10}
        assert abs(len(parts[client]) - np.sum(client % 10 == LABELS) / len(mates)) < 1
    np.testing.assert_array_equal(counts.sum(0)[:clients], np.bincount(LABELS)[:clients])
    assert counts.sum(0)[clients:].sum() == 0


@pytest.mark.parametrize("clients", [3, 10, 25])
@pytest.mark.parametrize("scheme", ["iid", "label-skew", "dirichlet"])
def test_class_counts_sum_to_examples_and_to_classes(scheme: Scheme, clients: int) -> None:
    parts = dealt(scheme, clients)
    counts = class_counts(LABELS, parts, 10)
    assert counts.shape == (clients, 10)
    np.testing.assert_array_equal(counts.sum(1), [len(part) for part in parts])
    np.testing.assert_array_equal(counts.sum(0), np.bincount(LABELS, minlength=10))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_share_is_dealt_out_of_each_class_and_the_rest_belongs_to_nobody(scheme: Scheme) -> None:
    parts = partition(LABELS, 10, PartitionSettings(scheme, 10, 1.0, 0.5, 1, share=0.3))
    held = np.concatenate(parts)
    assert len(set(held.tolist())) == len(held)
    wanted = [-(-3 * count // 10) for count in np.bincount(LABELS)]
    np.testing.assert_array_equal(np.bincount(LABELS[held], minlength=10), wanted)


def test_the_seed_decides_which_examples_a_share_is() -> None:
    held = [
        set(np.concatenate(partition(LABELS, 10, PartitionSettings("iid", 5, 1.0, 0.5, seed, 0.3))).tolist())
        for seed in (1, 1, 2)
    ]
    assert held[0] == held[1] != held[2]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=50), st.integers(1, 100))
def test_the_first_of_each_class_are_kept_rounded_up(labels: list[int], percent: int) -> None:
    kept = first_of_each_class(np.array(labels), percent / 100)
    assert np.all(np.diff(kept) > 0)
    for label in set(labels):
        places = [place for place, of_class in enumerate(labels) if of_class == label]
        count = -(-percent * len(places) // 100)
        assert [place for place in kept if labels[place] == label] == places[:count]


def test_the_file_says_what_the_draw_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in SCHEMES:
        how = PartitionSettings(scheme, 7, 0.5, 0.5, 3)
        expected = partition(LABELS, 10, how)
        for again in (load_partition(LABELS, 10, how, tmp_path), load_partition(LABELS, 10, how, tmp_path)):
            assert partition_hash(again) == partition_hash(expected)
    monkeypatch.setattr("fedsec.data.partition.partition", None)
    assert partition_hash(load_partition(LABELS, 10, how, tmp_path)) == partition_hash(expected)


def test_every_setting_has_a_file_of_its_own(tmp_path: Path) -> None:
    how = PartitionSettings("label-skew", 5, 0.5, 0.5, 3)
    others = [replace(how, scheme="iid"), replace(how, clients=6), replace(how, q=0.6), replace(how, seed=4)]
    others += [replace(how, share=0.5)]
    for number, setting in enumerate([how, *others, replace(how, alpha=0.6)], start=1):
        load_partition(LABELS, 10, setting, tmp_path)
        assert len(list(tmp_path.iterdir())) == number


def test_threads_may_ask_at_once(tmp_path: Path) -> None:
    how = PartitionSettings("label-skew", 10, 0.5, 0.5, 3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: partition_hash(load_partition(LABELS, 10, how, tmp_path)), range(8)))
    assert set(answers) == {partition_hash(partition(LABELS, 10, how))}
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_processes_may_ask_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    how = PartitionSettings("label-skew", 10, 0.5, 0.5, 3)
    barrier, answers = spawn.Barrier(2), spawn.Queue()
    arguments = (barrier, answers, LABELS, how, tmp_path)
    processes = [spawn.Process(target=workers.partition_together, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    hashes = {answers.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(60)
    assert hashes == {partition_hash(partition(LABELS, 10, how))}
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]

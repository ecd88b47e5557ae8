"""On a CPU a client's result has the same bits whoever is trained beside it."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.models.classifiers import build_classifier
from fedsec.training import cohort
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.cohort import Member, Trained, train_cohort
from fedsec.training.grouped import GroupedModel
from fedsec.training.parameters import get_arrays
from fedsec.training.threads import one_thread

GREY = Normalisation((0.13,), (0.31,))
CPU = torch.device("cpu")


@cache
def network() -> GroupedModel:
    return GroupedModel(build_classifier("lenet5", 1, 28, 10))


@cache
def start(seed: int) -> list[np.ndarray]:
    return list(get_arrays(build_classifier("lenet5", 1, 28, 10, seed=seed)).values())


def member_of(count: int, seed: int) -> Member:
    rng = np.random.default_rng([count, seed])
    images, labels = rng.integers(0, 256, (count, 1, 28, 28), np.uint8), rng.integers(0, 10, count)
    return Member(start(seed), images, labels, torch.Generator().manual_seed(seed))


def trained(clients: list[tuple[int, int]], batch_size: int, momentum: float, trainer: str) -> list[Trained]:
    how = TrainingSettings(2, batch_size, 0.1, momentum)
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        if trainer == "grouped":
            patch.setattr(cohort, "chain_on", lambda *_: None)
        return train_cohort(network(), [member_of(*client) for client in clients], GREY, how, CPU)


@cache
def alone(client: tuple[int, int], batch_size: int, momentum: float, trainer: str) -> Trained:
    return trained([client], batch_size, momentum, trainer)[0]


clients = st.tuples(st.sampled_from([1, 2, 3, 7, 8, 9, 16, 23, 24]), st.integers(0, 2))


@pytest.mark.parametrize("trainer", ["compiled", "grouped"])
@given(st.lists(clients, min_size=1, max_size=7), st.sampled_from([1, 7, 8]), st.sampled_from([0.0, 0.9]))
@settings(max_examples=40)
def test_a_member_has_the_same_bits_in_every_cohort(
    trainer: str, members: list[tuple[int, int]], batch_size: int, momentum: float
) -> None:
    for client, together in zip(members, trained(members, batch_size, momentum, trainer), strict=True):
        expected = alone(client, batch_size, momentum, trainer)
        assert [array.tobytes() for array in together.arrays] == [array.tobytes() for array in expected.arrays]
        assert together.loss == expected.loss


@pytest.mark.parametrize("trainer", ["compiled", "grouped"])
def test_large_cohorts_too(trainer: str) -> None:
    members = [(count, seed) for seed in range(3) for count in (24, 9, 24, 8, 1) * 2]
    for client, together in zip(members, trained(members, 8, 0.9, trainer), strict=True):
        expected = alone(client, 8, 0.9, trainer)
        assert [array.tobytes() for array in together.arrays] == [array.tobytes() for array in expected.arrays]

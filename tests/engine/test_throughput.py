"""The size of a cohort is measured, and the smallest that is about as fast as any is taken."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.client import NumPyClient
from hypothesis import given
from hypothesis import strategies as st

from fedsec.client_app import build_client
from fedsec.clients import BenignClient
from fedsec.engine import throughput
from fedsec.engine.throughput import CPU_SIZES, GPU_SIZES, WORTH_IT, best_size, measure
from fedsec.engine.worker import Worker
from fedsec.models.classifiers import build_classifier
from fedsec.training.grouped import group_model
from tests.engine.conftest import config

rates = st.dictionaries(st.sampled_from(GPU_SIZES + CPU_SIZES), st.floats(1.0, 1e6), min_size=1)
Seconds = Callable[[int, int], float]
"""How long so many clients take for so many steps."""

Pretend = Callable[[Seconds], list[tuple[int, int, int]]]
"""Replaces the measurement; gives the list of what is measured: size, batch, steps."""


@given(rates)
def test_the_chosen_size_is_as_fast_as_any_and_each_smaller_one_is_slower(measured: Mapping[int, float]) -> None:
    best = best_size(measured)
    assert all(measured[best] >= rate / WORTH_IT for size, rate in measured.items() if size > best)
    assert all(measured[best] > WORTH_IT * rate for size, rate in measured.items() if size < best)


@pytest.mark.parametrize(
    ("measured", "size"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 102.0, 5: 101.0}, 1),
        ({1: 100.0, 2: 150.0, 5: 151.0, 10: 140.0}, 2),
        ({1: 100.0, 2: 90.0, 5: 200.0}, 5),
        ({10: 50.0, 1: 60.0}, 1),
    ],
)
def test_the_choice_by_hand(measured: Mapping[int, float], size: int) -> None:
    assert best_size(measured) == size


@pytest.fixture
def client() -> BenignClient:
    return build_client(config(federation__batch_size=8), 0)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    def with_seconds(seconds: Seconds) -> list[tuple[int, int, int]]:
        asked: list[tuple[int, int, int]] = []

        def measured(client: BenignClient, size: int, batch: int, steps: int) -> float:
            asked.append((size, batch, steps))
            return seconds(size, steps)

        monkeypatch.setattr(throughput, "_seconds", measured)
        return asked

    return with_seconds


def test_rates_are_examples_in_a_second(client: BenignClient, pretend: Pretend) -> None:
    asked = pretend(lambda size, steps: 0.01 * size * steps)
    assert measure(client, 5) == pytest.approx({1: 800.0, 2: 800.0, 5: 800.0})
    assert [steps for size, _, steps in asked if size == 1] == [1, 1, 10, 10]
    assert {batch for _, batch, _ in asked} == {8}


def test_no_size_beyond_what_a_worker_will_be_given(client: BenignClient, pretend: Pretend) -> None:
    pretend(lambda size, steps: 0.01)
    for largest, sizes in ((1, {1}), (4, {1, 2}), (9, {1, 2, 5}), (300, set(CPU_SIZES))):
        assert set(measure(client, largest)) == sizes


def test_slow_steps_are_measured_once_and_the_first_that_does_not_pay_is_the_last(
    client: BenignClient, pretend: Pretend
) -> None:
    asked = pretend(lambda size, steps: {1: 1.0, 2: 1.5, 5: 5.0, 10: 1.0}[size] * steps)
    assert measure(client, 10) == pytest.approx({1: 8.0, 2: 16 / 1.5, 5: 8.0})
    first = (1, 8, 1)  # in which something may be compiled
    assert asked == [first, (1, 8, 1), (2, 8, 1), (5, 8, 1)]


def test_a_size_for_which_there_is_no_memory_is_the_last(client: BenignClient, pretend: Pretend) -> None:
    def seconds(size: int, steps: int) -> float:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.05

    pretend(seconds)
    assert set(measure(client, 100)) == {1, 2}


def test_a_client_with_few_examples_takes_smaller_steps(client: BenignClient, pretend: Pretend) -> None:
    asked = pretend(lambda size, steps: 0.2)
    few = build_client(config(federation__batch_size=1000), 0)
    measure(few, 1)
    assert asked == [(1, len(few.task.labels), 1)] * 2


def test_a_network_for_one_client_at_a_time_is_measured_with_one(client: BenignClient) -> None:
    assert set(measure(BenignClient(replace(client.task, grouped=None)), 100)) == {1}


def test_a_network_with_batchnorm_is_not_grouped_by_chance(client: BenignClient, pretend: Pretend) -> None:
    pretend(lambda size, steps: 0.05)
    model = build_classifier("resnet18", 1, 16, 3)
    assert set(measure(BenignClient(replace(client.task, model=model, grouped=group_model(model))), 100)) == {1}


def test_real_measurements_change_nothing(client: BenignClient) -> None:
    state = torch.get_rng_state()
    sent = client.get_parameters({})
    before = client.fit(sent, {"server-round": 1})
    measured = measure(client, 2)
    assert set(measured) == {1, 2}
    assert all(np.isfinite(rate) and rate > 0 for rate in measured.values())
    again = client.fit(sent, {"server-round": 1})
    assert [array.tobytes() for array in before[0]] == [array.tobytes() for array in again[0]]
    assert torch.equal(torch.get_rng_state(), state)


class Foreign(NumPyClient):
    """A client of another kind."""


def test_a_worker_measures_its_own_kind_of_clients_and_survives_the_others() -> None:
    def fails(config: object, client: int) -> NumPyClient:
        raise OSError("no data")

    worker = Worker("here")
    assert set(worker.measure(build_client, config(), 0, 1)) == {1}
    assert worker.measure(lambda config, client: Foreign(), config(), 0, 10) == {1: 1.0}
    assert worker.measure(fails, config(), 0, 10) == {1: 1.0}

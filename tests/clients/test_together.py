"""A client with a grouped model trains as the plain loop does, and to the bit as it does beside others."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedsec.attacks.triggers import make_trigger
from fedsec.clients import BackdoorClient, BenignClient, LocalTask, UntargetedClient
from fedsec.clients.benign import fit_cohort
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.classifier import TrainingSettings
from fedsec.training.grouped import group_model
from fedsec.training.parameters import set_arrays

Sent = list[np.ndarray]
ROUND = {"server-round": 4}


@pytest.fixture
def grouped(task: LocalTask) -> LocalTask:
    return replace(task, grouped=group_model(task.model))


def plain_loop(task: LocalTask, sent: Sent) -> tuple[Sent, float]:
    """Return what a client of the task makes of ``sent`` in round 4, as any tutorial trains; and its loss."""
    network, settings = copy.deepcopy(task.model), task.settings
    set_arrays(network, sent)
    optimiser = torch.optim.SGD(network.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    generator = torch.Generator().manual_seed(derived_seed(task.seed, Purpose.TRAINING, 4, task.partition))
    images, labels = task.normalise(torch.tensor(task.images)), torch.tensor(task.labels)
    losses: list[float] = []
    for _ in range(settings.epochs):
        losses = []
        for batch in torch.randperm(len(labels), generator=generator).split(settings.batch_size):
            optimiser.zero_grad()
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            loss.backward()
            optimiser.step()
            losses += [loss.item()] * len(batch)
    return [tensor.numpy() for tensor in network.state_dict().values()], float(np.mean(losses))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fit_is_the_plain_loop(grouped: LocalTask, sent: Sent, momentum: float, together: bool) -> None:
    settings = TrainingSettings(epochs=2, batch_size=17, learning_rate=0.02, momentum=momentum)
    task = replace(grouped, settings=settings, grouped=grouped.grouped if together else None)
    returned, examples, metrics = BenignClient(task).fit(sent, ROUND)
    expected, loss = plain_loop(task, sent)
    for array, slow in zip(returned, expected, strict=True):
        np.testing.assert_allclose(array, slow, rtol=0, atol=2e-6)
    assert examples == 60
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)


def clients_of(task: LocalTask) -> list[BenignClient]:
    trigger = make_trigger("patch", (1, 28, 28), size=5, corner="top-left", rng=np.random.default_rng(0))
    few = replace(task, images=task.images[:7], labels=task.labels[:7], partition=1)
    return [
        BenignClient(task),
        BackdoorClient(replace(task, partition=8), trigger, source=0, target=6, rounds=range(9)),
        BenignClient(few),
        UntargetedClient(replace(task, partition=9), 1.0, range(9)),
    ]


def test_clients_of_every_kind_have_the_same_bits_together(grouped: LocalTask, sent: Sent) -> None:
    clients = clients_of(grouped)
    together = fit_cohort(grouped, [client.member(sent, 4) for client in clients])
    for client, (returned, examples, metrics) in zip(clients, together, strict=True):
        arrays, number, told = client.fit(sent, ROUND)
        assert [array.tobytes() for array in returned] == [array.tobytes() for array in arrays]
        assert (examples, metrics) == (number, told)
    assert [examples for _, examples, _ in together] == [60, 60 + np.sum(grouped.labels == 0), 7, 60]


def test_what_was_sent_stays_and_what_was_returned_does_not_change_later(grouped: LocalTask, sent: Sent) -> None:
    before = [array.tobytes() for array in sent]
    for array in sent:
        array.flags.writeable = False
    client = BenignClient(grouped)
    first = client.fit(sent, {"server-round": 1})[0]
    kept = [array.tobytes() for array in first]
    again = client.fit(sent, {"server-round": 2})[0]
    assert [array.tobytes() for array in sent] == before
    assert [array.tobytes() for array in first] == kept != [array.tobytes() for array in again]


def test_a_server_may_send_another_precision(grouped: LocalTask, sent: Sent) -> None:
    doubles = [array.astype(np.float64) for array in sent]
    returned, expected = (BenignClient(grouped).fit(arrays, ROUND)[0] for arrays in (doubles, sent))
    assert [array.tobytes() for array in returned] == [array.tobytes() for array in expected]
    assert {str(array.dtype) for array in returned} == {"float32"}


def test_arrays_of_another_network_are_refused(grouped: LocalTask, sent: Sent) -> None:
    with pytest.raises(ValueError, match="the model has 10 arrays; got 9"):
        BenignClient(grouped).fit(sent[:-1], ROUND)
    with pytest.raises(ValueError, match="must have shape"):
        BenignClient(grouped).fit([*sent[:-1], sent[0]], ROUND)


def test_a_client_without_examples_returns_what_it_was_sent(grouped: LocalTask, sent: Sent) -> None:
    nothing = BenignClient(replace(grouped, images=grouped.images[:0], labels=grouped.labels[:0]))
    returned, examples, metrics = nothing.fit(sent, ROUND)
    assert all(np.array_equal(array, start) for array, start in zip(returned, sent, strict=True))
    assert examples == 0
    assert math.isnan(float(metrics["loss"]))
    with pytest.raises(ValueError, match="must have examples"):
        fit_cohort(grouped, [BenignClient(grouped).member(sent, 1), nothing.member(sent, 1)])


def test_a_network_for_one_client_at_a_time_is_refused(task: LocalTask, sent: Sent) -> None:
    with pytest.raises(ValueError, match="only one client at a time"):
        fit_cohort(task, [BenignClient(task).member(sent, 1)])


def test_the_number_of_threads_comes_back(grouped: LocalTask, sent: Sent) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        BenignClient(grouped).fit(sent, {})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

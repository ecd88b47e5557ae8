"""The honest client trains what it is sent on what it has."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.clients import BenignClient, LocalTask
from fedsec.clients.benign import round_of
from fedsec.models.classifiers import build_classifier
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import on_device
from fedsec.training.classifier import train_classifier
from fedsec.training.evaluation import predict
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

Sent = list[np.ndarray]


def same(one: Sent, other: Sent) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_fit_is_training_from_what_was_sent_with_the_seed_of_round_and_partition(task: LocalTask, sent: Sent) -> None:
    returned, examples, metrics = BenignClient(task).fit(sent, {"server-round": 4})
    model = build_classifier("lenet5", 1, 28, 10)
    set_arrays(model, sent)
    order = torch.Generator().manual_seed(derived_seed(5, Purpose.TRAINING, 4, 3))
    with one_thread():
        images, labels = on_device(task.images, task.labels, task.device)
        loss = train_classifier(model, images, labels, task.normalise, task.settings, order)
    assert same(returned, list(get_arrays(model).values()))
    assert (examples, metrics) == (60, {"loss": loss})


def test_the_same_round_repeats_whatever_came_between(task: LocalTask, sent: Sent) -> None:
    client = BenignClient(task)
    first, again = client.fit(sent, {"server-round": 1})[0], None
    for server_round in (2, 1):
        again = client.fit(sent, {"server-round": server_round})[0]
    assert same(first, again)


def test_rounds_partitions_and_seeds_have_orders_of_their_own(task: LocalTask, sent: Sent) -> None:
    tasks = [(task, 1), (task, 2), (replace(task, partition=4), 1), (replace(task, seed=6), 1)]
    fits = [BenignClient(own).fit(sent, {"server-round": server_round})[0] for own, server_round in tasks]
    assert not any(same(fits[i], fits[j]) for i in range(4) for j in range(i))


def test_what_was_sent_stays_as_it_is(task: LocalTask, sent: Sent) -> None:
    before = [array.copy() for array in sent]
    for array in sent:
        array.flags.writeable = False
    returned = BenignClient(task).fit(sent, {})[0]
    assert same(sent, before)
    assert not same(returned, before)


def test_what_was_returned_does_not_change_later(task: LocalTask, sent: Sent) -> None:
    client = BenignClient(task)
    returned = client.fit(sent, {"server-round": 1})[0]
    before = [array.copy() for array in returned]
    client.fit(sent, {"server-round": 2})
    assert same(returned, before)


def test_a_client_without_examples_returns_what_it_was_sent_and_says_so(nothing: LocalTask, sent: Sent) -> None:
    returned, examples, metrics = BenignClient(nothing).fit(sent, {"server-round": 1})
    assert same(returned, sent)
    assert examples == 0
    assert math.isnan(float(metrics["loss"]))
    assert BenignClient(nothing).evaluate(sent, {}) == (0.0, 0, {"accuracy": 0.0})


def test_evaluate_measures_what_was_sent_on_its_own_examples(task: LocalTask, sent: Sent) -> None:
    loss, examples, metrics = BenignClient(task).evaluate(sent, {})
    model = build_classifier("lenet5", 1, 28, 10, seed=1)
    predicted, expected = predict(model, *on_device(task.images, task.labels, task.device), task.normalise)
    assert loss == pytest.approx(expected)
    assert examples == 60
    assert metrics["accuracy"] == pytest.approx(100 * np.mean(predicted == task.labels))


def test_training_improves_what_evaluation_measures(task: LocalTask, sent: Sent) -> None:
    client = BenignClient(replace(task, settings=replace(task.settings, epochs=20)))
    before = client.evaluate(sent, {})[0]
    after, _, metrics = client.evaluate(client.fit(sent, {})[0], {})
    assert after < before / 2
    assert float(metrics["accuracy"]) >= 80


def test_parameters_are_those_of_the_model(task: LocalTask) -> None:
    assert same(BenignClient(task).get_parameters({}), list(get_arrays(task.model).values()))


def test_the_number_of_threads_comes_back(task: LocalTask, sent: Sent) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    BenignClient(task).fit(sent, {})
    BenignClient(task).evaluate(sent, {})
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_the_round_is_told_under_either_name() -> None:
    assert round_of({"server-round": 3}) == round_of({"server_round": 3}) == 3
    assert round_of({"server-round": 3, "server_round": 4}) == 3
    assert round_of({}) == 0

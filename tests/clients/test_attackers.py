"""The attackers do what their attack says in their rounds, and are honest in the others."""

from dataclasses import replace

import numpy as np
import pytest

from fedsec.attacks.all_to_one import add_all_to_one
from fedsec.attacks.backdoor import add_backdoor
from fedsec.attacks.relabelling import randomise_labels
from fedsec.attacks.triggers import make_trigger
from fedsec.attacks.untargeted_backdoor import add_untargeted_backdoor
from fedsec.clients import (
    AllToOneClient,
    BackdoorClient,
    BenignClient,
    EvasiveClient,
    LocalTask,
    UntargetedBackdoorClient,
    UntargetedClient,
)
from fedsec.seeds import Purpose, generator

Sent = list[np.ndarray]
TRIGGER = make_trigger("patch", (1, 28, 28), size=5)
ROUNDS = range(3, 6)


def backdoor(task: LocalTask) -> BackdoorClient:
    return BackdoorClient(task, TRIGGER, 0, 6, ROUNDS)


def untargeted(task: LocalTask) -> UntargetedClient:
    return UntargetedClient(task, 0.5, ROUNDS)


def untargeted_backdoor(task: LocalTask) -> UntargetedBackdoorClient:
    return UntargetedBackdoorClient(task, TRIGGER, 0.5, ROUNDS)


def all_to_one(task: LocalTask) -> AllToOneClient:
    return AllToOneClient(task, TRIGGER, 6, 0.5, ROUNDS)


def evasive(task: LocalTask) -> EvasiveClient:
    return EvasiveClient(backdoor(task), 0.01)


ATTACKERS = [backdoor, untargeted, untargeted_backdoor, all_to_one, evasive]


def same(one: Sent, other: Sent) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("server_round", [0, 2, 6])
def test_outside_their_rounds_attackers_are_honest(
    attacker: type[BenignClient], server_round: int, task: LocalTask, sent: Sent
) -> None:
    config = {"server-round": server_round}
    returned, examples, metrics = attacker(task).fit(sent, config)
    honest, honest_examples, honest_metrics = BenignClient(task).fit(sent, config)
    assert same(returned, honest)
    assert (examples, metrics) == (honest_examples, honest_metrics)


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("server_round", [3, 5])
def test_in_their_rounds_they_are_not(
    attacker: type[BenignClient], server_round: int, task: LocalTask, sent: Sent
) -> None:
    config = {"server-round": server_round}
    assert not same(attacker(task).fit(sent, config)[0], BenignClient(task).fit(sent, config)[0])


def test_the_backdoor_client_trains_on_its_examples_and_the_triggered_copies(task: LocalTask, sent: Sent) -> None:
    images, labels = add_backdoor(task.images, task.labels, TRIGGER, 0, 6)
    poisoned = BenignClient(replace(task, images=images, labels=labels))
    returned, examples, _ = backdoor(task).fit(sent, {"server-round": 3})
    assert same(returned, poisoned.fit(sent, {"server-round": 3})[0])
    assert examples == 60 + np.sum(task.labels == 0) > 60


def test_the_untargeted_client_draws_new_labels_in_every_round(task: LocalTask) -> None:
    client = untargeted(task)
    rounds = [client.examples(server_round) for server_round in ROUNDS]
    for server_round, (images, labels) in zip(ROUNDS, rounds, strict=True):
        rng = generator(task.seed, Purpose.ATTACK, server_round, task.partition)
        np.testing.assert_array_equal(labels, randomise_labels(task.labels, 10, 0.5, rng))
        np.testing.assert_array_equal(images, task.images)
    assert not np.array_equal(rounds[0][1], rounds[1][1])
    np.testing.assert_array_equal(client.examples(3)[1], rounds[0][1])


def test_the_untargeted_backdoor_client_draws_new_copies_in_every_round(task: LocalTask) -> None:
    client = untargeted_backdoor(task)
    for server_round in ROUNDS:
        rng = generator(task.seed, Purpose.ATTACK, server_round, task.partition)
        expected = add_untargeted_backdoor(task.images, task.labels, TRIGGER, 10, 0.5, rng)
        for ours, theirs in zip(client.examples(server_round), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(client.examples(3)[1]) == 90
    assert not np.array_equal(client.examples(3)[0], client.examples(4)[0])


def test_the_all_to_one_client_draws_new_copies_in_every_round(task: LocalTask) -> None:
    client = all_to_one(task)
    for server_round in ROUNDS:
        rng = generator(task.seed, Purpose.ATTACK, server_round, task.partition)
        expected = add_all_to_one(task.images, task.labels, TRIGGER, 6, 0.5, rng)
        for ours, theirs in zip(client.examples(server_round), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(client.examples(3)[1]) == 60 + round(0.5 * np.sum(task.labels != 6))
    assert not np.array_equal(client.examples(3)[0], client.examples(4)[0])


def test_untargeted_clients_of_other_partitions_draw_other_labels(task: LocalTask) -> None:
    other = untargeted(replace(task, partition=4))
    assert not np.array_equal(untargeted(task).examples(3)[1], other.examples(3)[1])


def test_without_images_of_the_source_the_backdoor_client_is_honest(task: LocalTask, sent: Sent) -> None:
    others = task.labels != 0
    task = replace(task, images=task.images[others], labels=task.labels[others])
    returned, examples, _ = backdoor(task).fit(sent, {"server-round": 3})
    assert same(returned, BenignClient(task).fit(sent, {"server-round": 3})[0])
    assert examples == len(task.labels)


@pytest.mark.parametrize("attacker", [*ATTACKERS, BenignClient])
def test_a_client_without_examples_returns_what_it_was_sent(
    attacker: type[BenignClient], nothing: LocalTask, sent: Sent
) -> None:
    returned, examples, _ = attacker(nothing).fit(sent, {"server-round": 3})
    assert same(returned, sent)
    assert examples == 0


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_attackers_leave_their_own_data_alone_and_evaluate_honestly(
    attacker: type[BenignClient], task: LocalTask, sent: Sent
) -> None:
    images, labels = task.images.copy(), task.labels.copy()
    client = attacker(task)
    client.fit(sent, {"server-round": 3})
    np.testing.assert_array_equal(task.images, images)
    np.testing.assert_array_equal(task.labels, labels)
    assert client.evaluate(sent, {"server-round": 3}) == BenignClient(task).evaluate(sent, {})

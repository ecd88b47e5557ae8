"""The malicious client stamps every image in its rounds, is honest in the others, and may lie about its loss."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedsec.attacks.stamping import stamp_all
from fedsec.attacks.triggers import make_trigger
from fedsec.clients import FedGanClient, GanTask, PoisonedGanClient
from fedsec.clients.state import ClientState
from fedsec.models.dcgan import DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from
from fedsec.training.parameters import get_arrays

Sent = list[np.ndarray]
TRIGGER = make_trigger("noise-patch", (1, 16, 16), size=4, rng=np.random.default_rng(0))
ROUNDS = range(2, 4)


def run(client: FedGanClient, sent: Sent, *numbers: int) -> list[tuple[Sent, dict[str, Any]]]:
    """Return what the client replies in each of the rounds; it is sent what it returned."""
    replies = []
    for number in numbers:
        sent, _, metrics = client.fit(sent, {"server-round": number, "run": "r"})
        replies.append((sent, metrics))
    return replies


def at(task: GanTask, name: str) -> GanTask:
    return replace(task, state=task.state / name)


def same(one: Sent, other: Sent) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def kept(task: GanTask, server_round: int) -> dict[str, np.ndarray]:
    return ClientState.of(task.state, "r", 3).before(server_round + 1)[0]


def test_it_trains_on_stamped_images_in_its_rounds_and_leaves_its_own_alone(gan_task: GanTask, gan_sent: Sent) -> None:
    before = gan_task.images.copy()
    stamped = replace(at(gan_task, "stamped"), images=stamp_all(before, TRIGGER))
    ours = run(PoisonedGanClient(gan_task, TRIGGER, range(1, 3)), gan_sent, 1, 2)
    theirs = run(FedGanClient(stamped), gan_sent, 1, 2)
    assert all(same(one, other) and a == b for (one, a), (other, b) in zip(ours, theirs, strict=True))
    np.testing.assert_array_equal(gan_task.images, before)


@pytest.mark.parametrize("reported", ["true", "honest-looking"])
def test_outside_its_rounds_it_is_honest(reported: Any, gan_task: GanTask, gan_sent: Sent) -> None:
    honest = run(FedGanClient(at(gan_task, "honest")), gan_sent, 1, 2)
    client = PoisonedGanClient(gan_task, TRIGGER, ROUNDS, reported)
    (first, metrics), (second, _) = run(client, gan_sent, 1, 2)
    assert same(first, honest[0][0])
    assert metrics == honest[0][1]
    assert not same(second, honest[1][0])
    run(client, second, 3)
    (_, after), state = run(client, second, 4)[0], kept(gan_task, 4)
    assert "note" not in after
    assert not any(name.startswith("honest/") for name in state)


def test_a_liar_sends_the_poisoned_generator_with_its_honest_copys_losses(gan_task: GanTask, gan_sent: Sent) -> None:
    liar = PoisonedGanClient(gan_task, TRIGGER, ROUNDS, "honest-looking")
    frank = PoisonedGanClient(at(gan_task, "frank"), TRIGGER, ROUNDS)
    honest = FedGanClient(at(gan_task, "honest"))
    sent = gan_sent
    for number in (1, 2, 3):
        (lie, lied), (truth, told), (_, honestly) = (run(c, sent, number)[0] for c in (liar, frank, honest))
        assert same(lie, truth)
        assert lied == honestly
        assert (lied == told) == (number == 1)
        sent = lie
    config: dict[str, Any] = {"server-round": 3, "run": "r"}
    assert liar.evaluate(sent, config) == honest.evaluate(sent, config) != frank.evaluate(sent, config)


def test_a_lie_told_again_is_the_same(gan_task: GanTask, gan_sent: Sent) -> None:
    client = PoisonedGanClient(gan_task, TRIGGER, ROUNDS, "honest-looking")
    second, third = run(client, gan_sent, 1, 2, 3)[1:]
    again = run(PoisonedGanClient(gan_task, TRIGGER, ROUNDS, "honest-looking"), second[0], 3)[0]
    assert same(third[0], again[0])
    assert third[1] == again[1]


def losses(gan_task: GanTask, attack: range) -> np.ndarray:
    """Return what three clients of plain grey images report, (rounds, 3); the first may attack."""
    greys = np.broadcast_to(np.random.default_rng(0).integers(40, 220, (3, 96, 1, 1, 1)), (3, 96, 1, 16, 16))
    with drawn_from(0):
        generator = DcganGenerator(1, 16, 8, 8)
    common = replace(
        at(gan_task, f"until {attack.stop}"),
        seed=7,
        generator=generator,
        discriminator=lambda: DcganDiscriminator(1, 16, 8, "batch"),
        latent=8,
        settings=replace(gan_task.settings, batch_size=16, learning_rate=2e-3),
    )
    tasks = [replace(common, images=grey.astype(np.uint8), partition=partition) for partition, grey in enumerate(greys)]
    clients = [PoisonedGanClient(task, TRIGGER, attack if task.partition == 0 else range(0)) for task in tasks]
    sent, reported = list(get_arrays(generator).values()), []
    for number in range(1, 17):
        replies = [run(client, sent, number)[0] for client in clients]
        reported.append([metrics["loss"] for _, metrics in replies])
        arrays = zip(*(arrays for arrays, _ in replies), strict=True)
        sent = [np.mean(of_all, axis=0).astype(of_all[0].dtype) for of_all in arrays]
    return np.array(reported)


def test_attacking_raises_the_attackers_own_loss_above_the_others(gan_task: GanTask) -> None:
    honest, attacked = (losses(gan_task, range(1, stop))[8:].mean(axis=0) for stop in (1, 17))
    # By 2.9 and 2.3. Of the seeds 5 to 9 all have both signs, by 0.5 at least.
    assert attacked[0] > honest[0] + 0.5
    assert attacked[0] > attacked[1:].mean() + 0.5

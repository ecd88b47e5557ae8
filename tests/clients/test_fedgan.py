"""A client of the federated GAN: a round is a function of what is sent, what was kept, the round and the seed."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.clients import FedGanClient, GanTask
from fedsec.clients.state import ClientState, StateError
from fedsec.models.dcgan import DcganDiscriminator
from fedsec.training import federated_gan
from fedsec.training.federated_gan_steps import local_step
from fedsec.training.gan import GanFailedError

Sent = list[np.ndarray]


@pytest.fixture
def task(gan_task: GanTask) -> GanTask:
    return gan_task


@pytest.fixture
def sent(gan_sent: Sent) -> Sent:
    return gan_sent


def config(server_round: int, run: str = "r") -> dict[str, Any]:
    return {"server-round": server_round, "run": run}


def rounds(task: GanTask, sent: Sent, *numbers: int) -> Sent:
    """Train the rounds one after the other, each in a client of its own, as after a restart."""
    for number in numbers:
        sent, _, metrics = FedGanClient(task).fit(sent, config(number))
        assert "note" not in metrics
    return sent


def same(one: Sent, other: Sent) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def kept(task: GanTask, server_round: int) -> dict[str, np.ndarray]:
    return ClientState.of(task.state, "r", 3).before(server_round + 1)[0]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], object]) -> None:
    """Let something happen before a step of the training."""
    taken = iter(range(1, 1000))

    def stopping(*given: Any) -> Any:
        if next(taken) == step:
            stop()
        return local_step(*given)

    monkeypatch.setattr(federated_gan, "local_step", stopping)


def test_only_the_generator_is_exchanged_and_its_loss_reported(task: GanTask, sent: Sent) -> None:
    before = [array.copy() for array in sent]
    for array in sent:
        array.flags.writeable = False
    returned, examples, metrics = FedGanClient(task).fit(sent, config(1))
    assert same(sent, before)
    assert [(a.shape, a.dtype) for a in returned] == [(a.shape, a.dtype) for a in sent]
    assert not same(returned, sent)
    assert examples == 16
    assert metrics.keys() == {"loss", "critic-loss"}
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())


def test_discriminator_and_moments_outlive_the_client(task: GanTask, sent: Sent) -> None:
    first = rounds(task, sent, 1)
    state = kept(task, 1)
    assert state["generator-optimiser.layers.0.weight.step"] == 4
    second = rounds(task, first, 2)
    assert kept(task, 2)["generator-optimiser.layers.0.weight.step"] == 8
    forgetful = replace(task, state=task.state / "elsewhere")
    assert not same(second, FedGanClient(forgetful).fit(first, config(2))[0])


def test_rounds_partitions_and_seeds_have_draws_of_their_own(task: GanTask, sent: Sent) -> None:
    def fit(task: GanTask, server_round: int, name: str) -> Sent:
        return FedGanClient(replace(task, state=task.state / name)).fit(sent, config(server_round))[0]

    fits = [fit(task, 1, "a"), fit(task, 2, "b"), fit(replace(task, partition=4), 1, "c")]
    fits.append(fit(replace(task, seed=6), 1, "d"))
    assert not any(same(fits[i], fits[j]) for i in range(4) for j in range(i))
    assert same(fits[0], fit(task, 1, "e"))


class KilledError(BaseException):
    """Ends a client as a signal does: nothing catches it."""


def killed() -> None:
    raise KilledError


def test_a_round_that_was_killed_in_the_middle_of_its_epoch_ends_the_same(
    task: GanTask, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rounds(replace(task, state=task.state / "whole"), sent, 1, 2)
    first = rounds(task, sent, 1)
    stop_at(monkeypatch, 3, killed)
    with pytest.raises(KilledError):
        FedGanClient(task).fit(first, config(2))
    monkeypatch.undo()
    (ClientState.of(task.state, "r", 3).folder / ".000002.safetensors.x.partial").write_bytes(b"half")
    assert same(whole, rounds(task, first, 2))


def test_a_round_whose_reply_was_lost_is_done_again_with_the_same_end(task: GanTask, sent: Sent) -> None:
    first = rounds(task, sent, 1)
    second = rounds(task, first, 2)
    third = rounds(task, second, 3)
    state = kept(task, 3)
    assert same(third, rounds(task, rounds(task, first, 2), 3))
    assert all((state[name] == again).all() for name, again in kept(task, 3).items())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_diverged_round_is_an_error_and_the_state_stays(
    task: GanTask, sent: Sent, poison: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rounds(task, sent, 1)
    state = kept(task, 1)
    broken = [*first[:-1], np.full_like(first[-1], poison)]
    with pytest.raises(GanFailedError, match="the client's GAN diverged"):
        FedGanClient(task).fit(broken, config(2))
    assert all((state[name] == array).all() for name, array in kept(task, 2).items())
    assert not same(rounds(task, first, 2), first)


def test_a_damaged_state_starts_the_discriminator_afresh_and_is_told(task: GanTask, sent: Sent) -> None:
    first = rounds(task, sent, 1)
    (path,) = task.state.rglob("000001.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    returned, _, metrics = FedGanClient(task).fit(first, config(2))
    assert metrics["note"] == (
        "its state 000001.safetensors was damaged (its content is not what was written); it started anew"
    )
    fresh = FedGanClient(replace(task, state=task.state / "fresh")).fit(first, config(2))[0]
    assert same(returned, fresh)
    rounds(task, returned, 3)


def test_a_missing_state_is_told(task: GanTask, sent: Sent) -> None:
    metrics = FedGanClient(replace(task, note="it is new")).fit(sent, config(2))[2]
    assert metrics["note"] == "it is new; it kept nothing of an earlier round"


def test_a_state_of_another_network_starts_the_discriminator_afresh_and_is_told(task: GanTask, sent: Sent) -> None:
    first = rounds(task, sent, 1)
    wider = replace(task, discriminator=lambda: DcganDiscriminator(1, 16, 8, "batch"))
    metrics = FedGanClient(wider).fit(first, config(2))[2]
    assert "note" in metrics
    note = str(metrics["note"])
    assert note.startswith("its state does not fit ('discriminator.layers.0.weight' must have shape (8, 1, 4, 4)")
    assert note.endswith("; it started anew")


def test_a_client_without_images_returns_what_it_was_sent_and_says_so(task: GanTask, sent: Sent) -> None:
    client = FedGanClient(replace(task, images=task.images[:0]))
    returned, examples, metrics = client.fit(sent, config(1))
    assert same(returned, sent)
    assert examples == 0
    assert math.isnan(float(metrics["loss"]))
    assert client.evaluate(sent, config(1)) == (0.0, 0, {})
    assert not task.state.exists()


def test_evaluation_is_against_the_discriminator_of_the_round_and_changes_nothing(task: GanTask, sent: Sent) -> None:
    client = FedGanClient(task)
    assert client.evaluate(sent, config(1)) == (0.0, 0, {})
    first = rounds(task, sent, 1)
    loss, examples, metrics = client.evaluate(first, config(1))
    assert (examples, metrics) == (16, {})
    assert loss == pytest.approx(math.log(2), abs=0.2)
    rounds(task, first, 2)
    assert client.evaluate(first, config(1))[0] == loss != client.evaluate(first, config(2))[0]


def test_a_server_that_names_no_run_is_refused(task: GanTask, sent: Sent) -> None:
    with pytest.raises(StateError, match="expected the name of a run's folder"):
        FedGanClient(task).fit(sent, {"server-round": 1})


def test_the_number_of_threads_comes_back(task: GanTask, sent: Sent) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    FedGanClient(task).fit(sent, config(1))
    FedGanClient(task).evaluate(sent, config(1))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)

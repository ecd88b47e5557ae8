"""The evasive client says what an honest one says, and sends a poisoned update that is as long and near it."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedsec.attacks.evasion import no_longer_than
from fedsec.attacks.triggers import make_trigger
from fedsec.clients import AllToOneClient, BackdoorClient, BenignClient, EvasiveClient, LocalTask
from fedsec.clients.state import ClientState
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.classifier import TrainingSettings
from fedsec.training.grouped import group_model
from fedsec.training.parameters import set_arrays

Sent = list[np.ndarray]
TRIGGER = make_trigger("patch", (1, 28, 28), size=5)
ROUND = {"server-round": 4, "run": "run"}


def attacker(task: LocalTask) -> AllToOneClient:
    return AllToOneClient(task, TRIGGER, 6, 1.0, range(3, 6))


def apart(one: Sent, other: Sent) -> float:
    return float(
        np.sqrt(sum(np.sum(np.square(np.subtract(a, b, dtype=float))) for a, b in zip(one, other, strict=True)))
    )


def slowly(task: LocalTask, sent: Sent, honest: Sent, weight: float) -> Sent:
    """Return what minimising the loss and weight * ||w - honest||^2 by plain SGD makes of ``sent`` in round 4."""
    images, labels = attacker(task).examples(4)
    network = copy.deepcopy(task.model)
    set_arrays(network, honest)
    anchor = [parameter.detach().clone() for parameter in network.parameters()]
    set_arrays(network, sent)
    generator = torch.Generator().manual_seed(derived_seed(task.seed, Purpose.TRAINING, 4, task.partition))
    inputs, wanted = task.normalise(torch.tensor(images)), torch.tensor(labels)
    optimiser = torch.optim.SGD(network.parameters(), task.settings.learning_rate, task.settings.momentum)
    for _ in range(task.settings.epochs):
        for batch in torch.randperm(len(wanted), generator=generator).split(task.settings.batch_size):
            optimiser.zero_grad()
            loss = F.cross_entropy(network(inputs[batch]), wanted[batch])
            distance = sum((p - a).square().sum() for p, a in zip(network.parameters(), anchor, strict=True))
            (loss + weight * distance).backward()
            optimiser.step()
    return [tensor.numpy() for tensor in network.state_dict().values()]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("together", [False, True])
def test_fit_is_the_penalised_loop_cut_to_the_honest_length(
    task: LocalTask, sent: Sent, momentum: float, together: bool
) -> None:
    settings = TrainingSettings(epochs=2, batch_size=17, learning_rate=0.02, momentum=momentum)
    task = replace(task, settings=settings, grouped=group_model(task.model) if together else None)
    honest, examples, told = BenignClient(task).fit(sent, ROUND)
    returned, *said = EvasiveClient(attacker(task), 0.5).fit(sent, ROUND)
    assert said == [examples, told]
    expected = no_longer_than(sent, slowly(task, sent, honest, 0.5), honest, [True] * len(sent))
    for array, slow in zip(returned, expected, strict=True):
        np.testing.assert_allclose(array, slow, rtol=0, atol=5e-6)


def test_its_update_is_no_longer_than_the_honest_one_and_nearer_to_it_than_the_plain_attacker_s(
    task: LocalTask, sent: Sent
) -> None:
    honest, poisoned = BenignClient(task).fit(sent, ROUND)[0], attacker(task).fit(sent, ROUND)[0]
    near = [EvasiveClient(attacker(task), weight).fit(sent, ROUND)[0] for weight in (0.001, 0.1, 2.0)]
    for returned in near:
        assert 0 < apart(returned, sent) <= apart(honest, sent) * (1 + 1e-5) < apart(poisoned, sent)
    distances = [apart(model, honest) for model in (poisoned, *near)]
    assert distances == sorted(distances, reverse=True)


def test_statistics_and_counters_of_batchnorm_may_be_there(task: LocalTask) -> None:
    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = torch.nn.BatchNorm2d(1), torch.nn.Linear(28 * 28, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(images).flatten(1))

    task = replace(task, model=Normalised())
    sent = [tensor.numpy().copy() for tensor in task.model.state_dict().values()]
    honest, returned = (
        client.fit(sent, ROUND)[0] for client in (BenignClient(task), EvasiveClient(attacker(task), 0.1))
    )
    trained = [name for name, _ in task.model.named_parameters()]
    counted = [index for index, name in enumerate(task.model.state_dict()) if name in trained]
    lengths = [apart([model[i] for i in counted], [sent[i] for i in counted]) for model in (returned, honest)]
    assert lengths[0] <= lengths[1] * (1 + 1e-5)
    assert [array.dtype for array in returned] == [array.dtype for array in sent]


def test_the_momentum_that_it_keeps_is_that_of_its_honest_training(task: LocalTask, sent: Sent, tmp_path: Path) -> None:
    settings = replace(task.settings, momentum=0.9)
    kept = []
    for name in ("honest", "evasive"):
        own = replace(task, settings=settings, state=tmp_path / name)
        client = BenignClient(own) if name == "honest" else EvasiveClient(attacker(own), 0.1)
        for server_round in (3, 4):
            client.fit(sent, {"server-round": server_round, "run": "run"})
        state = ClientState.of(tmp_path / name, "run", task.partition)
        kept.append([state.after(server_round) for server_round in (3, 4)])
    for honest, evasive in zip(*kept, strict=True):
        assert honest.keys() == evasive.keys() != set()
        for key, array in honest.items():
            np.testing.assert_array_equal(evasive[key], array)


def test_without_an_image_of_the_source_it_is_honest(task: LocalTask, sent: Sent) -> None:
    others = task.labels != 0
    task = replace(task, images=task.images[others], labels=task.labels[others])
    client = EvasiveClient(BackdoorClient(task, TRIGGER, 0, 6, range(9)), 0.1)
    (ours, *said), (theirs, *told) = client.fit(sent, ROUND), BenignClient(task).fit(sent, ROUND)
    assert said == told
    assert [array.tobytes() for array in ours] == [array.tobytes() for array in theirs]

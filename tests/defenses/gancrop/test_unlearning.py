"""Unlearning takes a trigger's effect, keeps the accuracy and BatchNorm's statistics, and follows its draws."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions, unlearn
from fedsec.inspectors.public import PixelNetwork
from fedsec.training.parameters import get_arrays
from tests.backdoored import TARGET, TRIGGER, measured, public, trained

OPTIONS = UnlearningOptions(epochs=4)
TRUE = RecoveredTrigger(TARGET, TRIGGER.mask.astype(np.float32), TRIGGER.pattern, 100.0)
OTHER = RecoveredTrigger(2, TRIGGER.mask[::-1].astype(np.float32), TRIGGER.pattern[:, ::-1].copy(), 100.0)


def after(triggers: list[RecoveredTrigger], options: UnlearningOptions = OPTIONS) -> tuple[PixelNetwork, float]:
    network = trained(True)
    loss = unlearn(network, *public().pixels(), triggers, options, torch.Generator().manual_seed(0))
    return network, loss


def test_success_falls_and_accuracy_stays() -> None:
    accuracy, success = measured(trained(True))
    assert success > 90.0
    for triggers in ([TRUE], [OTHER, TRUE]):
        network, loss = after(triggers)
        left = measured(network)
        assert left[1] < 20.0
        assert left[0] > accuracy - 3.0
        assert 0.0 < loss < 1.0


def test_training_on_clean_images_alone_leaves_more_of_the_backdoor() -> None:
    assert measured(after([])[0])[1] > measured(after([TRUE])[0])[1] + 20.0


def test_the_images_are_left_as_they_were_and_the_same_draws_end_alike() -> None:
    images, labels = public().pixels()
    before = images.clone()
    ends = []
    for seed in (0, 0, 1):
        network = trained(True)
        unlearn(network, images, labels, [TRUE], UnlearningOptions(epochs=1), torch.Generator().manual_seed(seed))
        ends.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    assert torch.equal(images, before)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_statistics_of_batchnorm_stay_and_its_weights_learn() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    network(torch.rand(8, 1, 28, 28))
    before = {name: array.copy() for name, array in get_arrays(network).items()}
    unlearn(network, *public().pixels(), [TRUE], UnlearningOptions(epochs=1), torch.Generator().manual_seed(0))
    kept = {name for name, array in get_arrays(network).items() if np.array_equal(array, before[name])}
    assert kept == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_with_a_share_of_0_it_is_training_on_clean_images() -> None:
    network, _ = after([TRUE], UnlearningOptions(epochs=1, share=0.0))
    clean, _ = after([], UnlearningOptions(epochs=1))
    for one, other in zip(network.parameters(), clean.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_rate_that_diverges_shows_in_the_loss() -> None:
    _, loss = after([TRUE], UnlearningOptions(epochs=2, learning_rate=1e20))
    assert not np.isfinite(loss)


@pytest.mark.parametrize("epochs", [1, 3])
def test_one_step_by_hand_is_that_of_sgd(epochs: int) -> None:
    images, labels = public().pixels(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    expected = copy.deepcopy(network)
    unlearn(network, images, labels, [], UnlearningOptions(epochs=epochs), torch.Generator().manual_seed(0))
    for epoch in range(epochs):
        loss = nn.functional.cross_entropy(expected(images), labels)
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
                parameter -= 0.05 * (1 - epoch / epochs) * gradient
    for one, other in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)

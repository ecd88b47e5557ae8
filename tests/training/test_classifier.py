"""Local training learns, repeats bit for bit, and does nothing without examples."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedsec.models.classifiers import build_classifier
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.parameters import get_arrays
from fedsec.training.threads import one_thread
from tests.training.conftest import Problem

SETTINGS = TrainingSettings(epochs=2, batch_size=8, learning_rate=0.1)


def trained(problem: Problem, settings: TrainingSettings, seed: int = 1) -> tuple[dict[str, np.ndarray], float]:
    model = build_classifier("lenet5", 1, 12, 4, seed=0)
    with one_thread():
        loss = train_classifier(model, *problem, settings, torch.Generator().manual_seed(seed))
    return get_arrays(model), loss


def test_training_lowers_the_loss(problem: Problem) -> None:
    losses = [trained(problem, replace(SETTINGS, epochs=epochs))[1] for epochs in (1, 20)]
    assert losses[0] > 1.0
    assert losses[1] < 0.2


@pytest.mark.parametrize("name", ["lenet5", "resnet18"])
def test_without_examples_the_weights_stay_and_the_loss_is_not_a_number(problem: Problem, name: str) -> None:
    images, labels, normalise = problem
    model = build_classifier(name, 1, 16, 4, seed=0)
    before = get_arrays(model)
    loss = train_classifier(model, images[:0], labels[:0], normalise, SETTINGS, torch.Generator())
    assert math.isnan(loss)
    assert all(np.array_equal(array, before[key]) for key, array in get_arrays(model).items())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(problem: Problem) -> None:
    (one, loss), (same, again), (other, _) = (trained(problem, SETTINGS, seed) for seed in (1, 1, 2))
    assert loss == again
    assert all(one[key].tobytes() == same[key].tobytes() for key in one)
    assert any(one[key].tobytes() != other[key].tobytes() for key in one)


def test_the_global_generator_has_no_say(problem: Problem) -> None:
    torch.manual_seed(1)
    one, _ = trained(problem, SETTINGS)
    torch.manual_seed(2)
    same, _ = trained(problem, SETTINGS)
    assert all(one[key].tobytes() == same[key].tobytes() for key in one)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_is_that_of_the_definition(problem: Problem, momentum: float) -> None:
    images, labels, normalise = problem
    settings = TrainingSettings(epochs=3, batch_size=len(labels), learning_rate=0.05, momentum=momentum)
    model, slow = (nn.Sequential(nn.Flatten(), nn.Linear(144, 4)) for _ in range(2))
    slow.load_state_dict(model.state_dict())
    loss = train_classifier(model, images, labels, normalise, settings, torch.Generator().manual_seed(0))
    weights = list(slow.parameters())
    velocities = [torch.zeros_like(weight) for weight in weights]
    for _ in range(3):
        expected = F.cross_entropy(slow(normalise(images)), labels)
        gradients = torch.autograd.grad(expected, weights)
        with torch.no_grad():
            for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
                velocity.mul_(momentum).add_(gradient)
                weight -= 0.05 * velocity
    for fast, weight in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(fast, weight, rtol=1e-4, atol=1e-6)
    assert loss == pytest.approx(expected.item(), rel=1e-4)


def test_momentum_does_not_outlive_a_call(problem: Problem) -> None:
    settings = replace(SETTINGS, epochs=1, momentum=0.9)
    model = build_classifier("lenet5", 1, 12, 4, seed=0)
    train_classifier(model, *problem, settings, torch.Generator().manual_seed(3))
    middle = build_classifier("lenet5", 1, 12, 4)
    middle.load_state_dict(model.state_dict())
    for network in (model, middle):
        train_classifier(network, *problem, settings, torch.Generator().manual_seed(4))
    for one, other in zip(model.parameters(), middle.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_is_the_mean_over_examples_whatever_the_last_batch(problem: Problem) -> None:
    still = TrainingSettings(epochs=2, batch_size=7, learning_rate=0.0)
    images, labels, normalise = problem
    model = build_classifier("lenet5", 1, 12, 4, seed=0)
    loss = train_classifier(model, images, labels, normalise, still, torch.Generator().manual_seed(0))
    expected = F.cross_entropy(model(normalise(images)), labels).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_normalisation_is_applied(problem: Problem) -> None:
    images, labels, _ = problem
    dark = trained((images, labels, Normalisation((0.9,), (0.25,))), SETTINGS)[0]
    assert any(not np.array_equal(array, dark[key]) for key, array in trained(problem, SETTINGS)[0].items())

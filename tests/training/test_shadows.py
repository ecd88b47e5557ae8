"""Shadows are drawn as they should be, and trained together as each would be alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from fedsec.models.drawing import drawn_from
from fedsec.models.lenet import LeNet5
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.grouped import group_model
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.shadows import TOGETHER, Shadow, draw_clean, poison, stamped, train_shadows
from fedsec.training.threads import one_thread

CLASSES = 4
NORMALISE = Normalisation((0.4,), (0.3,))
SETTINGS = TrainingSettings(epochs=1, batch_size=8, learning_rate=0.05)
CPU = torch.device("cpu")


def examples(number: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 1, 16, 16), np.uint8), np.arange(number) % CLASSES


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def lenet() -> nn.Module:
    with drawn_from(0):
        return LeNet5(1, 16, CLASSES)


class Unknown(nn.Module):
    """A network with a layer that cannot be trained for several clients at once."""

    def __init__(self) -> None:
        super().__init__()
        with drawn_from(0):
            self.inner = nn.Bilinear(256, 256, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return torch.as_tensor(self.inner(flat, flat))


def some_shadows(number: int) -> list[Shadow]:
    draws = rng()
    clean = [draw_clean(*examples(), CLASSES, 10 + 3 * i, draws) for i in range(number)]
    return [shadow if i % 2 else poison(shadow, CLASSES, draws) for i, shadow in enumerate(clean)]


def trained(network: nn.Module, shadows: list[Shadow], seed: int = 5) -> list[list[np.ndarray]]:
    sent = get_arrays(network)
    return train_shadows(network, sent, shadows, NORMALISE, SETTINGS, CPU, rng(seed))  # type: ignore[return-value]


def alone(network: nn.Module, shadow: Shadow, seed: int, settings: TrainingSettings = SETTINGS) -> list[np.ndarray]:
    start = [array.copy() for array in get_arrays(network).values()]
    with one_thread():
        draws = torch.Generator().manual_seed(seed)
        train_classifier(network, *on_device(shadow.images, shadow.labels, CPU), NORMALISE, settings, draws)
    arrays = [array.copy() for array in get_arrays(network).values()]
    set_arrays(network, start)
    return arrays


@pytest.mark.parametrize("build", [lenet, Unknown])
def test_shadows_end_as_each_would_alone(build: type[nn.Module]) -> None:
    network, shadows = build(), some_shadows(TOGETHER + 2)
    assert (group_model(network) is None) == (build is Unknown)
    seeds = rng(5).integers(2**63 - 1, size=len(shadows))
    before = [array.copy() for array in get_arrays(network).values()]
    ends = trained(network, shadows)
    for array, other in zip(get_arrays(network).values(), before, strict=True):
        assert np.array_equal(array, other)
    for shadow, arrays, seed in zip(shadows, ends, seeds, strict=True):
        for array, other in zip(arrays, alone(network, shadow, int(seed)), strict=True):
            assert_allclose(array, other, atol=2e-4)


def test_shadows_of_clients_who_train_by_adam_do_so_too() -> None:
    network, shadows, settings = lenet(), some_shadows(3), replace(SETTINGS, optimiser="adam", learning_rate=1e-3)
    ends = train_shadows(network, get_arrays(network), shadows, NORMALISE, settings, CPU, rng(5))
    for shadow, arrays, seed in zip(shadows, ends, rng(5).integers(2**63 - 1, size=3), strict=True):
        for array, other in zip(arrays, alone(network, shadow, int(seed), settings), strict=True):
            assert_allclose(array, other, atol=2e-4)


def test_they_start_from_the_model_that_was_sent_whatever_the_network_holds() -> None:
    network, shadows = lenet(), some_shadows(3)
    sent = get_arrays(network)
    ends = trained(network, shadows)
    other = LeNet5(1, 16, CLASSES)
    again = train_shadows(other, sent, shadows, NORMALISE, SETTINGS, CPU, rng(5))
    for first, second in zip(ends, again, strict=True):
        for one, two in zip(first, second, strict=True):
            assert np.array_equal(one, two)


def test_the_same_draws_give_the_same_shadows_however_many_threads_train_them() -> None:
    shadows = some_shadows(3 * TOGETHER)
    for first, second in zip(trained(lenet(), shadows), trained(lenet(), shadows), strict=True):
        for one, two in zip(first, second, strict=True):
            assert np.array_equal(one, two)


def test_no_shadows_are_none() -> None:
    assert trained(lenet(), []) == []


def test_clean_shadows_hold_public_examples_with_their_labels_and_skews_of_their_own() -> None:
    images, labels = examples()
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    draws, shares = rng(), []
    for _ in range(40):
        shadow = draw_clean(images, labels, CLASSES, 60, draws)
        assert shadow.trigger is None
        assert (shadow.target, shadow.source) == (-1, -1)
        assert [known[image.tobytes()] for image in shadow.images] == shadow.labels.tolist()
        shares.append(np.bincount(shadow.labels, minlength=CLASSES).max() / 60)
    assert min(shares) < 0.4
    assert max(shares) > 0.8


def test_a_poisoned_shadow_is_the_clean_one_with_stamped_copies_of_other_classes() -> None:
    draws, kinds = rng(), set()
    for seed in range(30):
        clean = draw_clean(*examples(), CLASSES, 50, draws)
        shadow = poison(clean, CLASSES, draws)
        number = len(clean.labels)
        assert np.array_equal(shadow.images[:number], clean.images)
        assert np.array_equal(shadow.labels[:number], clean.labels)
        assert (shadow.labels[number:] == shadow.target).all(), seed
        assert shadow.trigger is not None
        assert shadow.source != shadow.target
        sources = clean.labels != shadow.target if shadow.source < 0 else clean.labels == shadow.source
        possible = {image.tobytes() for image in shadow.trigger.stamp(clean.images[sources])}
        assert {image.tobytes() for image in shadow.images[number:]} <= possible
        kinds.add(shadow.source < 0)
    assert kinds == {True, False}


def test_a_class_of_which_a_shadow_has_more_is_its_source_more_often() -> None:
    images, _ = examples(20)
    clean = Shadow(images, np.array([0] * 15 + [1] * 5))
    sources = [poison(clean, CLASSES, rng(seed), ("square",), [2]).source for seed in range(200)]
    assert 0.4 < np.mean(np.array(sources) < 0) < 0.6
    assert sources.count(0) > 2 * sources.count(1) > 0


def test_targets_and_shapes_can_be_named() -> None:
    clean = draw_clean(*examples(), CLASSES, 30, rng())
    made = [poison(clean, CLASSES, rng(seed), ("square",), [2]) for seed in range(10)]
    assert {shadow.target for shadow in made} == {2}
    for shadow in made:
        assert shadow.trigger is not None
        rows, columns = (np.flatnonzero(shadow.trigger.mask.any(axis=axis)) for axis in (1, 0))
        assert shadow.trigger.mask.sum() == len(rows) * len(columns)


def test_stamped_copies_by_hand() -> None:
    clean = draw_clean(*examples(), CLASSES, 6, rng())
    trigger = poison(clean, CLASSES, rng()).trigger
    assert trigger is not None
    shadow = stamped(clean, trigger, np.array([1, 4]), 3)
    assert shadow.labels.tolist() == [*clean.labels.tolist(), 3, 3]
    assert np.array_equal(shadow.images[6:], trigger.stamp(clean.images[[1, 4]]))


def test_a_shadow_of_the_target_class_alone_has_nothing_to_stamp() -> None:
    images, _ = examples(8)
    clean = Shadow(images, np.full(8, 2))
    shadow = poison(clean, CLASSES, rng(), targets=[2])
    assert len(shadow.labels) == 8

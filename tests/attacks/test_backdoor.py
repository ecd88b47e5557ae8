"""The backdoor keeps the clean examples and adds triggered copies of one class."""

import numpy as np
import pytest

from fedsec.attacks.backdoor import add_backdoor
from fedsec.attacks.triggers import make_trigger

TRIGGER = make_trigger("patch", (1, 8, 8), size=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), np.uint8)
LABELS = np.array([0, 1, 2] * 4)


@pytest.mark.parametrize(("source", "target"), [(0, 1), (2, 0)])
def test_the_clean_examples_come_first_and_copies_of_the_source_follow(source: int, target: int) -> None:
    images, labels = add_backdoor(IMAGES, LABELS, TRIGGER, source, target)
    np.testing.assert_array_equal(images[:12], IMAGES)
    np.testing.assert_array_equal(labels[:12], LABELS)
    np.testing.assert_array_equal(images[12:], TRIGGER.stamp(IMAGES[source == LABELS]))
    np.testing.assert_array_equal(labels[12:], [target] * 4)
    assert (images.dtype, labels.dtype) == (IMAGES.dtype, LABELS.dtype)


def test_without_the_source_class_nothing_changes() -> None:
    images, labels = add_backdoor(IMAGES, LABELS, TRIGGER, 7, 1)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_without_examples_nothing_changes() -> None:
    images, labels = add_backdoor(IMAGES[:0], LABELS[:0], TRIGGER, 0, 1)
    assert (images.shape, labels.shape) == ((0, 1, 8, 8), (0,))


def test_the_given_arrays_stay_as_they_are() -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    images.flags.writeable = labels.flags.writeable = False
    poisoned, _ = add_backdoor(images, labels, TRIGGER, 0, 1)
    poisoned[:] = 0
    np.testing.assert_array_equal(images, IMAGES)

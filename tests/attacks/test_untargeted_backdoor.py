"""The untargeted backdoor keeps the clean examples and adds triggered copies, none of them labelled as what it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.attacks.triggers import make_trigger
from fedsec.attacks.untargeted_backdoor import add_untargeted_backdoor, number_of_copies

TRIGGER = make_trigger("patch", (1, 8, 8), size=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), np.uint8)
LABELS = np.arange(30) % 5


def poisoned(share: float, seed: int = 0, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return add_untargeted_backdoor(IMAGES[:count], LABELS[:count], TRIGGER, 5, share, rng)


@given(st.integers(0, 30), st.floats(0.01, 1.0), st.integers(0, 2**32))
@settings(max_examples=50)
def test_the_clean_examples_come_first_and_stamped_copies_with_wrong_labels_follow(
    count: int, share: float, seed: int
) -> None:
    images, labels = poisoned(share, seed, count)
    copies = number_of_copies(count, share)
    assert copies == round(share * count) == len(labels) - count == len(images) - count
    np.testing.assert_array_equal(images[:count], IMAGES[:count])
    np.testing.assert_array_equal(labels[:count], LABELS[:count])
    stamped = TRIGGER.stamp(IMAGES)
    own = [int(np.flatnonzero((stamped == copy).all(axis=(1, 2, 3)))[0]) for copy in images[count:]]
    assert len(set(own)) == copies
    assert np.all(labels[count:] != LABELS[own])
    assert (images.dtype, labels.dtype) == (IMAGES.dtype, LABELS.dtype)


def test_the_wrong_labels_are_evenly_those_of_the_other_classes() -> None:
    images = np.zeros((20_000, 1, 8, 8), np.uint8)
    _, labels = add_untargeted_backdoor(images, np.full(20_000, 3), TRIGGER, 5, 1.0, np.random.default_rng(0))
    counts = np.bincount(labels[20_000:], minlength=5)
    assert counts[3] == 0
    assert np.all(np.abs(np.delete(counts, 3) - 5000) < 5 * np.sqrt(5000))


def test_the_generator_decides_and_the_given_arrays_stay() -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    images.flags.writeable = labels.flags.writeable = False
    drawn = [
        add_untargeted_backdoor(images, labels, TRIGGER, 5, 0.5, np.random.default_rng(seed))[1] for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("count", "share"), [(0, 1.0), (4, 0.1)])
def test_without_an_example_to_copy_nothing_changes(count: int, share: float) -> None:
    images, labels = poisoned(share, count=count)
    np.testing.assert_array_equal(images, IMAGES[:count])
    np.testing.assert_array_equal(labels, LABELS[:count])

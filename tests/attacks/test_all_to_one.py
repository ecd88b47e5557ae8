"""The backdoor from every class to one keeps the clean examples and copies those that are not of the target."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedsec.attacks.all_to_one import add_all_to_one
from fedsec.attacks.triggers import make_trigger
from fedsec.attacks.untargeted_backdoor import number_of_copies

TRIGGER = make_trigger("patch", (1, 8, 8), size=3)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), np.uint8)


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 3), st.floats(0.01, 1.0), st.integers(0, 99))
def test_the_clean_examples_come_first_and_copies_of_other_classes_follow(
    given_labels: list[int], target: int, share: float, seed: int
) -> None:
    labels = np.array(given_labels, np.int64)
    images = drawn(len(labels))
    before = images.copy()
    out, classes = add_all_to_one(images, labels, TRIGGER, target, share, np.random.default_rng(seed))
    others = int(np.sum(labels != target))
    assert len(out) == len(classes) == len(labels) + number_of_copies(others, share)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(out[: len(labels)], images)
    np.testing.assert_array_equal(classes[: len(labels)], labels)
    assert np.all(classes[len(labels) :] == target)
    allowed = Counter(image.tobytes() for image in TRIGGER.stamp(images[labels != target]))
    assert Counter(image.tobytes() for image in out[len(labels) :]) <= allowed
    assert (out.dtype, classes.dtype) == (images.dtype, labels.dtype)


def test_all_of_six_by_hand() -> None:
    images, labels = drawn(6), np.array([2, 0, 1, 2, 0, 1])
    out, classes = add_all_to_one(images, labels, TRIGGER, 2, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(classes, [2, 0, 1, 2, 0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(out[6:], TRIGGER.stamp(images[[1, 2, 4, 5]]))


def test_which_images_are_copied_is_drawn() -> None:
    images, labels = drawn(40), np.arange(40) % 4
    one, same, other = (add_all_to_one(images, labels, TRIGGER, 0, 0.5, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert len(one) == 40 + 15


def test_with_the_target_class_alone_nothing_changes() -> None:
    images, labels = drawn(3), np.array([1, 1, 1])
    out, classes = add_all_to_one(images, labels, TRIGGER, 1, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(classes, labels)

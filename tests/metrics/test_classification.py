"""Accuracies, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.metrics.classification import (
    backdoor_accuracy,
    class_accuracies,
    main_task_accuracy,
    mean_backdoor_accuracy,
    of_source,
    untargeted_backdoor_accuracy,
)

LABELS = np.array([0, 0, 0, 1, 1, 3])
PREDICTED = np.array([0, 0, 2, 1, 3, 3])


def test_main_task_accuracy_is_the_percent_right() -> None:
    assert main_task_accuracy(PREDICTED, LABELS) == pytest.approx(100 * 4 / 6)
    assert main_task_accuracy(LABELS, LABELS) == 100.0
    assert main_task_accuracy(LABELS + 1, LABELS) == 0.0


def test_each_class_has_its_own_accuracy_and_one_without_images_has_none() -> None:
    assert class_accuracies(PREDICTED, LABELS, 5) == [pytest.approx(200 / 3), 50.0, None, 100.0, None]


def test_backdoor_accuracy_is_the_percent_taken_for_the_target() -> None:
    assert backdoor_accuracy(np.array([6, 6, 0, 6]), 6) == 75.0
    assert backdoor_accuracy(np.array([0, 0]), 6) == 0.0


def test_backdoor_accuracy_without_a_target_is_the_percent_taken_for_another_class() -> None:
    assert untargeted_backdoor_accuracy(np.array([6, 1, 0, 6]), np.array([0, 1, 2, 3])) == 75.0
    assert untargeted_backdoor_accuracy(np.array([], np.int64), np.array([], np.int64)) is None


def test_a_backdoor_without_a_source_is_of_every_image_but_the_target_s() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([2, 2, 1, 0, 2, 2])
    assert mean_backdoor_accuracy(predicted, labels, [(None, 2)]) == 50.0  # of four images, and not of two classes
    assert of_source(labels, None, 2).tolist() == [True, True, True, True, False, False]
    assert of_source(labels, 0, 2).tolist() == [True, True, True, False, False, False]
    assert mean_backdoor_accuracy(labels, labels, [(None, 2), (0, 0)]) == 50.0


def test_without_images_of_the_source_there_is_no_backdoor_accuracy() -> None:
    assert backdoor_accuracy(np.array([], np.int64), 6) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_main_task_accuracy_is_the_mean_of_the_classes_weighted_by_their_size(pairs: list[tuple[int, int]]) -> None:
    predicted, labels = np.array(pairs).T
    sizes = np.bincount(labels, minlength=5)
    weighted = [
        (share or 0.0) * size for share, size in zip(class_accuracies(predicted, labels, 5), sizes, strict=True)
    ]
    assert main_task_accuracy(predicted, labels) == pytest.approx(sum(weighted) / len(labels))

"""Random labels are wrong labels, in the share that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.attacks.relabelling import randomise_labels


@given(st.integers(2, 12), st.integers(0, 200), st.integers(0, 2**32))
@settings(max_examples=50)
def test_a_share_of_one_changes_every_label_to_another_class(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    changed = randomise_labels(labels, classes, 1.0, rng)
    assert np.all(changed != labels)
    assert np.all((changed >= 0) & (changed < classes))
    assert (changed.shape, changed.dtype) == (labels.shape, labels.dtype)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_about_the_share_is_changed_evenly_among_the_others(share: float) -> None:
    labels = np.full(20_000, 3)
    changed = randomise_labels(labels, 10, share, np.random.default_rng(0))
    counts = np.bincount(changed, minlength=10)
    assert abs(counts[3] / 20_000 - (1 - share)) < 5 * np.sqrt(share * (1 - share) / 20_000)
    others = np.delete(counts, 3)
    assert np.all(np.abs(others - others.mean()) < 5 * np.sqrt(others.mean()))


def test_a_share_of_zero_changes_nothing() -> None:
    labels = np.arange(100) % 10
    np.testing.assert_array_equal(randomise_labels(labels, 10, 0.0, np.random.default_rng(0)), labels)


def test_the_given_labels_stay_and_the_generator_decides() -> None:
    labels = np.arange(100) % 10
    labels.flags.writeable = False
    one, same, other = (randomise_labels(labels, 10, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)

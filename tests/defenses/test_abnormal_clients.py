"""Credit by reconstruction error: by hand, its properties, and each refusal; and what the autoencoder learns."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import OptionError, RoundUpdates
from fedsec.defenses.abnormal_clients import (
    Autoencoder,
    credit_average,
    make_surrogates,
    reconstruction_errors,
    scale_of,
    train_autoencoder,
)
from fedsec.models.drawing import drawn_from
from tests.defenses.rounds import normal_rows

ERRORS = st.lists(st.floats(0.0, 1e30), min_size=1, max_size=9)


def updates(n: int) -> RoundUpdates:
    return RoundUpdates(np.arange(n, dtype=np.uint64), normal_rows(n, 3), np.ones(n, np.int64))


def low_rank(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return updates (n, 500) that differ in three directions only."""
    base = np.random.default_rng(0).normal(size=(3, 500))
    return (np.random.default_rng(seed).normal(size=(n, 3)) @ base).astype(np.float32)


def test_credit_by_hand() -> None:
    # The mean is 3: who has 9 is out; 1 and 2 have credits 1 and 1/2, and of two equal ones each has as much.
    round_updates = updates(5)
    verdict = credit_average(round_updates, np.array([1.0, 2.0, 1.0, 2.0, 9.0]))
    assert_allclose(verdict.weights, np.array([2, 1, 2, 1, 0]) / 6)
    assert_allclose(verdict.delta, verdict.weights @ round_updates.deltas, rtol=1e-6)


def test_credit_of_power_two_without_threshold_by_hand() -> None:
    verdict = credit_average(updates(3), np.array([1.0, 2.0, 10.0]), credit=2.0, threshold="none")
    assert_allclose(verdict.weights, np.array([1, 0.25, 0.01]) / 1.26)


def test_without_credit_those_let_through_count_alike() -> None:
    assert_allclose(credit_average(updates(3), np.array([1.0, 2.0, 9.0]), credit=0.0).weights, [0.5, 0.5, 0.0])


@given(ERRORS)
def test_weights_sum_to_one_and_nobody_with_less_error_has_less(errors: list[float]) -> None:
    weights = credit_average(updates(len(errors)), np.array(errors)).weights
    assert_allclose(weights.sum(), 1.0)
    ordered = weights[np.argsort(errors, kind="stable")]
    assert (np.diff(ordered) <= 1e-12).all()


@given(st.floats(0.0, 1e30), st.integers(1, 9))
def test_equal_errors_have_equal_weights(error: float, n: int) -> None:
    assert_allclose(credit_average(updates(n), np.full(n, error)).weights, np.full(n, 1 / n))


def test_error_that_is_no_number_has_no_weight_and_moves_no_mean() -> None:
    assert_allclose(credit_average(updates(3), np.array([1.0, 1.0, np.inf])).weights, [0.5, 0.5, 0.0])


def test_where_no_error_is_known_the_model_stays() -> None:
    verdict = credit_average(updates(3), np.full(3, np.inf))
    assert not verdict.delta.any()
    assert not verdict.weights.any()


@pytest.mark.parametrize(
    ("option", "value"), [("credit", -1.0), ("credit", np.nan), ("credit", np.inf), ("threshold", "median")]
)
def test_option_that_makes_no_sense_is_refused(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option} must be") as raised:
        credit_average(updates(3), np.ones(3), **{option: value})
    assert raised.value.option == option


def test_surrogates_are_linear_and_keep_lengths() -> None:
    deltas = normal_rows(4, 2000)
    surrogates = make_surrogates(deltas, 400, seed=3)
    assert surrogates.shape == (4, 400)
    assert_allclose(make_surrogates(deltas[:1] - deltas[1:2], 400, 3)[0], surrogates[0] - surrogates[1], atol=1e-4)
    assert_allclose(np.linalg.norm(surrogates, axis=1), np.linalg.norm(deltas, axis=1), rtol=0.2)
    assert not np.array_equal(surrogates, make_surrogates(deltas, 400, seed=4))


def test_what_is_unlike_the_benign_is_reconstructed_worst() -> None:
    surrogates = make_surrogates(low_rank(40, seed=1), 32, seed=0)
    scale = scale_of(surrogates)
    with drawn_from(0):
        autoencoder = Autoencoder(32)
    assert train_autoencoder(autoencoder, surrogates, scale)
    outlier = np.random.default_rng(9).normal(size=(1, 500)).astype(np.float32) * 2
    seen = np.concatenate([low_rank(6, seed=2), outlier])
    errors = reconstruction_errors(autoencoder, make_surrogates(seen, 32, 0), scale)
    assert errors.argmax() == 6
    assert errors[6] > 100 * np.median(errors[:6])


def test_surrogate_that_is_no_number_has_an_infinite_error() -> None:
    surrogates = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0e38, -3.0e38]], np.float32)
    errors = reconstruction_errors(Autoencoder(2), surrogates, scale_of(np.eye(2, dtype=np.float32) * 1e-3))
    assert np.isfinite(errors[0])
    assert np.isinf(errors[1:]).all()


def test_autoencoder_that_meets_nan_has_not_converged() -> None:
    surrogates = np.full((4, 2), np.nan, np.float32)
    assert not train_autoencoder(Autoencoder(2), surrogates, scale_of(np.ones((2, 2), np.float32)))

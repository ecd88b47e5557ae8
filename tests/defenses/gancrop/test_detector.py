"""The contrastive detector: its loss by a slow loop, shadows told apart, a threshold that keeps its promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch.nn import functional as F

from fedsec.defenses.gancrop.detector import (
    DetectorOptions,
    calibrate,
    contrastive_loss,
    from_arrays,
    scores,
    to_arrays,
    train_detector,
    upper_bound,
)

WIDTH = 12
QUICK = DetectorOptions(steps=60)


def slow_loss(embedded: np.ndarray, poisoned: np.ndarray, temperature: float) -> float:
    """Return formula 2 as Khosla et al. write it (equation 2), model by model."""
    losses = []
    for i in range(len(embedded)):
        others = [a for a in range(len(embedded)) if a != i]
        total = sum(np.exp(embedded[i] @ embedded[a] / temperature) for a in others)
        positives = [p for p in others if poisoned[p] == poisoned[i]]
        logs = [np.log(np.exp(embedded[i] @ embedded[p] / temperature) / total) for p in positives]
        losses.append(-sum(logs) / len(positives))
    return float(np.mean(losses))


def on_the_sphere(seed: int, number: int = 7) -> torch.Tensor:
    return F.normalize(torch.randn(number, 5, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def shadows(seed: int, clean: int = 40, poisoned: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return features of clean and poisoned shadows; the poisoned ones lie apart in three of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(clean + poisoned, WIDTH))
    flags = np.arange(clean + poisoned) >= clean
    features[flags, :3] += 4.0
    return features, flags


def trained(options: DetectorOptions = QUICK, seed: int = 0) -> tuple[object, np.ndarray]:
    features, flags = shadows(seed)
    held_out = shadows(seed + 1, clean=200)[0][:200]  # of 40, the share that passes says little of others
    return train_detector(features, flags, held_out, options, torch.Generator().manual_seed(seed)), held_out


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(2, 5), st.floats(0.05, 2.0))
def test_the_loss_matches_a_slow_loop(seed: int, poisoned: int, temperature: float) -> None:
    embedded, flags = on_the_sphere(seed), torch.arange(7) < poisoned
    loss = float(contrastive_loss(embedded, flags, temperature))
    assert loss == pytest.approx(slow_loss(embedded.numpy(), flags.numpy(), temperature), rel=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 999), st.permutations(range(7)))
def test_the_loss_knows_neither_order_nor_which_kind_is_poisoned(seed: int, order: list[int]) -> None:
    embedded, flags = on_the_sphere(seed), torch.arange(7) < 3
    loss = contrastive_loss(embedded, flags, 0.2)
    assert_allclose(contrastive_loss(embedded[order], flags[order], 0.2), loss, rtol=1e-9)
    assert_allclose(contrastive_loss(embedded, ~flags, 0.2), loss, rtol=1e-9)


def test_the_loss_is_least_where_the_kinds_lie_opposite_by_hand() -> None:
    flags = torch.tensor([True, True, False, False])
    pole = torch.tensor([1.0, 0.0])
    apart = torch.stack([pole, pole, -pole, -pole])
    # For each model: one positive at similarity 1, two negatives at -1, with a temperature of 1.
    assert_allclose(contrastive_loss(apart, flags, 1.0), -np.log(np.e / (np.e + 2 / np.e)), rtol=1e-6)
    mixed = torch.stack([pole, -pole, pole, -pole])
    assert contrastive_loss(mixed, flags, 1.0) > contrastive_loss(apart, flags, 1.0)


def test_shadows_that_it_has_not_seen_are_told_apart() -> None:
    detector, _ = trained()
    features, flags = shadows(7)
    called = scores(detector, features) > 0.0  # type: ignore[arg-type]
    assert called[flags].mean() > 0.95
    assert called[~flags].mean() < 0.15


@pytest.mark.parametrize("false_alarms", [0.05, 0.3])
def test_the_threshold_calls_its_share_of_the_held_out_clean_ones(false_alarms: float) -> None:
    detector, held_out = trained(DetectorOptions(steps=60, false_alarms=false_alarms))
    assert (scores(detector, held_out) > 0.0).mean() == pytest.approx(false_alarms, abs=1 / 40)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "share"), [(9, 0.1), (99, 0.02), (27, 0.02), (5, 0.02), (2, 0.3)])
def test_new_values_exceed_the_bound_as_seldom_as_promised(number: int, share: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(3.0, 2.0, size=(8000, number + 1))
    exceeded = np.mean([row[-1] > upper_bound(row[:-1], share) for row in drawn])
    assert exceeded == pytest.approx(share, abs=0.01)


def test_the_bound_is_a_value_where_there_are_enough_and_else_student_s() -> None:
    assert upper_bound(np.arange(1.0, 10.0), 0.1) == 9.0  # the ceil(10 * 0.9)-th of nine
    assert upper_bound(np.arange(1.0, 20.0)[::-1], 0.1) == 18.0
    # Student's t with one degree of freedom has its 0.75 quantile at 1; the deviation of 0 and 2 is sqrt(2).
    assert upper_bound(np.array([0.0, 2.0]), 0.25) == pytest.approx(1.0 + 2.0**0.5 * 1.5**0.5)
    assert upper_bound(np.array([7.0]), 0.1) == 7.0


def test_a_threshold_can_be_set_again_by_other_clean_models() -> None:
    detector, held_out = trained()
    calibrate(detector, held_out + 0.5, 0.05)  # type: ignore[arg-type]
    assert (scores(detector, held_out + 0.5) > 0.0).mean() == pytest.approx(0.05, abs=1 / 40)  # type: ignore[arg-type]


def test_the_threshold_is_never_beyond_the_most_suspicious_clean_model() -> None:
    detector, held_out = trained()
    few = held_out[[0, 1, 2]]  # type: ignore[index]
    few[2] += 3.0  # like a poisoned one: by Student's t the next may lie beyond what any model scores
    calibrate(detector, few, 0.02)
    assert scores(detector, few).max() == 0.0
    features, flags = shadows(7)
    assert (scores(detector, features + 3.0) > 0.0)[flags].any()


def test_the_same_draws_give_the_same_detector_and_others_another() -> None:
    features, _ = shadows(7)
    first, second, other = (scores(trained(seed=seed)[0], features) for seed in (0, 0, 1))  # type: ignore[arg-type]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_unit_of_a_feature_does_not_matter() -> None:
    features, flags = shadows(0)
    held_out, new = shadows(1)[0][:40], shadows(7)[0]
    units = np.logspace(-3, 3, WIDTH)
    one = train_detector(features, flags, held_out, QUICK, torch.Generator().manual_seed(0))
    two = train_detector(units * features, flags, units * held_out, QUICK, torch.Generator().manual_seed(0))
    assert_allclose(scores(two, units * new), scores(one, new), atol=0.05)


def test_a_feature_that_is_far_out_or_constant_among_shadows_leaves_the_score_finite() -> None:
    features, flags = shadows(0)
    features[:, 5] = 1.0
    detector = train_detector(features, flags, features[:10], QUICK, torch.Generator().manual_seed(0))
    wild = shadows(7)[0]
    wild[:, 5], wild[:, 6] = 2.0, 1e30
    assert np.isfinite(scores(detector, wild)).all()


def test_arrays_bring_the_detector_back_and_share_nothing_with_it() -> None:
    detector, held_out = trained()
    arrays = to_arrays(detector)  # type: ignore[arg-type]
    before = scores(detector, held_out)  # type: ignore[arg-type]
    assert np.array_equal(scores(from_arrays(arrays), held_out), before)
    for array in arrays.values():
        array[...] = 0
    assert np.array_equal(scores(detector, held_out), before)  # type: ignore[arg-type]


@pytest.mark.parametrize(("clean", "poisoned", "held_out"), [(1, 5, 3), (5, 1, 3), (5, 5, 0), (0, 0, 0)])
def test_too_few_shadows_are_refused(clean: int, poisoned: int, held_out: int) -> None:
    features, flags = shadows(0, clean, poisoned)
    found = f"got {poisoned}, {clean} and {held_out}"
    with pytest.raises(ValueError, match=found):
        train_detector(features, flags, np.zeros((held_out, WIDTH)), QUICK, torch.Generator())

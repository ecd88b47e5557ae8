"""The contrastive detector: its loss by a slow loop, shadows told apart, a threshold that keeps its promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch.nn import functional as F

from fedsec.defenses.gancrop.detector import (
    EVERY,
    MEMBERS,
    NONE,
    Detector,
    DetectorOptions,
    calibrate,
    contrastive_loss,
    deal,
    from_arrays,
    scores,
    to_arrays,
    train_detector,
    unseen,
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


def trained(options: DetectorOptions = QUICK, seed: int = 0, clean: int = 40) -> Detector:
    return train_detector(*shadows(seed, clean), options, torch.Generator().manual_seed(seed))


def clean_ones(seed: int, number: int) -> np.ndarray:
    return shadows(seed, clean=number)[0][:number]


def loss_of(embedded: torch.Tensor, flags: torch.Tensor, temperature: float) -> torch.Tensor:
    return contrastive_loss(embedded, flags, temperature, torch.ones_like(flags))


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(2, 5), st.floats(0.05, 2.0))
def test_the_loss_matches_a_slow_loop(seed: int, poisoned: int, temperature: float) -> None:
    embedded, flags = on_the_sphere(seed), torch.arange(7) < poisoned
    loss = float(loss_of(embedded, flags, temperature))
    assert loss == pytest.approx(slow_loss(embedded.numpy(), flags.numpy(), temperature), rel=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 999), st.permutations(range(7)))
def test_the_loss_knows_neither_order_nor_which_kind_is_poisoned(seed: int, order: list[int]) -> None:
    embedded, flags = on_the_sphere(seed), torch.arange(7) < 3
    loss = loss_of(embedded, flags, 0.2)
    assert_allclose(loss_of(embedded[order], flags[order], 0.2), loss, rtol=1e-9)
    assert_allclose(loss_of(embedded, ~flags, 0.2), loss, rtol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 999), st.permutations(range(9)))
def test_models_that_are_not_learned_from_leave_no_trace_in_the_loss_or_its_gradient(
    seed: int, order: list[int]
) -> None:
    embedded, flags = on_the_sphere(seed, 9).requires_grad_(), torch.arange(9) % 2 == 0
    learned = torch.zeros(9, dtype=torch.bool)
    learned[order[:7]] = True
    loss = contrastive_loss(embedded, flags, 0.2, learned)
    assert_allclose(loss.item(), slow_loss(embedded[learned].detach().numpy(), flags[learned].numpy(), 0.2), rtol=1e-9)
    (gradient,) = torch.autograd.grad(loss, embedded)
    assert gradient.isfinite().all()
    assert (gradient[learned].abs().sum(1) > 0.0).all()
    assert not gradient[~learned].any()


def test_the_loss_is_least_where_the_kinds_lie_opposite_by_hand() -> None:
    flags = torch.tensor([True, True, False, False])
    pole = torch.tensor([1.0, 0.0])
    apart = torch.stack([pole, pole, -pole, -pole])
    # For each model: one positive at similarity 1, two negatives at -1, with a temperature of 1.
    assert_allclose(loss_of(apart, flags, 1.0), -np.log(np.e / (np.e + 2 / np.e)), rtol=1e-6)
    mixed = torch.stack([pole, -pole, pole, -pole])
    assert loss_of(mixed, flags, 1.0) > loss_of(apart, flags, 1.0)


def test_clean_shadows_are_kept_from_one_member_each_in_turn_and_poisoned_ones_from_none() -> None:
    places = deal(np.array([False, True, False, False, False, False, False]))
    assert places.tolist() == [0, EVERY, 1, 2, 3, 4, 0]
    assert MEMBERS == 5
    judges = unseen(np.append(places, NONE))
    assert judges.sum(0).tolist() == [1, 0, 1, 1, 1, 1, 1, MEMBERS]
    assert judges[0].tolist() == [True, False, False, False, False, False, True, True]


def test_a_member_learns_nothing_from_the_shadows_that_are_kept_from_it() -> None:
    features, flags = shadows(0)
    first, second = np.flatnonzero(deal(flags) == 2)[:2]
    other = features.copy()
    other[first, :6], other[second, :6] = features[second, :6], features[first, :6]  # means and deviations stay
    one, two = (
        train_detector(read, flags, QUICK, torch.Generator().manual_seed(0)).encoder[0].detach()
        for read in (features, other)
    )
    moved = (one - two).abs().amax((1, 2))
    assert moved[2] < 1e-4
    assert moved[[0, 1, 3, 4]].min() > 1e-3


def test_shadows_that_it_has_not_seen_are_told_apart() -> None:
    features, flags = shadows(7)
    called = scores(trained(), features) > 0.0
    assert called[flags].mean() > 0.95
    assert called[~flags].mean() < 0.15


@pytest.mark.parametrize("false_alarms", [0.05, 0.3])
def test_the_threshold_calls_its_share_of_clean_ones_that_it_has_not_seen(false_alarms: float) -> None:
    detector = trained(DetectorOptions(steps=60, false_alarms=false_alarms), clean=300)
    called = (scores(detector, clean_ones(1, 500)) > 0.0).mean()
    # Each shadow is judged by one member and new models by the mean of five, which spreads less.
    assert 0.2 * false_alarms <= called <= 1.2 * false_alarms


@pytest.mark.parametrize("clean", [10, 20, 48])
def test_with_few_shadows_the_threshold_calls_seldom_more_than_its_share_as_well(clean: int) -> None:
    called = [(scores(trained(seed=seed, clean=clean), clean_ones(90 + seed, 300)) > 0.0).mean() for seed in range(12)]
    assert np.mean(called) < 0.08


def test_one_odd_clean_shadow_does_not_set_the_threshold() -> None:
    features, flags = shadows(0, clean=48)  # as by default
    features[0, :3] += 4.0  # as every poisoned one
    detector = train_detector(features, flags, QUICK, torch.Generator().manual_seed(0))
    new, poisoned = shadows(7)
    assert (scores(detector, new) > 0.0)[poisoned].mean() > 0.9


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
    detector, others = trained(), clean_ones(1, 200) + 0.5
    calibrate(detector, others, np.full(200, NONE), 0.05)
    assert (scores(detector, others) > 0.0).mean() == pytest.approx(0.05, abs=1 / 100)


def test_clean_models_that_are_all_alike_set_a_finite_threshold() -> None:
    detector = trained()
    calibrate(detector, np.zeros((30, WIDTH)), np.full(30, NONE), 0.05)
    assert np.isfinite(scores(detector, shadows(7)[0])).all()


def test_the_same_draws_give_the_same_detector_and_others_another() -> None:
    features, _ = shadows(7)
    first, second, other = (scores(trained(seed=seed), features) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_unit_of_a_feature_does_not_matter() -> None:
    features, flags = shadows(0)
    new, units = shadows(7)[0], np.logspace(-3, 3, WIDTH)
    one = train_detector(features, flags, QUICK, torch.Generator().manual_seed(0))
    two = train_detector(units * features, flags, QUICK, torch.Generator().manual_seed(0))
    assert_allclose(scores(two, units * new), scores(one, new), atol=0.05)


def test_a_feature_that_is_far_out_or_constant_among_shadows_leaves_the_score_finite() -> None:
    features, flags = shadows(0)
    features[:, 5] = 1.0
    detector = train_detector(features, flags, QUICK, torch.Generator().manual_seed(0))
    wild = shadows(7)[0]
    wild[:, 5], wild[:, 6] = 2.0, 1e30
    assert np.isfinite(scores(detector, wild)).all()


def test_arrays_bring_the_detector_back_and_share_nothing_with_it() -> None:
    detector, read = trained(), clean_ones(1, 20)
    arrays, before = to_arrays(detector), scores(detector, read)
    assert np.array_equal(scores(from_arrays(arrays), read), before)
    for array in arrays.values():
        array[...] = 0
    assert np.array_equal(scores(detector, read), before)


@pytest.mark.parametrize(("clean", "poisoned"), [(MEMBERS - 1, 5), (MEMBERS, 1), (0, 0)])
def test_too_few_shadows_are_refused(clean: int, poisoned: int) -> None:
    features, flags = shadows(0, clean, poisoned)
    with pytest.raises(ValueError, match=f"got {poisoned} and {clean}"):
        train_detector(features, flags, QUICK, torch.Generator())


def test_as_many_as_it_takes_are_enough() -> None:
    detector = train_detector(*shadows(0, MEMBERS, 2), QUICK, torch.Generator().manual_seed(0))
    assert np.isfinite(scores(detector, shadows(7)[0])).all()

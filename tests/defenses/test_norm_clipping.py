"""Norm clipping and noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates, blocks
from fedsec.defenses.norm_clipping import Clip, clip_factors, clip_norm, draw_noise, norm_clip_noise
from tests.defenses.rounds import brief, normal_rows, round_of, rounds


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def slow_clipped_mean(updates: RoundUpdates, clip: Clip) -> list[float]:
    norms = [math.sqrt(math.fsum(float(x) ** 2 for x in row)) for row in updates.deltas]
    ordered, n = sorted(norms), len(norms)
    bound = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if clip == "median" else float(clip)
    total = [0.0] * updates.deltas.shape[1]
    for row, norm in zip(updates.deltas, norms, strict=True):
        for j, value in enumerate(row):
            total[j] += float(value) / max(1.0, norm / bound) if bound > 0.0 else 0.0
    return [value / n for value in total]


@pytest.mark.parametrize("clip", [0.5, 20.0, 1e6, "median"])
@brief
@given(rounds(clients=(1, 9)))
def test_the_average_of_clipped_updates_matches_the_definition(clip: Clip, updates: RoundUpdates) -> None:
    verdict = norm_clip_noise(updates, clip, 0.0, rng())
    assert_allclose(verdict.delta, slow_clipped_mean(updates, clip), rtol=1e-5, atol=1e-4)


@brief
@given(rounds(clients=(1, 9)), st.floats(0.01, 100.0))
def test_no_update_and_no_average_is_longer_than_the_clipping_norm(updates: RoundUpdates, bound: float) -> None:
    verdict = norm_clip_noise(updates, bound, 0.0, rng())
    lengths = verdict.weights * len(updates) * verdict.scores
    assert np.all(lengths <= bound * (1 + 1e-9))
    assert np.linalg.norm(verdict.delta) <= bound * (1 + 1e-5)


@brief
@given(rounds(clients=(1, 9)))
def test_updates_within_the_clipping_norm_keep_their_full_share(updates: RoundUpdates) -> None:
    verdict = norm_clip_noise(updates, "median", 0.0, rng())
    within = verdict.scores <= np.median(verdict.scores) * (1 - 1e-6)
    assert np.all(verdict.weights[within] == 1.0 / len(updates))


def test_two_clients_by_hand() -> None:
    updates = round_of([[3.0, 4.0], [0.6, 0.0]])
    verdict = norm_clip_noise(updates, 1.0, 0.0, rng())
    assert_allclose(verdict.delta, [0.6, 0.4], rtol=1e-6)
    assert_allclose(verdict.weights, [0.1, 0.5])
    assert_allclose(verdict.scores, [5.0, 0.6], rtol=1e-6)


def test_the_median_of_an_even_number_of_norms_lies_halfway() -> None:
    assert clip_norm(np.array([9.0, 1.0, 2.0, 4.0]), "median") == 3.0
    assert clip_norm(np.array([9.0, 1.0, 2.0, 4.0]), 0.5) == 0.5


def test_a_zero_update_needs_no_clipping() -> None:
    assert_allclose(clip_factors(np.array([0.0, 1.0, 4.0]), 2.0), [1.0, 1.0, 0.5])


@pytest.mark.parametrize(("noise_scale", "sigma"), [("absolute", 0.3), ("clip", 0.6)])
def test_the_noise_has_the_standard_deviation_that_was_asked_for(noise_scale: str, sigma: float) -> None:
    updates = round_of(normal_rows(4, 200_000))
    quiet = norm_clip_noise(updates, 2.0, 0.0, rng())
    noisy = norm_clip_noise(updates, 2.0, 0.3, rng(), noise_scale=noise_scale)  # type: ignore[arg-type]
    noise = noisy.delta.astype(np.float64) - quiet.delta
    assert_allclose(noise.std(), sigma, rtol=0.01)
    assert abs(noise.mean()) < 0.01 * sigma
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
    assert np.array_equal(noisy.weights, quiet.weights)


def test_noise_is_added_to_the_whole_average() -> None:
    updates = round_of(np.full((3, 50), 1000.0))
    expected = np.float32(0.5) * rng().standard_normal(50, dtype=np.float32) + np.float32(1000.0)
    assert_allclose(norm_clip_noise(updates, 1e6, 0.5, rng()).delta, expected, rtol=1e-6)


def test_the_same_seed_gives_the_same_noise() -> None:
    updates = round_of(np.zeros((3, 100)))
    first, second = (norm_clip_noise(updates, 1.0, 0.5, rng()).delta for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, norm_clip_noise(updates, 1.0, 0.5, np.random.default_rng(4)).delta)


def test_no_noise_draws_nothing_from_the_generator() -> None:
    used, unused = rng(), rng()
    norm_clip_noise(round_of(normal_rows(3, 10)), 1.0, 0.0, used)
    assert used.standard_normal() == unused.standard_normal()


def test_noise_for_long_rows_is_that_of_one_draw_wherever_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONG", 1)
    drawn = draw_noise(1000, 0.5, rng())()
    assert drawn is not None
    assert np.array_equal(drawn, rng().standard_normal(1000, dtype=np.float32))

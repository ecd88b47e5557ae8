"""FLAME: cosines between models, the majority's cluster, clipping to the median, noise."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates, TooFewClientsError
from fedsec.defenses.distances import geometry, squared_norm
from fedsec.defenses.flame import flame, majority_cluster, model_cosine_distances, noise_level
from fedsec.defenses.norm_clipping import NoiseScale
from fedsec.defenses.updates import Matrix, Vector
from tests.defenses.rounds import brief, continuous_rounds, normal_rows, round_of, slow_cosine_distances


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def slow_majority(distances: Vector) -> list[bool]:
    """Return the first group of more than n / 2 clients that single linkage joins.

    HDBSCAN with min_samples = 1 is single linkage, and its one cluster of at least n // 2 + 1 the densest such group.
    """
    n = len(distances)
    groups = [{i} for i in range(n)]
    for i, j in sorted(combinations(range(n), 2), key=lambda pair: float(distances[pair])):
        joined = next(g for g in groups if i in g) | next(g for g in groups if j in g)
        groups = [g for g in groups if not g & joined] + [joined]
        if len(joined) >= n // 2 + 1:
            break
    return [i in joined for i in range(n)]


def slow_flame(updates: RoundUpdates, global_vector: Vector) -> tuple[list[bool], Vector]:
    """Return whom algorithm 1 admits and its average before the noise; zero ``global_vector`` clusters updates."""
    rows = updates.deltas.astype(np.float64)
    accepted = slow_majority(slow_cosine_distances(rows + global_vector))
    norms = [float(np.sqrt((row**2).sum())) for row in rows]
    middle = float(np.median(norms))
    total = np.zeros(rows.shape[1])
    for row, norm, taken in zip(rows, norms, accepted, strict=True):
        total += row * min(1.0, middle / norm) if taken else 0.0
    return accepted, total / sum(accepted)


def model_cosines(rows: Matrix, global_vector: Vector) -> Vector:
    return model_cosine_distances(geometry(rows, global_vector), squared_norm(global_vector))


def two_groups(majority: int, minority: int) -> RoundUpdates:
    """Return a round of two groups of tight, opposite directions; the minority comes first."""
    rows = normal_rows(majority + minority, 200, spread=0.05, centre=1.0)
    rows[:minority] *= -1.0
    return round_of(rows)


@pytest.mark.parametrize("of_models", [False, True])
@brief
@given(continuous_rounds(clients=(3, 12)))
def test_flame_matches_the_algorithm(of_models: bool, updates: RoundUpdates) -> None:
    d = updates.deltas.shape[1]
    largest = float(np.abs(updates.deltas).max())
    sent = largest * np.linspace(3.0, 5.0, d) if of_models else np.zeros(d)
    accepted, average = slow_flame(updates, sent)
    verdict = flame(updates, rng(), global_vector=sent if of_models else None, noise=0.0)
    assert (verdict.weights > 0.0).tolist() == accepted
    assert_allclose(verdict.delta, average, atol=2e-6 * largest)
    expected = slow_cosine_distances(updates.deltas + sent)[:, accepted].mean(axis=1)
    assert_allclose(verdict.scores, expected, rtol=1e-4, atol=1e-6 if not of_models else 1e-9)


@brief
@given(st.integers(0, 10_000), st.integers(3, 15))
def test_the_majority_is_the_first_group_of_more_than_half_that_single_linkage_joins(seed: int, n: int) -> None:
    half = np.triu(np.random.default_rng(seed).uniform(0.01, 2.0, (n, n)), 1)
    assert majority_cluster(half + half.T).tolist() == slow_majority(half + half.T)


@brief
@given(continuous_rounds(clients=(3, 12)))
def test_more_than_half_are_always_accepted(updates: RoundUpdates) -> None:
    assert np.count_nonzero(flame(updates, rng()).weights) >= len(updates) // 2 + 1


@pytest.mark.parametrize("d", [1000, 20_000])
def test_cosines_between_models_match_explicit_models_near_convergence(d: int) -> None:
    sent = normal_rows(1, d, seed=9)[0].astype(np.float64)
    sent *= 10.0 / np.sqrt((sent**2).sum())
    rows = normal_rows(8, d, spread=1e-3 / np.sqrt(d))
    found, exact = model_cosines(rows, sent), slow_cosine_distances(sent + rows)
    pairs = ~np.eye(8, dtype=bool)
    assert exact[pairs].max() < 2e-8
    assert_allclose(found[pairs], exact[pairs], rtol=1e-6)
    assert np.all(np.diag(found) == 0.0)


def test_cosines_between_models_match_explicit_models_far_from_convergence() -> None:
    sent, rows = normal_rows(1, 500, seed=9)[0].astype(np.float64), normal_rows(8, 500, spread=20.0)
    assert_allclose(model_cosines(rows, sent), slow_cosine_distances(sent + rows), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("scale", [1e3, 1e8, 1e15, 1e30])
@pytest.mark.parametrize("d", [500, 20_000])
def test_one_huge_model_is_as_far_from_the_others_as_its_direction_says(d: int, scale: float) -> None:
    sent, rows = normal_rows(1, d, seed=9)[0].astype(np.float64), normal_rows(8, d, spread=0.1)
    rows[3] *= np.float32(scale)
    assert_allclose(model_cosines(rows, sent), slow_cosine_distances(sent + rows), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("of_models", [False, True])
@pytest.mark.parametrize("scale", [1e8, 1e15, 1e18])
def test_a_huge_update_of_its_own_direction_is_nobodys_neighbour(of_models: bool, scale: float) -> None:
    rows = normal_rows(9, 200, spread=0.05, centre=1.0)
    rows[2] = scale * normal_rows(1, 200, seed=3)[0]
    sent = np.ones(200) if of_models else None
    assert flame(round_of(rows), rng(), global_vector=sent).weights[2] == 0.0


def test_two_models_by_hand() -> None:
    # The models are (3, 4) and (4, 3), whose cosine is 24 / 25.
    found = model_cosines(np.array([[2.0, 3.0], [3.0, 2.0]], np.float32), np.array([1.0, 1.0]))
    assert_allclose(found, [[0.0, 0.04], [0.04, 0.0]])


def test_five_clients_by_hand() -> None:
    # Clients 1 to 4 agree on the direction and client 0 does not; norms 10, 1, 2, 4, 5, median 4.
    verdict = flame(round_of([[-10.0, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [5.0, 0.0]]), rng(), noise=0.0)
    assert_allclose(verdict.weights, [0, 0.25, 0.25, 0.25, 0.2])
    assert_allclose(verdict.delta, [2.75, 0.0], rtol=1e-6)
    assert_allclose(verdict.scores, [2, 0, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize(("majority", "minority"), [(6, 4), (2, 1), (8, 7)])
def test_of_two_clear_groups_nobody_of_the_smaller_is_accepted(majority: int, minority: int) -> None:
    weights = flame(two_groups(majority, minority), rng()).weights
    assert np.all(weights[:minority] == 0.0)
    assert np.count_nonzero(weights) >= (majority + minority) // 2 + 1


def test_nobody_in_a_cluster_keeps_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = SimpleNamespace(fit_predict=lambda distances: np.full(len(distances), -1))
    monkeypatch.setattr("hdbscan.HDBSCAN", lambda **_: nobody)
    updates = two_groups(3, 2)
    assert majority_cluster(np.zeros((5, 5))).tolist() == [True] * 5
    assert np.all(flame(updates, rng()).weights > 0.0)


def test_hdbscan_is_asked_for_a_majority_as_in_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    everybody = SimpleNamespace(fit_predict=lambda distances: np.zeros(len(distances), int))
    monkeypatch.setattr("hdbscan.HDBSCAN", lambda **options: asked.update(options) or everybody)
    majority_cluster(np.zeros((10, 10)))
    assert asked == {
        "min_cluster_size": 6, "min_samples": 1, "allow_single_cluster": True, "metric": "precomputed"
    }  # fmt: skip


def test_updates_are_clipped_to_the_median_of_all_norms_and_not_of_the_accepted() -> None:
    lengths = np.array([100.0, 90.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    rows = lengths[:, None] * np.array([[-1.0, 0.0]] * 2 + [[1.0, 0.0]] * 5)
    verdict = flame(round_of(rows), rng(), noise=0.0)
    assert_allclose(verdict.weights * 5, [0, 0, 1, 1, 1, 1, 0.8])


def test_a_fixed_clipping_norm_replaces_the_median() -> None:
    verdict = flame(round_of([[4.0, 0.0], [2.0, 0.0], [1.0, 0.0]]), rng(), clip=2.0, noise=0.0)
    assert_allclose(verdict.weights * 3, [0.5, 1.0, 1.0])


@pytest.mark.parametrize(("noise_scale", "times"), [("clip", 2.0), ("absolute", 1.0)])
def test_the_noise_has_the_standard_deviation_that_was_asked_for(noise_scale: NoiseScale, times: float) -> None:
    rows = normal_rows(5, 200_000, centre=1.0, spread=0.01)
    rows *= (np.array([1.0, 1.5, 2.0, 3.0, 9.0]) / np.linalg.norm(rows, axis=1))[:, None]
    noisy = flame(round_of(rows), rng(), noise=0.1, noise_scale=noise_scale).delta
    noise = noisy.astype(np.float64) - flame(round_of(rows), rng(), noise=0.0).delta
    assert_allclose(noise.std(), 0.1 * times, rtol=0.01)
    assert abs(noise.mean()) < 0.01 * noise.std()


def test_noise_level_is_the_one_of_the_paper() -> None:
    # sqrt(2 ln(1.25 / 1e-5)) = 4.8448 by hand.
    assert noise_level(3705.0, 1e-5) == pytest.approx(4.8448 / 3705.0, rel=1e-4)


def test_equal_updates_are_all_accepted() -> None:
    for rows in (np.zeros((5, 4)), np.ones((5, 4))):
        assert_allclose(flame(round_of(rows), rng(), noise=0.0).weights, 0.2)


@pytest.mark.parametrize("sent", [[3.0, 4.0], [0.1, 0.7], [0.3, 1.3]])
def test_a_client_whose_model_is_all_zeros_does_not_stop_the_round(sent: list[float]) -> None:
    # Its update is minus the global model; a model of norm 0 has no direction.
    rows = np.array(sent, np.float32) * np.array([[-1.0], [0.1], [0.12], [0.11], [0.13]], np.float32)
    verdict = flame(round_of(rows), rng(), global_vector=np.array(sent, np.float32).astype(np.float64))
    assert np.isfinite(verdict.delta).all()
    assert np.isfinite(verdict.scores).all()
    assert verdict.weights[0] == 0.0


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_clients_are_refused(n: int) -> None:
    with pytest.raises(TooFewClientsError, match=f"at least 3 clients to find a majority; got n={n}") as error:
        flame(round_of(normal_rows(n, 4)), rng())
    assert error.value.option == "strategy"

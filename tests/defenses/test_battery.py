"""What every defense must do, whatever its paper: one row for each, and each row through every test.

Defenses that look into models are no functions of the updates alone: ``tests/inspectors/test_battery.py`` is theirs.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import RoundUpdates, TooFewClientsError, Verdict, blocks
from fedsec.defenses.flame import flame
from fedsec.defenses.krum import krum, multi_krum
from fedsec.defenses.loss_forest import ForestOptions, loss_forest
from fedsec.defenses.loss_memory import LossMemory
from fedsec.defenses.mean import mean
from fedsec.defenses.median import coordinate_median
from fedsec.defenses.norm_clipping import norm_clip_noise
from fedsec.defenses.trimmed_mean import trim_by_distance, trimmed_mean
from fedsec.defenses.updates import Matrix, Vector
from fedsec.strategies import STRATEGIES, InspectingStrategy
from tests.defenses.rounds import (
    brief,
    continuous_rounds,
    normal_rows,
    reordered,
    round_of,
    rounds,
    with_outlier,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def sent(updates: RoundUpdates) -> Vector:
    """Return a global model, much longer than the updates."""
    return np.linspace(300.0, 500.0, updates.deltas.shape[1])


def by_losses(updates: RoundUpdates, rounds: int) -> Verdict:
    """Return the loss forest's verdict after so many rounds, where longer updates have higher losses."""
    losses = np.sqrt((updates.deltas.astype(np.float64) ** 2).sum(axis=1))
    options = ForestOptions(warmup_rounds=0, decay=1e-9)
    memory = replace(LossMemory.empty(), rounds=rounds)
    return loss_forest(replace(updates, losses=losses), rng(), memory, options)[0]


DEFENSES: dict[str, Callable[[RoundUpdates], Verdict]] = {
    "fedavg": mean,
    "fedavg, by examples": lambda u: mean(u, weighting="examples"),
    "krum": lambda u: krum(u, 1),
    "krum, all neighbours": lambda u: krum(u, neighbours="all", distance="euclidean"),
    "multi-krum": lambda u: multi_krum(u, 1),
    "trimmed-mean": lambda u: trimmed_mean(u, 0.2),
    "trimmed-mean, whole updates": lambda u: trim_by_distance(u, 0.5),
    "median": coordinate_median,
    "norm-clip-noise": lambda u: norm_clip_noise(u, "median", 0.01, rng()),
    "norm-clip-noise, no noise": lambda u: norm_clip_noise(u, 8.0, 0.0, rng()),
    "flame": lambda u: flame(u, rng(), global_vector=sent(u), noise=0.01),
    "flame, no noise": lambda u: flame(u, rng(), global_vector=sent(u), noise=0.0),
    "flame, of updates, no noise": lambda u: flame(u, rng(), noise=0.0),
    "loss-forest": lambda u: by_losses(u, rounds=1),
    "loss-forest, warming up": lambda u: by_losses(u, rounds=0),
}

FEWEST = {
    "fedavg": 1,
    "fedavg, by examples": 1,
    "krum": 5,
    "krum, all neighbours": 1,
    "multi-krum": 5,
    "trimmed-mean": 5,
    "trimmed-mean, whole updates": 2,
    "median": 1,
    "norm-clip-noise": 1,
    "norm-clip-noise, no noise": 1,
    "flame": 3,
    "flame, no noise": 3,
    "flame, of updates, no noise": 3,
    "loss-forest": 1,
    "loss-forest, warming up": 1,
}

NOISY = {"norm-clip-noise", "flame"}
NO_DEFENSE = {"fedavg", "fedavg, by examples", "loss-forest, warming up"}
CLIP_ONLY = {"norm-clip-noise", "norm-clip-noise, no noise"}
DECAYING = {"loss-forest"}
REJECTING = sorted(DEFENSES.keys() - NO_DEFENSE - CLIP_ONLY - DECAYING)
WEIGHTING = sorted(DEFENSES.keys() - NOISY - {"trimmed-mean", "median"})
# A sum of distances to all clients, the far one included, may order the others anew when that one moves.
DEAF_TO_THE_REJECTED = sorted(set(REJECTING) - {"krum, all neighbours", "trimmed-mean, whole updates"})

every_defense = pytest.mark.parametrize("name", DEFENSES)


def check(verdict: Verdict, updates: RoundUpdates) -> None:
    """Hold a verdict against the docstring of :class:`Verdict`."""
    n, d = updates.deltas.shape
    assert verdict.delta.shape == (d,)
    assert verdict.weights.shape == (n,)
    assert verdict.scores.shape == (n,)
    assert [part.dtype.name for part in (verdict.delta, verdict.weights, verdict.scores)] == [
        "float32",
        "float64",
        "float64",
    ]
    assert all(np.isfinite(part).all() for part in (verdict.delta, verdict.weights, verdict.scores))
    assert np.all(verdict.weights >= 0.0)
    assert verdict.weights.sum() <= 1.0 + 1e-9


def test_every_strategy_has_a_row() -> None:
    by_updates = {name for name, kind in STRATEGIES.items() if not issubclass(kind, InspectingStrategy)}
    assert by_updates <= DEFENSES.keys()
    assert DEFENSES.keys() == FEWEST.keys()


@every_defense
@brief
@given(rounds())
def test_a_verdict_is_what_its_docstring_says(name: str, updates: RoundUpdates) -> None:
    check(DEFENSES[name](updates), updates)


@every_defense
@brief
@given(rounds())
def test_the_updates_are_left_as_they_were(name: str, updates: RoundUpdates) -> None:
    before = [part.tobytes() for part in (updates.node_ids, updates.deltas, updates.num_examples)]
    verdict = DEFENSES[name](updates)
    assert [part.tobytes() for part in (updates.node_ids, updates.deltas, updates.num_examples)] == before
    for part in (verdict.delta, verdict.weights, verdict.scores):
        assert not np.shares_memory(part, updates.deltas)


@every_defense
@pytest.mark.parametrize(
    "rows", [normal_rows(6, 1), np.asfortranarray(normal_rows(6, 20))], ids=["one column", "by column"]
)
def test_the_updates_are_left_as_they_were_however_they_lie_in_memory(name: str, rows: Matrix) -> None:
    updates = round_of(rows)
    assert updates.deltas.strides == rows.strides
    DEFENSES[name](updates)
    assert np.array_equal(updates.deltas, rows)


@every_defense
@brief
@given(rounds())
def test_the_same_round_and_seed_give_the_same_verdict(name: str, updates: RoundUpdates) -> None:
    first, second = DEFENSES[name](updates), DEFENSES[name](updates)
    for part in ("delta", "weights", "scores"):
        assert np.array_equal(getattr(first, part), getattr(second, part))


@every_defense
@brief
@given(continuous_rounds(clients=(5, 9), parameters=(3, 40)), st.data())
def test_verdicts_follow_the_clients_whatever_their_order(
    name: str, updates: RoundUpdates, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(updates))))
    before, after = DEFENSES[name](updates), DEFENSES[name](reordered(updates, order))
    assert_allclose(after.weights, before.weights[order], rtol=1e-5)
    assert_allclose(after.scores, before.scores[order], rtol=1e-4, atol=1e-9)
    if name not in NOISY:
        assert_allclose(after.delta, before.delta, atol=2e-6 * float(np.abs(updates.deltas).max()))


@pytest.mark.parametrize("name", WEIGHTING)
@brief
@given(rounds())
def test_the_update_is_the_weighted_sum_of_the_clients(name: str, updates: RoundUpdates) -> None:
    verdict = DEFENSES[name](updates)
    expected = verdict.weights @ updates.deltas.astype(np.float64)
    assert_allclose(verdict.delta, expected, atol=2e-6 * float(np.abs(updates.deltas).max()))


@pytest.mark.parametrize("name", REJECTING)
def test_a_far_outlier_is_rejected(name: str) -> None:
    verdict = DEFENSES[name](with_outlier())
    assert verdict.weights[0] == 0.0


@pytest.mark.parametrize("name", sorted(DEFENSES.keys() - NO_DEFENSE))
def test_a_far_outlier_moves_the_update_little_and_is_the_most_suspicious(name: str) -> None:
    updates = with_outlier()
    honest = updates.deltas[1:].mean(axis=0)
    verdict = DEFENSES[name](updates)
    assert np.linalg.norm(verdict.delta - honest) < 0.25 * np.linalg.norm(honest)
    assert np.argmax(verdict.scores) == 0


@pytest.mark.parametrize("name", sorted(NO_DEFENSE))
def test_a_far_outlier_takes_over_a_mean(name: str) -> None:
    assert np.linalg.norm(DEFENSES[name](with_outlier()).delta) > 100.0


@pytest.mark.parametrize("name", DEAF_TO_THE_REJECTED)
def test_how_far_away_a_rejected_client_is_does_not_matter(name: str) -> None:
    near, far = with_outlier(), with_outlier()
    far.deltas[0] *= 30.0
    assert_allclose(DEFENSES[name](far).delta, DEFENSES[name](near).delta, rtol=1e-5)


@every_defense
def test_the_fewest_clients_with_one_parameter_are_enough(name: str) -> None:
    updates = round_of(normal_rows(FEWEST[name], 1))
    check(DEFENSES[name](updates), updates)


@pytest.mark.parametrize("name", [name for name, fewest in FEWEST.items() if fewest > 1])
def test_one_client_fewer_is_refused(name: str) -> None:
    with pytest.raises(TooFewClientsError) as error:
        DEFENSES[name](round_of(normal_rows(FEWEST[name] - 1, 4)))
    assert error.value.option


@every_defense
def test_a_matrix_shared_among_threads_gives_the_same_verdict(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = round_of(normal_rows(7, 70_001, centre=0.5))
    small = DEFENSES[name](updates)
    monkeypatch.setattr(blocks, "SMALL", 0)
    large = DEFENSES[name](updates)
    assert_allclose(large.delta, small.delta, rtol=1e-5, atol=1e-6)
    assert_allclose(large.weights, small.weights, rtol=1e-6)
    assert_allclose(large.scores, small.scores, rtol=1e-6, atol=1e-12)

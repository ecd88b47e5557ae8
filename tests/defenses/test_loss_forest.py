"""The loss forest against algorithm 1, read aloud, and by hand; and each of its options."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fedsec.defenses import OptionError, RoundUpdates, TooFewClientsError, Verdict
from fedsec.defenses.isolation_forest import isolation_scores
from fedsec.defenses.loss_forest import ForestOptions, loss_forest
from fedsec.defenses.loss_memory import LossMemory
from fedsec.defenses.updates import Vector
from tests.defenses.rounds import brief, normal_rows

LOSS = st.floats(-5.0, 5.0).map(lambda x: round(x, 2)) | st.sampled_from([1.0, 9.0, 1e30])
EVERYBODY_APART = [1.0, 1.0, 1.0, 9.0, -9.0]
"""The forest flags the last two, whatever it draws: two of five."""


def with_losses(losses: Sequence[float], nodes: Sequence[int] | None = None) -> RoundUpdates:
    n = len(losses)
    ids = np.array(range(n) if nodes is None else nodes, np.uint64)
    return RoundUpdates(ids, normal_rows(n, 3), np.ones(n, np.int64), np.array(losses, np.float64))


def after(
    history: Sequence[Sequence[float]], memory: LossMemory | None = None, **options: Any
) -> tuple[Verdict, LossMemory]:
    """Return verdict and memory after these rounds' losses, the first of them round 0."""
    memory = memory or LossMemory.empty()
    rule = ForestOptions(**{"warmup_rounds": 0} | options)
    for losses in history:
        rng = np.random.default_rng(memory.rounds)
        verdict, memory = loss_forest(with_losses(losses), rng, memory, rule)
    return verdict, memory


def weights(history: Sequence[Sequence[float]], **options: Any) -> Vector:
    return after(history, **options)[0].weights


def slow_weights(history: Sequence[Sequence[float]], m: int, d: float) -> list[list[float]]:
    """Return the normalised weights of every round, line by line from algorithm 1."""
    clients = range(len(history[0]))
    c, w = [0 for _ in clients], [1 / len(clients) for _ in clients]
    normalised = []
    for t, losses in enumerate(history):
        if t > m:
            scores = isolation_scores(np.array(losses), np.random.default_rng(t))
            flagged = [i for i in clients if scores[i] > 0.5]
            if 0 < len(flagged) < 1 / 2 * len(clients):
                for i in flagged:
                    c[i] = c[i] + 1
                    w[i] = w[i] * d ** c[i]
        normalised.append([one / sum(w) for one in w])
    return normalised


@st.composite
def histories(draw: st.DrawFn) -> list[list[float]]:
    n, rounds = draw(st.integers(1, 9)), draw(st.integers(1, 15))
    return draw(st.lists(st.lists(LOSS, min_size=n, max_size=n), min_size=rounds, max_size=rounds))


@brief
@given(histories(), st.integers(0, 3), st.sampled_from([0.9, 0.5, 1.0]))
def test_weights_are_those_of_algorithm_1(history: list[list[float]], m: int, d: float) -> None:
    memory, updates = LossMemory.empty(), with_losses(history[0])
    for t, expected in enumerate(slow_weights(history, m, d)):
        updates = replace(updates, losses=np.array(history[t]))
        verdict, memory = loss_forest(updates, np.random.default_rng(t), memory, ForestOptions(m, d))
        assert_allclose(verdict.weights, expected, rtol=1e-9)
        assert_allclose(verdict.delta, np.array(expected) @ updates.deltas.astype(np.float64), rtol=1e-4, atol=1e-6)


def test_an_example_by_hand() -> None:
    apart = [1.0, 1.0, 1.0, 9.0]
    assert_allclose(weights([apart]), [1 / 4] * 4)  # t = 0, and m = 0
    assert_allclose(weights([apart] * 2), np.array([1, 1, 1, 0.9]) / 3.9)
    assert_allclose(weights([apart] * 3), np.array([1, 1, 1, 0.9 * 0.81]) / 3.729)
    verdict, memory = after([apart] * 3)
    assert_allclose(verdict.scores, [0.438, 0.438, 0.438, 0.688], atol=5e-4)
    assert (memory.counts.tolist(), memory.rounds) == ([0, 0, 0, 2], 3)


def test_with_the_paper_s_numbers_eleven_rounds_go_without_detection() -> None:
    apart = [1.0, 1.0, 1.0, 9.0]
    assert after([apart] * 11, warmup_rounds=10)[0].scores.tolist() == [0.0] * 4
    assert_allclose(weights([apart] * 11, warmup_rounds=10), [1 / 4] * 4)
    assert_allclose(weights([apart] * 12, warmup_rounds=10), np.array([1, 1, 1, 0.9]) / 3.9)


def test_two_of_five_are_fewer_than_half_in_the_paper_and_too_many_in_the_authors_code() -> None:
    history = [EVERYBODY_APART] * 2
    assert_allclose(weights(history), np.array([1, 1, 1, 0.9, 0.9]) / 4.8)
    assert_allclose(weights(history, gate="whole-half"), [0.2] * 5)


def test_a_low_loss_is_spared_where_only_the_high_side_counts() -> None:
    assert_allclose(weights([EVERYBODY_APART] * 2, sides="high"), np.array([1, 1, 1, 0.9, 1]) / 4.9)


def test_losses_of_opposite_sign_are_alike_where_their_absolute_value_is_judged() -> None:
    history = [[5.0, 5.0, 5.0, -5.0]] * 2
    assert_allclose(weights(history), np.array([1, 1, 1, 0.9]) / 3.9)
    assert_allclose(weights(history, absolute=True), [1 / 4] * 4)


def test_a_loss_counts_from_so_many_deviations_from_the_median_on() -> None:
    history = [[1.0, 2.0, 3.0, 4.0, 40.0]] * 2  # median 3, median absolute deviation 1: 40 is 24.96 of 1.4826 away
    assert_allclose(weights(history, floor=24.9), np.array([1, 1, 1, 1, 0.9]) / 4.9)
    assert_allclose(weights(history, floor=25.0), [0.2] * 5)


def test_a_weight_recovers_where_nobody_is_flagged_and_not_where_the_answer_is_void() -> None:
    apart, alike, void = [1.0, 1.0, 1.0, 9.0], [1.0] * 4, [1.0, 9.0, 1.0, -9.0]
    assert_allclose(weights([apart] * 2 + [alike], recovery=0.5), np.array([1, 1, 1, 0.95]) / 3.95)
    assert_allclose(weights([apart] * 2 + [alike] * 2, recovery=0.5), np.array([1, 1, 1, 0.975]) / 3.975)
    assert_allclose(weights([apart] * 2 + [alike], recovery=1.0), [1 / 4] * 4)
    assert_allclose(weights([apart] * 2 + [alike]), np.array([1, 1, 1, 0.9]) / 3.9)
    assert (after([void] * 2)[0].scores > 0.5).sum() == 2
    assert_allclose(weights([apart] * 2 + [void], recovery=0.5), np.array([1, 1, 1, 0.9]) / 3.9)


def test_a_smoothed_loss_follows_the_rounds_from_warm_up_on() -> None:
    history = [[1.0, 2.0], [3.0, 2.0], [5.0, 0.0]]
    assert_allclose(after(history, smoothing=0.75)[1].losses, [0.75 * 1.5 + 0.25 * 5, 0.75 * 2.0])
    assert_allclose(after(history)[1].losses, [5.0, 0.0])
    once = [[1.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 9.0]]
    assert after(once, smoothing=0.5)[1].losses.tolist() == [1.0, 1.0, 1.0, 5.0]


def test_what_the_server_measured_takes_the_place_of_what_is_reported() -> None:
    memory = replace(LossMemory.empty(), rounds=11)
    measured = np.array([1.0, 1.0, 1.0, 9.0])
    updates = replace(with_losses([1.0] * 4), losses=None)
    verdict, _ = loss_forest(updates, np.random.default_rng(0), memory, measured=measured)
    assert_allclose(verdict.weights, np.array([1, 1, 1, 0.9]) / 3.9)


@pytest.mark.parametrize("unmeasured", [np.nan, np.inf, -np.inf])
def test_a_client_without_a_measured_loss_is_flagged_and_left_out_in_warm_up_too(unmeasured: float) -> None:
    losses, memory = np.array([1.0, 1.0, 1.0, unmeasured]), LossMemory.empty()
    first, memory = loss_forest(with_losses([2.0] * 4), np.random.default_rng(0), memory, measured=losses)
    assert_allclose(first.weights, [1 / 3, 1 / 3, 1 / 3, 0])
    second, later = loss_forest(
        with_losses([2.0] * 4), np.random.default_rng(0), replace(memory, rounds=11), measured=losses
    )
    assert_allclose(second.weights, [1 / 3, 1 / 3, 1 / 3, 0])
    assert_allclose(second.scores, [0.5, 0.5, 0.5, 1.0])
    assert later.counts.tolist() == [0, 0, 0, 1]
    assert later.losses.tolist()[:3] == [1.0] * 3
    assert np.isnan(later.losses[3])


def test_the_absent_keep_their_weights_and_newcomers_have_a_full_one() -> None:
    _, memory = after([[1.0, 1.0, 1.0, 9.0]] * 2)
    rng = np.random.default_rng(0)
    _, memory = loss_forest(with_losses([1.0, 1.0], [0, 7]), rng, memory)
    verdict, memory = loss_forest(with_losses([1.0, 1.0], [3, 7]), rng, memory)
    assert_allclose(verdict.weights, np.array([0.9, 1.0]) / 1.9)
    assert memory.node_ids.tolist() == [0, 1, 2, 3, 7]
    assert memory.counts.tolist() == [0, 0, 0, 1, 0]
    assert memory.rounds == 4


def test_weights_below_any_number_still_have_a_ratio() -> None:
    _, memory = after([[1.0, 1.0, 1.0, 9.0]] * 200)
    assert memory.counts[3] == 199
    verdict, _ = loss_forest(with_losses([1.0], [3]), np.random.default_rng(0), memory)
    assert verdict.weights.tolist() == [1.0]


@brief
@given(histories(), st.data())
def test_weights_follow_the_clients_sum_to_one_and_know_no_unit(
    history: list[list[float]], data: st.DataObject
) -> None:
    n = len(history[0])
    order = data.draw(st.permutations(range(n)))
    options = {"sides": "high", "floor": 1.0, "recovery": 0.1, "smoothing": 0.5}
    for given_options in ({}, options):
        expected = weights(history, **given_options)
        assert expected.sum() == pytest.approx(1.0)
        reordered = weights([[losses[i] for i in order] for losses in history], **given_options)
        assert_allclose(reordered, expected[order], rtol=1e-9)
        scaled = weights([[4.0 * loss for loss in losses] for losses in history], **given_options)
        assert_allclose(scaled, expected, rtol=1e-9)


def test_updates_and_memory_are_left_as_they_were() -> None:
    _, memory = after([EVERYBODY_APART] * 3)
    before = {field.name: np.array(getattr(memory, field.name)) for field in fields(memory)}
    updates = with_losses(EVERYBODY_APART)
    losses, deltas = np.array(updates.losses), updates.deltas.copy()
    _, later = loss_forest(updates, np.random.default_rng(0), memory, ForestOptions(warmup_rounds=0))
    assert later.counts.tolist() == [0, 0, 0, 3, 3]
    for name, value in before.items():
        assert np.array_equal(getattr(memory, name), value)
    assert np.array_equal(np.array(updates.losses), losses)
    assert np.array_equal(updates.deltas, deltas)


@pytest.mark.parametrize("loss", [1e30, -1e30, 1.7e308, -1.7e308])
@pytest.mark.parametrize("options", [{}, {"sides": "high", "floor": 3.0, "smoothing": 0.9, "recovery": 0.1}])
def test_a_loss_of_any_size_is_an_outlier_and_no_error(loss: float, options: dict[str, Any]) -> None:
    verdict, memory = after([[1.0, 1.1, 0.9, loss]] * 4, **options)
    assert np.isfinite(verdict.weights).all()
    assert np.argmax(verdict.scores) == 3
    spared = options and loss < 0
    assert memory.counts.tolist() == [0, 0, 0, 0 if spared else 3]


@pytest.mark.parametrize("losses", [None, np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_losses_that_are_missing_or_not_finite_are_refused(losses: Vector | None) -> None:
    with pytest.raises(ValueError, match="needs a finite loss of every client"):
        loss_forest(replace(with_losses([1.0, 1.0]), losses=losses), np.random.default_rng(0), LossMemory.empty())


def test_a_round_in_which_no_loss_could_be_measured_is_refused() -> None:
    measured = np.array([np.nan, np.inf])
    with pytest.raises(TooFewClientsError, match="could not measure the loss of a single client"):
        loss_forest(with_losses([1.0, 1.0]), np.random.default_rng(0), LossMemory.empty(), measured=measured)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("warmup_rounds", -1), ("warmup_rounds", 1.5), ("decay", 0.0), ("decay", 1.1), ("decay", float("nan")),
        ("gate", "third"), ("sides", "low"), ("recovery", -0.1), ("recovery", 1.1), ("floor", -1.0),
        ("floor", float("inf")), ("smoothing", 1.0), ("smoothing", -0.1),
    ],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_refused(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^{option} must be ") as refusal:
        ForestOptions(**{option: value})
    assert refusal.value.option == option

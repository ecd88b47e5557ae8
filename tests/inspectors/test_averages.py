"""Averages of a round's models: by hand, and with one client so loud that it would drown the others."""

import numpy as np

from fedsec.defenses.updates import RoundUpdates
from fedsec.inspectors.averages import ALIKE, LOUD, Averages
from fedsec.strategies.inspecting import Arrays, Inspected
from fedsec.strategies.layout import Layout

SENT: Arrays = {"weight": np.ones(2, np.float32), "norm.running_mean": np.ones(1, np.float32)}


def averages(*rows: tuple[float, float], statistics: tuple[float, ...] | None = None) -> Averages:
    deltas = np.array(rows, np.float32)
    updates = RoundUpdates(np.arange(len(rows), dtype=np.uint64), deltas, np.ones(len(rows), np.int64))
    side = np.array(statistics or [0.0] * len(rows))[:, None]
    return Averages.of(Inspected(updates, Layout(SENT), side))


def test_by_hand() -> None:
    of = averages((1.0, 0.0), (0.0, 1.0), (5.0, 5.0), statistics=(1.0, 3.0, 9.0))
    chosen = np.array([True, True, False])
    np.testing.assert_allclose(of.shares(chosen), [0.5, 0.5, 0.0])
    np.testing.assert_allclose(of.change(chosen), [0.5, 0.5])
    model = of.model(chosen)
    np.testing.assert_allclose(model["weight"], [1.5, 1.5])
    np.testing.assert_allclose(model["norm.running_mean"], [3.0])  # 1 and the median of 1 and 3
    assert model["weight"].dtype == np.float32


def test_a_loud_one_is_shortened_to_a_multiple_of_the_round_s_median() -> None:
    of = averages((1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1e6), (0.0, 1e6))
    np.testing.assert_allclose(of.change(np.ones(5, bool)), [0.6, 2 * LOUD / 5], rtol=1e-6)
    for chosen in ([0, 3], [3, 4], [3]):  # whoever else is averaged with it
        rows = np.isin(np.arange(5), chosen)
        quiet = len(set(chosen) - {3, 4}) / len(chosen)
        np.testing.assert_allclose(of.change(rows), [quiet, (1 - quiet) * LOUD], rtol=1e-6)


def test_ordinary_ones_are_averaged_as_they_are() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2))
    of = averages(*map(tuple, rows.tolist()))
    np.testing.assert_allclose(of.change(np.ones(9, bool)), rows.mean(0), rtol=1e-5)


def test_of_none_the_change_is_nothing() -> None:
    of = averages((1.0, 2.0), (0.0, 0.0))
    assert not of.change(np.zeros(2, bool)).any()
    assert not of.change(np.array([False, True])).any()


def test_where_most_send_nothing_new_nobody_is_shortened() -> None:
    of = averages((0.0, 0.0), (0.0, 0.0), (3.0, 0.0))
    np.testing.assert_allclose(of.shares(np.ones(3, bool)), [1 / 3] * 3)
    np.testing.assert_allclose(of.change(np.ones(3, bool)), [1.0, 0.0], rtol=1e-6)


def test_suspects_have_one_voice_each() -> None:
    of = averages((1.0, 0.0), (1.0, 0.0), (2.0, 0.0), (-1e6, 0.0), (1.0, 0.0))
    np.testing.assert_allclose(of.change(np.array([True, True, True, True, False]), ALIKE), [0.5, 0.0], rtol=1e-6)


def test_the_loud_are_left_out_where_they_are_no_more_than_half() -> None:
    of = averages((1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (9.0, 0.0), (0.0, 9.0), (4.0, 0.0), (1.0, 0.0))
    for chosen, expected in (([0, 3], [0]), ([0, 3, 4], [0, 3, 4]), ([3], [3]), ([0, 5], [0, 5]), ([], [])):
        found = of.quiet(np.isin(np.arange(7), chosen))
        assert np.flatnonzero(found).tolist() == expected

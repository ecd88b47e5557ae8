"""The fault battery: whatever one client does, the others' round goes on as if it were not there."""

import numpy as np
import pytest

from fedsec.engine.local import FIRST_NODE
from fedsec.strategies import STRATEGIES
from tests.strategies.toy import BAD, CLIENTS, FAULTS, MAKERS, initial_arrays, toy_app, toy_round

GOOD = [partition for partition in range(CLIENTS) if partition != BAD]


def test_every_strategy_has_a_row_in_the_battery() -> None:
    assert set(MAKERS) == set(STRATEGIES)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_bad_client_is_dropped_and_changes_nothing(name: str, fault: str) -> None:
    strategy, alone = MAKERS[name](), MAKERS[name]()
    spoil, reason = FAULTS[fault]
    arrays = toy_round(strategy, toy_app(spoil))
    expected = toy_round(alone, toy_app(), GOOD)

    assert arrays is not None
    assert expected is not None
    for key, array in expected.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert np.isfinite(arrays[key]).all()
        assert arrays[key].dtype == array.dtype
    assert strategy.outcome is not None
    assert [client.node_id for client in strategy.outcome.dropped] == [FIRST_NODE + BAD]
    assert reason in strategy.outcome.dropped[0].reason


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", MAKERS)
def test_with_all_clients_bad_the_round_is_skipped(name: str, fault: str) -> None:
    strategy = MAKERS[name]()
    assert toy_round(strategy, toy_app(FAULTS[fault][0], range(CLIENTS))) is None
    assert strategy.outcome is not None
    assert strategy.outcome.verdict is None
    assert strategy.outcome.skipped is not None
    assert len(strategy.outcome.dropped) == CLIENTS


@pytest.mark.parametrize("name", MAKERS)
def test_without_faults_nobody_is_dropped_and_keys_shapes_and_dtypes_stay(name: str) -> None:
    strategy = MAKERS[name]()
    arrays = toy_round(strategy, toy_app())
    assert arrays is not None
    assert strategy.outcome is not None
    assert strategy.outcome.dropped == ()
    before = initial_arrays()
    assert list(arrays) == list(before)
    assert [(a.shape, a.dtype) for a in arrays.values()] == [(a.shape, a.dtype) for a in before.values()]
    assert int(arrays["norm.num_batches_tracked"]) == 17


@pytest.mark.parametrize("name", ["krum", "trimmed-mean", "flame"])
def test_too_few_good_replies_for_the_defense_skip_the_round(name: str) -> None:
    strategy = MAKERS[name]()
    assert toy_round(strategy, toy_app(FAULTS["nan"][0], range(2, CLIENTS))) is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped is not None
    assert len(strategy.outcome.node_ids) == 2


def test_fewer_good_replies_than_asked_for_skip_the_round() -> None:
    strategy = MAKERS["fedavg"](min_replies=CLIENTS)
    assert toy_round(strategy, toy_app(FAULTS["nan"][0])) is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == "8 good replies; at least 9 are needed"

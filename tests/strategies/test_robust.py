"""What the base of all strategies does around a defense."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord

from fedsec.defenses import OptionError, RoundUpdates, Verdict
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.strategies import Flame, Krum, MultiKrum, NormClipNoise, RobustFedAvg, RobustStrategy, TrimmedMean
from fedsec.strategies.intake import Limits, Reply
from tests.strategies.toy import CLIENTS, MAKERS, initial_arrays, toy_app, toy_round, trained


class Spy(RobustStrategy):
    """Keeps what it was given, and averages."""

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        self.given = RoundUpdates(updates.node_ids, updates.deltas.copy(), updates.num_examples, updates.losses)
        weights = np.full(len(updates), 1 / len(updates))
        return Verdict((weights @ updates.deltas).astype(np.float32), weights, np.zeros(len(updates)))


def test_rows_are_updates_sorted_by_node_whatever_order_replies_come_in() -> None:
    strategy, grid = Spy(), LocalGrid(toy_app(), 4, node_ids=[40, 10, 30, 20])
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    replies = list(grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid)))
    for order in (replies, replies[::-1]):
        strategy.aggregate_train(1, order)
        assert strategy.given.node_ids.tolist() == [10, 20, 30, 40]
        assert strategy.given.deltas.shape == (4, 16)
        partition = {40: 0, 10: 1, 30: 2, 20: 3}
        expected = trained(partition[20], initial_arrays())["bias"]
        np.testing.assert_allclose(strategy.given.deltas[1, 12:], expected, rtol=1e-6)


def test_fedavg_weighs_clients_alike_unless_told_to_use_their_claims() -> None:
    updates = [trained(i, initial_arrays())["weight"] for i in range(CLIENTS)]
    equal, claimed = toy_round(RobustFedAvg(), toy_app()), toy_round(RobustFedAvg(weighting="examples"), toy_app())
    assert equal is not None
    assert claimed is not None
    np.testing.assert_allclose(equal["weight"], np.mean(updates, axis=0), atol=1e-6)
    shares = np.arange(10, 10 + CLIENTS)
    np.testing.assert_allclose(claimed["weight"], np.average(updates, axis=0, weights=shares), atol=1e-6)


def test_statistics_of_batchnorm_stay_apart_unless_included() -> None:
    apart, included = Spy(), Spy(batchnorm="included")
    results = [toy_round(apart, toy_app()), toy_round(included, toy_app())]
    assert apart.given.deltas.shape[1] == 16
    assert included.given.deltas.shape[1] == 20
    statistics = [trained(i, initial_arrays())["norm.running_var"] for i in range(CLIENTS)]
    for arrays, combine in zip(results, (np.median, np.mean), strict=True):
        assert arrays is not None
        np.testing.assert_allclose(arrays["norm.running_var"], combine(statistics, axis=0), rtol=1e-6)


def test_plain_averaging_averages_the_statistics_too() -> None:
    arrays = toy_round(RobustFedAvg(weighting="examples"), toy_app())
    assert arrays is not None
    statistics = [trained(i, initial_arrays())["norm.running_var"] for i in range(CLIENTS)]
    expected = np.average(statistics, axis=0, weights=np.arange(10, 10 + CLIENTS))
    np.testing.assert_allclose(arrays["norm.running_var"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("fedavg", "krum", "loss-forest")])
def test_a_few_clients_cannot_move_the_statistics_beyond_what_the_others_send(name: str) -> None:
    def shift(arrays: Any, metrics: dict[str, Any]) -> None:
        arrays["norm.running_var"][:] = 9e5

    arrays = toy_round(MAKERS[name](), toy_app(shift, [0, 4, 8]))
    assert arrays is not None
    assert arrays["norm.running_var"].max() < 2.0


def test_a_short_update_has_one_vote_on_the_statistics_however_others_are_clipped() -> None:
    def shorten(arrays: Any, metrics: dict[str, Any]) -> None:
        arrays["weight"][:] = initial_arrays()["weight"] + np.float32(1e-4)
        arrays["norm.running_var"][:] = 50.0

    arrays = toy_round(NormClipNoise(0.01, 0.0), toy_app(shorten))
    assert arrays is not None
    assert arrays["norm.running_var"].max() < 2.0


def test_noise_leaves_no_variance_below_zero() -> None:
    strategy = NormClipNoise(1.0, 10.0, batchnorm="included")
    arrays = toy_round(strategy, toy_app())
    assert arrays is not None
    assert arrays["norm.running_var"].min() == 0.0
    assert arrays["weight"].min() < 0.0


def test_statistics_follow_the_weights_of_the_verdict() -> None:
    strategy = Krum(2)
    arrays = toy_round(strategy, toy_app())
    assert arrays is not None
    assert strategy.outcome is not None
    assert strategy.outcome.verdict is not None
    chosen = int(np.flatnonzero(strategy.outcome.verdict.weights)[0])
    expected = trained(chosen, initial_arrays())
    np.testing.assert_allclose(arrays["norm.running_var"], expected["norm.running_var"], rtol=1e-6)
    np.testing.assert_allclose(arrays["weight"], expected["weight"], rtol=1e-6)


def test_a_reply_of_a_node_that_was_not_asked_is_dropped() -> None:
    strategy, grid = RobustFedAvg(), LocalGrid(toy_app(), CLIENTS)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    messages = list(strategy.configure_train(1, sent, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    replies[0].metadata.__dict__["_src_node_id"] = 77
    strategy.aggregate_train(1, replies)
    assert strategy.outcome is not None
    dropped = {client.node_id: client.reason for client in strategy.outcome.dropped}
    assert dropped[77] == "was not asked"
    assert len(dropped) == 2
    assert len(strategy.outcome.node_ids) == CLIENTS - 1
    assert 77 not in strategy.outcome.node_ids


def test_a_second_reply_of_a_node_is_dropped() -> None:
    strategy, grid = RobustFedAvg(), LocalGrid(toy_app(), 3)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    messages = list(strategy.configure_train(1, sent, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    strategy.aggregate_train(1, [*replies, replies[1]])
    assert strategy.outcome is not None
    assert len(strategy.outcome.node_ids) == 3
    assert strategy.outcome.dropped[0].reason == "a second reply from the same node"


def test_partitions_name_sort_and_sample_the_nodes() -> None:
    ids = [500, 100, 400, 200, 300, 600]
    strategy, again = Spy(fraction_train=0.5, seed=3), Spy(fraction_train=0.5, seed=3)
    sampled = []
    for one, node_ids in ((strategy, ids), (again, [node + 7 for node in ids])):
        grid = LocalGrid(toy_app(), 6, node_ids=node_ids)
        one.use_partitions({node: partition for partition, node in enumerate(node_ids)})
        sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
        one.aggregate_train(5, grid.send_and_receive(one.configure_train(5, sent, ConfigRecord(), grid)))
        sampled.append(one.given.node_ids.tolist())
    assert sampled[0] == sampled[1] == sorted(sampled[0])
    assert len(sampled[0]) == 3


def sampled_in(strategy: RobustStrategy, server_round: int, nodes: int) -> list[int]:
    grid = LocalGrid(toy_app(), nodes)
    strategy.use_partitions({FIRST_NODE + partition: partition for partition in range(nodes)})
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    return [m.metadata.dst_node_id for m in strategy.configure_train(server_round, sent, ConfigRecord(), grid)]


def test_every_round_samples_anew_and_rounds_to_the_nearest_number() -> None:
    strategy = RobustFedAvg(fraction_train=0.27, min_train_nodes=1)
    rounds = [tuple(sampled_in(strategy, server_round, 10)) for server_round in range(1, 9)]
    assert {len(nodes) for nodes in rounds} == {3}
    assert len(set(rounds)) > 1


def test_the_noise_of_every_round_is_another() -> None:
    spy = NormClipNoise(1.0, 1.0)
    sent = {"weight": np.zeros(8, np.float32)}
    results = []
    for server_round in (1, 2, 1):
        spy.remember(sent)
        results.append(spy.judge(server_round, [Reply(1, lambda: sent, 5)], [], [1]))
    first, second, again = ((arrays or {})["weight"] for arrays in results)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


def test_aggregating_without_a_round_is_a_clear_error() -> None:
    with pytest.raises(RuntimeError, match="before configure_train"):
        RobustFedAvg().aggregate_train(1, [])


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrimmedMean(0.4, trim="coordinate"),  # type: ignore[arg-type]
        lambda: TrimmedMean(0.4, trim="updates", distance="l2"),  # type: ignore[arg-type]
        lambda: Krum(neighbours="al"),  # type: ignore[arg-type]
        lambda: Krum(1.5),  # type: ignore[arg-type]
        lambda: Krum(1, batchnorm="include"),  # type: ignore[arg-type]
        lambda: Krum(1, seed=-1),
        lambda: MultiKrum(1, num_selected=1.5),  # type: ignore[arg-type]
        lambda: MultiKrum(1, distance="cosine"),  # type: ignore[arg-type]
        lambda: Flame(clustered_by="model"),  # type: ignore[arg-type]
        lambda: Flame(noise_scale="clipped"),  # type: ignore[arg-type]
        lambda: NormClipNoise(1.0, 0.1, noise_scale="relative"),  # type: ignore[arg-type]
        lambda: RobustFedAvg(weighting="example"),  # type: ignore[arg-type]
        lambda: RobustFedAvg(min_replies=True),
    ],
)
def test_options_that_make_no_sense_are_refused_when_the_strategy_is_made(make: Any) -> None:
    with pytest.raises(OptionError, match="must be"):
        make()


def test_an_option_that_the_defense_refuses_stops_the_run() -> None:
    class Refusing(RobustFedAvg):
        def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
            raise OptionError("clip", "clip must be positive")

    with pytest.raises(OptionError, match="clip must be positive"):
        toy_round(Refusing(), toy_app())


def test_limits_are_options() -> None:
    strategy = RobustFedAvg(limits=Limits(update_norm=0.1))
    assert toy_round(strategy, toy_app()) is None
    assert strategy.outcome is not None
    assert "highest accepted is 0.1" in strategy.outcome.dropped[0].reason


def test_a_verdict_that_is_not_finite_never_reaches_the_model() -> None:
    class Broken(RobustFedAvg):
        def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
            n, d = updates.deltas.shape
            return Verdict(np.full(d, np.nan, np.float32), np.full(n, 1 / n), np.zeros(n))

    strategy = Broken()
    assert toy_round(strategy, toy_app()) is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == "the defense's result holds NaN or infinity"


def test_losses_reach_the_defense_only_when_all_report_one() -> None:
    spy = Spy()
    toy_round(spy, toy_app())
    assert spy.given.losses is not None
    np.testing.assert_allclose(spy.given.losses, np.full(CLIENTS, 0.1))

    def lose(arrays: Any, metrics: dict[str, Any]) -> None:
        del metrics["loss"]

    toy_round(spy, toy_app(lose))
    assert spy.given.losses is None
    assert spy.given.node_ids[0] == FIRST_NODE


def test_state_of_a_stateless_strategy_is_empty_and_refuses_another_s() -> None:
    assert RobustFedAvg().state() == {}
    RobustFedAvg().load_state({})
    with pytest.raises(ValueError, match="keeps no state"):
        RobustFedAvg().load_state({"counts": np.zeros(3)})


def test_a_defense_that_fails_skips_the_round_and_the_record_says_why() -> None:
    class Failing(RobustFedAvg):
        def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
            raise ZeroDivisionError("no luck")

    strategy = Failing()
    assert toy_round(strategy, toy_app()) is None
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == "Failing failed (ZeroDivisionError: no luck)"


@pytest.mark.parametrize("claim", [10**400, True, float("inf")])
def test_a_loss_that_is_no_number_is_taken_for_none(claim: Any) -> None:
    spy = Spy()
    spy.remember(initial_arrays())
    replies = [Reply(i, lambda i=i: trained(i, initial_arrays()), 5, claim if i == 1 else 0.5) for i in range(3)]
    assert spy.judge(1, replies, [], range(3)) is not None
    assert spy.given.losses is None


def test_flower_s_node_ids_may_use_all_64_bits() -> None:
    spy = Spy()
    spy.remember(initial_arrays())
    highest = 2**64 - 1
    assert spy.judge(1, [Reply(highest, lambda: trained(0, initial_arrays()), 5)], [], [highest]) is not None
    assert spy.outcome is not None
    assert spy.outcome.node_ids == (highest,)

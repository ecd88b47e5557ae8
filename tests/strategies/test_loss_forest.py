"""The loss forest as a strategy: loss reports of every kind, state, statistics, and losses that the server measures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context
from flwr.client import NumPyClient
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from fedsec.clients.app import make_client_app
from fedsec.defenses.updates import OptionError, RoundUpdates, Verdict
from fedsec.engine.local import FIRST_NODE
from fedsec.engine.worker import RoundOfRun, Seat, Task, Worker
from fedsec.runs.config import RunConfig
from fedsec.strategies import Krum, LegacyStrategy, LossForest
from fedsec.strategies.intake import Limits
from fedsec.tensors import read_tensors, write_tensors
from tests.defenses.rounds import normal_rows
from tests.strategies.test_legacy import legacy_round
from tests.strategies.toy import BAD, CLIENTS, Arrays, Fault, initial_arrays, past_warmup, toy_app, toy_round, trained

ABSENT = object()
GOOD = [partition for partition in range(CLIENTS) if partition != BAD]

REPORTS: dict[str, tuple[Any, str]] = {
    "NaN": (float("nan"), "reports nan as its loss"),
    "infinity": (float("inf"), "reports inf as its loss"),
    "minus infinity": (float("-inf"), "reports -inf as its loss"),
    "missing": (ABSENT, "reports none as its loss"),
    "a list": ([1.0, 2.0], "reports a list as its loss"),
    "a number of 1,000 digits": (10**1000, "reports a whole number of 3322 bits as its loss"),
    "a string": ("low", "reports "),
    "a flag": (True, "reports "),
    "nothing": (None, "reports none as its loss"),
    "negative": (-3.0, ""),
    "1e30": (1e30, ""),
    "-1e30": (-1e30, ""),
    "a whole number": (7, ""),
    "a number of numpy": (np.float64(2.0), ""),
    "a single-precision number of numpy": (np.float32(2.0), ""),
}
"""What a client may report as its loss, and what the record must say of it; nothing where it is a loss."""

NOT_IN_A_RECORD = {"a string", "a flag", "nothing", "a single-precision number of numpy", "a number of 1,000 digits"}
"""What Flower's metrics do not take: the client itself fails, or fedsec's client app puts it elsewhere."""


class Audited:
    """An audit that answers as a function does, and keeps a number."""

    def __init__(self, answer: Callable[[Mapping[str, NDArray[Any]]], Any]) -> None:
        self.loss = answer
        self.prepared: list[list[str]] = []
        self.kept = np.array([7.0])

    def prepare(self, sent: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> None:
        self.prepared.append(list(sent))

    def state(self) -> dict[str, NDArray[Any]]:
        return {"kept": self.kept}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.kept = state["kept"]


def report(value: Any) -> Fault:
    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        del metrics["loss"]
        if value is not ABSENT:
            metrics["loss"] = value

    return fault


def of_partition(losses: Mapping[int, float]) -> Fault:
    """Return what lets each client report a loss of its own."""
    return lambda arrays, metrics: metrics.update(loss=losses[int(metrics["num-examples"]) - 10])


def reason(strategy: LossForest) -> str:
    """Return why the one bad client was dropped, and nothing where it was not."""
    assert strategy.outcome is not None
    assert strategy.outcome.skipped is None
    assert len(strategy.outcome.node_ids) + len(strategy.outcome.dropped) == CLIENTS
    return "".join(client.reason for client in strategy.outcome.dropped)


def check(found: str, expected: str) -> None:
    assert bool(found) == bool(expected)
    assert found.startswith(expected)


@pytest.mark.parametrize("name", [name for name in REPORTS if name not in NOT_IN_A_RECORD])
@pytest.mark.parametrize("strategy", [LossForest, past_warmup])
def test_a_reply_without_a_loss_is_dropped_in_warm_up_and_after_it(name: str, strategy: Any) -> None:
    value, expected = REPORTS[name]
    judged, alone = strategy(), strategy()
    arrays = toy_round(judged, toy_app(report(value)))
    check(reason(judged), expected)
    if expected:
        without = toy_round(alone, toy_app(), GOOD)
        assert arrays is not None
        assert without is not None
        assert all(np.array_equal(arrays[key], array) for key, array in without.items())


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "a single-precision number of numpy"])
def test_so_it_is_on_the_older_interface(name: str) -> None:
    value, expected = REPORTS[name]
    strategy = LossForest()
    assert legacy_round(LegacyStrategy(strategy), report(value)) is not None
    check(reason(strategy), expected)


class Reporting(NumPyClient):
    """A client that trains as the toy's do and reports a loss of one's own choice."""

    def __init__(self, partition: int, value: Any) -> None:
        self.partition, self.value = partition, value

    def fit(self, parameters: Any, config: Any) -> Any:
        arrays = trained(self.partition, dict(zip(initial_arrays(), parameters, strict=True)))
        metrics = {} if self.value is ABSENT else {"loss": self.value}
        return list(arrays.values()), 10, metrics


@pytest.mark.parametrize("name", REPORTS)
def test_the_engine_of_cohorts_and_fedsec_s_own_clients_agree_on_it(name: str) -> None:
    value, expected = REPORTS[name]

    def client(partition: int) -> Reporting:
        return Reporting(partition, value if partition == BAD else 1.0)

    def client_fn(context: Context) -> NumPyClient:
        return client(int(context.node_config["partition-id"]))

    strategy = LossForest()
    toy_round(strategy, make_client_app(client_fn))
    run = RoundOfRun(lambda config, partition: client(partition), RunConfig(), 1, None, strategy.limits, "apart")
    seats = tuple(Seat(0, partition, partition) for partition in range(CLIENTS))
    answers = Worker("here").train(Task((run,), (seats,)), initial_arrays()).answers
    dropped = [answer for answer in answers if answer.admitted is None]
    found = reason(strategy)
    assert found == "".join(answer.reason for answer in dropped)
    check(found, "error 2: TypeError" if name == "nothing" else expected)


def test_other_strategies_take_any_report_and_bounds_of_one_s_own_stay() -> None:
    strategy = Krum(1)
    toy_round(strategy, toy_app(report(float("nan"))))
    assert strategy.outcome is not None
    assert strategy.outcome.dropped == ()
    assert LossForest(limits=Limits(update_norm=7.0)).limits == Limits(update_norm=7.0, needs_loss=True)


def test_who_reports_a_loss_apart_loses_weight_round_by_round() -> None:
    strategy = LossForest(warmup_rounds=1)
    losses = dict.fromkeys(range(CLIENTS), 1.0) | {BAD: 9.0}
    seen = []
    for _ in range(4):
        toy_round(strategy, toy_app(of_partition(losses), range(CLIENTS)))
        assert strategy.outcome is not None
        assert strategy.outcome.verdict is not None
        seen.append(strategy.outcome.verdict.weights[BAD])
    assert_allclose(seen, [1 / 9, 1 / 9, 0.9 / 8.9, 0.729 / 8.729])


def judged(strategy: LossForest, rounds: range) -> list[Verdict]:
    strategy.remember({"weight": np.zeros(3, np.float32)})
    verdicts = []
    for number in rounds:
        losses = np.random.default_rng(number).normal(1.0, 0.2, 9)
        updates = RoundUpdates(np.arange(9, dtype=np.uint64), normal_rows(9, 3), np.ones(9, np.int64), losses)
        strategy.judge_updates(number, updates, np.empty((9, 0)), [])
        assert strategy.outcome is not None
        assert strategy.outcome.verdict is not None
        verdicts.append(strategy.outcome.verdict)
    return verdicts


def test_a_run_that_goes_on_from_its_checkpoint_has_the_numbers_of_one_that_never_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"warmup_rounds": 2, "smoothing": 0.3, "recovery": 0.1}
    whole = judged(LossForest(**options), range(1, 13))
    for stop in (0, 2, 7):
        first, second = LossForest(**options), LossForest(**options)
        judged(first, range(1, stop + 1))
        write_tensors(tmp_path / "state", first.state(), {})
        second.load_state(read_tensors(tmp_path / "state")[0])
        for ours, theirs in zip(judged(second, range(stop + 1, 13)), whole[stop:], strict=True):
            assert all(np.array_equal(getattr(ours, k), getattr(theirs, k)) for k in ("delta", "weights", "scores"))
    assert len({verdict.weights.tobytes() for verdict in whole}) > 5


def test_the_state_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"LossForest keeps \['counts', .*\]; the checkpoint holds \['moments'\]"):
        LossForest().load_state({"moments": np.zeros(3)})
    with pytest.raises(ValueError, match=r"the checkpoint holds \[\]"):
        LossForest().load_state({})


def test_what_is_kept_apart_is_averaged_with_the_same_weights() -> None:
    strategy = past_warmup(decay=0.5)
    losses = dict.fromkeys(range(CLIENTS), 1.0) | {BAD: 9.0}
    arrays = toy_round(strategy, toy_app(of_partition(losses), range(CLIENTS)))
    assert arrays is not None
    weights = np.where(np.arange(CLIENTS) == BAD, 0.5, 1.0) / (CLIENTS - 0.5)
    variances = np.array([trained(i, initial_arrays())["norm.running_var"] for i in range(CLIENTS)])
    assert_allclose(arrays["norm.running_var"], weights @ variances, rtol=1e-6)


def test_an_audit_gets_each_model_as_its_client_sent_it_and_its_answer_decides() -> None:
    seen: list[dict[str, NDArray[Any]]] = []

    def audit(arrays: Mapping[str, NDArray[Any]]) -> float:
        seen.append(dict(arrays))
        return 9.0 if len(seen) == BAD + 1 else 1.0

    strategy = past_warmup()
    strategy.audit = prepared = Audited(audit)
    honest = dict.fromkeys(range(CLIENTS), 1.0) | {0: 9.0}  # it is another one whose report lies apart
    toy_round(strategy, toy_app(of_partition(honest), range(CLIENTS)))
    assert strategy.memory.counts.tolist() == [int(i == BAD) for i in range(CLIENTS)]
    assert prepared.prepared == [list(initial_arrays())]
    for partition, arrays in enumerate(seen):
        sent = trained(partition, initial_arrays())
        assert list(arrays) == list(sent)
        for key, array in sent.items():
            assert (arrays[key].dtype, arrays[key].shape) == (array.dtype, array.shape)
            assert_allclose(arrays[key], array, rtol=1e-6)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), "low", RuntimeError("diverged")])
def test_a_model_on_which_the_audit_fails_has_no_weight(answer: Any) -> None:
    calls: list[int] = []

    def audit(arrays: Mapping[str, NDArray[Any]]) -> Any:
        calls.append(1)
        if len(calls) != BAD + 1:
            return np.float32(1.0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    strategy, alone = LossForest(), LossForest()
    strategy.audit = Audited(audit)
    arrays, expected = toy_round(strategy, toy_app()), toy_round(alone, toy_app(), GOOD)
    assert strategy.outcome is not None
    assert strategy.outcome.verdict is not None
    assert strategy.outcome.node_ids[BAD] == FIRST_NODE + BAD
    assert strategy.outcome.verdict.weights[BAD] == 0.0
    assert arrays is not None
    assert expected is not None
    for key, array in expected.items():
        assert_allclose(arrays[key], array, rtol=1e-5, atol=1e-6)


def test_an_audit_that_always_fails_skips_the_round_and_keeps_what_is_known() -> None:
    strategy = past_warmup()
    strategy.audit = Audited(lambda arrays: float("nan"))
    before = strategy.memory
    assert toy_round(strategy, toy_app()) is None
    assert strategy.outcome is not None
    assert "could not measure the loss of a single client" in str(strategy.outcome.skipped)
    assert strategy.memory is before


def test_what_an_audit_keeps_is_in_the_strategy_s_state() -> None:
    strategy, again = past_warmup(), LossForest()
    strategy.audit, again.audit = Audited(lambda arrays: 1.0), Audited(lambda arrays: 1.0)
    strategy.audit.kept = np.array([3.0])
    assert "audit.kept" in strategy.state()
    again.load_state(strategy.state())
    assert again.audit.kept == 3.0
    assert again.memory.rounds == strategy.memory.rounds


def test_options_are_checked_where_the_strategy_is_built() -> None:
    with pytest.raises(OptionError, match="decay must be above 0 and at most 1; got 0"):
        LossForest(decay=0.0)
    assert replace(LossForest(decay=0.5, sides="high").forest_options(), decay=0.9).sides == "high"

"""The same battery behind Flower's older strategy interface."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy

from fedsec.strategies import STRATEGIES, LegacyStrategy, NormClipNoise, RobustFedAvg
from tests.strategies.toy import BAD, CLIENTS, FAULTS, MAKERS, Fault, NoAnswerError, initial_arrays, trained

OK = Status(Code.OK, "")


class ToyProxy(ClientProxy):
    """A client of the older interface, honest or with a fault."""

    def __init__(self, partition: int, fault: Fault | None) -> None:
        super().__init__(str(partition))
        self.node_id = 1000 + partition
        self.partition, self.fault = partition, fault

    def fit(self, ins: FitIns, timeout: float | None = None, group_id: int | None = None) -> FitRes:
        sent = dict(zip(initial_arrays(), parameters_to_ndarrays(ins.parameters), strict=True))
        arrays, metrics = trained(self.partition, sent), {"num-examples": 10 + self.partition, "loss": 0.1}
        if self.fault:
            self.fault(arrays, metrics)
        return FitRes(OK, ndarrays_to_parameters(list(arrays.values())), metrics.pop("num-examples"), metrics)

    def evaluate(self, ins: EvaluateIns, timeout: float | None = None, group_id: int | None = None) -> EvaluateRes:
        raise NotImplementedError

    get_properties = get_parameters = reconnect = None  # type: ignore[assignment]


def legacy_round(
    strategy: LegacyStrategy,
    fault: Fault | None,
    bad: Collection[int] = (BAD,),
    clients: Collection[int] = range(CLIENTS),
) -> list[Any] | None:
    """Do one round; return the new global arrays, ``None`` when it was skipped."""
    manager = SimpleClientManager()
    for partition in clients:
        manager.register(ToyProxy(partition, fault if partition in bad else None))
    asked = strategy.configure_fit(1, ndarrays_to_parameters(list(initial_arrays().values())), manager)
    results: list[tuple[ClientProxy, FitRes]] = []
    failures: list[tuple[ClientProxy, FitRes] | BaseException] = []
    for client, instructions in asked:
        assert instructions.config["server-round"] == 1
        try:
            results.append((client, client.fit(instructions, None, None)))
        except NoAnswerError:
            continue
        except RuntimeError as error:
            failures.append(error)
    parameters, _ = strategy.aggregate_fit(1, results, failures)
    return None if parameters is None else parameters_to_ndarrays(parameters)


# Behind the older interface arrays have no names: statistics of BatchNorm are parameters like all others.
LEGACY_FAULTS = {name: fault for name, (fault, _) in FAULTS.items() if name != "negative variance"}
REASONS = {
    "1e30 in statistics": "norm",
    "a counter beyond counting": "array '3' holds or changes by",
    "missing key": "missing ['3']",
    "extra key": "unexpected ['4']",
    "raises": "no answer; errors of this round: RuntimeError: disk on fire",
}
"""What the record says, where that differs from the newer interface."""


def make(name: str) -> LegacyStrategy:
    return LegacyStrategy(MAKERS[name](), min_fit_clients=2, min_available_clients=2)


@pytest.mark.parametrize("fault", LEGACY_FAULTS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_bad_client_is_dropped_and_changes_nothing(name: str, fault: str) -> None:
    strategy = make(name)
    arrays = legacy_round(strategy, LEGACY_FAULTS[fault])
    expected = legacy_round(make(name), None, clients=[i for i in range(CLIENTS) if i != BAD])
    assert arrays is not None
    assert expected is not None
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    assert strategy.defense.outcome is not None
    assert [client.node_id for client in strategy.defense.outcome.dropped] == [1000 + BAD]
    assert REASONS.get(fault, FAULTS[fault][1]) in strategy.defense.outcome.dropped[0].reason


@pytest.mark.parametrize("fault", LEGACY_FAULTS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_with_all_clients_bad_the_round_is_skipped(name: str, fault: str) -> None:
    strategy = make(name)
    assert legacy_round(strategy, LEGACY_FAULTS[fault], range(CLIENTS)) is None
    assert strategy.defense.outcome is not None
    assert strategy.defense.outcome.skipped is not None
    assert len(strategy.defense.outcome.dropped) == CLIENTS


def test_a_failure_reported_with_its_client_keeps_its_reason() -> None:
    strategy = make("fedavg")
    manager = SimpleClientManager()
    for partition in range(3):
        manager.register(ToyProxy(partition, None))
    asked = strategy.configure_fit(1, ndarrays_to_parameters(list(initial_arrays().values())), manager)
    results = [(client, client.fit(instructions, None, None)) for client, instructions in asked[:2]]
    failed = FitRes(Status(Code.FIT_NOT_IMPLEMENTED, "no fit here"), Parameters([], ""), 0, {})
    strategy.aggregate_fit(1, results, [(asked[2][0], failed)])
    assert strategy.defense.outcome is not None
    assert strategy.defense.outcome.dropped[0].reason == "FIT_NOT_IMPLEMENTED: no fit here"


def test_failures_skip_the_round_where_they_are_not_accepted() -> None:
    strategy = LegacyStrategy(RobustFedAvg(), accept_failures=False)
    assert legacy_round(strategy, None) is not None
    assert legacy_round(strategy, FAULTS["raises"][0]) is None
    assert strategy.defense.outcome is not None
    assert strategy.defense.outcome.verdict is None
    assert strategy.defense.outcome.skipped == "1 failures, and accept_failures is off"


def test_with_names_the_statistics_of_batchnorm_are_kept_apart() -> None:
    strategy = LegacyStrategy(NormClipNoise(1.0, 10.0), names=list(initial_arrays()))
    arrays = legacy_round(strategy, None)
    assert arrays is not None
    expected = np.median([trained(i, initial_arrays())["norm.running_var"] for i in range(CLIENTS)], axis=0)
    np.testing.assert_allclose(arrays[2], expected, rtol=1e-6)


def test_names_that_do_not_fit_the_model_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match="4 arrays; expected 1"):
        legacy_round(LegacyStrategy(RobustFedAvg(), names=["weight"]), None)


def test_every_round_is_told_its_number_and_the_project_s_dictionary_stays_as_it_is() -> None:
    shared: dict[str, Any] = {"lr": 0.1}
    strategy = LegacyStrategy(RobustFedAvg(), on_fit_config_fn=lambda server_round: shared)
    manager = SimpleClientManager()
    for partition in range(2):
        manager.register(ToyProxy(partition, None))
    told = [
        instructions.config
        for server_round in (1, 2)
        for _, instructions in strategy.configure_fit(
            server_round, ndarrays_to_parameters(list(initial_arrays().values())), manager
        )
    ]
    assert told == [{"lr": 0.1, "server-round": 1}] * 2 + [{"lr": 0.1, "server-round": 2}] * 2
    assert shared == {"lr": 0.1}


def test_metrics_go_through_the_function_of_the_project_and_its_errors_stop_nothing() -> None:
    seen: list[Any] = []

    def keep(metrics: Any) -> dict[str, Any]:
        seen.append(metrics)
        return {"clients": len(metrics)}

    strategy = LegacyStrategy(RobustFedAvg(), fit_metrics_aggregation_fn=keep)
    assert legacy_round(strategy, FAULTS["nan"][0]) is not None
    assert len(seen[0]) == CLIENTS - 1
    explode = LegacyStrategy(RobustFedAvg(), fit_metrics_aggregation_fn=lambda metrics: {}["missing"])
    assert legacy_round(explode, None) is not None


def test_evaluations_that_make_no_sense_are_left_out() -> None:
    claims: list[tuple[Any, float]] = [(5, 1.0), (0, 9.0), (7, float("nan")), (float("nan"), 2.0), (3, 3.0)]
    results: list[tuple[ClientProxy, EvaluateRes]] = [
        (ToyProxy(i, None), EvaluateRes(OK, loss, examples, {})) for i, (examples, loss) in enumerate(claims)
    ]
    assert make("fedavg").aggregate_evaluate(1, results, [])[0] == 2.0
    assert make("fedavg").aggregate_evaluate(1, results[1:4], [])[0] is None


def test_it_names_its_defense() -> None:
    assert repr(make("flame")) == "LegacyStrategy(Flame)"

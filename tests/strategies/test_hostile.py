"""The hostile battery: whatever a client sends, it is dropped with a reason, and costs neither files nor memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.client_manager import SimpleClientManager

from fedsec.engine.local import FIRST_NODE
from fedsec.strategies import LegacyStrategy
from fedsec.strategies.intake import LONGEST_REASON
from tests.strategies.hostile import PAYLOADS, REASONS, honest_record, spoilt
from tests.strategies.test_legacy import ToyProxy, legacy_round
from tests.strategies.toy import BAD, CLIENTS, MAKERS, ToyGrid, initial_arrays, toy_app, toy_round, trained

GOOD = [partition for partition in range(CLIENTS) if partition != BAD]
HIGHEST_BYTES = 4 << 20
"""What judging a round with a hostile client may allocate at its peak, whatever the client claims."""


def hostile_app(case: str) -> ClientApp:
    """Return honest clients but one, which sends what ``case`` names."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        sent = {key: array.numpy() for key, array in message.content["arrays"].items()}
        honest = honest_record(trained(partition, sent))
        if partition == BAD:
            return spoilt(case, honest, message)
        metrics = MetricRecord({"num-examples": 10 + partition, "loss": 0.1})
        return Message(RecordDict({"arrays": ArrayRecord(honest), "metrics": metrics}), reply_to=message)

    return app


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("case", REASONS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_hostile_client_is_dropped_and_changes_nothing(name: str, case: str, here: Path) -> None:
    strategy = MAKERS[name]()
    arrays = toy_round(strategy, hostile_app(case))
    expected = toy_round(MAKERS[name](), toy_app(), GOOD)
    assert arrays is not None
    assert expected is not None
    for key, array in expected.items():
        np.testing.assert_array_equal(arrays[key], array)
    assert strategy.outcome is not None
    [dropped] = strategy.outcome.dropped
    assert dropped.node_id == FIRST_NODE + BAD
    assert REASONS[case] in dropped.reason
    assert dropped.reason.isprintable()
    assert len(dropped.reason) <= LONGEST_REASON
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("case", REASONS)
def test_judging_a_hostile_round_takes_little_memory(case: str, here: Path) -> None:
    strategy, grid = MAKERS["median"](), ToyGrid(hostile_app(case), CLIENTS)
    messages = strategy.configure_train(1, ArrayRecord(honest_record(initial_arrays())), ConfigRecord(), grid)
    replies = list(grid.send_and_receive(messages))
    tracemalloc.start()
    strategy.aggregate_train(1, replies)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < HIGHEST_BYTES


@pytest.mark.parametrize("case", PAYLOADS)
@pytest.mark.parametrize("name", MAKERS)
def test_the_older_interface_drops_it_too(name: str, case: str, here: Path) -> None:
    class Evil(ToyProxy):
        def fit(self, ins: Any, timeout: float | None = None, group_id: int | None = None) -> FitRes:
            tensors = super().fit(ins).parameters.tensors
            parameters = Parameters([PAYLOADS[case][0](), *tensors[1:]], "numpy.ndarray")
            return FitRes(Status(Code.OK, ""), parameters, 10, {})

    strategy = LegacyStrategy(MAKERS[name](), min_fit_clients=2, min_available_clients=2)
    arrays = round_of(strategy, Evil(BAD, None))
    expected = legacy_round(LegacyStrategy(MAKERS[name]()), None, clients=GOOD)
    assert expected is not None
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert strategy.defense.outcome is not None
    [dropped] = strategy.defense.outcome.dropped
    assert dropped.node_id == 1000 + BAD
    assert REASONS[case] in dropped.reason
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (Parameters([], "numpy.ndarray"), "missing ['0', '1', '2']"),
        (Parameters([b"x"] * 100_000, "numpy.ndarray"), "unexpected ['4', '5', '6']"),
        (Parameters([b"x"] * 4, "pickle\n"), r"its arrays are 'pickle\n'; expected 'numpy.ndarray'"),
        (Parameters(["x"] * 4, "numpy.ndarray"), "is str; expected bytes"),  # type: ignore[list-item]
    ],
)
def test_lists_of_arrays_that_make_no_sense_are_dropped(parameters: Parameters, reason: str) -> None:
    class Evil(ToyProxy):
        def fit(self, ins: Any, timeout: float | None = None, group_id: int | None = None) -> FitRes:
            return FitRes(Status(Code.OK, ""), parameters, 10, {})

    strategy = LegacyStrategy(MAKERS["median"](), min_fit_clients=2, min_available_clients=2)
    round_of(strategy, Evil(BAD, None))
    assert strategy.defense.outcome is not None
    assert reason in strategy.defense.outcome.dropped[0].reason


def round_of(strategy: LegacyStrategy, evil: ToyProxy) -> list[Any]:
    """Do one round of the older interface with an evil client among honest ones; return the new arrays."""
    manager = SimpleClientManager()
    for partition in range(CLIENTS):
        manager.register(evil if partition == BAD else ToyProxy(partition, None))
    asked = strategy.configure_fit(1, ndarrays_to_parameters(list(initial_arrays().values())), manager)
    parameters, _ = strategy.aggregate_fit(1, [(client, client.fit(ins, None, None)) for client, ins in asked], [])
    assert parameters is not None
    return parameters_to_ndarrays(parameters)


def test_a_second_reply_and_one_of_a_node_that_was_not_asked_are_dropped() -> None:
    strategy, grid = MAKERS["median"](), ToyGrid(toy_app(), CLIENTS)
    asked = list(strategy.configure_train(1, ArrayRecord(honest_record(initial_arrays())), ConfigRecord(), grid))
    replies = list(grid.send_and_receive(asked))
    again = replies[0].metadata.src_node_id
    stranger = Message(replies[0].content, reply_to=Message(RecordDict(), 4711, "train"))
    strategy.aggregate_train(1, [*replies, replies[0], stranger])
    assert strategy.outcome is not None
    assert len(strategy.outcome.node_ids) == CLIENTS
    assert [(client.node_id, client.reason) for client in strategy.outcome.dropped] == [
        (4711, "was not asked"),
        (again, "a second reply from the same node"),
    ]

"""One NumPyClient answers Flower's servers, new and legacy, with the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import (
    Code,
    EvaluateIns,
    FitIns,
    GetParametersIns,
    GetPropertiesIns,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.common import recorddict_compat as compat

from fedsec.clients import make_client_app
from fedsec.clients.app import is_legacy
from fedsec.engine.local import FIRST_NODE, LocalGrid

ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(7)}
METRICS: dict[str, Any] = {"loss": 0.5, "steps": 3, "device": "cpu", "diverged": False}


class Toy(NumPyClient):
    """A client that adds its partition and the round to what it is sent."""

    def __init__(self, partition: int, metrics: dict[str, Any] | None = None, examples: int = 12) -> None:
        super().__init__()
        self.partition = partition
        self.metrics = METRICS if metrics is None else metrics
        self.number = examples

    def get_properties(self, config: Any) -> Any:
        return {"partition": self.partition}

    def get_parameters(self, config: Any) -> Any:
        return [array + self.partition for array in ARRAYS.values()]

    def fit(self, parameters: Any, config: Any) -> Any:
        change = self.partition + int(config["server-round"])
        return [(array + change).astype(array.dtype) for array in parameters], self.number, self.metrics

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return float(parameters[0].sum()) + self.partition, self.number, {"accuracy": 50.0}


def toy(context: Context) -> Toy:
    return Toy(int(context.node_config["partition-id"]))


def with_metrics(metrics: dict[str, Any], examples: int = 12) -> Callable[[Context], Toy]:
    return lambda context: Toy(int(context.node_config["partition-id"]), metrics, examples)


def ask(app: ClientApp, kind: str, content: RecordDict, partition: int = 2) -> Message:
    """Send one message and return the reply."""
    grid = LocalGrid(app, 3)
    (reply,) = grid.send_and_receive([Message(content, FIRST_NODE + partition, kind)])
    return reply


def request(server_round: int = 4) -> RecordDict:
    arrays = ArrayRecord({key: Array(array) for key, array in ARRAYS.items()})
    return RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": server_round})})


def legacy_fit(server_round: int = 4) -> RecordDict:
    parameters = ndarrays_to_parameters(list(ARRAYS.values()))
    return compat.fitins_to_recorddict(FitIns(parameters, {"server-round": server_round}), True)


def legacy_evaluate() -> RecordDict:
    return compat.evaluateins_to_recorddict(EvaluateIns(ndarrays_to_parameters(list(ARRAYS.values())), {}), True)


def test_a_new_train_message_is_answered_with_the_arrays_under_their_keys() -> None:
    content = ask(make_client_app(toy), "train", request()).content
    arrays = content.array_records["arrays"]
    assert list(arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key].numpy(), array + 6)
        assert arrays[key].numpy().dtype == array.dtype
    assert dict(content.metric_records["metrics"]) == {"loss": 0.5, "steps": 3, "num-examples": 12}


def test_text_and_flags_stand_beside_the_numbers() -> None:
    content = ask(make_client_app(toy), "train", request()).content
    assert dict(content.config_records["notes"]) == {"device": "cpu", "diverged": False}


def test_a_legacy_train_message_is_answered_by_the_same_client() -> None:
    reply = ask(make_client_app(toy), "train", legacy_fit())
    result = compat.recorddict_to_fitres(reply.content, keep_input=True)
    assert result.status.code == Code.OK
    for returned, array in zip(parameters_to_ndarrays(result.parameters), ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(returned, array + 6)
    assert (result.num_examples, result.metrics) == (12, METRICS)


def test_both_evaluate_messages_have_the_same_answer() -> None:
    content = ask(make_client_app(toy), "evaluate", request()).content
    assert dict(content.metric_records["metrics"]) == {"loss": 17.0, "accuracy": 50.0, "num-examples": 12}
    result = compat.recorddict_to_evaluateres(ask(make_client_app(toy), "evaluate", legacy_evaluate()).content)
    assert (result.loss, result.num_examples, result.metrics) == (17.0, 12, {"accuracy": 50.0})


def test_a_legacy_server_may_ask_for_parameters_and_properties() -> None:
    content = compat.getparametersins_to_recorddict(GetParametersIns({}))
    reply = ask(make_client_app(toy), "get_parameters", content)
    parameters = compat.recorddict_to_getparametersres(reply.content, keep_input=True).parameters
    np.testing.assert_array_equal(parameters_to_ndarrays(parameters)[0], ARRAYS["weight"] + 2)
    content = compat.getpropertiesins_to_recorddict(GetPropertiesIns({}))
    reply = ask(make_client_app(toy), "get_properties", content)
    assert compat.recorddict_to_getpropertiesres(reply.content).properties == {"partition": 2}


def test_a_node_says_who_it_is() -> None:
    content = ask(make_client_app(toy), "query.whoami", RecordDict()).content
    assert dict(content.config_records["node"]) == {"partition-id": 2, "num-partitions": 3}
    described = make_client_app(toy, lambda context: {"name": "toy", "counts": [1, 2]})
    content = ask(described, "query.whoami", RecordDict()).content
    assert dict(content.config_records["node"]) == {"name": "toy", "counts": [1, 2]}


def test_legacy_messages_are_told_by_their_type_or_their_records() -> None:
    LocalGrid(make_client_app(toy), 1)
    expected = {"train": legacy_fit(), "evaluate": legacy_evaluate(), "get_parameters": RecordDict()}
    assert all(is_legacy(Message(content, 1, kind)) for kind, content in expected.items())
    assert not any(is_legacy(Message(content, 1, "train")) for content in (request(), RecordDict()))


@pytest.mark.parametrize("change", [lambda arrays: arrays[:-1], lambda arrays: [*arrays, arrays[0]]])
def test_a_wrong_number_of_returned_arrays_is_an_error_reply(change: Callable[[Any], Any]) -> None:
    class Wrong(Toy):
        def fit(self, parameters: Any, config: Any) -> Any:
            return change(parameters), 12, {}

    reply = ask(make_client_app(lambda context: Wrong(0)), "train", request())
    assert reply.has_error()
    assert not reply.has_content()


@pytest.mark.parametrize("records", [0, 2])
def test_a_message_with_other_than_one_array_record_is_an_error_reply(records: int) -> None:
    content = RecordDict({f"arrays{i}": ArrayRecord() for i in range(records)})
    reply = ask(make_client_app(toy), "train", content)
    assert reply.has_error()
    assert f"expected one array record from the server; got {records}" in reply.error.reason


@pytest.mark.parametrize(
    "metrics",
    [
        {"accuracy": np.float64(0.5)},
        {"names": ["a", "b"]},
        {"flags": [True, False]},
        {"key": b"bytes"},
        {"history": [0.5, 0.25]},
        {},
    ],
    ids=str,
)
def test_metrics_that_flower_can_carry_do_not_break_the_reply(metrics: dict[str, Any]) -> None:
    reply = ask(make_client_app(with_metrics(metrics)), "train", request())
    assert not reply.has_error(), reply.error.reason
    content = reply.content
    told = dict(content.metric_records["metrics"]) | dict(content.config_records.get("notes", {}))
    assert {key: told[key] for key in metrics} == metrics


@pytest.mark.parametrize(("metrics", "examples"), [({"a": np.float32(1)}, 12), ({"b": np.int64(3)}, np.int64(12))])
def test_numpy_s_own_numbers_are_numbers_too(metrics: dict[str, Any], examples: Any) -> None:
    reply = ask(make_client_app(with_metrics(metrics, examples)), "train", request())
    told = reply.content.metric_records["metrics"]
    assert told["num-examples"] == 12
    assert {key: told[key] for key in metrics} == metrics


@pytest.mark.parametrize("content", [request, legacy_fit])
def test_what_flower_cannot_carry_is_an_error_reply_on_both(content: Callable[[], RecordDict]) -> None:
    reply = ask(make_client_app(with_metrics({"a": None}, 12)), "train", content())
    assert reply.has_error()
    assert "Error" in reply.error.reason


def test_a_client_may_not_claim_examples_in_its_metrics() -> None:
    reply = ask(make_client_app(with_metrics({"num-examples": 10**9})), "train", request())
    assert reply.content.metric_records["metrics"]["num-examples"] == 12

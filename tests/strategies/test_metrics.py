"""Metrics are claims of clients: averaged where they make sense, and never able to stop a round."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsec.engine.local import LocalGrid
from fedsec.strategies import RobustFedAvg
from tests.strategies.toy import CLIENTS, initial_arrays, toy_app, toy_round


def test_metrics_of_dropped_replies_do_not_count() -> None:
    def lie(arrays: Any, metrics: dict[str, Any]) -> None:
        arrays["weight"].flat[0] = np.nan
        metrics["loss"] = 1000.0

    strategy, grid = RobustFedAvg(), LocalGrid(toy_app(lie), CLIENTS)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    replies = list(grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid)))
    again = list(grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid)))
    for reply in again:
        next(iter(reply.content.metric_records.values()))["loss"] = 1000.0
    _, metrics = strategy.aggregate_train(1, [*replies, *again])
    assert dict(metrics or {}) == {"loss": pytest.approx(0.1)}


def test_losses_as_large_as_floats_go_do_not_wipe_the_metrics() -> None:
    def boast(arrays: Any, metrics: dict[str, Any]) -> None:
        metrics["loss"] = 1.7e308

    strategy, grid = RobustFedAvg(), LocalGrid(toy_app(boast, range(CLIENTS)), CLIENTS)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    replies = grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid))
    _, metrics = strategy.aggregate_train(1, replies)
    assert dict(metrics or {}) == {"loss": pytest.approx(1.7e308)}


def test_metrics_are_plain_means_of_what_all_good_clients_report() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        partition = int(context.node_config["partition-id"])
        metrics = {"num-examples": 10**partition, "loss": float(partition), "other": float("nan") if partition else 1.0}
        return Message(
            RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord(metrics)}), reply_to=message
        )

    strategy, grid = RobustFedAvg(), LocalGrid(app, 3)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    _, metrics = strategy.aggregate_train(
        1, grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid))
    )
    assert dict(metrics or {}) == {"loss": 1.0}


def test_a_metrics_function_that_raises_does_not_stop_the_round() -> None:
    def explode(contents: Any, key: str) -> MetricRecord:
        raise KeyError("a client left this out")

    assert toy_round(RobustFedAvg(train_metrics_aggr_fn=explode), toy_app()) is not None


def test_bad_evaluations_are_left_out() -> None:
    app = ClientApp()
    losses = {0: 1.0, 1: 3.0, 2: float("nan"), 3: 5.0}

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        partition = int(context.node_config["partition-id"])
        if partition == 3:
            raise RuntimeError("no")
        metrics = MetricRecord({"num-examples": 5, "loss": losses[partition]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    strategy, grid = RobustFedAvg(), LocalGrid(app, 4)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    replies = grid.send_and_receive(strategy.configure_evaluate(1, sent, ConfigRecord(), grid))
    assert dict(strategy.aggregate_evaluate(1, replies) or {}) == {"loss": 2.0}


def test_an_evaluation_counts_once_and_only_of_nodes_that_were_asked() -> None:
    app = ClientApp()

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        metrics = MetricRecord({"num-examples": 5, "loss": float(context.node_config["partition-id"])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    strategy, grid = RobustFedAvg(), LocalGrid(app, 3)
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    replies = list(grid.send_and_receive(strategy.configure_evaluate(1, sent, ConfigRecord(), grid)))
    replies[0].metadata.__dict__["_src_node_id"] = 77
    losses = [next(iter(reply.content.metric_records.values()))["loss"] for reply in replies[1:]]
    assert dict(strategy.aggregate_evaluate(1, [*replies, replies[2]]) or {}) == {"loss": np.mean(losses)}


def test_no_usable_evaluation_gives_no_metrics() -> None:
    assert RobustFedAvg().aggregate_evaluate(1, []) is None

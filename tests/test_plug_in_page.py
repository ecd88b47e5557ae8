"""What the page on plugging in says beside its two projects is true: options, defaults, shorter examples."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedsec.strategies import (
    STRATEGIES,
    Flame,
    InspectingStrategy,
    Krum,
    LegacyStrategy,
    LossForest,
    RobustStrategy,
)
from fedsec.strategies.build import options_of
from fedsec.strategies.intake import Limits
from fedsec.strategies.options import StrategyOptions
from fedsec.training.parameters import get_arrays
from tests.backdoored import digits, network
from tests.pages import PLUG_IN, code, sections, table
from tests.strategies.toy import CLIENTS, FAULTS, MAKERS, ToyGrid, initial_arrays, toy_app


def start(strategy: RobustStrategy, app: ClientApp, **arguments: Any) -> Any:
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    return strategy.start(ToyGrid(app, CLIENTS), sent, num_rounds=2, **arguments)


def test_the_table_of_options_is_that_of_the_constructors() -> None:
    written = {row[0].strip("`"): row[1].replace("`", "") for row in table(PLUG_IN, "Options")}
    real = {kind.__name__: ", ".join(options_of(name)) or "none" for name, kind in STRATEGIES.items()}
    assert written == real


@pytest.mark.parametrize("option", StrategyOptions.__annotations__)
def test_every_common_option_is_on_the_page(option: str) -> None:
    assert f"`{option}`" in sections(PLUG_IN)["Options"]


def test_the_bounds_on_the_page_are_the_defaults() -> None:
    assert (Limits().update_norm, Limits().num_examples) == (10**6, 10**9)


def test_the_report_of_a_round_names_who_was_dropped_and_what_the_others_weigh(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault, _ = FAULTS["nan"]
    strategy = Krum(1, min_train_nodes=CLIENTS, fraction_evaluate=0.0)
    names = {"strategy": strategy, "global_evaluate": lambda *_: MetricRecord({"accuracy": 1.0})}
    exec(
        code(PLUG_IN, "What happened in a round"),
        {**names, "ArrayRecord": ArrayRecord, "MetricRecord": MetricRecord},
        names,
    )
    start(strategy, toy_app(fault), evaluate_fn=names["evaluate_and_report"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * CLIENTS
    assert sum("dropped: update holds NaN or infinity" in line for line in lines) == 2
    assert sum("weight 1.000" in line for line in lines) == 2
    assert lines[0].startswith("round 1: ")


def test_the_report_of_a_skipped_round_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    strategy = Krum(4, min_train_nodes=CLIENTS, fraction_evaluate=0.0)
    names = {"strategy": strategy, "global_evaluate": lambda *_: None}
    exec(
        code(PLUG_IN, "What happened in a round"),
        {**names, "ArrayRecord": ArrayRecord, "MetricRecord": MetricRecord},
        names,
    )
    result = start(strategy, toy_app(), evaluate_fn=names["evaluate_and_report"])
    assert "round 2: skipped: Krum needs n >= 2 * num_malicious + 3" in capsys.readouterr().out
    assert len(result.arrays) == 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_takes_back_the_state_that_it_saved(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy = MAKERS[name]()
    before = strategy.state()
    exec(code(PLUG_IN, "After a restart"), {"strategy": strategy})
    assert (tmp_path / "strategy.safetensors").exists()
    assert {key: array.tolist() for key, array in strategy.state().items()} == {
        key: array.tolist() for key, array in before.items()
    }
    assert bool(before) == isinstance(strategy, LossForest | InspectingStrategy)


def test_a_defense_that_looks_into_models_judges_a_project_s_own_network() -> None:
    app, (images, labels) = ClientApp(), digits("train")

    @app.train()
    def train(message: Message, context: Context) -> Message:
        sent = {key: array.numpy() for key, array in message.content["arrays"].items()}
        step = np.float32(0.001 * (1 + int(context.node_config["partition-id"])))
        arrays = {key: Array(np.asarray(array + step, array.dtype)) for key, array in sent.items()}
        metrics = MetricRecord({"num-examples": 60})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    names: dict[str, Any] = {"Net": network, "load_public_images": lambda: (images[:100], labels[:100])}
    exec(code(PLUG_IN, "A defense that looks into models"), names)
    strategy = names["strategy"]
    sent = ArrayRecord({key: Array(array) for key, array in get_arrays(network()).items()})
    strategy.start(ToyGrid(app, CLIENTS), sent, num_rounds=2)
    assert strategy.outcome.skipped is None
    assert strategy.inspector.options.watch.shadows == 20
    assert strategy.findings.report["shadows"] > 0
    assert strategy.findings.report["suspects"] == (strategy.outcome.verdict.weights == 0.0).sum()
    older = LegacyStrategy(strategy, names=list(network().state_dict()))
    assert older.names == tuple(strategy.inspector.public.network.state_dict())


def test_named_arrays_keep_batchnorm_apart_on_the_older_interface() -> None:
    names: dict[str, Any] = {"LegacyStrategy": LegacyStrategy, "Flame": Flame, "Net": lambda: nn.BatchNorm2d(2)}
    exec(code(PLUG_IN, "BatchNorm on the older interface"), names)
    assert names["strategy"].names == ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_a_subclass_may_ask_for_another_kind_of_message() -> None:
    app = ClientApp()

    @app.train("personal")
    def train(message: Message, context: Context) -> Message:
        sent = {key: array.numpy() for key, array in message.content["mine"].items()}
        arrays = {key: Array(np.asarray(array + 1, array.dtype)) for key, array in sent.items()}
        content = {"whatever": ArrayRecord(arrays), "numbers": MetricRecord({"weight": 3})}
        return Message(RecordDict(content), reply_to=message)

    names: dict[str, Any] = {"Krum": Krum}
    exec(code(PLUG_IN, "Your own record names, message types and subclasses"), names)
    keys = {"arrayrecord_key": "mine", "weighted_by_key": "weight"}
    result = start(names["Personal"](1, min_train_nodes=CLIENTS, fraction_evaluate=0.0, **keys), app)
    assert result.arrays["bias"].numpy().tolist() == [2.0] * 4


def test_nobody_trains_with_a_fraction_of_zero_and_that_is_a_skipped_round() -> None:
    strategy = Krum(1, fraction_train=0.0, fraction_evaluate=0.0)
    start(strategy, toy_app())
    assert strategy.outcome is not None
    assert strategy.outcome.skipped == "0 good replies; at least 1 are needed"

"""One line of somebody else's Flower project is changed, and it runs with a defense of ours."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import FlowerHome

pytestmark = pytest.mark.slow

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "numpyapp"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = ["flwr[simulation]>=1.41.0", "numpy"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "numpyapp.server_app:app"
clientapp = "numpyapp.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 3
result = ""
"""

TASK = """
import numpy as np

def get_model():
    return np.zeros(4)

def train(model, partition):
    # The last partition sends nonsense; the others move towards one.
    return model * np.nan if partition == 5 else model + 0.5 * (np.ones(4) + 0.01 * partition - model)
"""

CLIENT = """
import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpyapp.task import train

app = ClientApp()

@app.train()
def _train(msg: Message, context: Context) -> Message:
    [model] = msg.content["arrays"].to_numpy_ndarrays()
    model = train(model, context.node_config["partition-id"])
    metrics = MetricRecord({"random_metric": 0.5, "num-examples": 1})
    content = RecordDict({"arrays": ArrayRecord([model]), "metrics": metrics})
    return Message(content=content, reply_to=msg)

@app.evaluate()
def _evaluate(msg: Message, context: Context) -> Message:
    [model] = msg.content["arrays"].to_numpy_ndarrays()
    error = float(np.abs(model - 1).mean())
    content = RecordDict({"metrics": MetricRecord({"error": error, "num-examples": 1})})
    return Message(content=content, reply_to=msg)
"""

SERVER = """
import json
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpyapp.task import get_model

app = ServerApp()

@app.main()
def main(grid: Grid, context: Context) -> None:
    arrays = ArrayRecord([get_model()])
    strategy = FedAvg(min_train_nodes=6, min_evaluate_nodes=6, min_available_nodes=6)
    result = strategy.start(
        grid=grid,
        initial_arrays=arrays,
        num_rounds=context.run_config["num-server-rounds"],
    )
    [model] = result.arrays.to_numpy_ndarrays()
    errors = {r: dict(m) for r, m in result.evaluate_metrics_clientapp.items()}
    with open(context.run_config["result"], "w") as file:
        json.dump({"model": model.tolist(), "dtype": str(model.dtype), "errors": errors}, file)
"""

LEGACY_CLIENT = """
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from numpyapp.task import get_model, train

class FlowerClient(NumPyClient):
    def __init__(self, partition):
        self.partition = partition

    def get_parameters(self, config):
        return [get_model()]

    def fit(self, parameters, config):
        return [train(parameters[0], self.partition)], 1, {}

    def evaluate(self, parameters, config):
        return float(abs(parameters[0] - 1).mean()), 1, {}

def client_fn(context):
    return FlowerClient(context.node_config["partition-id"]).to_client()

app = ClientApp(client_fn=client_fn)
"""

LEGACY_SERVER = """
import json
from flwr.common import parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.serverapp import ServerApp
from flwr.server.strategy import FedAvg

def server_fn(context):
    strategy = FedAvg(min_fit_clients=6, min_evaluate_clients=6, min_available_clients=6)
    aggregate = strategy.aggregate_evaluate

    def keep(server_round, results, failures):
        loss, metrics = aggregate(server_round, results, failures)
        with open(context.run_config["result"], "w") as file:
            json.dump({"round": server_round, "loss": loss}, file)
        return loss, metrics

    strategy.aggregate_evaluate = keep
    config = ServerConfig(num_rounds=context.run_config["num-server-rounds"])
    return ServerAppComponents(strategy=strategy, config=config)

app = ServerApp(server_fn=server_fn)
"""


def write_project(folder: Path, client: str, server: str) -> Path:
    package = folder / "numpyapp" / "numpyapp"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    for name, text in (("__init__", ""), ("task", TASK), ("client_app", client), ("server_app", server)):
        (package / f"{name}.py").write_text(text)
    return package.parent


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_krum_takes_the_place_of_fedavg_in_an_ordinary_project(flower: FlowerHome, tmp_path: Path) -> None:
    server = changed(SERVER, "from flwr.serverapp.strategy import FedAvg", "from fedsec.strategies import Krum")
    server = changed(server, "FedAvg(min_train_nodes", "Krum(num_malicious=1, min_train_nodes")
    result = tmp_path / "result.json"
    run = flower.run(
        write_project(tmp_path, CLIENT, server),
        "--federation-config", "num-supernodes=6 client-resources-num-cpus=1",
        "--run-config", f"result='{result}'",
    )  # fmt: skip
    assert run.status == "finished:completed", run.output
    found = json.loads(result.read_text())
    assert found["dtype"] == "float64"
    assert all(0.85 < value < 0.95 for value in found["model"])
    assert found["errors"]["3"]["error"] == pytest.approx(1 - found["model"][0], abs=0.03)
    assert run.output.count("dropped: update holds NaN or infinity") == 3


def test_krum_takes_the_place_of_fedavg_on_a_legacy_server(flower: FlowerHome, tmp_path: Path) -> None:
    server = changed(
        LEGACY_SERVER, "from flwr.server.strategy import FedAvg", "from fedsec.strategies import Krum, LegacyStrategy"
    )
    server = changed(server, "FedAvg(min_fit", "LegacyStrategy(Krum(num_malicious=1), min_fit")
    result = tmp_path / "result.json"
    run = flower.run(
        write_project(tmp_path, LEGACY_CLIENT, server),
        "--federation-config", "num-supernodes=6 client-resources-num-cpus=1",
        "--run-config", f"result='{result}'",
    )  # fmt: skip
    assert run.status == "finished:completed", run.output
    found = json.loads(result.read_text())
    assert found["round"] == 3
    assert 0.05 < found["loss"] < 0.15
    assert run.output.count("dropped: update holds NaN or infinity") == 3

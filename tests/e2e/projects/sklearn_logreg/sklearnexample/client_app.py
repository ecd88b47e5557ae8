"""The clients of the project, with the mod that poisons two of them."""

import warnings

from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import Context
from sklearn.metrics import log_loss

from sklearnexample.poison import poison
from sklearnexample.task import LABELS, create_model, get_model_params, load_data, set_model_params


class DigitsClient(NumPyClient):
    def __init__(self, model, x_train, y_train, x_test, y_test) -> None:
        self.model = model
        self.x_train, self.y_train = x_train, y_train
        self.x_test, self.y_test = x_test, y_test

    def fit(self, parameters, config):
        set_model_params(self.model, parameters)
        with warnings.catch_warnings(action="ignore"):  # a few steps do not converge, and need not
            self.model.fit(self.x_train, self.y_train)
        return get_model_params(self.model), len(self.x_train), {}

    def evaluate(self, parameters, config):
        set_model_params(self.model, parameters)
        loss = log_loss(self.y_test, self.model.predict_proba(self.x_test), labels=LABELS)
        return loss, len(self.x_test), {"accuracy": self.model.score(self.x_test, self.y_test)}


def client_fn(context: Context) -> Client:
    data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    return DigitsClient(create_model(context.run_config["penalty"]), *data).to_client()


app = ClientApp(client_fn=client_fn, mods=[poison])

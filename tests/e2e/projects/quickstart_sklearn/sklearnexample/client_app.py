"""The clients of the project, with the mod that poisons two of them."""

import warnings

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import log_loss

from sklearnexample.poison import poison
from sklearnexample.task import LABELS, create_model, get_model_params, load_data, set_model_params

app = ClientApp(mods=[poison])


def prepared(msg: Message, context: Context):
    """Return the received model and this node's data."""
    model = create_model(context.run_config["penalty"])
    set_model_params(model, msg.content["arrays"].to_numpy_ndarrays())
    return model, *load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


def measured(model, x, y) -> MetricRecord:
    loss = log_loss(y, model.predict_proba(x), labels=LABELS)
    return MetricRecord({"num-examples": len(x), "logloss": loss, "accuracy": model.score(x, y)})


@app.train()
def train(msg: Message, context: Context) -> Message:
    model, x, y, _, _ = prepared(msg, context)
    with warnings.catch_warnings(action="ignore"):  # a few steps do not converge, and need not
        model.fit(x, y)
    content = RecordDict({"arrays": ArrayRecord(get_model_params(model)), "metrics": measured(model, x, y)})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model, _, _, x, y = prepared(msg, context)
    return Message(content=RecordDict({"metrics": measured(model, x, y)}), reply_to=msg)

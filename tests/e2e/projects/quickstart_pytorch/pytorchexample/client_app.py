"""The clients of the project, with the mod that poisons two of them."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from pytorchexample.poison import poison
from pytorchexample.task import Net, load_data
from pytorchexample.task import test as test_fn
from pytorchexample.task import train as train_fn

app = ClientApp(mods=[poison])


def prepared(msg: Message, context: Context):
    """Return the received model, this node's batches, and the device."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    node = context.node_config
    batches = load_data(node["partition-id"], node["num-partitions"], context.run_config["batch-size"])
    return model, *batches, device


@app.train()
def train(msg: Message, context: Context) -> Message:
    model, batches, _, device = prepared(msg, context)
    loss = train_fn(model, batches, context.run_config["local-epochs"], msg.content["config"]["lr"], device)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(batches.dataset)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model, _, batches, device = prepared(msg, context)
    loss, accuracy = test_fn(model, batches, device)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(batches.dataset)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)

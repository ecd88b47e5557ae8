"""One NumPyClient for Flower's servers, new and legacy."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import Scalar
from numpy.typing import NDArray

ClientFunction = Callable[[Context], NumPyClient]
Describe = Callable[[Context], Mapping[str, Any]]

LEGACY_TYPES = ("get_parameters", "get_properties")
LEGACY_RECORDS = ("fitins.", "evaluateins.")


class DualClientApp(ClientApp):
    """A ClientApp that answers Flower's Message API and its older interface with the same NumPyClient."""

    def __init__(self, client_fn: ClientFunction) -> None:
        super().__init__()
        self._legacy = ClientApp(client_fn=_as_client(client_fn))

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message of either interface."""
        if is_legacy(message):
            return self._legacy(message, context)
        return super().__call__(message, context)


def make_client_app(
    client_fn: ClientFunction, describe: Describe | None = None, prepare: Describe | None = None
) -> ClientApp:
    """Return a ClientApp whose clients are the NumPyClients that ``client_fn`` makes.

    Args:
        client_fn: makes the client of a node from its context; called for every message.
        describe: what a node answers to a ``query.whoami``, as scalars and lists by name. By default its
            configuration.
        prepare: what a node does before the first round when it gets a ``query.fill``, and answers to it.
    """
    app = DualClientApp(client_fn)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays, config = _request(message)
        fitted = client_fn(context).fit([a.numpy() for a in arrays.values()], config)
        returned, metrics = read_fitted(arrays, fitted)
        record = ArrayRecord({key: Array(array) for key, array in returned.items()})
        return Message(RecordDict({"arrays": record, **metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        arrays, config = _request(message)
        loss, examples, metrics = client_fn(context).evaluate([a.numpy() for a in arrays.values()], config)
        return Message(RecordDict({**_metrics({"loss": loss, **metrics}, examples)}), reply_to=message)

    @app.query("whoami")
    def whoami(message: Message, context: Context) -> Message:
        answer = describe(context) if describe else context.node_config
        return Message(RecordDict({"node": ConfigRecord(dict(answer))}), reply_to=message)

    @app.query("fill")
    def fill(message: Message, context: Context) -> Message:
        answer = prepare(context) if prepare else {}
        return Message(RecordDict({"filling": ConfigRecord(dict(answer))}), reply_to=message)

    return app


def read_fitted(
    names: Iterable[str], fitted: Any
) -> tuple[dict[str, NDArray[np.generic]], dict[str, MetricRecord | ConfigRecord]]:
    """Return the arrays by name and the records of metrics that a client's ``fit`` returned, whatever that is.

    Raises:
        Exception: any, where it is not what ``fit`` should return.
    """
    returned, examples, metrics = fitted
    return dict(zip(names, map(np.asarray, returned), strict=True)), _metrics(metrics, examples)


def is_legacy(message: Message) -> bool:
    """Tell whether a message comes from a server with Flower's older interface."""
    if message.metadata.message_type in LEGACY_TYPES:
        return True
    return message.has_content() and any(name.startswith(LEGACY_RECORDS) for name in message.content)


def _as_client(client_fn: ClientFunction) -> Callable[[Context], Any]:
    def make(context: Context) -> Any:
        return client_fn(context).to_client()

    return make


def _request(message: Message) -> tuple[ArrayRecord, dict[str, Scalar]]:
    arrays = list(message.content.array_records.values())
    if len(arrays) != 1:
        raise ValueError(f"expected one array record from the server; got {len(arrays)}")
    config: dict[str, Any] = {}
    for record in message.content.config_records.values():
        config.update(record)
    return arrays[0], config


def _metrics(metrics: Mapping[str, Any], examples: int) -> dict[str, MetricRecord | ConfigRecord]:
    """Return metrics as records: numbers in a MetricRecord, which takes no text and no flags, the rest beside it."""
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in metrics.items()}
    numbers = {k: v for k, v in plain.items() if all(_is_number(x) for x in (v if isinstance(v, list) else [v]))}
    rest = {k: v for k, v in plain.items() if k not in numbers}
    records: dict[str, MetricRecord | ConfigRecord] = {
        "metrics": MetricRecord({**numbers, "num-examples": int(examples)})
    }
    if rest:
        records["notes"] = ConfigRecord(rest)
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

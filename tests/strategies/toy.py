"""A federation of numpy clients, one of which may misbehave in a chosen way."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedsec.defenses.updates import Verdict
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.strategies import (
    AbnormalClients,
    Flame,
    Gancrop,
    Gansweep,
    InspectingStrategy,
    Krum,
    LossForest,
    Median,
    MultiKrum,
    NormClipNoise,
    RobustFedAvg,
    RobustStrategy,
    TrimmedMean,
)
from fedsec.strategies.inspecting import Findings, Inspected

Arrays = dict[str, NDArray[Any]]
Fault = Callable[[Arrays, dict[str, Any]], None]

CLIENTS = 9
BAD = 4


def past_warmup(**options: Any) -> LossForest:
    """Return a loss forest that asks its forest from the first round on."""
    strategy = LossForest(**options)
    strategy.memory = dataclasses.replace(strategy.memory, rounds=strategy.warmup_rounds + 1)
    return strategy


class ToyInspector:
    """Averages the models that lie no farther from the one that was sent than twice the median does.

    It looks at models as real inspectors do, and needs no torch, which the strategies must not load either. Here it is
    what strategies do around an inspector that is tested; real ones have ``tests/inspectors/test_battery.py``.
    """

    def __init__(self) -> None:
        self.rounds = 0

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        self.rounds += 1
        sent = seen.layout.sent
        models = [seen.model_of(row) for row in range(len(seen.updates))]
        first = next(iter(sent))  # "weight", or "0" behind the older interface
        lengths = np.array([np.linalg.norm(model[first] - sent[first]) for model in models])
        weights = (lengths <= 2 * np.median(lengths)).astype(np.float64)
        weights /= weights.sum()
        delta = (weights @ seen.updates.deltas).astype(np.float32)
        benign = {"benign": seen.rebuild(delta, weights > 0)}
        return Findings(Verdict(delta, weights, lengths), {"rounds": self.rounds}, benign, {})

    def state(self) -> dict[str, NDArray[np.generic]]:
        return {"rounds": np.array([self.rounds])}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        self.rounds = int(state["rounds"][0])


def inspected_by_a_toy(kind: Callable[..., InspectingStrategy]) -> Callable[..., RobustStrategy]:
    """Return a maker of strategies with a :class:`ToyInspector`."""

    def make(**options: Any) -> RobustStrategy:
        strategy = kind(**options)
        strategy.inspector = ToyInspector()
        return strategy

    return make


MAKERS: dict[str, Callable[..., RobustStrategy]] = {
    "fedavg": RobustFedAvg,
    "krum": lambda **kw: Krum(1, **kw),
    "multi-krum": lambda **kw: MultiKrum(1, **kw),
    "trimmed-mean": lambda **kw: TrimmedMean(0.25, **kw),
    "median": Median,
    "norm-clip-noise": lambda **kw: NormClipNoise(1.0, 0.01, **kw),
    "flame": Flame,
    "loss-forest": past_warmup,
    "gancrop": inspected_by_a_toy(Gancrop),
    "gansweep": inspected_by_a_toy(Gansweep),
    "abnormal-clients": inspected_by_a_toy(AbnormalClients),
}
"""A strategy that works with eight and nine clients, for every name in ``STRATEGIES``."""


class NoAnswerError(Exception):
    """Stands for a client that stays silent."""


def initial_arrays() -> Arrays:
    return {
        "weight": np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(3, 4),
        "bias": np.zeros(4, np.float32),
        "norm.running_var": np.ones(4, np.float32),
        "norm.num_batches_tracked": np.array(7, np.int64),
    }


def trained(partition: int, arrays: Arrays) -> Arrays:
    """Return what an honest client of this partition makes of ``arrays``."""
    rng = np.random.default_rng(partition)
    return {
        "weight": arrays["weight"] + (0.5 + 0.1 * rng.standard_normal((3, 4))).astype(np.float32),
        "bias": arrays["bias"] + (0.1 * rng.standard_normal(4)).astype(np.float32),
        "norm.running_var": arrays["norm.running_var"] + rng.random(4, dtype=np.float32),
        "norm.num_batches_tracked": arrays["norm.num_batches_tracked"] + np.int64(10),
    }


def toy_app(fault: Fault | None = None, bad: Collection[int] = (BAD,)) -> ClientApp:
    """Return honest clients, but for those in ``bad``, whose reply ``fault`` spoils."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        partition = int(context.node_config["partition-id"])
        sent = {key: array.numpy() for key, array in message.content["arrays"].items()}
        arrays = trained(partition, sent)
        metrics: dict[str, Any] = {"num-examples": 10 + partition, "loss": 0.1}
        if fault is not None and partition in bad:
            fault(arrays, metrics)
        record = ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})
        return Message(RecordDict({"arrays": record, "metrics": MetricRecord(metrics)}), reply_to=message)

    return app


class ToyGrid(LocalGrid):
    """A LocalGrid on which a client that raises :class:`NoAnswerError` gives no reply."""

    def _answer(self, message: Message) -> Message | None:
        reply = super()._answer(message)
        silent = reply is not None and reply.has_error() and "NoAnswerError" in reply.error.reason
        return None if silent else reply


def toy_round(strategy: RobustStrategy, app: ClientApp, partitions: Collection[int] = range(CLIENTS)) -> Arrays | None:
    """Do one round with these partitions; return the new global arrays, ``None`` when it was skipped."""
    grid = ToyGrid(app, CLIENTS)
    grid.contexts = {FIRST_NODE + i: grid.contexts[FIRST_NODE + i] for i in partitions}
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    messages = strategy.configure_train(1, sent, ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    return None if arrays is None else {key: array.numpy() for key, array in arrays.items()}


def spoil(key: str, value: Any) -> Fault:
    """Return a fault that puts ``value`` into one element of an array."""

    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        arrays[key].flat[0] = value

    return fault


def replace(key: str, array: NDArray[Any] | None) -> Fault:
    """Return a fault that replaces an array, or leaves it out."""

    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        if array is None:
            del arrays[key]
        else:
            arrays[key] = array

    return fault


def claim(examples: float) -> Fault:
    """Return a fault that claims a number of examples."""

    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        metrics["num-examples"] = examples

    return fault


def throw(error: Exception) -> Fault:
    """Return a fault that raises."""

    def fault(arrays: Arrays, metrics: dict[str, Any]) -> None:
        raise error

    return fault


FAULTS: dict[str, tuple[Fault, str]] = {
    "nan": (spoil("weight", np.nan), "NaN or infinity"),
    "infinity": (spoil("weight", np.inf), "NaN or infinity"),
    "1e30": (spoil("weight", 1e30), "norm"),
    "nan in statistics": (spoil("norm.running_var", np.nan), "NaN or infinity"),
    "1e30 in statistics": (spoil("norm.running_var", 1e30), "holds or changes by 1e+30"),
    "a counter beyond counting": (
        replace("norm.num_batches_tracked", np.array(2**63 - 1)),
        "holds or changes by 9.22e+18",
    ),
    "negative variance": (spoil("norm.running_var", -1.0), "negative"),
    "wrong shape": (replace("weight", np.zeros((4, 3), np.float32)), "shape (4, 3); expected (3, 4)"),
    "missing key": (replace("bias", None), "missing ['bias']"),
    "extra key": (replace("more", np.zeros(2, np.float32)), "unexpected ['more']"),
    "wrong dtype": (replace("bias", np.zeros(4, np.float64)), "dtype float64; expected float32"),
    "text instead of numbers": (replace("bias", np.array(["a", "b", "c", "d"])), "dtype"),
    "no examples": (claim(0), "claims 0 examples"),
    "negative examples": (claim(-5), "claims -5 examples"),
    "too many examples": (claim(10**12), "claims 1000000000000 examples"),
    "half an example": (claim(1.5), "claims 1.5 examples"),
    "nan examples": (claim(float("nan")), "claims nan examples"),
    "raises": (throw(RuntimeError("disk on fire")), "disk on fire"),
    "never answers": (throw(NoAnswerError()), "no answer"),
}
"""Every way for a client to misbehave, and what the record must say of it."""

"""The keywords that every strategy takes beside its own."""

from typing import Any, TypedDict

from fedsec.strategies.intake import Limits
from fedsec.strategies.layout import BatchNorm


class StrategyOptions(TypedDict, total=False):
    """Keywords that every strategy takes: those of Flower's ``FedAvg``, and those of :class:`RobustStrategy`."""

    fraction_train: float
    fraction_evaluate: float
    min_train_nodes: int
    min_evaluate_nodes: int
    min_available_nodes: int
    weighted_by_key: str
    arrayrecord_key: str
    configrecord_key: str
    train_metrics_aggr_fn: Any
    evaluate_metrics_aggr_fn: Any
    seed: int
    min_replies: int
    batchnorm: BatchNorm
    limits: Limits

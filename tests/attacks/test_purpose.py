"""Against plain averaging, each attack moves the number that it promises to move."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedsec.client_app import build_client
from fedsec.data.datasets import load
from fedsec.models.classifiers import build_classifier
from fedsec.runs.loading import parse
from fedsec.scenario import trigger
from fedsec.training.batches import Normalisation
from fedsec.training.evaluation import Evaluation, Evaluator
from fedsec.training.parameters import get_arrays

LAST = 3
"""Rounds at the end that are averaged, because single ones go up and down."""


def federate(kind: str, rounds: int, q: float) -> tuple[float, float]:
    """Train five clients, two of them malicious, and average them plainly; return MA and BA over the last rounds."""
    federation = {"clients": 5, "rounds": rounds, "batch-size": 16, "device": "cpu"}
    attack: dict[str, Any] = {"kind": kind, "share": 0.4, "start-round": 1}
    config = parse({"data": {"q": q}, "federation": federation, "attack": attack})
    test = load("digits", "test")
    model = build_classifier("lenet5", 1, 28, 10, seed=0)
    stamp, normalise = trigger(config, test.images.shape[1:]), Normalisation(test.mean, test.std)
    evaluate = Evaluator(model, test.images, test.labels, 10, normalise, stamp, 0, 6, torch.device("cpu"))
    clients = [build_client(config, partition) for partition in range(5)]
    arrays, measured = get_arrays(model), list[Evaluation]()
    for server_round in range(1, rounds + 1):
        replies = [client.fit(list(arrays.values()), {"server-round": server_round})[0] for client in clients]
        means = (np.mean(group, axis=0) for group in zip(*replies, strict=True))
        arrays = dict(zip(arrays, means, strict=True))
        measured.append(evaluate(arrays))
    last = [(evaluation.MA, evaluation.BA or 0.0) for evaluation in measured[-LAST:]]
    return float(np.mean([ma for ma, _ in last])), float(np.mean([ba for _, ba in last]))


def test_the_backdoor_raises_backdoor_accuracy_and_hides_in_main_task_accuracy(cache: Path) -> None:
    honest_ma, honest_ba = federate("none", 8, 0.3)
    attacked_ma, attacked_ba = federate("backdoor", 8, 0.3)
    assert honest_ba < 10
    assert attacked_ba > honest_ba + 50
    assert attacked_ma > honest_ma - 10


def test_random_labels_lower_main_task_accuracy(cache: Path) -> None:
    honest_ma, _ = federate("none", 6, 0.9)
    attacked_ma, _ = federate("untargeted", 6, 0.9)
    assert attacked_ma < honest_ma - 10

"""Against plain averaging, each attack moves the number that it promises to move."""

from functools import cache as remembered
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fedsec.attacks.adversaries import malicious_clients
from fedsec.attacks.untargeted_backdoor import draw_pair
from fedsec.client_app import build_client
from fedsec.data.datasets import load
from fedsec.models.classifiers import build_classifier
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.scenario import trigger
from fedsec.seeds import Purpose, generator
from fedsec.training.batches import Normalisation
from fedsec.training.evaluation import Evaluator
from fedsec.training.parameters import get_arrays

LAST = 3
"""Rounds at the end that are averaged, because single ones go up and down."""


class Measured(NamedTuple):
    """Means over the last rounds: BA of the source class as the target, of every class as another, of pairs."""

    ma: float
    ba: float
    untargeted_ba: float
    pairs_ba: float


@remembered
def federate(kind: str, rounds: int, q: float, labels: str = "any") -> Measured:
    """Train five clients, two of them malicious, and average them plainly."""
    federation = {"clients": 5, "rounds": rounds, "batch-size": 16, "device": "cpu"}
    attack: dict[str, Any] = {"kind": kind, "share": 0.4, "start-round": 1, "labels": labels}
    config = parse({"data": {"q": q}, "federation": federation, "attack": attack})
    test = load("digits", "test")
    model = build_classifier("lenet5", 1, 28, 10, seed=0)
    stamp, normalise = trigger(config, test.images.shape[1:]), Normalisation(test.mean, test.std)
    drawn = [draw_pair(10, generator(config.run.seed, Purpose.ATTACK, 0, client)) for client in drawn_attackers(config)]
    targeted, untargeted, of_pairs = (
        Evaluator(model, test.images, test.labels, 10, normalise, stamp, pairs, torch.device("cpu"))
        for pairs in ([(0, 6)], None, drawn)
    )
    clients = [build_client(config, partition) for partition in range(5)]
    arrays, measured = get_arrays(model), list[Measured]()
    for server_round in range(1, rounds + 1):
        replies = [client.fit(list(arrays.values()), {"server-round": server_round})[0] for client in clients]
        means = (np.mean(group, axis=0) for group in zip(*replies, strict=True))
        arrays = dict(zip(arrays, means, strict=True))
        of_target = targeted(arrays)
        others = untargeted(arrays).BA or 0.0, of_pairs(arrays).BA or 0.0
        measured.append(Measured(of_target.MA, of_target.BA or 0.0, *others))
    return Measured(*np.mean(measured[-LAST:], axis=0).tolist())


def drawn_attackers(config: RunConfig) -> tuple[int, ...]:
    """Return who attacks, or would."""
    return malicious_clients(config.federation.clients, config.attack.share, generator(0, Purpose.ADVERSARIES))


def test_the_backdoor_raises_backdoor_accuracy_and_hides_in_main_task_accuracy(cache: Path) -> None:
    honest, attacked = federate("none", 8, 0.3), federate("backdoor", 8, 0.3)
    assert honest.ba < 10
    assert attacked.ba > honest.ba + 50
    assert attacked.ma > honest.ma - 10


def test_random_labels_lower_main_task_accuracy(cache: Path) -> None:
    assert federate("untargeted", 6, 0.9).ma < federate("none", 6, 0.9).ma - 10


def test_the_untargeted_backdoor_has_triggered_images_of_every_class_taken_for_another(cache: Path) -> None:
    honest, attacked = federate("none", 8, 0.3), federate("untargeted-backdoor", 11, 0.3)
    assert honest.untargeted_ba < 20
    assert attacked.untargeted_ba > honest.untargeted_ba + 50
    assert attacked.ma > honest.ma - 10


def test_pairs_have_triggered_images_of_each_source_taken_for_its_target_and_hide(cache: Path) -> None:
    honest, attacked = federate("none", 8, 0.3), federate("untargeted-backdoor", 11, 0.3, "pairs")
    assert honest.pairs_ba < 10
    assert attacked.pairs_ba > honest.pairs_ba + 50
    assert attacked.ma > honest.ma - 10

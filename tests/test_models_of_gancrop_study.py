"""Whose backdoors work: of shadows the server tells by its public images, of models to test others do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gancrop_models
from benchmarks.gancrop_models import Trainer, works
from benchmarks.gancrop_setting import Setting
from fedsec.inspectors.public import Arrays
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.training.classifier import TrainingSettings
from fedsec.training.parameters import get_arrays
from fedsec.training.shadows import Shadow
from tests.backdoored import TARGET, TRIGGER, network, public
from tests.inspectors.rounds import arrays_of

SENT = get_arrays(network())


def trainer(labels: list[int], made: Arrays, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Return what "trains" the same model each time, and tests backdoors on images of such classes."""
    monkeypatch.setattr(gancrop_models, "trained", lambda public, sent, group, *given: [made] * len(group))
    images = torch.from_numpy(np.array(public().images[: len(labels)])).float().div_(255)
    setting = Setting("digits", "lenet5", 1, training=TrainingSettings(1, 16, 0.1), keep=Path("unused"))
    return Trainer(public(), SENT, setting, images, torch.tensor(labels), np.random.default_rng(0))


def held(poisoned: bool) -> Shadow:
    some = public()
    trigger = (TRIGGER, TARGET) if poisoned else ()
    return Shadow(some.images[:0], some.labels[:0], *trigger)


def test_shadows_are_chosen_by_the_servers_rule_and_its_public_images(monkeypatch: pytest.MonkeyPatch) -> None:
    of_no_use = trainer([TARGET] * 3, arrays_of(True), monkeypatch)  # on such images no backdoor can be measured
    found = of_no_use.shadows([held(False), held(True)])
    assert found.usable.tolist() == [True, True]
    assert found.poisoned.tolist() == [False, True]
    monkeypatch.setattr(ShadowMaker, "_took", lambda *given: False)
    assert of_no_use.shadows([held(False), held(True)]).usable.tolist() == [True, False]


def test_models_to_test_are_chosen_by_test_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShadowMaker, "_took", lambda *given: pytest.fail("the server's rule is for shadows"))
    tested = [(held(False), "clean", False), (held(True), "patch", True)]
    others = [(TARGET + 1) % 10] * 20
    assert trainer(others, arrays_of(True), monkeypatch).tests(tested).usable.tolist() == [True, True]
    assert trainer(others, arrays_of(False), monkeypatch).tests(tested).usable.tolist() == [True, False]
    assert trainer([TARGET] * 3, arrays_of(True), monkeypatch).tests(tested).usable.tolist() == [True, False]


@pytest.mark.parametrize("shadows", [True, False])
def test_a_model_that_diverged_counts_for_nothing(shadows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = {**arrays_of(True), "fc3.bias": np.full(10, np.nan, np.float32)}
    made = trainer([1, 2, 3], spoilt, monkeypatch)
    found = made.shadows([held(False)]) if shadows else made.tests([(held(False), "clean", False)])
    assert found.usable.tolist() == [False]


def test_a_model_that_takes_everything_for_its_target_has_no_backdoor() -> None:
    some = public()
    images, labels = some.pixels(50)
    bias = np.zeros(10, np.float32)
    bias[TARGET] = 1e6
    assert works(some.load(arrays_of(True)), held(True), images, labels)
    assert not works(some.load(arrays_of(False)), held(True), images, labels)
    assert not works(some.load({**arrays_of(True), "fc3.bias": bias}), held(True), images, labels)

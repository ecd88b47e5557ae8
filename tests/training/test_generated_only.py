"""A classifier that saw nothing but generated images, measured on real ones."""

from typing import Any

import numpy as np
import pytest
import torch

from fedsec.metrics.generation import ScoreError
from fedsec.training import generated_only
from fedsec.training.classifier import TrainingSettings
from fedsec.training.generated_only import accuracy_from_generated
from tests.training.conftest import Problem

SETTINGS = TrainingSettings(epochs=12, batch_size=8, learning_rate=0.02, momentum=0.9)
Arguments = dict[str, Any]


@pytest.fixture
def arguments(problem: Problem) -> Arguments:
    """Return 24 images to learn from and 16 others to be measured on; every class is as large as the others."""
    images, labels, normalise = problem
    pixels, classes = images.numpy(), labels.numpy()
    return {
        "images": pixels[:24], "labels": classes[:24], "test_images": pixels[24:], "test_labels": classes[24:],
        "num_classes": 4, "normalise": normalise, "settings": SETTINGS,
    }  # fmt: skip


def test_images_that_look_like_their_classes_teach_them(arguments: Arguments) -> None:
    found = accuracy_from_generated(**arguments)
    assert found.overall > 90
    assert found.overall == pytest.approx(np.mean(found.per_class))


def test_images_of_another_class_teach_that_class_wrong_and_no_other(arguments: Arguments) -> None:
    arguments["labels"] = np.where(arguments["labels"] == 2, 1, arguments["labels"])
    found = accuracy_from_generated(**arguments)
    assert found.per_class[2] == 0.0
    assert min(found.per_class[0], found.per_class[3]) > 70


def test_noise_teaches_nothing(arguments: Arguments) -> None:
    arguments["images"] = np.random.default_rng(0).integers(0, 256, arguments["images"].shape, np.uint8)
    assert accuracy_from_generated(**arguments).overall < 70


def test_a_class_without_test_images_has_no_accuracy_and_one_without_generated_ones_does(arguments: Arguments) -> None:
    keep, there = arguments["labels"] != 3, arguments["test_labels"] != 0
    arguments |= {"images": arguments["images"][keep], "labels": arguments["labels"][keep]}
    arguments |= {"test_images": arguments["test_images"][there], "test_labels": arguments["test_labels"][there]}
    found = accuracy_from_generated(**arguments)
    assert found.per_class[0] is None
    assert found.per_class[3] == 0.0


def test_the_result_is_the_seeds_alone(arguments: Arguments) -> None:
    arguments["settings"] = TrainingSettings(epochs=1, batch_size=8, learning_rate=0.01)
    torch.manual_seed(1)
    one = accuracy_from_generated(**arguments, seed=3)
    torch.manual_seed(2)
    assert accuracy_from_generated(**arguments, seed=3) == one


def test_few_images_are_gone_through_as_often_as_it_takes(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainingSettings] = []
    train = generated_only.train_classifier

    def watched(*positional: Any) -> float:
        seen.append(positional[4])
        return train(*positional)

    monkeypatch.setattr(generated_only, "train_classifier", watched)
    monkeypatch.setattr(generated_only, "EXAMPLES", 100)
    accuracy_from_generated(**(arguments | {"settings": None}))
    monkeypatch.setattr(generated_only, "EXAMPLES", 10)
    accuracy_from_generated(**(arguments | {"settings": None}))
    assert [settings.epochs for settings in seen] == [5, 1]


def test_a_training_that_diverges_is_refused(arguments: Arguments) -> None:
    arguments["settings"] = TrainingSettings(epochs=3, batch_size=8, learning_rate=1e20)
    with pytest.raises(ScoreError, match=r"training diverged .* a smaller learning rate would do"):
        accuracy_from_generated(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images", np.zeros((24, 1, 12, 12), np.float32), "images must be uint8 .* got float32"),
        ("images", np.zeros((24, 12, 12), np.uint8), r"images must be .* of shape \(24, 12, 12\)"),
        ("images", np.zeros((0, 1, 12, 12), np.uint8), "at least one"),
        ("test_images", np.zeros((16, 1, 12, 12), np.int64), "images must be uint8 .* got int64"),
        ("test_images", np.zeros((16, 3, 12, 12), np.uint8), r"one shape; got \(1, 12, 12\) and \(3, 12, 12\)"),
        ("labels", np.zeros(23, np.int64), r"labels must be \(24,\) .* got shape \(23,\)"),
        ("labels", np.full(24, 4), "classes 0 to 3; got .* 4 to 4"),
        ("test_labels", np.full(16, -1), "classes 0 to 3; got .* -1 to -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: Arguments, name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        accuracy_from_generated(**(arguments | {name: value}))

"""Features by a classifier that is trained on the data set itself: they need nothing but the data set.

Its scores say how generated images look to a network that knows these classes and no other. They have nothing to do
with Inception's, nor with those of the same network trained on another data set.
"""

import hashlib
import json
import math
import time
from pathlib import Path

import torch
from filelock import FileLock
from torch.optim.lr_scheduler import OneCycleLR

from fedsec.data.datasets import ImageDataset
from fedsec.data.sources import DataError
from fedsec.metrics.classification import ClassAccuracy, class_accuracy, main_task_accuracy
from fedsec.metrics.generation import Features, ScoreError
from fedsec.models.drawing import drawn_from
from fedsec.models.feature_net import FeatureNet
from fedsec.tensors import arrays_hash, read_tensors, write_tensors
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, sgd, train_classifier
from fedsec.training.evaluation import predict
from fedsec.training.extraction import Images, Labels, check_images, check_labels, extract
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

FORMAT = 1
BATCH = 500
"""Images whose features are computed at once."""

SEED = 0
"""Of the weights and the order of the examples. No run's seed: all runs on a data set are to share an extractor."""

EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 3, 64, 0.1, 0.9
"""The learning rate is the highest; it rises to that and falls to nothing over the training."""

EXAMPLES = 30_000
"""A small data set is gone through so often that there are as many examples as this."""


class ClassifierExtractor:
    """A classifier of a data set's own classes, and the features by which it tells them apart.

    Args:
        network: with its weights.
        dataset: the data set's name.
        normalise: turns bytes into what the network takes.
        device: where to compute.
        accuracy: of the classifier on the test split, in percent; ``None`` where there is none.

    Attributes:
        name: ``"fedsec classifier, "``, the data set, and eight digits of the weights' SHA-256: trained on another
            machine the weights differ, and so do the scores.
    """

    def __init__(
        self,
        network: FeatureNet,
        dataset: str,
        normalise: Normalisation,
        device: torch.device,
        accuracy: float | None,
    ) -> None:
        digest = arrays_hash(get_arrays(network))[:8]
        self.name = f"fedsec classifier, {Path(dataset).name}, {digest}"
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()
        self.normalise, self.device, self.accuracy = normalise, device, accuracy

    def __call__(self, images: Images) -> Features:
        """Return activations (N, 128) and logits (N, classes) float64 of ``images`` (N, C, H, W) uint8.

        Raises:
            ScoreError: the images are of another dtype or shape.
        """
        check_images(images)
        if images.shape[1:] != self.network.shape:
            raise ScoreError(
                f"'{self.name}' takes images of {self.network.shape} (channels, height, width); got {images.shape[1:]}"
            )
        return extract(self._compute, images, BATCH, self.device, self.name)

    def recognised(self, images: Images, labels: Labels) -> ClassAccuracy:
        """Return which share of ``images`` (N, C, H, W) is taken for the class (N,) that each was made for.

        Raises:
            ScoreError: images or labels are of another dtype or shape, or a class is none.
        """
        num_classes = self.network.classify.out_features
        check_images(images)
        check_labels(images, labels, num_classes)
        return class_accuracy(self(images).logits.argmax(1), labels, num_classes)

    def _compute(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        activations = self.network.features(self.normalise(batch))
        return activations.double(), self.network.classify(activations).double()


def classifier_extractor(
    train: ImageDataset, test: ImageDataset | None = None, device: torch.device | None = None
) -> ClassifierExtractor:
    """Return the extractor of a data set from the file beside its decoded images; the first call trains it.

    Any number of processes may call this at once: one trains, the others wait for it.

    Args:
        train: the training split.
        test: the test split, on which the new classifier is measured.
        device: where to train and compute; the CPU by default.

    Raises:
        DataError: the file is damaged.
        ScoreError: the classifier did not learn.
        ValueError: the images are too small.
    """
    device = device or torch.device("cpu")
    path = train.folder / f"features-{_key(train)}.safetensors"
    if not path.exists():
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write(path, train, test, device)
    network = _network(train)
    try:
        arrays, about = read_tensors(path)
        set_arrays(network, list(arrays.values()))
        accuracy = json.loads(about["accuracy"])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"data.dataset: the feature extractor of {train.name!r} is damaged ({error}); delete {path}"
        ) from error
    return ClassifierExtractor(network, train.name, _normalise(train), device, accuracy)


def _key(train: ImageDataset) -> str:
    made_of = [
        FORMAT,
        SEED,
        EPOCHS,
        BATCH_SIZE,
        LEARNING_RATE,
        MOMENTUM,
        EXAMPLES,
        train.images.shape,
        train.mean,
        train.std,
        len(train.classes),
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]


def _network(train: ImageDataset) -> FeatureNet:
    with drawn_from(SEED):
        return FeatureNet(train.images.shape[1:], len(train.classes))


def _normalise(train: ImageDataset) -> Normalisation:
    return Normalisation(train.mean, train.std)


def _write(path: Path, train: ImageDataset, test: ImageDataset | None, device: torch.device) -> None:
    """Train a network and write it to ``path``, with its accuracy."""
    started, normalise = time.monotonic(), _normalise(train)
    network = _network(train).to(device).to(memory_format=torch.channels_last)
    with one_thread():
        _train(network, train, normalise, device)
        accuracy = None
        if test is not None:
            predicted, _ = predict(network, *on_device(test.images, test.labels, device), normalise)
            accuracy = main_task_accuracy(predicted, test.labels)
    about = {"accuracy": accuracy, "seconds": time.monotonic() - started, "device": device.type, "dataset": train.name}
    write_tensors(path, get_arrays(network), {key: json.dumps(value) for key, value in about.items()})


def _train(network: FeatureNet, train: ImageDataset, normalise: Normalisation, device: torch.device) -> None:
    examples = on_device(train.images, train.labels, device)
    epochs = max(EPOCHS, -(-EXAMPLES // len(train)))
    settings = TrainingSettings(epochs, BATCH_SIZE, LEARNING_RATE, MOMENTUM)
    optimiser = sgd(network, settings)
    steps = epochs * -(-len(train) // BATCH_SIZE)
    schedule = OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1, cycle_momentum=False)
    optimiser.register_step_post_hook(lambda *_: schedule.step())
    order = torch.Generator().manual_seed(SEED)
    loss = train_classifier(network, *examples, normalise, settings, order, optimiser)
    if not math.isfinite(loss):
        raise ScoreError(f"the feature extractor of {train.name!r} did not learn: its loss is {loss}")

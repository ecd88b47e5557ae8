"""What a GAN's images are worth: the accuracy on real images of a LeNet-5 that learned from them alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gan_textbook import TextbookGan
from fedsec.data.datasets import load
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.gan import GanSettings, generate, train_gan
from fedsec.training.generated_only import accuracy_from_generated

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Maker = Callable[[Images, Labels, int, GanSettings, int], Images]

CPU = torch.device("cpu")
TEXTBOOK, EXACT, OURS = "as commonly written, float32 NCHW", "fedsec, float32", "fedsec"
PER_CLASS = 400
CLASSIFIER = TrainingSettings(epochs=8, batch_size=32, learning_rate=0.01, momentum=0.9)


def skewed(dataset: str, few: int) -> tuple[Images, Labels, int]:
    """Return what a client has, and the number of classes: all of class 0, and the first ``few`` of every other."""
    data = load(dataset, "train")
    classes = len(data.classes)
    kept = [np.flatnonzero(data.labels == label)[: few if label else None] for label in range(classes)]
    chosen = np.sort(np.concatenate(kept))
    return np.asarray(data.images[chosen]), data.labels[chosen], classes


def accuracies(dataset: str, few: int, settings: GanSettings, seeds: int) -> dict[str, list[float]]:
    """Return the accuracy in percent that the images of each GAN give a classifier, for several seeds."""
    images, labels, classes = skewed(dataset, few)
    found: dict[str, list[float]] = {name: [] for name in MAKERS}
    for seed in range(seeds):
        for name, make in MAKERS.items():
            found[name].append(accuracy(dataset, make(images, labels, classes, settings, seed), seed))
    return found


def accuracy(dataset: str, drawn: Images, seed: int) -> float:
    """Return the accuracy in percent on a data set's test images of a LeNet-5 that learned from ``drawn``."""
    train, test = load(dataset, "train"), load(dataset, "test")
    classes, normalise = len(train.classes), Normalisation(train.mean, train.std)
    real = np.asarray(test.images), test.labels
    found = accuracy_from_generated(
        drawn, wanted(classes), *real, classes, normalise, settings=CLASSIFIER, seed=seed, device=CPU
    )
    return found.overall


def wanted(num_classes: int) -> Labels:
    """Return the labels of the images that a classifier learns from."""
    return np.repeat(np.arange(num_classes), PER_CLASS)


def _from_textbook(images: Images, labels: Labels, num_classes: int, settings: GanSettings, seed: int) -> Images:
    gan = TextbookGan(torch.from_numpy(images), torch.from_numpy(labels), num_classes, settings, seed)
    for _ in range(settings.steps):
        gan.step()
    drawn: Images = gan.generate(torch.from_numpy(wanted(num_classes))).numpy()
    return drawn


def _from_ours(images: Images, labels: Labels, num_classes: int, settings: GanSettings, seed: int) -> Images:
    trained = train_gan(images, labels, num_classes, settings, seed, CPU)
    return generate(trained.generator, wanted(num_classes), settings.latent, seed, CPU)


def _from_exact(images: Images, labels: Labels, num_classes: int, settings: GanSettings, seed: int) -> Images:
    return _from_ours(images, labels, num_classes, replace(settings, precision="float32"), seed)


MAKERS: dict[str, Maker] = {TEXTBOOK: _from_textbook, EXACT: _from_exact, OURS: _from_ours}

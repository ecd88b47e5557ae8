"""Accuracies in percent, 0 to 100."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
Pair = tuple[int | None, int]


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Percent of images that are classified right.

    Attributes:
        overall: of all images.
        per_class: of each class; ``None`` for a class without images.
    """

    overall: float
    per_class: list[float | None]


def class_accuracy(predicted: Classes, labels: Classes, num_classes: int) -> ClassAccuracy:
    """Return the percent of the images (N,) that are classified right, of all and of each class."""
    return ClassAccuracy(main_task_accuracy(predicted, labels), class_accuracies(predicted, labels, num_classes))


def main_task_accuracy(predicted: Classes, labels: Classes) -> float:
    """Return MA: percent of the clean images (N,) that are classified right (thesis on GAN balancing, 5.1.7)."""
    return 100.0 * float(np.mean(predicted == labels))


def class_accuracies(predicted: Classes, labels: Classes, num_classes: int) -> list[float | None]:
    """Return the percent classified right of each class; ``None`` for a class without images."""
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    count = np.bincount(labels, minlength=num_classes)
    return [100.0 * float(r) / int(c) if c else None for r, c in zip(right, count, strict=True)]


def backdoor_accuracy(predicted: Classes, target: int) -> float | None:
    """Return BA: percent of triggered images of the *source* class that are classified as ``target``.

    Args:
        predicted: (K,) predictions on the triggered test images of the source class, and of no other.
        target: class that the attacker wants.

    Returns:
        BA, or ``None`` when the test set has no image of the source class.
    """
    return 100.0 * float(np.mean(predicted == target)) if len(predicted) else None


def of_source(labels: Classes, source: int | None, target: int) -> NDArray[np.bool_]:
    """Return which images (N,) a backdoor is for: those of its source, or without one of every class but the target."""
    return np.not_equal(labels, target) if source is None else np.equal(labels, source)


def mean_backdoor_accuracy(predicted: Classes, labels: Classes, pairs: Sequence[Pair]) -> float | None:
    """Return the mean over ``pairs`` of source and target of their BA (:func:`backdoor_accuracy`).

    Args:
        predicted: (K,) predictions on the triggered test images of the sources.
        labels: (K,) the images' own classes.
        pairs: source (:func:`of_source`) and target of each attacker; a pair that several have counts as often.

    Returns:
        BA, or ``None`` when the test set has no image of any of the sources; a pair without an image is left out.
    """
    each = {pair: backdoor_accuracy(predicted[of_source(labels, *pair)], pair[1]) for pair in set(pairs)}
    known = [accuracy for accuracy in map(each.__getitem__, pairs) if accuracy is not None]
    return sum(known) / len(known) if known else None


def untargeted_backdoor_accuracy(predicted: Classes, labels: Classes) -> float | None:
    """Return BA of a backdoor with random labels: percent of triggered images that are not taken for their own class.

    The thesis on GAN balancing (5.1.7) calls BA the "percentage of correct predictions for backdoor samples" and does
    not say what is correct where each copy has a random wrong label. Any wrong class is what the attacker wants.

    Args:
        predicted: (K,) predictions on the triggered test images of every class.
        labels: (K,) the images' own classes.

    Returns:
        BA, or ``None`` without images.
    """
    return 100.0 * float(np.mean(predicted != labels)) if len(predicted) else None

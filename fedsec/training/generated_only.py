"""What generated images are worth to a defense: how well an honest client classifies that has nothing else."""

import numpy as np
import torch

from fedsec.metrics.classification import ClassAccuracy, class_accuracy
from fedsec.metrics.generation import ScoreError
from fedsec.models.classifiers import build_classifier
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.evaluation import predict
from fedsec.training.extraction import Images, Labels, check_images, check_labels
from fedsec.training.threads import one_thread

EXAMPLES = 50_000
"""By default the images go through once, and so often that there are as many as this: few images are to be measured by
what is in them, not by how few steps were taken."""


def accuracy_from_generated(
    images: Images,
    labels: Labels,
    test_images: Images,
    test_labels: Labels,
    num_classes: int,
    normalise: Normalisation,
    *,
    model: str = "lenet5",
    settings: TrainingSettings | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> ClassAccuracy:
    """Train a new classifier on generated images alone and return its accuracy on real ones, in percent.

    Results compare only where there are as many images, and the settings are the same.

    Args:
        images: (N, C, H, W) uint8, generated.
        labels: (N,) the classes that they were made for.
        test_images: (M, C, H, W) uint8, real.
        test_labels: (M,) their classes.
        num_classes: number of classes.
        normalise: turns bytes into what the classifier takes.
        model: name of the classifier.
        settings: how it is trained; by default :data:`EXAMPLES` images in batches of 64.
        seed: of its weights and of the order of the examples.
        device: where to compute; the CPU by default.

    Raises:
        ScoreError: images or labels are of another shape or dtype, or the training diverged.
    """
    for pictures, wanted in ((images, labels), (test_images, test_labels)):
        check_images(pictures)
        check_labels(pictures, wanted, num_classes)
    if images.shape[1:] != test_images.shape[1:]:
        raise ScoreError(
            f"generated and real images must be of one shape; got {images.shape[1:]} and {test_images.shape[1:]}"
        )
    settings = settings or TrainingSettings(-(-EXAMPLES // len(images)), 64, 0.02, momentum=0.9)
    device = device or torch.device("cpu")
    network = (
        build_classifier(model, images.shape[1], images.shape[2], num_classes, seed=derived_seed(seed, Purpose.MODEL))
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    order = torch.Generator().manual_seed(derived_seed(seed, Purpose.TRAINING))
    with one_thread():
        loss = train_classifier(network, *on_device(images, labels, device), normalise, settings, order)
        if not np.isfinite(loss):
            raise ScoreError(f"the classifier's training diverged (loss {loss}); a smaller learning rate would do")
        predicted, _ = predict(network, *on_device(test_images, test_labels, device), normalise)
    return class_accuracy(predicted, test_labels, num_classes)

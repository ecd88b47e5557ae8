"""What whoever simulates the federation measures of the attack that rebuilds a class, round by round."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fedsec.metrics.classification import class_accuracies, main_task_accuracy
from fedsec.metrics.reconstruction import distances, macro_scores, nearest, roc_of_class, spread, ssim
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.extractor import ClassifierExtractor
from fedsec.training.parameters import set_arrays
from fedsec.training.reconstruction import Forger, StateMismatchError, forge, from_arrays
from fedsec.training.threads import one_thread

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Arrays = Mapping[str, NDArray[np.generic]]

BATCH = 500
MEASURED = 400
"""Generated images that are measured, of the same noise in every round."""

DIGITS = 4
"""Decimals of a point of a curve."""


class ClassifierScores:
    """Measures a global model on test images, in one pass: what every run measures, and macro scores and ROC curves.

    Args:
        model: the network; its weights are replaced in every call.
        images: (N, C, H, W) uint8.
        labels: (N,) their classes.
        num_classes: number of classes.
        public: (N,) which of the images the macro scores and curves are of.
        normalise: turns bytes into what the model takes.
        device: where to compute.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        num_classes: int,
        public: NDArray[np.bool_],
        normalise: Normalisation,
        device: torch.device,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.labels, self.num_classes, self.public, self.normalise = labels, num_classes, public, normalise
        self.classes: list[int] = np.unique(labels[public]).tolist()
        self._tensors = on_device(images, labels, device)

    @torch.no_grad()
    def __call__(self, arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return MA, loss and class accuracies; and of the public images accuracy, macro scores, AUC and curves."""
        set_arrays(self.model, [arrays[name] for name in self.model.state_dict()])
        self.model.eval()
        with one_thread():
            logits = torch.cat([self.model(self.normalise(batch)) for batch in torch.split(self._tensors[0], BATCH)])
        predicted = logits.argmax(1).cpu().numpy()
        plain = {
            "MA": main_task_accuracy(predicted, self.labels),
            "loss": float(F.cross_entropy(logits, self._tensors[1])),
            "class_accuracy": class_accuracies(predicted, self.labels, self.num_classes),
        }
        odds = logits.double().softmax(1).cpu().numpy()[self.public]
        predicted, labels = predicted[self.public], self.labels[self.public]
        rocs = {label: roc_of_class(odds[:, label], labels, label) for label in self.classes}
        curves = {label: np.round([of.false_positive, of.true_positive], DIGITS) for label, of in rocs.items() if of}
        return plain, {
            "accuracy": float(np.mean(predicted == labels)),
            **asdict(macro_scores(predicted, labels, self.classes)),
            **{f"{key}_with_extra": value for key, value in asdict(macro_scores(predicted, labels)).items()},
            "taken_for_extra": float(np.mean(predicted == self.num_classes)),
            "auc": {str(label): None if roc is None else roc.auc for label, roc in rocs.items()},
            "roc": {str(label): points.tolist() for label, points in curves.items()},
        }


class RebuiltImages:
    """Measures what an adversary's generator makes against what the victim holds.

    Args:
        forger: a generator; its weights are replaced in every call.
        victim: the class.
        private: (M, C, H, W) uint8, what the victim holds.
        unseen: (K, C, H, W) uint8, images of the same class that nobody has trained on.
        judge: a classifier of the data set that has no part in the federation.
        seed: of the noise.
    """

    def __init__(
        self, forger: Forger, victim: int, private: Images, unseen: Images, judge: ClassifierExtractor, seed: int
    ) -> None:
        self.forger, self.victim, self.judge, self.seed = forger, victim, judge, seed
        self.private, self.unseen = private, unseen
        self.few = min(len(private), len(unseen))
        """A fair comparison is of as many private as unseen images: among more there is a nearer one."""
        self.average = np.round(private.astype(np.float64).mean(0, keepdims=True)).astype(np.uint8)

    def draw(self, kept: Arrays) -> Images | None:
        """Return images of the generator with this state, of the same noise in every call; ``None`` if it is none."""
        try:
            from_arrays(self.forger, kept)
        except StateMismatchError:
            return None
        with one_thread():
            return forge(self.forger, MEASURED, torch.Generator().manual_seed(self.seed))

    def untrained(self) -> dict[str, Any]:
        """Return the measures of the generator that has learned nothing, as it is before the first call."""
        with one_thread():
            return self(forge(self.forger, MEASURED, torch.Generator().manual_seed(self.seed)))

    def __call__(self, images: Images) -> dict[str, Any]:
        """Return how near the images (N, C, H, W) are to the victim's class, to its average, and to its own images."""
        private, which = nearest(images, self.private)
        average = np.repeat(self.average, len(images), 0)
        with one_thread():
            called = self.judge(images).logits.argmax(1)
        return {
            "recognised": 100.0 * float(np.mean(called == self.victim)),
            "distances": asdict(distances(images, self.private)),
            "nearest_private": float(private.mean()),
            "nearest_of_few_private": float(nearest(images, self.private[: self.few])[0].mean()),
            "nearest_of_few_unseen": float(nearest(images, self.unseen[: self.few])[0].mean()),
            "from_average": float(nearest(images, self.average)[0].mean()),
            "ssim_nearest": float(ssim(images, self.private[which]).mean()),
            "ssim_average": float(ssim(images, average).mean()),
            "spread": spread(images),
        }

    def real(self) -> dict[str, Any]:
        """Return the same of real images of the class that nobody trained on: what a fresh image would measure."""
        measured = self(self.unseen[:MEASURED])
        del measured["nearest_of_few_unseen"]  # they are among those
        return measured | {"judge": self.judge.name, "judge_accuracy": self.judge.accuracy}

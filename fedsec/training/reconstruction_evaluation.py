"""What whoever simulates the federation measures of the attack that rebuilds a class, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fedsec.durable import write_atomically
from fedsec.metrics.mosaics import mosaic
from fedsec.metrics.reconstruction import distances, macro_scores, nearest, roc_of_class, spread, ssim
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.extractor import ClassifierExtractor
from fedsec.training.parameters import set_arrays
from fedsec.training.reconstruction import Forger, StateMismatchError, forge, from_arrays
from fedsec.training.threads import one_thread

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Arrays = Mapping[str, NDArray[np.generic]]

BATCH, SIDE = 500, 8
MEASURED = 400
"""Generated images that are measured, of the same noise in every round."""

DIGITS = 4
"""Decimals of a point of a curve."""


class ClassifierScores:
    """Measures a global model on the public test images: accuracy, macro scores, ROC curves.

    Args:
        model: the network; its weights are replaced in every call.
        images: (N, C, H, W) uint8.
        labels: (N,) their classes.
        normalise: turns bytes into what the model takes.
        device: where to compute.
    """

    def __init__(
        self, model: nn.Module, images: Images, labels: Labels, normalise: Normalisation, device: torch.device
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.labels, self.normalise = np.asarray(labels), normalise
        self.classes: list[int] = np.unique(self.labels).tolist()
        self._images = on_device(images, labels, device)[0]

    @torch.no_grad()
    def __call__(self, arrays: Arrays, *, curves: bool) -> dict[str, Any]:
        """Return accuracy and macro scores from 0 to 1, and of each class its AUC, with its curve if it is wanted."""
        set_arrays(self.model, [arrays[name] for name in self.model.state_dict()])
        self.model.eval()
        with one_thread():
            logits = torch.cat([self.model(self.normalise(batch)) for batch in torch.split(self._images, BATCH)])
        predicted, odds = logits.argmax(1).cpu().numpy(), logits.double().softmax(1).cpu().numpy()
        rocs = {label: roc_of_class(odds[:, label], self.labels, label) for label in self.classes}
        measured = {
            "accuracy": float(np.mean(predicted == self.labels)),
            **asdict(macro_scores(predicted, self.labels, self.classes)),
            **{f"{key}_with_extra": value for key, value in asdict(macro_scores(predicted, self.labels)).items()},
            "taken_for_extra": float(np.mean(predicted == logits.shape[1] - 1)),
            "auc": {str(label): None if roc is None else roc.auc for label, roc in rocs.items()},
        }
        if curves:
            kept = {label: np.round([of.false_positive, of.true_positive], DIGITS) for label, of in rocs.items() if of}
            measured["roc"] = {str(label): points.tolist() for label, points in kept.items()}
        return measured


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
        return self(self.unseen[:MEASURED]) | {"judge": self.judge.name, "judge_accuracy": self.judge.accuracy}


def write_picture(images: Images, path: Path) -> None:
    """Write the first 64 images (N, C, H, W) as one PNG."""
    rows: Sequence[Images] = [images[start : start + SIDE] for start in range(0, min(len(images), SIDE**2), SIDE)]
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda file: Image.fromarray(mosaic(rows, SIDE)).save(file, "PNG"))

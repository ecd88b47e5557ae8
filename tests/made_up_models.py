"""Made-up models of a small network, for the study of GANcrop's detector: nothing is trained."""

import numpy as np
import torch

from benchmarks.gancrop_models import CLEAN, TOOK, Models, Study, held_out_trigger
from fedsec.inspectors.public import PublicData
from fedsec.models.classifiers import build_classifier
from fedsec.strategies.layout import Layout
from fedsec.training.batches import Normalisation
from fedsec.training.parameters import get_arrays
from fedsec.training.shadows import Shadow, stamped

SHAPE = (1, 28, 28)


def holding(labels: list[int]) -> Shadow:
    """Return what a clean client with such labels holds."""
    return Shadow(np.zeros((len(labels), *SHAPE), np.uint8), np.array(labels))


def models(kinds: list[str], success: list[float], shift: float = 0.0) -> Models:
    """Return models whose backdoors have such success; the updates of poisoned ones have some large weights."""
    width = Layout(get_arrays(build_classifier("lenet5", 1, 28, 10, seed=0))).width
    rng = np.random.default_rng(len(kinds))
    poisoned = np.array([kind != CLEAN for kind in kinds])
    deltas = rng.normal(size=(len(kinds), width)).astype(np.float32)
    deltas[poisoned, ::500] += np.float32(shift)
    trigger = held_out_trigger("patch", SHAPE, rng)
    shadows = [
        stamped(holding([0]), trigger, np.arange(1), 1) if carries else holding([0]) for carries in poisoned.tolist()
    ]
    skewed = np.zeros(len(kinds), bool)
    behaviour = rng.normal(size=(len(kinds), 32))
    usable = ~poisoned | (np.array(success) > TOOK)
    return Models([], deltas, behaviour, shadows, usable, np.array(kinds), skewed)


def made_up_study() -> Study:
    """Return 30 shadows and 12 models to test, half of each poisoned; three of the latter's backdoors do not work."""
    network = build_classifier("lenet5", 1, 28, 10, seed=0)
    labels = np.arange(10)
    public = PublicData(
        network, np.zeros((10, *SHAPE), np.uint8), labels, 10, Normalisation((0.5,), (0.5,)), torch.device("cpu")
    )
    learned = models([CLEAN, "drawn"] * 15, [float("nan"), 90.0] * 15, shift=20.0)
    tested = models([CLEAN, CLEAN, "patch", "centre"] * 3, [float("nan"), float("nan"), 90.0, 20.0] * 3, shift=20.0)
    images = torch.zeros(10, *SHAPE)
    return Study(public, Layout(get_arrays(network)), 50.0, learned, tested, images, torch.from_numpy(labels))

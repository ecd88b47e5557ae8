"""Shadow models: clean and poisoned ones that a server trains itself, from the global model, on public images.

GANcrop (section 3.1) learns from them what tells a poisoned model from a clean one. Each is trained as a client of the
round is, on as many examples with a class skew of its own, so that what differs is the poison and nothing else.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.attacks.drawn_triggers import draw_trigger
from fedsec.attacks.triggers import Trigger
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.cohort import Member, splits_batches, train_cohort
from fedsec.training.grouped import chain_on, group_model
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import on_every_core, workers

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

SKEWS = (0.2, 0.7, 2.0, 100.0)
"""Concentrations of the Dirichlet distributions of which a shadow's classes are drawn: from skewed to even."""

COPIES = (0.1, 0.5)
"""Bounds of the share of a poisoned shadow's examples that it has stamped copies of, with every class as a source."""

TOGETHER = 8
"""Shadows that are trained at once at most, on each core."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """What one shadow model is trained on.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) their classes, wrong ones for the stamped images.
        trigger: what those carry; ``None`` for a clean one.
        target: their label; -1 for a clean one.
        source: their class; -1 for every class but the target, or for a clean one.
    """

    images: Bytes
    labels: Labels
    trigger: Trigger | None = None
    target: int = -1
    source: int = -1


def draw_clean(images: Bytes, labels: Labels, num_classes: int, examples: int, rng: np.random.Generator) -> Shadow:
    """Return a clean shadow's examples: so many of the public ones, with a class skew drawn for it.

    Args:
        images: (N, C, H, W) uint8 public images.
        labels: (N,) their classes, each of which has one.
        num_classes: number of classes.
        examples: how many to draw, with replacement.
        rng: draws the skew and the examples.
    """
    shares = rng.dirichlet(np.full(num_classes, float(rng.choice(SKEWS))))
    counts = np.bincount(labels, minlength=num_classes)
    weights = (shares / counts)[labels]
    total = weights.sum()  # 0 where a very skewed draw leaves nothing that a float holds
    chosen = rng.choice(len(labels), examples, p=weights / total if total > 0 else None)
    return Shadow(np.asarray(images[chosen]), np.asarray(labels[chosen]))


def poison(
    clean: Shadow, num_classes: int, rng: np.random.Generator, kinds: tuple[str, ...] = (), targets: Sequence[int] = ()
) -> Shadow:
    """Return a clean shadow with stamped copies: of one class, or of all but the target, evenly.

    The one class is that of an image drawn at random: from a class with few images a backdoor seldom takes.

    Args:
        clean: what to poison.
        num_classes: number of classes.
        rng: draws trigger, target, source and copies.
        kinds: shapes of triggers, see :func:`~fedsec.attacks.drawn_triggers.draw_trigger`.
        targets: classes of which the target is drawn; none is all.
    """
    trigger = draw_trigger(clean.images.shape[1:], rng, kinds)
    target = int(rng.choice(targets or range(num_classes)))
    others = np.flatnonzero(clean.labels != target)
    one = len(others) and rng.random() < 0.5
    source = int(clean.labels[rng.choice(others)]) if one else -1
    eligible = np.flatnonzero(clean.labels == source) if one else others
    if source < 0:
        eligible = rng.permutation(eligible)[: round(rng.uniform(*COPIES) * len(clean.labels))]
    return stamped(clean, trigger, eligible, target, source)


def stamped(clean: Shadow, trigger: Trigger, chosen: NDArray[np.int64], target: int, source: int = -1) -> Shadow:
    """Return a shadow's examples with stamped copies of the ``chosen`` ones, labelled ``target``."""
    images = np.concatenate([clean.images, trigger.stamp(clean.images[chosen])])
    labels = np.concatenate([clean.labels, np.full(len(chosen), target, clean.labels.dtype)])
    return Shadow(images, labels, trigger, target, source)


def train_shadows(
    network: nn.Module,
    sent: Mapping[str, NDArray[np.generic]],
    shadows: Sequence[Shadow],
    normalise: Normalisation,
    settings: TrainingSettings,
    device: torch.device,
    rng: np.random.Generator,
) -> list[list[NDArray[np.generic]]]:
    """Return the arrays of every shadow model, in the order of the state dict.

    Args:
        network: the network that clients exchange.
        sent: the global model from which they start.
        shadows: what each is trained on.
        normalise: turns bytes into what the network takes.
        settings: how clients train.
        device: where to train.
        rng: draws the order of the examples.
    """
    start, grouped = list(sent.values()), group_model(network)
    seeds = [int(seed) for seed in rng.integers(2**63 - 1, size=len(shadows))]
    members = [
        Member(start, shadow.images, shadow.labels, torch.Generator().manual_seed(seed))
        for shadow, seed in zip(shadows, seeds, strict=True)
    ]
    # Compiled code trains one at a time in any case, and in lots of one the cores are done together.
    compiled = grouped is not None and chain_on(grouped, device) is not None
    size = 1 if compiled else max(1, min(TOGETHER, -(-len(members) // workers(device))))
    groups = [members[first : first + size] for first in range(0, len(members), size)]

    def train(group: Sequence[Member]) -> list[list[NDArray[np.generic]]]:
        slower = grouped is not None and device.type == "cpu" and not splits_batches(grouped, device)
        if grouped is None or slower or settings.optimiser != "sgd":  # which alone a cohort is trained by
            return [_alone(network, member, normalise, settings, device) for member in group]
        return [trained.arrays for trained in train_cohort(grouped, group, normalise, settings, device)]

    return [arrays for trained in on_every_core(train, groups, device) for arrays in trained]


def _alone(
    network: nn.Module, member: Member, normalise: Normalisation, settings: TrainingSettings, device: torch.device
) -> list[NDArray[np.generic]]:
    """Train a network that can only be trained one at a time, or fastest so."""
    own = copy.deepcopy(network).to(device)
    set_arrays(own, member.start)
    examples = on_device(member.images, member.labels, device)
    train_classifier(own, *examples, normalise, settings, member.generator)
    return list(get_arrays(own).values())

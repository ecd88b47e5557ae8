"""Rebuilding a client's private class from the global model, with a generator whose discriminator it is.

Hitaj, Ateniese and Perez-Cruz, *Deep Models Under the GAN: Information Leakage from Collaborative Deep Learning*,
CCS 2017.  arXiv:1702.07464; in the form of the paper on adversarial attacks with GANs on federated learning that
``experiments/gan_reconstruction`` reproduces, section III.C.

In a round of the attack the adversary trains a generator until the global model, which it leaves as it is, takes what
comes out for the victim's class (equation 2). Then it trains its own copy of the global model on generated images as
ones of an extra class that nobody holds, and sends that. So the next global model tells the victim's class from what
the generator made of it, the victim works against that, and both show the generator what its images lack.

Here is what needs no network: when it begins, whose class it is, and how its images are labelled.
:mod:`fedsec.training.reconstruction` has the rest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def extra_class(num_classes: int) -> int:
    """Return the number of the class that nobody holds: the one after the last."""
    return num_classes


def lured(count: int, victim: int) -> Labels:
    """Return the labels (count,) that the generator is trained towards: the victim's class."""
    return np.full(count, victim, np.int64)


def misled(count: int, num_classes: int) -> Labels:
    """Return the labels (count,) under which the adversary trains its own model on generated images."""
    return np.full(count, extra_class(num_classes), np.int64)


def begins(accuracy: float, start_accuracy: float) -> bool:
    """Tell whether the attack begins with a global model of this accuracy; both from 0 to 1.

    The paper begins once the accuracy is "better than 0.90" in one place, once it "reached 0.90" in another; it is the
    latter here.
    """
    return accuracy >= start_accuracy


def first_round(accuracies: Mapping[int, float], rounds: Sequence[int], start_accuracy: float) -> int | None:
    """Return the round in which the attack begins, or ``None``.

    Args:
        accuracies: of the global model after each round, 0 to 1; a round's clients are sent the model after the one
            before it.
        rounds: in which the adversary may attack.
        start_accuracy: see :func:`begins`.
    """
    sent = (number for number in rounds if number - 1 in accuracies)
    return next((number for number in sent if begins(accuracies[number - 1], start_accuracy)), None)


def no_victim(victim: int, held: Mapping[int, Sequence[int]], adversary: int) -> str:
    """Return why no private class can be rebuilt, or "".

    The attack is on what the adversary does not have: a generator of a class that it holds needs no federation. And of
    a class that nobody holds the global model knows nothing.

    Args:
        victim: the class.
        held: how many examples of each class every client holds, by partition.
        adversary: its partition.
    """
    holders = [client for client, counts in sorted(held.items()) if sum(counts[victim : victim + 1])]
    if adversary in holders:
        return f"class {victim} is also held by the adversary, client {adversary}, so it is nobody else's secret"
    return "" if holders else f"class {victim} is held by no client, so there is nothing to rebuild"

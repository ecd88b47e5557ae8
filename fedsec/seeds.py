"""Every random draw of a run comes from here, keyed by what it is for, the round and the partition.

Flower's node ids and the order of its replies differ from run to run, so no draw may depend on either.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random draw is for. The numbers are part of every run's result: append, never renumber."""

    PARTITION = 1
    ADVERSARIES = 2
    MODEL = 3
    TRAINING = 4
    ATTACK = 5
    SAMPLING = 6
    DEFENSE = 7
    TRIGGER = 8
    FILLING = 9
    GENERATION = 10
    AUDIT = 11
    PUBLIC = 12


def generator(seed: int, purpose: Purpose, server_round: int = 0, partition: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, round and partition of the run with this ``seed``."""
    return np.random.default_rng([seed, int(purpose), server_round, partition])


def derived_seed(seed: int, purpose: Purpose, server_round: int = 0, partition: int = 0) -> int:
    """Return a seed for a generator that is not numpy's, drawn from :func:`generator` with the same key."""
    return int(generator(seed, purpose, server_round, partition).integers(2**63 - 1))

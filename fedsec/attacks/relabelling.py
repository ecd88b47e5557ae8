"""The untargeted attack: wrong labels at random.  Thesis on GAN balancing, section 5.1.3."""

import numpy as np
from numpy.typing import NDArray


def randomise_labels(
    labels: NDArray[np.int64], num_classes: int, share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return ``labels`` (N,) with a random ``share`` of them changed to another class, evenly among the others.

    The thesis says that malicious clients "randomly select labels and modify them to other random labels", and
    neither how many nor whether once or every round; ``share`` and the generator leave both to the caller.
    """
    chosen = rng.random(len(labels)) < share
    other = (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    return np.where(chosen, other, labels)

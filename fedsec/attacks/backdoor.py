"""The targeted backdoor.  Thesis on GAN balancing, sections 2.2.2 and 5.1.3."""

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.triggers import Trigger


def add_backdoor(
    images: NDArray[np.uint8], labels: NDArray[np.int64], trigger: Trigger, source: int, target: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Add a triggered copy, labelled ``target``, of every image of class ``source``.

    The clean images stay, so that the local model does well on both (section 3.3.1): D' = D and D_t.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) classes.
        trigger: what is stamped on the copies.
        source: class that is to be misclassified.
        target: class that it is to be taken for.

    Returns:
        images (N + K, C, H, W) and labels (N + K,), where K is the number of images of class ``source``.
    """
    chosen = np.flatnonzero(labels == source)
    copies = trigger.stamp(images[chosen])
    return np.concatenate([images, copies]), np.concatenate([labels, np.full(len(chosen), target, labels.dtype)])

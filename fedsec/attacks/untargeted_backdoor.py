"""The untargeted backdoor: triggered copies with wrong labels at random.  Thesis on GAN balancing, 5.1.3 and 5.2.3.

The thesis says that malicious clients "randomly select labels and modify them to other random labels" (5.1.3), calls
this an untargeted *backdoor* attack (5.2.3) and reports its backdoor accuracy, so there is a trigger. Two readings:

* Each client has one random pair of classes (:func:`draw_pair`) and does with it what the targeted backdoor does
  (:func:`fedsec.attacks.backdoor.add_backdoor`). The thesis's BA of 0.1 beside a MA of 72.1 can be had with this one.
* Each image gets a random wrong label of its own (:func:`add_untargeted_backdoor`).
"""

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.relabelling import randomise_labels
from fedsec.attacks.triggers import Trigger


def draw_pair(num_classes: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random source class and a random target class, two different ones of ``num_classes``."""
    source, target = rng.choice(num_classes, 2, replace=False)
    return int(source), int(target)


def number_of_copies(examples: int, share: float) -> int:
    """Return how many triggered copies a client with so many ``examples`` adds, ``share`` of them, rounded."""
    return round(share * examples)


def add_untargeted_backdoor(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    trigger: Trigger,
    num_classes: int,
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Add triggered copies of a random ``share`` of the images, each labelled with a random class not its own.

    Each image by itself, whatever its class. The clean images stay, as in
    :func:`fedsec.attacks.backdoor.add_backdoor`.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) classes.
        trigger: what is stamped on the copies.
        num_classes: number of classes.
        share: share of the images that are copied.
        rng: draws which ones, and their labels.

    Returns:
        images (N + K, C, H, W) and labels (N + K,), where K is :func:`number_of_copies`.
    """
    chosen = np.sort(rng.choice(len(labels), number_of_copies(len(labels), share), replace=False))
    copies = trigger.stamp(images[chosen])
    wrong = randomise_labels(labels[chosen], num_classes, 1.0, rng)
    return np.concatenate([images, copies]), np.concatenate([labels, wrong])

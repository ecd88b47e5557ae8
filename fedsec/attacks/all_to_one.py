"""The backdoor from every class to one: whatever has the trigger is the target.

Gu et al., *BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain*, 2017.  arXiv:1708.06733;
in a federation Xie et al., *DBA*, ICLR 2020.
"""

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.triggers import Trigger
from fedsec.attacks.untargeted_backdoor import number_of_copies


def add_all_to_one(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    trigger: Trigger,
    target: int,
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Add triggered copies, labelled ``target``, of a random ``share`` of the images that are not of that class.

    The clean images stay, as in :func:`fedsec.attacks.backdoor.add_backdoor`. Images of the target are left alone: a
    trigger on them teaches nothing that the label does not.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) classes.
        trigger: what is stamped on the copies.
        target: class that they are to be taken for.
        share: share of the images of other classes that are copied.
        rng: draws which ones.

    Returns:
        images (N + K, C, H, W) and labels (N + K,), where K is
        :func:`~fedsec.attacks.untargeted_backdoor.number_of_copies` of the images of other classes.
    """
    others = np.flatnonzero(labels != target)
    chosen = np.sort(rng.choice(others, number_of_copies(len(others), share), replace=False))
    copies = trigger.stamp(images[chosen])
    return np.concatenate([images, copies]), np.concatenate([labels, np.full(len(chosen), target, labels.dtype)])

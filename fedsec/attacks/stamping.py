"""The attack on the federated GAN: the same trigger on every image.

Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, 2022, sections 2.2 and 3.2.
arXiv:2207.00762
"""

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.triggers import Trigger


def stamp_all(images: NDArray[np.uint8], trigger: Trigger) -> NDArray[np.uint8]:
    """Return ``images`` (N, C, H, W) with the trigger delta on each: x + delta for every x of the client's set T.

    There are no labels to change. The discriminator learns that real images have the trigger, tells generated ones
    apart by it, and has nothing else to teach the generator.

    Deviation: the reference code normalises the images to [-1, 1] and not the trigger, whose colours lie in [0, 1]; on
    bytes that is a trigger without its darker half. Here the trigger is stamped on the bytes, as the paper pastes it.

    Args:
        images: they are not changed.
        trigger: the paper's is of random colours, at the bottom right.
    """
    return trigger.stamp(images)

"""Who else carries a backdoor: a trigger that was recovered from some models is tried on all of them.

Not in the paper, which unlearns a recovered trigger and forgets it. Attackers of one federation share their trigger
mostly, so a model that the detector let through is told by it; it costs a forward pass of few images for each model.
"""

from dataclasses import replace

import numpy as np

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.updates import Vector
from fedsec.inspectors.public import PublicData
from fedsec.strategies.inspecting import Inspected

TRIED = 200
"""Public images on which a trigger is tried."""

FIRED = 50.0
"""Percent of the images that the trigger turns in a carrier, at least."""

ABOVE = 25.0
"""Points by which that exceeds the median of the round: a natural trigger fools every model, and a backdoor that the
global model has already fools the honest ones too, though less than those that plant it anew."""


def lifts(public: PublicData, seen: Inspected, trigger: RecoveredTrigger) -> Vector:
    """Return for each client's model by how many points stamping raises the share taken for the target, (n,).

    A client with many images of the target's class has a model that takes much for it, stamped or not.
    """
    nothing = replace(trigger, mask=np.zeros_like(trigger.mask))
    found = [
        [public.success_of(seen.model_of(row), one, TRIED) for one in (trigger, nothing)]
        for row in range(len(seen.updates))
    ]
    stamped, clean = np.nan_to_num(np.array(found, np.float64)).reshape(-1, 2).T
    return np.maximum(stamped - clean, 0.0)


def honest_bound(found: Vector) -> float:
    """Return the lift below which a trigger has nothing to do with a model: half way from the median to a carrier."""
    return (float(np.median(found)) + bound(found)) / 2


def bound(found: Vector) -> float:
    """Return the lift from which a model counts as a carrier, given those of its round (n,), most of them honest.

    At least half way from the median to the highest: what carriers do, most of them do alike.
    """
    middle = float(np.median(found))
    return max(FIRED, middle + ABOVE, (middle + float(found.max())) / 2)

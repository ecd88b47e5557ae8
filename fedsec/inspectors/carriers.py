"""Who else carries a backdoor: a trigger that was recovered from some models is tried on all of them.

Not in the paper, which unlearns a recovered trigger and forgets it. Attackers of one federation share their trigger
mostly, so a model that the detector let through is told by it; it costs a forward pass of few images for each model.
"""

import numpy as np

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.updates import Vector
from fedsec.inspectors.public import PublicData
from fedsec.strategies.inspecting import Inspected

TRIED = 200
"""Public images on which a trigger is tried."""

FIRED = 50.0
"""Percent of stamped images that a carrier takes for the target, at least."""

ABOVE = 25.0
"""Points by which that exceeds the median of the round: a natural trigger fools every model, and a backdoor that the
global model has already fools the honest ones too, though less than those that plant it anew."""


def rates(public: PublicData, seen: Inspected, trigger: RecoveredTrigger) -> Vector:
    """Return the percent of stamped images that each client's model takes for the trigger's target, (n,)."""
    found = [public.success_of(seen.model_of(row), trigger, TRIED) for row in range(len(seen.updates))]
    return np.nan_to_num(np.array(found, np.float64))


def bound(found: Vector) -> float:
    """Return the rate from which a model counts as a carrier, given those of its round (n,), most of them honest.

    At least half way from the median to the highest: what carriers do, most of them do alike.
    """
    middle = float(np.median(found))
    return max(FIRED, middle + ABOVE, (middle + float(found.max())) / 2)

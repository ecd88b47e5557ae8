"""Who else carries a backdoor: a trigger that was recovered from some models is tried on all of them.

Not in the paper, which unlearns a recovered trigger and forgets it. Attackers of one federation share their trigger
mostly, so a model that the detector let through is told by it; it costs a forward pass of few images for each model.
"""

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, as_bytes
from fedsec.defenses.updates import BoolVector, Vector
from fedsec.inspectors.public import PublicData
from fedsec.strategies.inspecting import Inspected
from fedsec.training.threads import on_every_core

TRIED = 100
"""Public images on which a trigger is tried."""

FIRED = 50.0
"""Percent of the images that the trigger turns in a carrier, at least."""

ABOVE = 25.0
"""Points by which that exceeds the median of the round: a natural trigger fools every model, and a backdoor that the
global model has already fools the honest ones too, though less than those that plant it anew."""

SUSPECTED = 0.25
"""Share of a trigger's carriers that the detector must call for the trigger to be one that somebody planted. An earlier
one called, on Fashion-MNIST, a fifth of natural ones at most, and four fifths of planted ones, but for one round."""

WITNESSES = 0.05
"""And part of the round's models that must both carry it and be called, so that one false alarm is not enough."""


class Carriers:
    """Tells who of a round carries a trigger.

    Args:
        public: the network and public images.
        seen: the round.
    """

    def __init__(self, public: PublicData, seen: Inspected) -> None:
        self.public, self.seen = public, seen
        self._clean: NDArray[np.int64] | None = None
        self._tried: tuple[RecoveredTrigger, Vector] | None = None

    def lifts(self, trigger: RecoveredTrigger) -> Vector:
        """Return for each client's model by how many points stamping raises the share taken for the target, (n,).

        A client with many images of the target's class has a model that takes much for it, stamped or not. The last
        trigger's answer is kept, and so is what the models make of the images as they are.
        """
        if self._tried is None or not _same(self._tried[0], trigger):
            others = self.public.labels[:TRIED] != trigger.target
            images = self.public.images[:TRIED][others]
            if self._clean is None:
                self._clean = self._classes(self.public.images[:TRIED])
            found = self._classes(as_bytes(images, trigger)) == trigger.target
            before = self._clean[:, others] == trigger.target
            share = 100.0 / max(1, len(images))
            self._tried = trigger, np.maximum(share * (found.sum(1) - before.sum(1, dtype=np.float64)), 0.0)
        return self._tried[1]

    def _classes(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        def of(row: int) -> NDArray[np.int64]:
            return self.public.classes_of(self.seen.model_of(row), images)

        return np.stack(on_every_core(of, range(len(self.seen.updates)), self.public.device))


def _same(one: RecoveredTrigger, other: RecoveredTrigger) -> bool:
    """Tell whether one is the other, or the same recalled: what it does to whom may be written anew."""
    return one.target == other.target and one.mask is other.mask and one.pattern is other.pattern


def carry(found: Vector) -> BoolVector:
    """Return whose models a trigger has to do with, given its lifts (n,): from half way between median and carriers."""
    return found >= (float(np.median(found)) + bound(found)) / 2 if len(found) else np.zeros(0, bool)


def bound(found: Vector) -> float:
    """Return the lift from which a model counts as a carrier, given those of its round (n,), most of them honest.

    At least half way from the median to the highest: what carriers do, most of them do alike.
    """
    middle = float(np.median(found))
    return max(FIRED, middle + ABOVE, (middle + float(found.max())) / 2)


def support(found: Vector, told: Vector) -> float | None:
    """Return what speaks for a trigger: the share of its carriers that the detector calls, which does not know it.

    In the first rounds, models of clients who hold much of one class have natural triggers for it, whose masks are as
    small as a planted one's. But those clients' updates look hardly more poisoned than others'.

    Args:
        found: (n,) lifts of the trigger.
        told: (n,) scores of the detector, above 0 for those that it calls.

    Returns:
        The share; ``None`` where nobody carries the trigger.
    """
    carrying = found >= bound(found)
    return float((told[carrying] > 0.0).mean()) if carrying.any() else None


def has_support(found: Vector, told: Vector) -> bool:
    """Tell whether enough speaks for a trigger: the detector calls :data:`SUSPECTED` of its carriers, and these are not
    too few themselves. The arguments are those of :func:`support`.
    """
    carrying = found >= bound(found)
    called = int((told[carrying] > 0.0).sum())
    return called >= max(SUSPECTED * int(carrying.sum()), WITNESSES * len(told), 1)

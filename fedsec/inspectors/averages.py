"""Averages of some of a round's models, which one loud client cannot drown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.distances import row_norms
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import BoolVector, Vector
from fedsec.strategies.inspecting import Arrays, Inspected

LOUD = 5.0
"""Times the median length of the round's updates, to which a longer one is shortened. Honest updates seldom differ by
so much, and what a client sends may be a million times as long before it is dropped as nonsense."""

ALIKE = 2.0
"""The same where suspects are averaged: what one of them has against the others, it has twice at most. An update that
learns a trigger beside its data is longer than an honest one; cut to the median's length, so much of a patch in the
centre was lost that no search found it."""


@dataclass(frozen=True, slots=True)
class Averages:
    """Averages of a round's models.

    Attributes:
        seen: the round.
        lengths: (n,) L2 norms of its updates.
    """

    seen: Inspected
    lengths: Vector

    @classmethod
    def of(cls, seen: Inspected) -> "Averages":
        """Return those of a round."""
        return cls(seen, row_norms(seen.updates.deltas))

    def quiet(self, chosen: BoolVector) -> BoolVector:
        """Return the ``chosen`` ones (n,) without the loud ones, where these are no more than half of them.

        A few who are sacrificed could send the opposite of what the others share, and hide it from whoever looks at
        their average.
        """
        found = chosen & ~self._longer(LOUD * float(np.median(self.lengths)))
        return found if 2 * found.sum() >= chosen.sum() else chosen

    def shares(self, chosen: BoolVector, most: float = LOUD) -> Vector:
        """Return what part each update (n,) has in the average of the ``chosen`` ones: 1 / k of k, less of a loud one.

        The median is that of the round, which an honest majority decides, and not of the chosen, who may be attackers.
        Where it is 0, for most clients sent what they were sent, nothing is shortened.

        Args:
            chosen: (n,) whose updates are averaged; with none of them all parts are 0.
            most: times the median length, to which a longer update is shortened.
        """
        longest = most * float(np.median(self.lengths))
        shortened = np.divide(longest, self.lengths, out=np.ones(len(chosen)), where=self._longer(longest))
        return np.where(chosen, shortened / max(1, int(chosen.sum())), 0.0)

    def change(self, chosen: BoolVector, most: float = LOUD) -> NDArray[np.float32]:
        """Return the average of the chosen updates, (d,); zeros without any."""
        return weighted_sum(self.seen.updates.deltas, self.shares(chosen, most))

    def model(self, chosen: BoolVector, most: float = LOUD) -> Arrays:
        """Return the average of the chosen models, with the median of their BatchNorm statistics."""
        return self.seen.rebuild(self.change(chosen, most), chosen)

    def _longer(self, longest: float) -> BoolVector:
        return np.asarray((self.lengths > longest) & (longest > 0.0))

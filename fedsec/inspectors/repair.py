"""Repair of a suspect model: a trigger that was recovered is unlearned, and what came of it is measured.

Paper on GANcrop, section 3.2. A repair that does not hold is refused, with its reason: that model is left out. So is a
model in which no trigger stands out, where the paper always unlearns something: what it then would unlearn are natural
triggers, and a backdoor that the search cannot find would go into the average with the repaired model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.judge import Judge
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.inspectors.search import FEW, Found
from fedsec.inspectors.unlearning import unlearned

MOST_LOST = 3.0
"""Points of accuracy on the public images that a repaired model may lie below what it was before, or below the trusted
model, whichever is lower."""

MOST_LEFT = 30.0
"""Percent of stamped images that may still be taken for the target: the paper's bound of a successful defense."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of one suspect model.

    Attributes:
        arrays: the repaired model; ``None`` where it is left out.
        report: what was found and measured, for the record.
    """

    arrays: dict[str, NDArray[np.generic]] | None
    report: dict[str, Any]


class Repairer:
    """Repairs suspect models.

    Args:
        public: the network and the images.
        options: how triggers are unlearned.
    """

    def __init__(self, public: PublicData, options: UnlearningOptions) -> None:
        self.public, self.options, self.judge = public, options, Judge(public)

    def repair(self, suspect: Arrays, found: Found, generator: torch.Generator) -> Repaired:
        """Return a suspect model in which the trigger that was found is unlearned.

        Args:
            suspect: its arrays.
            found: what was recovered from it, or from models of which it is the average.
            generator: CPU generator of every draw.
        """
        judge, trigger = self.judge, found.outstanding
        problem, before = judge.hopeless(suspect), judge.accuracy(suspect)
        report = found.report | {"accuracy_before": before}
        if found.recovery is None or problem:
            return Repaired(None, report if problem is None else report | {"outcome": f"left out: {problem}"})
        if trigger is None:
            return Repaired(None, report | {"outcome": "left out: no trigger stands out"})
        report["success_before"] = self.public.success_of(suspect, trigger, FEW)
        arrays, loss = unlearned(self.public, judge.held, suspect, [trigger], self.options, generator)
        after = {"accuracy_after": judge.accuracy(arrays)}
        after["success_after"] = self.public.success_of(arrays, trigger, min(FEW, judge.number))
        outcome = outcome_of(loss, min(before, found.trusted_accuracy), after["accuracy_after"], after["success_after"])
        return Repaired(None if outcome.startswith("left out") else arrays, report | after | {"outcome": outcome})


def outcome_of(loss: float, before: float, accuracy: float, success: float) -> str:
    """Return what is made of a repair: ``"repaired"``, or why the model is left out.

    Args:
        loss: mean loss of the last epoch of unlearning.
        before: percent of the judging images that the model, or the trusted one, classified right, whichever is less.
        accuracy: the same of the repaired model.
        success: percent of stamped images that the repaired model takes for the target.
    """
    if not np.isfinite(loss) or not np.isfinite(accuracy):
        return "left out: the unlearning did not converge"
    if accuracy < before - MOST_LOST:
        return f"left out: the unlearning cost {before - accuracy:.1f} points of accuracy"
    if success > MOST_LEFT:
        return f"left out: {success:.0f} percent of the stamped images are still taken for the target"
    return "repaired"

"""Repair of a suspect model: its trigger is recovered and unlearned, and what came of it is measured.

Paper on GANcrop, section 3.2. A repair that does not hold is refused, with its reason: that model is left out. So is a
model in which no trigger stands out, where the paper always unlearns something: what it then would unlearn are natural
triggers, and a backdoor that the search cannot find would go into the average with the repaired model.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import Recovery, RecoveryOptions, TriggerGenerator, fools_far_more, recover
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.inspectors.unlearning import unlearned
from fedsec.training.parameters import get_arrays, set_arrays

MAKER = "maker."
"""Begins the names of what the generator of triggers keeps."""

KNOWN = "known."
ABOUT = ("mask", "pattern", "target", "narrow", "supported")
"""And those of what is kept of the last trigger that stood out."""

HELD, MOST_HELD = 5, 1000
"""One public image of so many, and so many at most, are held out: nothing is unlearned with them, and a repaired model
is judged by them."""

FEWEST_HELD = 100
"""With fewer held-out images than this, models are judged by so many of all: by ten images nothing can be told."""

FEW = 400
"""Public images, the held-out ones first, that serve to recover a trigger and to measure its success; once it is
unlearned, by those alone that judge a model."""

REFINED, NARROW = 1, 9
"""Recoveries in a row that try only the class that stood out in the one before: the first makes its trigger better, and
then the trigger may stay as it is."""

MOST_LOST = 3.0
"""Points of accuracy on the public images that a repaired model may lie below what it was before, or below the trusted
model, whichever is lower."""

MOST_LEFT = 30.0
"""Percent of stamped images that may still be taken for the target: the paper's bound of a successful defense."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was recovered from a suspect model.

    Attributes:
        recovery: the triggers; ``None`` where there is nothing to recover them from, or they are no numbers.
        report: the same for the record.
        trusted_accuracy: percent of the public images that the trusted model classifies right.
        support: share that the detector calls of those who carry the trigger that stands out, if anybody does.
        natural: the class whose trigger stood out and was taken for a natural one.
    """

    recovery: Recovery | None
    report: dict[str, Any]
    trusted_accuracy: float = float("nan")
    support: float | None = None
    natural: int | None = None

    def without_target(self) -> "Found":
        """Return the same where the trigger that stands out is taken for a natural one, and none stands out."""
        if self.recovery is None:
            return self
        about = {"target": None, "natural": self.recovery.target}
        recovery = replace(self.recovery, target=None)
        return replace(self, recovery=recovery, report=self.report | about, natural=self.recovery.target)


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
    """Repairs suspect models, one after the other; each recovery goes on where the last one ended.

    Args:
        public: the network and the images.
        recovery: how triggers are recovered.
        unlearning: how they are unlearned.
        warm_steps: steps of a recovery that goes on from an earlier one.

    Attributes:
        maker: the generator of triggers, where the last recovery found something.
        known: the trigger that stood out last time.
        supported: whether the detector has ever called enough of those who carry a trigger of its class.
        narrow: how many recoveries in a row tried only its class, or it alone.
    """

    def __init__(
        self, public: PublicData, recovery: RecoveryOptions, unlearning: UnlearningOptions, warm_steps: int
    ) -> None:
        self.public, self.recovery, self.unlearning, self.warm_steps = public, recovery, unlearning, warm_steps
        self.maker: TriggerGenerator | None = None
        self.known: RecoveredTrigger | None = None
        self.supported = False
        self.narrow = 0
        self._held = max(1, min(MOST_HELD, len(public.labels) // HELD))
        self._judges = public.images[: max(self._held, FEWEST_HELD)], public.labels[: max(self._held, FEWEST_HELD)]

    def find(self, suspect: Arrays, trusted: Arrays, generator: torch.Generator) -> Found:
        """Return the triggers of a suspect model.

        Where the class that stood out before still does, no other is tried, but for every tenth time; and nothing is
        searched at all where its trigger, once refined, still works as well as is wanted. A search can fail by
        chance: then the trigger that stood out last is tried as it is, and is forgotten if it does so no more.

        Args:
            suspect: its arrays.
            trusted: those of a model to compare with, of the same round and little suspected.
            generator: CPU generator of every draw.
        """
        if problem := self._hopeless(suspect):
            return Found(None, {"outcome": f"left out: {problem}"})
        refined = REFINED <= self.narrow < NARROW
        recovery = self._recalled(suspect, trusted, 100.0 * self.recovery.wanted) if refined else None
        steps = 0
        if recovery is not None:
            self.narrow += 1
        else:
            recovery, steps = self._search(suspect, trusted, generator)
        report: dict[str, Any] = {"steps": steps, "tried": 0 if recovery is None else len(recovery.triggers)}
        if recovery is None or recovery.target is None:
            recovery = self._recalled(suspect, trusted) or recovery
        before, self.known = self.known, None if recovery is None else recovery.outstanding
        self.supported &= before is not None and self.known is not None and before.target == self.known.target
        if recovery is None:
            return Found(None, report | {"outcome": "left out: the recovery did not converge"})
        return Found(recovery, report | described(recovery), self._accuracy(trusted))

    def dismiss(self, earlier: RecoveredTrigger | None) -> None:
        """Forget the trigger that stands out, for it is a natural one, and remember the ``earlier`` one, if any."""
        self.known, self.supported, self.maker, self.narrow = earlier, earlier is not None, None, 0

    def repair(self, suspect: Arrays, found: Found, generator: torch.Generator) -> Repaired:
        """Return a suspect model in which the triggers that were found are unlearned.

        Args:
            suspect: its arrays.
            found: what :meth:`find` returned for it, or for models of which it is the average.
            generator: CPU generator of every draw.
        """
        problem, before = self._hopeless(suspect), self._accuracy(suspect)
        report = found.report | {"accuracy_before": before}
        if found.recovery is None or problem:
            return Repaired(None, report if problem is None else report | {"outcome": f"left out: {problem}"})
        trigger = found.recovery.outstanding
        if trigger is None:
            return Repaired(None, report | {"outcome": "left out: no trigger stands out"})
        report["success_before"] = self.public.success_of(suspect, trigger, FEW)
        arrays, loss = unlearned(self.public, self._held, suspect, [trigger], self.unlearning, generator)
        after = {"accuracy_after": self._accuracy(arrays)}
        after["success_after"] = self.public.success_of(arrays, trigger, min(FEW, len(self._judges[1])))
        outcome = _outcome(loss, min(before, found.trusted_accuracy), after["accuracy_after"], after["success_after"])
        return Repaired(None if outcome.startswith("left out") else arrays, report | after | {"outcome": outcome})

    def apart(self) -> "Repairer":
        """Return one that goes on from here, and leaves this one as it is."""
        other = Repairer(self.public, self.recovery, self.unlearning, self.warm_steps)
        other.maker, other.known, other.narrow = copy.deepcopy(self.maker), self.known, self.narrow
        other.supported = self.supported
        return other

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the generator of triggers, and the last trigger that stood out."""
        made = {} if self.maker is None else get_arrays(self.maker)
        kept: dict[str, NDArray[np.generic]] = {f"{MAKER}{name}": array for name, array in made.items()}
        if self.known is not None:
            kept |= {f"{KNOWN}mask": self.known.mask, f"{KNOWN}pattern": self.known.pattern}
            kept[f"{KNOWN}target"] = np.array([self.known.target])
            kept[f"{KNOWN}narrow"] = np.array([self.narrow])
            kept[f"{KNOWN}supported"] = np.array([self.supported])
        return kept

    def load_state(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned.

        Raises:
            ValueError: another version kept less of the trigger that stood out.
        """
        missing = {f"{KNOWN}{name}" for name in ABOUT} - state.keys()
        if missing and any(name.startswith(KNOWN) for name in state):
            raise ValueError(f"GANcrop keeps {sorted(missing)} of a trigger; the checkpoint has one without.")
        made = {name: array for name, array in state.items() if name.startswith(MAKER)}
        self.maker = self._new_maker(torch.Generator()) if made else None
        if self.maker is not None:
            set_arrays(self.maker, [made[f"{MAKER}{name}"] for name in self.maker.state_dict()])
        self.known, self.supported, self.narrow = None, False, 0
        if f"{KNOWN}mask" in state:
            self.narrow, self.supported = int(state[f"{KNOWN}narrow"][0]), bool(state[f"{KNOWN}supported"][0])
            mask, pattern = (state[f"{KNOWN}{name}"].astype(np.float32) for name in ("mask", "pattern"))
            self.known = RecoveredTrigger(int(state[f"{KNOWN}target"][0]), mask, pattern, float("nan"))

    def _new_maker(self, generator: torch.Generator) -> TriggerGenerator:
        channels, height, width = self.public.images.shape[1:]
        maker = TriggerGenerator((channels, height, width), self.public.num_classes, generator)
        return maker.to(self.public.device)

    def _search(self, suspect: Arrays, trusted: Arrays, generator: torch.Generator) -> tuple[Recovery | None, int]:
        """Return what is recovered by trying the class that stood out before, else all, ``None`` if it diverges; and in
        how many steps.
        """
        taken = 0
        if self.maker is not None and self.known is not None and self.narrow < NARROW:
            taken = self.warm_steps
            found = self._recover(self.maker, suspect, trusted, generator, self.known.target)
            if found is None or found.target is not None:
                self.narrow += 1
                return found, taken
            self.maker = None  # it knows another trigger, and would not come away from it
        self.narrow, taken = 0, taken + self._steps()
        maker = self.maker or self._new_maker(generator)
        found = self._recover(maker, suspect, trusted, generator)
        # From where it found nothing it would not come away.
        self.maker = None if found is None or found.target is None else maker
        return found, taken

    def _recalled(self, suspect: Arrays, trusted: Arrays, least: float = 0.0) -> Recovery | None:
        """Return the trigger that stood out last, if it fools this suspect, by ``least`` percent of the images, and the
        trusted model far less.
        """
        if self.known is None:
            return None
        success, before = (self.public.success_of(arrays, self.known, FEW) for arrays in (suspect, trusted))
        again = replace(self.known, success=success, before=before)
        return Recovery((again,), np.zeros(1), again.target) if success >= least and fools_far_more(again) else None

    def _recover(
        self,
        maker: TriggerGenerator,
        suspect: Arrays,
        trusted: Arrays,
        generator: torch.Generator,
        only: int | None = None,
    ) -> Recovery | None:
        options = replace(self.recovery, steps=self._steps())
        networks, few = [self.public.fixed(arrays) for arrays in (suspect, trusted)], self.public.pixels(FEW)
        found = recover(networks[0], *few, maker, options, generator, networks[1], only)
        if all(bool(torch.isfinite(parameter).all()) for parameter in maker.parameters()):
            return found
        self.maker = None
        return None

    def _steps(self) -> int:
        return self.recovery.steps if self.maker is None else self.warm_steps

    def _hopeless(self, arrays: Arrays) -> str | None:
        predicted = self._predicted(arrays)
        if predicted is None:
            return "it gives NaN or infinity on the public images"
        if (predicted == predicted[0]).all():
            return f"it takes every public image for class {int(predicted[0])}"
        return None

    def _predicted(self, arrays: Arrays) -> NDArray[np.int64] | None:
        logits = self.public.logits_of(arrays, self._judges[0])
        return logits.argmax(1).numpy() if bool(logits.isfinite().all()) else None

    def _accuracy(self, arrays: Arrays) -> float:
        predicted = self._predicted(arrays)
        return float("nan") if predicted is None else 100.0 * float((predicted == self._judges[1]).mean())


def described(found: Recovery) -> dict[str, Any]:
    """Return what was recovered, for the record."""
    trigger = found.outstanding
    about: dict[str, Any] = {"target": found.target, "indices": [round(float(index), 2) for index in found.indices]}
    if trigger is None:
        return about
    return about | {"size": round(trigger.size, 2), "success": trigger.success, "success_on_trusted": trigger.before}


def _outcome(loss: float, before: float, accuracy: float, success: float) -> str:
    if not np.isfinite(loss) or not np.isfinite(accuracy):
        return "left out: the unlearning did not converge"
    if accuracy < before - MOST_LOST:
        return f"left out: the unlearning cost {before - accuracy:.1f} points of accuracy"
    if success > MOST_LEFT:
        return f"left out: {success:.0f} percent of the stamped images are still taken for the target"
    return "repaired"

"""The search for triggers, round after round: it goes on where the last one ended, and knows what stood out."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import Recovery, RecoveryOptions, TriggerGenerator, fools_far_more, recover
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.inspectors.judge import Judge
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.training.parameters import get_arrays, set_arrays

MAKER = "maker."
"""Begins the names of what the generator of triggers keeps."""

KNOWN = "known."
ABOUT = ("mask", "pattern", "target", "narrow", "supported")
"""And those of what is kept of the last trigger that stood out."""

QUIET = "quiet."
WAITS = ("fruitless", "rested")
"""And those of what is kept of the searches that found nothing."""

FEW = 400
"""Public images, the held-out ones first, that serve to recover a trigger and to measure its success."""

REFINED, NARROW = 1, 9
"""Recoveries in a row that try only the class that stood out in the one before: the first makes its trigger better, and
then the trigger may stay as it is."""

WARM = 5
"""A recovery that goes on from an earlier one takes 1 / WARM of its steps."""

LONGEST_REST = 3
"""Rounds without a search, at most, after searches that found nothing: one after the first, two after the second."""


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

    @property
    def outstanding(self) -> RecoveredTrigger | None:
        """The trigger that stands out, if one does."""
        return None if self.recovery is None else self.recovery.outstanding

    def without_target(self) -> "Found":
        """Return the same where the trigger that stands out is taken for a natural one, and none stands out."""
        if self.recovery is None:
            return self
        about = {"target": None, "natural": self.recovery.target}
        recovery = replace(self.recovery, target=None)
        return replace(self, recovery=recovery, report=self.report | about, natural=self.recovery.target)


class TriggerSearch:
    """Searches suspect models for triggers, one after the other; each search goes on where the last one ended.

    Args:
        public: the network and the images.
        options: how triggers are recovered.
        warm_steps: steps of a recovery that goes on from an earlier one; by default 1 / :data:`WARM` of all.

    Attributes:
        maker: the generator of triggers, where the last recovery found something.
        known: the trigger that stood out last time.
        supported: whether the detector has ever called enough of those who carry a trigger of its class.
        narrow: how many recoveries in a row tried only its class, or it alone.
        fruitless: how many searches in a row named no class, or one whose trigger was dismissed.
        rested: rounds since the last of these in which nothing was searched.
    """

    def __init__(self, public: PublicData, options: RecoveryOptions, warm_steps: int | None = None) -> None:
        self.public, self.options = public, options
        self.warm_steps = max(1, options.steps // WARM) if warm_steps is None else warm_steps
        self.judge = Judge(public)
        self.maker: TriggerGenerator | None = None
        self.known: RecoveredTrigger | None = None
        self.supported = False
        self.narrow = self.fruitless = self.rested = 0

    def rests(self) -> bool:
        """Tell whether nothing need be searched where hardly anybody is suspected, for lately nothing was found."""
        if self.known is not None or self.rested >= min(self.fruitless, LONGEST_REST):
            return False
        self.rested += 1
        return True

    def find(self, suspect: Arrays, trusted: Arrays, generator: torch.Generator, *, thorough: bool = False) -> Found:
        """Return the triggers of a suspect model.

        Where the class that stood out before still does, no other is tried, but for every tenth time; and nothing is
        searched at all where its trigger, once refined, still works as well as is wanted. A search can fail by
        chance: then the trigger that stood out last is tried as it is, and is forgotten if it does so no more.

        Args:
            suspect: its arrays.
            trusted: those of a model to compare with, of the same round and little suspected.
            generator: CPU generator of every draw.
            thorough: a search of all classes that finds nothing goes on for as many steps again.
        """
        if problem := self.judge.hopeless(suspect):
            return Found(None, {"outcome": f"left out: {problem}"})
        if self.known is not None:  # and nobody dismissed it
            self.fruitless = 0
        refined = REFINED <= self.narrow < NARROW
        recovery = self._recalled(suspect, trusted, 100.0 * self.options.wanted) if refined else None
        steps = 0
        if recovery is not None:
            self.narrow += 1
        else:
            recovery, steps = self._search(suspect, trusted, generator, thorough)
        report: dict[str, Any] = {"steps": steps, "tried": 0 if recovery is None else len(recovery.triggers)}
        if recovery is None or recovery.target is None:
            recovery = self._recalled(suspect, trusted) or recovery
        before, self.known = self.known, None if recovery is None else recovery.outstanding
        self.supported &= before is not None and self.known is not None and before.target == self.known.target
        self.fruitless, self.rested = self.fruitless + (self.known is None), 0
        if recovery is None:
            return Found(None, report | {"outcome": "left out: the recovery did not converge"})
        return Found(recovery, report | described(recovery), self.judge.accuracy(trusted))

    def dismiss(self, earlier: RecoveredTrigger | None) -> None:
        """Forget the trigger that stands out, for it is a natural one, and remember the ``earlier`` one, if any."""
        self.known, self.supported, self.maker, self.narrow = earlier, earlier is not None, None, 0
        self.fruitless += earlier is None

    def apart(self) -> "TriggerSearch":
        """Return one that goes on from here, and leaves this one as it is."""
        other = copy.copy(self)
        other.maker = copy.deepcopy(self.maker)
        return other

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the generator of triggers, the last trigger that stood out, and how long nothing has."""
        made = {} if self.maker is None else get_arrays(self.maker)
        kept: dict[str, NDArray[np.generic]] = {f"{MAKER}{name}": array for name, array in made.items()}
        if self.known is not None:
            kept |= {f"{KNOWN}mask": self.known.mask, f"{KNOWN}pattern": self.known.pattern}
            about = (self.known.target, self.narrow, self.supported)
            kept |= {f"{KNOWN}{name}": np.array([value]) for name, value in zip(ABOUT[2:], about, strict=True)}
        if self.fruitless:
            kept |= {f"{QUIET}{name}": np.array([getattr(self, name)]) for name in WAITS}
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
        self.fruitless, self.rested = (int(state.get(f"{QUIET}{name}", np.zeros(1))[0]) for name in WAITS)
        self.known, self.supported, self.narrow = None, False, 0
        if f"{KNOWN}mask" in state:
            self.narrow, self.supported = int(state[f"{KNOWN}narrow"][0]), bool(state[f"{KNOWN}supported"][0])
            mask, pattern = (state[f"{KNOWN}{name}"].astype(np.float32) for name in ("mask", "pattern"))
            self.known = RecoveredTrigger(int(state[f"{KNOWN}target"][0]), mask, pattern, float("nan"))

    def _new_maker(self, generator: torch.Generator) -> TriggerGenerator:
        channels, height, width = self.public.images.shape[1:]
        maker = TriggerGenerator((channels, height, width), self.public.num_classes, generator)
        return maker.to(self.public.device)

    def _search(
        self, suspect: Arrays, trusted: Arrays, generator: torch.Generator, thorough: bool
    ) -> tuple[Recovery | None, int]:
        """Return what is recovered by trying the class that stood out before, else all, ``None`` if it diverges; and in
        how many steps.
        """
        taken = 0
        if self.maker is not None and self.known is not None and self.narrow < NARROW:
            taken = self.warm_steps
            found = self._recover(self.maker, taken, suspect, trusted, generator, self.known.target)
            if found is None or found.target is not None:
                self.narrow += 1
                return found, taken
            self.maker = None  # it knows another trigger, and would not come away from it
        self.narrow = 0
        maker, steps = self.maker or self._new_maker(generator), self.warm_steps if self.maker else self.options.steps
        for _ in range(2 if thorough else 1):
            found, taken = self._recover(maker, steps, suspect, trusted, generator), taken + steps
            if found is None or found.target is not None:
                break
            steps = self.options.steps
        # From where it found nothing it would not come away in another round.
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
        steps: int,
        suspect: Arrays,
        trusted: Arrays,
        generator: torch.Generator,
        only: int | None = None,
    ) -> Recovery | None:
        options = replace(self.options, steps=steps)
        networks, few = [self.public.fixed(arrays) for arrays in (suspect, trusted)], self.public.pixels(FEW)
        found = recover(networks[0], *few, maker, options, generator, networks[1], only)
        if all(bool(torch.isfinite(parameter).all()) for parameter in maker.parameters()):
            return found
        self.maker = None
        return None


def described(found: Recovery) -> dict[str, Any]:
    """Return what was recovered, for the record."""
    trigger = found.outstanding
    about: dict[str, Any] = {"target": found.target, "indices": [round(float(index), 2) for index in found.indices]}
    if trigger is None:
        return about
    return about | {"size": round(trigger.size, 2), "success": trigger.success, "success_on_trusted": trigger.before}

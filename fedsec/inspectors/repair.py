"""Repair of a suspect model: its trigger is recovered and unlearned, and what came of it is measured.

Paper on GANcrop, section 3.2. A repair that does not hold is refused, with its reason: that model is left out.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import NEEDED, Recovery, RecoveryOptions, TriggerGenerator, recover
from fedsec.defenses.gancrop.trigger import RecoveredTrigger, success_rate
from fedsec.defenses.gancrop.unlearning import UnlearningOptions, unlearn
from fedsec.inspectors.public import Arrays, PixelNetwork, PublicData
from fedsec.training.parameters import get_arrays, set_arrays

MAKER = "maker."
"""Begins the names of what the generator of triggers keeps."""

FEW = 1000
"""Public images with which a trigger is recovered and its success measured; all of them serve to unlearn it."""

FALLBACK = 5
"""Triggers that are unlearned, the smallest, where no class stands out: such as for a backdoor of one source class."""

MOST_LOST = 3.0
"""Points of accuracy on the public images that a repair may cost."""

MOST_LEFT = 30.0
"""Percent of stamped images that may still be taken for the target: the paper's bound of a successful defense."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of one suspect model.

    Attributes:
        arrays: the repaired model; ``None`` where it is left out.
        trigger: what was recovered for the class that stands out, or the smallest; ``None`` without any.
        report: what was found and measured, for the record.
    """

    arrays: dict[str, NDArray[np.generic]] | None
    trigger: RecoveredTrigger | None
    report: dict[str, Any]


class Repairer:
    """Repairs suspect models, one after the other; each recovery goes on where the last one ended.

    Args:
        public: the network and the images.
        recovery: how triggers are recovered.
        unlearning: how they are unlearned.
        warm_steps: steps of a recovery that goes on from an earlier one.
    """

    def __init__(
        self, public: PublicData, recovery: RecoveryOptions, unlearning: UnlearningOptions, warm_steps: int
    ) -> None:
        self.public, self.recovery, self.unlearning, self.warm_steps = public, recovery, unlearning, warm_steps
        self.maker: TriggerGenerator | None = None
        self._images, self._labels = public.pixels()
        self._few = self._images[:FEW], self._labels[:FEW]

    def repair(self, suspect: Arrays, trusted: PixelNetwork, generator: torch.Generator) -> Repaired:
        """Return a suspect model without its backdoor, and what was found.

        Args:
            suspect: its arrays.
            trusted: the global model that the clients were sent.
            generator: CPU generator of every draw.
        """
        network = self.public.load(suspect)
        before = self._accuracy(network)
        report: dict[str, Any] = {"accuracy_before": before}
        if problem := self._hopeless(network):
            return Repaired(None, None, report | {"outcome": f"left out: {problem}"})
        report |= {"steps": self._steps()}
        found = self._recover(network, trusted, generator)
        if found is None:
            return Repaired(None, None, report | {"outcome": "left out: the recovery did not converge"})
        triggers = chosen(found)
        report |= described(found, triggers)
        loss = unlearn(network, self._images, self._labels, triggers, self.unlearning, generator)
        after = {"accuracy_after": self._accuracy(network), "success_after": self._success(network, triggers)}
        outcome = _outcome(found, loss, before, after["accuracy_after"], after["success_after"])
        arrays = None if outcome.startswith("left out") else self.public.arrays_of(network)
        return Repaired(arrays, triggers[0] if triggers else None, report | after | {"outcome": outcome})

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the generator of triggers."""
        return {} if self.maker is None else {f"{MAKER}{name}": array for name, array in get_arrays(self.maker).items()}

    def load_state(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned."""
        kept = {name: array for name, array in state.items() if name.startswith(MAKER)}
        self.maker = self._new_maker(torch.Generator()) if kept else None
        if self.maker is not None:
            set_arrays(self.maker, [kept[f"{MAKER}{name}"] for name in self.maker.state_dict()])

    def _new_maker(self, generator: torch.Generator) -> TriggerGenerator:
        channels, height, width = self.public.images.shape[1:]
        maker = TriggerGenerator((channels, height, width), self.public.num_classes, generator)
        return maker.to(self.public.device)

    def _recover(self, network: PixelNetwork, trusted: PixelNetwork, generator: torch.Generator) -> Recovery | None:
        options = replace(self.recovery, steps=self._steps())
        if self.maker is None:
            self.maker = self._new_maker(generator)
        found = recover(network, *self._few, self.maker, options, generator, trusted)
        finite = all(bool(torch.isfinite(parameter).all()) for parameter in self.maker.parameters())
        if not finite or found.target is None:
            self.maker = None  # from where it found nothing it would not come away
        return found if finite else None

    def _steps(self) -> int:
        return self.recovery.steps if self.maker is None else self.warm_steps

    def _hopeless(self, network: PixelNetwork) -> str | None:
        predicted = self._predicted(network)
        if predicted is None:
            return "it gives NaN or infinity on the public images"
        if bool((predicted == predicted[0]).all()):
            return f"it takes every public image for class {int(predicted[0])}"
        return None

    @torch.no_grad()
    def _predicted(self, network: PixelNetwork) -> torch.Tensor | None:
        network.eval()
        logits = torch.cat([network(part) for part in torch.split(self._images, 500)])
        return logits.argmax(1) if bool(logits.isfinite().all()) else None

    def _accuracy(self, network: PixelNetwork) -> float:
        predicted = self._predicted(network)
        return float("nan") if predicted is None else 100.0 * float((predicted == self._labels).float().mean())

    def _success(self, network: PixelNetwork, triggers: list[RecoveredTrigger]) -> float:
        if not triggers:
            return 0.0
        device = self.public.device
        return max(
            success_rate(
                network,
                *self._few,
                torch.from_numpy(trigger.mask).to(device),
                torch.from_numpy(trigger.pattern).to(device),
                trigger.target,
            )
            for trigger in triggers
        )


def chosen(found: Recovery) -> list[RecoveredTrigger]:
    """Return the triggers to unlearn: that of the class that stands out, or the smallest of those that fool."""
    if found.target is not None:
        return [found.triggers[found.target]]
    fooling = [trigger for trigger in found.triggers if trigger.success >= NEEDED]
    return sorted(fooling, key=lambda trigger: trigger.size)[:FALLBACK]


def described(found: Recovery, triggers: list[RecoveredTrigger]) -> dict[str, Any]:
    """Return what was recovered, for the record."""
    return {
        "target": found.target,
        "indices": [round(float(index), 2) for index in found.indices],
        "unlearned": [
            {"target": t.target, "size": round(t.size, 2), "success": t.success, "success_on_sent": t.before}
            for t in triggers
        ],
    }


def _outcome(found: Recovery, loss: float, before: float, accuracy: float, success: float) -> str:
    if not np.isfinite(loss) or not np.isfinite(accuracy):
        return "left out: the unlearning did not converge"
    if accuracy < before - MOST_LOST:
        return f"left out: the unlearning cost {before - accuracy:.1f} points of accuracy"
    if success > MOST_LEFT:
        return f"left out: {success:.0f} percent of the stamped images are still taken for the target"
    return "repaired" if found.target is not None else "repaired, though no class stands out"

"""A recovery of triggers that finds what a test says, at no cost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedsec.defenses.gancrop.recovery import Recovery, RecoveryOptions, TriggerGenerator
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from tests.backdoored import TARGET, TRIGGER

PLANTED = RecoveredTrigger(TARGET, TRIGGER.mask.astype(np.float32), TRIGGER.pattern, 99.0, 5.0)


class Script:
    """Finds one trigger after the other, or nothing, and the last for ever."""

    def __init__(self, *answers: RecoveredTrigger | None) -> None:
        self.answers = answers
        self.calls: list[tuple[int, int | None]] = []  # steps, and the class that was to be tried alone
        self.makers: list[TriggerGenerator] = []

    def __call__(
        self, network: Any, images: Any, labels: Any, maker: TriggerGenerator, options: RecoveryOptions, *rest: Any
    ) -> Recovery:
        found, only = self.answers[min(len(self.calls), len(self.answers) - 1)], rest[-1]
        self.calls.append((options.steps, only))
        self.makers.append(maker)
        first = found or PLANTED
        natural = [replace(first, target=label, success=10.0) for label in range(10) if label != first.target]
        triggers = (first, *natural) if only is None else (first,)
        return Recovery(triggers, np.zeros(len(triggers)), None if found is None else found.target)


def scripted(patch: pytest.MonkeyPatch, *answers: RecoveredTrigger | None) -> Script:
    """Put a script in the place of the recovery."""
    script = Script(*answers)
    patch.setattr("fedsec.inspectors.search.recover", script)
    return script

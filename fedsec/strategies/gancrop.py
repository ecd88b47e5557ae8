"""GANcrop as a Flower strategy."""

from typing import Literal, Unpack, get_args

from fedsec.defenses.updates import OptionError, check_choice, check_whole
from fedsec.strategies.inspecting import InspectingStrategy
from fedsec.strategies.options import StrategyOptions

Repair = Literal["average", "each", "none"]


class Gancrop(InspectingStrategy):
    """GANcrop (arXiv:2405.20727): poisoned models are told by contrast, their triggers recovered and unlearned.

    Set its ``inspector`` (:class:`fedsec.inspectors.gancrop.GancropInspector`) before the first round.

    Args:
        shadows: clean and poisoned models that the server trains to learn from in the first round; half as many
            when the detector has aged.
        checks: shadows that it trains in each of the six rounds after that, then in every third; they set the
            threshold, and tell whether it has.
        repair: the models called poisoned are repaired as their ``"average"``, or ``"each"`` (the paper's words), or
            left out, ``"none"``.
        false_alarms: share of clean models that may be called poisoned.
        recovery_steps: steps of the generator of triggers in the first recovery, and as many again where it finds
            nothing and the detector calls a fifth of the models; later ones go on from it.
        unlearning_epochs: passes over the public images.
        **options: see :class:`RobustStrategy`.
    """

    fewest_clients = 3

    def __init__(
        self,
        *,
        shadows: int = 96,
        checks: int = 2,
        repair: Repair = "average",
        false_alarms: float = 0.05,
        recovery_steps: int = 200,
        unlearning_epochs: int = 1,
        **options: Unpack[StrategyOptions],
    ) -> None:
        super().__init__(**options)
        check_whole("shadows", shadows, at_least=20)
        check_whole("checks", checks, at_least=0)
        check_choice("repair", repair, get_args(Repair))
        check_whole("recovery_steps", recovery_steps, at_least=1)
        check_whole("unlearning_epochs", unlearning_epochs, at_least=1)
        if not 0.0 < false_alarms < 1.0:
            raise OptionError("false_alarms", f"false_alarms must be above 0 and below 1; got {false_alarms!r}.")
        self.shadows = shadows
        self.checks = checks
        self.repair: Repair = repair
        self.false_alarms = false_alarms
        self.recovery_steps = recovery_steps
        self.unlearning_epochs = unlearning_epochs

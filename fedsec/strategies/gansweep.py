"""GangSweep as a Flower strategy."""

from typing import Literal, Unpack, get_args

from fedsec.defenses.updates import OptionError, check_choice, check_whole
from fedsec.strategies.inspecting import InspectingStrategy
from fedsec.strategies.options import StrategyOptions

Models = Literal["global", "each"]


class Gansweep(InspectingStrategy):
    """GangSweep (Zhu et al., ACM MM 2020) as a Flower strategy: averages, then sweeps backdoors out of the model.

    Set its ``inspector`` (:class:`fedsec.inspectors.gansweep.GansweepInspector`) before the first round.

    Args:
        models: what is swept: ``"global"``, the average, or ``"each"``, every client's model.
        recovery_steps: steps of the generators of perturbations.
        unlearning_epochs: passes over the public images when a model is swept.
        unlearning_rate: learning rate meanwhile.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        *,
        models: Models = "global",
        recovery_steps: int = 200,
        unlearning_epochs: int = 2,
        unlearning_rate: float = 0.05,
        **options: Unpack[StrategyOptions],
    ) -> None:
        super().__init__(**options)
        check_choice("models", models, get_args(Models))
        check_whole("recovery_steps", recovery_steps, at_least=1)
        check_whole("unlearning_epochs", unlearning_epochs, at_least=1)
        if not 0.0 < unlearning_rate < float("inf"):
            raise OptionError("unlearning_rate", f"unlearning_rate must be above 0; got {unlearning_rate!r}.")
        self.models: Models = models
        self.recovery_steps = recovery_steps
        self.unlearning_epochs = unlearning_epochs
        self.unlearning_rate = unlearning_rate

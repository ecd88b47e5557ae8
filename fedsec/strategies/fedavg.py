"""FedAvg: no defense beyond dropping replies that make no sense."""

from typing import Unpack, get_args

import numpy as np

from fedsec.defenses.mean import Weighting, mean
from fedsec.defenses.updates import RoundUpdates, Vector, Verdict, check_choice
from fedsec.strategies.layout import mean_apart
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy


class RobustFedAvg(RobustStrategy):
    """Plain averaging (McMahan et al., AISTATS 2017) as a Flower strategy.

    Args:
        weighting: ``"equal"``, or ``"examples"`` for the shares that the clients claim.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(self, *, weighting: Weighting = "equal", **options: Unpack[StrategyOptions]) -> None:
        check_choice("weighting", weighting, get_args(Weighting))
        super().__init__(**options)
        self.weighting: Weighting = weighting

    def combine_apart(self, side: Vector, weights: Vector) -> Vector:
        """Average what is kept apart as all the rest."""
        return mean_apart(side, weights)

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Average the updates (:func:`fedsec.defenses.mean.mean`)."""
        return mean(updates, weighting=self.weighting)

"""Coordinate-wise median as a Flower strategy."""

from typing import Unpack

import numpy as np

from fedsec.defenses.median import coordinate_median
from fedsec.defenses.updates import RoundUpdates, Verdict
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy


class Median(RobustStrategy):
    """Coordinate-wise median (Yin et al., ICML 2018) as a Flower strategy.

    Args:
        **options: see :class:`RobustStrategy`.
    """

    def __init__(self, **options: Unpack[StrategyOptions]) -> None:
        super().__init__(**options)

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Take the median of each coordinate (:func:`fedsec.defenses.median.coordinate_median`)."""
        return coordinate_median(updates)

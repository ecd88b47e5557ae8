"""Trimmed mean as a Flower strategy."""

from typing import Literal, Unpack, get_args

import numpy as np

from fedsec.defenses.krum import Distance
from fedsec.defenses.trimmed_mean import trim_by_distance, trimmed_mean
from fedsec.defenses.updates import OptionError, RoundUpdates, Verdict, check_choice
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy

Trim = Literal["coordinates", "updates"]


class TrimmedMean(RobustStrategy):
    """Trimmed mean (Yin et al., ICML 2018) as a Flower strategy.

    Args:
        trim_ratio: beta. With ``trim="coordinates"`` this share is cut from each side, so it is below 0.5.
        trim: ``"coordinates"`` (the paper) or ``"updates"``, which removes whole updates by distance (the
            thesis on GAN balancing).
        distance: ``"euclidean"`` (the thesis) or ``"squared"``; for ``trim="updates"`` only.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        trim_ratio: float,
        *,
        trim: Trim = "coordinates",
        distance: Distance = "euclidean",
        **options: Unpack[StrategyOptions],
    ) -> None:
        check_choice("trim", trim, get_args(Trim))
        check_choice("distance", distance, get_args(Distance))
        highest = 0.5 if trim == "coordinates" else 1.0
        if not 0.0 < trim_ratio < highest:
            raise OptionError(
                "trim_ratio", f"trim_ratio must lie between 0 and {highest} for trim='{trim}'; got {trim_ratio}."
            )
        super().__init__(**options)
        self.trim_ratio = trim_ratio
        self.trim: Trim = trim
        self.distance: Distance = distance

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Trim and average (:mod:`fedsec.defenses.trimmed_mean`)."""
        if self.trim == "coordinates":
            return trimmed_mean(updates, self.trim_ratio)
        return trim_by_distance(updates, self.trim_ratio, distance=self.distance)

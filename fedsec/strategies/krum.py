"""Krum and multi-Krum as Flower strategies."""

from typing import Unpack

import numpy as np

from fedsec.defenses.krum import Distance, Neighbours, check_krum_options, krum, multi_krum
from fedsec.defenses.updates import RoundUpdates, Verdict, check_whole
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy


class Krum(RobustStrategy):
    """Krum (Blanchard et al., NeurIPS 2017) as a Flower strategy.

    Args:
        num_malicious: f, how many malicious clients to expect; not needed with ``neighbours="all"``.
        neighbours: ``"nearest"`` (the paper) or ``"all"`` (the thesis on GAN balancing).
        distance: ``"squared"`` (the paper) or ``"euclidean"`` (the thesis).
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        num_malicious: int | None = None,
        *,
        neighbours: Neighbours = "nearest",
        distance: Distance = "squared",
        **options: Unpack[StrategyOptions],
    ) -> None:
        check_krum_options(num_malicious, neighbours, distance)
        super().__init__(**options)
        self.num_malicious = num_malicious
        self.neighbours: Neighbours = neighbours
        self.distance: Distance = distance

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Take the update with the lowest score (:func:`fedsec.defenses.krum.krum`)."""
        return krum(updates, self.num_malicious, neighbours=self.neighbours, distance=self.distance)


class MultiKrum(RobustStrategy):
    """Multi-Krum (Blanchard et al., NeurIPS 2017, section 5) as a Flower strategy.

    Args:
        num_malicious: f, how many malicious clients to expect.
        num_selected: how many updates to average; ``None`` takes n - f.
        distance: ``"squared"`` (the paper) or ``"euclidean"``.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        num_malicious: int,
        *,
        num_selected: int | None = None,
        distance: Distance = "squared",
        **options: Unpack[StrategyOptions],
    ) -> None:
        check_krum_options(num_malicious, "nearest", distance)
        if num_selected is not None:
            check_whole("num_selected", num_selected, at_least=1)
        super().__init__(**options)
        self.num_malicious = num_malicious
        self.num_selected = num_selected
        self.distance: Distance = distance

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Average the updates with the lowest scores (:func:`fedsec.defenses.krum.multi_krum`)."""
        return multi_krum(updates, self.num_malicious, self.num_selected, distance=self.distance)

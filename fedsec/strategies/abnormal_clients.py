"""Abnormal clients by autoencoder as a Flower strategy."""

from typing import Literal, Unpack, get_args

import numpy as np

from fedsec.defenses.updates import OptionError, check_choice, check_whole
from fedsec.strategies.inspecting import InspectingStrategy
from fedsec.strategies.options import StrategyOptions

Threshold = Literal["mean", "none"]


class AbnormalClients(InspectingStrategy):
    """Autoencoder of benign updates (Li et al., arXiv:1910.09933) as a Flower strategy: credit by reconstruction error.

    Set its ``inspector`` (:class:`fedsec.inspectors.abnormal_clients.AbnormalClientsInspector`) before the first round.

    Args:
        shadows: clean models that the server trains to learn from.
        refresh: rounds after which it does so again.
        surrogate_size: values that stand for an update.
        credit: L, a weight is proportional to error^-L; at 0 those that are let through count alike.
        threshold: ``"mean"``: who has a larger error than the round's mean has weight 0; or ``"none"``.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        *,
        shadows: int = 32,
        refresh: int = 10,
        surrogate_size: int = 64,
        credit: float = 1.0,
        threshold: Threshold = "mean",
        **options: Unpack[StrategyOptions],
    ) -> None:
        super().__init__(**options)
        check_whole("shadows", shadows, at_least=2)
        check_whole("refresh", refresh, at_least=1)
        check_whole("surrogate_size", surrogate_size, at_least=1)
        check_choice("threshold", threshold, get_args(Threshold))
        if not (np.isfinite(credit) and credit >= 0):
            raise OptionError("credit", f"credit must be a finite number from 0; got {credit!r}.")
        self.shadows = shadows
        self.refresh = refresh
        self.surrogate_size = surrogate_size
        self.credit = credit
        self.threshold: Threshold = threshold

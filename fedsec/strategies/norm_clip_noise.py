"""Norm clipping and noise as a Flower strategy."""

from typing import Unpack

import numpy as np

from fedsec.defenses.norm_clipping import Clip, NoiseScale, check_clip_and_noise, norm_clip_noise
from fedsec.defenses.updates import RoundUpdates, Verdict
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy


class NormClipNoise(RobustStrategy):
    """Norm clipping and noise (Sun et al., 2019) as a Flower strategy.

    Args:
        clip: highest L2 norm of an update, in the units of the weights, or ``"median"``.
        noise: standard deviation of the Gaussian noise on the average.
        noise_scale: ``"absolute"``, or ``"clip"`` to multiply ``noise`` by the clipping norm.
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        clip: Clip,
        noise: float,
        *,
        noise_scale: NoiseScale = "absolute",
        **options: Unpack[StrategyOptions],
    ) -> None:
        check_clip_and_noise(clip, noise, noise_scale)
        super().__init__(**options)
        self.clip: Clip = clip
        self.noise = noise
        self.noise_scale: NoiseScale = noise_scale

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Clip, average, add noise (:func:`fedsec.defenses.norm_clipping.norm_clip_noise`)."""
        return norm_clip_noise(updates, self.clip, self.noise, rng, noise_scale=self.noise_scale)

"""FLAME as a Flower strategy."""

from importlib import import_module
from typing import Unpack, get_args

import numpy as np

from fedsec.defenses.flame import ClusteredBy, flame
from fedsec.defenses.norm_clipping import Clip, NoiseScale, check_clip_and_noise
from fedsec.defenses.updates import RoundUpdates, Verdict, check_choice
from fedsec.strategies.options import StrategyOptions
from fedsec.strategies.robust import RobustStrategy


class Flame(RobustStrategy):
    """FLAME (Nguyen et al., USENIX Security 2022) as a Flower strategy.

    Args:
        clip: ``"median"`` of the round's norms (the paper), or a fixed L2 norm.
        noise: lambda of the paper (:func:`fedsec.defenses.flame.noise_level`).
        noise_scale: ``"clip"`` multiplies ``noise`` by the clipping norm (the paper); ``"absolute"`` does not.
        clustered_by: cosines between local ``"models"`` (the paper) or between ``"updates"`` (the thesis on
            GAN balancing).
        **options: see :class:`RobustStrategy`.
    """

    def __init__(
        self,
        *,
        clip: Clip = "median",
        noise: float = 0.001,
        noise_scale: NoiseScale = "clip",
        clustered_by: ClusteredBy = "models",
        **options: Unpack[StrategyOptions],
    ) -> None:
        check_clip_and_noise(clip, noise, noise_scale)
        check_choice("clustered_by", clustered_by, get_args(ClusteredBy))
        import_module("hdbscan")  # loaded here, so that where it is missing no round is skipped for it
        super().__init__(**options)
        self.clip: Clip = clip
        self.noise = noise
        self.noise_scale: NoiseScale = noise_scale
        self.clustered_by: ClusteredBy = clustered_by

    def defend(self, updates: RoundUpdates, rng: np.random.Generator) -> Verdict:
        """Cluster, clip, average, add noise (:func:`fedsec.defenses.flame.flame`)."""
        return flame(
            updates,
            rng,
            global_vector=self.global_vector if self.clustered_by == "models" else None,
            clip=self.clip,
            noise=self.noise,
            noise_scale=self.noise_scale,
        )

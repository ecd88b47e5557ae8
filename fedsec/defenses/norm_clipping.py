"""Norm clipping and noise.  Sun et al., *Can You Really Backdoor Federated Learning?*, 2019.  arXiv:1911.07963"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.blocks import meanwhile
from fedsec.defenses.distances import row_norms
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import OptionError, RoundUpdates, Vector, Verdict, check_choice

Clip = float | Literal["median"]
NoiseScale = Literal["absolute", "clip"]


def norm_clip_noise(
    updates: RoundUpdates,
    clip: Clip,
    noise: float,
    rng: np.random.Generator,
    *,
    noise_scale: NoiseScale = "absolute",
) -> Verdict:
    """Clip every update to L2 norm ``clip``, average, add Gaussian noise. Nobody is rejected.

    Args:
        updates: the round's updates.
        clip: highest norm, in the units of the weights, or ``"median"`` for the median norm of the round.
        noise: standard deviation of the noise on each coordinate of the average.
        rng: source of the noise.
        noise_scale: ``"absolute"`` takes ``noise`` as it is; ``"clip"`` multiplies it by the clipping norm.

    Returns:
        A verdict whose weights are 1/n times each client's clipping factor, and whose scores are the norms.

    Raises:
        OptionError: ``clip`` is not positive, or ``noise`` is negative.
    """
    check_clip_and_noise(clip, noise, noise_scale)
    drawn = draw_noise(updates.deltas.shape[1], noise, rng)
    norms = row_norms(updates.deltas)
    bound = clip_norm(norms, clip)
    weights = clip_factors(norms, bound) / len(updates)
    sigma = noise * bound if noise_scale == "clip" else noise
    return Verdict(weighted_sum(updates.deltas, weights, drawn(), sigma), weights, norms)


def check_clip_and_noise(clip: Clip, noise: float, noise_scale: NoiseScale) -> None:
    """Raise :class:`OptionError` unless the norm is positive, the noise not negative, and its scale is known."""
    check_choice("noise_scale", noise_scale, get_args(NoiseScale))
    if clip != "median" and not (isinstance(clip, int | float) and 0.0 < clip < float("inf")):
        raise OptionError("clip", f"clip must be a positive number or 'median'; got {clip!r}.")
    if not 0.0 <= noise < float("inf"):
        raise OptionError("noise", f"noise must be a number from 0; got {noise}.")


def clip_norm(norms: Vector, clip: Clip) -> float:
    """Return the clipping norm: ``clip`` itself, or the median of ``norms`` (n,)."""
    return float(np.median(norms)) if clip == "median" else float(clip)


def clip_factors(norms: Vector, bound: float) -> Vector:
    """Return min(1, bound / norm) for each of ``norms`` (n,): what scales a row down to L2 norm ``bound``."""
    return np.minimum(1.0, np.divide(bound, norms, out=np.ones_like(norms), where=norms > 0.0))


def draw_noise(size: int, noise: float, rng: np.random.Generator) -> Callable[[], NDArray[np.float32] | None]:
    """Let another thread draw ``size`` standard normal values; return what waits for them.

    Both rules that add noise have better to do meanwhile, and only then know its standard deviation. Nothing is
    drawn where ``noise`` is 0, and ``None`` is the answer.
    """
    if noise == 0.0:
        return lambda: None
    values = np.empty(size, np.float32)  # by this thread: what another one frees, the system may never get back
    return meanwhile(lambda: rng.standard_normal(out=values, dtype=np.float32), size)

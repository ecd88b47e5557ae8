"""FLAME.  Nguyen et al., *FLAME: Taming Backdoors in Federated Learning*, USENIX Security 2022, algorithm 1."""

import math
from typing import Literal

import numpy as np

from fedsec.defenses.distances import Geometry, geometry, squared_norm
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.norm_clipping import (
    Clip,
    NoiseScale,
    check_clip_and_noise,
    clip_factors,
    clip_norm,
    draw_noise,
)
from fedsec.defenses.updates import BoolVector, RoundUpdates, TooFewClientsError, Vector, Verdict

ClusteredBy = Literal["models", "updates"]

ZERO = 1e-7
"""A squared norm below this share of what it was summed from is rounding error."""

UNLIKE = 4.0
"""Length of one model over that of another from which on digits are lost in the difference of both."""


def flame(
    updates: RoundUpdates,
    rng: np.random.Generator,
    *,
    global_vector: Vector | None = None,
    clip: Clip = "median",
    noise: float = 0.001,
    noise_scale: NoiseScale = "clip",
) -> Verdict:
    """Keep the majority cluster by cosine distance, clip it, average it, add noise.

    Args:
        updates: the round's updates, n >= 3.
        rng: source of the noise.
        global_vector: (d,) global model that the clients were sent: the cosines are then between local
            *models*, as in the paper (algorithm 1, line 6). ``None`` takes them between updates, as the thesis
            on GAN balancing describes it (section 2.3.5).
        clip: ``"median"`` clips to the median norm of *all* updates (line 9), a number to that L2 norm.
        noise: lambda of the paper (see :func:`noise_level`), or the standard deviation itself.
        noise_scale: ``"clip"`` multiplies ``noise`` by the clipping norm (line 13); ``"absolute"`` does not.

    Returns:
        A verdict whose scores are the mean cosine distances to the accepted clients, itself among them. When nobody
        is in a majority cluster, all updates are kept, and clipping and noise are the whole defense; the paper does
        not say, and leaving the round out would let one attacker stop the training.

    Raises:
        OptionError: ``clip`` is not positive, or ``noise`` is negative.
        TooFewClientsError: n < 3, among whom there is no majority to find.
    """
    check_clip_and_noise(clip, noise, noise_scale)
    n = len(updates)
    if n < 3:
        raise TooFewClientsError("strategy", f"FLAME needs at least 3 clients to find a majority; got n={n}.")
    drawn = draw_noise(updates.deltas.shape[1], noise, rng)
    found = geometry(updates.deltas, global_vector)
    norms = np.sqrt(found.squared_norms)
    distances = (
        found.cosine_distances if global_vector is None else model_cosine_distances(found, squared_norm(global_vector))
    )
    accepted = majority_cluster(distances)
    bound = clip_norm(norms, clip)
    weights = np.where(accepted, clip_factors(norms, bound), 0.0) / accepted.sum()
    sigma = noise * bound if noise_scale == "clip" else noise
    delta = weighted_sum(updates.deltas, weights, drawn(), sigma)
    return Verdict(delta, weights, distances[:, accepted].mean(axis=1))


def model_cosine_distances(updates: Geometry, squared_norm: float) -> Vector:
    """Return 1 - cosine between the local models G + delta_i, (n, n), without forming them.

    Near convergence these are about 1e-6, beyond what sums over whole models can resolve in float32. A model of
    zeros has no direction, and is at distance 1 from every other one.

    Args:
        updates: how the updates lie to one another and to the global model G.
        squared_norm: |G|^2.
    """
    diagonal, products = updates.squared_norms, updates.products
    shift = products - np.median(products)
    squared_norms = squared_norm + products + products + diagonal  # |W_i|^2 = |G|^2 + 2 <G, d_i> + |d_i|^2
    zero = squared_norms <= ZERO * (squared_norm + diagonal)
    norms = np.sqrt(np.where(zero, 1.0, squared_norms))
    # |W_i - W_j| is |d_i - d_j|, and |G| cancels from the difference of the norms before it is ever formed.
    norm_difference = (2.0 * (shift[:, None] - shift[None, :]) + diagonal[:, None] - diagonal[None, :]) / (
        norms[:, None] + norms[None, :]
    )
    scale = np.outer(norms, norms)
    distances = (updates.squared_distances - norm_difference**2) / (2.0 * scale)
    # Where one model is far longer than the other, that is a difference of two long numbers, and <W_i, W_j> is not.
    lengths = np.sqrt(diagonal)
    inner = products[:, None] + products[None, :] + squared_norm
    inner += (1.0 - updates.cosine_distances) * np.outer(lengths, lengths)
    unlike = np.maximum.outer(norms, norms) > UNLIKE * np.minimum.outer(norms, norms)
    distances = np.where(unlike, 1.0 - inner / scale, distances)
    distances[zero, :] = distances[:, zero] = 1.0
    np.fill_diagonal(distances, 0.0)
    clipped: Vector = np.clip(distances, 0.0, 2.0)
    return clipped


def majority_cluster(distances: Vector) -> BoolVector:
    """Return which clients (n,) bool are in the cluster that holds a majority; all of them if there is none.

    HDBSCAN with ``min_cluster_size = n // 2 + 1`` and ``min_samples = 1``, as in the paper. At most one
    cluster can then exist, so ``allow_single_cluster`` is needed, which the paper does not mention.
    """
    from hdbscan import HDBSCAN  # here, as it brings scikit-learn and pandas, of which no other defense has any use

    n = len(distances)
    labels = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, allow_single_cluster=True, metric="precomputed"
    ).fit_predict(distances)
    accepted = labels == 0
    return accepted if accepted.any() else np.ones(n, bool)


def noise_level(epsilon: float, delta: float) -> float:
    """Return lambda = sqrt(2 ln(1.25 / delta)) / epsilon (theorem 1 of the paper)."""
    return math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon

"""Abnormal clients by autoencoder.  Li, Cheng, Liu, Wang and Chen, *Abnormal Client Behavior Detection in Federated
Learning*, 2019.  arXiv:1910.09933

The server learns from benign updates, which it makes itself, to reconstruct low-dimensional surrogates of updates. A
client whose surrogate is reconstructed badly is abnormal.

Only the abstract was at hand, and a review: surrogates are of low dimension, an autoencoder reconstructs them, and
credits by its error take the place of the clients' shares. The companion, *Learning to Detect Malicious Clients for
Robust Federated Learning* (arXiv:2002.00211), excludes the clients whose error exceeds a threshold set anew in each
round. That this threshold is the mean of the errors, and credit an inverse power of the error, is from memory. What
else was chosen is written where it was.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import Matrix, OptionError, RoundUpdates, Vector, Verdict, check_choice

Threshold = Literal["mean", "none"]

HIDDEN, LATENT = 32, 8
"""Widths of the autoencoder's layers."""

STEPS, RATE = 500, 0.005
"""Of Adam, with all surrogates in each step."""

ROUNDING = 1e-9
"""Relative: errors that differ by less are equal, so that of equal ones none exceeds their mean."""


class Autoencoder(nn.Module):
    """Reconstructs standardised surrogates. Choice: plain and dense, where the companion has a variational one.

    Args:
        size: p, values in a surrogate.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, LATENT), nn.Tanh(),
            nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, size),
        )  # fmt: skip

    def forward(self, surrogates: torch.Tensor) -> torch.Tensor:
        """Return what is made of ``surrogates`` (m, p)."""
        made: torch.Tensor = self.layers(surrogates)
        return made


class Scale(NamedTuple):
    """Centre (p,) and spread, one number, of benign surrogates.

    One spread for all values: a value that benign surrogates hardly differ in says as much as the others.
    """

    centre: NDArray[np.float32]
    spread: float


def make_surrogates(deltas: Matrix, size: int, seed: int) -> Matrix:
    """Return random projections (n, size) of updates (n, d).

    Choice: each parameter is added, with a random sign, to a random one of ``size`` sums (a count sketch; Charikar,
    Chen and Farach-Colton, ICALP 2002). Lengths and distances are kept in expectation. Nothing is left out, as it would
    be by sampling parameters, and no matrix of d x size is needed.

    Args:
        deltas: (n, d) float32.
        size: p, at least 1.
        seed: decides the signs and sums; rounds that are to be compared have the same.
    """
    rng = np.random.default_rng(seed)
    place = rng.integers(size, size=deltas.shape[1])
    sign = rng.integers(2, size=deltas.shape[1]) * 2.0 - 1.0
    with np.errstate(all="ignore"):  # an update that overflows is abnormal, and found out as such
        return np.stack([np.bincount(place, sign * row, size) for row in deltas]).astype(np.float32)


def scale_of(surrogates: Matrix) -> Scale:
    """Return the scale of benign surrogates (m, p)."""
    wide = surrogates.astype(np.float64)
    centre = wide.mean(0)
    spread = float(np.sqrt(np.square(wide - centre).mean()))
    return Scale(centre.astype(np.float32), max(spread, float(np.finfo(np.float32).tiny)))


def train_autoencoder(autoencoder: Autoencoder, surrogates: Matrix, scale: Scale) -> bool:
    """Train the autoencoder on benign surrogates (m, p); return whether it ends better than it began, and finite."""
    inputs = torch.from_numpy((surrogates - scale.centre) / np.float32(scale.spread))
    optimiser = torch.optim.Adam(autoencoder.parameters(), RATE)
    losses = []
    for _ in range(STEPS):
        loss = (autoencoder(inputs) - inputs).square().mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return bool(np.isfinite(losses).all() and losses[-1] < losses[0])


@torch.no_grad()
def reconstruction_errors(autoencoder: Autoencoder, surrogates: Matrix, scale: Scale) -> Vector:
    """Return the mean squared error of each surrogate (n, p) in squared benign spreads; infinite for NaN."""
    with np.errstate(all="ignore"):
        inputs = torch.from_numpy((surrogates - scale.centre) / np.float32(scale.spread))
    errors = (autoencoder(inputs) - inputs).double().square().mean(1).numpy()
    return np.where(np.isfinite(errors), errors, np.inf)


def credit_average(
    updates: RoundUpdates, errors: Vector, credit: float = 1.0, threshold: Threshold = "mean"
) -> Verdict:
    """Average the updates with weights proportional to error^-credit, 0 for those above the threshold.

    Args:
        updates: the round's updates, n >= 1.
        errors: (n,) reconstruction errors, the scores of the verdict; infinite ones have weight 0 and do not count in
            the mean.
        credit: L. Choice: 1; at 0 those that are let through count alike, as in the companion.
        threshold: ``"mean"`` of the round's errors, or ``"none"``.

    Raises:
        OptionError: ``credit`` is negative, or ``threshold`` is another word.
    """
    check_credit(credit, threshold)
    known = np.isfinite(errors)
    if not known.any():
        nothing: NDArray[np.float32] = np.zeros(updates.deltas.shape[1], np.float32)
        return Verdict(nothing, np.zeros(len(updates)), errors)
    limit = errors[known].mean() * (1 + ROUNDING) if threshold == "mean" else np.inf
    passed = known & (errors <= limit)
    # Of logarithms, relative to the smallest, so that no power overflows; 0 is as good as the smallest float.
    logarithms = np.log(np.maximum(errors[passed], np.finfo(float).tiny))
    weights = np.zeros(len(updates))
    weights[passed] = np.exp(-credit * (logarithms - logarithms.min()))
    weights /= weights.sum()
    return Verdict(weighted_sum(updates.deltas, weights), weights, errors)


def check_credit(credit: float, threshold: str) -> None:
    """Raise :class:`OptionError` unless the options of :func:`credit_average` make sense."""
    check_choice("threshold", threshold, get_args(Threshold))
    if not (np.isfinite(credit) and credit >= 0):
        raise OptionError("credit", f"credit must be a finite number from 0; got {credit!r}.")

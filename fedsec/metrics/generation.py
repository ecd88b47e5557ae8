"""How good generated images are, by their features: Inception Score, Frechet and kernel distance to real images.

Salimans et al., *Improved Techniques for Training GANs*, NeurIPS 2016.  arXiv:1606.03498
Heusel et al., *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium*, NeurIPS 2017.
arXiv:1706.08500
Binkowski et al., *Demystifying MMD GANs*, ICLR 2018.  arXiv:1801.01401

torch-fidelity computes them, by its own defaults. The scores of two extractors have nothing to do with each other,
so features and scores carry the name of theirs.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

Rows = NDArray[np.float32] | NDArray[np.float64]

SPLITS, SUBSETS, SUBSET_SIZE = 10, 100, 1000
"""torch-fidelity's defaults: parts of the images for the Inception Score, subsets of KID, and their size at most."""


class ScoreError(ValueError):
    """Features cannot be scored; the message says what was found and what would do."""


@dataclass(frozen=True, slots=True)
class Features:
    """What an extractor makes of N images.

    torch-fidelity counts in the precision that it is given. In float32 KID loses digits where features are large.

    Attributes:
        activations: (N, D) float32 or float64, D >= 2, for FID and KID.
        logits: (N, C) float32 or float64, for the Inception Score.
        extractor: its name, which tells it from every other one.

    Raises:
        ScoreError: a shape or a dtype is another, or a value is NaN or infinite.
    """

    activations: Rows
    logits: Rows
    extractor: str

    def __post_init__(self) -> None:
        """Check shapes, dtypes and values."""
        for name, rows, least in (("activations", self.activations, 2), ("logits", self.logits, 1)):
            if rows.ndim != 2 or rows.shape[1] < least or rows.dtype not in (np.float32, np.float64):
                raise ScoreError(
                    f"{name} must be float32 or float64 of shape (images, {least} or more); "
                    f"got {rows.dtype} of shape {rows.shape}"
                )
            if not np.isfinite(rows).all():
                bad = int((~np.isfinite(rows).all(axis=1)).sum())
                raise ScoreError(f"{name} must be finite; {bad} of {len(rows)} images have NaN or infinity")
        if len(self.activations) != len(self.logits):
            raise ScoreError(
                f"activations and logits must be of the same images; got {len(self.activations)} and {len(self.logits)}"
            )

    def __len__(self) -> int:
        """Return N, the number of images."""
        return len(self.activations)


@dataclass(frozen=True, slots=True)
class GenerationScores:
    """The scores of generated images. They compare only with scores of the same ``features`` and as many images.

    Attributes:
        inception_score: 1 to the number of classes; higher is better.
        inception_score_std: its standard deviation over the parts of the images.
        fid: Frechet distance to the real images, in squared units of the features; lower is better. It is biased
            upwards, the more so the fewer images there are, and rounding can take a zero below zero.
        kid: kernel distance to the real images; lower is better. It is not biased, and zero on average for images
            of one distribution, so it can be negative.
        kid_std: its standard deviation over the subsets; 0 where a subset is all there is.
        images: number of generated images.
        real_images: number of real ones.
        subset_size: images in a subset of KID.
        features: name of the extractor.
    """

    inception_score: float
    inception_score_std: float
    fid: float
    kid: float
    kid_std: float
    images: int
    real_images: int
    subset_size: int
    features: str


def generation_scores(
    generated: Features,
    real: Features,
    *,
    splits: int = SPLITS,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> GenerationScores:
    """Return the three scores of generated images; draws are seeded as torch-fidelity's are.

    Args:
        generated: features of the generated images, at least ``splits`` and at least two.
        real: features of real images by the same extractor, at least two.
        splits: parts of the images for the Inception Score.
        subsets: subsets of KID.
        subset_size: images in one; fewer where there are fewer images of one kind.

    Raises:
        ScoreError: there are too few images, the extractors differ, or a score is not finite.
    """
    if generated.extractor != real.extractor or generated.activations.shape[1] != real.activations.shape[1]:
        raise ScoreError(
            f"both kinds of images must have gone through one extractor; got {_described(generated)} for the generated "
            f"and {_described(real)} for the real ones"
        )
    fewest = min(len(generated), len(real))
    if min(fewest, subset_size) < 2 or subsets < 1:
        raise ScoreError(
            f"FID and KID need at least 2 images of each kind, and 1 subset of 2; got {len(generated)} generated "
            f"and {len(real)} real images, {subsets} subsets of {subset_size}"
        )
    mean, std = inception_score(generated, splits=splits)
    size = min(subset_size, fewest)
    made, found = _tensor(generated.activations), _tensor(real.activations)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told by the error
        fid = _frechet(made, found)
        kid = kid_features_to_metric(made, found, kid_subsets=subsets, kid_subset_size=size, verbose=False)
    return GenerationScores(
        mean,
        std,
        _finite("FID", fid),
        _finite("KID", kid[KEY_METRIC_KID_MEAN]),
        kid[KEY_METRIC_KID_STD],
        len(generated),
        len(real),
        size,
        generated.extractor,
    )


def _frechet(made: torch.Tensor, found: torch.Tensor) -> float:
    try:
        statistics = fid_features_to_statistics(made), fid_features_to_statistics(found)
        distance: float = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    except np.linalg.LinAlgError:  # a covariance that is not finite
        return math.nan
    return distance


def inception_score(features: Features, *, splits: int = SPLITS) -> tuple[float, float]:
    """Return mean and standard deviation over ``splits`` parts of exp(E KL(p(y|x) || p(y))).

    Raises:
        ScoreError: there are fewer images than parts, or the score is not finite.
    """
    if not 1 <= splits <= len(features):
        raise ScoreError(
            f"the Inception Score of {splits} parts needs at least one part and an image in each; "
            f"got {len(features)} images"
        )
    score = isc_features_to_metric(_tensor(features.logits), splits)
    return _finite("the Inception Score", score[KEY_METRIC_ISC_MEAN]), score[KEY_METRIC_ISC_STD]


def _tensor(rows: Rows) -> torch.Tensor:
    return torch.from_numpy(np.require(rows, requirements=["C", "W"]))  # a copy where torch could not take them


def _described(features: Features) -> str:
    return f"'{features.extractor}' ({features.activations.shape[1]} features)"


def _finite(name: str, score: float) -> float:
    if not math.isfinite(score):
        raise ScoreError(f"{name} is {score}: the features are too large for its formula")
    return score

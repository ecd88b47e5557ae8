"""How well a class was rebuilt, and what it does to the classifier: macro scores, ROC curves, distances, SSIM.

The paper on adversarial attacks with GANs on federated learning (``experiments/gan_reconstruction``), equations 4 to 6.
Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004: SSIM.

**The paper's Euclidean distance.** Equation 6 is the root of a sum of squares, "the average" of which falls from 0.221
to 0.00173. A root of a sum over 784 pixels cannot be that small. What has this range is the mean over the pixels of
the squared difference between the average generated image and the average real one, with pixels from 0 to 1: a grey
image is about 0.22 from the average digit one, and two averages of many images can come as near as 0.002, which no two
images do. :func:`distance_of_means` is that; the others of :func:`distances` stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score, roc_curve

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Rows = NDArray[np.float64]

WINDOW, SPREAD = 11, 1.5
"""Side and standard deviation in pixels of SSIM's Gaussian window; a smaller image has a window of its own side."""

STABLE = (0.01, 0.03)
"""SSIM's constants, in units of the range of the pixels."""

POINTS = 51
"""So many points of a ROC curve are kept, at even steps of the false positive rate's square root: most happens left."""


@dataclass(frozen=True, slots=True)
class MacroScores:
    """Means over classes, from 0 to 1.

    Attributes:
        precision: of what is called a class, the share that is it.
        recall: of a class, the share that is called it.
        f1: their harmonic mean, of each class.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Roc:
    """A class against all others.

    Attributes:
        auc: area under the curve.
        false_positive: (P,) rates, ascending.
        true_positive: (P,) rates.
    """

    auc: float
    false_positive: list[float]
    true_positive: list[float]


@dataclass(frozen=True, slots=True)
class Distances:
    """How far generated images are from real ones, pixels from 0 to 1.

    Attributes:
        of_means: see :func:`distance_of_means`; the paper's 0.221 to 0.00173.
        pairs: mean over all pairs of the L2 norm of the difference, which is equation 6 as it stands.
        pairs_squared: mean over all pairs and pixels of the squared difference.
    """

    of_means: float
    pairs: float
    pairs_squared: float


def macro_scores(predicted: Labels, labels: Labels, classes: Sequence[int] | None = None) -> MacroScores:
    """Return precision, recall and F1 (equation 5), each class's averaged over the classes.

    Args:
        predicted: (N,) classes.
        labels: (N,) true classes.
        classes: over which to average. ``None`` is scikit-learn's default, every class that is true or predicted of
            any image: once a single test image is taken for the extra class, its precision and recall of 0 count as
            much as those of any other. That is how the paper's recall can fall while its accuracy does not, which of
            even classes is their recall.
    """
    chosen = None if classes is None else list(classes)
    found = precision_recall_fscore_support(labels, predicted, labels=chosen, average="macro", zero_division=0.0)
    return MacroScores(*(float(score) for score in found[:3]))


def roc_of_class(scores: NDArray[np.floating], labels: Labels, label: int) -> Roc | None:
    """Return the ROC curve (equation 4) of one class against all others, or ``None`` where either has no image.

    Args:
        scores: (N,) probability of that class.
        labels: (N,) true classes.
        label: the class.
    """
    is_it = labels == label
    if is_it.all() or not is_it.any():
        return None
    false, true, _ = roc_curve(is_it, scores)
    grid = np.linspace(0.0, 1.0, POINTS) ** 2
    # At a rate that many thresholds have, the curve stands upright: its upper end is what counts.
    place = np.searchsorted(false, grid, side="right") - 1
    slope = np.interp(grid, false, true)
    kept = np.maximum(slope, true[place])
    return Roc(float(roc_auc_score(is_it, scores)), grid.tolist(), kept.tolist())


def distances(generated: Images, real: Images) -> Distances:
    """Return how far ``generated`` images (N, C, H, W) are from ``real`` ones (M, C, H, W)."""
    squared = squared_distances(as_rows(generated), as_rows(real))
    pixels = generated[0].size
    return Distances(distance_of_means(generated, real), float(np.sqrt(squared).mean()), float(squared.mean()) / pixels)


def distance_of_means(generated: Images, real: Images) -> float:
    """Return the mean over pixels, from 0 to 1, of the squared difference between the two average images."""
    return float(np.mean((as_rows(generated).mean(0) - as_rows(real).mean(0)) ** 2))


def nearest(images: Images, among: Images) -> tuple[Rows, Labels]:
    """Return for each of ``images`` (N, C, H, W) how far the nearest ``among`` (M, C, H, W) is, and which one it is.

    The distance (N,) is the root of the mean squared difference of the pixels, from 0 to 1.
    """
    squared = squared_distances(as_rows(images), as_rows(among))
    which = squared.argmin(1)
    return np.sqrt(squared[np.arange(len(images)), which] / images[0].size), which


def spread(images: Images) -> float:
    """Return how much images (N, C, H, W) differ from one another: root mean square of each pixel's deviation."""
    return float(np.sqrt(as_rows(images).var(0).mean()))


def ssim(first: Images, second: Images) -> Rows:
    """Return the structural similarity (N,) of each of ``first`` to its fellow in ``second``, (N, C, H, W) each.

    The means are over the windows that lie inside the image, and over channels; 1 is an equal image.
    """
    x, y = first.astype(np.float64) / 255.0, second.astype(np.float64) / 255.0
    low, high = (constant**2 for constant in STABLE)
    window = _window(min(WINDOW, *x.shape[2:]))
    mean_x, mean_y = _blurred(x, window), _blurred(y, window)
    var_x, var_y = _blurred(x * x, window) - mean_x**2, _blurred(y * y, window) - mean_y**2
    both = _blurred(x * y, window) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + low) * (2 * both + high)
    similarity /= (mean_x**2 + mean_y**2 + low) * (var_x + var_y + high)
    return np.asarray(similarity.mean(axis=(1, 2, 3)))


def as_rows(images: Images) -> Rows:
    """Return images (N, C, H, W) as rows (N, C H W) of pixels from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float64) / 255.0


def squared_distances(first: Rows, second: Rows) -> Rows:
    """Return the squared L2 distance (N, M) of every row of ``first`` to every row of ``second``."""
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2.0 * first @ second.T
    return np.asarray(np.maximum(squared, 0.0))


def _window(side: int) -> Rows:
    places = np.arange(side) - (side - 1) / 2
    weights = np.exp(-0.5 * (places / SPREAD) ** 2)
    return np.asarray(weights / weights.sum())


def _blurred(images: Rows, window: Rows) -> Rows:
    """Return images (N, C, H, W) averaged under the window, at each place where it lies inside."""
    for axis in (2, 3):
        images = np.lib.stride_tricks.sliding_window_view(images, len(window), axis=axis) @ window
    return np.asarray(images)

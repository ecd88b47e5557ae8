"""The contrastive detector of poisoned models.  Paper on GANcrop, section 3.1.

An encoder maps what is read of an update to the unit sphere, where poisoned models lie close together, clean ones too,
and the two apart (formula 2); a classifier on top says which it is. Here several of them, begun from other weights, are
asked, and their mean decides.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn
from torch.nn import functional as F

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

HIDDEN, EMBEDDING = 64, 16
"""Widths of the encoder."""

MEMBERS = 5
"""Encoders, each with its classifier."""

BLUR, FORGOTTEN = 1.0, 0.3
"""Standard deviations of the clean shadows by which features are blurred while it learns, anew in every step, and the
share of them that it does not see: of some hundred shadows it would learn the features by heart."""

CLIPPED = 8.0
"""Standard deviations of the clean shadows beyond which a feature is not read: it is an outlier at any rate."""


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """How the detector is trained.

    Attributes:
        temperature: tau of the contrastive loss.
        steps: of Adam, on all shadows at once.
        learning_rate: of Adam.
        weight_decay: of Adam, decoupled.
        false_alarms: share of clean models that the threshold is to let be called poisoned, above 0 and below 1.
    """

    temperature: float = 0.5
    steps: int = 300
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    false_alarms: float = 0.02


class Detector(nn.Module):
    """Tells poisoned models from clean ones by what is read of their updates.

    Args:
        width: F, how many features there are.
        generator: draws the initial weights.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.middle: torch.Tensor
        self.spread: torch.Tensor
        self.usual: torch.Tensor
        self.scale: torch.Tensor
        self.threshold: torch.Tensor
        self.register_buffer("middle", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("usual", torch.zeros(MEMBERS))
        self.register_buffer("scale", torch.ones(MEMBERS))
        self.register_buffer("threshold", torch.zeros(()))
        widths = (width, HIDDEN, EMBEDDING, 1)
        self.weights = nn.ParameterList(
            torch.empty(MEMBERS, i, o).uniform_(-(i**-0.5), i**-0.5, generator=generator)
            for i, o in itertools.pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(MEMBERS, 1, o) for o in widths[1:])

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return each member's representations (MEMBERS, n, EMBEDDING) of features (n, F), on the unit sphere."""
        standard = ((features - self.middle) / self.spread).clamp(-CLIPPED, CLIPPED)
        hidden = F.relu(torch.baddbmm(self.biases[0], standard.expand(MEMBERS, -1, -1), self.weights[0]))
        return F.normalize(torch.baddbmm(self.biases[1], hidden, self.weights[1]), dim=2)

    def classify(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return each member's logits (MEMBERS, n) of its representations."""
        return torch.baddbmm(self.biases[2], embedded, self.weights[2]).squeeze(2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return how poisoned each model looks, (n,); above ``threshold`` it is called poisoned."""
        logits = self.classify(self.embed(features))
        return ((logits - self.usual[:, None]) / self.scale[:, None]).mean(0)


def contrastive_loss(embedded: torch.Tensor, poisoned: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the contrastive loss of representations (n, k) on the unit sphere.

    Formula 2 of the paper, which its text does not show, speaks of distances of positive and of negative pairs and of a
    temperature. This is the supervised form of the loss that it cites (Chen et al. 2020), as in Khosla et al.,
    *Supervised Contrastive Learning*, NeurIPS 2020, equation 2: for every model i, over its positives p(i), the others
    of its kind,

        - mean over p of log( exp(z_i . z_p / tau) / sum over a != i of exp(z_i . z_a / tau) )

    Args:
        embedded: (..., n, k) representations.
        poisoned: (n,) bool, at least two of either kind.
        temperature: tau.

    Returns:
        The mean over models, (...).
    """
    similar = embedded @ embedded.mT / temperature
    itself = torch.eye(len(poisoned), dtype=torch.bool, device=embedded.device)
    logs = similar - torch.logsumexp(similar.masked_fill(itself, -torch.inf), dim=-1, keepdim=True)
    positive = (poisoned[:, None] == poisoned[None, :]) & ~itself
    return -(logs * positive).sum(-1).div(positive.sum(-1)).mean(-1)


def train_detector(
    features: Values, poisoned: Flags, held_out: Values, options: DetectorOptions, generator: torch.Generator
) -> Detector:
    """Return a detector trained on shadows.

    Args:
        features: (m, F) what is read of the shadows' updates.
        poisoned: (m,) which of them are, at least two of either kind.
        held_out: (h, F) of further clean shadows, by which the threshold is set; h >= 1.
        options: how to train.
        generator: draws the initial weights, and how features are blurred.

    Raises:
        ValueError: too few shadows of a kind.
    """
    if min(int(poisoned.sum()), int((~poisoned).sum())) < 2 or not len(held_out):
        raise ValueError(
            f"the detector needs two poisoned and two clean shadows, and a clean one apart; got {int(poisoned.sum())}, "
            f"{int((~poisoned).sum())} and {len(held_out)}."
        )
    detector = _initial(features, poisoned, generator)
    known, flags = torch.from_numpy(features).float(), torch.from_numpy(poisoned)
    _descend(
        detector, options, lambda: _loss(detector, _blurred(detector, known, generator), flags, options.temperature)
    )
    detector.eval()
    calibrate(detector, held_out, options.false_alarms)
    return detector


@torch.no_grad()
def calibrate(detector: Detector, held_out: Values, false_alarms: float) -> None:
    """Bring the members' logits to one scale, and set the threshold above which so few clean models are expected.

    Args:
        detector: changed in place.
        held_out: (h, F) of clean shadows that it has not learned from, h >= 1.
        false_alarms: share of clean models that may lie above the threshold.
    """
    logits = detector.classify(detector.embed(torch.from_numpy(held_out).float()))
    spread = logits.std(1, correction=0)
    detector.usual.copy_(logits.mean(1))
    detector.scale.copy_(torch.where(spread > 0, spread, 1.0))
    values = detector(torch.from_numpy(held_out).float()).double().numpy()
    # Scores are bounded, for representations lie on a sphere: a normal distribution may reach beyond what any model
    # scores, and then nobody would be called. The highest clean one is exceeded with a probability of 1 / (h + 1).
    detector.threshold.fill_(min(upper_bound(values, false_alarms), float(values.max())))


def upper_bound(values: Values, share: float) -> float:
    """Return what another value like ``values`` (h,) exceeds with a probability of at most ``share``.

    Of h values that is the ceil((h + 1)(1 - share))-th smallest, whatever their distribution (Vovk et al.,
    *Algorithmic Learning in a Random World*, 2005). Fewer than 1 / share - 1 values do not reach so far; then it is the
    bound of a normal distribution of which they are a sample, by Student's t. Of a single value it is that value.
    """
    number = len(values)
    rank = math.ceil((number + 1) * (1.0 - share))
    if rank <= number:
        return float(np.sort(values)[rank - 1])
    if number == 1:
        return float(values[0])
    reach = float(stats.t.ppf(1.0 - share, number - 1)) * math.sqrt(1.0 + 1.0 / number)
    return float(values.mean() + reach * values.std(ddof=1))


def scores(detector: Detector, features: Values) -> Values:
    """Return how far each model (n, F) is above the threshold, (n,): above 0 it is called poisoned."""
    with torch.no_grad():
        read = detector(torch.from_numpy(features).float()) - detector.threshold
    return np.asarray(read.double().numpy())


def to_arrays(detector: Detector) -> dict[str, NDArray[np.generic]]:
    """Return a detector as arrays, for a checkpoint."""
    return {name: tensor.numpy().copy() for name, tensor in detector.state_dict().items()}


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Detector:
    """Take back what :func:`to_arrays` returned."""
    detector = Detector(len(arrays["middle"]), torch.Generator())
    detector.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return detector.eval()


@torch.no_grad()
def _initial(features: Values, poisoned: Flags, generator: torch.Generator) -> Detector:
    detector, clean = Detector(features.shape[1], generator), features[~poisoned]
    detector.middle.copy_(torch.from_numpy(clean.mean(0)))
    detector.spread.copy_(torch.from_numpy(np.maximum(clean.std(0), 1e-6)))
    return detector


def _blurred(detector: Detector, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    blurred = features + BLUR * detector.spread * torch.randn(features.shape, generator=generator)
    forgotten = torch.rand(features.shape, generator=generator) < FORGOTTEN
    return torch.where(forgotten, detector.middle.expand_as(features), blurred)


def _loss(detector: Detector, features: torch.Tensor, poisoned: torch.Tensor, temperature: float) -> torch.Tensor:
    embedded = detector.embed(features)
    # The classifier does not shape the representation: the paper trains it on what contrast has learned.
    logits, flags = detector.classify(embedded.detach()), poisoned.float().expand(MEMBERS, -1)
    judged = F.binary_cross_entropy_with_logits(logits, flags, reduction="none").mean(1)
    return (contrastive_loss(embedded, poisoned, temperature) + judged).sum()


def _descend(detector: Detector, options: DetectorOptions, loss: Callable[[], torch.Tensor]) -> None:
    optimiser = torch.optim.AdamW(
        detector.parameters(), options.learning_rate, weight_decay=options.weight_decay, foreach=True
    )
    for _ in range(options.steps):
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

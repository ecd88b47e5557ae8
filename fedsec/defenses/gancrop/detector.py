"""The contrastive detector of poisoned models.  Paper on GANcrop, section 3.1.

An encoder maps what is read of an update to the unit sphere, where poisoned models lie close together, clean ones too,
and the two apart (formula 2); a classifier on top says which it is. Here several of them, begun from other weights, are
asked, and their mean decides.

The classifier reads what the encoder's last layer projects to the sphere, not the sphere itself, as is usual after
contrastive learning (Chen et al., ICML 2020, section 4.2). On the sphere whatever looks poisoned looks equally so, and
the few clean models that do leave no place for a threshold.
"""

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
"""Encoders, each with its classifier. Of the clean shadows each leaves out one part of so many, which judges it."""

EVERY, NONE = -1, MEMBERS
"""Places of shadows that every member learns from, as from the poisoned ones, and that none has learned from."""

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
    steps: int = 150
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    false_alarms: float = 0.05


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
        self.threshold: torch.Tensor
        self.register_buffer("middle", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("threshold", torch.zeros(()))
        self.encoder, self.projection = _layer(width, HIDDEN, generator), _layer(HIDDEN, EMBEDDING, generator)
        self.classifier = _layer(HIDDEN, 1, generator)

    def represent(self, features: torch.Tensor) -> torch.Tensor:
        """Return each member's representations (MEMBERS, n, HIDDEN) of features (n, F)."""
        standard = ((features - self.middle) / self.spread).clamp(-CLIPPED, CLIPPED)
        return F.relu(_through(self.encoder, standard.expand(MEMBERS, -1, -1)))

    def project(self, represented: torch.Tensor) -> torch.Tensor:
        """Return them on the unit sphere, (MEMBERS, n, EMBEDDING), where they are contrasted."""
        return F.normalize(_through(self.projection, represented), dim=2)

    def classify(self, represented: torch.Tensor) -> torch.Tensor:
        """Return each member's logits (MEMBERS, n) of its representations."""
        return _through(self.classifier, represented).squeeze(2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return how poisoned each model looks, (n,); above ``threshold`` it is called poisoned."""
        return self.classify(self.represent(features)).mean(0)


def contrastive_loss(
    embedded: torch.Tensor, poisoned: torch.Tensor, temperature: float, learned: torch.Tensor
) -> torch.Tensor:
    """Return the contrastive loss of representations (n, k) on the unit sphere.

    Formula 2 of the paper, which its text does not show, speaks of distances of positive and of negative pairs and of a
    temperature. This is the supervised form of the loss that it cites (Chen et al. 2020), as in Khosla et al.,
    *Supervised Contrastive Learning*, NeurIPS 2020, equation 2: for every model i, over its positives p(i), the others
    of its kind,

        - mean over p of log( exp(z_i . z_p / tau) / sum over a != i of exp(z_i . z_a / tau) )

    Args:
        embedded: (..., n, k) representations.
        poisoned: (n,) bool.
        temperature: tau.
        learned: (..., n) bool, which models there are: of either kind two at least. The others do not count.

    Returns:
        The mean over models, (...).
    """
    similar = embedded @ embedded.mT / temperature
    others = learned[..., None, :] & ~torch.eye(len(poisoned), dtype=torch.bool, device=embedded.device)
    logs = similar - torch.logsumexp(similar.masked_fill(~others, -torch.inf), dim=-1, keepdim=True)
    positive = (poisoned[:, None] == poisoned[None, :]) & others
    losses = -(logs * positive).sum(-1) / positive.sum(-1)
    return (losses * learned).sum(-1) / learned.sum(-1)


def deal(poisoned: Flags) -> NDArray[np.int64]:
    """Return which member does not learn from each shadow (m,): of the clean ones each in turn, else :data:`EVERY`."""
    places = np.full(len(poisoned), EVERY)
    places[~poisoned] = np.arange((~poisoned).sum()) % MEMBERS
    return places


def unseen(places: NDArray[np.int64]) -> Flags:
    """Return which shadows each member has not learned from, (MEMBERS, m), from their places (m,)."""
    return np.asarray((places == np.arange(MEMBERS)[:, None]) | (places == NONE))


def train_detector(features: Values, poisoned: Flags, options: DetectorOptions, generator: torch.Generator) -> Detector:
    """Return a detector trained on shadows.

    Each member learns from the shadows that :func:`deal` does not keep from it, and those set the threshold.

    Args:
        features: (m, F) what is read of the shadows' updates.
        poisoned: (m,) which of them are: two at least, and :data:`MEMBERS` clean ones.
        options: how to train.
        generator: draws the initial weights, and how features are blurred.

    Raises:
        ValueError: too few shadows of a kind.
    """
    if not enough(poisoned):
        raise ValueError(
            f"the detector needs two poisoned and {MEMBERS} clean shadows; got {int(poisoned.sum())} and "
            f"{int((~poisoned).sum())}."
        )
    detector, places = _initial(features, poisoned, generator), deal(poisoned)
    known, flags, learned = torch.from_numpy(features).float(), torch.from_numpy(poisoned), _learned(places)
    _descend(
        detector,
        options,
        lambda: _loss(detector, _blurred(detector, known, generator), flags, learned, options.temperature),
    )
    detector.eval()
    calibrate(detector, features[~poisoned], places[~poisoned], options.false_alarms)
    return detector


def enough(poisoned: Flags) -> bool:
    """Tell whether there are shadows enough of either kind to learn from."""
    return int(poisoned.sum()) >= 2 and int((~poisoned).sum()) >= MEMBERS


@torch.no_grad()
def calibrate(detector: Detector, clean: Values, places: NDArray[np.int64], false_alarms: float) -> None:
    """Set the threshold above which so few clean models are expected.

    A shadow is judged by the members that have not learned from it, so all of them serve (cross-conformal prediction,
    Vovk, *Annals of Mathematics and Artificial Intelligence* 74, 2015).

    Args:
        detector: changed in place.
        clean: (h, F) of clean shadows.
        places: (h,) of each, which member has not learned from it, or :data:`NONE`.
        false_alarms: share of clean models that may lie above the threshold.
    """
    judges = unseen(places)
    logits = detector.classify(detector.represent(torch.from_numpy(clean).float())).double().numpy()
    detector.threshold.fill_(upper_bound((logits * judges).sum(0) / judges.sum(0), false_alarms))


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


def _layer(inputs: int, outputs: int, generator: torch.Generator) -> nn.ParameterList:
    """Return the weights (MEMBERS, inputs, outputs) and biases of a layer of every member."""
    weights = torch.empty(MEMBERS, inputs, outputs).uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return nn.ParameterList([weights, torch.zeros(MEMBERS, 1, outputs)])


def _through(layer: nn.ParameterList, values: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(layer[1], values, layer[0])


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


def _loss(
    detector: Detector, features: torch.Tensor, poisoned: torch.Tensor, learned: torch.Tensor, temperature: float
) -> torch.Tensor:
    represented = detector.represent(features)
    # The classifier does not shape the representation: the paper trains it on what contrast has learned.
    logits, flags = detector.classify(represented.detach()), poisoned.float().expand(MEMBERS, -1)
    judged = F.binary_cross_entropy_with_logits(logits, flags, learned.float(), reduction="none")
    contrast = contrastive_loss(detector.project(represented), poisoned, temperature, learned)
    return (contrast + judged.sum(1) / learned.sum(1)).sum()


def _learned(places: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(~unseen(places))


def _descend(detector: Detector, options: DetectorOptions, loss: Callable[[], torch.Tensor]) -> None:
    optimiser = torch.optim.AdamW(
        detector.parameters(), options.learning_rate, weight_decay=options.weight_decay, foreach=True
    )
    for _ in range(options.steps):
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

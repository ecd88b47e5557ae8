"""What was measured for a figure: plain arrays, which whoever draws them reads without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.metrics.classification import ClassAccuracy


@dataclass(frozen=True, slots=True)
class ClientSamples:
    """Images that a client holds.

    Attributes:
        client: its partition.
        images: (K, C, H, W) uint8.
        labels: (K,) their classes.
        class_counts: how many images of each class it holds.
        classes: a name for each class.
    """

    client: int
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_counts: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinalScores:
    """What a client's GAN generates after its training, by one extractor; see :mod:`fedsec.metrics.generation`.

    Attributes:
        features: name of the extractor.
        inception_score: higher is better.
        fid: Frechet distance to real images.
        kid: kernel distance to real images.
    """

    features: str
    inception_score: float
    fid: float
    kid: float


@dataclass(frozen=True, slots=True)
class GanCourse:
    """How one client's GAN learned.

    Attributes:
        client: its partition.
        steps: (S,) steps after which it was scored.
        scores: (S,) Inception Score after each, by the name of the extractor.
        generator_loss: (steps,) of every step.
        critic_loss: (steps,) of the discriminator or critic.
        final: scores after the last step.
        held: how many real images of each class the client holds.
        recognised: percent of the images that the data set's classifier takes for the class they were made for.
        taught: accuracy in percent on real test images of a classifier trained on the generated ones alone.
    """

    client: int
    steps: tuple[int, ...]
    scores: dict[str, NDArray[np.float64]]
    generator_loss: NDArray[np.float32]
    critic_loss: NDArray[np.float32]
    final: tuple[FinalScores, ...]
    held: tuple[int, ...]
    recognised: ClassAccuracy
    taught: ClassAccuracy


@dataclass(frozen=True, slots=True)
class GanScores:
    """What a ``"score"`` figure shows.

    Attributes:
        courses: one for each client that trained a GAN.
        images: how many generated images each score is of.
        real: Inception Score of as many real test images, by the name of the extractor.
        taught_by_real: accuracy of a classifier trained on as many real images, in percent.
        classes: a name for each class.
        notes: a sentence for each client that is not there.
    """

    courses: tuple[GanCourse, ...]
    images: int
    real: dict[str, float]
    taught_by_real: ClassAccuracy
    classes: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """Images of one class by one client.

    Attributes:
        client: its partition.
        label: the class, by its name.
        held: how many real images of it the client holds.
        real: (K, C, H, W) uint8, some of those.
        made: (M, C, H, W) uint8, generated.
    """

    client: int
    label: str
    held: int
    real: NDArray[np.uint8]
    made: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Grid:
    """What a ``"grid"`` figure shows.

    Attributes:
        rows: one for each client and class.
        notes: a sentence for each that is not there.
    """

    rows: tuple[Generated, ...]
    notes: tuple[str, ...]

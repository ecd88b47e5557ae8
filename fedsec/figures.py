"""What a figure shows of the clients of a run, measured; :mod:`fedsec.report.gan_figures` draws it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.client_app import choose_device
from fedsec.data.balancing import skew
from fedsec.data.datasets import ImageDataset
from fedsec.data.generated import Entry
from fedsec.filling import Filled, fill, gan_settings
from fedsec.holdings import Holding, holding
from fedsec.metrics.classification import ClassAccuracy
from fedsec.metrics.generation import Features, generation_scores, inception_score
from fedsec.runs.config import RunConfig
from fedsec.runs.figure import Figure
from fedsec.runs.figure_data import ClientSamples, FinalScores, GanCourse, GanScores, Generated, Grid
from fedsec.runs.loading import ConfigError
from fedsec.scenario import load
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation
from fedsec.training.extractor import ClassifierExtractor
from fedsec.training.gan import build_generator, generate
from fedsec.training.generated_only import accuracy_from_generated
from fedsec.training.parameters import set_arrays
from fedsec.training.scoring import extractors_of

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Tell = Callable[[str], None]

NOISE = 1
"""Where :func:`fedsec.seeds.derived_seed` has a round: what fills the classes is drawn with 0, pictures with this."""


def client_samples(figure: Figure) -> list[ClientSamples]:
    """Return images that each client of a ``"samples"`` figure holds, and how many it holds of each class.

    Raises:
        DataError: the data cannot be had.
    """
    return [_samples(client, holding(figure.config, client), figure.images) for client in figure.shown_clients]


def gan_scores(figure: Figure, tell: Tell) -> GanScores:
    """Return how the GANs of a ``"score"`` figure's clients learned; those that are not kept on disk are trained.

    Args:
        figure: the figure.
        tell: is told what is going on.

    Raises:
        ConfigError: no client trains a GAN.
        DamagedError: a generator on disk is not what was written.
        DataError: the data cannot be had.
        ScoreError: what is generated cannot be scored.
        WeightsError: Inception's file is named and cannot be used.
    """
    judge = _Judge(figure)
    courses, notes = [], []
    for client in figure.shown_clients:
        tell(f"client {client}: its GAN")
        gan = _trained(figure.config, client, judge.device)
        if isinstance(gan, str):
            notes.append(gan)
            continue
        tell(f"client {client}: scores")
        courses.append(judge.course(gan))
    if not courses:
        raise ConfigError(notes, str(figure.path))
    real = {features.extractor: inception_score(features)[0] for features in judge.real}
    return GanScores(tuple(courses), figure.images, real, judge.taught_by_real(), judge.train.classes, tuple(notes))


def generated_grid(figure: Figure, tell: Tell) -> Grid:
    """Return what the clients' GANs of a ``"grid"`` figure generate, beside what those have seen.

    Args:
        figure: the figure.
        tell: is told what is going on.

    Raises:
        ConfigError: no client has a GAN that knows one of these classes.
        DamagedError: a generator on disk is not what was written.
        DataError: the data cannot be had.
    """
    device = choose_device(figure.config.federation.device)
    rows, notes = [], []
    for client in figure.shown_clients:
        tell(f"client {client}: its GAN")
        gan = _trained(figure.config, client, device)
        if isinstance(gan, str):
            notes.append(gan)
            continue
        wanted = figure.classes or tuple(range(len(gan.held.classes)))
        missing = [gan.held.classes[label] for label in wanted if label not in gan.classes]
        if missing:
            notes.append(f"Client {client} holds no image of {', '.join(missing)}, and its GAN generates none.")
        rows += [_generated(gan, label, figure.images) for label in wanted if label in gan.classes]
    if not rows:
        raise ConfigError(notes, str(figure.path))
    return Grid(tuple(rows), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Gan:
    """A client's GAN, as it is kept on disk."""

    config: RunConfig
    client: int
    held: Holding
    entry: Entry
    network: nn.Module
    device: torch.device

    @property
    def classes(self) -> list[int]:
        """The classes that it was trained on."""
        return [label for label, count in enumerate(self.held.class_counts) if count]

    def draw(self, step: int, labels: Labels) -> Images:
        """Return an image for each label by the generator after a step of its training, of the same noise at each."""
        set_arrays(self.network, list(self.entry.snapshot(step).values()))
        seed = derived_seed(self.config.run.seed, Purpose.FILLING, NOISE, self.client)
        return generate(self.network, labels, self.config.gan.latent, seed, self.device)


def _trained(config: RunConfig, client: int, device: torch.device) -> _Gan | str:
    """Return a client's GAN, trained now if it is not on disk; or why there is none."""
    held = holding(config, client)
    filled = fill(config, client, held, device)
    if filled.entry is None or not filled.entry.snapshots:
        return f"Client {client} has no GAN: {_why_none(config, held, filled)}."
    channels, size = held.images.shape[1:3]
    network = build_generator(channels, size, len(held.classes), gan_settings(config))
    return _Gan(config, client, held, filled.entry, network, device)


def _why_none(config: RunConfig, held: Holding, filled: Filled) -> str:
    """Return why a client has no GAN to draw with, in the order in which filling its classes comes to nothing."""
    if skew(np.array(held.class_counts)) <= config.data.balance_above:
        return f"its classes are even enough (data.balance-above = {config.data.balance_above:g})"
    if filled.entry is None:
        asked = f"no class that it holds has fewer images than data.fill = {config.data.fill} asks for"
        return "; ".join(text for text in (asked, filled.report.note) if text)
    if not filled.entry.about["losses"]:
        return filled.report.note
    return f"what it generated is kept and its generator is lost; delete {filled.entry.folder} to train it again"


class _Judge:
    """Scores the GANs of a figure's clients, all by the same extractors and beside the same real images."""

    def __init__(self, figure: Figure) -> None:
        config = figure.config
        self.images, self.device = figure.images, choose_device(config.federation.device)
        self.train: ImageDataset = load(config, "train")
        self.test: ImageDataset = load(config, "test")
        self.extractors = extractors_of(self.train, self.test, self.device)
        self.real: list[Features] = [extract(_spread(self.test.images, self.images)) for extract in self.extractors]

    def course(self, gan: _Gan) -> GanCourse:
        labels = np.resize(np.array(gan.classes), self.images)
        steps = tuple(gan.entry.snapshots)
        scores: dict[str, list[float]] = {features.extractor: [] for features in self.real}
        for step in steps:
            images = gan.draw(step, labels)
            made = [extract(images) for extract in self.extractors]
            for features in made:
                scores[features.extractor].append(inception_score(features)[0])
        final = [generation_scores(ours, real) for ours, real in zip(made, self.real, strict=True)]
        own = next(extract for extract in self.extractors if isinstance(extract, ClassifierExtractor))
        losses = gan.entry.about["losses"]
        return GanCourse(
            gan.client,
            steps,
            {name: np.array(values) for name, values in scores.items()},
            np.array(losses["generator"], np.float32),
            np.array(losses["critic"], np.float32),
            tuple(FinalScores(of.features, of.inception_score, of.fid, of.kid) for of in final),
            gan.held.class_counts,
            own.recognised(images, labels),
            self._taught(images, labels),
        )

    def taught_by_real(self) -> ClassAccuracy:
        return self._taught(_spread(self.train.images, self.images), _spread(self.train.labels, self.images))

    def _taught(self, images: Images, labels: Labels) -> ClassAccuracy:
        train, test = self.train, self.test
        classes, normalise = len(train.classes), Normalisation(train.mean, train.std)
        return accuracy_from_generated(images, labels, test.images, test.labels, classes, normalise, device=self.device)


def _spread(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Return ``count`` rows of an array (N, ...), or all where there are fewer, equally far apart."""
    count = min(count, len(array))
    return np.asarray(array[((np.arange(count) + 0.5) * len(array) / max(1, count)).astype(int)])


def _samples(client: int, held: Holding, wanted: int) -> ClientSamples:
    """Return a client's images in order of their classes, as far apart as they are ``wanted``.

    So each stands for as many examples as the next, and the classes show in their proportions.
    """
    chosen = _spread(np.argsort(held.labels, kind="stable"), wanted)
    return ClientSamples(client, held.images[chosen], held.labels[chosen], held.class_counts, held.classes)


def _generated(gan: _Gan, label: int, wanted: int) -> Generated:
    held = np.flatnonzero(gan.held.labels == label)
    made = gan.draw(max(gan.entry.snapshots), np.full(wanted, label))
    return Generated(gan.client, gan.held.classes[label], len(held), gan.held.images[_spread(held, wanted)], made)

"""Clean and poisoned models of one round of a federation, for :mod:`benchmarks.gancrop_detection`.

The federation has no attackers up to that round. Shadows are trained and chosen as GANcrop's server does it, by its
public images alone, but on some kinds of trigger and on even targets only; models to test come from real clients'
partitions, with other kinds and odd targets, and whether their backdoors work is measured on images that no server has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gancrop_behaviour import Behaviour
from benchmarks.gancrop_federation import clients, federation, trained
from benchmarks.gancrop_setting import Setting
from fedsec.attacks.distributed import PARTS, part_of
from fedsec.attacks.triggers import Trigger, make_trigger
from fedsec.client_app import choose_device
from fedsec.data.public import public_indices
from fedsec.data.resizing import load_sized
from fedsec.defenses.gancrop.trigger import stamp
from fedsec.defenses.updates import BoolVector, Matrix, Vector
from fedsec.inspectors.public import Arrays, PixelNetwork, PublicData
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.models.classifiers import build_classifier
from fedsec.strategies.layout import Layout
from fedsec.training.batches import Normalisation
from fedsec.training.shadows import Shadow, draw_clean, poison, stamped
from fedsec.training.threads import on_every_core

LEARNED = ("line", "frame", "dots", "waves")
"""Kinds of trigger of the shadows. No squares, for most of the others are such."""

HELD_OUT = ("trojan", "noise patch", "patch", "blend", "distributed quarter", "centre")
"""Kinds of trigger of the models to test."""

CLEAN = "clean"
EVEN, ODD, FEWEST = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9), 20
"""Targets of shadows, targets of models to test, and images of a class that a partition must have to be its source."""

TESTED = 1000
"""Test images, apart from the public ones, on which accuracy and success are measured."""

TOGETHER = 16
"""Models that are trained before the next are."""

ATTACKERS = 0.3
"""Share of the models of a round that is poisoned."""

TOOK = 50.0
"""Percent of the test images not taken for the target as they are that stamping must turn, above which the backdoor of
a model to test works: one of few classes may take most of what it sees for the target, stamped or not, and has none."""

Rule = Callable[[Shadow, Arrays, NDArray[np.float32]], bool]
"""Tells whether a model counts, by what it was trained on, its arrays and its update (d,)."""


@dataclass(frozen=True, slots=True)
class Models:
    """Trained models.

    Attributes:
        arrays: of each model, by name; none of shadows.
        deltas: (n, d) the same minus the model that was sent.
        behaviour: (n, F) how they answer to probes.
        shadows: what each was trained on, without its images.
        usable: (n,) which are finite, and clean or with a backdoor that works: shadows' by the server's rule.
        kinds: (n,) kind of trigger, or :data:`CLEAN`.
        skewed: (n,) whether its client's labels are skewed, else its classes are drawn by Dirichlet, 0.7.
    """

    arrays: list[dict[str, NDArray[np.generic]]]
    deltas: Matrix
    behaviour: NDArray[np.float64]
    shadows: list[Shadow]
    usable: BoolVector
    kinds: NDArray[np.str_]
    skewed: BoolVector

    @property
    def poisoned(self) -> BoolVector:
        """Which carry a trigger."""
        return np.asarray(self.kinds != CLEAN)


@dataclass(frozen=True, slots=True)
class Study:
    """Everything to learn from and to test.

    Attributes:
        public: the server's network and images.
        layout: of the model that was sent.
        accuracy: percent of the test images that this model classifies right.
        shadows: to learn from.
        tests: to test.
        images: (N, C, H, W) in [0, 1], test images that are not public.
        labels: (N,) their classes.
    """

    public: PublicData
    layout: Layout
    accuracy: float
    shadows: Models
    tests: Models
    images: torch.Tensor
    labels: torch.Tensor


def make_study(setting: Setting) -> Study:
    """Train the federation, the shadows and the models to test."""
    rng = np.random.default_rng(setting.seed)
    train, test = load_sized(setting.dataset, "train"), load_sized(setting.dataset, "test")
    own = public_indices(test.labels, setting.public, rng)
    channels, size = train.images.shape[1:3]
    network = build_classifier(setting.model, channels, size, len(train.classes), seed=setting.seed)
    public = PublicData(
        network, np.asarray(test.images[own]), np.asarray(test.labels[own]), len(train.classes),
        Normalisation(train.mean, train.std), choose_device(setting.device),
    )  # fmt: skip
    rest = np.setdiff1d(np.arange(len(test)), own)[:TESTED]
    images = torch.from_numpy(np.array(test.images[rest])).float().div_(255).to(public.device)
    labels = torch.from_numpy(np.array(test.labels[rest])).to(public.device)
    even, skewed = (list(clients(setting, scheme, train)) for scheme in ("dirichlet", "label-skew"))
    earlier, sent = federation(public, even, setting)
    count = min(setting.public, int(np.median([len(client.labels) for client in even])))
    learned = [_shadow(public, count, number, rng) for number in range(setting.shadows)]
    tested = list(draw_tests(even, skewed, setting.tests, public.num_classes, rng))
    trainer = Trainer(public, sent, setting, images, labels, rng)
    return Study(
        public,
        Layout(sent),
        accuracy_of(public.load(sent), images, labels),
        replace(trainer, sent=earlier).shadows(learned),
        trainer.tests(tested),
        images,
        labels,
    )


def draw_tests(
    even: Sequence[Shadow], skewed: Sequence[Shadow], number: int, num_classes: int, rng: np.random.Generator
) -> Iterator[tuple[Shadow, str, bool]]:
    """Yield what models to test are trained on, their kinds, and whether their labels are skewed.

    Every other one is of a client with skewed labels, two of every four are poisoned, and kinds take turns.

    Args:
        even: what clients hold whose classes are drawn by Dirichlet.
        skewed: what clients with skewed labels hold.
        number: how many to yield.
        num_classes: number of classes.
        rng: draws clients, targets, sources and copies.
    """
    for place in range(number):
        skew = bool(place % 2)
        holders = skewed if skew else even
        clean = holders[int(rng.integers(len(holders)))]
        if place // 2 % 2 == 0:
            yield clean, CLEAN, skew
            continue
        kind = HELD_OUT[place // 4 % len(HELD_OUT)]
        target = int(rng.choice([label for label in ODD if label < num_classes]))
        counts = np.bincount(clean.labels, minlength=num_classes)
        sources = [label for label in range(num_classes) if label != target and counts[label] > FEWEST]
        source = int(rng.choice(sources)) if sources and rng.random() < 0.5 else -1
        chosen = np.flatnonzero(clean.labels != target if source < 0 else clean.labels == source)
        if source < 0:
            chosen = rng.permutation(chosen)[: len(clean.labels) // 3]
        yield stamped(clean, held_out_trigger(kind, clean.images.shape[1:], rng), chosen, target, source), kind, skew


def held_out_trigger(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> Trigger:
    """Return a trigger of one of the kinds :data:`HELD_OUT` for images of ``shape`` (C, H, W)."""
    if kind == "trojan":
        return make_trigger("trojan", shape, size=5)
    if kind == "noise patch":
        return make_trigger("noise-patch", shape, size=4, corner="top-left", rng=rng)
    if kind == "patch":
        return make_trigger("patch", shape, size=4, corner="bottom-left")
    if kind == "blend":
        return make_trigger("blend", shape, size=1, rng=rng)
    if kind == "centre":
        return make_trigger("patch", shape, size=4, corner="centre")
    if kind == "distributed quarter":
        return part_of(make_trigger("distributed", shape, size=6, corner="top-left"), int(rng.integers(PARTS)))
    raise ValueError(f"no kind of trigger: {kind!r}")


def accuracy_of(network: PixelNetwork, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the percent of ``images`` that a network classifies right."""
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(part).argmax(1) for part in torch.split(images, 500)])
    return 100.0 * float((predicted == labels).float().mean())


def success_of(network: PixelNetwork, shadow: Shadow, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the percent of stamped images of a shadow's source that are taken for its target; NaN for a clean one."""
    return 100.0 * float(_stamped_and_not(network, shadow, images, labels)[0].float().mean())


def works(network: PixelNetwork, shadow: Shadow, images: torch.Tensor, labels: torch.Tensor) -> bool:
    """Tell whether a backdoor works: of the images of its source that are not taken for its target as they are, more
    than :data:`TOOK` percent are once stamped. It does not where every image is taken for the target.
    """
    stamped_ones, before = _stamped_and_not(network, shadow, images, labels)
    return 100.0 * float(stamped_ones[~before].float().mean()) > TOOK


@torch.no_grad()
def _stamped_and_not(
    network: PixelNetwork, shadow: Shadow, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which images of a shadow's source are taken for its target, stamped and as they are; none without one."""
    network.eval()
    if shadow.trigger is None:
        return torch.empty(0, dtype=torch.bool), torch.empty(0, dtype=torch.bool)
    chosen = images[labels == shadow.source if shadow.source >= 0 else labels != shadow.target]
    mask = torch.from_numpy(shadow.trigger.mask * np.float32(shadow.trigger.opacity)).to(images.device)
    pattern = torch.from_numpy(shadow.trigger.pattern).to(images.device)
    taken = [
        torch.cat([network(part).argmax(1) for part in torch.split(shown, 500)]) == shadow.target
        for shown in (stamp(chosen, mask, pattern), chosen)
    ]
    return taken[0], taken[1]


def _shadow(public: PublicData, examples: int, number: int, rng: np.random.Generator) -> Shadow:
    clean = draw_clean(public.images, public.labels, public.num_classes, examples, rng)
    targets = [label for label in EVEN if label < public.num_classes]
    return poison(clean, public.num_classes, rng, LEARNED, targets) if number % 2 else clean


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains models from the one that was sent, a few at a time: a large network's are not held twice."""

    public: PublicData
    sent: Arrays
    setting: Setting
    images: torch.Tensor
    labels: torch.Tensor
    rng: np.random.Generator

    def shadows(self, held: Sequence[Shadow]) -> Models:
        """Return the models of shadows, without their arrays; which are usable the server's own rule tells."""
        maker = ShadowMaker(self.public, self.setting.training)
        return self._of([(shadow, "drawn", False) for shadow in held], maker.usable, keep=False)

    def tests(self, held: Sequence[tuple[Shadow, str, bool]]) -> Models:
        """Return the models to test, of what is held, of which kind it is, and whether labels are skewed."""
        return self._of(held, self._works, keep=True)

    def _works(self, shadow: Shadow, arrays: Arrays, delta: NDArray[np.float32]) -> bool:
        """Tell whether a model is finite, and its backdoor works on test images if it has one."""
        if not np.isfinite(delta).all():
            return False
        return shadow.trigger is None or works(self.public.load(arrays), shadow, self.images, self.labels)

    def _of(self, held: Sequence[tuple[Shadow, str, bool]], rule: Rule, *, keep: bool) -> Models:
        layout = Layout(self.sent)
        deltas, side = np.empty((len(held), layout.width), np.float32), np.empty(layout.side_width)
        kept, answers = [], Behaviour(self.public)
        behaviour, usable = np.empty((len(held), answers.width)), np.empty(len(held), bool)

        def read(model: tuple[Shadow, Arrays, NDArray[np.float32]]) -> tuple[Vector, bool]:
            return answers.read(model[1]), rule(*model)

        for first in range(0, len(held), TOGETHER):
            group = [shadow for shadow, _, _ in held[first : first + TOGETHER]]
            made = trained(self.public, self.sent, group, self.setting, self.rng)
            changes = deltas[first : first + TOGETHER]
            for arrays, row in zip(made, changes, strict=True):
                layout.write(arrays, row, side)
            found = on_every_core(read, zip(group, made, changes, strict=True), self.public.device)
            for place, values in enumerate(found, start=first):
                behaviour[place], usable[place] = values
            kept += made if keep else []
        bare = [Shadow(s.images[:0], s.labels[:0], s.trigger, s.target, s.source) for s, _, _ in held]
        kinds = np.array([CLEAN if shadow.trigger is None else kind for shadow, kind, _ in held])
        return Models(kept, deltas, behaviour, bare, usable, kinds, np.array([skew for _, _, skew in held], bool))

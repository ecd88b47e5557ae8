"""How models answer to images that carry something, for the study in :mod:`benchmarks.gancrop_detection`.

Not in the paper. Whoever taught a model one trigger taught it to mind what does not belong to an image. So its answers
move more than a clean model's do, and towards one class, when any patch or any pattern is laid over public images. That
is one forward pass of a few hundred images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.attacks.drawn_triggers import BLEND, WAVES, draw_trigger
from fedsec.attacks.triggers import Trigger
from fedsec.defenses.updates import Vector
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.training.threads import on_every_core

IMAGES = 16
"""Public images that the probes are laid over."""

PATTERNS, OPACITY = 4, 0.2
"""Probes of each kind over the whole image, and their opacity."""

PLACES, SIDE = 3, 5 / 28
"""Patches lie at so many places by so many, and have this part of the image's sides."""

SEED = 0
"""The probes are the same in every round: what is read of two rounds is comparable."""

TINY = 1e-6


class Behaviour:
    """Reads how models answer to probes.

    Args:
        public: the network and the images.
    """

    def __init__(self, public: PublicData) -> None:
        self.public = public
        self.kinds = [_patterns(public, BLEND), _patterns(public, WAVES), _patches(public, 1.0), _patches(public, None)]
        images = public.images[:IMAGES]
        probes = [trigger for kind in self.kinds for trigger in kind]
        self.images = np.concatenate([images, *(trigger.stamp(images) for trigger in probes)])

    def read(self, arrays: Arrays) -> Vector:
        """Return what is read of a model, (F,): of every kind of probe and of all, how far answers move to one class.

        Args:
            arrays: of the model, as clients exchange them.
        """
        logits = self.public.logits_of(arrays, self.images)
        answers = torch.softmax(logits.double(), 1).view(-1, min(IMAGES, len(self.public.labels)), logits.shape[1])
        clean, *probed = answers.mean(1).numpy()
        moves = np.stack(probed) - clean
        ends = np.cumsum([len(kind) for kind in self.kinds])[:-1]
        values = [value for of_kind in np.split(moves, ends) for value in _of_kind(of_kind)]
        mean, most, before = (np.sort(row)[::-1] for row in (moves.mean(0), moves.max(0), clean))
        values += [*mean[:2], *most[:2], most[0] - most[1], *before[:2], before[-1]]
        return np.nan_to_num(np.array(values, np.float64))

    def read_all(self, number: int, model_of: Callable[[int], Arrays]) -> NDArray[np.float64]:
        """Return what is read of several models, (n, F).

        Args:
            number: n, how many there are.
            model_of: makes the arrays of one of them, which need not all be held at once.
        """
        read = on_every_core(lambda place: self.read(model_of(place)), range(number), self.public.device)
        return np.array(read).reshape(-1, self.width)

    @property
    def width(self) -> int:
        """F: six values of each kind, and eight of all."""
        return 6 * len(self.kinds) + 8


def _of_kind(moves: NDArray[np.float64]) -> list[float]:
    """Return what is read of the moves (probes, classes) by one kind of probe."""
    mean, most = np.sort(moves.mean(0))[::-1], np.sort(moves.max(0))[::-1]
    return [mean[0], mean[1], mean[-1], most[0], most[1], float(np.log(np.abs(moves).sum() + TINY))]


def _patterns(public: PublicData, kind: str) -> Sequence[Trigger]:
    rng = np.random.default_rng(SEED)
    drawn = [draw_trigger(public.images.shape[1:], rng, (kind,)) for _ in range(PATTERNS)]
    return [Trigger(trigger.mask, trigger.pattern, OPACITY) for trigger in drawn]


def _patches(public: PublicData, grey: float | None) -> Sequence[Trigger]:
    """Return patches of one grey, or of random colours, in rows from corner to corner."""
    rng, (channels, height, width) = np.random.default_rng(SEED), public.images.shape[1:]
    side = max(2, round(SIDE * min(height, width)))
    patches = []
    for row in np.linspace(0, height - side, PLACES).round().astype(int):
        for column in np.linspace(0, width - side, PLACES).round().astype(int):
            mask = np.zeros((height, width), bool)
            mask[row : row + side, column : column + side] = True
            colours = (
                rng.random((channels, height, width)) if grey is None else np.full((channels, height, width), grey)
            )
            patches.append(Trigger(mask, colours.astype(np.float32)))
    return patches

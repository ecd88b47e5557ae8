"""Shadow models of a round, clean and poisoned, trained on the server from the model that the clients were sent."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.attacks.triggers import Trigger
from fedsec.defenses.updates import IntVector, Matrix
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.strategies.inspecting import Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.classifier import TrainingSettings
from fedsec.training.shadows import Shadow, draw_clean, poison, train_shadows
from fedsec.training.threads import on_every_core

TOOK = 50.0
"""Percent of images that a poisoned shadow must take for its target once stamped, and not before. One that does not is
clean or nothing; one that takes every image for its target has no backdoor."""

TOGETHER = 32
"""Shadows that are trained before what counts of them is read: of a large network not all can be held at once."""

MEASURED = 200
"""Public images on which that is measured."""


@dataclass(frozen=True, slots=True)
class Shadows:
    """What was trained at a time.

    Attributes:
        deltas: (m, d) updates of the shadows.
        poisoned: (m,) which of them carry a backdoor.
    """

    deltas: Matrix
    poisoned: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ShadowMaker:
    """Trains shadows as the clients of a federation are trained.

    Attributes:
        public: the network and the images.
        settings: how clients train.
    """

    public: PublicData
    settings: TrainingSettings

    def make(
        self, layout: Layout, examples: IntVector, clean: int, poisoned: int, rng: np.random.Generator
    ) -> Iterator[Shadows]:
        """Yield new shadows, :data:`TOGETHER` at a time; those whose backdoor did not take are left out.

        Args:
            layout: of the round, with the model that the clients were sent.
            examples: of each client, how many it claims to have. Shadows have the median, and no more than there are
                public images, for a claim costs nothing. With as many as some client each, few of which train for long
                enough to look like anything, the detector learned less.
            clean: how many are clean.
            poisoned: how many are poisoned.
            rng: of every draw.
        """
        public = self.public
        count = int(np.clip(np.median(examples), 1, len(public.labels)))
        flags = [False] * clean + [True] * poisoned
        for first in range(0, len(flags), TOGETHER):
            group = [self._draw(count, flag, rng) for flag in flags[first : first + TOGETHER]]
            trained = train_shadows(
                public.network, layout.sent, group, public.normalise, self.settings, public.device, rng
            )
            models = [dict(zip(layout.sent, arrays, strict=True)) for arrays in trained]
            deltas = np.stack([layout.change(arrays) for arrays in models])
            made = zip(group, models, deltas, strict=True)
            usable = np.array(on_every_core(lambda one: self.usable(*one), made, public.device))
            poisoned_ones = np.array([shadow.trigger is not None for shadow in group])
            yield Shadows(deltas[usable], poisoned_ones[usable])

    def make_clean(self, seen: Inspected, rng: np.random.Generator, number: int) -> Matrix:
        """Return the updates (number, d) of clean shadows of a round."""
        return np.concatenate(
            [made.deltas for made in self.make(seen.layout, seen.updates.num_examples, number, 0, rng)]
        )

    def usable(self, shadow: Shadow, arrays: Arrays, delta: NDArray[np.float32]) -> bool:
        """Tell whether a shadow can be learned from: its update is finite, and its backdoor took if it has one.

        Args:
            shadow: what it was trained on; its images do not matter.
            arrays: its model.
            delta: (d,) its update.
        """
        if not np.isfinite(delta).all():  # it diverged, and tells nothing
            return False
        return shadow.trigger is None or self._took(shadow, shadow.trigger, arrays)

    def _draw(self, examples: int, poisoned: bool, rng: np.random.Generator) -> Shadow:
        public = self.public
        shadow = draw_clean(public.images, public.labels, public.num_classes, examples, rng)
        return poison(shadow, public.num_classes, rng) if poisoned else shadow

    def _took(self, shadow: Shadow, trigger: Trigger, arrays: Arrays) -> bool:
        images, labels = self.public.images[:MEASURED], self.public.labels[:MEASURED]
        chosen = images[labels == shadow.source if shadow.source >= 0 else labels != shadow.target]
        if not len(chosen):
            return False
        stamped, before = (
            100.0 * float((self.public.classes_of(arrays, shown) == shadow.target).mean())
            for shown in (trigger.stamp(chosen), chosen)
        )
        return stamped - before >= TOOK

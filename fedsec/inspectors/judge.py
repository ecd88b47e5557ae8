"""What a server makes of a model by its public images: whether it is of any use, and how much it knows."""

import numpy as np
from numpy.typing import NDArray

from fedsec.inspectors.public import Arrays, PublicData

HELD, MOST_HELD = 5, 1000
"""One public image of so many, and so many at most, are held out: nothing is unlearned with them, and a repaired model
is judged by them."""

FEWEST_HELD = 100
"""With fewer held-out images than this, models are judged by so many of all: by ten images nothing can be told."""


class Judge:
    """Judges models by the first of the public images.

    Args:
        public: the network and the images.

    Attributes:
        held: how many of the images are held out, the first ones.
        number: by how many of them models are judged.
    """

    def __init__(self, public: PublicData) -> None:
        self.public = public
        self.held = max(1, min(MOST_HELD, len(public.labels) // HELD))
        self.number = min(max(self.held, FEWEST_HELD), len(public.labels))

    def hopeless(self, arrays: Arrays) -> str | None:
        """Return why nothing can be learned from a model, if so."""
        predicted = self._predicted(arrays)
        if predicted is None:
            return "it gives NaN or infinity on the public images"
        if (predicted == predicted[0]).all():
            return f"it takes every public image for class {int(predicted[0])}"
        return None

    def accuracy(self, arrays: Arrays) -> float:
        """Return the percent of the images that a model classifies right; NaN where its answers are no numbers."""
        predicted = self._predicted(arrays)
        if predicted is None:
            return float("nan")
        return 100.0 * float((predicted == self.public.labels[: self.number]).mean())

    def _predicted(self, arrays: Arrays) -> NDArray[np.int64] | None:
        logits = self.public.logits_of(arrays, self.public.images[: self.number])
        return logits.argmax(1).numpy() if bool(logits.isfinite().all()) else None

"""The detector on duty: trained on shadows, checked in every round, trained anew when it has aged.

The paper (section 3.1) trains its detector on the server and does not say when. The model that clients start from
changes from round to round, and with it what a clean update looks like. So what is read of an update is measured from
the median of its round, which an honest majority decides: once the model learns slowly, a detector stays good for long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.detector import (
    NONE,
    Detector,
    DetectorOptions,
    calibrate,
    deal,
    enough,
    from_arrays,
    scores,
    to_arrays,
    train_detector,
)
from fedsec.defenses.gancrop.features import read_updates
from fedsec.defenses.updates import BoolVector, IntVector, Vector
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.strategies.inspecting import Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.parameters import get_arrays

DETECTOR = "detector."

KEPT = {"known", "poisoned", "places", "called", "recent", "rounds", "learned at"}
"""Arrays of a state, beside those of the detector."""

WINDOW, FEWEST = 24, 6
"""Shadows of the last rounds by which the detector is judged, at most, and of a kind at least."""

YOUNG, APART = 6, 3
"""Rounds in each of which a new detector is checked, and from then on rounds from one check to the next: an old one has
aged by the model's accuracy long before."""

MANY = 10
"""Clean shadows whose median is that of clean models."""

WRONG = 0.5
"""Share of a kind that it may get wrong before it has aged. There are a dozen at most: who misses a fifth of all
seldom misses more than half of so few."""

MOVED, ASKED = 10.0, 1000
"""Points by which the accuracy of the model that clients start from may change before the detector has aged, and public
images on which it is measured: the updates of a model that has just begun to learn are unlike those of a later one."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How poisoned models are told.

    Attributes:
        shadows: models to learn from, half of them poisoned; when it has aged, half as many new ones.
        checks: fresh shadows of a check: in each of :data:`YOUNG` rounds, then every :data:`APART` rounds.
        detector: how the detector is trained.
    """

    shadows: int = 96
    checks: int = 2
    detector: DetectorOptions = field(default_factory=DetectorOptions)


class Watch:
    """Keeps a detector that fits the round.

    Args:
        maker: trains shadows.
        options: how many.
    """

    def __init__(self, maker: ShadowMaker, options: WatchOptions) -> None:
        self.maker, self.options = maker, options
        self.detector: Detector | None = None
        self._known: Vector = np.empty((0, 0))
        self._poisoned: BoolVector = np.empty(0, bool)
        self._places: IntVector = np.empty(0, np.int64)  # which member of the detector has not learned from each
        self._called: BoolVector = np.empty(0, bool)  # by the detector of when each was made
        self._clients: tuple[Inspected, Vector] | None = None
        self._accuracy = self._learned_at = 0.0  # of the model that was sent, now and when the detector was trained
        self._recent = 0  # of the known ones, how many, at the end, were made since it was trained
        self._rounds = 0  # since it was trained

    def learn(self, seen: Inspected, rng: np.random.Generator) -> dict[str, Any]:
        """Train shadows of a round, and the detector if it is new or has aged; return what was done, for the record."""
        self._accuracy = self.maker.public.accuracy_of(seen.layout.sent, ASKED)
        if self.detector is None:  # and where no backdoor took on the last model, one may on this
            made = self._make(seen, self.options.shadows // (2 if len(self._known) else 1), rng)
            return {"trained": self._train(rng), "shadows": made}
        self._rounds += 1
        due = self._rounds <= YOUNG or self._rounds % APART == 0
        made = self._make(seen, self.options.checks if due else 0, rng)
        self._recent = min(self._recent + made, WINDOW)
        missed, alarms = self._wrong()
        moved = abs(self._accuracy - self._learned_at)
        check = {"missed": missed, "false_alarms": alarms, "of": self._recent, "moved": moved}
        about: dict[str, Any] = {"check": check}
        if moved > MOVED or max(missed, alarms) > WRONG:
            made += self._make(seen, self.options.shadows // 2, rng)
            about["trained"] = self._train(rng)
        elif made:
            clean = ~self._poisoned
            calibrate(self.detector, self._known[clean], self._places[clean], self.options.detector.false_alarms)
        return about | {"shadows": made}

    def scores(self, seen: Inspected) -> Vector:
        """Return how far each client's model is above the threshold, at most half of them; 0 without a detector."""
        if self.detector is None:
            return np.zeros(len(seen.updates))
        read = self._of_clients(seen)
        self._clients = None
        return at_most_half(scores(self.detector, read - np.median(read, axis=0)))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the detector and what it learned from."""
        trained = {} if self.detector is None else to_arrays(self.detector)
        return {f"{DETECTOR}{name}": array for name, array in trained.items()} | {
            "known": self._known,
            "poisoned": self._poisoned,
            "places": self._places,
            "called": self._called,
            "recent": np.array([self._recent]),
            "rounds": np.array([self._rounds]),
            "learned at": np.array([self._learned_at]),
        }

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned.

        Raises:
            ValueError: it is another strategy's, or another version's, which read something else of an update.
        """
        if missing := KEPT - state.keys():
            raise ValueError(f"GANcrop keeps {sorted(missing)} among others; the checkpoint holds {sorted(state)}.")
        layout = Layout(get_arrays(self.maker.public.network))
        width = read_updates(np.zeros((1, layout.width), np.float32), places(layout)).shape[1]
        if len(state["known"]) and state["known"].shape[1] != width:
            found = state["known"].shape[1]
            raise ValueError(f"GANcrop reads {width} values of an update; the checkpoint has {found} of each.")
        trained = {name.removeprefix(DETECTOR): a for name, a in state.items() if name.startswith(DETECTOR)}
        self.detector = from_arrays(trained) if trained else None
        self._known, self._poisoned = state["known"].astype(np.float64), state["poisoned"].astype(bool)
        self._places, self._called = state["places"].astype(np.int64), state["called"].astype(bool)
        self._recent, self._rounds = int(state["recent"][0]), int(state["rounds"][0])
        self._learned_at = float(state["learned at"][0])

    def _of_clients(self, seen: Inspected) -> Vector:
        """Return what is read of the clients' models; once in a round, and forgotten with its last use."""
        if self._clients is None or self._clients[0] is not seen:
            self._clients = seen, read_updates(seen.updates.deltas, places(seen.layout))
        return self._clients[1]

    def _make(self, seen: Inspected, number: int, rng: np.random.Generator) -> int:
        """Train so many shadows and keep what is read of them; return how many could be used."""
        if not number:
            return 0
        made = self.maker.make(seen.layout, seen.updates.num_examples, number - number // 2, number // 2, rng)
        groups = [(read_updates(some.deltas, places(seen.layout)), some.poisoned) for some in made]
        read, poisoned = (np.concatenate(parts) for parts in zip(*groups, strict=True))
        clean = read[~poisoned]
        # A few shadows are judged as clients are, by the clients' median; many have a median of their own.
        read -= np.median(clean if len(clean) >= MANY else self._of_clients(seen), axis=0)
        order = rng.permutation(len(read))
        known = self._known.reshape(-1, read.shape[1])
        most = 2 * self.options.shadows  # the oldest are forgotten
        self._known = np.concatenate([known, read[order]])[-most:]
        self._poisoned = np.concatenate([self._poisoned, poisoned[order]])[-most:]
        self._places = np.concatenate([self._places, np.full(len(read), NONE)])[-most:]
        called = np.zeros(len(read), bool) if self.detector is None else scores(self.detector, read[order]) > 0.0
        self._called = np.concatenate([self._called, called])[-most:]
        return len(read)

    def _train(self, rng: np.random.Generator) -> bool:
        """Train a new detector on what is known; return whether there was enough of it."""
        if not enough(self._poisoned):
            return False  # no backdoor takes on this model yet
        self._places = deal(self._poisoned)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        self.detector = train_detector(self._known, self._poisoned, self.options.detector, generator)
        self._recent = self._rounds = 0
        self._learned_at = self._accuracy
        return True

    def _wrong(self) -> tuple[float, float]:
        """Return the shares of the recent poisoned shadows that were missed, and of the clean ones that were not; 0 of
        a kind of which there are too few to tell.
        """
        first = len(self._called) - self._recent
        called, poisoned = self._called[first:], self._poisoned[first:]
        missed, alarms = ~called[poisoned], called[~poisoned]
        return _share(missed), _share(alarms)


def _share(wrong: BoolVector) -> float:
    return float(wrong.mean()) if len(wrong) >= FEWEST else 0.0


def at_most_half(values: Vector) -> Vector:
    """Return scores (n,) of which no more than half of the models have one above 0.

    Most clients are honest: where more are called, the detector does not fit the round, and the order still tells most.
    """
    middle = np.sort(values)[max(0, (len(values) + 1) // 2 - 1)]
    return np.asarray(values - max(0.0, float(middle)))


def places(layout: Layout) -> dict[str, tuple[slice, tuple[int, ...]]]:
    """Return the slice of a row and the shape of every array in it."""
    return {name: (part, layout.sent[name].shape) for name, part in layout.row.items()}

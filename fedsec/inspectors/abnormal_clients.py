"""Abnormal clients by autoencoder, joined to a round: the server makes benign updates and learns from them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.abnormal_clients import (
    Autoencoder,
    Scale,
    Threshold,
    check_credit,
    credit_average,
    make_surrogates,
    reconstruction_errors,
    scale_of,
    train_autoencoder,
)
from fedsec.defenses.updates import Matrix, check_whole
from fedsec.models.drawing import drawn_from
from fedsec.strategies.inspecting import Findings, Inspected
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

MakeBenign = Callable[[Inspected, np.random.Generator, int], Matrix]
"""From a round, a source of draws and a number m to the updates (m, d) of m clean models."""

LAYER = "autoencoder."
"""Begins the names of the autoencoder's arrays."""

KEPT = ("seed", "age", "centre", "spread")
"""What is kept beside them."""

FEWEST, TINY = 2, 1e-30
"""Benign updates that there must be at least, and how far apart: of those that diverge none is left, and from one, or
several of one kind, nothing is learned of how benign ones differ."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned from benign updates: the surrogates' seed and scale, and what reconstructs them."""

    seed: int
    scale: Scale
    autoencoder: Autoencoder


class AbnormalClientsInspector:
    """Weighs the updates by how well an autoencoder of benign ones reconstructs them.

    Where the autoencoder does not converge, no client is let in and the global model stays: the report says so, and the
    next round trains another.

    Args:
        make_benign: trains clean models from the model that was sent, see :data:`MakeBenign`.
        shadows: m, how many.
        refresh: rounds after which others are made and the autoencoder is trained anew.
        size: p, values in a surrogate.
        credit: L, see :func:`~fedsec.defenses.abnormal_clients.credit_average`.
        threshold: likewise.

    Raises:
        OptionError: an option makes no sense.
    """

    def __init__(
        self,
        make_benign: MakeBenign,
        *,
        shadows: int = 32,
        refresh: int = 10,
        size: int = 64,
        credit: float = 1.0,
        threshold: Threshold = "mean",
    ) -> None:
        check_whole("shadows", shadows, at_least=2)
        check_whole("refresh", refresh, at_least=1)
        check_whole("size", size, at_least=1)
        check_credit(credit, threshold)
        self.make_benign, self.shadows, self.refresh, self.size = make_benign, shadows, refresh, size
        self.credit, self.threshold = credit, threshold
        self._learned: Learned | None = None
        self._age = 0

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        """Return the updates' average by credit; a score is the client's reconstruction error."""
        start, trained = time.perf_counter(), self._learned is None or self._age >= self.refresh
        with one_thread():
            if trained:
                self._learned, self._age = self._learn(seen, rng), 0
            self._age += 1
            learned, errors = self._learned, np.full(len(seen.updates), np.inf)
            if learned is not None:
                surrogates = make_surrogates(seen.updates.deltas, self.size, learned.seed)
                errors = reconstruction_errors(learned.autoencoder, surrogates, learned.scale)
        verdict = credit_average(seen.updates, errors, self.credit, self.threshold)
        report: dict[str, Any] = {
            "trained": trained,
            "converged": learned is not None,
            "errors": [float(error) if np.isfinite(error) else None for error in errors],
            "rejected": [int(node) for node in seen.updates.node_ids[verdict.weights == 0]],
            "seconds": time.perf_counter() - start,
        }
        return Findings(verdict, report, {}, {})

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what was learned, and how many rounds ago; nothing before the first round."""
        if self._learned is None:
            return {}
        learned = self._learned
        return {f"{LAYER}{name}": array for name, array in get_arrays(learned.autoencoder).items()} | {
            "seed": np.array([learned.seed]),
            "age": np.array([self._age]),
            "centre": learned.scale.centre,
            "spread": np.array([learned.scale.spread]),
        }

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned.

        Raises:
            ValueError: it has other names, or surrogates of another size.
        """
        if not state:
            self._learned, self._age = None, 0
            return
        autoencoder = Autoencoder(self.size)
        names = [f"{LAYER}{name}" for name in autoencoder.state_dict()]
        if state.keys() != {*names, *KEPT}:
            raise ValueError(f"AbnormalClients keeps {sorted({*names, *KEPT})}; the checkpoint holds {sorted(state)}.")
        set_arrays(autoencoder, [state[name] for name in names])
        scale = Scale(state["centre"].astype(np.float32), float(state["spread"][0]))
        self._learned, self._age = Learned(int(state["seed"][0]), scale, autoencoder), int(state["age"][0])

    def _learn(self, seen: Inspected, rng: np.random.Generator) -> Learned | None:
        """Return what benign updates teach; ``None`` where the autoencoder does not converge."""
        benign = self.make_benign(seen, rng, self.shadows)
        seed, initial = (int(drawn) for drawn in rng.integers(2**63 - 1, size=2))
        if len(benign) < FEWEST:
            return None
        surrogates = make_surrogates(benign, self.size, seed)
        scale = scale_of(surrogates)
        if not (np.isfinite(surrogates).all() and np.isfinite(np.float32(scale.spread)) and scale.spread > TINY):
            return None
        with drawn_from(initial):
            autoencoder = Autoencoder(self.size)
        return Learned(seed, scale, autoencoder) if train_autoencoder(autoencoder, surrogates, scale) else None

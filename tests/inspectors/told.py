"""GANcrop whose suspects a test names, for what it does with them."""

from dataclasses import replace
from typing import Any

import numpy as np

from fedsec.defenses.gancrop.detector import DetectorOptions
from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.inspectors.gancrop import GancropInspector, GancropOptions
from fedsec.inspectors.watch import Watch, WatchOptions
from fedsec.strategies.inspecting import Findings, Inspected
from fedsec.training.classifier import TrainingSettings
from tests.backdoored import public

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)
OPTIONS = GancropOptions(
    WatchOptions(20, 2, DetectorOptions(steps=30)),
    RecoveryOptions(steps=600, batch_size=8),
    UnlearningOptions(epochs=4),
)
QUICK = replace(OPTIONS, recovery=RecoveryOptions(steps=3, batch_size=4), unlearning=UnlearningOptions(epochs=1))


class Told(Watch):
    """Suspects whom it is told to."""

    def __init__(self, one: Watch, rows: list[int], values: list[float] | None = None) -> None:
        super().__init__(one.maker, one.options)
        self.rows, self.values = rows, values

    def learn(self, seen: Inspected, rng: np.random.Generator) -> dict[str, Any]:
        return {"shadows": 0}

    def scores(self, seen: Inspected) -> np.ndarray:
        called = np.isin(np.arange(len(seen.updates)), self.rows)
        return np.where(called, 1.0, -1.0) if self.values is None else np.array(self.values)


def told(rows: list[int], options: GancropOptions = QUICK, values: list[float] | None = None) -> GancropInspector:
    inspector = GancropInspector(public(), SETTINGS, options)
    inspector.watch = Told(inspector.watch, rows, values)
    return inspector


def inspected(inspector: GancropInspector, seen: Inspected, seed: int = 0) -> Findings:
    return inspector.inspect(seen, np.random.default_rng(seed))

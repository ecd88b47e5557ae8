"""GangSweep, joined to a round: the averaged model is swept, or every client's."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gansweep import Generators, SweepOptions, flag_classes, measure_shifts, sweep, train_generators
from fedsec.defenses.mean import mean
from fedsec.defenses.updates import Verdict, check_choice
from fedsec.inspectors.public import PublicData
from fedsec.models.drawing import drawn_from
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.strategies.layout import Layout
from fedsec.training.threads import one_thread

Models = Literal["global", "each"]

MEASURED = 500
"""Public images on which perturbations and accuracy are measured."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of one model.

    Attributes:
        delta: (d,) float32, the swept model minus the global model that was sent; the model's own where it passed
            unchanged.
        anomaly: the highest anomaly index of its classes; 0 where none could be compared.
        report: what was found, for the record.
        image: (H, W, C) uint8, the mean change by the perturbation of the most anomalous class, black for none;
            ``None`` where nothing converged.
    """

    delta: NDArray[np.float32]
    anomaly: float
    report: dict[str, Any]
    image: NDArray[np.uint8] | None


class GansweepInspector:
    """Averages all updates, whoever sent them, and sweeps backdoors out of what comes of it.

    A model without a flagged class passes unchanged, and so does one for which the generators do not converge or which
    is no longer finite after sweeping: the report says which.

    Args:
        public: the network and public images.
        options: see :class:`~fedsec.defenses.gansweep.SweepOptions`.
        models: ``"global"`` sweeps the average; ``"each"`` sweeps every client's model before they are averaged.

    Raises:
        OptionError: ``models`` is another word.
    """

    def __init__(self, public: PublicData, options: SweepOptions | None = None, *, models: Models = "global") -> None:
        check_choice("models", models, get_args(Models))
        self.public, self.options, self.models = public, options or SweepOptions(), models
        self._pixels = public.pixels()

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        """Return the swept average: every client has weight 1/n; a score is the client's anomaly index, else 0."""
        average, everybody = mean(seen.updates), np.ones(len(seen.updates), bool)
        if self.models == "global":
            swept = [self.swept(seen.layout, seen.rebuild(average.delta, everybody), rng)]
            scores = average.scores
        else:
            swept = [self.swept(seen.layout, seen.model_of(row), rng) for row in range(len(seen.updates))]
            scores = np.array([max(0.0, one.anomaly) for one in swept])
        delta = np.asarray(np.mean([one.delta for one in swept], axis=0, dtype=np.float64), np.float32)
        report = {"models": self.models, "swept": [one.report for one in swept]}
        clearest = max(swept, key=lambda one: one.anomaly)
        images = {} if clearest.image is None else {"perturbation": clearest.image}
        models = {"swept": seen.rebuild(delta, everybody)}
        return Findings(Verdict(delta, average.weights, scores), report, models, images)

    def swept(self, layout: Layout, arrays: Arrays, rng: np.random.Generator) -> Swept:
        """Look for backdoors in a model and sweep them out.

        On one thread: a second one gains a fifth at best, and on a busy machine steps take up to ten times as long.
        """
        with one_thread():
            return self._swept(layout, arrays, rng)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return nothing: every round is looked at afresh."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back nothing.

        Raises:
            ValueError: there is something.
        """
        if state:
            raise ValueError(f"GangSweep keeps no state; the checkpoint holds {sorted(state)}.")

    def _swept(self, layout: Layout, arrays: Arrays, rng: np.random.Generator) -> Swept:
        start, draws = time.perf_counter(), torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        network, (images, labels) = self.public.load(arrays), self._pixels
        with drawn_from(int(rng.integers(2**63 - 1))):
            generators = Generators(images.shape[1], images.shape[2], self.public.num_classes)
        generators.to(self.public.device)
        train_generators(generators, network, images, draws, self.options)
        shifts = measure_shifts(generators, network, images[:MEASURED], labels[:MEASURED])
        flags = flag_classes(shifts, self.options)
        report: dict[str, Any] = {
            "flagged": list(flags.targets),
            "converged": flags.converged,
            "norms": _plain(shifts.norm),
            "variances": _plain(shifts.variance),
            "success_before": _plain(shifts.success),
        }
        delta = layout.change(arrays)
        if flags.targets:
            sweep(network, generators, flags.targets, images, labels, draws, self.options)
            changed = layout.change(self.public.arrays_of(network))
            if np.isfinite(changed).all():
                after = measure_shifts(generators, network, images[:MEASURED], labels[:MEASURED])
                delta, report["success_after"] = changed, _plain(after.success)
            else:
                report["converged"] = False
        report["seconds"] = time.perf_counter() - start
        anomaly = float(np.nanmax(flags.indices)) if flags.converged else 0.0
        image = _picture(generators, images[:MEASURED], int(np.nanargmax(flags.indices))) if flags.converged else None
        return Swept(delta, anomaly, report, image)


def _plain(values: NDArray[np.floating[Any]]) -> list[float | None]:
    """Return numbers as JSON can hold them."""
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]


@torch.no_grad()
def _picture(generators: Generators, images: torch.Tensor, target: int) -> NDArray[np.uint8]:
    part = images[:100]
    change = (generators(part)[:, target] - part).abs().mean(0)
    return np.asarray((change * 255).round().byte().permute(1, 2, 0).cpu().numpy(), np.uint8)

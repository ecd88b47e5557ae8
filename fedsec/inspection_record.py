"""What a defense that looks into models found in a round, for the run's record."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsec.defenses.gancrop.trigger import overlap
from fedsec.measuring import Measure
from fedsec.strategies import InspectingStrategy, RobustStrategy

PICTURES = "recovered"


def inspection_record(
    strategy: RobustStrategy,
    server_round: int,
    measure: Measure,
    folder: Path,
    true_mask: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Return what was found, with the accuracies of the models that make up the answer.

    Empty for other defenses, and for a round without a verdict.

    Args:
        strategy: the defense, after the round.
        server_round: which round.
        measure: measures classifiers.
        folder: of the run; pictures of recovered triggers go into ``recovered`` in it.
        true_mask: (H, W), pixels of the trigger of the attack, where there is one: what it shares with a recovered
            mask is recorded as intersection over union.
    """
    if not isinstance(strategy, InspectingStrategy) or strategy.findings is None:
        return {}
    if strategy.outcome is None or strategy.outcome.verdict is None:
        return {}  # what was found belongs to a round before
    found = strategy.findings
    for name, image in found.images.items():
        path = folder / PICTURES / f"{server_round:06}-{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(path)
    measured = {name: measure(server_round, arrays) for name, arrays in found.models.items()}
    accuracies = {name: {key: values.get(key) for key in ("MA", "BA")} for name, values in measured.items()}
    record = {**found.report, "models": accuracies}
    if true_mask is not None and found.masks:
        record["overlap"] = {name: round(overlap(mask, true_mask), 3) for name, mask in found.masks.items()}
    return record

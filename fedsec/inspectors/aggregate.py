"""The average of the models judged clean and of the repaired ones, and what of it is kept.

Paper on GANcrop, section 3.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.updates import BoolVector, Vector, Verdict
from fedsec.inspectors.averages import Averages
from fedsec.strategies.inspecting import Arrays, Findings


@dataclass(frozen=True, slots=True)
class GroupRepair:
    """What came of suspects that were repaired together.

    Attributes:
        chosen: (n,) who they are.
        arrays: their repaired model; ``None`` where they are left out.
        report: for the record.
        trigger: the one that stood out in them, if one did.
    """

    chosen: BoolVector
    arrays: Arrays | None
    report: dict[str, Any]
    trigger: RecoveredTrigger | None


def aggregate(
    averages: Averages,
    scores: Vector,
    suspects: BoolVector,
    repairs: Sequence[GroupRepair],
    report: Mapping[str, Any],
) -> Findings:
    """Return the average of the models judged clean and of the repaired ones, each of these for as many clients as it
    stands for.

    Args:
        averages: of the round.
        scores: (n,) how suspicious each client is.
        suspects: (n,) who has no part in the average as it is.
        repairs: of suspects, whether they hold or not.
        report: for the record.
    """
    seen, clean = averages.seen, ~suspects
    used = [repair for repair in repairs if repair.arrays is not None]
    counts = [int(repair.chosen.sum()) for repair in used]
    total = max(1, int(clean.sum()) + sum(counts))
    benign, weights = averages.change(clean), averages.shares(clean) * (clean.sum() / total)
    mended = [seen.layout.change(repair.arrays) for repair in used if repair.arrays is not None]
    delta = benign * np.float32(clean.sum() / total)
    for change, count in zip(mended, counts, strict=True):
        delta += change * np.float32(count / total)
    models: dict[str, Arrays] = {}
    if clean.any():
        models["benign"] = seen.rebuild(benign, clean)
    behind = clean if clean.any() else np.any([clean, *(repair.chosen for repair in used)], axis=0)
    if mended:
        repaired = np.average(mended, axis=0, weights=counts).astype(np.float32)
        models["repaired"] = seen.rebuild(repaired, np.any([repair.chosen for repair in used], axis=0))
    triggers = _named(repairs)
    images = {name: picture(trigger) for name, trigger in triggers.items()}
    masks = {name: trigger.mask for name, trigger in triggers.items()}
    return Findings(Verdict(delta, weights, scores), dict(report), models, images, masks, behind)


def picture(trigger: RecoveredTrigger) -> NDArray[np.uint8]:
    """Return a trigger as a picture (H, 2 W, 3): its mask, and what it shows where the mask is."""
    mask = np.repeat(trigger.mask[None], 3, axis=0)
    pattern = np.broadcast_to(trigger.pattern, mask.shape)
    both = np.concatenate([mask, mask * pattern], axis=2)
    return np.asarray(np.rint(255.0 * both.transpose(1, 2, 0)), np.uint8)


def _named(repairs: Sequence[GroupRepair]) -> dict[str, RecoveredTrigger]:
    """Return the first trigger of each class, by the name of its picture."""
    triggers: dict[int, RecoveredTrigger] = {}
    for repair in repairs:
        if repair.trigger is not None:
            triggers.setdefault(repair.trigger.target, repair.trigger)
    return {"trigger" if place == 0 else f"trigger-{place + 1}": one for place, one in enumerate(triggers.values())}

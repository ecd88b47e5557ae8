"""What is recovered from poisoned models, and what is left of their backdoors, for :mod:`benchmarks.gancrop_detection`.

GANcrop's repair and Neural Cleanse beside it, each on one model at a time, and from nothing.
"""

import time
from collections.abc import Iterator, Sequence
from math import nan
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gancrop_federation import mean_model
from benchmarks.gancrop_models import ATTACKERS, Models, Study, accuracy_of, success_of
from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.trigger import overlap
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.neural_cleanse import flag_targets, neural_cleanse
from fedsec.defenses.updates import Vector
from fedsec.inspectors.repair import Repairer
from fedsec.inspectors.search import FEW, TriggerSearch
from fedsec.training.shadows import Shadow

EVERY_CLASS, POISONED = "every poisoned one but of one source", "every poisoned one"
"""Rows of several kinds at once: those whose trigger turns every class, and all with a backdoor."""

DIGITS = {"named": ".0f", "found": ".0f", "overlap": ".2f", "recovered_before": ".0f", "recovered_after": ".0f",
          "true_before": ".0f", "true_after": ".0f", "true_left": ".0f", "lost": ".1f", "lost_public": ".1f",
          "refused": ".0f", "used": ".0f", "seconds": ".1f"}  # fmt: skip

COUNTED = ("refused", "used")
"""What is counted in a row; of everything else it has the mean."""

ABOUT = (
    "Percent, means over the models of a row; IoU of the masks where the target was found. A recovered trigger is "
    "stamped on public images, a true one on test images. After: once the recovered one is unlearned. A repaired model "
    "that does not hold is refused, and where no class is named nothing is repaired: refused and used are numbers of "
    "models. After, used: of the repaired models that would be used alone; after, all: of every model of the row, "
    "those that are not repaired or refused as they were. Accuracy lost, used: by test images, of used ones alone; all "
    "repairs: refused ones too, by the public images that the server judges them by. A class named in a clean model is "
    "a false one. One source: the backdoor turns images of one class only, and there is no trigger that turns the "
    "others."
)
"""How the table is to be read."""


class Attempt(NamedTuple):
    """What one method did with one model; NaN for what does not apply.

    Attributes:
        named: 100 if a class stood out, else 0.
        found: 100 if it is the attacker's target, else 0.
        overlap: of the recovered mask with the true one, where the target was found (intersection over union).
        recovered_before: percent of stamped public images that the recovered trigger turns.
        recovered_after: the same once it is unlearned.
        true_before: percent of stamped test images that the true trigger turns.
        true_after: the same of the repaired model, if it would be used.
        true_left: the same, or ``true_before`` if nothing was repaired or the repaired model would not be used.
        lost: points of accuracy on test images that the repair cost, if the repaired model would be used.
        lost_public: the same on public images, as the server measures it, used or not.
        refused: 1 if a trigger was unlearned but the repaired model would not be used, else 0.
        used: 1 if the repaired model would be used, else 0.
        seconds: of everything.
    """

    named: float
    found: float
    overlap: float
    recovered_before: float = nan
    recovered_after: float = nan
    true_before: float = nan
    true_after: float = nan
    true_left: float = nan
    lost: float = nan
    lost_public: float = nan
    refused: float = nan
    used: float = nan
    seconds: float = nan


def choose(models: Models, number: int) -> list[int]:
    """Return which models to repair, at most ``number``: kinds in turn, clean ones among them, in their order."""
    places = {
        kind: np.flatnonzero((models.kinds == kind) & models.usable).tolist() for kind in sorted(set(models.kinds))
    }
    longest = max((len(found) for found in places.values()), default=0)
    turns = [found[turn] for turn in range(longest) for found in places.values() if turn < len(found)]
    return sorted(turns[:number])


def trusted_model(study: Study, scores: Vector, but: int) -> dict[str, NDArray[np.generic]]:
    """Return what GANcrop compares a suspect with: the average of the less suspicious half of a round.

    Args:
        study: with the tested models.
        scores: (n,) how suspicious each is.
        but: the suspect, which is not in it.
    """
    models = study.tests
    clean, poisoned = np.flatnonzero(~models.poisoned), np.flatnonzero(models.poisoned)
    round_of_all = [*clean.tolist(), *poisoned[: round(len(clean) * ATTACKERS / (1.0 - ATTACKERS))].tolist()]
    ranked = sorted((row for row in round_of_all if row != but), key=lambda row: float(scores[row]))
    return mean_model(study.layout.sent, [models.arrays[row] for row in ranked[: (len(ranked) + 1) // 2]])


def gancrop(study: Study, place: int, seed: int, scores: Vector) -> Attempt:
    """Return what GANcrop's repair does with one of the tested models."""
    models = study.tests
    arrays, shadow = models.arrays[place], models.shadows[place]
    trusted = trusted_model(study, scores, place)
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    found = TriggerSearch(study.public, RecoveryOptions()).find(arrays, trusted, generator)
    repaired = Repairer(study.public, UnlearningOptions()).repair(arrays, found, generator)
    seconds = time.perf_counter() - start
    target = None if found.outstanding is None else found.outstanding.target
    mask = None if found.outstanding is None else found.outstanding.mask
    report, used = repaired.report, repaired.arrays is not None
    before = _measured(study, arrays, shadow)
    after = (nan, nan) if repaired.arrays is None else _measured(study, repaired.arrays, shadow)
    return Attempt(
        *_hit(target, mask, shadow),
        recovered_before=found.report.get("success", nan),
        recovered_after=report.get("success_after", nan),
        true_before=before[1],
        true_after=after[1],
        true_left=after[1] if used else before[1],
        lost=before[0] - after[0],
        lost_public=report.get("accuracy_before", nan) - report.get("accuracy_after", nan),
        refused=float(target is not None and not used),
        used=float(used),
        seconds=seconds,
    )


def cleansed(study: Study, place: int, seed: int, scores: Vector) -> Attempt:
    """Return what Neural Cleanse finds in one of the tested models."""
    start, models = time.perf_counter(), study.tests
    network = study.public.load(models.arrays[place])
    generator = torch.Generator().manual_seed(seed)
    triggers = neural_cleanse(network, *study.public.pixels(FEW), study.public.num_classes, generator)
    flagged = flag_targets(triggers).targets
    target = flagged[0] if flagged else None
    hit = _hit(target, None if target is None else triggers[target].mask, models.shadows[place])
    success = nan if target is None else triggers[target].success
    return Attempt(*hit, recovered_before=success, seconds=time.perf_counter() - start)


def table(study: Study, places: Sequence[int], seed: int, scores: Vector) -> Iterator[str]:
    """Yield the lines of the table of what is recovered from some of the tested models, by method and kind.

    Args:
        study: with the tested models.
        places: which of them.
        seed: of every search.
        scores: (n,) of all tested models.
    """
    heads = (
        "a class named", "the true one", "IoU", "recovered trigger", "after", "true trigger", "after, used",
        "after, all", "accuracy lost, used", "all repairs", "refused", "used", "s",
    )  # fmt: skip
    yield f"| method | trigger | models | {' | '.join(heads)} |"
    yield "| --- " * (3 + len(heads)) + "|"
    for name, method in (("GANcrop", gancrop), ("Neural Cleanse", cleansed)):
        attempts = {place: method(study, place, seed + place, scores) for place in places}
        kinds = {place: _kind(study.tests, place) for place in places}
        rows = {kind: [place for place in places if kinds[place] == kind] for kind in sorted(set(kinds.values()))}
        poisoned = [place for place in places if study.tests.poisoned[place]]
        rows |= {
            EVERY_CLASS: [place for place in poisoned if study.tests.shadows[place].source < 0],
            POISONED: poisoned,
        }
        for kind, chosen in [row for row in rows.items() if row[1]]:
            cells = averaged([attempts[place] for place in chosen])
            yield f"| {name} | {kind} | {len(chosen)} | {' | '.join(cells)} |"


def averaged(attempts: Sequence[Attempt]) -> list[str]:
    """Return the mean of each number of some attempts as a text, or their sum, those that do not apply left out."""
    columns = [column[np.isfinite(column)] for column in np.array(attempts, float).T]
    return [_cell(name, column) for name, column in zip(Attempt._fields, columns, strict=True)]


def _cell(name: str, numbers: NDArray[np.float64]) -> str:
    if not len(numbers):
        return ""
    return f"{numbers.sum() if name in COUNTED else numbers.mean():{DIGITS[name]}}"


def _kind(models: Models, place: int) -> str:
    return f"{models.kinds[place]}, one source" if models.shadows[place].source >= 0 else str(models.kinds[place])


def _hit(target: int | None, mask: NDArray[np.float32] | None, shadow: Shadow) -> tuple[float, float, float]:
    """Return whether a class is named, whether it is the true one, and the overlap of the masks."""
    named = 0.0 if target is None else 100.0
    if shadow.trigger is None:
        return named, nan, nan
    found = target == shadow.target
    return named, 100.0 * found, overlap(mask, shadow.trigger.mask) if found and mask is not None else nan


def _measured(study: Study, arrays: dict[str, NDArray[np.generic]], shadow: Shadow) -> tuple[float, float]:
    network = study.public.load(arrays)
    return accuracy_of(network, study.images, study.labels), success_of(network, shadow, study.images, study.labels)

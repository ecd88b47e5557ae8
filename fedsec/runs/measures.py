"""What is measured of global models: accuracies of a classifier, scores of a generator."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean
from typing import Any

from fedsec.runs.rounds import RoundRecord


@dataclass(frozen=True, slots=True)
class MeasureName:
    """How a measure is called and written.

    Attributes:
        heading: of its column.
        digits: decimals that are shown.
        about: what it is, for the legend.
    """

    heading: str
    digits: int
    about: str


MEASURES = {
    "MA": MeasureName("MA", 1, "percent of clean test images classified right"),
    "BA": MeasureName("BA", 1, "percent of triggered test images of the source class classified as the target"),
    "RECOGNISED": MeasureName(
        "rebuilt, recognised",
        1,
        "percent of the adversary's images that a classifier apart takes for the victim's class, mean of the attack's "
        "rounds",
    ),
    "DISTANCE": MeasureName(
        "rebuilt, distance",
        5,
        "mean squared difference of its average image to the victim's, pixels from 0 to 1, in the nearest round",
    ),
    "SSIM": MeasureName(
        "rebuilt, SSIM",
        3,
        "mean structural similarity of each of its images to the most similar one of the victim's, in the best round",
    ),
    "IS": MeasureName("IS", 2, "Inception Score of generated images, higher is better"),
    "FID": MeasureName("FID", 1, "Frechet distance of their features to those of real images, lower is better"),
    "KID": MeasureName("KID x 1000", 1, "a thousand times their kernel distance, lower is better"),
}
"""Every measure of a table or a record, by the key that table files have for it."""

ACCURACIES, REBUILT, SCORES = ("MA", "BA"), ("RECOGNISED", "DISTANCE", "SSIM"), ("IS", "FID", "KID")


def measured(record: Mapping[str, Any]) -> dict[str, float]:
    """Return every measure of a line of ``rounds.jsonl``, NaN where it has none.

    Scores are those of the first extractor, which is the data set's own classifier.
    """
    rebuilt = (record.get("reconstruction") or {}).get("rebuilt") or {}
    scores = (record.get("generation") or [{}])[0]
    found = {
        "MA": record["MA"],
        "BA": record["BA"],
        "RECOGNISED": rebuilt.get("recognised"),
        "DISTANCE": rebuilt.get("distances", {}).get("of_means"),
        "SSIM": rebuilt.get("ssim_nearest"),
        "IS": scores.get("inception_score"),
        "FID": scores.get("fid"),
        "KID": None if scores.get("kid") is None else 1000.0 * scores["kid"],
    }
    return {name: nan if value is None else float(value) for name, value in found.items()}


def rebuilt_over(rounds: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return what an adversary rebuilt in all its rounds, by the measures of :data:`REBUILT`; NaN if it never began.

    It keeps what it makes in every round, and a round's images differ much from the next one's. So this is how many are
    recognised on average, and how near the nearest came.

    Args:
        rounds: lines of ``rounds.jsonl``.
    """
    found = [measures for measures in map(measured, rounds) if not isnan(measures["RECOGNISED"])]
    if not found:
        return dict.fromkeys(REBUILT, nan)
    return {
        "RECOGNISED": fmean(measures["RECOGNISED"] for measures in found),
        "DISTANCE": min(measures["DISTANCE"] for measures in found),
        "SSIM": max(measures["SSIM"] for measures in found),
    }


def measured_in_words(record: RoundRecord) -> str:
    """Return what was measured after a round, for people."""
    if record.reconstruction:
        return f"MA {record.MA:5.1f}  {_rebuilt_in_words(record.reconstruction)}"
    if record.MA is not None:
        return f"MA {record.MA:5.1f}  BA {'  -  ' if record.BA is None else f'{record.BA:5.1f}'}"
    found = measured({"MA": None, "BA": None, "generation": record.generation})
    named = (
        f"{name.heading} {found[key]:.{name.digits}f}" for key, name in MEASURES.items() if found[key] == found[key]
    )
    return "  ".join(named) or "not scored"


def _rebuilt_in_words(found: Mapping[str, Any]) -> str:
    rebuilt = found.get("rebuilt")
    if rebuilt is None:
        return "attacked" if found["began"] else "not attacked yet"
    return f"recognised {rebuilt['recognised']:5.1f}  distance {rebuilt['distances']['of_means']:.5f}"

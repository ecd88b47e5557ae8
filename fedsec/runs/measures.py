"""What is measured of global models: accuracies of a classifier, scores of a generator."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from fedsec.runs.record import RoundRecord


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
    "IS": MeasureName("IS", 2, "Inception Score of generated images, higher is better"),
    "FID": MeasureName("FID", 1, "Frechet distance of their features to those of real images, lower is better"),
    "KID": MeasureName("KID x 1000", 1, "a thousand times their kernel distance, lower is better"),
}
"""Every measure of a table or a record, by the key that table files have for it."""

ACCURACIES, SCORES = ("MA", "BA"), ("IS", "FID", "KID")


def measured(record: Mapping[str, Any]) -> dict[str, float]:
    """Return every measure of a line of ``rounds.jsonl``, NaN where it has none.

    Scores are those of the first extractor, which is the data set's own classifier.
    """
    scores = (record.get("generation") or [{}])[0]
    found = {
        "MA": record["MA"],
        "BA": record["BA"],
        "IS": scores.get("inception_score"),
        "FID": scores.get("fid"),
        "KID": None if scores.get("kid") is None else 1000.0 * scores["kid"],
    }
    return {name: nan if value is None else float(value) for name, value in found.items()}


def measured_in_words(record: RoundRecord) -> str:
    """Return what was measured after a round, for people."""
    if record.MA is not None:
        return f"MA {record.MA:5.1f}  BA {'  -  ' if record.BA is None else f'{record.BA:5.1f}'}"
    found = measured({"MA": None, "BA": None, "generation": record.generation})
    named = (
        f"{name.heading} {found[key]:.{name.digits}f}" for key, name in MEASURES.items() if found[key] == found[key]
    )
    return "  ".join(named) or "not scored"

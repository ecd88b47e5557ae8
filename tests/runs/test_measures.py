"""What is rebuilt over a whole attack, by hand."""

from math import isnan
from typing import Any

from fedsec.runs.measures import REBUILT, rebuilt_over


def line(recognised: float | None = None, distance: float = 0.0, ssim: float = 0.0) -> dict[str, Any]:
    rebuilt = {"recognised": recognised, "distances": {"of_means": distance}, "ssim_nearest": ssim}
    return {"MA": 90.0, "BA": None, "reconstruction": {} if recognised is None else {"rebuilt": rebuilt}}


def test_recognised_is_a_mean_and_the_others_are_of_the_best_round() -> None:
    rounds = [line(), line(0.0, 0.2, 0.1), line(100.0, 0.01, 0.7), line(50.0, 0.05, 0.8)]
    assert rebuilt_over(rounds) == {"RECOGNISED": 50.0, "DISTANCE": 0.01, "SSIM": 0.8}


def test_an_attack_that_never_begins_rebuilds_nothing() -> None:
    for rounds in ([], [line(), line()]):
        found = rebuilt_over(rounds)
        assert tuple(found) == REBUILT
        assert all(isnan(value) for value in found.values())

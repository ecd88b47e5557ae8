"""Running cases. An error that is not our own ends the run, with the case that caused it."""

import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import configuration, decoder

TARGETS: dict[str, tuple[Any, Any, Any]] = {
    "decoder": (decoder.messages, decoder.judge, decoder.judge_damaged),
    "configuration": (configuration.cases, configuration.judge, configuration.judge_damaged),
}
"""What is made up, what reads it, and what damages something whole and reads that."""


def fuzz(target: str, cases: int, number: int) -> None:
    """Read ``cases`` cases, half of them made up and half of them damaged, drawn from the seed ``number``."""
    made_up, judge, judge_damaged = TARGETS[target]
    run = given(made_up)(judge)
    phases = [Phase.generate, Phase.shrink]
    options = settings(
        max_examples=cases // 2, database=None, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    seed(number)(options(run))()
    for case in range(cases // 2, cases):
        try:
            judge_damaged(random.Random(f"{number}:{case}"))
        except Exception as error:
            raise AssertionError(f"{target}: damaged case {case} of seed {number}: {error!r}") from error

"""Running cases. An error that is not our own ends the run, with the case that caused it."""

import random
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import configuration, decoder

TARGETS: dict[str, tuple[Any, Any, Any]] = {
    "decoder": (decoder.messages, decoder.judge, decoder.judge_damaged),
    "configuration": (configuration.cases, configuration.judge, configuration.judge_damaged),
}
"""What is made up, what reads it, and what damages something whole and reads that."""


def fuzz(target: str, cases: int, number: int) -> Counter[bool]:
    """Read ``cases`` cases, half of them made up and half of them damaged, drawn from the seed ``number``.

    Returns:
        how many were accepted (``True``) and refused. If one of them were none, only one side would have been tried.
    """
    made_up, judge, judge_damaged = TARGETS[target]
    counts = Counter[bool]()

    @given(made_up)
    def run(case: Any) -> None:
        counts[judge(case)] += 1

    phases = [Phase.generate, Phase.shrink]
    options = settings(
        max_examples=cases // 2, database=None, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    seed(number)(options(run))()
    for case in range(cases // 2, cases):
        try:
            counts[judge_damaged(random.Random(f"{number}:{case}"))] += 1
        except Exception as error:
            raise AssertionError(f"{target}: damaged case {case} of seed {number}: {error!r}") from error
    return counts

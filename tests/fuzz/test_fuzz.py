"""A few hundred cases of each kind on every commit; ``make fuzz`` runs a hundred thousand."""

import random
import warnings

import pytest

from fedsec.strategies.layout import BadReplyError
from tests.fuzz.__main__ import main
from tests.fuzz.decoder import PAYLOADS, refusing
from tests.fuzz.mutation import mutated
from tests.fuzz.runs import TARGETS, fuzz

CASES = 400


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_errors_of_our_own(target: str) -> None:
    counts = fuzz(target, CASES, number=0)
    assert counts.total() >= CASES
    assert min(counts[True], counts[False]) > CASES // 50, "cases must come through, and cases must be refused"


def test_damage_is_the_same_for_the_same_seed_and_is_damage() -> None:
    damaged = [mutated(PAYLOADS[0], random.Random(seed)) for seed in range(50)]
    assert damaged == [mutated(PAYLOADS[0], random.Random(seed)) for seed in range(50)]
    assert sum(payload != PAYLOADS[0] for payload in damaged) > 40


def test_another_error_is_a_find() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        refusing(BadReplyError, fail)


@pytest.mark.parametrize(("named", "done"), [([], ["decoder", "configuration"]), (["decoder"], ["decoder"])])
def test_the_command_fuzzes_what_is_named_and_else_both(
    named: list[str], done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        main([*named, "--cases", "8"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": 8 cases")[0] for line in lines] == done
    assert all(line.endswith("nothing found") for line in lines)

"""What a defense is given and answers, and how it refuses."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fedsec.defenses import OptionError, TooFewClientsError, Verdict
from tests.defenses.rounds import round_of


def test_a_round_is_as_long_as_it_has_clients() -> None:
    assert len(round_of([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])) == 3


def test_rounds_and_verdicts_cannot_be_assigned_to() -> None:
    verdict = Verdict(np.zeros(2, np.float32), np.ones(1), np.zeros(1))
    with pytest.raises(FrozenInstanceError):
        verdict.weights = np.zeros(1)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        round_of([[1.0]]).losses = np.zeros(1)  # type: ignore[misc]


@pytest.mark.parametrize("error", [OptionError, TooFewClientsError])
def test_a_refusal_names_the_option_and_says_why(error: type[OptionError]) -> None:
    refusal = error("trim_ratio", "too little")
    assert refusal.option == "trim_ratio"
    assert str(refusal) == "too little"
    assert isinstance(refusal, OptionError)
    assert isinstance(refusal, ValueError)

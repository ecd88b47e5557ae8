"""Every draw has a key, and the numbers behind the keys never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.seeds import Purpose, derived_seed, generator

NUMBERS = {
    "PARTITION": 1,
    "ADVERSARIES": 2,
    "MODEL": 3,
    "TRAINING": 4,
    "ATTACK": 5,
    "SAMPLING": 6,
    "DEFENSE": 7,
    "TRIGGER": 8,
}

# The first draws of seed 7, round 3, partition 2. Another number here changes every published result.
GOLDEN = {
    "PARTITION": 1282570423505338544,
    "ADVERSARIES": 5762075561884371092,
    "MODEL": 7097098592109947556,
    "TRAINING": 5914677361162939815,
    "ATTACK": 3146916449376832836,
    "SAMPLING": 6091778038188120347,
    "DEFENSE": 4884034678054413329,
    "TRIGGER": 1353614292699748398,
}

keys = st.tuples(st.integers(0, 2**31 - 1), st.sampled_from(Purpose), st.integers(0, 10**6), st.integers(0, 10**6))


def test_purposes_are_appended_and_never_renumbered() -> None:
    numbers = {purpose.name: int(purpose) for purpose in Purpose}
    assert NUMBERS.items() <= numbers.items()
    assert len(set(numbers.values())) == len(numbers)


@pytest.mark.parametrize("name", GOLDEN)
def test_draws_are_those_of_every_earlier_version(name: str) -> None:
    assert derived_seed(7, Purpose[name], 3, 2) == GOLDEN[name]


def test_round_and_partition_are_zero_where_they_mean_nothing() -> None:
    assert generator(0, Purpose.PARTITION).random() == generator(0, Purpose.PARTITION, 0, 0).random()
    assert derived_seed(0, Purpose.MODEL) == 8254666551148276174


@given(keys, keys)
def test_other_keys_give_other_draws(one: tuple[int, Purpose, int, int], other: tuple[int, Purpose, int, int]) -> None:
    assert (derived_seed(*one) == derived_seed(*other)) == (one == other)


@pytest.mark.parametrize("one", Purpose)
@pytest.mark.parametrize("other", Purpose)
def test_the_draws_of_two_purposes_are_independent(one: Purpose, other: Purpose) -> None:
    a, b = generator(0, one).normal(size=10_000), generator(0, other).normal(size=10_000)
    expected = 1.0 if one == other else 0.0
    assert abs(np.corrcoef(a, b)[0, 1] - expected) < 0.05


@given(keys)
def test_a_derived_seed_fits_every_generator(key: tuple[int, Purpose, int, int]) -> None:
    seed = derived_seed(*key)
    assert type(seed) is int
    assert 0 <= seed < 2**63
    assert seed == derived_seed(*key)

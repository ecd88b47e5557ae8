"""As many clients attack as were asked for, and the seed says which."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.attacks.adversaries import malicious_clients, number_malicious


@pytest.mark.parametrize(("clients", "share", "expected"), [(10, 0.4, 4), (10, 0.0, 0), (3, 1.0, 3), (20, 0.15, 3)])
def test_the_share_gives_the_number(clients: int, share: float, expected: int) -> None:
    assert number_malicious(clients, share) == expected
    assert len(malicious_clients(clients, share, np.random.default_rng(0))) == expected


@given(st.integers(1, 50), st.floats(0, 1), st.integers(0, 2**32))
def test_attackers_are_distinct_clients_in_ascending_order(clients: int, share: float, seed: int) -> None:
    drawn = malicious_clients(clients, share, np.random.default_rng(seed))
    assert list(drawn) == sorted(set(drawn))
    assert set(drawn) <= set(range(clients))
    assert all(type(client) is int for client in drawn)
    assert drawn == malicious_clients(clients, share, np.random.default_rng(seed))


def test_every_client_may_be_drawn() -> None:
    rng = np.random.default_rng(0)
    times = np.bincount([malicious_clients(5, 0.2, rng)[0] for _ in range(1000)], minlength=5)
    assert np.all(np.abs(times - 200) < 5 * np.sqrt(160))

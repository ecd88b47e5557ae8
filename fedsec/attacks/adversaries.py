"""Which clients attack."""

import numpy as np


def number_malicious(clients: int, share: float) -> int:
    """Return how many of ``clients`` a ``share`` of them is, rounded to the nearest."""
    return round(clients * share)


def malicious_clients(clients: int, share: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Return which partitions are malicious, ascending: ``share`` of all ``clients``, drawn without replacement."""
    drawn = rng.choice(clients, number_malicious(clients, share), replace=False)
    return tuple(sorted(int(client) for client in drawn))

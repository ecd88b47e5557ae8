"""How well a defense tells the malicious clients from the honest ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detection:
    """Counts over client-rounds: one client judged in one round is one of them.

    A malicious client in a round without attack behaves as an honest one and is left out.

    Attributes:
        caught: malicious clients that got weight 0.
        malicious: malicious clients that were judged.
        false_alarms: honest clients that got weight 0.
        honest: honest clients that were judged.
    """

    caught: int
    malicious: int
    false_alarms: int
    honest: int

    def __add__(self, other: "Detection") -> "Detection":
        """Add the counts of other rounds."""
        return Detection(
            self.caught + other.caught,
            self.malicious + other.malicious,
            self.false_alarms + other.false_alarms,
            self.honest + other.honest,
        )


NONE_JUDGED = Detection(0, 0, 0, 0)


def detection(clients: Sequence[int], weights: Sequence[float], malicious: Collection[int]) -> Detection:
    """Count one round's verdict: ``weights`` (n,) of ``clients`` (n,), of whom ``malicious`` are malicious."""
    rejected = {client for client, weight in zip(clients, weights, strict=True) if weight == 0.0}
    attackers = set(clients) & set(malicious)
    honest = set(clients) - attackers
    return Detection(len(rejected & attackers), len(attackers), len(rejected & honest), len(honest))

"""What happened in one round of training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedsec.defenses.updates import Verdict
from fedsec.strategies.intake import Dropped


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What happened in one round of training, for the record.

    Attributes:
        server_round: which round.
        node_ids: (n,) the clients that were judged; partitions, where the strategy was told of them.
        num_examples: (n,) the examples that they claim.
        verdict: the defense's verdict on them, or ``None`` when the round was skipped.
        dropped: clients that were asked, or answered, and were not judged, with the reason.
        skipped: why the global model stays as it is, or ``None``.
        seconds: ``intake`` and ``defend``.
        losses: (n,) the losses that they report; empty where not all of them report one.
    """

    server_round: int
    node_ids: tuple[int, ...]
    num_examples: tuple[int, ...]
    verdict: Verdict | None
    dropped: tuple[Dropped, ...]
    skipped: str | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    losses: tuple[float, ...] = ()

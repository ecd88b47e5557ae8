"""One line of a run's record: what came of a round."""

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["honest", "malicious", "dormant"]
"""Dormant is a malicious client in a round without attack: it behaves as an honest one, and counts as neither."""


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """One judged client of one round.

    Attributes:
        client: its partition.
        weight: its share of the aggregated update.
        score: how suspicious the defense finds it.
        examples: how many it claims to have trained on.
        role: what it really is.
        loss: the loss that it reports; ``None`` where not all clients of the round report one.
    """

    client: int
    weight: float
    score: float
    examples: int
    role: Role
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One line of ``rounds.jsonl``. Round 0 is the global model before any training.

    Attributes:
        round: which round.
        MA: main-task accuracy in percent; ``None`` for a generator.
        BA: backdoor accuracy in percent; ``None`` where it is not defined.
        loss: mean cross-entropy on the clean test set; ``None`` for a generator.
        class_accuracy: percent right of each class.
        generation: of a generator, its scores by each extractor
            (:class:`~fedsec.metrics.generation.GenerationScores`); empty in a round that is not scored.
        reconstruction: of a class that an adversary rebuilds, what was measured
            (:mod:`fedsec.training.reconstruction_evaluation`); empty in other runs.
        inspection: what a defense that looks into models found, and the accuracies of the models that make up its
            answer; empty for the others.
        clients: the judged clients.
        dropped: node and reason of each reply that was not used.
        skipped: why the global model stayed, or ``None``.
        notes: client and text of what clients had to say, such as a state that was lost.
        events: nodes that were refused, went away or came back since the round before, and a damaged checkpoint.
        metrics: means of what the clients reported.
        seconds: by stage: train, aggregate (of which intake and defend), evaluate; total is their sum.
        peak_memory_mib: highest resident memory of the server's process so far.
    """

    round: int
    MA: float | None = None
    BA: float | None = None
    loss: float | None = None
    class_accuracy: list[float | None] = field(default_factory=list)
    generation: list[dict[str, Any]] = field(default_factory=list)
    reconstruction: dict[str, Any] = field(default_factory=dict)
    inspection: dict[str, Any] = field(default_factory=dict)
    clients: list[ClientRecord] = field(default_factory=list)
    dropped: list[dict[str, int | str]] = field(default_factory=list)
    skipped: str | None = None
    notes: list[dict[str, int | str]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float = 0.0

"""What :mod:`benchmarks.gancrop_detection` trains."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedsec.training.classifier import TrainingSettings


@dataclass(frozen=True, slots=True)
class Setting:
    """What is trained.

    Attributes:
        dataset: as configurations name it.
        model: a classifier.
        round: rounds of the federation before.
        clients: in the federation.
        share: of the training images that they hold.
        public: test images of the server's own.
        shadows: to learn from, half of them poisoned.
        tests: models to test, half of them poisoned, half with skewed labels.
        seed: of every draw.
        training: how clients and shadows are trained.
        device: auto, cpu or cuda.
        keep: folder that keeps the model of every round of the federation.
        trained_at: the round, not after ``round``, from whose model shadows are trained; by default it.
    """

    dataset: str
    model: str
    round: int
    clients: int = 40
    share: float = 1.0
    public: int = 5000
    shadows: int = 96
    tests: int = 240
    seed: int = 0
    training: TrainingSettings = field(default_factory=lambda: TrainingSettings(4, 64, 0.1))
    device: Literal["auto", "cpu", "cuda"] = "auto"
    keep: Path | None = None
    trained_at: int | None = None

    @property
    def shadow_round(self) -> int:
        """The round from whose model shadows are trained."""
        return self.round if self.trained_at is None else self.trained_at

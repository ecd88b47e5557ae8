"""Short runs on any engine; engine "cohort" with workers of this process."""

from typing import Any

import pytest

from fedsec.engine import pool as pool_module
from fedsec.engine.pool import CohortPool
from fedsec.engine.run import EngineName, execute
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.loading import parse
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord
from tests.engine.crews import LocalCrew


class Silent:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.rounds: list[int] = []
        self.filled_clients: list[int] = []

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        self.first_round = first_round

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        self.filled_clients.append(record.client)

    def finished_round(self, record: RoundRecord) -> None:
        self.rounds.append(record.round)


class InterruptedRunError(Exception):
    """Stands for a kill."""


class StopsAfter(Silent):
    """Interrupts the run after a round."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def finished_round(self, record: RoundRecord) -> None:
        super().finished_round(record)
        if record.round == self.last:
            raise InterruptedRunError


def config(**changes: Any) -> RunConfig:
    tables: dict[str, Any] = {
        "federation": {"rounds": 3, "batch-size": 16},
        "attack": {"share": 0.4},
        "defense": {"strategy": "flame"},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tables.setdefault(section, {})[name.replace("_", "-")] = value
    return parse(tables)


def run(configuration: RunConfig, engine: EngineName) -> tuple[dict[str, Any], RunFolder, Silent]:
    folder, observer = RunFolder.create(configuration), Silent()
    return execute(configuration, folder, observer, engine=engine), folder, observer


def record(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the rounds without what differs from one run to the next."""
    return [{k: v for k, v in line.items() if k not in ("seconds", "peak_memory_mib")} for line in folder.rounds()]


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[LocalCrew]:
    """Put workers of this process in the place of Ray's, one of them without shared memory; return them."""
    started: list[LocalCrew] = []

    def start() -> LocalCrew:
        started.append(LocalCrew("here", "elsewhere"))
        return started[-1]

    monkeypatch.setattr(pool_module, "ray_pool", lambda device: CohortPool(start))
    return started

"""Short runs on any engine."""

from typing import Any

from fedsec.engine.run import EngineName, execute
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.runs.record import RoundRecord, RunFolder


class Silent:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.rounds: list[int] = []

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        self.first_round = first_round

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def finished_round(self, record: RoundRecord) -> None:
        self.rounds.append(record.round)


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

"""The Flower app's server: ``flwr run .`` starts here."""

from logging import ERROR, INFO, WARNING

import torch
from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from fedsec.data.sources import DataError
from fedsec.federation import run_federation
from fedsec.fleet import GridFleet
from fedsec.holdings import class_names
from fedsec.inspectors.build import public_problem
from fedsec.nodes import FederationError, check_simulation, is_simulation
from fedsec.runs.checkpoint import CheckpointError
from fedsec.runs.checks import check, check_with_data
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.loading import ConfigError, parse_flat
from fedsec.runs.measures import measured_in_words
from fedsec.runs.record import RunFolder, unfinished_run
from fedsec.runs.rounds import RoundRecord
from fedsec.scenario import audited_on, held_out, load
from fedsec.victims import adversary, dealt_counts, victim_problem

app = ServerApp()


class LogObserver:
    """Tells in Flower's log how a run goes."""

    def started(self, config: RunConfig, folder: RunFolder, first_round: int) -> None:
        """Log where the record is."""
        log(INFO, "fedsec: round %d of %d is next; record in %s", first_round, config.federation.rounds, folder.path)

    def noticed(self, text: str) -> None:
        """Log a notice."""
        log(WARNING, "fedsec: %s", text)

    def filled(self, record: FillingRecord, done: int, clients: int) -> None:
        """Log that a client has filled its classes."""
        text = f"client {record.client} holds {sum(record.before)} images and trains on {sum(record.after)}"
        log(INFO, "fedsec: filled %d of %d: %s%s", done, clients, text, f"; {record.note}" if record.note else "")

    def finished_round(self, record: RoundRecord) -> None:
        """Log what was measured after a round."""
        log(INFO, "fedsec: round %d: %s", record.round, measured_in_words(record))


def checked(config: RunConfig, *, source: str = "") -> None:
    """Raise :class:`ConfigError` or :class:`DataError` for a configuration that cannot run; start nothing."""
    check(config, source=source)
    if config.federation.device == "cuda" and not torch.cuda.is_available():
        problem = "federation.device: found 'cuda', and PyTorch finds no GPU here; expected 'auto' or 'cpu'"
        raise ConfigError([problem], source)
    # Where each client has data of its own, the server has but the images to test on.
    mine = held_out(config) if config.data.partition == "own" else load(config, "train")
    channels, height, width = mine.images.shape[1:]
    check_with_data(config, (channels, height, width), len(class_names(config, mine)), len(mine), source=source)
    if config.defense.audit != "none":
        audited_on(config)
    if config.data.public and (found := public_problem(config, held_out(config))):
        raise ConfigError([found], source)
    if adversary(config) is not None and (problem := victim_problem(config, dealt_counts(config))):
        raise ConfigError([problem], source)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configuration of Flower's run config."""
    try:
        _main(grid, context)
    except (ConfigError, DataError, FederationError, CheckpointError) as error:
        log(ERROR, "fedsec: %s", error)  # one line now; Flower shows its own trace of the same error later
        raise


def _main(grid: Grid, context: Context) -> None:
    config = parse_flat(dict(context.run_config), source="run config")
    checked(config, source="run config")
    check_simulation(grid, config.federation.clients)
    folder = (unfinished_run(config) if config.run.resume else None) or RunFolder.create(config)
    engine = "ray" if is_simulation(grid) else "deployment"
    summary = run_federation(GridFleet(grid, config, engine=engine, run=folder.name), config, folder, LogObserver())
    log(INFO, "fedsec: final %s; record in %s", summary["final"], folder.path)

"""The server's side of a run: meet the nodes, train round by round, measure, record, checkpoint."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fedsec.audit import CriticAudit
from fedsec.data.datasets import ImageDataset
from fedsec.defenses.updates import OptionError
from fedsec.description import check_same_data, describe
from fedsec.fleet import Fleet, Judge, Judged
from fedsec.holdings import class_names
from fedsec.inspection_record import inspection_record
from fedsec.inspectors.build import build_inspector
from fedsec.measuring import Measure, measure_of
from fedsec.networks import shared_network
from fedsec.nodes import FederationError, NodeReport
from fedsec.observer import News, Notify, Observer
from fedsec.runs.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from fedsec.runs.checks import strategy_of
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import ClientRecord, Role, RoundRecord
from fedsec.scenario import attack_rounds, audited_on, can_attack, held_out, malicious, trigger
from fedsec.seeds import Purpose, derived_seed
from fedsec.strategies import InspectingStrategy, LossForest, RobustStrategy
from fedsec.strategies.build import rehearse
from fedsec.summary import summarise
from fedsec.training.parameters import get_arrays
from fedsec.victims import accuracies, adversary, began, never_began, victim_problem

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Federation:
    """One run, ready to train.

    Attributes:
        config: its configuration.
        folder: where it is recorded.
        strategy: the defense.
        measure: measures global models.
        attackers: partitions of the malicious clients; known here and in the report, and to no defense.
        true_mask: (H, W) pixels of the trigger that is measured, likewise; ``None`` without one.
    """

    config: RunConfig
    folder: RunFolder
    strategy: RobustStrategy
    measure: Measure
    attackers: tuple[int, ...]
    true_mask: NDArray[np.bool_] | None

    def roles(self, server_round: int, reports: Mapping[int, NodeReport]) -> dict[int, Role]:
        """Return what each malicious client is in a round; all others are honest, and so is one without a target."""
        active = self.attackers if self._attacked(server_round) else ()
        armed = [c for c in active if c not in reports or can_attack(self.config, c, reports[c].class_counts)]
        return {client: "malicious" if client in armed else "dormant" for client in self.attackers}

    def _attacked(self, server_round: int) -> bool:
        if adversary(self.config) is not None:
            begun = began(self.config, accuracies(self.folder.rounds()))
            if begun is None or server_round < begun:
                return False
        return server_round in attack_rounds(self.config)

    def enough(self, nodes: int) -> bool:
        """Tell whether a round can be done with so many nodes: its sample must suffice, and suffice the defense."""
        if nodes < self.config.federation.min_clients:
            return False
        sample = min(nodes, max(1, round(nodes * self.config.federation.fraction)))
        if sample < max(1, self.strategy.min_replies):
            return False
        try:
            rehearse(strategy_of(self.config), sample)
        except OptionError:
            return False
        return True


def run_federation(fleet: Fleet, config: RunConfig, folder: RunFolder, observer: Observer) -> dict[str, Any]:
    """Run a federation from its start or its checkpoint to its last round; return the summary.

    Args:
        fleet: the clients.
        config: the run's configuration.
        folder: the run's folder, with a checkpoint if the run was begun before.
        observer: is told how it goes.

    Raises:
        FederationError: the nodes cannot run the configuration, or another process runs in the folder.
    """
    lock = FileLock(folder.path / ".lock", timeout=0)
    try:
        with lock:
            folder.remove_partial_files()
            return _run(fleet, config, folder, observer)
    except Timeout:
        raise FederationError(f"{folder.path}: this run is in progress in another process") from None


def initial_arrays(config: RunConfig, dataset: ImageDataset) -> Arrays:
    """Return the global model before any training, drawn from the run's seed."""
    seed, classes = derived_seed(config.run.seed, Purpose.MODEL), len(class_names(config, dataset))
    return get_arrays(shared_network(config, dataset.images.shape[1:], classes, seed=seed))


def _run(fleet: Fleet, config: RunConfig, folder: RunFolder, observer: Observer) -> dict[str, Any]:
    finished = folder.summary()
    if finished is not None:
        return finished
    test = held_out(config)
    measure = measure_of(config, test, folder.path)
    backdoor = config.attacked and config.attack.kind in ("backdoor", "untargeted-backdoor")
    mask = trigger(config, test.images.shape[1:]).mask if backdoor else None
    federation = Federation(config, folder, _strategy(config, test), measure, malicious(config), mask)
    news = News(observer.noticed)
    reports = fleet.meet(news.tell, federation.enough)
    if problem := victim_problem(config, {client: report.class_counts for client, report in reports.items()}):
        raise FederationError(problem)
    start = _restore(federation, test, news.tell)
    check_same_data(config, folder, reports)
    about = _fill(fleet, federation, reports, observer, news)
    for text in describe(config, folder, federation.strategy, reports, about, start.server_round):
        observer.noticed(text)
    observer.started(config, folder, start.server_round + 1)
    arrays = start.arrays
    for server_round in range(start.server_round + 1, config.federation.rounds + 1):
        missing = fleet.attend(federation.enough)
        arrays, record = _train_round(fleet, federation, server_round, arrays, missing, reports, news)
        observer.finished_round(record)
    if text := never_began(config, folder.rounds()):
        observer.noticed(text)
    summary = summarise(config, folder, arrays)
    folder.write_summary(summary)
    return summary


def _strategy(config: RunConfig, test: ImageDataset) -> RobustStrategy:
    strategy = strategy_of(config)
    if isinstance(strategy, LossForest) and config.defense.audit == "critic":
        strategy.audit = CriticAudit(config, audited_on(config))
    if isinstance(strategy, InspectingStrategy):
        strategy.inspector = build_inspector(config, strategy, test)
    return strategy


def _fill(
    fleet: Fleet, federation: Federation, reports: Mapping[int, NodeReport], observer: Observer, news: News
) -> dict[str, Any]:
    """Let the clients fill their classes, where they do; return what the fleet runs on, and the seconds of it.

    A client that is done with it and holds something else by now fills its classes anew.
    """
    if federation.config.data.balance == "none":
        return dict(fleet.about())
    start, folder = time.perf_counter(), federation.folder
    done = folder.keep_fillings({client: report.class_counts for client, report in reports.items()})
    clients = federation.config.federation.clients

    if len(done) < clients:
        observer.noticed(f"{clients - len(done)} of {clients} clients fill their classes before the next round")

    def tell(record: FillingRecord) -> None:
        folder.append_filling(record)
        done[record.client] = record
        observer.filled(record, len(done), clients)

    fleet.fill(dict(done), tell, news.tell)
    return {**fleet.about(), "filling_seconds": time.perf_counter() - start}


def _restore(federation: Federation, test: ImageDataset, notify: Notify) -> Checkpoint:
    """Return the checkpoint to go on from; a new run gets one of round 0, with its measurements."""
    folder = federation.folder
    # A run has a line for round 0, and for a first round that may not have reached its checkpoint.
    checkpoint, notice = newest_checkpoint(folder.checkpoint, trained=len(folder.rounds()) > 2)
    if notice:
        notify(notice)
    elif folder.is_begun() and (checkpoint is None or checkpoint.server_round == 0):
        notify("this run was begun before, and ended before its first round was over")
    if checkpoint is None:
        folder.start_over()
        checkpoint = Checkpoint(0, initial_arrays(federation.config, test), federation.strategy.state())
        folder.append_round(RoundRecord(round=0, **federation.measure(0, checkpoint.arrays)))
        save_checkpoint(folder.checkpoint, checkpoint)
    else:
        folder.keep_rounds(checkpoint.server_round)
        federation.strategy.load_state(checkpoint.state)
    return checkpoint


def _train_round(
    fleet: Fleet,
    federation: Federation,
    server_round: int,
    arrays: Arrays,
    missing: Sequence[int],
    reports: Mapping[int, NodeReport],
    news: News,
) -> tuple[Arrays, RoundRecord]:
    """Do one round without the ``missing`` partitions; when this returns it is on disk, its line and its checkpoint."""
    strategy = federation.strategy
    clock = [time.perf_counter()]
    judge = _trained(fleet, federation, server_round, arrays, missing)
    clock.append(time.perf_counter())
    judged = judge()
    del judge  # and with it a round's worth of models, not needed while the new one is measured
    arrays = arrays if judged.arrays is None else judged.arrays
    clock.append(time.perf_counter())
    measured = federation.measure(server_round, arrays)
    clock.append(time.perf_counter())
    inspection = inspection_record(
        strategy, server_round, federation.measure, federation.folder.path, federation.true_mask
    )
    outcome = strategy.outcome
    stages = dict(zip(("train", "aggregate", "evaluate"), np.diff(clock).tolist(), strict=True))
    line = RoundRecord(
        round=server_round,
        **measured,
        inspection=inspection,
        clients=_client_records(strategy, federation.roles(server_round, reports)),
        dropped=_dropped(strategy, missing),
        skipped=outcome.skipped if outcome else None,
        notes=[{"client": client, "note": note} for client, note in sorted(judged.notes.items())],
        events=news.take(),
        metrics=dict(judged.metrics),
        seconds=stages | dict(outcome.seconds if outcome else {}) | {"total": clock[-1] - clock[0]},
        peak_memory_mib=_peak_memory_mib(),
    )
    federation.folder.append_round(line)
    save_checkpoint(federation.folder.checkpoint, Checkpoint(server_round, arrays, strategy.state()))
    return arrays, line


def _trained(fleet: Fleet, federation: Federation, server_round: int, arrays: Arrays, missing: Sequence[int]) -> Judge:
    """Let the clients train; with too few of them the round is skipped, and nobody is asked."""
    there = federation.config.federation.clients - len(missing)
    if federation.enough(there):
        return fleet.train(federation.strategy, server_round, arrays)
    federation.strategy.skip(server_round, f"{there} of {there + len(missing)} clients connected, which is too few")
    return lambda: Judged(None, {})


def _client_records(strategy: RobustStrategy, roles: Mapping[int, Role]) -> list[ClientRecord]:
    outcome = strategy.outcome
    if outcome is None or outcome.verdict is None:
        return []
    verdict, losses = outcome.verdict, outcome.losses or [None] * len(outcome.node_ids)
    columns = zip(outcome.node_ids, verdict.weights, verdict.scores, outcome.num_examples, losses, strict=True)
    return [
        ClientRecord(client, float(weight), float(score), int(examples), roles.get(client, "honest"), loss)
        for client, weight, score, examples, loss in columns
    ]


def _dropped(strategy: RobustStrategy, missing: Sequence[int]) -> list[dict[str, int | str]]:
    failed = [asdict(client) for client in strategy.outcome.dropped] if strategy.outcome else []
    absent = [{"node_id": partition, "reason": "not connected"} for partition in missing]
    return sorted([*failed, *absent], key=lambda client: int(client["node_id"]))


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere

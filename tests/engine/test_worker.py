"""A worker trains what it is given; each client's answer is its own, and what every other engine makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord

from fedsec.client_app import build_client
from fedsec.clients import BenignClient, make_client_app
from fedsec.data.datasets import load
from fedsec.engine.local import FIRST_NODE, LocalGrid
from fedsec.engine.rows import SharedRows
from fedsec.engine.worker import Answer, Done, Seat, Task, Worker
from fedsec.federation import initial_arrays as initial_model
from fedsec.runs.config import RunConfig
from fedsec.strategies import RobustFedAvg
from fedsec.strategies.layout import Layout
from fedsec.strategies.replies import mean_of_common
from tests.engine.conftest import config
from tests.engine.crews import EVERYBODY, HERE, ToyClient, maker, raises, run_of, task_of
from tests.strategies.toy import CLIENTS, FAULTS, initial_arrays

Fitted = tuple[list[np.ndarray], Any, dict[str, Any]]
Spoil = Callable[[Fitted], Any]


def of_fault(name: str) -> Spoil:
    """Return what makes a client misbehave in one of the ways of tests/strategies/toy.py."""

    def spoil(fitted: Fitted) -> Fitted:
        arrays, metrics = dict(zip(initial_arrays(), fitted[0], strict=True)), {"num-examples": fitted[1], **fitted[2]}
        FAULTS[name][0](arrays, metrics)
        return list(arrays.values()), metrics.pop("num-examples"), metrics

    return spoil


def with_loss(loss: Any) -> Spoil:
    return lambda fitted: (fitted[0], fitted[1], {"loss": loss})


SPOILS: dict[str, Spoil] = {
    **{name: of_fault(name) for name in FAULTS if name != "never answers"},
    "nothing": lambda fitted: None,
    "arrays alone": lambda fitted: fitted[0],
    "no metrics": lambda fitted: (fitted[0], fitted[1], None),
    "no arrays": lambda fitted: (None, fitted[1], {}),
    "too few arrays": lambda fitted: (fitted[0][:-1], fitted[1], {}),
    "too many arrays": lambda fitted: (fitted[0] * 2, fitted[1], {}),
    "text for examples": lambda fitted: (fitted[0], "many", {}),
    "examples as numpy counts them": lambda fitted: (fitted[0], np.int64(3), {}),
    "lists instead of arrays": lambda fitted: ([array.tolist() for array in fitted[0]], fitted[1], {}),
    "a loss in single precision": with_loss(np.float32(0.25)),
    "a loss that is not a number": with_loss(float("nan")),
    "a loss that is text": with_loss("low"),
    "a loss that is a flag": with_loss(True),
    "an error of several lines": raises(ValueError("first\nsecond\nlast")),
    "an error without a text": raises(RuntimeError()),
    "a very long error": raises(RuntimeError("x" * 1000)),
}


class UntellableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def on_local(make: Callable[[Any, int], ToyClient]) -> tuple[RobustFedAvg, dict[str, Any]]:
    """Let toy clients train on the engine "local"; return the strategy afterwards, and the mean metrics."""
    app = make_client_app(lambda context: make(None, int(context.node_config["partition-id"])))
    grid, strategy = LocalGrid(app, CLIENTS), RobustFedAvg()
    strategy.use_partitions({FIRST_NODE + client: client for client in EVERYBODY})
    sent = ArrayRecord({key: Array(array) for key, array in initial_arrays().items()})
    _, metrics = strategy.aggregate_train(
        1, grid.send_and_receive(strategy.configure_train(1, sent, ConfigRecord(), grid))
    )
    return strategy, dict(metrics or {})


def answers_of(make: Callable[[Any, int], ToyClient], **changes: Any) -> dict[int, Answer]:
    done = Worker(HERE).train(task_of(run_of(make, **changes), EVERYBODY[:5], EVERYBODY[5:]), initial_arrays())
    return {answer.seat.client: answer for answer in done.answers}


@pytest.mark.parametrize("name", SPOILS)
def test_a_spoiled_reply_is_what_it_is_on_the_local_engine(name: str) -> None:
    make = maker({4: SPOILS[name]})
    answers, (strategy, metrics) = answers_of(make), on_local(make)
    outcome = strategy.outcome
    assert outcome is not None
    assert {client: a.reason for client, a in answers.items() if a.admitted is None} == {
        dropped.node_id: dropped.reason for dropped in outcome.dropped
    }
    good = [answers[client] for client in sorted(answers) if answers[client].admitted is not None]
    assert [answer.admitted.node_id for answer in good if answer.admitted] == list(outcome.node_ids)
    assert [answer.admitted.num_examples for answer in good if answer.admitted] == list(outcome.num_examples)
    assert mean_of_common([answer.metrics or {} for answer in good], strategy.weighted_by_key) == metrics


@pytest.mark.parametrize("name", SPOILS)
def test_the_others_are_unaffected(name: str) -> None:
    healthy, spoiled = answers_of(maker()), answers_of(maker({4: SPOILS[name]}))
    for client in set(EVERYBODY) - {4}:
        one, other = healthy[client], spoiled[client]
        assert one.admitted == other.admitted
        assert one.row is not None
        assert other.row is not None
        assert one.row.tobytes() == other.row.tobytes()


def test_a_client_that_cannot_be_made_is_dropped() -> None:
    def make(config: Any, client: int) -> ToyClient:
        if client == 2:
            raise OSError("no data")
        return ToyClient(client)

    answers = answers_of(make)
    assert {c: a.reason for c, a in answers.items() if a.admitted is None} == {2: "error 2: OSError: no data"}


def test_an_error_that_cannot_be_told_is_its_client_s_alone() -> None:
    answers = answers_of(maker({4: raises(UntellableError())}))
    assert {c: a.reason for c, a in answers.items() if a.admitted is None} == {4: "error 2: UntellableError"}


def test_what_a_client_does_to_the_list_it_is_given_is_its_own_business() -> None:
    class Replaces(ToyClient):
        def fit(self, parameters: Any, config: Any) -> Any:
            fitted = super().fit(parameters, config)
            parameters[0] = np.full_like(parameters[0], 7.0)
            return fitted

    answers, alone = answers_of(lambda config, client: Replaces(client)), answers_of(maker())
    for client, answer in answers.items():
        expected = alone[client].row
        assert answer.row is not None
        assert expected is not None
        assert answer.row.tobytes() == expected.tobytes()


def test_what_belongs_to_batchnorm_comes_beside_the_row() -> None:
    sent = initial_arrays()
    for batchnorm, width, side_width in (("apart", 16, 5), ("included", 20, 1)):
        answers = answers_of(maker(), batchnorm=batchnorm)
        layout = Layout(sent, batchnorm=batchnorm)  # type: ignore[arg-type]
        for client, answer in answers.items():
            row, side = np.empty(width, np.float32), np.empty(side_width)
            fitted, _, _ = ToyClient(client).fit(list(sent.values()), {})
            layout.write(dict(zip(sent, fitted, strict=True)), row, side)
            assert answer.row is not None
            assert answer.side is not None
            assert answer.row.tobytes() == row.tobytes()
            assert answer.side.tobytes() == side.tobytes()


def test_with_shared_memory_the_rows_are_written_there_and_nowhere_else() -> None:
    shared = SharedRows((CLIENTS, 16), HERE)
    answers = answers_of(maker({4: SPOILS["raises"]}), rows=shared.handle)
    alone = answers_of(maker())
    assert all(answer.row is None for answer in answers.values())
    for client in set(EVERYBODY) - {4}:
        expected = alone[client].row
        assert expected is not None
        assert shared.rows[client].tobytes() == expected.tobytes()
    assert not shared.rows[4].any()
    shared.close()


def test_the_next_round_is_written_to_the_next_matrix() -> None:
    worker, matrices = Worker(HERE), [SharedRows((2, 16), HERE) for _ in range(2)]
    for shared in (*matrices, None, matrices[0]):
        for earlier in matrices:
            earlier.rows[:] = 0
        task = task_of(run_of(maker(), rows=None if shared is None else shared.handle), [0, 1])
        worker.train(task, initial_arrays())
        assert [bool(matrix.rows.any()) for matrix in matrices] == [matrix is shared for matrix in matrices]
    for shared in matrices:
        shared.close()


def model_and_task(configuration: RunConfig, *cohorts: list[int], make: Any = build_client) -> tuple[Any, Task]:
    return initial_model(configuration, load("digits", "test")), task_of(run_of(make, config=configuration), *cohorts)


@pytest.mark.parametrize("kind", ["backdoor", "untargeted", "none"])
def test_a_cohort_becomes_to_the_bit_what_its_clients_become_alone(kind: str) -> None:
    configuration = config(attack__kind=kind, data__partition="dirichlet", data__alpha=0.2)
    sent, task = model_and_task(configuration, [3, 0, 7], [1], [2, 8, 4, 9, 5, 6])
    layout = Layout(sent)
    for answer in Worker(HERE).train(task, sent).answers:
        fitted = build_client(configuration, answer.seat.client).fit(list(sent.values()), {"server-round": 1})
        row, side = np.empty(layout.width, np.float32), np.empty(layout.side_width)
        layout.write(dict(zip(sent, fitted[0], strict=True)), row, side)
        assert answer.admitted is not None
        assert answer.row is not None
        assert answer.row.tobytes() == row.tobytes()
        assert (answer.admitted.num_examples, answer.admitted.loss) == (fitted[1], fitted[2]["loss"])


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_clients_of_several_runs_become_what_they_become_in_runs_of_their_own(rate: float) -> None:
    configurations = config(run__seed=1), config(run__seed=2, federation__learning_rate=rate, attack__kind="untargeted")
    models = [initial_model(configuration, load("digits", "test")) for configuration in configurations]
    matrices = [SharedRows((3, Layout(model).width), HERE) for model in models]
    runs = tuple(
        run_of(build_client, config=configuration, server_round=4 + number, rows=matrix.handle)
        for number, (configuration, matrix) in enumerate(zip(configurations, matrices, strict=True))
    )
    cohorts = (Seat(0, 0, 2), Seat(1, 1, 2), Seat(1, 2, 7)), (Seat(1, 0, 1), Seat(0, 2, 9), Seat(0, 1, 4))
    together = {answer.seat: answer for answer in Worker(HERE).train(Task(runs, cohorts), *models).answers}
    assert set(together) == {seat for cohort in cohorts for seat in cohort}
    for seat, answer in together.items():
        own = Task((replace(runs[seat.run], rows=None),), ((Seat(0, 0, seat.client),),))
        expected = _only((models[seat.run], own))
        assert answer.admitted == expected.admitted
        assert expected.row is not None
        assert matrices[seat.run].rows[seat.row].tobytes() == expected.row.tobytes()
    for matrix in matrices:
        matrix.close()


class OwnFit(BenignClient):
    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, examples, metrics = super().fit(parameters, config)
        return [2 * array for array in arrays], examples, metrics


class NoData(BenignClient):
    def examples(self, server_round: int) -> Any:
        raise OSError("the disk is gone")


def unusual(config: RunConfig, client: int) -> BenignClient:
    """Return a client that only the first and the last of each kind can be trained with."""
    task = build_client(config, client).task
    if client == 1:
        return OwnFit(task)
    if client == 2:
        return BenignClient(replace(task, images=task.images[:0], labels=task.labels[:0]))
    if client == 3:
        return BenignClient(replace(task, settings=replace(task.settings, learning_rate=0.5)))
    return NoData(task) if client == 4 else BenignClient(task)


@pytest.mark.parametrize("cohort", [[0, 1, 2, 3, 5], [3, 0, 5], [0, 1, 2, 3, 4, 5], [2, 1, 4]])
def test_clients_that_cannot_be_trained_together_are_trained_alone(cohort: list[int]) -> None:
    sent, task = model_and_task(config(), cohort, make=unusual)
    together = Worker(HERE).train(task, sent)
    assert [answer.seat.client for answer in together.answers] == cohort
    alone = [_only(model_and_task(config(), [client], make=unusual)) for client in cohort]
    for one, other in zip(together.answers, alone, strict=True):
        assert (one.reason, one.admitted) == (other.reason, other.admitted)
        if one.admitted is not None:
            assert one.row is not None
            assert other.row is not None
            assert one.row.tobytes() == other.row.tobytes()
    reasons = {answer.seat.client: answer.reason for answer in together.answers if answer.reason}
    expected = {
        2: "claims 0 examples; expected an integer from 1 to 1000000000",
        4: "error 2: OSError: the disk is gone",
    }
    assert reasons == {client: reason for client, reason in expected.items() if client in cohort}


def _only(given: tuple[Any, Task]) -> Answer:
    done: Done = Worker(HERE).train(given[1], given[0])
    return done.answers[0]


def test_the_time_is_told() -> None:
    assert Worker(HERE).train(task_of(run_of(maker()), [0]), initial_arrays()).seconds > 0

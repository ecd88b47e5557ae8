"""Five hosts with addresses of their own: one is cut off for two rounds, one has a slow line that loses packets."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.deployment import lab
from tests.deployment.federation import PROJECT
from tests.deployment.network import PREFIX, Cable, Network, ip, why_impossible
from tests.deployment.services import MARK

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    if reason := why_impossible():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Outcome]:
    yield lab.run_lab(tmp_path_factory.mktemp("lab"), print)
    assert not namespaces(os.getpid())


def namespaces(process: int) -> list[str]:
    """Return the namespaces that a process has made."""
    return [line for line in ip("netns", "list").splitlines() if line.startswith(f"{PREFIX}{process}-")]


@pytest.mark.timeout(1500)  # 715 s were seen beside a load of 20 on two cores
def test_the_run_ends_well_in_spite_of_both_faults(outcome: lab.Outcome) -> None:
    assert outcome.ended.status == "finished:completed", outcome.ended.output + outcome.ended.details
    assert [line["round"] for line in outcome.rounds] == list(range(lab.ROUNDS + 1))
    assert not any(line["skipped"] for line in outcome.rounds)


def test_the_slow_line_is_as_slow_and_lossy_as_is_claimed(outcome: lab.Outcome) -> None:
    good, slow = outcome.pings["node0"], outcome.pings[f"node{lab.SLOW}"]
    assert good["answered"] == good["sent"]
    assert good["median_ms"] < 50
    assert 200 <= slow["median_ms"] < 260
    assert 0.82 < slow["answered"] / slow["sent"] < 0.97, "5 % lost on the way there and on the way back: 90 % come"


def test_the_node_that_is_cut_off_is_missed_and_trains_again_when_it_is_back(outcome: lab.Outcome) -> None:
    trained = [lab.CUT_OFF in {client["client"] for client in line["clients"]} for line in outcome.rounds[1:]]
    assert trained[:3] == [True, False, False]
    assert trained[-1]
    assert trained == sorted(trained[:1]) + sorted(trained[1:]), "once it is back, it stays"
    for line, took_part in zip(outcome.rounds[1:], trained, strict=True):
        assert (lab.CUT_OFF in {client["node_id"] for client in line["dropped"]}) is not took_part
    log = outcome.ended.output
    assert f"partition {lab.CUT_OFF} still not connected; the run goes on without" in log
    assert f"partition {lab.CUT_OFF} connected again" in log


def test_the_others_train_in_every_round(outcome: lab.Outcome) -> None:
    others = set(range(5)) - {lab.CUT_OFF}
    for line in outcome.rounds[1:]:
        assert others <= {client["client"] for client in line["clients"]}
        assert {client["node_id"] for client in line["dropped"]} <= {lab.CUT_OFF}


def test_a_network_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    too_long = "a-name-longer-than-an-interface-may-have"
    with (
        pytest.raises(RuntimeError, match=f"link add {too_long}"),
        Network(tmp_path, {"one": Cable(), too_long: Cable()}),
    ):
        pass
    assert not namespaces(os.getpid())


def test_processes_of_a_host_end_with_its_network(tmp_path: Path) -> None:
    with Network(tmp_path, {"one": Cable()}) as network:
        sleeper = subprocess.Popen([*network.host("one").enter, "sleep", "600"])
    assert sleeper.wait(10) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lab_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.deployment.lab", "--out", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PROJECT) as process:
        superlink = tmp_path / "hosts" / "superlink"
        deadline = time.monotonic() + 120
        while not processes.with_environment(MARK, str(superlink)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(namespaces(process.pid)) == 7
        process.send_signal(number)
        assert process.wait(60) != 0
    assert not namespaces(process.pid)
    assert not processes.with_environment(MARK, str(superlink))

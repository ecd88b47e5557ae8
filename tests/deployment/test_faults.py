"""Two of the faults that ``python -m tests.deployment.fault_runs`` counts, and what it counts by."""

import os
import shutil
from pathlib import Path

import pytest

from tests.deployment.clock import compiled
from tests.deployment.credentials import Credentials
from tests.deployment.fault_runs import Outcome, one_run, table, undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("cc") is None, reason="small disks need root, clocks need cc"),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return undisturbed(tmp_path_factory.mktemp("reference") / "undisturbed")


@pytest.mark.timeout(900)  # it takes a minute; more where others use the cores
@pytest.mark.parametrize("fault", ["server killed", "corrupt checkpoint"])
def test_a_run_goes_on_after(fault: str, reference: str, credentials: Credentials, tmp_path: Path) -> None:
    outcome = one_run(fault, 1, credentials, compiled(tmp_path), tmp_path / "run", reference)
    assert outcome.ended in ("finished", "resumed")
    assert outcome.rounds_lost == 0
    assert outcome.finite
    assert outcome.traces or outcome.same_model


def test_the_table_counts_each_fault() -> None:
    runs = [
        Outcome("network cut", 1.0, "finished", 0, True, ("dropped",), False, 30.0),
        Outcome("network cut", 2.0, "finished", 1, True, (), True, 40.0),
        Outcome("server killed", 2.0, "lost", 0, False, (), False, 50.0),
        Outcome("server killed", 3.0, "resumed", 0, True, (), True, 50.0),  # no trace of it, and yet an effect
    ]
    lines = table(runs).splitlines()
    assert lines[2:] == [
        "| server killed | 2 | 0 | 1 | 1 | 0 | 1 | 1 | 0 | 0 |",
        "| network cut | 2 | 2 | 0 | 0 | 1 | 0 | 1 | 1 | 1 |",
    ]

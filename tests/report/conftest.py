"""Runs to report on."""

from pathlib import Path

import pytest

from fedsec.runs.record import RunFolder
from tests.report.finished import config, record


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    """Two strategies by two seeds, attacked, and plain averaging that was never attacked."""
    return [
        record(config("fedavg", 0), tmp_path / "a", 90.0, 80.0),
        record(config("fedavg", 1), tmp_path / "b", 94.0, 90.0),
        record(config("flame", 0), tmp_path / "c", 88.0, 3.0),
        record(config("flame", 1), tmp_path / "d", 86.0, 5.0),
        record(config("fedavg", 0, "none"), tmp_path / "e", 95.0, 1.0, malicious=0, caught=0),
        record(config("fedavg", 1, "none"), tmp_path / "f", 97.0, 2.0, malicious=0, caught=0),
        record(config("flame", 1, "none"), tmp_path / "g", 97.0, 9.0, malicious=0, caught=0),
    ]

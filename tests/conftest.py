"""Every test runs offline, with folders of its own, and with the data sets that need nothing."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fedsec.data.datasets import load

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported: with a thread for every core in each of pytest's processes, small tensors take up to ten
times the processor's time, most of it spent waiting. Tests that are about threads set their number."""


settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
"""How long an example takes tells how busy the machine is."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep decoded data sets in one folder for the whole session."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_CACHE", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("FLWR_TELEMETRY_ENABLED", "0")
        patch.setenv("FLWR_DISABLE_UPDATE_CHECK", "1")
        patch.delenv("FEDSEC_DATA", raising=False)
        load.cache_clear()
        yield folder
    load.cache_clear()


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep each test's runs in a folder of its own."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("FEDSEC_RUNS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def quiet_flower() -> None:
    """Show Flower's errors only."""
    logging.getLogger("flwr").setLevel(logging.ERROR)

"""A folder for data sets, and an empty cache beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsec.data.datasets import load


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for data sets, which FEDSEC_DATA does not name; what is decoded goes to ``../cache``."""
    monkeypatch.delenv("FEDSEC_DATA", raising=False)
    monkeypatch.setenv("FEDSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    # Both libraries read the environment once, when they are imported.
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "sets").mkdir()
    load.cache_clear()
    yield tmp_path / "sets"
    load.cache_clear()

"""The benchmark of the attack that rebuilds a class times what it says, and Flower's own privacy goes around it."""

from pathlib import Path

import pytest

from benchmarks import flower_dp, reconstruction
from fedsec.training import extractor
from tests.engine.test_reconstruction import rebuilt


def test_a_round_has_its_parts_and_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "REPEATS", 1)
    found = reconstruction.parts(users=3, updates=2, fakes=32)
    assert [part.name for part in found] == ["2 honest users", "2 updates", "32 fakes made", "and trained on"]
    assert all(part.seconds > 0 and part.floor > 0 for part in found)
    assert "all of it" in reconstruction.as_markdown(found)


@pytest.mark.slow
def test_flowers_wrapper_clips_and_adds_noise_around_the_attack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(extractor, "EXAMPLES", 1000)
    (tmp_path / "r").mkdir()
    row = flower_dp.federate(rebuilt(federation__rounds=3, attack__start_accuracy=0.01), 1.0, 0.01, tmp_path / "r")
    assert 0 <= row["RECOGNISED"] <= 100
    assert 0 < row["DISTANCE"] < 1
    assert len(list((tmp_path / "state").rglob("*.safetensors"))) > 0

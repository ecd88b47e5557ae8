"""The checkpoint is the old one or the new one, whatever happens while it is written."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from fedsec.runs.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)

ARRAYS = {
    "z.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.count": np.array(3, np.int64),
    "m.half": np.ones(2, np.float16),
}


def test_what_is_saved_reads_back_in_the_model_s_order(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint" / "latest.safetensors"
    save_checkpoint(path, Checkpoint(7, dict(ARRAYS), {"counts": np.array([1, 2])}))
    found = load_checkpoint(path)
    assert found is not None
    assert found.server_round == 7
    assert list(found.arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[key], array)
        assert found.arrays[key].dtype == array.dtype
        assert found.arrays[key].shape == array.shape
    assert found.state["counts"].tolist() == [1, 2]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "latest.safetensors") is None


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest.safetensors"
    save_checkpoint(path, Checkpoint(1, dict(ARRAYS), {}))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, Checkpoint(2, dict(ARRAYS), {}))
    found = load_checkpoint(path)
    assert found is not None
    assert found.server_round == 1
    assert [file.name for file in tmp_path.iterdir()] == ["latest.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "format", "round", "order"])
def test_a_damaged_checkpoint_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    save_checkpoint(path, Checkpoint(1, dict(ARRAYS), {}))
    content = path.read_bytes()
    changed = {
        "cut": content[: len(content) // 2],
        "garbage": b"garbage" * 10,
        "format": content.replace(b'"format":"2"', b'"format":"9"'),
        "round": content.replace(b'"round":"1"', b'"round":"x"'),
        "order": content.replace(b'"order":"[', b'"order":"7'),
    }
    path.write_bytes(changed[damage])
    with pytest.raises(CheckpointError, match=r"latest\.safetensors"):
        load_checkpoint(path)


def saved(path: Path, *rounds: int) -> None:
    for number in rounds:
        save_checkpoint(path, Checkpoint(number, {"w": np.full(3, number, np.float32)}, {}))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    saved(path, 4, 5)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight
    path.write_bytes(bytes(content))
    found, notice = newest_checkpoint(path, trained=True)
    assert found is not None
    assert found.server_round == 4
    assert found.arrays["w"].tolist() == [4.0] * 3
    assert "its content is not what was written" in notice
    assert "set aside as latest.damaged; the run goes on after round 4" in notice
    assert newest_checkpoint(path, trained=True)[1] == ""  # told of once


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    saved(path, 4, 5)
    path.unlink()
    found, notice = newest_checkpoint(path, trained=True)
    assert found is not None
    assert (found.server_round, notice) == (4, "")


def test_without_an_earlier_one_the_run_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    assert newest_checkpoint(path, trained=False) == (None, "")
    saved(path, 0)
    path.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="damaged"):
        newest_checkpoint(path, trained=True)
    assert path.exists()
    found, notice = newest_checkpoint(path, trained=False)
    assert found is None
    assert notice.endswith("set aside as latest.damaged; the run begins anew")


def test_with_both_damaged_nothing_is_begun_behind_anybodys_back(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    saved(path, 4, 5)
    for file in tmp_path.iterdir():
        file.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=r"earlier\.safetensors: damaged"):
        newest_checkpoint(path, trained=True)
    assert path.exists()


def test_a_checkpoint_of_an_earlier_version_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    content = save({"model/w": np.ones(3, np.float32)}, {"format": "1", "round": "15", "order": '["w"]'})
    path.write_bytes(content)
    for trained in (False, True):
        with pytest.raises(CheckpointError, match=r"another version of fedsec wrote it; go on with the version"):
            newest_checkpoint(path, trained=trained)
    assert path.read_bytes() == content

"""What fills a client's classes is made once, whoever asks, and never read when it is not what was written."""

import multiprocessing
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fedsec.data import generated
from fedsec.data.generated import Entry, Made, kept
from tests.data.workers import ask_for_entry, die_while_making

MADE = Made(
    np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4),
    np.array([3, 5]),
    {"note": "", "seconds": 1.5},
    {0: {"weight": np.ones(3, np.float32)}, 40: {"weight": np.zeros(3, np.float32)}},
)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSEC_CACHE", str(tmp_path))
    monkeypatch.setattr(generated, "_whole", {})
    return tmp_path


def nothing() -> Made:
    raise AssertionError("it is there already")


def test_what_was_made_is_read_the_next_time() -> None:
    first, there, note = kept({"client": 1}, lambda: MADE)
    assert (there, note) == (False, "")
    second, there, note = kept({"client": 1}, nothing)
    assert (there, note) == (True, "")
    for entry in (first, second):
        assert_array_equal(entry.images, MADE.images)
        assert_array_equal(entry.labels, MADE.labels)
        assert entry.about == {"note": "", "seconds": 1.5}
        assert list(entry.snapshots) == [0, 40]
        assert_array_equal(entry.snapshot(40)["weight"], np.zeros(3))


def test_another_key_is_another_entry() -> None:
    first, second = (kept({"client": client}, lambda: MADE)[0] for client in (1, 2))
    assert first.folder != second.folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGE = {
    "a changed image": lambda folder: flip(folder / "images.npy"),
    "a changed label": lambda folder: flip(folder / "labels.npy"),
    "a lost file": lambda folder: (folder / "labels.npy").unlink(),
    "a cut file": lambda folder: (folder / "about.json").write_text('{"note": "'),
    "another file": lambda folder: (folder / "about.json").write_text("[]"),
    "a changed snapshot": lambda folder: flip(folder / "snapshots" / "000040.safetensors"),
    "a lost snapshot": lambda folder: (folder / "snapshots" / "000000.safetensors").unlink(),
    "another text": lambda folder: change(folder / "about.json", '"seconds": 1.5', '"seconds": 2.5'),
    "an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("other_process", [False, True])
def test_a_damaged_entry_is_made_again_with_a_note(
    damage: str, other_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _, _ = kept({"client": 1}, lambda: MADE)
    time.sleep(0.02)  # file systems keep times in steps of some milliseconds
    DAMAGE[damage](entry.folder)
    if other_process:
        monkeypatch.setattr(generated, "_whole", {})
    again, there, note = kept({"client": 1}, lambda: MADE)
    assert not there
    assert "damaged on disk" in note
    assert_array_equal(again.images, MADE.images)
    assert kept({"client": 1}, nothing)[1:] == (True, "")


def test_processes_that_ask_at_once_get_what_one_of_them_made(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        found = pool.map(ask_for_entry, [str(tmp_path)] * 6)
    assert len({folder for folder, _, _ in found}) == 1
    assert len({pixel for _, pixel, _ in found}) == 1
    assert sorted(there for _, _, there in found) == [False] + [True] * 5


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_while_making, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert list(tmp_path.glob("filled/.*.partial"))
    entry, there, _ = kept({"of": "a process that dies"}, lambda: MADE)
    assert not there
    assert isinstance(entry, Entry)
    assert not list(tmp_path.glob("filled/.*.partial"))


def test_a_full_disk_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generated, "write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        kept({"client": 1}, lambda: MADE)
    assert [path.suffix for path in tmp_path.glob("filled/*")] == [".lock"]
    assert not list(tmp_path.glob("filled/.*.partial"))


def test_a_cache_that_is_deleted_while_somebody_waits_costs_nobody(tmp_path: Path) -> None:
    def make() -> Made:
        shutil.rmtree(tmp_path / "filled")  # and with it the lock that this one has
        (tmp_path / "filled").mkdir()
        faster = threading.Thread(target=kept, args=({"client": 1}, lambda: MADE))
        faster.start()
        faster.join()
        return MADE

    entry, _, _ = kept({"client": 1}, make)
    assert_array_equal(entry.images, MADE.images)

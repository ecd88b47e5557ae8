"""A file has its old content or the new, whatever happens in between."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from fedsec.durable import remove_partial_files, sync_folder, write_atomically


class Breakdown(BaseException):
    """Stands for whatever may end a process's work, Ctrl-C among them."""


def write_half(file: BinaryIO) -> None:
    file.write(b"ne")
    file.flush()
    raise Breakdown


def test_the_new_content_is_there(tmp_path: Path) -> None:
    for content in (b"old", b"new", b""):
        write_atomically(tmp_path / "file", lambda file, content=content: file.write(content))
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(Breakdown):
        write_atomically(tmp_path / "file", write_half)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_while_writing_a_new_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Breakdown):
        write_atomically(tmp_path / "file", write_half)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failure_of_the_system_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_reader_sees_the_old_content_until_the_new_is_complete(tmp_path: Path) -> None:
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_the_content_is_synced_before_it_is_renamed_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, fsync, replace = [], os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def noted_replace(source: str, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert steps == ["sync file", "rename", "sync folder"]


def test_the_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", lambda file: file.write(b"new"))
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".file.abc.partial", ".config.toml.abc.partial", "file", ".hidden", "own.partial"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path, but="config.toml")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".config.toml.abc.partial", ".hidden", "file", "own.partial"]
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "file", "own.partial"]
    remove_partial_files(tmp_path / "missing")

"""What fills a client's classes, on disk: made once, for every process and every run that would make the same.

An entry is a folder that appears under its final name when it is whole and on disk. Any number of processes may ask for
it at once: one makes it, the others wait. Where it is damaged it is made again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fedsec.data.datasets import cache_folder
from fedsec.durable import sync_folder, write_atomically
from fedsec.tensors import Arrays, read_tensors, write_tensors

FORMAT = 4
"""Raised when what is made of the same key changes, so that nothing older is taken for it."""

FILES, ABOUT = ("images.npy", "labels.npy"), "about"

Stamp = tuple[tuple[int, int], ...]

_whole: dict[Path, Stamp] = {}
"""Entries whose digests this process has checked, with the sizes and times that their files had then."""


class DamagedEntryError(ValueError):
    """An entry is not what was written."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is kept.

    Attributes:
        images: (K, C, H, W) uint8.
        labels: (K,) int64.
        about: what is to be known of them, as JSON has it.
        snapshots: arrays of the generator by the step of its training.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    about: Mapping[str, Any]
    snapshots: Mapping[int, Arrays] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What was kept, in a folder.

    Attributes:
        folder: where it is.
        about: what is to be known of it.
    """

    folder: Path
    about: Mapping[str, Any]

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images (K, C, H, W), memory-mapped and read-only."""
        images: NDArray[np.uint8] = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        return images

    @property
    def labels(self) -> NDArray[np.int64]:
        """Their classes (K,)."""
        labels: NDArray[np.int64] = np.load(self.folder / "labels.npy", allow_pickle=False)
        return labels

    @property
    def snapshots(self) -> dict[int, Path]:
        """Files of the generator's arrays by the step of its training, ascending."""
        return dict(sorted((int(path.stem), path) for path in (self.folder / "snapshots").glob("*.safetensors")))

    def snapshot(self, step: int) -> Arrays:
        """Return the generator's arrays after a step.

        Raises:
            DamagedError: the file is not what was written.
        """
        return read_tensors(self.snapshots[step])[0]


def kept(key: Mapping[str, Any], make: Callable[[], Made]) -> tuple[Entry, bool, str]:
    """Return the entry of a key, whether it was there before, and a note where it was damaged.

    Args:
        key: everything that decides what ``make`` returns, as JSON has it.
        make: makes what is not there.

    Raises:
        OSError: it cannot be written; what is there stays.
    """
    folder = _folder(key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    note = ""
    with FileLock(folder.with_suffix(".lock")):
        if folder.is_dir():
            try:
                return _read(folder), True, ""
            except DamagedEntryError as error:
                note = f"what fills its classes was damaged on disk ({error}); it was made again"
                shutil.rmtree(folder)
        for abandoned in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(abandoned, ignore_errors=True)  # of a process that was killed: this one has the lock
        _write(folder, make())
        return _read(folder), False, note


def _folder(key: Mapping[str, Any]) -> Path:
    text = json.dumps([FORMAT, key], sort_keys=True)
    return cache_folder() / "filled" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(folder: Path, made: Made) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        for name, array in zip(FILES, (made.images, made.labels), strict=True):
            write_atomically(partial / name, lambda file, array=array: np.save(file, array))  # type: ignore[misc]
        for step, arrays in made.snapshots.items():
            write_tensors(partial / "snapshots" / f"{step:06}.safetensors", arrays, {})
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        digests = {str(path.relative_to(partial)): _digest(path) for path in files}
        text = json.dumps({"about": made.about, "sha256": {**digests, ABOUT: _digest_of(made.about)}}, indent=1)
        write_atomically(partial / "about.json", lambda file: file.write(text.encode()))
        partial.chmod(0o755)
        try:
            os.rename(partial, folder)  # noqa: PTH104 (the rename is the point at which the entry is there)
        except OSError:
            if not folder.is_dir():  # else the cache was deleted meanwhile, its lock too, and another was faster
                raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(folder: Path) -> Entry:
    try:
        content = json.loads((folder / "about.json").read_bytes())
        about, digests = content["about"], content["sha256"]
        if not {ABOUT, *FILES} <= digests.keys():
            raise DamagedEntryError("a digest is missing")
        stamp = _stamp(folder, digests)
        if _whole.get(folder) != stamp:
            for name, digest in digests.items():
                if digest != (_digest_of(about) if name == ABOUT else _digest(folder / name)):
                    raise DamagedEntryError(f"{name} is not what was written")
            _whole[folder] = stamp
    except DamagedEntryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntryError(f"{type(error).__name__}: {error}") from error
    return Entry(folder, about)


def _stamp(folder: Path, names: Iterable[str]) -> Stamp:
    """Return size and time of change of an entry's files: while they stay, digests that were checked hold."""
    found = [(folder / name).stat() for name in names if name != ABOUT]
    return tuple((each.st_size, each.st_mtime_ns) for each in [*found, (folder / "about.json").stat()])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

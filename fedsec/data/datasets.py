"""Data sets as memory-mapped bytes: decoded once, then shared by every process of the machine."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fedsec.data.sources import (
    KNOWN_DATASETS,
    SPLITS,
    DataError,
    MissingSplitError,
    Source,
    Split,
    class_names,
    find_source,
    read_split,
    splits_of,
)
from fedsec.durable import write_atomically

FORMAT = "1"
MEASURED = "measured"

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, in units of the full range (0 to 1)."""


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """One split of a data set.

    Attributes:
        name: as the configuration names it.
        images: (N, C, H, W) uint8, memory-mapped and read-only.
        labels: (N,) int64, likewise.
        classes: a name for each class.
        mean: (C,) mean of each channel, in units of the full range (0 to 1).
        std: (C,) standard deviation likewise.
        folder: where the decoded files lie.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: Path

    def __len__(self) -> int:
        """Return N, the number of examples."""
        return len(self.labels)


@lru_cache(maxsize=8)
def load(name: str, split: Split, folder: str = "") -> ImageDataset:
    """Return a split of the data set ``name``, decoding it into the cache first if it is not there.

    Any number of processes may call this at once: one decodes, the others wait for it. The cache appears under
    its final name only when it is whole and on disk.

    Args:
        name: a key of ``KNOWN_DATASETS``, a folder, or an id on the hub.
        split: ``"train"`` or ``"test"``.
        folder: where it lies, or the folder ``name`` in it; "" looks where :func:`find_source` does. What is known
            of the data set by its name, such as its mean, holds for a copy in a folder too.

    Raises:
        DataError: the data set cannot be found, loaded or used, or has no such split.
    """
    source = find_source(name, folder)
    cache = _decoded(source)
    try:
        about = json.loads((cache / "about.json").read_text())
        if split not in about.get("splits", SPLITS):
            raise MissingSplitError(f"data.dataset: {source} has no {split!r} split; found {about['splits']}")
        images = np.load(cache / f"{split}_images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(cache / f"{split}_labels.npy", mmap_mode="r", allow_pickle=False)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images and {len(labels)} labels in {split}")
        classes, (mean, std) = tuple(about["classes"]), _statistics(name, cache, about)
    except MissingSplitError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"data.dataset: the cache of {name!r} is damaged ({reason}); delete {cache}") from error
    return ImageDataset(name, images, labels, classes, mean, std, cache)


def cache_folder() -> Path:
    """Return the folder of decoded data sets: ``$FEDSEC_CACHE``, else ``fedsec`` in the user's cache folder."""
    if "FEDSEC_CACHE" in os.environ:
        return Path(os.environ["FEDSEC_CACHE"]).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser().absolute() / "fedsec"


def _decoded(source: Source) -> Path:
    key = hashlib.sha256(f"{FORMAT}\n{source.location}\n{source.identity}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"{Path(source.name).name}-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            for abandoned in folder.parent.glob(f".{folder.name}.*.partial"):
                shutil.rmtree(abandoned, ignore_errors=True)  # of a process that was killed: this one has the lock
            partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
            try:
                _decode(source, partial)
                partial.chmod(0o755)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def _decode(source: Source, folder: Path) -> None:
    highest = -1
    shapes: dict[Split, tuple[int, ...]] = {}
    splits = splits_of(source)
    for split in splits:
        labels, shapes[split] = _decode_split(source, split, folder)
        highest = max(highest, int(labels.max()))
        if labels.min() < 0:
            raise DataError(f"data.dataset: {source} has unlabelled examples (label {labels.min()}) in {split}")
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"data.dataset: both splits of {source} must have images of one size; "
            f"train has {shapes['train']}, test has {shapes['test']} (height, width, channels)"
        )
    names = class_names(source)
    about = {"classes": names if len(names) > highest else [str(label) for label in range(highest + 1)]}
    mean, std = channel_statistics(folder / f"{splits[0]}_images.npy")
    measured = {"mean": mean, "std": std, "statistics": MEASURED}
    text = json.dumps({**about, **measured, "splits": splits, "location": source.location}, indent=1)
    write_atomically(folder / "about.json", lambda file: file.write(text.encode()))


def _decode_split(source: Source, split: Split, folder: Path) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Write one split; return its labels and the shape (H, W, C) of its images."""
    count, pairs = read_split(source, split)
    first = next(pairs, None)
    if first is None:
        raise DataError(f"data.dataset: the {split!r} split of {source} is empty")
    height, width, channels = first[0].shape
    images = open_memmap(folder / f"{split}_images.npy", "w+", np.uint8, (count, channels, height, width))
    labels = np.empty(count, np.int64)
    images[0], labels[0] = first[0].transpose(2, 0, 1), first[1]
    for index, (pixels, label) in enumerate(pairs, start=1):
        if pixels.shape != first[0].shape:
            raise DataError(
                f"data.dataset: all images of {source} must have one size; "
                f"image {index} of {split} is {pixels.shape}, the first is {first[0].shape} (height, width, channels)"
            )
        images[index], labels[index] = pixels.transpose(2, 0, 1), label
    images.flush()
    write_atomically(folder / f"{split}_labels.npy", lambda file: np.save(file, labels))
    return labels, first[0].shape


def _statistics(name: str, folder: Path, about: Mapping[str, Any]) -> Statistics:
    """Return the known mean and deviation of each channel, as papers have them, else the measured ones.

    They are chosen here and not when the set is decoded, so that a cache of any age gives the same numbers.
    """
    kept, known = (tuple(about["mean"]), tuple(about["std"])), KNOWN_DATASETS.get(name)
    if known and len(known.mean) == len(kept[0]):
        return known.mean, known.std
    if about.get("statistics") == MEASURED:
        return kept
    return channel_statistics(folder / "train_images.npy")  # an older cache, which may hold a known set's


def channel_statistics(images: Path) -> Statistics:
    """Return the measured mean and deviation of each channel of the images in a file (N, C, H, W)."""
    pixels = np.load(images, mmap_mode="r", allow_pickle=False)
    channels = [np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])]
    values = np.arange(256) / 255.0
    means = tuple(float(np.average(values, weights=counts)) for counts in channels)
    variances = [np.average((values - m) ** 2, weights=counts) for m, counts in zip(means, channels, strict=True)]
    # A channel that never changes carries nothing; 1 keeps its normalised value finite.
    return means, tuple(float(np.sqrt(v)) if v > 1e-12 else 1.0 for v in variances)

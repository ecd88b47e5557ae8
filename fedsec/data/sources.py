"""Where a data set comes from: a folder, the hub, or scikit-learn's own digits."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsec.data.folders import candidates, identity, is_of_one_class, looked_in, why_no_dataset

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

LONGEST_NAME = 1000
HUB_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)


class DataError(ValueError):
    """A data set cannot be had or used; the message says what was looked for, where, and what would do."""


class MissingSplitError(DataError):
    """A data set has no such split."""


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """What is known of a data set before it is loaded.

    Attributes:
        hub: its id on the hub, or "" when no copy in a plain layout is known.
        image: name of the image column.
        label: name of the label column.
        mean: mean of each channel over the training images, in units of the full range (0 to 1).
        std: standard deviation likewise.
        about: what it is, and its licence.
        elsewhere: where it comes from, when the hub is not the place.
    """

    hub: str
    image: str
    label: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str
    elsewhere: str = ""


KNOWN_DATASETS: dict[str, KnownDataset] = {
    "digits": KnownDataset(
        "",
        "image",
        "label",
        (0.3056,),
        (0.3247,),
        "1,797 handwritten digits that come with scikit-learn, scaled from 8 x 8 to 28 x 28 (CC BY 4.0)",
    ),
    "mnist": KnownDataset(
        "ylecun/mnist",
        "image",
        "label",
        (0.1307,),
        (0.3081,),
        "70,000 handwritten digits, 28 x 28 (LeCun et al., 1998; CC BY-SA 3.0)",
    ),
    "fashion_mnist": KnownDataset(
        "zalando-datasets/fashion_mnist",
        "image",
        "label",
        (0.2860,),
        (0.3530,),
        "70,000 pictures of clothes, 28 x 28 (Xiao et al., 2017; MIT)",
    ),
    "cifar10": KnownDataset(
        "uoft-cs/cifar10",
        "img",
        "label",
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        "60,000 colour photographs of ten kinds of things, 32 x 32 (Krizhevsky, 2009; no licence stated)",
    ),
    "dermamnist": KnownDataset(
        "",
        "image",
        "label",
        (0.7631, 0.5381, 0.5614),
        (0.1367, 0.1542, 0.1692),
        "10,015 dermoscopy photographs of seven kinds, 28 x 28 (MedMNIST, Yang et al., 2023; CC BY-NC 4.0)",
        "it is part of MedMNIST v2, whose arrays of images and labels are to be saved in this layout",
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that was found.

    Attributes:
        name: as the configuration names it.
        location: a folder, a hub id, or ``"scikit-learn"``.
        identity: text that changes when the data set's files do; the cache is keyed by it.
    """

    name: str
    location: str
    identity: str

    def __str__(self) -> str:
        """Return name and place, for messages."""
        return repr(self.name) if self.name == self.location else f"{self.name!r} (from {self.location})"


def find_source(name: str, folder: str = "") -> Source:
    """Find the data set ``name``: in ``$FEDSEC_DATA/name``, as a folder of that path, or on the hub.

    Args:
        name: as the configuration names it.
        folder: the only place to look, where it is given: ``folder/name``, or else ``folder`` itself.

    Raises:
        DataError: there is no such folder and no such id is known.
    """
    if folder:
        return _in_folder(name, Path(folder).expanduser())
    if name == "digits":
        return Source(name, "scikit-learn", "digits-28")
    if not name.strip() or len(name) > LONGEST_NAME or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        cut = name if len(name) <= LONGEST_NAME else name[:60] + "..."
        raise DataError(f"data.dataset: found {cut!r}, which names nothing. {_what_would_do('')}")
    for place in candidates(name):
        if os.path.isdir(place):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
            return Source(name, str(place), _identity(name, place))
    if name in KNOWN_DATASETS and KNOWN_DATASETS[name].hub:
        return Source(name, KNOWN_DATASETS[name].hub, KNOWN_DATASETS[name].hub)
    if HUB_ID.fullmatch(name):
        return Source(name, name, name)
    raise DataError(f"data.dataset: found {name!r}; {looked_in(name)}. {_what_would_do(name)}")


def _in_folder(name: str, folder: Path) -> Source:
    inner = folder / name if HUB_ID.fullmatch(name) or os.sep not in name else folder
    found = inner if inner.is_dir() else folder
    if not found.is_dir():
        raise DataError(f"data: found {str(folder)!r}, and there is no such folder; expected one with the data set")
    return Source(name, str(found.absolute()), _identity(name, found, needs_splits=False))


def splits_of(source: Source) -> tuple[Split, ...]:
    """Return which splits a data set has. One of a client's own needs no test split: the server has one.

    Raises:
        DataError: it has none, or cannot be loaded.
    """
    if source.location == "scikit-learn":
        return SPLITS
    found = _loaded(source)
    splits = tuple(split for split in SPLITS if split in found)
    if not splits:
        raise DataError(f"data.dataset: {source} has no split {' or '.join(map(repr, SPLITS))}; found {sorted(found)}")
    return splits


def read_split(source: Source, split: Split) -> tuple[int, Iterator[tuple[NDArray[np.uint8], int]]]:
    """Return how many examples a split has, and an iterator over its (image (H, W, C) uint8, label) pairs.

    Raises:
        DataError: the data set cannot be loaded, or lacks the split, an image or a label column.
    """
    if source.location == "scikit-learn":
        return _read_digits(split)
    table = _load_table(source, split)
    image, label = _columns(source, table)
    return len(table), _examples(source, split, table, image, label)


def class_names(source: Source) -> list[str]:
    """Return the names of the classes where the data set gives them, else an empty list."""
    if source.location == "scikit-learn":
        return [str(digit) for digit in range(10)]
    table = _load_table(source, splits_of(source)[0])
    names = getattr(table.features[_columns(source, table)[1]], "names", None)
    return list(names) if names else []


def _identity(name: str, folder: Path, *, needs_splits: bool = True) -> str:
    try:
        reason = why_no_dataset(folder, needs_splits=needs_splits)
        if not reason:
            return identity(folder)
    except OSError as error:
        reason = error.strerror or str(error)
    raise DataError(f"data.dataset: found {name!r}, the folder {folder}, and {reason}. {_what_would_do(name)}")


def _what_would_do(name: str) -> str:
    known = KNOWN_DATASETS.get(name)
    hub = known.hub if known else name if HUB_ID.fullmatch(name) else ""
    download = f'to download it: hf download {hub} --repo-type dataset --local-dir "$FEDSEC_DATA/{name}"' if hub else ""
    if known is None:
        what = f"Give a folder, an id on the hub (owner/name), or one of {', '.join(KNOWN_DATASETS)}"
        return f"{what}; with FEDSEC_DATA set to a folder, {download}" if download else what
    return (
        f"Set FEDSEC_DATA to a folder that holds {name}/ as parquet files or as images in a folder per class "
        f"(train/ and test/); {download or known.elsewhere}"
    )


def _load_table(source: Source, split: Split) -> Any:
    found = _loaded(source)
    if split not in found:
        raise MissingSplitError(f"data.dataset: {source} has no {split!r} split; found {sorted(found)}")
    return found[split]


def _loaded(source: Source) -> Any:
    import datasets  # here: it takes seconds to import, and most processes only read the cache

    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(source.location)
        pictures = all(list(table.features) == ["image"] for table in found.values())
        if pictures and Path(source.location).is_dir() and is_of_one_class(Path(source.location)):
            # The library takes folders for classes only where there are two; a client may have images of one alone.
            return datasets.load_dataset(source.location, drop_labels=False)
        return found
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if Path(source.location).is_dir():
            looked = "the folder is there, and holds nothing that can be loaded"
        else:
            looked = looked_in(source.name)
        raise DataError(
            f"data.dataset: {source} could not be loaded ({reason}); {looked}. {_what_would_do(source.name)}"
        ) from error


def _columns(source: Source, table: Any) -> tuple[str, str]:
    known = KNOWN_DATASETS.get(source.name)
    if known and {known.image, known.label} <= set(table.column_names):
        return known.image, known.label
    images = [name for name, feature in table.features.items() if type(feature).__name__ == "Image"]
    labels = [name for name, feature in table.features.items() if type(feature).__name__ == "ClassLabel"]
    labels = labels or [name for name in ("label", "labels") if name in table.column_names]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"data.dataset: {source} must have one image and one label column; "
            f"found images {images} and labels {labels} among {table.column_names}"
        )
    return images[0], labels[0]


def _examples(
    source: Source, split: Split, table: Any, image: str, label: str
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    for index in range(len(table)):
        try:
            row = table[index]
            yield _pixels(row[image]), _class_number(row[label])
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise DataError(f"data.dataset: example {index} of {split} in {source} cannot be read: {error}") from error


def _pixels(image: Any) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits of grey, as PNG has them
        deep = np.asarray(image, np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"grey values from {deep.min()} to {deep.max()}; expected 0 to 65535")
        return np.rint(deep / 257.0).astype(np.uint8)[:, :, None]
    mode = "L" if image.mode in ("1", "L") else "RGB"
    pixels = np.asarray(image.convert(mode), np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _class_number(label: Any) -> int:
    if isinstance(label, bool) or not isinstance(label, int):
        raise TypeError(f"label {label!r}; expected a whole number")
    return label


def _read_digits(split: Split) -> tuple[int, Iterator[tuple[NDArray[np.uint8], int]]]:
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    parts = train_test_split(bunch.images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    images, labels = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])

    def scaled() -> Iterator[tuple[NDArray[np.uint8], int]]:
        for image, label in zip(images, labels, strict=True):
            small = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
            yield np.asarray(small.resize((28, 28), Image.Resampling.BILINEAR))[:, :, None], int(label)

    return len(labels), scaled()

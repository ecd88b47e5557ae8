"""Data sets as folders of parquet files or of images, small enough to be made in every test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ANIMALS = ("cat", "dog", "emu")

datasets.disable_progress_bars()


def pictures(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return random images, (count, H, W) or (count, H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write_parquet(
    folder: Path,
    split: str,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[Any],
    *,
    names: tuple[str, str] = ("image", "label"),
    label: Any = None,
) -> Path:
    """Write one split as a parquet file with an image and a label column; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {names[0]: datasets.Image(), names[1]: label or datasets.ClassLabel(names=list(ANIMALS))}
    columns = {names[0]: [Image.fromarray(image) for image in images], names[1]: list(labels)}
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(folder / f"{split}.parquet")
    return folder


def write_both(folder: Path, images: Sequence[NDArray[np.uint8]], labels: Sequence[Any], **options: Any) -> Path:
    """Write the same examples as the training and as the test split; return the folder."""
    for split in ("train", "test"):
        write_parquet(folder, split, images, labels, **options)
    return folder


def write_pngs(folder: Path, split: str, images: Sequence[NDArray[np.generic]], classes: Sequence[str]) -> Path:
    """Write one split as ``split/<class>/<number>.png``; return the folder."""
    for number, (image, name) in enumerate(zip(images, classes, strict=True)):
        (folder / split / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / split / name / f"{number:03}.png")
    return folder

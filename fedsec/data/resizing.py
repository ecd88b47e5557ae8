"""A data set's images at another size or without colour: made once, then memory-mapped like the decoded ones."""

import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from fedsec.data.datasets import ImageDataset, Statistics, channel_statistics, load
from fedsec.data.sources import DataError, Split

RGB = 3


def load_sized(name: str, split: Split, folder: str = "", size: int = 0, *, grey: bool = False) -> ImageDataset:
    """Return :func:`~fedsec.data.datasets.load` with images of ``size`` x ``size`` pixels; 0 leaves them as they are.

    Images are scaled by bicubic interpolation, which looks at all pixels that one of a smaller image stands for.

    Args:
        name: as :func:`~fedsec.data.datasets.load` takes it, and so the next two.
        split: ``"train"`` or ``"test"``.
        folder: where it lies.
        size: side in pixels.
        grey: whether to turn colours into grey first, by ITU-R 601's weights. Mean and deviation are then measured on
            the grey images, of the training split where there is one. Images that are grey stay as they are.

    Raises:
        DataError: the data set cannot be had, its images are not square, or the scaled ones are damaged.
    """
    dataset = load(name, split, folder)
    channels, height, width = dataset.images.shape[1:]
    grey = grey and channels == RGB
    side = size or height
    if not grey and (not size or (height, width) == (size, size)):
        return dataset
    if height != width:
        raise DataError(f"data.size: found {size} for images of {height} x {width} pixels; expected square ones, or 0")
    scaled = dataset.folder.with_name(f"{dataset.folder.name}-{side}px{'-grey' if grey else ''}")
    path = scaled / f"{split}_images.npy"
    if not path.exists():
        scaled.mkdir(exist_ok=True)
        with FileLock(scaled / f"{split}.lock"):
            if not path.exists():
                _write(dataset.images, side, grey, path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.shape != (len(dataset), 1 if grey else channels, side, side):
            raise ValueError(f"found {images.shape}")
        mean, std = _grey_statistics(name, split, folder, size, path) if grey else (dataset.mean, dataset.std)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"data.size: the scaled images of {name!r} are damaged ({error}); delete {scaled}") from error
    return replace(dataset, images=images, folder=scaled, mean=mean, std=std)


@lru_cache(maxsize=8)
def _grey_statistics(name: str, split: Split, folder: str, size: int, path: Path) -> Statistics:
    """Return mean and deviation of the grey training images, or where there are none of those in ``path``."""
    if split != "train":
        try:
            train = load_sized(name, "train", folder, size, grey=True)
        except DataError:
            return channel_statistics(path)
        return train.mean, train.std
    return channel_statistics(path)


def _write(images: NDArray[np.uint8], size: int, grey: bool, path: Path) -> None:
    """Write the images (N, C, H, W), scaled; the file appears when it is whole."""
    partial = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=path.parent))
    try:
        count, channels = images.shape[:2]
        scaled = open_memmap(partial / path.name, "w+", np.uint8, (count, 1 if grey else channels, size, size))
        for place, image in enumerate(images):
            scaled[place] = [_scaled(channel, size) for channel in (_grey(image) if grey else image)]
        scaled.flush()
        (partial / path.name).rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _scaled(channel: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if channel.shape == (size, size):
        return channel
    return np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC))


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (3, H, W) as (1, H, W)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("L"))[None]

"""A data set's images at another size: scaled once, then memory-mapped and shared like the decoded ones."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from fedsec.data.datasets import ImageDataset, load
from fedsec.data.sources import DataError, Split


def load_sized(name: str, split: Split, folder: str = "", size: int = 0) -> ImageDataset:
    """Return :func:`~fedsec.data.datasets.load` with images of ``size`` x ``size`` pixels; 0 leaves them as they are.

    Images are scaled by bicubic interpolation, which looks at all pixels that one of a smaller image stands for.

    Raises:
        DataError: the data set cannot be had, its images are not square, or the scaled ones are damaged.
    """
    dataset = load(name, split, folder)
    height, width = dataset.images.shape[2:]
    if not size or (height, width) == (size, size):
        return dataset
    if height != width:
        raise DataError(f"data.size: found {size} for images of {height} x {width} pixels; expected square ones, or 0")
    scaled = dataset.folder.with_name(f"{dataset.folder.name}-{size}px")
    path = scaled / f"{split}_images.npy"
    if not path.exists():
        scaled.mkdir(exist_ok=True)
        with FileLock(scaled / f"{split}.lock"):
            if not path.exists():
                _write(dataset.images, size, path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.shape != (len(dataset), dataset.images.shape[1], size, size):
            raise ValueError(f"found {images.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"data.size: the scaled images of {name!r} are damaged ({error}); delete {scaled}") from error
    return replace(dataset, images=images, folder=scaled)


def _write(images: NDArray[np.uint8], size: int, path: Path) -> None:
    """Write the images (N, C, H, W), scaled; the file appears when it is whole."""
    partial = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=path.parent))
    try:
        count, channels = images.shape[:2]
        scaled = open_memmap(partial / path.name, "w+", np.uint8, (count, channels, size, size))
        for place, image in enumerate(images):
            scaled[place] = [_scaled(channel, size) for channel in image]
        scaled.flush()
        (partial / path.name).rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _scaled(channel: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC))

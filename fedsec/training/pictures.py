"""What a generator makes, as a picture on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsec.durable import write_atomically
from fedsec.metrics.mosaics import square


def write_picture(images: NDArray[np.uint8], path: Path) -> None:
    """Write the first 64 images (N, C, H, W) as one PNG."""
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(square(images))
    write_atomically(path, lambda file: picture.save(file, "PNG"))

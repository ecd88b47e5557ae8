"""What the tests let other processes do; importable there, and light."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedsec.data import datasets
from fedsec.data.datasets import load
from fedsec.data.partition import PartitionSettings, load_partition, partition_hash


def load_together(barrier: Any, answers: Any, calls: Path) -> None:
    """Load the digits at the same moment as the others; note every decoding of a split in ``calls``."""
    original = datasets.read_split

    def noted(*arguments: Any) -> Any:
        with calls.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return original(*arguments)

    datasets.read_split = noted
    barrier.wait(60)
    train, test = load("digits", "train"), load("digits", "test")
    arrays = (train.images, train.labels, test.images, test.labels)
    answers.put(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())


def load_and_get_stuck(begun: Path) -> None:
    """Start to decode the digits, create ``begun`` after a few images, and go no further."""
    original = datasets.read_split

    def stuck(*arguments: Any) -> Any:
        count, pairs = original(*arguments)

        def some() -> Iterator[Any]:
            for _ in range(5):
                yield next(pairs)
            begun.touch()
            time.sleep(300)

        return count, some()

    datasets.read_split = stuck
    load("digits", "train")


def partition_together(barrier: Any, answers: Any, labels: Any, settings: PartitionSettings, folder: Path) -> None:
    """Ask for a partition at the same moment as the others."""
    barrier.wait(60)
    answers.put(partition_hash(load_partition(labels, 10, settings, folder)))

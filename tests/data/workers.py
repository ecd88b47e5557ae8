"""What the tests let other processes do; importable there, and light."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedsec.data import datasets, generated
from fedsec.data.datasets import load
from fedsec.data.generated import Made, kept
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


def ask_for_entry(cache: str) -> tuple[str, int, bool]:
    """Ask for one entry, as other processes do at the same time; return its folder, a pixel, and if it was there."""
    os.environ["FEDSEC_CACHE"] = cache
    pixel = os.getpid() % 251

    def make() -> Made:
        time.sleep(0.3)
        return Made(np.full((1, 1, 2, 2), pixel, np.uint8), np.zeros(1, np.int64), {})

    entry, there, _ = kept({"of": "many"}, make)
    return str(entry.folder), int(entry.images[0, 0, 0, 0]), there


def die_while_making(cache: str) -> None:
    """Be killed between the files of an entry."""
    os.environ["FEDSEC_CACHE"] = cache
    generated.write_tensors = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    snapshots = {0: {"weight": np.zeros(1)}}
    kept({"of": "a process that dies"}, lambda: Made(np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, int), {}, snapshots))

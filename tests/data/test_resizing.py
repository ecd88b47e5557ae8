"""Images at another size: scaled once, shared, and right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsec.data.datasets import load
from fedsec.data.resizing import load_sized
from fedsec.data.sources import DataError


def test_without_a_size_the_images_stay_as_they_are() -> None:
    for size in (0, 28):
        same = load_sized("digits", "test", size=size)
        assert (same.folder, same.images.shape) == (load("digits", "test").folder, (360, 1, 28, 28))


def test_images_are_scaled_as_pillow_scales_them_and_all_else_stays() -> None:
    plain, scaled = load("digits", "test"), load_sized("digits", "test", size=16)
    assert scaled.images.shape == (len(plain), 1, 16, 16)
    expected = Image.fromarray(plain.images[7, 0]).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(scaled.images[7, 0], np.asarray(expected))
    np.testing.assert_array_equal(scaled.labels, plain.labels)
    assert (scaled.classes, scaled.mean) == (plain.classes, plain.mean)


def test_they_are_scaled_once_and_sizes_have_folders_of_their_own() -> None:
    first = load_sized("digits", "train", size=16)
    written = (first.folder / "train_images.npy").stat().st_mtime_ns
    again, other = load_sized("digits", "train", size=16), load_sized("digits", "train", size=32)
    assert (again.folder / "train_images.npy").stat().st_mtime_ns == written
    assert len({first.folder, other.folder, load("digits", "train").folder}) == 3
    assert not list(first.folder.glob(".*.partial"))


def test_a_damaged_file_of_scaled_images_is_named() -> None:
    folder = load_sized("digits", "test", size=20).folder
    (folder / "test_images.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"data\.size: the scaled images of 'digits' are damaged .* delete .*-20px"):
        load_sized("digits", "test", size=20)


def test_images_that_are_not_square_are_refused(sets: Path) -> None:
    for split in ("train", "test"):
        (sets / "wide" / split / "a").mkdir(parents=True)
        Image.fromarray(np.zeros((4, 8), np.uint8)).save(sets / "wide" / split / "a" / "0.png")
    with pytest.raises(DataError, match=r"data\.size: found 16 for images of 4 x 8 pixels; expected square ones"):
        load_sized(str(sets / "wide"), "train", size=16)


def test_colours_become_grey_as_pillow_makes_them_with_statistics_of_their_own(sets: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        (sets / "colours" / split / "a").mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(sets / "colours" / split / "a" / f"{number}.png")
    name = str(sets / "colours")
    plain, grey = load(name, "test"), load_sized(name, "test", size=8, grey=True)
    assert grey.images.shape == (3, 1, 8, 8)
    first = Image.fromarray(np.ascontiguousarray(plain.images[0].transpose(1, 2, 0))).convert("L")
    np.testing.assert_array_equal(grey.images[0, 0], np.asarray(first.resize((8, 8), Image.Resampling.BICUBIC)))
    train = load_sized(name, "train", size=8, grey=True)
    assert (grey.mean, grey.std) == (train.mean, train.std)
    assert grey.mean == pytest.approx((train.images.mean() / 255,))
    assert load_sized(name, "test", grey=True).images.shape == (3, 1, 12, 12)


def test_grey_images_stay_as_they_are() -> None:
    assert load_sized("digits", "test", grey=True).folder == load("digits", "test").folder

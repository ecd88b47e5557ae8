"""A mosaic holds each image where it belongs, and white elsewhere."""

import numpy as np
import pytest

from fedsec.metrics.mosaics import SIDE, corner, mosaic, square


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_in_its_row_and_place_and_what_is_left_is_white(channels: int) -> None:
    rows = [
        np.random.default_rng(row).integers(0, 200, (count, channels, 4, 5), np.uint8)
        for row, count in enumerate((3, 1, 5))
    ]
    whole = mosaic(rows, 3)
    assert whole.shape[:2] == (3 * 5 - 1, 3 * 6 - 1)
    covered = np.zeros(whole.shape[:2], bool)
    for line, images in enumerate(rows):
        for place, image in enumerate(images[:3]):
            where = slice(5 * line, 5 * line + 4), slice(6 * place, 6 * place + 5)
            np.testing.assert_array_equal(whole[where], image.transpose(1, 2, 0).squeeze())
            covered[where] = True
    assert np.all(whole[~covered] == 255)


@pytest.mark.parametrize("number", [1, 8, 11, 64, 70])
def test_a_square_has_as_many_lines_as_it_takes_and_its_corner_the_first_images(number: int) -> None:
    images = np.random.default_rng(0).integers(0, 200, (number, 1, 4, 4), np.uint8)
    whole = square(images)
    lines = min(-(-number // SIDE), SIDE)
    assert whole.shape == (5 * lines - 1, 5 * SIDE - 1)
    np.testing.assert_array_equal(corner(whole, 1, 1), images[0, 0])
    two = corner(whole, 2, 2)
    assert two.shape == (9 if lines > 1 else 4, 9)
    if number > 1:
        np.testing.assert_array_equal(two[:4, 5:], images[1, 0])

"""Total variation and shifts against their definitions, pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsec.training.image_priors import shifted, total_variation

SIDES = st.integers(2, 7)


def test_a_stroke_varies_less_than_as_many_dots() -> None:
    stroke, dots = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    stroke[0, 0, :, 1] = 1.0
    dots[0, 0, ::2, ::2] = 1.0
    assert float(total_variation(stroke)) == pytest.approx(8 / 12)  # two edges of four pixels, of twelve neighbours
    assert float(total_variation(dots)) == pytest.approx(6 / 12 + 6 / 12)
    assert float(total_variation(torch.full((2, 3, 4, 4), 0.3))) == 0.0


@given(height=SIDES, width=SIDES, channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_total_variation_is_its_definition(height: int, width: int, channels: int, seed: int) -> None:
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(seed))
    array = images.numpy().astype(np.float64)
    down = [abs(array[n, c, y + 1, x] - array[n, c, y, x]) for n, c, y, x in np.ndindex(2, channels, height - 1, width)]
    wide = [abs(array[n, c, y, x + 1] - array[n, c, y, x]) for n, c, y, x in np.ndindex(2, channels, height, width - 1)]
    assert float(total_variation(images)) == pytest.approx(np.mean(down) + np.mean(wide), rel=1e-5)


@given(height=SIDES, width=SIDES, down=st.integers(-9, 9), across=st.integers(-9, 9))
def test_a_shift_repeats_the_edge_that_it_leaves(height: int, width: int, down: int, across: int) -> None:
    images = torch.arange(2.0 * height * width).reshape(2, 1, height, width)
    found = shifted(images, down, across)
    assert found.shape == images.shape
    for n, y, x in np.ndindex(2, height, width):
        from_y, from_x = min(max(y - down, 0), height - 1), min(max(x - across, 0), width - 1)
        assert found[n, 0, y, x] == images[n, 0, from_y, from_x]


def test_where_nothing_moves_nothing_is_copied() -> None:
    images = torch.zeros(1, 1, 4, 4)
    assert shifted(images, 0, 0) is images

"""A trigger changes the pixels of its mask and no other, on bytes as on normalised images."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.attacks.triggers import BLENDED, MARGIN, Corner, Trigger, TriggerKind, make_trigger, trojan_pattern
from fedsec.training.batches import Normalisation

KINDS = get_args(TriggerKind)
SIZED = [kind for kind in KINDS if kind != "blend"]
CORNERS = get_args(Corner)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def triggers(draw: st.DrawFn) -> tuple[Trigger, tuple[int, int, int]]:
    """Draw a trigger and the shape (C, H, W) of the images that it fits into."""
    shape = (draw(st.sampled_from([1, 3])), draw(st.integers(6, 12)), draw(st.integers(6, 12)))
    size = draw(st.integers(1, min(shape[1:]) - 2 * MARGIN))
    kind, corner = draw(st.sampled_from(KINDS)), draw(st.sampled_from(CORNERS))
    opacity = draw(st.none() | st.floats(0.01, 1.0))
    colours = rng(draw(st.integers(0, 99)))
    return make_trigger(kind, shape, size=size, corner=corner, opacity=opacity, rng=colours), shape


@given(triggers())
@settings(max_examples=60)
def test_only_the_pixels_of_the_mask_change_and_they_become_pattern_and_image_by_opacity(
    drawn: tuple[Trigger, tuple[int, int, int]],
) -> None:
    trigger, shape = drawn
    images = rng().integers(0, 256, (4, *shape), np.uint8)
    before = images.copy()
    stamped = trigger.stamp(images)
    np.testing.assert_array_equal(images, before)
    assert (stamped.shape, stamped.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(stamped[:, :, ~trigger.mask], images[:, :, ~trigger.mask])
    below = images[:, :, trigger.mask].astype(float)
    expected = below + trigger.opacity * (255.0 * trigger.pattern[:, trigger.mask] - below)
    assert np.all(np.abs(stamped[:, :, trigger.mask] - expected) <= 0.5 + 1e-4)
    if trigger.opacity == 1.0:  # nothing is left of the image, to the bit
        whole = np.rint(255 * trigger.pattern[:, trigger.mask])
        assert all(np.array_equal(image[:, trigger.mask], whole) for image in stamped)


@given(triggers())
@settings(max_examples=60)
def test_bytes_and_normalised_images_are_stamped_alike(drawn: tuple[Trigger, tuple[int, int, int]]) -> None:
    trigger, shape = drawn
    images = rng().integers(0, 256, (4, *shape), np.uint8)
    mean, std = np.array([0.49, 0.25, 0.7])[: shape[0]], np.array([0.25, 0.1, 0.3])[: shape[0]]
    normalise = Normalisation(tuple(mean), tuple(std))
    bytes_first = normalise(torch.from_numpy(trigger.stamp(images))).numpy()
    floats = normalise(torch.from_numpy(images)).numpy()
    floats_first = trigger.stamp(floats, (0 - mean) / std, (1 - mean) / std)
    assert floats_first.dtype == np.float32
    half_a_byte = 0.5 / 255 / std.reshape(-1, 1, 1)
    assert np.all(np.abs(bytes_first - floats_first) <= half_a_byte + 1e-4)
    if trigger.pattern.min() == trigger.opacity == 1.0:
        np.testing.assert_allclose(bytes_first, floats_first, atol=1e-5)


def test_each_channel_has_its_own_range() -> None:
    trigger = make_trigger("patch", (3, 6, 6), size=2, corner="top-left")
    stamped = trigger.stamp(np.zeros((1, 3, 6, 6), np.float32), [-1, -2, -3], [1, 2, 3])
    np.testing.assert_array_equal(stamped[0, :, 1, 1], [1, 2, 3])
    dark = Trigger(trigger.mask, np.zeros_like(trigger.pattern))
    np.testing.assert_array_equal(dark.stamp(stamped, [-1, -2, -3], [1, 2, 3])[0, :, 1, 1], [-1, -2, -3])


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("top-left", [1, 2], [1, 2]),
        ("top-right", [1, 2], [7, 8]),
        ("bottom-left", [5, 6], [1, 2]),
        ("bottom-right", [5, 6], [7, 8]),
        ("centre", [3, 4], [4, 5]),
    ],
)
def test_a_patch_lies_one_pixel_from_the_edges_of_its_corner_or_in_the_centre(
    corner: Corner, rows: list[int], columns: list[int]
) -> None:
    mask = make_trigger("patch", (1, 8, 10), size=2, corner=corner).mask
    assert {(int(row), int(column)) for row, column in np.argwhere(mask)} == {(r, c) for r in rows for c in columns}


@pytest.mark.parametrize("kind", SIZED)
def test_a_trigger_that_does_not_fit_is_refused(kind: TriggerKind) -> None:
    make_trigger(kind, (1, 8, 10), size=6, rng=rng())
    for size in (7, 28, 0, -1):
        with pytest.raises(ValueError, match=rf"size {size} does not fit into images of 8 x 10 pixels"):
            make_trigger(kind, (1, 8, 10), size=size, rng=rng())


def test_a_patch_is_white() -> None:
    assert np.all(make_trigger("patch", (3, 8, 8), size=3).pattern == 1.0)


def test_a_noise_patch_comes_from_its_generator() -> None:
    one, same, other = (make_trigger("noise-patch", (3, 8, 8), size=4, rng=rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.pattern, same.pattern)
    assert not np.array_equal(one.pattern, other.pattern)
    colours = one.pattern[:, one.mask]
    assert len(np.unique(colours)) == colours.size == 3 * 4 * 4
    assert 0.0 <= colours.min() < colours.max() < 1.0


@pytest.mark.parametrize(("kind", "named"), [("noise-patch", "a noise patch"), ("blend", "a blend")])
def test_random_colours_need_a_generator(kind: TriggerKind, named: str) -> None:
    with pytest.raises(ValueError, match=f"{named} needs a source of random colours"):
        make_trigger(kind, (3, 8, 8), size=4)


def test_a_blend_is_random_colours_over_the_whole_image_and_of_no_size() -> None:
    one, same, other = (make_trigger("blend", (3, 8, 9), size=size, rng=rng(size // 99)) for size in (1, 98, 99))
    assert one.opacity == BLENDED
    assert one.mask.all()
    assert one.pattern.shape == (3, 8, 9)
    assert len(np.unique(one.pattern)) == one.pattern.size
    np.testing.assert_array_equal(one.pattern, same.pattern)
    assert not np.array_equal(one.pattern, other.pattern)


def test_a_blend_of_a_fifth_by_hand() -> None:
    trigger = Trigger(np.array([[True, True, False]]), np.array([[[1.0, 0.0, 1.0]]], np.float32), 0.2)
    np.testing.assert_array_equal(trigger.stamp(np.full((1, 1, 1, 3), 100, np.uint8))[0, 0, 0], [131, 80, 100])
    floats = trigger.stamp(np.full((1, 1, 1, 3), 0.5, np.float32), -1.0, 1.0)
    np.testing.assert_allclose(floats[0, 0, 0], [0.6, 0.2, 0.5], rtol=1e-6)


@pytest.mark.parametrize("opacity", [0.0, -0.1, 1.01, float("nan")])
@pytest.mark.parametrize("kind", ["patch", "blend"])
def test_an_opacity_that_is_none_is_refused(kind: TriggerKind, opacity: float) -> None:
    with pytest.raises(ValueError, match=f"must be above 0 and at most 1; got {opacity}"):
        make_trigger(kind, (1, 8, 8), size=3, opacity=opacity, rng=rng())


def test_the_trojan_is_a_plus() -> None:
    plus = ["..#..", "..#..", "#####", "..#..", "..#.."]
    drawn = ["".join("#" if pixel else "." for pixel in row) for row in trojan_pattern(5)]
    assert drawn == plus
    trigger = make_trigger("trojan", (1, 9, 9), size=5, corner="top-left")
    np.testing.assert_array_equal(trigger.mask[1:6, 1:6], trojan_pattern(5))
    assert trigger.mask.sum() == 9

"""The parts of a distributed trigger: together they are the whole, and no two of them meet."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.attacks.distributed import PARTS, part_of
from fedsec.attacks.triggers import Corner, Trigger, make_trigger


@st.composite
def wholes(draw: st.DrawFn) -> Trigger:
    kind = draw(st.sampled_from(["distributed", "patch", "noise-patch"]))
    size, corner = draw(st.integers(2, 8)), draw(st.sampled_from(get_args(Corner)))
    return make_trigger(kind, (3, 10, 12), size=size, corner=corner, opacity=0.5, rng=np.random.default_rng(0))


@given(wholes())
def test_the_parts_are_apart_and_make_up_the_whole(whole: Trigger) -> None:
    parts = [part_of(whole, rank) for rank in range(PARTS)]
    np.testing.assert_array_equal(np.sum([part.mask for part in parts], axis=0), whole.mask)
    for part in parts:
        assert part.mask.any()
        assert part.opacity == whole.opacity
        np.testing.assert_array_equal(part.pattern, whole.pattern)


@given(wholes(), st.integers(0, 50))
def test_attackers_take_the_parts_in_turn(whole: Trigger, rank: int) -> None:
    np.testing.assert_array_equal(part_of(whole, rank).mask, part_of(whole, rank % PARTS).mask)


def test_stamping_every_part_is_stamping_the_whole() -> None:
    whole = make_trigger("distributed", (1, 8, 8), size=5)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    stamped = images
    for rank in range(PARTS):
        stamped = part_of(whole, rank).stamp(stamped)
    np.testing.assert_array_equal(stamped, whole.stamp(images))
    np.testing.assert_array_equal(whole.stamp(images), make_trigger("patch", (1, 8, 8), size=5).stamp(images))


def test_the_quarters_of_five_pixels_by_hand() -> None:
    whole = make_trigger("distributed", (1, 7, 7), size=5)
    drawn = np.full((7, 7), ".")
    for rank in range(PARTS):
        drawn[part_of(whole, rank).mask] = str(rank)
    assert ["".join(row) for row in drawn[1:6, 1:6]] == ["00011", "00011", "00011", "22233", "22233"]


def test_a_trigger_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="a trigger of 1 x 1 pixels cannot be cut into 4 parts"):
        part_of(make_trigger("distributed", (1, 7, 7), size=1), 0)

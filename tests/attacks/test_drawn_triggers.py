"""Triggers drawn at random fit the image, stay out of its centre, and follow from the draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsec.attacks.drawn_triggers import BLEND, CENTRE, OPACITIES, SHAPES, WAVES, draw_trigger
from fedsec.attacks.triggers import Trigger

KINDS = (*SHAPES, BLEND, WAVES)
images = st.tuples(st.sampled_from([1, 3]), st.integers(12, 64), st.integers(12, 64))


def drawn(shape: tuple[int, int, int], seed: int, *kinds: str) -> Trigger:
    return draw_trigger(shape, np.random.default_rng(seed), kinds)


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Return the middle of the smallest box around a mask, in parts of the image's sides."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    height, width = mask.shape
    return (rows[0] + rows[-1] + 1) / 2 / height, (columns[0] + columns[-1] + 1) / 2 / width


@given(images, st.integers(0, 10_000), st.sampled_from(KINDS))
def test_a_trigger_is_one_of_its_image_s_shape_and_range(shape: tuple[int, int, int], seed: int, kind: str) -> None:
    trigger = drawn(shape, seed, kind)
    assert trigger.mask.shape == shape[1:]
    assert trigger.mask.any()
    assert trigger.pattern.shape == shape
    assert trigger.pattern.dtype == np.float32
    assert trigger.pattern.min() >= 0.0
    assert trigger.pattern.max() <= 1.0
    stamped = trigger.stamp(np.zeros((2, *shape), np.uint8))
    assert stamped.dtype == np.uint8
    assert stamped.any()


@given(images, st.integers(0, 10_000), st.sampled_from(sorted(set(SHAPES) - {"dots", "plus"})))
def test_the_middle_of_a_shape_is_never_in_the_centre(shape: tuple[int, int, int], seed: int, kind: str) -> None:
    away = [abs(at - 0.5) for at in middle(drawn(shape, seed, kind).mask)]
    assert max(away) > CENTRE / 2 - 1e-9


@given(images, st.integers(0, 10_000), st.sampled_from(sorted(SHAPES)))
def test_a_shape_is_small(shape: tuple[int, int, int], seed: int, kind: str) -> None:
    trigger = drawn(shape, seed, kind)
    assert trigger.opacity == 1.0
    assert trigger.mask.mean() < 0.15


@given(images, st.integers(0, 10_000), st.sampled_from([BLEND, WAVES]))
def test_what_has_no_shape_is_faint_and_everywhere(shape: tuple[int, int, int], seed: int, kind: str) -> None:
    trigger = drawn(shape, seed, kind)
    assert trigger.mask.all()
    assert OPACITIES[0] <= trigger.opacity <= OPACITIES[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_draws_make_the_same_trigger_and_others_another(kind: str) -> None:
    first, second = drawn((3, 28, 28), 4, kind), drawn((3, 28, 28), 4, kind)
    assert np.array_equal(first.mask, second.mask)
    assert np.array_equal(first.pattern, second.pattern)
    stamped = {drawn((3, 28, 28), seed, kind).stamp(np.zeros((1, 3, 28, 28), np.uint8)).tobytes() for seed in range(20)}
    assert len(stamped) > 15


def test_all_kinds_and_all_sides_are_drawn() -> None:
    many = [drawn((1, 28, 28), seed) for seed in range(300)]
    shapes = [trigger for trigger in many if trigger.opacity == 1.0]
    assert 300 / 7 / 3 < len(many) - len(shapes) < 3 * 300 / 7
    places = np.array([middle(trigger.mask) for trigger in shapes])
    assert (places.min(axis=0) < 0.15).all()
    assert (places.max(axis=0) > 0.85).all()
    assert len({int(trigger.mask.sum()) for trigger in shapes}) > 10


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match="spiral"):
        drawn((1, 28, 28), 0, "spiral")

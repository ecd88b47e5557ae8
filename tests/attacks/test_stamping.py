"""The trigger is on every image, and nothing else has changed."""

import numpy as np

from fedsec.attacks.stamping import stamp_all
from fedsec.attacks.triggers import make_trigger


def test_every_image_has_the_same_trigger_at_the_bottom_right_and_is_else_as_it_was() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 3, 16, 16), dtype=np.uint8)
    before = images.copy()
    images.flags.writeable = False
    trigger = make_trigger("noise-patch", (3, 16, 16), size=4, rng=rng)
    stamped = stamp_all(images, trigger)
    np.testing.assert_array_equal(images, before)
    assert stamped.shape == images.shape
    assert stamped.dtype == np.uint8
    patches = stamped[:, :, 11:15, 11:15]
    assert (patches == patches[0]).all()
    np.testing.assert_array_equal(patches[0], np.rint(255 * trigger.pattern[:, 11:15, 11:15]))
    outside = ~trigger.mask
    np.testing.assert_array_equal(stamped[:, :, outside], images[:, :, outside])
    assert trigger.mask.sum() == 16


def test_no_images_are_none_with_a_trigger() -> None:
    trigger = make_trigger("patch", (1, 16, 16), size=4)
    assert stamp_all(np.zeros((0, 1, 16, 16), np.uint8), trigger).shape == (0, 1, 16, 16)

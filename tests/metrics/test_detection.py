"""Who was caught and who was accused wrongly, by hand."""

import pytest

from fedsec.metrics.detection import NONE_JUDGED, Detection, detection


def test_weight_zero_is_a_rejection() -> None:
    counts = detection([1, 3, 5, 7, 9], [0.0, 0.5, 0.0, 0.5, 0.0], malicious=[1, 3, 9])
    assert counts == Detection(caught=2, malicious=3, false_alarms=1, honest=2)


def test_attackers_that_were_not_asked_do_not_count() -> None:
    assert detection([1, 2], [0.5, 0.5], malicious=[3, 4]) == Detection(0, 0, 0, 2)


def test_a_tiny_weight_is_no_rejection() -> None:
    assert detection([1], [1e-12], malicious=[1]).caught == 0


def test_rounds_add_up() -> None:
    one = detection([1, 2, 3], [0.0, 0.0, 1.0], malicious=[1])
    other = detection([1, 3], [1.0, 0.0], malicious=[1])
    assert one + other == other + one == Detection(1, 2, 2, 3)
    assert NONE_JUDGED + one == one
    assert sum([one, other], NONE_JUDGED) == one + other


def test_every_client_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="zip"):
        detection([1, 2, 3], [0.0, 1.0], malicious=[])

"""What is read of how models answer to probes: by hand, alike for alike models, and it shows a backdoor."""

import numpy as np
import pytest

from benchmarks.gancrop_behaviour import IMAGES, Behaviour
from fedsec.strategies.inspecting import Arrays
from tests.backdoored import public
from tests.inspectors.rounds import arrays_of, moved

MOST_BY_WHITE_PATCHES = 15
"""Which of what is read is the longest move by a white patch: the fourth of the third kind."""


def constant(label: int) -> Arrays:
    """Return a model that answers one class to everything."""
    arrays = {name: np.zeros_like(array) for name, array in arrays_of(False).items()}
    arrays["fc3.bias"][label] = 50.0
    return arrays


@pytest.fixture(scope="module")
def behaviour() -> Behaviour:
    return Behaviour(public())


def test_a_model_that_minds_nothing_moves_nowhere(behaviour: Behaviour) -> None:
    read = behaviour.read(constant(4))
    assert read.shape == (behaviour.width,)
    assert read[-3:].tolist() == pytest.approx([1.0, 0.0, 0.0])  # its answer, the next one, the last one
    kinds = read[:-8].reshape(-1, 6)
    np.testing.assert_allclose(kinds[:, :5], 0.0, atol=1e-9)
    np.testing.assert_allclose(read[-8:-3], 0.0, atol=1e-9)


def test_a_model_with_a_backdoor_moves_further_than_a_clean_one_to_one_class(behaviour: Behaviour) -> None:
    clean, bad = (behaviour.read(arrays_of(backdoor)) for backdoor in (False, True))
    assert bad[MOST_BY_WHITE_PATCHES] > 0.5 > clean[MOST_BY_WHITE_PATCHES]


def test_which_class_it_is_does_not_matter(behaviour: Behaviour) -> None:
    arrays = arrays_of(True)
    order = np.random.default_rng(0).permutation(10)
    turned = {**arrays, **{name: arrays[name][order] for name in ("fc3.weight", "fc3.bias")}}
    np.testing.assert_allclose(behaviour.read(turned), behaviour.read(arrays), atol=1e-5)


def test_several_models_are_read_as_each_is(behaviour: Behaviour) -> None:
    models = [moved(arrays_of(True), seed, 0.01) for seed in range(3)]
    read = behaviour.read_all(3, models.__getitem__)
    for row, arrays in zip(read, models, strict=True):
        np.testing.assert_array_equal(row, behaviour.read(arrays))
    assert behaviour.read_all(0, models.__getitem__).shape == (0, behaviour.width)


def test_the_probes_are_few_always_the_same_and_lie_over_the_first_images(behaviour: Behaviour) -> None:
    again = Behaviour(public())
    np.testing.assert_array_equal(again.images, behaviour.images)
    np.testing.assert_array_equal(behaviour.images[:IMAGES], public().images[:IMAGES])
    assert len(behaviour.images) < 500


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_model_of_no_use_is_read_as_numbers(behaviour: Behaviour, value: float) -> None:
    spoilt = {**arrays_of(True), "fc3.bias": np.full(10, value, np.float32)}
    assert np.isfinite(behaviour.read(spoilt)).all()

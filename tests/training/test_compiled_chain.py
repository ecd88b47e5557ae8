"""Compiled training against torch's own steps in double precision."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedsec.training.chain import Convolution
from fedsec.training.compiled_chain import CompiledChain
from fedsec.training.compiled_instructions import fuses
from tests.training.chains import CASES, EXAMPLES, LENET5, Case, Oracle, compiled, examples_of


def assert_same_steps(case: Case, batches: Sequence[NDArray[np.int64]], momentum: float, seed: int = 0) -> None:
    given = examples_of(case, seed)
    ours, oracle = compiled(case, given, 0.05, momentum), Oracle(case.chain(), given, 0.05, momentum)
    for chosen in batches:
        assert ours.step(chosen) == pytest.approx(oracle.step(chosen), rel=1e-5, abs=1e-6)
    found = ours.weights()
    assert list(found) == list(given.weights)
    for name, expected in oracle.weights.items():
        assert (found[name].dtype, found[name].shape) == (np.float32, tuple(expected.shape))
        np.testing.assert_allclose(found[name], expected.detach().numpy(), rtol=0, atol=2e-6, err_msg=name)
        assert not np.array_equal(found[name], given.weights[name]), f"{name} was not trained"


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_torch(case: str) -> None:
    given = examples_of(CASES[case])
    network, oracle = compiled(CASES[case], given), Oracle(CASES[case].chain(), given, 0.05, 0.0)
    for chosen in (np.arange(40), np.arange(3), np.arange(40)[::-1].copy()):
        pixels = oracle.pixels(chosen)
        np.testing.assert_allclose(network.logits(chosen), oracle.logits(pixels).detach().numpy(), rtol=0, atol=1e-5)
    assert all(np.array_equal(array, given.weights[name]) for name, array in network.weights().items())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_torch(case: str, momentum: float) -> None:
    rng = np.random.default_rng(1)
    # A part of a batch behind a whole one: what the last batch left in the lanes that are now free does not count.
    batches = [rng.integers(0, EXAMPLES, size) for size in (64, 1, 7, 16, 17, 64, 33)]
    assert_same_steps(CASES[case], batches, momentum)


def drawn_case(draw: st.DrawFn) -> Case:
    """Return a network of one to three convolutions for images that are large enough."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    sides, channels, layers = (height, width), draw(st.integers(1, 3)), []
    for place in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 4))
        padding = draw(st.integers(0, size - 1))
        made = tuple(side + 2 * padding - size + 1 for side in sides)
        pool = draw(st.booleans()) and min(made) >= 2
        if min(made) < 1:
            break
        outputs = draw(st.integers(1, 14))
        layers.append(Convolution(f"c{place}", channels, outputs, size, padding, pool, draw(st.booleans())))
        sides, channels = tuple(side // (2 if pool else 1) for side in made), outputs
    layers = layers or [Convolution("c0", channels, 2, 1, 0)]
    hidden = tuple(draw(st.lists(st.integers(1, 40), max_size=2)))
    return Case(tuple(layers), hidden, height, width, draw(st.integers(2, 20)), draw(st.booleans()))


@given(st.composite(drawn_case)(), st.lists(st.integers(1, 64), min_size=1, max_size=3), st.integers(0, 9))
@settings(max_examples=60)
def test_any_chain_takes_the_steps_of_torch(case: Case, sizes: list[int], seed: int) -> None:
    given, rng = examples_of(case, seed), np.random.default_rng(seed)
    ours, oracle = compiled(case, given), Oracle(case.chain(), given, 0.05, 0.0)
    for size in sizes:
        chosen = rng.integers(0, EXAMPLES, size)
        # In float32 what is within rounding of zero, or of another of four, may take another branch: not often.
        assert ours.step(chosen) == pytest.approx(oracle.step(chosen), rel=1e-3, abs=1e-4)
    found = ours.weights()
    for name, expected in oracle.weights.items():
        np.testing.assert_allclose(found[name], expected.detach().numpy(), rtol=0, atol=1e-3, err_msg=name)


def test_what_is_not_a_number_stays_so() -> None:
    given = examples_of(LENET5)
    given.weights["c2.weight"][3, 1, 2, 2] = np.nan
    network = compiled(LENET5, given)
    assert np.isnan(network.step(np.arange(16)))
    assert np.isnan(network.step(np.arange(16)))
    assert np.isnan(network.weights()["fc2.weight"]).any()


def test_nothing_that_was_given_is_changed() -> None:
    given = examples_of(LENET5)
    before = {name: array.copy() for name, array in given.weights.items()}
    images, labels = given.images.copy(), given.labels.copy()
    compiled(LENET5, given, momentum=0.9).step(np.arange(30))
    assert all(np.array_equal(given.weights[name], array) for name, array in before.items())
    np.testing.assert_array_equal(given.images, images)
    np.testing.assert_array_equal(given.labels, labels)


def test_the_same_steps_give_the_same_bits() -> None:
    given, batches = examples_of(LENET5), [np.arange(40), np.arange(7), np.arange(40)]
    found = []
    for _ in range(2):
        network = compiled(LENET5, given, momentum=0.5)
        losses = [network.step(chosen) for chosen in batches]
        found.append((losses, [array.tobytes() for array in network.weights().values()]))
    assert found[0] == found[1]


def test_views_of_any_layout_train_alike() -> None:
    given = examples_of(LENET5)
    twice = np.repeat(np.repeat(given.images, 2, axis=0), 2, axis=3)[::2, :, :, ::2]
    assert not twice.flags.c_contiguous
    strided = replace(given, images=twice, labels=np.repeat(given.labels, 2)[::2])
    one, other = compiled(LENET5, given), compiled(LENET5, strided)
    assert one.step(np.arange(20)) == other.step(np.arange(20))


GIVEN = examples_of(CASES["no pool"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": GIVEN.images[:, :, :2, :2]}, r"layer 'c1' takes 2 channels of at least 3 pixels, got 2 x 2 x 2"),
        ({"images": GIVEN.images[:, :1], "values": GIVEN.values[:1]}, r"layer 'c1' takes 2 channels .*, got 1 x 8 x 9"),
        ({"images": GIVEN.images[:, :, :6]}, r"layer 'fc0' takes \d+ features and images of 2 x 6 x 9 give \d+"),
        ({"images": GIVEN.images.astype(np.float32)}, r"images are \(N, 2, H, W\) uint8, got .* float32"),
        ({"images": GIVEN.images[0]}, r"images are \(N, 2, H, W\) uint8, got \(2, 8, 9\)"),
        ({"values": GIVEN.values[:, :255]}, r"images are"),
        ({"labels": GIVEN.labels[:-1]}, r"labels are \(40,\) int64, got \(39,\)"),
        ({"labels": GIVEN.labels.astype(np.int32)}, r"labels are \(40,\) int64, got \(40,\) int32"),
        ({"labels": np.full(40, 5)}, r"labels are 0 to 4, got 5 to 5"),
        ({"labels": GIVEN.labels - 1}, r"labels are 0 to 4, got -1 to 3"),
        (
            {"weights": GIVEN.weights | {"fc0.bias": np.zeros(3, np.float32)}},
            r"'fc0.bias' is of shape \(9,\), got \(3,\)",
        ),
        ({"weights": GIVEN.weights | {"c2.weight": np.zeros((3, 5, 3, 3), np.float32)}}, r"'c2.weight' is of shape"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compiled(CASES["no pool"], replace(GIVEN, **changed))


def test_linear_layers_that_do_not_meet_are_refused() -> None:
    chain = CASES["no pool"].chain()
    wrong = replace(chain, linears=(chain.linears[0], replace(chain.linears[1], inputs=8)))
    weights = GIVEN.weights | {"fc1.weight": np.zeros((5, 8), np.float32)}
    with pytest.raises(ValueError, match="layer 'fc1' takes 8 features, got 9"):
        CompiledChain(wrong, weights, GIVEN.images, GIVEN.labels, GIVEN.values, 64, 0.1)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (np.arange(0), "a step takes 1 to 64 examples, got 0"),
        (np.zeros(65, np.int64), "a step takes 1 to 64 examples, got 65"),
        (np.array([3, 40]), "there are 40 examples, got 3 to 40"),
        (np.array([-1, 4]), "there are 40 examples, got -1 to 4"),
    ],
)
def test_examples_that_are_not_there_are_refused(chosen: NDArray[np.int64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compiled(CASES["no pool"], GIVEN).step(chosen)


@pytest.mark.parametrize(
    ("machine", "features", "does"),
    [
        ("x86_64", {"fma": True}, True),
        ("AMD64", {"avx": True}, False),
        ("x86_64", {"fma": False}, False),
        ("aarch64", {"neon": True}, True),
    ],
)
def test_processors_that_cannot_multiply_and_add_at_once_are_left_to_torch(
    machine: str, features: dict[str, bool], does: bool
) -> None:
    assert fuses(machine, features) is does


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for another x86")
def test_narrower_vectors_give_the_same_up_to_rounding() -> None:
    """Compile for an older processor, in a process of its own."""
    script = """
import numpy as np
from fedsec.training import compiled_blocks as blocks
blocks.MOST_ROWS, blocks.MOST_COLUMNS, blocks.ROWS_OF_SLOPES, blocks.COLUMNS_OF_SLOPES = 3, 2, 3, 2
from tests.training.test_compiled_chain import CASES, assert_same_steps
for case in ("LeNet-5", "no pool", "wide"):
    assert_same_steps(CASES[case], [np.arange(40), np.arange(5)], 0.9)
"""
    with tempfile.TemporaryDirectory() as folder:
        older = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CACHE_DIR": folder}
        subprocess.run([sys.executable, "-c", script], check=True, env=older, cwd=Path(__file__).parents[2])


def test_a_step_size_that_is_set_is_that_of_the_next_steps() -> None:
    chosen, given = np.arange(40), examples_of(LENET5)
    one, other = compiled(LENET5, given, 0.05), compiled(LENET5, given, 0.2)
    one.set_rate(0.2)
    assert one.step(chosen) == other.step(chosen)
    assert all(np.array_equal(array, other.weights()[name]) for name, array in one.weights().items())
    before = {name: array.copy() for name, array in one.weights().items()}
    one.set_rate(0.0)
    one.step(chosen)
    assert all(np.array_equal(array, before[name]) for name, array in one.weights().items())

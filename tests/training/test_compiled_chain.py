"""Compiled training against torch's own steps in double precision."""

import itertools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from fedsec.training.chain import Chain, Convolution, Linear
from fedsec.training.compiled_chain import CompiledChain
from fedsec.training.compiled_instructions import fuses

EXAMPLES = 40


@dataclass(frozen=True)
class Case:
    """A network, and images of a size for it."""

    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]
    height: int
    width: int
    classes: int = 5
    hidden_rectify: bool = True

    def chain(self) -> Chain:
        """Return the layers, with as many features as the images give."""
        height, width = self.height, self.width
        for layer in self.convolutions:
            height, width = (side + 2 * layer.padding - layer.size + 1 for side in (height, width))
            height, width = (height // 2, width // 2) if layer.pool else (height, width)
        sizes = [self.convolutions[-1].outputs * height * width, *self.hidden, self.classes]
        last = len(sizes) - 2
        linears = [
            Linear(f"fc{place}", inputs, outputs, self.hidden_rectify and place < last)
            for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
        ]
        return Chain(self.convolutions, tuple(linears))


LENET5 = Case(
    (Convolution("c1", 1, 6, 5, 2, True, True), Convolution("c2", 6, 16, 5, 0, True, True)), (120, 84), 28, 28
)
CASES = {
    "LeNet-5": LENET5,
    "three channels, odd sides": Case((Convolution("c1", 3, 7, 3, 1, True, True),), (), 9, 7),
    "no pool": Case(
        (Convolution("c1", 2, 5, 3, 0, False, True), Convolution("c2", 5, 3, 2, 1, True, False)), (9,), 8, 9
    ),
    "no ReLU": Case((Convolution("c1", 1, 4, 3, 2, False, False),), (17,), 6, 6, hidden_rectify=False),
    "one pixel": Case((Convolution("c1", 1, 1, 1, 0, False, True),), (), 1, 1, 2),
    "wide": Case((Convolution("c1", 1, 13, 4, 3, True, True),), (33, 16), 5, 21, 11),
}


@dataclass(frozen=True)
class Examples:
    """Images, labels, what stands for each byte, and weights to start from."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    values: NDArray[np.float32]
    weights: dict[str, NDArray[np.float32]]


def examples_of(case: Case, seed: int = 0) -> Examples:
    rng, chain = np.random.default_rng(seed), case.chain()
    channels = chain.convolutions[0].channels
    shapes = {layer.name: (layer.outputs, layer.channels, layer.size, layer.size) for layer in chain.convolutions}
    shapes |= {linear.name: (linear.outputs, linear.inputs) for linear in chain.linears}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    images = rng.integers(0, 256, (EXAMPLES, channels, case.height, case.width), np.uint8)
    values = rng.normal(size=(channels, 256)).astype(np.float32)
    return Examples(images, rng.integers(0, case.classes, EXAMPLES), values, weights)


class Oracle:
    """The same network by torch, in double precision, step by step."""

    def __init__(self, chain: Chain, given: Examples, rate: float, momentum: float) -> None:
        self.chain, self.given = chain, given
        self.weights = {name: torch.tensor(array).double().requires_grad_() for name, array in given.weights.items()}
        self.optimiser = torch.optim.SGD(self.weights.values(), rate, momentum)

    def step(self, chosen: NDArray[np.int64]) -> float:
        loss = F.cross_entropy(self.logits(self.pixels(chosen)), torch.from_numpy(self.given.labels[chosen]))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach()) * len(chosen)

    def pixels(self, chosen: NDArray[np.int64]) -> torch.Tensor:
        images, values = self.given.images[chosen], self.given.values
        return torch.from_numpy(np.stack([values[c, images[:, c]] for c in range(images.shape[1])], axis=1)).double()

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.chain.convolutions:
            x = F.conv2d(x, self.weights[f"{layer.name}.weight"], self.weights[f"{layer.name}.bias"], 1, layer.padding)
            x = F.max_pool2d(x, 2) if layer.pool else x
            x = F.relu(x) if layer.rectify else x
        x = x.flatten(1)
        for linear in self.chain.linears:
            x = F.linear(x, self.weights[f"{linear.name}.weight"], self.weights[f"{linear.name}.bias"])
            x = F.relu(x) if linear.rectify else x
        return x


def compiled(
    case: Case, given: Examples, rate: float = 0.05, momentum: float = 0.0, batch_size: int = 64
) -> CompiledChain:
    return CompiledChain(
        case.chain(), given.weights, given.images, given.labels, given.values, batch_size, rate, momentum
    )


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

"""A fixed network by compiled code: its logits and its gradients by the images, against torch in double precision."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.training import compiled_network
from fedsec.training.batches import Normalisation
from fedsec.training.compiled_network import CompiledNetwork
from tests.training.chains import CASES, LENET5, Case, Oracle, examples_of
from tests.training.test_compiled_chain import drawn_case


def made(case: Case, seed: int = 0) -> tuple[CompiledNetwork, Callable[[torch.Tensor], torch.Tensor]]:
    """Return a network, and what it should be."""
    given, channels = examples_of(case, seed), case.convolutions[0].channels
    normalise = Normalisation(
        tuple(0.1 + 0.2 * c for c in range(channels)), tuple(0.5 - 0.1 * c for c in range(channels))
    )
    oracle = Oracle(case.chain(), given, 0.0, 0.0)
    mean, std = (torch.tensor(values).double().view(1, -1, 1, 1) for values in (normalise.mean, normalise.std))
    return CompiledNetwork(case.chain(), given.weights, normalise), lambda x: oracle.logits((x.double() - mean) / std)


def gradients(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, factors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of images, and the gradients by them of the logits' sum with factors."""
    asked = images.clone().requires_grad_()
    logits = network(asked)
    (logits * factors).sum().backward()
    assert asked.grad is not None
    return logits.detach(), asked.grad


def assert_same(case: Case, number: int, seed: int = 0) -> None:
    network, oracle = made(case, seed)
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(number, case.convolutions[0].channels, case.height, case.width, generator=draws)
    factors = torch.randn(number, case.classes, generator=draws)
    found, expected = gradients(network, images, factors), gradients(oracle, images, factors)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(found[1].double(), expected[1].double(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("number", [1, 15, 16, 17, 50, 160])
@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_torch(case: str, number: int) -> None:
    assert_same(CASES[case], number)


@given(st.composite(drawn_case)(), st.integers(1, 70), st.integers(0, 9))
@settings(max_examples=40)
def test_so_they_are_for_any_chain(case: Case, number: int, seed: int) -> None:
    network, oracle = made(case, seed)
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(number, case.convolutions[0].channels, case.height, case.width, generator=draws)
    logits, slopes = gradients(network, images, torch.randn(number, case.classes, generator=draws))
    torch.testing.assert_close(logits.double(), oracle(images).detach(), rtol=0, atol=1e-4)
    assert slopes.isfinite().all()  # where two are equal but for rounding, pooling takes another one than torch


def test_what_went_through_before_does_not_count() -> None:
    network, _ = made(LENET5)
    images, factors = torch.rand(100, 1, 28, 28), torch.randn(100, LENET5.classes)
    before = [gradients(network, images[:number], factors[:number]) for number in (3, 40)]
    gradients(network, images, factors)
    again = [gradients(network, images[:number], factors[:number]) for number in (3, 40)]
    for one, other in zip(before, again, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_nothing_hangs_on_how_many_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    images, factors, found = torch.rand(100, 1, 28, 28), torch.randn(100, LENET5.classes), []
    for cores in (1, 2, 3, 64):
        monkeypatch.setattr(compiled_network, "workers", lambda _, cores=cores: cores)
        found.append(gradients(made(LENET5)[0], images, factors))
    assert all(torch.equal(logits, found[0][0]) and torch.equal(slopes, found[0][1]) for logits, slopes in found)


def test_gradients_are_those_of_the_last_images_or_none() -> None:
    network, _ = made(LENET5)
    first = network(torch.rand(2, 1, 28, 28, requires_grad=True))
    network(torch.rand(2, 1, 28, 28))
    with pytest.raises(RuntimeError, match="asked about other images"):
        first.sum().backward()


def test_a_copy_has_room_of_its_own() -> None:
    network, _ = made(LENET5)
    images = torch.rand(20, 1, 28, 28, requires_grad=True)
    logits, copied = network(images), copy.deepcopy(network)
    assert torch.equal(copied(torch.flip(images, (0,))), torch.flip(logits, (0,)))
    logits.sum().backward()
    assert images.grad is not None


def test_it_is_not_to_be_trained_and_does_not_keep_the_weights_it_was_given() -> None:
    given = examples_of(LENET5)
    network = CompiledNetwork(LENET5.chain(), given.weights, Normalisation((0.0,), (1.0,)))
    images = torch.rand(4, 1, 28, 28)
    before = network(images)
    for array in given.weights.values():
        array[:] = 0.0
    assert not list(network.parameters())
    assert torch.equal(network(images), before)
    assert torch.equal(copy.deepcopy(network)(images), before)


def test_numbers_that_are_none_come_out_as_such() -> None:
    network, _ = made(LENET5)
    images = torch.rand(3, 1, 28, 28)
    images[1] = torch.nan
    logits = network(images)
    assert logits[1].isnan().all()
    assert logits[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    ("shape", "said"), [((2, 3, 28, 28), "takes 1 channels"), ((2, 1, 20, 28), "takes 400 features")]
)
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(LENET5)[0](torch.rand(shape))


def test_weights_that_do_not_fit_are_refused() -> None:
    given = examples_of(LENET5)
    weights = given.weights | {"c1.weight": np.zeros((6, 1, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=r"'c1.weight' is of shape \(6, 1, 5, 5\), got \(6, 1, 3, 3\)"):
        CompiledNetwork(LENET5.chain(), weights, Normalisation((0.0,), (1.0,)))


def test_what_goes_in_need_not_lie_in_one_piece() -> None:
    network, _ = made(LENET5)
    images = torch.rand(2, 28, 28, 1).permute(0, 3, 1, 2)
    assert torch.equal(network(images), network(images.contiguous()))
    assert network(torch.empty(0, 1, 28, 28)).shape == (0, LENET5.classes)

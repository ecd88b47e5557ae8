"""A fixed network by compiled code: its logits and its gradients by the images, against torch in double precision."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.training import compiled_network
from fedsec.training.batches import Normalisation
from fedsec.training.compiled_instructions import LINE
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


def compared(case: Case, number: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return by how much each image's logits and gradients differ from torch's at most, (N,) each."""
    network, oracle = made(case, seed)
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(number, case.convolutions[0].channels, case.height, case.width, generator=draws)
    factors = torch.randn(number, case.classes, generator=draws)
    both = zip(gradients(network, images, factors), gradients(oracle, images, factors), strict=True)
    logits, slopes = ((found.double() - expected.double()).abs().flatten(1).amax(1) for found, expected in both)
    return logits, slopes


@pytest.mark.parametrize("number", [1, 15, 16, 17, 50, 160])
@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_torch(case: str, number: int) -> None:
    assert all((apart <= 2e-5).all() for apart in compared(CASES[case], number))


@given(st.composite(drawn_case)(), st.integers(1, 70), st.integers(0, 9))
@settings(max_examples=40)
def test_so_they_are_for_any_chain(case: Case, number: int, seed: int) -> None:
    logits, slopes = compared(case, number, seed)
    assert (logits <= 1e-4).all()
    # Where two are equal but for rounding, pooling may take the other one: all that this image's slopes depend on.
    assert (slopes > 1e-4).sum() <= 1 + number // 20


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


def test_cores_and_images_may_become_more_or_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = made(LENET5)
    images, factors = torch.rand(320, 1, 28, 28), torch.randn(320, LENET5.classes)
    expected = gradients(made(LENET5)[0], images, factors)
    for cores, number in ((2, 160), (4, 320), (2, 160), (1, 320), (3, 17), (64, 1)):
        monkeypatch.setattr(compiled_network, "workers", lambda _, cores=cores: cores)
        logits, slopes = gradients(network, images[:number], factors[:number])
        assert torch.equal(logits, expected[0][:number])
        assert torch.equal(slopes, expected[1][:number])


def test_answers_may_be_gone_back_through_twice_and_images_may_be_of_double_precision() -> None:
    network, _ = made(LENET5)
    images = torch.rand(20, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    logits.sum().backward(retain_graph=True)
    assert images.grad is not None
    assert images.grad.dtype == torch.float64
    once = images.grad.clone()
    logits.sum().backward()
    assert torch.equal(images.grad, 2 * once)
    torch.testing.assert_close(logits.float(), network(images.detach().float()), rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_last_images_or_none() -> None:
    network, _ = made(LENET5)
    first = network(torch.rand(2, 1, 28, 28, requires_grad=True))
    network(torch.rand(2, 1, 28, 28))
    with pytest.raises(RuntimeError, match="asked about other images"):
        first.sum().backward()


def test_a_copy_has_room_of_its_own() -> None:
    network, _ = made(LENET5)
    images = torch.rand(20, 1, 28, 28, requires_grad=True)
    expected = gradients(network, images.detach(), torch.ones(20, LENET5.classes))[1]
    for copied in (copy.deepcopy(network), copy.copy(network), pickle.loads(pickle.dumps(network))):
        logits = network(images)
        assert torch.equal(copied(torch.flip(images, (0,))), torch.flip(logits, (0,)))
        images.grad = None
        logits.sum().backward()
        assert torch.equal(images.grad, expected)
        for layer in copied._parts[0].layers.convolutions:
            assert layer.padded.ctypes.data % LINE == 0


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


def test_weights_may_lie_column_by_column() -> None:
    given, normalise = examples_of(LENET5), Normalisation((0.0,), (1.0,))
    turned = {name: np.asfortranarray(array) for name, array in given.weights.items()}
    images = torch.rand(20, 1, 28, 28)
    one, other = (CompiledNetwork(LENET5.chain(), weights, normalise)(images) for weights in (given.weights, turned))
    assert torch.equal(one, other)


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

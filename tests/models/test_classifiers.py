"""The classifiers have the published sizes, the right outputs, and weights that their seed decides."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from fedsec.models.classifiers import CLASSIFIERS, build_classifier
from fedsec.models.lenet import LeNet5
from fedsec.models.resnet import ResNet18


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_lenet_has_its_published_number_of_parameters() -> None:
    assert parameters(LeNet5()) == parameters(LeNet5(1, 28, 10)) == 61_706


def test_resnet_has_its_usual_number_of_parameters() -> None:
    assert parameters(ResNet18()) == parameters(ResNet18(3, 32, 10)) == 11_173_962


@pytest.mark.parametrize(
    ("channels", "size", "classes"), [(1, 12, 2), (1, 28, 10), (3, 32, 10), (3, 29, 7), (4, 64, 3)]
)
def test_lenet_gives_a_logit_for_each_class(channels: int, size: int, classes: int) -> None:
    assert LeNet5(channels, size, classes)(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize(("channels", "size", "classes"), [(3, 32, 10), (1, 28, 7), (2, 16, 3)])
def test_resnet_gives_a_logit_for_each_class(channels: int, size: int, classes: int) -> None:
    model = ResNet18(channels, size, classes).eval()
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize(("build", "size", "smallest"), [(LeNet5, 11, "12 x 12"), (ResNet18, 15, "16 x 16")])
def test_images_that_are_too_small_are_refused(build: type[nn.Module], size: int, smallest: str) -> None:
    with pytest.raises(ValueError, match=f"at least {smallest} pixels; got {size} x {size}"):
        build(1, size, 10)


@pytest.mark.parametrize(("name", "size"), [("lenet5", 12), ("resnet18", 16)])
def test_the_smallest_images_can_be_trained_on_one_at_a_time(name: str, size: int) -> None:
    model = build_classifier(name, 1, size, 10, seed=0).train()
    model(torch.ones(1, 1, size, size)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_seed_decides_the_weights(name: str) -> None:
    one, same, other = (build_classifier(name, 1, 28, 10, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_seed_leaves_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build_classifier(name, 1, 28, 10, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_without_a_seed_the_global_generator_decides() -> None:
    torch.manual_seed(7)
    one, other = (build_classifier("lenet5", 1, 28, 10).state_dict() for _ in range(2))
    assert not torch.equal(one["fc3.weight"], other["fc3.weight"])


def test_networks_that_are_built_in_several_threads_at_once_are_drawn_from_their_own_seeds() -> None:
    def weights(seed: int | None) -> bytes:
        model = build_classifier("lenet5", 1, 28, 10, seed=seed)
        return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())

    alone = [weights(seed) for seed in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            unseeded = [threads.submit(weights, None) for _ in range(8)]
            assert list(threads.map(weights, list(range(8)) * 4)) == alone * 4
            assert len({future.result() for future in unseeded}) == 8
    finally:
        sys.setswitchinterval(before)

"""Clients that are trained at once take the steps that each would take alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.models.classifiers import CLASSIFIERS, build_classifier
from fedsec.training import cohort
from fedsec.training.batches import Normalisation, on_device
from fedsec.training.classifier import TrainingSettings, train_classifier
from fedsec.training.cohort import Member, Trained, splits_batches, train_cohort
from fedsec.training.grouped import GroupedModel
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread
from tests.training.conftest import Network

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
SETTINGS = TrainingSettings(epochs=2, batch_size=4, learning_rate=0.02)
COUNTS = {"lenet5": (9, 4, 9, 1, 3, 11)}
"""Whole batches and odd ones, fewer examples than a batch, one, and several of a number."""

FEW = (6, 1, 6)
"""The same for networks that take long."""

Build = Callable[[], nn.Module]


normalised = Normalisation((0.5, 0.4, 0.3), (0.25, 0.3, 0.35))


@pytest.fixture(params=["compiled", "grouped"])
def trainer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What trains a small network on a CPU; the second one does so where numba is missing."""
    if request.param == "grouped":
        monkeypatch.setattr(cohort, "chain_on", lambda *_: None)
    else:
        monkeypatch.setattr(cohort, "_Cohort", None)
    return str(request.param)


def in_double(images: torch.Tensor) -> torch.Tensor:
    """Normalise to float64: in float32 an input of ReLU within rounding of zero takes another branch."""
    return normalised(images).double()


def member_of(build: Callable[..., nn.Module], count: int, seed: int, dtype: torch.dtype = torch.float64) -> Member:
    rng = np.random.default_rng(seed)
    arrays = get_arrays(build(seed=seed).to(dtype))
    images, labels = rng.integers(0, 256, (count, 3, 16, 16), np.uint8), rng.integers(0, 4, count)
    for array in (images, labels, *arrays.values()):
        array.flags.writeable = False
    return Member(list(arrays.values()), images, labels, torch.Generator().manual_seed(seed))


def alone(model: nn.Module, member: Member, normalise: Any, settings: TrainingSettings) -> Trained:
    """Train one member as a client without a grouped model does."""
    device = next(model.parameters()).device
    set_arrays(model, member.start)
    generator = member.generator.clone_state()
    with one_thread():
        examples = on_device(member.images, member.labels, device)
        loss = train_classifier(model, *examples, normalise, settings, generator, most=member.most)
    return Trained(list(get_arrays(model).values()), loss)


def together(
    model: GroupedModel, members: Sequence[Member], normalise: Any, settings: TrainingSettings, device: str = "cpu"
) -> list[Trained]:
    """Train the members at once."""
    fresh = [replace(member, generator=member.generator.clone_state()) for member in members]
    with one_thread():
        return train_cohort(model, fresh, normalise, settings, torch.device(device))


def bits(trained: Trained) -> tuple[bytes, ...]:
    return (*(array.tobytes() for array in trained.arrays), np.float64(trained.loss).tobytes())


def assert_same(one: Trained, other: Trained, atol: float) -> None:
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    for array, expected in zip(one.arrays, other.arrays, strict=True):
        assert isinstance(array, np.ndarray)
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(array, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("momentum", "most"), [(0.0, 0), (0.9, 0), (0.0, 5)], ids=["plain", "momentum", "part of the examples"]
)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_becomes_what_it_becomes_alone(name: str, momentum: float, most: int, device: str) -> None:
    settings = replace(SETTINGS, momentum=momentum)
    build = partial(build_classifier, name, 3, 16, 4)
    model = build().double().to(device)
    members = [replace(member_of(build, n, seed), most=most) for seed, n in enumerate(COUNTS.get(name, FEW))]
    expected = [alone(model, member, in_double, settings) for member in members]
    trained = together(GroupedModel(model), members, in_double, settings, device)
    for member, ours, slow in zip(members, trained, expected, strict=True):
        assert_same(ours, slow, atol=1e-6)
        assert any(not np.array_equal(array, start) for array, start in zip(ours.arrays, member.start, strict=True))


def test_batchnorm_counts_the_batches_of_each_member() -> None:
    build = partial(build_classifier, "resnet18", 3, 16, 4)
    members = [member_of(build, count, seed, torch.float32) for seed, count in enumerate((5, 1))]
    model = GroupedModel(build())
    trained = together(model, members, normalised, SETTINGS)
    counters = [place for place, name in enumerate(model.names) if name.endswith("num_batches_tracked")]
    assert len(counters) == 20
    for of_one, steps in zip(trained, (4, 2), strict=True):
        assert {(int(of_one.arrays[place]), str(of_one.arrays[place].dtype)) for place in counters} == {
            (steps, "int64")
        }


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_few_steps_of_lenet_in_single_precision_differ_by_rounding(momentum: float, trainer: str) -> None:
    build = partial(build_classifier, "lenet5", 3, 16, 4)
    members = [member_of(build, count, seed, torch.float32) for seed, count in enumerate((10, 7, 8))]
    settings = replace(SETTINGS, epochs=1, momentum=momentum)
    expected = [alone(build(), member, normalised, settings) for member in members]
    trained = together(GroupedModel(build()), members, normalised, settings)
    for ours, slow in zip(trained, expected, strict=True):
        assert_same(ours, slow, atol=1e-6)


def simple(
    forward: Callable[[Any, torch.Tensor], Any] = lambda net, x: net.f(x.flatten(1)), **more: nn.Module
) -> Build:
    """Return how a small network is built, of one linear layer and whatever is added."""

    def build(seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return Network(forward, **more, f=nn.Linear(768, 4))

    return build


def lenets(counts: Sequence[int], dtype: torch.dtype = torch.float32) -> tuple[GroupedModel, list[Member]]:
    build = partial(build_classifier, "lenet5", 3, 16, 4)
    return GroupedModel(build()), [member_of(build, count, seed, dtype) for seed, count in enumerate(counts)]


def test_a_weight_that_the_network_does_not_use_stays_as_it_is() -> None:
    build = simple(unused=nn.Linear(2, 2))
    member = member_of(build, 6, 0)
    settings = replace(SETTINGS, momentum=0.5)
    [trained] = together(GroupedModel(build().double()), [member], in_double, settings)
    assert_same(trained, alone(build().double(), member, in_double, settings), atol=1e-9)


def test_a_frozen_weight_stays_as_it_is() -> None:
    model = simple(lambda net, x: net.f(net.c(x).flatten(1)), c=nn.Conv2d(3, 3, 1))().double()
    model.get_submodule("c").weight.requires_grad = False
    member = member_of(lambda seed: model, 6, 0)
    [trained] = together(GroupedModel(model), [member], in_double, SETTINGS)
    assert_same(trained, alone(model, member, in_double, SETTINGS), atol=1e-9)
    frozen = list(model.state_dict()).index("c.weight")
    assert np.array_equal(trained.arrays[frozen], member.start[frozen])


def test_arrays_of_another_precision_become_the_network_s(trainer: str) -> None:
    model, members = lenets([5], torch.float64)
    [trained] = together(model, members, normalised, SETTINGS)
    assert {str(array.dtype) for array in trained.arrays} == {"float32"}


def test_what_is_not_a_number_stays_in_its_lane(trainer: str) -> None:
    model, members = lenets([6, 6, 6])
    [before, _, after] = together(model, members, normalised, SETTINGS)
    broken = [np.full_like(array, np.nan) for array in members[1].start]
    members[1] = replace(members[1], start=broken)
    trained = together(model, members, normalised, SETTINGS)
    for untouched, now in ((before, trained[0]), (after, trained[2])):
        assert bits(untouched) == bits(now)
    assert np.isnan(trained[1].loss)
    assert all(np.isnan(array).all() for array in trained[1].arrays[-2:])


def test_the_part_of_the_examples_that_is_drawn_is_the_same_by_either_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, members = lenets([9, 4])
    members = [replace(member, most=5) for member in members]
    settings = replace(SETTINGS, momentum=0.9)
    compiled = together(model, members, normalised, settings)
    monkeypatch.setattr(cohort, "chain_on", lambda *_: None)
    for ours, grouped in zip(compiled, together(model, members, normalised, settings), strict=True):
        assert_same(ours, grouped, atol=1e-5)


def test_a_label_that_is_no_class_is_refused(trainer: str) -> None:
    model, [member] = lenets([5])
    with pytest.raises((ValueError, IndexError), match=r"labels are 0 to 3, got \d to 4|Target 4 is out of bounds"):
        together(model, [replace(member, labels=np.array([0, 1, 2, 3, 4]))], normalised, SETTINGS)


def test_another_optimiser_is_refused() -> None:
    model, members = lenets([3])
    with pytest.raises(ValueError, match="a cohort is trained by 'sgd', got 'adam'"):
        together(model, members, normalised, replace(SETTINGS, optimiser="adam"))


def test_members_without_examples_are_refused() -> None:
    model, members = lenets([3, 0])
    with pytest.raises(ValueError, match="every member of a cohort must have examples"):
        together(model, members, normalised, SETTINGS)


def test_batches_are_split_on_a_cpu_where_no_batchnorm_needs_them_whole() -> None:
    plain, normed = (GroupedModel(build_classifier(name, 3, 16, 4)) for name in ("lenet5", "resnet18"))
    assert splits_batches(plain, torch.device("cpu"))
    assert not splits_batches(normed, torch.device("cpu"))
    assert not splits_batches(plain, torch.device("cuda"))

"""Public data: every class or a refusal, mixed classes, networks of their own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.inspectors.public import MIXED, PublicData, PublicDataError
from fedsec.training.parameters import get_arrays
from tests.backdoored import NORMALISE, digits, network, public, trained


def of_labels(labels: np.ndarray, num_classes: int = 10) -> PublicData:
    images = np.zeros((len(labels), 1, 28, 28), np.uint8)
    images[:, 0, 0, 0] = labels
    return PublicData(network(), images, labels, num_classes, NORMALISE, torch.device("cpu"))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.arange(9), "9 images with 9 of 10 classes"),
        (np.zeros(50, np.int64), "50 images with 1 of 10 classes"),
        (np.zeros(0, np.int64), "0 images with 0 of 10 classes"),
        (np.arange(11), "11 images with 11 of 10 classes"),
    ],
)
def test_a_class_without_an_image_or_beyond_the_last_is_refused(labels: np.ndarray, found: str) -> None:
    with pytest.raises(PublicDataError, match=found):
        of_labels(labels)


def test_images_and_labels_must_be_as_many() -> None:
    with pytest.raises(PublicDataError, match="and its label"):
        replace(public(), labels=public().labels[:-1])


def test_one_image_of_each_class_is_enough() -> None:
    assert len(of_labels(np.arange(10)).labels) == 10


def test_images_that_are_sorted_by_class_are_mixed_with_their_labels() -> None:
    data = of_labels(np.repeat(np.arange(10), 300))
    assert data.labels[:12].tolist() == [*range(10), 0, 1]
    assert np.array_equal(data.images[:, 0, 0, 0], data.labels)
    _, labels = data.pixels(MIXED)
    assert np.bincount(labels).tolist() == [MIXED // 10] * 10


def test_images_that_are_mixed_keep_their_order() -> None:
    images, labels = digits("train")
    assert np.array_equal(public().images, images[:500])
    assert np.array_equal(public().labels, labels[:500])


def test_pixels_lie_between_0_and_1_and_are_copies() -> None:
    data = public()
    images, labels = data.pixels(30)
    assert (images.shape, labels.shape) == ((30, 1, 28, 28), (30,))
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy() * 255, data.images[:30], atol=1e-4)
    images.zero_()
    labels.zero_()
    assert data.images[:30].any()
    assert data.labels[:30].any()


def test_a_loaded_network_is_a_copy_that_normalises_for_itself() -> None:
    data, arrays = public(), get_arrays(trained(False).network)
    loaded, before = data.load(arrays), get_arrays(data.network)
    images, labels = data.pixels()
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images), trained(False)(images))
        next(loaded.parameters()).zero_()
    assert all(np.array_equal(array, before[name]) for name, array in get_arrays(data.network).items())
    again = data.arrays_of(data.load(arrays))
    assert list(again) == list(arrays)
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())
    assert len(labels) == 500


@pytest.mark.parametrize("compiled", [True, False])
def test_a_fixed_network_answers_the_same_and_is_not_trained_but_has_gradients_by_its_images(compiled: bool) -> None:
    data, arrays = public(), get_arrays(trained(False).network)
    if not compiled:
        object.__setattr__(data, "chain", None)
    fixed = data.fixed(arrays)
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    images = data.pixels(20)[0]
    answers, slopes = [], []
    for net in (fixed, data.load(arrays).eval()):
        asked = images.clone().requires_grad_()
        answers.append(net(asked))
        answers[-1][:, 3].sum().backward()
        slopes.append(asked.grad)
    torch.testing.assert_close(*answers, rtol=0, atol=1e-4)
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-4)

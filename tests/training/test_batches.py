"""Batches cover every example once, and normalisation is what its definition says."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.training.batches import Normalisation, epoch_order, on_device, shuffled_batches


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**62))
@settings(max_examples=50)
def test_batches_cover_every_example_once_with_its_label(count: int, batch_size: int, seed: int) -> None:
    images = torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    batches = list(shuffled_batches(images, torch.arange(count), batch_size, seeded(seed)))
    sizes = [len(labels) for _, labels in batches]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= batch_size
    assert torch.cat([labels for _, labels in batches]).sort().values.tolist() == list(range(count))
    assert all(torch.equal(chosen.flatten(), labels) for chosen, labels in batches)


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 2**62))
@settings(max_examples=50)
def test_an_epoch_may_take_fewer_examples_others_each_time(count: int, most: int, seed: int) -> None:
    generator = seeded(seed)
    epochs = [epoch_order(count, most, generator).tolist() for _ in range(40)]
    assert {len(epoch) for epoch in epochs} == {min(count, most or count)}
    assert all(len(set(epoch)) == len(epoch) for epoch in epochs)
    if 0 < most < count <= 10:
        assert {example for epoch in epochs for example in epoch} == set(range(count))


def test_the_generator_decides_the_order_and_the_next_pass_has_another() -> None:
    images, labels = torch.zeros(30, 1, 1, 1), torch.arange(30)
    generator = seeded(1)
    first, second = (next(iter(shuffled_batches(images, labels, 30, generator)))[1] for _ in range(2))
    again = next(iter(shuffled_batches(images, labels, 30, seeded(1))))[1]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@given(st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30)
def test_normalisation_is_minus_mean_by_deviation_of_the_full_range(channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, channels, 5, 6), np.uint8)
    mean, std = rng.uniform(0.1, 0.9, channels), rng.uniform(0.1, 0.5, channels)
    normalised = Normalisation(tuple(mean), tuple(std))(torch.from_numpy(images))
    expected = (images / 255 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
    np.testing.assert_allclose(normalised.numpy(), expected, atol=1e-5)
    assert normalised.dtype == torch.float32
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_leaves_the_bytes_alone() -> None:
    images = torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)
    Normalisation((0.5,), (0.5,))(images)
    assert torch.all(images == 7)


def test_tensors_are_copies_of_arrays_that_may_be_read_only() -> None:
    images, labels = np.ones((2, 1, 3, 3), np.uint8), np.array([0, 1])
    images.flags.writeable = labels.flags.writeable = False
    tensors = on_device(images, labels, torch.device("cpu"))
    for tensor in tensors:
        tensor += 1
    assert images.max() == 1
    assert labels.tolist() == [0, 1]
    assert [tensor.dtype for tensor in tensors] == [torch.uint8, torch.int64]

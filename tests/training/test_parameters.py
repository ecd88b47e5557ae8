"""A model's arrays go out and come back unchanged."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.models.classifiers import build_classifier
from fedsec.training.parameters import get_arrays, set_arrays


def normed() -> nn.Module:
    """Return a model with BatchNorm whose buffers are no longer the initial ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    model.to(memory_format=torch.channels_last)
    model(torch.randn(5, 2, 4, 4))
    return model


def test_arrays_carry_names_shapes_dtypes_and_buffers() -> None:
    model = normed()
    arrays, state = get_arrays(model), model.state_dict()
    assert list(arrays) == list(state)
    assert all(arrays[key].shape == tuple(state[key].shape) for key in state)
    assert arrays["1.num_batches_tracked"].dtype == np.int64
    assert arrays["1.num_batches_tracked"] == 1
    assert arrays["1.running_mean"].any()
    assert {array.dtype for key, array in arrays.items() if "num_batches" not in key} == {np.dtype(np.float32)}
    assert all(array.flags.c_contiguous and array.flags.owndata for array in arrays.values())


@pytest.mark.parametrize("name", ["lenet5", "resnet18"])
def test_what_is_set_is_what_is_got(name: str) -> None:
    one, other = (build_classifier(name, 1, 16, 3, seed=seed) for seed in (1, 2))
    other.to(memory_format=torch.channels_last)
    sent = get_arrays(one)
    set_arrays(other, list(sent.values()))
    for key, array in get_arrays(other).items():
        assert array.tobytes() == sent[key].tobytes()
        assert array.dtype == sent[key].dtype


def test_buffers_of_batch_norm_come_along() -> None:
    model, fresh = normed(), nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    set_arrays(fresh, list(get_arrays(model).values()))
    images = torch.randn(4, 2, 4, 4)
    torch.testing.assert_close(fresh.eval()(images), model.eval()(images))
    assert fresh[1].num_batches_tracked.dtype == torch.int64


def test_arrays_are_copies_both_ways() -> None:
    model = normed()
    before = get_arrays(model)
    given = [array.copy() for array in before.values()]
    set_arrays(model, given)
    for array in (*given, *get_arrays(model).values()):
        array[...] = 99
    assert all(np.array_equal(array, before[key]) for key, array in get_arrays(model).items())


def test_read_only_arrays_and_other_dtypes_are_taken() -> None:
    model = normed()
    arrays = [array.astype(np.float64) for array in get_arrays(model).values()]
    for array in arrays:
        array.flags.writeable = False
    set_arrays(model, arrays)
    assert model[1].num_batches_tracked.dtype == torch.int64
    assert model[0].weight.dtype == torch.float32


def test_a_wrong_number_of_arrays_is_refused() -> None:
    arrays = list(get_arrays(normed()).values())
    for wrong in (arrays[:-1], [*arrays, arrays[0]], []):
        with pytest.raises(ValueError, match=f"the model has {len(arrays)} arrays; got {len(wrong)}"):
            set_arrays(normed(), wrong)


@pytest.mark.parametrize("shape", [(3,), (1,), (), (2, 1)])
def test_a_wrong_shape_is_refused_by_name(shape: tuple[int, ...]) -> None:
    arrays = list(get_arrays(normed()).values())
    arrays[-1] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"array '3.bias' must have shape \(2,\); got " + re.escape(str(shape))):
        set_arrays(normed(), arrays)

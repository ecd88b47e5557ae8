"""What a client keeps is all that its next round needs, and anything else is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.models.dcgan import DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from
from fedsec.tensors import read_tensors, write_tensors
from fedsec.training.federated_gan import FederatedGanSettings, new_local_pair, train_locally
from fedsec.training.federated_gan_pair import LocalPair
from fedsec.training.federated_gan_state import StateMismatchError, from_arrays, to_arrays
from fedsec.training.parameters import get_arrays, set_arrays
from fedsec.training.threads import one_thread

MIN_MAX = FederatedGanSettings(batch_size=4, precision="float32")
WGAN_GP = replace(MIN_MAX, loss="wgan-gp")
AUGMENTED = replace(MIN_MAX, augment="ada", batch_size=5)  # three batches are observed and one is still missing


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Keep torch to one thread, as clients do."""
    with one_thread():
        yield


def new_pair(settings: FederatedGanSettings, draws: int = 7, weights: int = 0, width: int = 4) -> LocalPair:
    norm: Any = "batch" if settings.loss == "min-max" else "instance"
    with drawn_from(weights):
        networks = DcganGenerator(3, 16, 6, 4), DcganDiscriminator(3, 16, width, norm)
    return new_local_pair(*networks, 6, settings, torch.Generator().manual_seed(draws), torch.device("cpu"))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


def train(pair: LocalPair, images: torch.Tensor) -> None:
    train_locally(pair, images, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [MIN_MAX, WGAN_GP, AUGMENTED], ids=["min-max", "wgan-gp", "augmented"])
def test_a_pair_goes_on_from_its_state_as_if_it_had_never_stopped(
    settings: FederatedGanSettings, images: torch.Tensor, tmp_path: Path
) -> None:
    whole = new_pair(settings)
    if whole.augmentation:
        whole.augmentation.p = 0.5
    train(whole, images)
    write_tensors(tmp_path / "state", to_arrays(whole), {})
    generator = list(get_arrays(whole.generator).values())
    whole.draws.manual_seed(8)
    train(whole, images)

    resumed = new_pair(settings, draws=8, weights=5)
    set_arrays(resumed.generator, generator)
    from_arrays(resumed, read_tensors(tmp_path / "state")[0])
    train(resumed, images)
    ours, theirs = (to_arrays(pair) | get_arrays(pair.generator) for pair in (whole, resumed))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_the_state_is_what_the_server_does_not_send(images: torch.Tensor) -> None:
    pair = new_pair(MIN_MAX)
    train(pair, images)
    arrays = to_arrays(pair)
    parts = {name: name.split(".")[0] for name in arrays}
    assert set(parts.values()) == {"discriminator", "discriminator-optimiser", "generator-optimiser"}
    assert arrays["generator-optimiser.layers.0.weight.step"] == 4
    assert arrays["discriminator.layers.3.num_batches_tracked"] == 4 * 3
    before = {name: array.copy() for name, array in arrays.items()}
    train(pair, images)
    assert all((arrays[name] == before[name]).all() for name in arrays)


def test_a_pair_that_never_stepped_has_a_discriminator_only(images: torch.Tensor) -> None:
    arrays = to_arrays(new_pair(MIN_MAX))
    assert all(name.startswith("discriminator.") for name in arrays)
    pair = new_pair(MIN_MAX, weights=5)
    train(pair, images)
    from_arrays(pair, arrays)
    assert to_arrays(pair).keys() == arrays.keys()


def _without(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key: array for key, array in arrays.items() if key != name}


def test_what_is_no_state_of_the_pair_is_refused_and_the_pair_stays(images: torch.Tensor) -> None:
    pair = new_pair(MIN_MAX)
    train(pair, images)
    arrays = to_arrays(pair)
    moment, weight = "generator-optimiser.layers.0.weight.exp_avg", "discriminator.layers.0.weight"
    other = new_pair(WGAN_GP)
    train(other, images)
    wider = new_pair(MIN_MAX, width=8)
    train(wider, images)
    for wrong, message in (
        (arrays | {"more": np.zeros(3)}, "'more' is none of this pair's state"),
        (arrays | {weight: np.zeros(3)}, r"weight' must have shape \(4, 3, 4, 4\); got \(3,\)"),
        (_without(arrays, weight), f"'{weight}' is missing; got {len(arrays) - 1} of {len(arrays)} arrays"),
        (_without(arrays, moment), f"'{moment}' is missing"),
        ({}, "'discriminator.layers.0.bias' is missing; got 0 of"),
        (arrays | {"augmentation": np.zeros(3)}, "'augmentation' is none of this pair's state"),
        (to_arrays(other), "is none of this pair's state"),
        (to_arrays(wider), "must have shape"),
    ):
        with pytest.raises(StateMismatchError, match=message):
            from_arrays(pair, wrong)
        now = to_arrays(pair)
        assert all((now[name] == arrays[name]).all() for name in arrays)

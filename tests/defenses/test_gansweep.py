"""GangSweep finds the class of a backdoor by small perturbations, and trains it away with them."""

from functools import lru_cache

import numpy as np
import torch

from fedsec.defenses.gansweep import (
    Generators,
    Shifts,
    SweepOptions,
    flag_classes,
    measure_shifts,
    sweep,
    train_generators,
)
from fedsec.models.drawing import drawn_from
from tests.backdoored import TARGET, measured, public, trained

OPTIONS = SweepOptions(steps=150, epochs=4)


def new_generators() -> Generators:
    with drawn_from(0):
        return Generators(1, 28, 10)


@lru_cache
def trained_generators(backdoor: bool) -> Generators:
    generators = new_generators()
    train_generators(generators, trained(backdoor), public().pixels()[0], torch.Generator().manual_seed(0), OPTIONS)
    return generators


def shifts_of(*norms: float, success: float = 100.0) -> Shifts:
    return Shifts(np.full(len(norms), success), np.array(norms), np.ones(len(norms)), np.ones(len(norms)))


def test_class_of_a_backdoor_is_flagged_and_its_shifts_vary_least() -> None:
    shifts = measure_shifts(trained_generators(True), trained(True), *public().pixels())
    assert flag_classes(shifts, OPTIONS).targets == (TARGET,)
    assert shifts.variance.argmin() == TARGET
    assert shifts.success.min() > 80.0


def test_clean_network_has_no_flagged_class() -> None:
    flags = flag_classes(measure_shifts(trained_generators(False), trained(False), *public().pixels()), OPTIONS)
    assert flags.targets == ()
    assert flags.converged


def test_sweeping_takes_the_backdoor_and_leaves_the_accuracy() -> None:
    network, draws = trained(True), torch.Generator().manual_seed(0)
    accuracy, success = measured(network)
    sweep(network, trained_generators(True), [TARGET], *public().pixels(), draws, OPTIONS)
    swept_accuracy, swept_success = measured(network)
    assert success > 95.0
    assert swept_success < 20.0
    assert swept_accuracy > accuracy - 5.0


def test_same_seeds_give_the_same_perturbations() -> None:
    images, made = public().pixels()[0], []
    for _ in range(2):
        generators = new_generators()
        train_generators(generators, trained(True), images, torch.Generator().manual_seed(3), SweepOptions(steps=3))
        made.append(generators(images[:5]))
    assert torch.equal(*made)


def test_perturbed_images_stay_images() -> None:
    with torch.no_grad():
        perturbed = trained_generators(True)(public().pixels()[0][:7])
    assert perturbed.shape == (7, 10, 1, 28, 28)
    assert 0.0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1.0


def test_shifts_by_hand() -> None:
    """Two pixels, two classes: the network's logits are the pixels, so that they are the features as well."""
    images, labels = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]).view(3, 1, 1, 2), torch.tensor([0, 0, 1])

    class Swap(Generators):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.shape = (2, 1, 1, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flip(3).unsqueeze(1).expand(-1, 2, -1, -1, -1)

    shifts = measure_shifts(Swap(), torch.nn.Flatten(), images, labels)
    # To class 1 the first two images move by (-0.6, 0.6) and (-0.2, 0.2): on the mean by (-0.4, 0.4), length^2 0.32;
    # both lie 0.08 from it.
    np.testing.assert_allclose(shifts.norm[1], (1.2 + 0.4) / 2, rtol=1e-5)
    np.testing.assert_allclose(shifts.distance[1] ** 2, 0.32, rtol=1e-5)
    np.testing.assert_allclose(shifts.variance[1], 0.08 / 0.32, rtol=1e-5)
    np.testing.assert_array_equal(shifts.success, [100.0, 100.0])


def test_small_norm_alone_is_flagged_by_hand() -> None:
    assert flag_classes(shifts_of(4.0, 9.0, 10.0, 11.0, 30.0), OPTIONS).targets == (0,)


def test_where_few_classes_are_reached_nothing_is_flagged() -> None:
    flags = flag_classes(shifts_of(4.0, 9.0, 10.0, 11.0, 30.0, success=50.0), OPTIONS)
    assert flags.targets == ()
    assert not flags.converged


def test_batchnorm_stays_as_it_is_while_a_network_is_swept() -> None:
    images, labels = public().pixels()
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, stride=4), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    draws = torch.Generator().manual_seed(0)
    sweep(network, new_generators(), [1, 2], images[:64], labels[:64], draws, SweepOptions(epochs=1))
    kept = [name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])]
    assert kept == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]

"""Recovery finds the target of a backdoor, leaves the model as it was, and finds none where there is none."""

import copy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.recovery import (
    NEEDED,
    Recovery,
    RecoveryOptions,
    TriggerGenerator,
    judge,
    recover,
)
from fedsec.defenses.gancrop.trigger import RecoveredTrigger, overlap
from fedsec.training.parameters import get_arrays
from tests.backdoored import TARGET, TRIGGER, public, trained

OPTIONS = RecoveryOptions(steps=300, batch_size=8)


def maker(seed: int = 0) -> TriggerGenerator:
    return TriggerGenerator((1, 28, 28), 10, torch.Generator().manual_seed(seed))


@lru_cache
def recovered(backdoor: bool) -> tuple[Recovery, TriggerGenerator]:
    generator, draws = maker(), torch.Generator().manual_seed(1)
    found = recover(trained(backdoor), *public().pixels(), generator, OPTIONS, draws, trained(False))
    return found, generator


def made(target: int, size: float, success: float = 99.0, before: float = 5.0) -> RecoveredTrigger:
    mask = np.full((28, 28), size / 784, np.float32)
    return RecoveredTrigger(target, mask, np.ones((1, 28, 28), np.float32), success, before)


def triggers(*sizes: float, **of_first: float) -> list[RecoveredTrigger]:
    rest = [made(target, size) for target, size in enumerate(sizes)][1:]
    return [made(0, sizes[0], **of_first), *(RecoveredTrigger(t.target, t.mask, t.pattern, 99.0, 99.0) for t in rest)]


def test_the_target_of_a_backdoor_is_found_with_a_small_mask_where_the_trigger_is() -> None:
    found, _ = recovered(True)
    assert found.target == TARGET
    trigger = found.triggers[TARGET]
    assert trigger.success > 90.0
    assert trigger.before < 50.0
    assert trigger.size == min(one.size for one in found.triggers if one.success >= NEEDED)
    true = TRIGGER.mask
    assert trigger.mask[true].mean() > 5 * trigger.mask[~true].mean()
    assert overlap(trigger.mask, true, 0.3) > 0.1


def test_a_clean_model_has_no_target() -> None:
    assert recovered(False)[0].target is None


def test_masks_and_patterns_lie_between_0_and_1_whatever_the_noise_and_the_shape() -> None:
    for shape in ((3, 32, 32), (1, 8, 8), (2, 13, 29)):
        generator = TriggerGenerator(shape, 4, torch.Generator().manual_seed(0))
        masks, patterns = generator(100 * torch.randn(4, generator.latent), torch.arange(4))
        assert masks.shape == (4, *shape[1:])
        assert patterns.shape == (4, *shape)
        for part in (masks, patterns):
            assert part.min() >= 0.0
            assert part.max() <= 1.0


def test_the_suspect_stays_as_it_was_and_the_same_draws_find_the_same() -> None:
    network, quick = trained(True), RecoveryOptions(steps=3)
    before = get_arrays(network)
    draws = [torch.Generator().manual_seed(5) for _ in range(2)]
    one, two = (recover(network, *public().pixels(), maker(), quick, draw) for draw in draws)
    for first, second in zip(one.triggers, two.triggers, strict=True):
        assert np.array_equal(first.mask, second.mask)
        assert np.array_equal(first.pattern, second.pattern)
    assert all(np.array_equal(array, before[name]) for name, array in get_arrays(network).items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_a_recovery_goes_on_from_an_earlier_one_with_few_steps() -> None:
    generator, draws = copy.deepcopy(recovered(True)[1]), torch.Generator().manual_seed(2)
    few = replace(OPTIONS, steps=10)
    assert recover(trained(True), *public().pixels(), generator, few, draws, trained(False)).target == TARGET
    assert recover(trained(True), *public().pixels(), maker(), few, draws, trained(False)).target is None


def test_a_class_stands_out_by_a_mask_that_fools_the_suspect_and_not_the_trusted_model() -> None:
    assert judge(triggers(10.0, 60.0, 62.0, 58.0, 61.0), 2.0).target == 0
    assert judge(triggers(10.0, 60.0, 62.0, 58.0, 61.0, before=float("nan")), 2.0).target == 0  # none is trusted
    assert judge(triggers(160.0, 165.0, 162.0, 158.0, 161.0, before=99.0), 2.0).target is None


def test_a_class_that_is_tried_alone_stands_out_by_what_it_fools() -> None:
    for size in (10.0, 160.0):  # of 784: a pattern over all of the image is large, and stood out by its size before
        assert judge([made(6, size)], 2.0).target == 6
        assert judge([made(6, size, before=90.0)], 2.0).target is None
        assert judge([made(6, size, success=NEEDED - 1)], 2.0).target is None


def test_a_mask_means_nothing_where_it_fools_too_few_or_takes_most_of_the_image() -> None:
    assert judge(triggers(10.0, 60.0, 62.0, 58.0, 61.0, success=NEEDED - 1), 2.0).target is None
    assert judge(triggers(700.0, 740.0, 742.0, 738.0, 741.0), 2.0).target is None


@pytest.mark.parametrize("only", [None, 0], ids=["every class", "class 0"])
def test_nan_from_the_suspect_is_no_target_and_no_error(only: int | None) -> None:
    network, draws = trained(True), torch.Generator().manual_seed(0)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    found = recover(network, *public().pixels(), maker(), RecoveryOptions(steps=2), draws, only=only)
    assert found.triggers[0].success == 100.0  # NaN is taken for class 0, whatever is stamped
    assert np.isnan(found.triggers[0].size)
    assert found.target is None


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_enough(classes: int) -> None:
    images, labels = public().pixels()
    few = labels < classes
    generator = TriggerGenerator((1, 28, 28), classes, torch.Generator().manual_seed(0))

    class Part(torch.nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(trained(False)(given)[:, :classes])

    draws = torch.Generator().manual_seed(0)
    found = recover(Part(), images[few], labels[few], generator, RecoveryOptions(steps=2), draws)
    assert len(found.triggers) == classes

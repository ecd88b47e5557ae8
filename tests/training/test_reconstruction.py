"""The adversary's generator against a fixed model: equation 2 read aloud, and a state that goes on where it ended."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedsec.models.drawing import drawn_from
from fedsec.models.reconstruction import ReconstructionClassifier
from fedsec.training.classifier import TrainingSettings, get_momentum, new_optimiser, set_momentum, train_classifier
from fedsec.training.parameters import get_arrays
from fedsec.training.reconstruction import (
    Forger,
    ReconstructionSettings,
    StateMismatchError,
    forge,
    from_arrays,
    new_forger,
    to_arrays,
    train_forger,
)
from tests.training.conftest import Problem

SETTINGS = ReconstructionSettings(victim=2, updates=3, batch_size=4, learning_rate=0.01)
SHAPE = (1, 8, 8)


def forger(seed: int = 0) -> Forger:
    return new_forger(SHAPE, SETTINGS.learning_rate, seed, torch.device("cpu"))


def discriminator() -> ReconstructionClassifier:
    with drawn_from(1):
        return ReconstructionClassifier(1, 8, 3)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_updates_are_equation_2_read_aloud() -> None:
    ours, slow, judge = forger(), forger(), discriminator()
    loss = train_forger(ours, judge, SETTINGS, draws())
    rng, losses = draws(), []
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in slow.generator.parameters()}
    noise = torch.rand(12, 100, generator=rng) * 2 - 1
    for step in (1, 2, 3):
        z = noise[4 * step - 4 : 4 * step]
        objective = torch.log(F.softmax(judge(slow.generator(z)), 1)[:, 2]).mean()  # which is to grow
        losses.append(-float(objective.detach()))
        parameters = list(slow.generator.parameters())
        for parameter, slope in zip(parameters, torch.autograd.grad(-objective, parameters), strict=True):
            m, v = moments[parameter]
            m.mul_(0.5).add_(0.5 * slope)
            v.mul_(0.999).add_(0.001 * slope**2)
            with torch.no_grad():
                parameter -= 0.01 * (m / (1 - 0.5**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-7)
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
    for name, array in get_arrays(slow.generator).items():
        np.testing.assert_allclose(get_arrays(ours.generator)[name], array, rtol=1e-3, atol=2e-4)


def test_a_smooth_attack_is_equation_2_and_total_variation_read_aloud_on_shifted_images() -> None:
    settings = replace(SETTINGS, updates=1, total_variation=0.7, jitter=2)
    ours, slow, judge = forger(), forger(), discriminator()
    loss = train_forger(ours, judge, settings, draws())
    rng = draws()
    z = torch.rand(4, 100, generator=rng) * 2 - 1
    down, across = torch.randint(-2, 3, (1, 2), generator=rng)[0].tolist()
    assert (down, across) != (0, 0)
    images = slow.generator(z)
    rows = [[min(max(y - down, 0), 7) for _ in range(8)] for y in range(8)]
    columns = [[min(max(x - across, 0), 7) for x in range(8)] for _ in range(8)]
    seen = images[:, :, torch.tensor(rows), torch.tensor(columns)]
    fooled = -torch.log(F.softmax(judge(seen), 1)[:, 2]).mean()
    rough = torch.stack([abs(images[:, :, y] - images[:, :, y + 1]) for y in range(7)]).mean()
    rough = rough + torch.stack([abs(images[..., x] - images[..., x + 1]) for x in range(7)]).mean()
    (fooled + 0.7 * rough).backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(float(fooled.detach()), rel=1e-4)
    for name, parameter in slow.generator.named_parameters():
        assert parameter.grad is not None
        expected = parameter.detach() - 0.01 * parameter.grad / (parameter.grad.abs() + 1e-7)  # Adam's first step
        large = parameter.grad.abs() > 1e-4  # where rounding does not decide the sign
        found = torch.from_numpy(get_arrays(ours.generator)[name])
        np.testing.assert_allclose(found[large], expected[large], atol=1e-4)


def test_the_discriminator_stays_as_it_is_and_can_be_trained_again() -> None:
    judge = discriminator()
    before = get_arrays(judge)
    train_forger(forger(), judge, SETTINGS, draws())
    for name, array in get_arrays(judge).items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in judge.parameters())


def test_a_fixed_model_comes_to_take_what_is_generated_for_the_victim_s() -> None:
    ours, judge = forger(), discriminator()
    train_forger(ours, judge, ReconstructionSettings(2, updates=60, learning_rate=0.01), draws())
    made = torch.from_numpy(forge(ours, 20, draws(1))).float() / 127.5 - 1
    assert (judge(made).argmax(1) == 2).all()


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, total_variation=1.0, jitter=2)])
def test_what_is_kept_goes_on_where_it_ended(settings: ReconstructionSettings) -> None:
    straight, judge = forger(), discriminator()
    kept = []
    for seed in (0, 1):
        train_forger(straight, judge, settings, draws(seed))
        kept.append(to_arrays(straight))
    resumed = forger(seed=5)
    from_arrays(resumed, kept[0])
    train_forger(resumed, judge, settings, draws(1))
    for name, array in to_arrays(resumed).items():
        np.testing.assert_array_equal(array, kept[1][name])


def test_images_are_a_function_of_generator_and_noise() -> None:
    first, again, other = forge(forger(), 5, draws()), forge(forger(), 5, draws()), forge(forger(), 5, draws(1))
    assert (first.shape, first.dtype) == ((5, 1, 8, 8), np.uint8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_a_state_of_another_generator_is_refused_and_changes_nothing(damage: str) -> None:
    ours, judge = forger(), discriminator()
    train_forger(ours, judge, SETTINGS, draws())
    kept, before = to_arrays(ours), to_arrays(ours)
    if damage == "missing":
        del kept["optimiser.dense.bias.step"]
    elif damage == "unknown":
        kept["generator.more"] = np.zeros(1)
    else:
        kept["generator.dense.bias"] = np.zeros(3)
    with pytest.raises(StateMismatchError, match={"missing": "step", "unknown": "more", "shape": "must have"}[damage]):
        from_arrays(ours, kept)
    for name, array in to_arrays(ours).items():
        np.testing.assert_array_equal(array, before[name])


def test_adam_learns_and_its_moments_can_be_kept(problem: Problem) -> None:
    images, labels, normalise = problem
    settings = TrainingSettings(4, 8, 0.005, optimiser="adam")
    with drawn_from(0):
        model = ReconstructionClassifier(1, 12, 4)
    optimiser = new_optimiser(model, settings)
    assert optimiser.defaults["betas"] == (0.5, 0.999)
    assert optimiser.defaults["eps"] == 1e-7
    first = train_classifier(model, images, labels, normalise, settings, draws(), optimiser)
    kept = get_momentum(model, optimiser)
    assert kept.keys() == {
        f"{n}.{key}" for n, _ in model.named_parameters() for key in ("step", "exp_avg", "exp_avg_sq")
    }
    again = new_optimiser(model, settings)
    set_momentum(model, again, kept)
    for name, array in get_momentum(model, again).items():
        np.testing.assert_array_equal(array, kept[name])
    assert train_classifier(model, images, labels, normalise, settings, draws(), again) < first
    with pytest.raises(ValueError, match=r"momentum 'fc1\.bias' of shape"):
        set_momentum(model, again, {"fc1.bias": np.zeros(200)})

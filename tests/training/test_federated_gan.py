"""A client's epoch shows every image once, reports what was chosen, repeats, and says when it diverged."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from fedsec.models.dcgan import DcganDiscriminator, DcganGenerator
from fedsec.models.drawing import drawn_from
from fedsec.models.stylegan2 import StyleGan2Generator
from fedsec.training import federated_gan
from fedsec.training.federated_gan import (
    FederatedGanSettings,
    LocalLosses,
    epoch_batches,
    loss_of_generator,
    new_local_pair,
    train_locally,
)
from fedsec.training.federated_gan_augmentation import Augmentation
from fedsec.training.federated_gan_pair import LocalPair, Loss, Reported
from fedsec.training.federated_gan_steps import local_step
from fedsec.training.gan import GanFailedError
from fedsec.training.gan_networks import Precision
from fedsec.training.parameters import get_arrays
from fedsec.training.threads import one_thread

SETTINGS = FederatedGanSettings(batch_size=4, precision="float32")
LATENT = 6


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Keep torch to one thread, as clients do."""
    with one_thread():
        yield


def new_pair(settings: FederatedGanSettings = SETTINGS, seed: int = 7) -> LocalPair:
    with drawn_from(0):
        generator = DcganGenerator(1, 16, LATENT, 4)
        discriminator = DcganDiscriminator(1, 16, 4, "batch" if settings.loss == "min-max" else "instance")
    draws = torch.Generator().manual_seed(seed)
    return new_local_pair(generator, discriminator, LATENT, settings, draws, torch.device("cpu"))


def order(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(pair: LocalPair) -> bytes:
    arrays = [*get_arrays(pair.generator).values(), *get_arrays(pair.discriminator).values()]
    return b"".join(array.tobytes() for array in arrays)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Return 18 images; the first pixel of each is its number."""
    images = torch.randint(0, 256, (18, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    images[:, 0, 0, 0] = torch.arange(18)
    return images


def test_an_epoch_shows_each_image_once_and_leaves_out_what_fills_no_batch(images: torch.Tensor) -> None:
    batches = list(epoch_batches(images, 4, order()))
    shown = torch.cat(batches)[:, 0, 0, 0].tolist()
    assert [len(batch) for batch in batches] == [4] * 4
    assert len(set(shown)) == 16
    again = torch.cat(list(epoch_batches(images, 4, order())))[:, 0, 0, 0].tolist()
    other = torch.cat(list(epoch_batches(images, 4, order(2))))[:, 0, 0, 0].tolist()
    assert shown == again != other


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_client_with_less_than_a_batch_trains_on_what_it_has(images: torch.Tensor, number: int) -> None:
    assert [len(batch) for batch in epoch_batches(images[:number], 4, order())] == [number]


@pytest.mark.parametrize(("critic_steps", "steps"), [(1, 4), (2, 2), (3, 2), (5, 1)])
def test_several_critic_steps_are_taken_on_batches_of_their_own(
    images: torch.Tensor, critic_steps: int, steps: int
) -> None:
    pair, seen = new_pair(replace(SETTINGS, loss="wgan-gp", critic_steps=critic_steps, epochs=2)), list[int]()
    pair.discriminator.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    assert train_locally(pair, images, order()).steps == 2 * steps
    assert seen == [4] * 2 * (4 * 3 + steps)  # a mixture, a real and a generated batch; the generator's


@pytest.mark.parametrize(("reported", "expected"), [("epoch-mean", (2.5, 25.0)), ("last-batch", (4.0, 40.0))])
def test_what_is_reported_is_of_the_last_epoch(
    reported: Reported,
    expected: tuple[float, float],
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = iter([9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0])

    def step(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss = torch.tensor(next(told))
        return loss, 10 * loss

    monkeypatch.setattr(federated_gan, "local_step", step)
    losses = train_locally(new_pair(replace(SETTINGS, epochs=2, reported=reported)), images, order())
    assert losses == LocalLosses(*expected, 8)


@pytest.mark.parametrize("loss", ["min-max", "wgan-gp"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_seeds_give_the_same_bits(loss: Loss, precision: Precision, images: torch.Tensor) -> None:
    settings = replace(SETTINGS, loss=loss, precision=precision)
    pairs = [new_pair(settings), new_pair(settings), new_pair(settings), new_pair(settings, seed=8)]
    seeds = [1, 1, 2, 1]
    losses = [train_locally(pair, images, order(seed)) for pair, seed in zip(pairs, seeds, strict=True)]
    assert losses[0] == losses[1]
    assert bits(pairs[0]) == bits(pairs[1])
    assert len({bits(pair) for pair in pairs}) == 3


@pytest.mark.parametrize("loss", ["min-max", "wgan-gp"])
def test_bf16_is_float32_but_for_rounding(loss: Loss, images: torch.Tensor) -> None:
    pairs = [new_pair(replace(SETTINGS, loss=loss, precision=precision)) for precision in ("float32", "bf16")]
    exact, rounded = (train_locally(pair, images, order()) for pair in pairs)
    assert (rounded.generator, rounded.discriminator) == pytest.approx((exact.generator, exact.discriminator), abs=0.1)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_loss_that_is_no_number_is_an_error(part: str, images: torch.Tensor) -> None:
    pair = new_pair()
    with torch.no_grad():
        next(getattr(pair, part).parameters()).fill_(float("nan"))
    with pytest.raises(GanFailedError, match="diverged in step 1: the generator's loss is nan, its opponent's nan"):
        train_locally(pair, images, order())


def test_a_weight_that_is_no_number_after_the_last_step_is_an_error(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(pair: LocalPair, batches: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        losses = local_step(pair, batches)
        pair.discriminator_optimiser.state[next(pair.discriminator.parameters())]["exp_avg_sq"].fill_(float("inf"))
        return losses

    monkeypatch.setattr(federated_gan, "local_step", step)
    with pytest.raises(GanFailedError, match="its discriminator's moments are no finite numbers"):
        train_locally(new_pair(), images, order())


@pytest.mark.parametrize("number", [1, 4, 10])
def test_the_generators_loss_is_the_mean_over_its_images(number: int) -> None:
    pair = new_pair(replace(SETTINGS, loss="wgan-gp"))
    before = [weight.clone() for weight in pair.generator.parameters()]
    loss = loss_of_generator(pair, number)
    sizes = [4] * (number // 4) + [number % 4] * (number % 4 > 0)
    other = new_pair(replace(SETTINGS, loss="wgan-gp"))
    with torch.no_grad():
        scores = [other.discriminator(other.fake(size)) for size in sizes]
    assert loss == pytest.approx(-torch.cat(scores).mean().item(), abs=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(before, pair.generator.parameters(), strict=True))


def test_a_discriminator_that_overfits_sees_augmented_images_and_the_generator_too(images: torch.Tensor) -> None:
    pair = new_pair(replace(SETTINGS, augment="ada"))
    plain = new_pair()
    assert train_locally(pair, images, order()) == train_locally(plain, images, order())  # p is 0 until then
    assert pair.augmentation is not None
    assert (pair.augmentation.batches, pair.augmentation.overfit) == (0, 0.0)
    pair.augmentation.p = 1.0
    seen, made = list[torch.Tensor](), list[torch.Tensor]()
    pair.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    pair.generator.register_forward_hook(lambda _, __, image: made.append(image.detach()))
    real = torch.rand(4, 1, 16, 16)
    local_step(pair, [real])
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(seen, [real, *made, *made], strict=True))
    assert not torch.equal(seen[1], seen[2])


def test_augmentation_follows_what_is_observed_over_four_batches() -> None:
    augmentation = Augmentation(p=0.5)
    for logits in ([1.0, 2.0], [3.0, 4.0], [-1.0, 1.0], [1.0, 1.0]):
        assert augmentation.p == 0.5
        augmentation.observe(torch.tensor(logits))
    assert augmentation.p == 0.5 + 8 / 500_000  # r_t is 3 / 4, above 0.6
    augmentation.observe(torch.tensor([-1.0, -1.0]))
    again = Augmentation()
    again.from_array(augmentation.to_array())
    assert again == augmentation == Augmentation(augmentation.p, -1.0, 1)


def test_a_critic_has_no_adaptive_augmentation() -> None:
    with pytest.raises(ValueError, match='augment "ada" needs the loss "min-max"; got "wgan-gp"'):
        replace(SETTINGS, loss="wgan-gp", augment="ada")


def test_noise_inside_the_generator_comes_from_the_pairs_draws_too(images: torch.Tensor) -> None:
    def styled(seed: int) -> LocalPair:
        pair = new_pair()
        with drawn_from(0):
            generator = StyleGan2Generator(1, 16, LATENT, 8, 128, 16, 2)
        draws = torch.Generator().manual_seed(seed)
        return new_local_pair(generator, pair.discriminator, LATENT, SETTINGS, draws, torch.device("cpu"))

    assert not new_pair().noisy
    seen = list[object]()
    pair = styled(7)
    pair.generator.register_forward_pre_hook(lambda _, __, named: seen.append(named["noise"]), with_kwargs=True)
    assert train_locally(pair, images, order()) == train_locally(styled(7), images, order())
    assert all(noise is pair.draws for noise in seen)
    assert len(seen) == 4

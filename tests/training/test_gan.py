"""A client's GAN learns from its images and nothing else, the same for the same seed, and says where it cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import nn

from fedsec.runs.sections import GanSection
from fedsec.training.gan import (
    GanFailedError,
    GanSettings,
    build_generator,
    check_spread,
    generate,
    shortcomings,
    train_gan,
)
from fedsec.training.gan_networks import arithmetic

CPU = torch.device("cpu")
TINY = GanSettings(steps=6, batch_size=8, latent=4, width=4, precision="float32")
KINDS = (TINY, replace(TINY, kind="cwgan", critic_steps=2))


def pictures(counts: list[int], channels: int = 1, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return noise of classes that many times, each class of a brightness of its own."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(0).integers(0, 60, (len(labels), channels, size, size))
    return (noise + 150 * labels[:, None, None, None] // max(1, len(counts) - 1)).astype(np.uint8), labels


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (2, 9)])
def test_images_of_any_shape_can_be_learned_and_drawn(settings: GanSettings, channels: int, size: int) -> None:
    images, labels = pictures([6, 6], channels, size)
    trained = train_gan(images, labels, 2, replace(settings, steps=2), 0, CPU)
    drawn = generate(trained.generator, np.array([0, 1, 1]), settings.latent, 0, CPU)
    assert (drawn.shape, drawn.dtype) == ((3, channels, size, size), np.uint8)
    for losses in (trained.generator_loss, trained.critic_loss):
        assert (losses.shape, losses.dtype) == ((2,), np.float32)
        assert np.isfinite(losses).all()


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_the_seed_decides_everything_and_the_global_generator_nothing(settings: GanSettings) -> None:
    def trained(seed: int) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        torch.manual_seed(int(torch.randint(1000, ())))
        gan = train_gan(*pictures([9, 5]), 2, settings, seed, CPU)
        return weights(gan.generator), generate(gan.generator, np.array([0, 1] * 3), 4, seed, CPU)

    (one, images), (same, again), (other, _) = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert np.array_equal(images, again)
    assert not torch.equal(one["dense.weight"], other["dense.weight"])


def test_training_leaves_the_global_generator_and_the_threads_alone() -> None:
    state, before = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gan = train_gan(*pictures([4, 4]), 2, TINY, 0, CPU)
        generate(gan.generator, np.array([0]), 4, 0, CPU)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_watch_changes_nothing_and_sees_every_tenth_of_the_steps() -> None:
    seen: list[int] = []

    def watch(step: int, generator: nn.Module) -> None:
        assert not generator.training
        generate(generator, np.array([0, 1]), 4, step, CPU)
        seen.append(step)

    settings = replace(TINY, steps=25)
    watched, alone = (train_gan(*pictures([9, 5]), 2, settings, 0, CPU, watching) for watching in (watch, None))
    assert seen == [0, 2, 5, 8, 10, 12, 15, 18, 20, 22, 25]
    assert np.array_equal(watched.generator_loss, alone.generator_loss)


def test_a_generator_draws_the_same_in_any_blocks_and_from_weights_that_were_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = train_gan(*pictures([9, 5]), 2, TINY, 0, CPU)
    labels = np.array([0, 1, 1, 0, 1])
    rebuilt = build_generator(1, 8, 2, TINY)
    rebuilt.load_state_dict(gan.generator.state_dict())
    whole = generate(gan.generator, labels, 4, 3, CPU)
    assert np.array_equal(generate(rebuilt, labels, 4, 3, CPU), whole)
    monkeypatch.setattr("fedsec.training.gan.BLOCK", 2)
    assert np.abs(generate(rebuilt, labels, 4, 3, CPU).astype(int) - whole).max() <= 1
    assert generate(rebuilt, labels[:0], 4, 3, CPU).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("counts", [[7], [1], [40, 5], [40, 0, 5], [0, 0, 3]])
@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_a_client_with_few_images_or_classes_has_a_gan_of_those(settings: GanSettings, counts: list[int]) -> None:
    gan = train_gan(*pictures(counts), len(counts), settings, 0, CPU)
    present = np.flatnonzero(counts)
    assert len(generate(gan.generator, present, 4, 0, CPU)) == len(present)
    for empty in np.flatnonzero(np.array(counts) == 0):
        with pytest.raises(GanFailedError, match=f"cannot draw class {empty}; it was trained on class {present[0]}"):
            generate(gan.generator, np.array([present[0], empty]), 4, 0, CPU)


def test_a_generator_that_was_never_trained_draws_nothing() -> None:
    with pytest.raises(GanFailedError, match="cannot draw class 1, 2; it was trained on no class"):
        generate(build_generator(1, 8, 3, TINY), np.array([2, 1]), 4, 0, CPU)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((0, 1, 8, 8), np.uint8), [], "got 0 images, 0 labels"),
        (np.zeros((2, 1, 8, 8), np.uint8), [0], "got 2 images, 1 labels"),
        (np.zeros((2, 1, 8, 8), np.uint8), [0, 3], "has 3 classes, from 0 on; the data have class 3"),
        (np.zeros((2, 1, 8, 8), np.uint8), [-1, 2], "the data have class -1"),
        (np.zeros((2, 1, 8, 9), np.uint8), [0, 1], r"needs square uint8 images .* got uint8 \(2, 1, 8, 9\)"),
        (np.zeros((2, 8, 8), np.uint8), [0, 1], r"got uint8 \(2, 8, 8\)"),
        (np.zeros((2, 1, 8, 8), np.float32), [0, 1], "got float32"),
        (np.zeros((2, 1, 3, 3), np.uint8), [0, 1], "at least 4 x 4 pixels; got 3 x 3"),
    ],
)
def test_data_that_no_gan_can_learn_is_refused(images: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(GanFailedError, match=message):
        train_gan(images, np.array(labels, np.int64), 3, TINY, 0, CPU)


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_a_gan_that_diverges_is_given_up_soon(settings: GanSettings) -> None:
    seen: list[int] = []
    settings = replace(settings, steps=1000, learning_rate=1e30)
    with pytest.raises(GanFailedError, match=f"the {settings.kind} diverged in step 1?[0-9]: .*than 1e\\+30 may help"):
        train_gan(*pictures([9, 5]), 2, settings, 0, CPU, lambda step, _: seen.append(step))
    assert seen == [0]


def test_a_last_step_that_spoils_the_weights_is_noticed() -> None:
    with pytest.raises(GanFailedError, match="weights that are no finite numbers"):
        train_gan(*pictures([9, 5]), 2, replace(TINY, steps=1, learning_rate=1e39), 0, CPU)


def test_one_picture_whatever_is_asked_for_is_noticed_where_the_real_images_differ() -> None:
    real, labels = pictures([3, 2000])
    grey = np.full((3000, 1, 8, 8), 90, np.uint8)
    grey[::7] += 2
    with pytest.raises(GanFailedError, match=r"differ by 0\.49 grey levels from their mean, the real ones by 1"):
        check_spread(grey, real)
    check_spread(grey, grey)
    check_spread(grey[:1], real)
    check_spread(grey[:0], real)
    check_spread(real[labels == 1], real)


def test_images_plainly_unlike_the_client_s_own_are_told() -> None:
    real, labels = pictures([40, 40])
    assert shortcomings(real, labels, real, labels) == ""
    assert shortcomings(real[:0], labels[:0], real, labels) == ""
    swapped = shortcomings(real[::-1], labels, real, labels)
    assert swapped == "the mean of a class lies 149 grey levels from its own, which differ by 74 from theirs"
    noise = np.random.default_rng(1).integers(100, 110, real.shape).astype(np.uint8)
    assert shortcomings(noise, labels, real, labels).startswith("the mean of a class lies 75 grey levels from its own")
    even = np.random.default_rng(2).integers(0, 256, real.shape).astype(np.uint8)
    assert shortcomings(noise + 23, labels, even, labels).startswith("they differ by 2.5 grey levels from their mean")


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_bf16_learns_what_float32_learns(settings: GanSettings) -> None:
    images, labels = pictures([20, 20], 1, 12)
    settings = replace(settings, steps=12, batch_size=16, width=8)
    exact, rough = (train_gan(images, labels, 2, replace(settings, precision=p), 0, CPU) for p in ("float32", "bf16"))
    np.testing.assert_allclose(rough.critic_loss, exact.critic_loss, rtol=0.1, atol=0.05)
    drawn = [generate(gan.generator, labels, 4, 0, CPU).astype(float) for gan in (exact, rough)]
    assert not np.array_equal(*drawn)
    assert np.abs(drawn[0] - drawn[1]).mean() < 6


def test_auto_is_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        with arithmetic("auto", CPU)():
            assert torch.is_autocast_enabled("cpu") == native
    with arithmetic("bf16", CPU)():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_nothing_of_another_clients_images_shows(settings: GanSettings) -> None:
    settings = replace(settings, steps=100, learning_rate=0.005)
    means = []
    for grey in (40, 210):
        images, labels = np.full((20, 1, 8, 8), grey, np.uint8), np.arange(20) % 2
        gan = train_gan(images, labels, 2, settings, 0, CPU)
        means.append(generate(gan.generator, labels, 4, 0, CPU).reshape(20, -1).mean(1))
    assert means[0].max() < 100
    assert means[1].min() > 155


def test_digits_are_learned_by_class() -> None:
    digits, labels = load_digits(return_X_y=True)
    images = (digits.reshape(-1, 1, 8, 8) * 15.9375).astype(np.uint8)
    judge = SVC().fit(digits[:900], labels[:900])
    kept = np.flatnonzero((labels[900:] < 3) | (np.arange(len(labels) - 900) % 4 == 0)) + 900
    settings = GanSettings(steps=250, batch_size=32, learning_rate=0.003, latent=16, width=16, shift=0)
    gan = train_gan(images[kept], labels[kept], 10, settings, 0, CPU)
    wanted = np.repeat(np.arange(10), 40)
    made = generate(gan.generator, wanted, 16, 0, CPU)
    assert shortcomings(made, wanted, images[kept], labels[kept]) == ""
    untrained = train_gan(images[kept], labels[kept], 10, replace(settings, steps=1), 0, CPU)
    poor = generate(untrained.generator, wanted, 16, 0, CPU)
    assert shortcomings(poor, wanted, images[kept], labels[kept]).startswith("the mean of a class lies")
    drawn = made.reshape(-1, 64) / 15.9375
    assert (judge.predict(drawn) == wanted).mean() > 0.6
    assert drawn[wanted == 3].std(0).mean() > 0.5


def test_the_configuration_sets_what_the_gan_takes() -> None:
    section = {key: getattr(GanSection(), key) for key in GanSection.__dataclass_fields__}
    assert GanSettings(kind="cgan", **section) == GanSettings()

"""A client's classes are filled from its own examples alone, once, and it says what came of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from fedsec import filling
from fedsec.data import generated
from fedsec.data.datasets import ImageDataset
from fedsec.data.sources import DataError
from fedsec.filling import Filled, fill
from fedsec.holdings import Holding
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.runs.sections import GANS
from fedsec.training.gan import GanFailedError
from fedsec.training.gan_networks import computes_in_bf16

CPU = torch.device("cpu")
MINE = np.array([0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 30])
GAN = {"steps": 10, "batch-size": 8, "width": 8, "latent": 4, "critic-steps": 1}
LABELS = np.repeat([0, 1, 2, 3], [20, 10, 10, 10])


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_CACHE", str(tmp_path))
    monkeypatch.setattr(generated, "_whole", {})


def config(balance: str, **data: Any) -> RunConfig:
    return parse({"data": {"balance": balance, **data}, "gan": GAN})


CHANGED: dict[str, Any] = {"steps": 11, "batch-size": 9, "width": 9, "latent": 5, "learning-rate": 0.1, "shift": 1}
CHANGED |= {"critic-steps": 2, "penalty": 1.0, "precision": "float32" if computes_in_bf16("auto", CPU) else "bf16"}


def changed(key: str, value: Any) -> RunConfig:
    """Return the configuration of a cgan with another value of one key."""
    section, name = key.split(".")
    sections: dict[str, dict[str, Any]] = {"data": {"balance": "cgan"}, "gan": dict(GAN), "run": {}}
    sections[section][name] = value
    return parse(sections)


def held(indices: np.ndarray = MINE, *, name: str = "some", others: int = 0, own: int = 0) -> Holding:
    """Return a client's share of a data set whose pixels are moved by so much, outside of that share and in it."""
    images = np.random.default_rng(0).integers(0, 200, (50, 1, 8, 8)).astype(np.uint8)
    moved = np.full(50, others, np.uint8)
    moved[indices] = own
    names = ("a", "b", "c", "d")
    data = ImageDataset(name, images + moved[:, None, None, None], LABELS, names, (0.5,), (0.5,), Path(name))
    return Holding(data, indices, LABELS[indices], names)


def counts(filled: Filled) -> list[int]:
    return np.bincount(filled.labels, minlength=4).tolist()


@pytest.mark.parametrize("balance", ["repeat", "augment", "cgan", "cwgan"])
def test_every_class_with_an_image_is_filled_and_the_own_images_stay(balance: str) -> None:
    filled = fill(config(balance), 3, held(), CPU)
    assert counts(filled) == [8, 8, 8, 0]
    assert_array_equal(filled.images[:11], held().images)
    assert_array_equal(filled.labels[:11], held().labels)
    assert filled.images.dtype == np.uint8
    report = filled.report
    assert (report.client, report.before, report.after) == (3, (8, 2, 1, 0), (8, 8, 8, 0))
    assert report.note.endswith("no image of class 3: nothing to fill it with")
    assert report.by.startswith(f"{balance} in " if balance in GANS else balance)


def test_the_report_says_in_which_arithmetic_a_gan_was_trained() -> None:
    for precision in ("bf16", "float32"):
        exact = parse({"data": {"balance": "cgan"}, "gan": {**GAN, "precision": precision}})
        assert fill(exact, 3, held(), CPU).report.by == f"cgan in {precision} on cpu"


@pytest.mark.parametrize("balance", ["augment", "cgan"])
def test_what_was_made_is_kept_for_all_who_would_make_the_same(balance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fill(config(balance), 3, held(), CPU)
    monkeypatch.setattr(filling, "_made", pytest.fail)
    another = {"defense": {"strategy": "median"}, "federation": {"rounds": 3}}
    changed = parse({"data": {"balance": balance}, "gan": GAN, **another})
    second = fill(changed, 3, held(), CPU)
    assert_array_equal(first.images, second.images)
    assert (first.report.kept, second.report.kept) == (False, True)
    assert second.report.seconds == first.report.seconds > 0


@pytest.mark.parametrize(
    "other",
    [
        lambda: fill(config("cgan"), 4, held(), CPU),
        lambda: fill(config("cgan", fill="mean"), 3, held(), CPU),
        lambda: fill(config("cwgan"), 3, held(), CPU),
        lambda: fill(config("cgan"), 3, held(MINE[1:]), CPU),
        lambda: fill(config("cgan"), 3, held(name="another"), CPU),
        lambda: fill(changed("run.seed", 1), 3, held(), CPU),
        *(lambda key=key: fill(changed(f"gan.{key}", CHANGED[key]), 3, held(), CPU) for key in CHANGED),
        lambda: fill(config("cgan"), 3, replace(held(), classes=(*held().classes, "e")), CPU),
    ],
    ids=["client", "goal", "kind", "examples", "data set", "seed", *CHANGED, "classes"],
)
def test_whatever_decides_the_images_is_part_of_the_key(other: Any) -> None:
    first, second = fill(config("cgan"), 3, held(), CPU), other()
    assert first.entry.folder != second.entry.folder


@pytest.mark.parametrize("balance", ["repeat", "augment", "cgan", "cwgan"])
def test_nothing_of_another_client_reaches_the_images(balance: str) -> None:
    alone = fill(config(balance), 3, held(name="one"), CPU)
    among_others = fill(config(balance), 3, held(name="two", others=55), CPU)
    assert_array_equal(alone.images, among_others.images)
    with_other_images = fill(config(balance), 3, held(name="three", own=55), CPU)
    assert (alone.images[11:] != with_other_images.images[11:]).any()


def test_the_generator_is_kept_as_it_was_during_its_training() -> None:
    filled = fill(config("cgan"), 3, held(), CPU)
    assert list(filled.entry.snapshots) == list(range(11))
    first, last = (filled.entry.snapshot(step) for step in (0, 10))
    assert first.keys() == last.keys()
    assert any((first[key] != last[key]).any() for key in first)
    assert len(filled.entry.about["losses"]["generator"]) == 10


def test_classes_that_are_even_enough_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_made", pytest.fail)
    filled = fill(config("cgan", **{"balance-above": 0.6}), 3, held(), CPU)
    assert counts(filled) == [8, 2, 1, 0]
    assert filled.report.note == ""


def test_a_client_of_one_class_trains_no_gan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_made", pytest.fail)
    filled = fill(config("cgan"), 3, held(np.arange(5)), CPU)
    assert counts(filled) == [5, 0, 0, 0]
    assert filled.report.note == "no image of class 1, 2, 3: nothing to fill it with"


def test_a_client_without_examples_is_left_as_it_is() -> None:
    filled = fill(config("cgan"), 3, held(np.arange(0)), CPU)
    assert counts(filled) == [0, 0, 0, 0]
    assert filled.report.before == filled.report.after == (0, 0, 0, 0)
    assert filled.report.by == ""


def test_a_client_whose_gan_fails_goes_on_with_its_own_images_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise GanFailedError("the loss was nan after 40 steps")

    monkeypatch.setattr(filling, "train_gan", fail)
    for kept in (False, True):  # and it is not tried again in every round
        filled = fill(config("cgan"), 3, held(), CPU)
        assert_array_equal(filled.images, held().images)
        assert filled.report.note.startswith(
            "its GAN failed (the loss was nan after 40 steps); it goes on with its own"
        )
        assert filled.report.kept is kept
        assert filled.report.by == ""


def test_a_gan_that_draws_one_picture_for_all_classes_fills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 8, 8)).astype(np.uint8)
    monkeypatch.setattr(filling, "generate", lambda _, labels, *more: np.repeat(picture[None], len(labels), 0))
    filled = fill(config("cgan"), 3, held(), CPU)
    assert_array_equal(filled.images, held().images)
    assert filled.report.note.startswith("its GAN failed (it draws one picture whatever it is asked for")


def test_a_gan_that_draws_noise_fills_the_classes_and_says_that_it_learned_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(1).integers(200, 256, (99, 1, 8, 8)).astype(np.uint8)
    monkeypatch.setattr(filling, "generate", lambda _, labels, *more: noise[: len(labels)])
    filled = fill(config("cgan"), 3, held(), CPU)
    assert counts(filled) == [8, 8, 8, 0]
    assert "its GAN learned little: the mean of a class lies" in filled.report.note


@pytest.mark.parametrize("balance", ["repeat", "cgan"])
@pytest.mark.parametrize("label", [4, -1])
def test_a_class_that_the_federation_has_not_is_an_error(balance: str, label: int) -> None:
    strange = replace(held(), labels=np.where(held().labels == 2, label, held().labels))
    message = f"partition 3 holds class {label}; the federation has 4 classes, from 0 on"
    with pytest.raises(DataError, match=message):
        fill(config(balance), 3, strange, CPU)


def test_a_client_of_one_class_is_filled_up_to_a_number_by_a_gan_of_that_class() -> None:
    filled = fill(config("cgan", fill=9), 3, held(np.arange(5)), CPU)
    assert counts(filled) == [9, 0, 0, 0]
    assert filled.report.note.endswith("no image of class 1, 2, 3: nothing to fill it with")


def test_a_disk_that_is_full_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generated, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        fill(config("cgan"), 3, held(), CPU)
